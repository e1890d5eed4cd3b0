// The rules, applied to one look.

#include "next_limit.h"

#include <algorithm>

#include "fence.h"

namespace unblock::core {

namespace {

// A session as a report sees it, without what only the enforcer's own looks can tell.
std::optional<Subject> reported_subject(const WaitGraph& graph, Index index) noexcept {
	const Session& session = graph.snapshot().sessions[index];
	if (!is_client(session, index) || !can_be_judged(session))
		return std::nullopt;
	Subject subject = subject_of(graph, index, std::nullopt);
	const Micros uncounted = std::max<Micros>(graph.snapshot().now - session.blocking_idle_until, 0);
	subject.blocking_idle = session.blocking_idle_counted + std::min(blocking_spell(subject), uncounted);
	return subject;
}

// Whether a rule grows towards its limit while the session waits for its client as it does now.
bool is_coming(Rule rule, const Subject& subject, const Measure& found) noexcept {
	switch (rule) {
	case Rule::idle_blocker:
		return subject.blocks;
	case Rule::horizon_age:
		return subject.in_transaction;
	case Rule::queued_blocker:
	case Rule::active_blocker:
		return false;
	default:
		return found.in.has_value();
	}
}

} // namespace

Micros blocking_idle_time(const WaitGraph& graph, Index session) noexcept {
	const std::optional<Subject> subject = reported_subject(graph, session);
	return subject ? subject->blocking_idle : 0;
}

std::optional<NextLimit> NextLimits::of(Index session) const noexcept {
	std::optional<Subject> subject = reported_subject(graph_, session);
	if (!subject || !subject->waits || subject->limits.mode == Mode::off)
		return std::nullopt;
	subject->preemption = preemptions_.on(session);
	std::optional<NextLimit> first;
	for (const RuleFacts& facts : rules()) {
		const Measure found = measure(facts.rule, *subject);
		if (found.limit == 0 || !is_coming(facts.rule, *subject, found))
			continue;
		const std::optional<Micros> in = found.broken ? 0 : found.in;
		const bool sooner = in && first && (!first->in || *in < *first->in);
		if (first && !sooner)
			continue;
		const bool dry_run =
		    subject->limits.mode == Mode::dry_run ||
		    (facts.rule == Rule::preempt_idle_blockers && subject->preemption->mode == Mode::dry_run);
		first = NextLimit{facts.rule, found.action, dry_run, in};
	}
	return first;
}

} // namespace unblock::core
