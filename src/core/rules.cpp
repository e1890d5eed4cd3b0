// The rules, one function each.

#include "rules.h"

#include "horizon.h"

#include <algorithm>

#include "fence.h"

namespace unblock::core {

namespace {

constexpr std::array<RuleFacts, kRules> kFacts = {{
    {Rule::idle_blocker, "idle_blocker_limit", Round::idle, true, MustBlock::as_holder},
    {Rule::preempt_idle_blockers, "preempt_idle_blockers_after", Round::idle, true, MustBlock::as_holder},
    {Rule::idle_write_transaction, "idle_write_transaction_limit", Round::idle, true, MustBlock::no},
    {Rule::idle_in_transaction, "idle_in_transaction_limit", Round::idle, true, MustBlock::no},
    {Rule::horizon_age, "horizon_age_limit", Round::idle, true, MustBlock::no},
    {Rule::transaction, "transaction_limit", Round::idle, false, MustBlock::no},
    {Rule::queued_blocker, "queued_blocker_limit", Round::queued, false, MustBlock::in_queue},
    {Rule::active_blocker, "active_blocker_limit", Round::active, false, MustBlock::as_holder},
}};

// A length of time that grows while the session is in the rule's condition. One that has collected something
// may be back in it at any moment.
Measure lasting(Micros limit, Micros measured, bool counting) noexcept {
	Measure result{.limit = limit, .measured = measured, .broken = counting && measured >= limit};
	if (counting || measured > 0)
		result.in = std::max<Micros>(limit - measured, 0);
	return result;
}

Measure idle_for(Micros limit, bool counting, const Subject& subject) noexcept {
	return lasting(limit, counting ? subject.idle : 0, counting);
}

Measure idle_blocker(const Subject& subject) noexcept {
	return lasting(subject.limits.idle_blocker, subject.blocking_idle, subject.waits && subject.blocks);
}

Measure preempt(const Subject& subject) noexcept {
	if (subject.preemption == nullptr)
		return {};
	const Preemption& by = *subject.preemption;
	const Micros both = subject.waits ? std::min(subject.idle, by.wait) : 0;
	// A client that is slow but moves makes stalls longer than a gap.
	const Micros silence = subject.stalled ? by.limit - subject.idle : kGap - both;
	const Micros in = std::max({by.limit - by.blocked, silence, Micros{0}});
	return {.limit = by.limit, .measured = by.blocked, .broken = in == 0, .in = in};
}

Measure horizon_age(const Subject& subject) noexcept {
	const bool counting = subject.waits && subject.in_transaction;
	const std::uint32_t limit = subject.limits.horizon_age;
	return {.limit = limit, .measured = subject.xid_age, .broken = counting && subject.xid_age >= limit};
}

Measure queued_blocker(const Subject& subject) noexcept {
	if (subject.jam == nullptr)
		return {};
	Measure result = lasting(subject.limits.queued_blocker, subject.jam->enough ? subject.jam->length : 0,
	                         subject.jam->enough);
	result.action = Action::cancel;
	return result;
}

// Cancels once for a transaction, and terminates when the grace is over.
Measure active_blocker(const Subject& subject) noexcept {
	const bool blocks = subject.root && subject.blocks;
	const Micros limit = subject.limits.active_blocker;
	if (!subject.since_cancel) {
		Measure result = lasting(limit, subject.blocking_work, blocks && subject.works);
		result.action = Action::cancel;
		return result;
	}
	const Micros grace = subject.limits.cancel_grace;
	if (grace == 0)
		return {};
	// Whoever waits for it by then must have waited through the grace.
	const Micros still = blocks ? std::min(subject.blocked, *subject.since_cancel) : 0;
	const Micros in = std::max<Micros>(grace - still, 0);
	return {.limit = limit, .measured = subject.blocking_work, .broken = in == 0, .in = in};
}

} // namespace

std::span<const RuleFacts, kRules> rules() noexcept {
	return kFacts;
}

std::string_view setting(Rule rule) noexcept {
	return kFacts[static_cast<std::size_t>(rule)].setting;
}

Micros own_limit(Rule rule, const Limits& limits) noexcept {
	switch (rule) {
	case Rule::idle_blocker:
		return limits.idle_blocker;
	case Rule::preempt_idle_blockers:
		return 0;
	case Rule::idle_write_transaction:
		return limits.idle_write_transaction;
	case Rule::idle_in_transaction:
		return limits.idle_in_transaction;
	case Rule::horizon_age:
		return limits.horizon_age;
	case Rule::transaction:
		return limits.transaction;
	case Rule::queued_blocker:
		return limits.queued_blocker;
	case Rule::active_blocker:
		return limits.active_blocker;
	}
	return 0;
}

std::string_view name(Action action) noexcept {
	return action == Action::terminate ? "terminate" : "cancel";
}

Measure measure(Rule rule, const Subject& subject) noexcept {
	const Limits& limits = subject.limits;
	const bool idle_in_transaction = subject.waits && subject.in_transaction;
	switch (rule) {
	case Rule::idle_blocker:
		return idle_blocker(subject);
	case Rule::preempt_idle_blockers:
		return preempt(subject);
	case Rule::idle_write_transaction:
		return idle_for(limits.idle_write_transaction, idle_in_transaction && subject.has_written, subject);
	case Rule::idle_in_transaction:
		return idle_for(limits.idle_in_transaction, idle_in_transaction, subject);
	case Rule::horizon_age:
		return horizon_age(subject);
	case Rule::transaction:
		return lasting(limits.transaction, subject.transaction_age, subject.transaction_age > 0);
	case Rule::queued_blocker:
		return queued_blocker(subject);
	case Rule::active_blocker:
		return active_blocker(subject);
	}
	return {};
}

bool is_client(const Session& session, Index index) noexcept {
	return session.kind == Kind::client && session.leader == index && session.pid != 0;
}

bool can_be_judged(const Session& session) noexcept {
	return session.state != State::unknown && session.state != State::disabled &&
	       session.wait != Wait::sync_rep;
}

Subject subject_of(const WaitGraph& graph, Index index, std::optional<Micros> stalled) noexcept {
	const Snapshot& snapshot = graph.snapshot();
	const Session& session = snapshot.sessions[index];
	const NodeFacts& node = graph.node(index);
	const auto since = [&](Time start) { return std::max<Micros>(snapshot.now - start, 0); };
	Subject subject{.limits = session.limits};
	if (stalled) {
		subject.waits = subject.stalled = true;
		subject.in_transaction = session.xact_start != 0;
		subject.idle = *stalled;
	} else if ((idle_in_transaction(session) || session.state == State::idle) && session.idle_since != 0) {
		subject.waits = true;
		subject.in_transaction = idle_in_transaction(session);
		subject.idle = since(session.idle_since);
	}

	const bool advisory = session.limits.count_advisory_locks;
	const Time hard_since = advisory ? node.hard_since : node.hard_since_no_advisory;
	if (hard_since != 0) {
		subject.blocks = true;
		subject.blocked = since(hard_since);
	}
	const Index counted_waiter = advisory ? node.hard_waiter : node.hard_waiter_no_advisory;
	subject.waiter = counted_waiter != kNone ? counted_waiter : node.hard_waiter;
	subject.root = node.root;
	subject.works = !node.waits && session.wait == Wait::other &&
	                (session.state == State::active || session.state == State::fastpath);

	subject.has_written = session.xid != 0;
	if (session.xact_since != 0)
		subject.transaction_age = since(session.xact_since);
	if (snapshot.next_xid != 0)
		for (const std::uint32_t xid : {session.xid, session.xmin})
			if (xid >= kFirstNormalXid)
				subject.xid_age = std::max(subject.xid_age, transactions_since(xid, snapshot.next_xid));
	return subject;
}

} // namespace unblock::core
