// The rules, the ledger of blocking idle time, the fuse and the next wake-up.

#include "policy.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "fence.h"

namespace unblock::core {

namespace {

constexpr Micros kMinute = 60 * kSecond;

// One session as the rules see it.
struct Subject {
	const Limits& limits;
	bool waits = false;          // for its client
	bool in_transaction = false; // while it waits
	bool stalled = false;        // while it waits, `active`
	Micros idle = 0;             // how long it has waited for its client
	bool blocks = false;         // while it waits, somebody waits for it: directly, hard, counted
	Micros spell = 0;            // for how long both have lasted
	Index waiter = kNone;        // the longest direct hard waiter, of those that count if there are any
	Micros blocking_idle = 0;    // collected by its transaction, `spell` included
};

// What a rule measures on a subject.
struct Measure {
	Micros limit = 0;
	Micros measured = 0;   // 0 unless counting, or collected earlier in the transaction
	bool counting = false; // it is in the rule's condition now, `measured` grows

	bool broken() const noexcept { return counting && measured >= limit; }
};

Measure idle_blocker(const Subject& subject) noexcept {
	return {subject.limits.idle_blocker, subject.blocking_idle, subject.blocks};
}

Measure idle_in_transaction_for(const Subject& subject) noexcept {
	const bool counting = subject.waits && subject.in_transaction;
	return {subject.limits.idle_in_transaction, counting ? subject.idle : 0, counting};
}

struct RuleEntry {
	Rule rule;
	std::string_view setting;
	Action action;
	bool must_block;
	Measure (*measure)(const Subject&) noexcept;
};

// All that there is to know of a rule. In order of Rule.
constexpr std::array kRules = {
    RuleEntry{Rule::idle_blocker, "idle_blocker_limit", Action::terminate, true, idle_blocker},
    RuleEntry{Rule::idle_in_transaction, "idle_in_transaction_limit", Action::terminate, false,
              idle_in_transaction_for},
};

constexpr std::uint32_t flag(Rule rule) noexcept {
	return 1U << static_cast<unsigned>(rule);
}

// What tells a session's transaction from its next one. `idle` sessions and, because the server clears
// its start, aborted transactions are told by their present spell instead.
Time transaction_of(const Session& session) noexcept {
	return session.xact_start != 0 ? session.xact_start : -session.state_start;
}

// Only client backends that stand for themselves are acted upon.
bool is_client(const Session& session, Index index) noexcept {
	return session.kind == Kind::client && session.leader == index && session.pid != 0;
}

// Whether it is known what the session does, and ending it could help: one that waits for a standby has
// committed already.
bool can_be_judged(const Session& session) noexcept {
	return session.state != State::unknown && session.state != State::disabled &&
	       session.wait != Wait::sync_rep;
}

// `stalled`: for how long an active session is known to have been stalled.
Subject subject_of(const WaitGraph& graph, Index index, std::optional<Micros> stalled) noexcept {
	const Session& session = graph.snapshot().sessions[index];
	const NodeFacts& node = graph.node(index);
	const Time now = graph.snapshot().now;
	Subject subject{.limits = session.limits};
	if (stalled) {
		subject.waits = subject.stalled = true;
		subject.in_transaction = session.xact_start != 0;
		subject.idle = *stalled;
	} else if ((idle_in_transaction(session) || session.state == State::idle) && session.idle_since != 0) {
		subject.waits = true;
		subject.in_transaction = idle_in_transaction(session);
		subject.idle = std::max<Micros>(now - session.idle_since, 0);
	}

	const bool advisory = session.limits.count_advisory_locks;
	const Time hard_since = advisory ? node.hard_since : node.hard_since_no_advisory;
	if (subject.waits && hard_since != 0) {
		subject.blocks = true;
		subject.spell = std::min(subject.idle, std::max<Micros>(now - hard_since, 0));
	}
	const Index counted_waiter = advisory ? node.hard_waiter : node.hard_waiter_no_advisory;
	subject.waiter = counted_waiter != kNone ? counted_waiter : node.hard_waiter;
	return subject;
}

} // namespace

std::string_view setting(Rule rule) noexcept {
	return kRules[static_cast<std::size_t>(rule)].setting;
}

std::string_view name(Action action) noexcept {
	return action == Action::terminate ? "terminate" : "cancel";
}

const Turn& Policy::look(const WaitGraph& graph, const ClusterSettings& cluster, Micros monotonic) {
	const Snapshot& snapshot = graph.snapshot();
	++looks_;
	now_ = snapshot.now;
	monotonic_ = monotonic;
	turn_.decisions.clear();
	turn_.sleep.reset();
	paused_ = cluster.paused_for > 0;

	for (Index index = 0; index < snapshot.sessions.size(); ++index) {
		if (!is_client(snapshot.sessions[index], index))
			continue;
		Memory& memory = remember(snapshot.sessions[index]);
		if (!memory.being_ended)
			judge(graph, index, memory);
	}
	forget_the_gone();
	sort_decisions(graph);
	apply_fuse(cluster.max_actions_per_minute);

	if (paused_)
		wake_in(cluster.paused_for);
	// Whoever is not in any rule's condition yet, and sessions to come.
	if (cluster.smallest_limit > 0)
		wake_in(cluster.smallest_limit);
	return turn_;
}

void Policy::judge(const WaitGraph& graph, Index index, Memory& memory) {
	const Session& session = graph.snapshot().sessions[index];
	const std::optional<Micros> stalled = stalled_for(memory, session);
	if (!can_be_judged(session))
		return;

	// What lies before the last look was counted there, or did not count.
	Subject subject = subject_of(graph, index, stalled);
	const Micros uncounted = memory.counted_until ? monotonic_ - *memory.counted_until : subject.spell;
	memory.blocking_idle += std::min(subject.spell, uncounted);
	memory.counted_until = monotonic_;
	subject.blocking_idle = memory.blocking_idle;

	const Limits& limits = session.limits;
	if (limits.mode == Mode::off || paused_)
		return;
	const bool dry_run = limits.mode == Mode::dry_run;
	bool decided = false;
	for (const RuleEntry& entry : kRules) {
		const Measure measure = entry.measure(subject);
		if (measure.limit == 0 || (dry_run && (memory.reported & flag(entry.rule)) != 0))
			continue;
		if (!measure.broken() || decided) {
			// A session that has collected something may be back in the rule's condition at any moment.
			if (measure.counting || measure.measured > 0)
				wake_in(measure.limit - measure.measured);
			continue;
		}
		turn_.decisions.push_back({.session = index,
		                           .rule = entry.rule,
		                           .action = entry.action,
		                           .dry_run = dry_run,
		                           .limit = measure.limit,
		                           .measured = measure.measured,
		                           .blocked = graph.node(index).blocked_total,
		                           .waiter = subject.waiter,
		                           .stalled = subject.stalled,
		                           .must_block = entry.must_block});
		if (!dry_run)
			return;
		memory.reported |= flag(entry.rule);
		decided = true;
	}
}

Policy::Memory& Policy::remember(const Session& session) {
	Memory& memory = memory_[session.pid];
	if (memory.backend_start != session.backend_start) {
		memory = {};
		memory.backend_start = session.backend_start;
	}
	if (const Time transaction = transaction_of(session); memory.transaction != transaction) {
		memory.transaction = transaction;
		memory.blocking_idle = 0;
		memory.reported = 0;
	}
	memory.look = looks_;
	return memory;
}

// For how long the session is known to have been in one and the same wait for its client without running;
// none where it is not, or where that cannot be known. Counts from the look that saw it first.
std::optional<Micros> Policy::stalled_for(Memory& memory, const Session& session) const noexcept {
	const bool in_client_wait = session.wait == Wait::client_read || session.wait == Wait::client_write;
	if (session.state != State::active || !in_client_wait || session.runs == 0)
		return std::nullopt;
	const Stall& last = memory.stall;
	if (last.query_start != session.query_start || last.wait != session.wait || last.runs != session.runs)
		memory.stall = {session.query_start, session.wait, session.runs, monotonic_};
	return monotonic_ - memory.stall.since;
}

void Policy::forget_the_gone() {
	std::erase_if(memory_, [this](const auto& entry) { return entry.second.look != looks_; });
}

// Gravest rule first, then those that block most.
void Policy::sort_decisions(const WaitGraph& graph) {
	const auto rank = [&graph](const Decision& decision) {
		return std::tuple(decision.rule, -std::int64_t{decision.blocked},
		                  graph.snapshot().sessions[decision.session].pid);
	};
	std::ranges::sort(turn_.decisions, {}, rank);
}

// Drops what is beyond the fuse from this turn's decisions. The minute begins with an action.
void Policy::apply_fuse(int max_actions) {
	if (monotonic_ - minute_began_ >= kMinute)
		actions_in_minute_ = 0;

	std::size_t kept = 0;
	bool acts = false;
	for (const Decision& decision : turn_.decisions) {
		if (!decision.dry_run) {
			if (max_actions > 0 && actions_in_minute_ >= max_actions)
				continue;
			if (actions_in_minute_++ == 0) {
				minute_began_ = monotonic_;
				blown_ = false;
			}
			acts = true;
		}
		turn_.decisions[kept++] = decision;
	}
	turn_.fuse_blown = kept < turn_.decisions.size();
	turn_.fuse_blew_now = turn_.fuse_blown && !blown_;
	turn_.decisions.resize(kept);

	if (turn_.fuse_blown) {
		blown_ = true;
		wake_in(minute_began_ + kMinute - monotonic_);
	}
	if (acts) // and may find that a session has just changed, which is to be judged anew at once
		wake_in(0);
}

void Policy::wake_in(Micros length) noexcept {
	length = std::max(length, kShortestSleep);
	turn_.sleep = std::min(turn_.sleep.value_or(length), length);
}

void Policy::carried_out(const Session& session, bool sent) {
	if (!sent) {
		actions_in_minute_ = std::max(actions_in_minute_ - 1, 0);
		return;
	}
	const auto entry = memory_.find(session.pid);
	if (entry != memory_.end() && entry->second.backend_start == session.backend_start)
		entry->second.being_ended = true;
}

Policy::Counted Policy::counted(const Session& session) const noexcept {
	const auto entry = memory_.find(session.pid);
	if (entry == memory_.end())
		return {};
	const Memory& memory = entry->second;
	if (memory.backend_start != session.backend_start || memory.transaction != transaction_of(session) ||
	    !memory.counted_until)
		return {};
	return {memory.blocking_idle, now_ - (monotonic_ - *memory.counted_until)};
}

namespace {

// A session as a report sees it, without what only the enforcer's own looks can tell.
std::optional<Subject> reported_subject(const WaitGraph& graph, Index index) noexcept {
	const Session& session = graph.snapshot().sessions[index];
	if (!is_client(session, index) || !can_be_judged(session))
		return std::nullopt;
	Subject subject = subject_of(graph, index, std::nullopt);
	const Micros uncounted = std::max<Micros>(graph.snapshot().now - session.blocking_idle_until, 0);
	subject.blocking_idle = session.blocking_idle_counted + std::min(subject.spell, uncounted);
	return subject;
}

} // namespace

Micros blocking_idle_time(const WaitGraph& graph, Index session) noexcept {
	const std::optional<Subject> subject = reported_subject(graph, session);
	return subject ? subject->blocking_idle : 0;
}

std::optional<Due> next_due(const WaitGraph& graph, Index session) noexcept {
	const std::optional<Subject> subject = reported_subject(graph, session);
	if (!subject || subject->limits.mode == Mode::off)
		return std::nullopt;
	std::optional<Due> first;
	for (const RuleEntry& entry : kRules) {
		const Measure measure = entry.measure(*subject);
		if (measure.limit == 0 || !measure.counting)
			continue;
		const Micros in = std::max<Micros>(measure.limit - measure.measured, 0);
		if (!first || in < first->in)
			first = Due{entry.rule, entry.action, subject->limits.mode == Mode::dry_run, in};
	}
	return first;
}

} // namespace unblock::core
