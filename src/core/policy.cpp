// The ledger of blocking idle time, rounds, the fuse and the next wake-up.

#include "policy.h"

#include <algorithm>
#include <tuple>

#include "fence.h"

namespace unblock::core {

namespace {

constexpr Micros kMinute = 60 * kSecond;

constexpr std::uint32_t flag(Rule rule) noexcept {
	return 1U << static_cast<unsigned>(rule);
}

const RuleFacts& facts_of(Rule rule) noexcept {
	return rules()[static_cast<std::size_t>(rule)];
}

// The rules that end a session: those before the ones that cancel its statement.
constexpr std::uint32_t kEnding = flag(Rule::queued_blocker) - 1;
static_assert(Rule::queued_blocker < Rule::active_blocker && kRules == 8);

} // namespace

const Turn& Policy::look(const WaitGraph& graph, const ClusterSettings& cluster, Micros monotonic) {
	const Snapshot& snapshot = graph.snapshot();
	++looks_;
	now_ = snapshot.now;
	monotonic_ = monotonic;
	turn_.decisions.clear();
	turn_.sleep.reset();
	paused_ = cluster.paused_for > 0;
	jams_.look(graph, monotonic);
	preemptions_.emplace(graph);

	for (Index index = 0; index < snapshot.sessions.size(); ++index) {
		if (!is_client(snapshot.sessions[index], index))
			continue;
		Memory& memory = remember(snapshot.sessions[index]);
		if (!memory.being_ended)
			judge(graph, index, memory);
	}
	forget_the_gone();
	sort_decisions(graph);
	const bool more_rounds = keep_one_round(graph);
	apply_fuse(cluster.max_actions_per_minute);
	note_reported(graph);
	if (more_rounds && !turn_.fuse_blown)
		wake_in(0);

	if (paused_)
		wake_in(cluster.paused_for);
	// Whoever is not in any rule's condition yet, and sessions to come.
	if (cluster.smallest_limit > 0)
		wake_in(cluster.smallest_limit);
	// Whoever comes into the way of a statement that preempts.
	if (const std::optional<Micros> soonest = preemptions_->soonest(); soonest && !paused_)
		wake_in(std::max(*soonest, kGap));
	return turn_;
}

void Policy::judge(const WaitGraph& graph, Index index, Memory& memory) {
	const Session& session = graph.snapshot().sessions[index];
	const std::optional<Micros> stalled = stalled_for(memory, session);
	if (!can_be_judged(session))
		return;

	Subject subject = subject_of(graph, index, stalled);
	collect(subject, memory, std::max<Micros>(now_ - session.idle_since, 0));

	const Limits& limits = session.limits;
	if (limits.mode == Mode::off || paused_)
		return;
	if ((limits.active_blocker > 0 && subject.blocks) || jams_.of(index) != nullptr)
		wake_in(kWatchful);
	subject.preemption = preemptions_->on(index);
	subject.jam = jams_.of(index);
	if (memory.active_canceled)
		subject.since_cancel = monotonic_ - *memory.active_canceled;
	bool decided = false;
	for (const RuleFacts& rule : rules()) {
		const Measure found = measure(rule.rule, subject);
		const bool dry_run = limits.mode == Mode::dry_run ||
		                     (rule.rule == Rule::preempt_idle_blockers && subject.preemption != nullptr &&
		                      subject.preemption->mode == Mode::dry_run);
		const bool reported = dry_run && (memory.reported & flag(rule.rule)) != 0;
		if (found.limit == 0 || reported || is_settled(graph, rule.rule, subject, memory))
			continue;
		if (!found.broken || decided) {
			if (found.in)
				wake_in(*found.in);
			continue;
		}
		decide(graph, index, subject, rule, found, dry_run);
		if (!dry_run)
			return;
		decided = true;
	}
}

// Adds to the ledger of the session's transaction. What lies before the last look was counted there, or did
// not count. One that was at work then and is so now is taken to have been at work meanwhile: see kWatchful.
// One that was not has been at work since its state changed; if that was before the last look, it has waited
// for a lock or for its client since, nobody knows how long.
void Policy::collect(Subject& subject, Memory& memory, Micros state_age) noexcept {
	const Micros since_look = memory.counted_until ? monotonic_ - *memory.counted_until : INT64_MAX;
	const Micros spell = blocking_spell(subject);
	if (!subject.stalled)
		memory.blocking_idle += std::min(spell, since_look);
	const bool at_work = is_at_work(subject);
	if (at_work && subject.root && subject.blocks) {
		const Micros worked = memory.at_work ? since_look : state_age < since_look ? state_age : 0;
		memory.blocking_work += std::min(subject.blocked, worked);
	}
	memory.at_work = at_work;
	memory.counted_until = monotonic_;
	// A stall that ends was none: short ones of a client that is slow but moves do not add up.
	subject.blocking_idle = memory.blocking_idle + (subject.stalled ? spell : 0);
	subject.blocking_work = memory.blocking_work;
}

void Policy::decide(const WaitGraph& graph, Index index, const Subject& subject, const RuleFacts& rule,
                    const Measure& found, bool dry_run) {
	Decision decision{.session = index,
	                  .rule = rule.rule,
	                  .action = found.action,
	                  .dry_run = dry_run,
	                  .limit = found.limit,
	                  .measured = found.measured,
	                  .blocked = graph.node(index).blocked_total,
	                  .waiter = subject.waiter,
	                  .stalled = rule.waits && subject.stalled,
	                  .same_spell = rule.waits || found.action == Action::cancel,
	                  .must_block = rule.must_block};
	switch (rule.rule) {
	case Rule::preempt_idle_blockers:
		decision.preempting = subject.preemption->waiter;
		break;
	case Rule::queued_blocker:
		decision.waiter = subject.jam->waiter;
		break;
	case Rule::active_blocker:
		decision.since_cancel = subject.since_cancel.value_or(0);
		break;
	default:
		break;
	}
	turn_.decisions.push_back(decision);
}

// Whether a blocker needs no signal any more: its statement has had one, or in dry run, where nobody makes
// way, those who would have been ended or canceled by now are all that it waits for, or that waits for it.
bool Policy::is_settled(const WaitGraph& graph, Rule rule, const Subject& subject,
                        const Memory& memory) const {
	const Snapshot& snapshot = graph.snapshot();
	const bool dry_run = subject.limits.mode == Mode::dry_run;
	const auto reported = [&](Index session, std::uint32_t rules) {
		const Memory* other = known(snapshot.sessions[session]);
		return other != nullptr && (other->reported & rules) != 0;
	};
	if (rule == Rule::queued_blocker && subject.jam != nullptr) {
		const Index wait = subject.jam->wait;
		if (memory.queue_canceled != 0 &&
		    memory.queue_canceled == snapshot.sessions[snapshot.waiters[wait].session].query_start)
			return true;
		const Index holders = graph.waiter(wait).hard_blockers;
		return dry_run && holders > 0 &&
		       std::ranges::all_of(graph.blockers_of(wait, holders),
		                           [&](const Blocker& blocker) { return reported(blocker.node, kEnding); });
	}
	if (rule == Rule::active_blocker && subject.waiter != kNone)
		return dry_run &&
		       reported(graph.node_of(snapshot.waiters[subject.waiter].session), flag(Rule::queued_blocker));
	return false;
}

Policy::Memory& Policy::remember(const Session& session) {
	Memory& memory = memory_[session.pid];
	if (memory.backend_start != session.backend_start) {
		memory = {};
		memory.backend_start = session.backend_start;
	}
	const Time transaction = transaction_of(session);
	if (memory.transaction != transaction || memory.local_xid != session.local_xid) {
		memory.transaction = transaction;
		memory.local_xid = session.local_xid;
		memory.blocking_idle = memory.blocking_work = 0;
		memory.at_work = false;
		memory.active_canceled.reset();
		memory.reported = 0;
	}
	memory.look = looks_;
	return memory;
}

const Policy::Memory* Policy::known(const Session& session) const noexcept {
	const auto entry = memory_.find(session.pid);
	return entry != memory_.end() && entry->second.backend_start == session.backend_start ? &entry->second
	                                                                                      : nullptr;
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

// Round by round, gravest rule first, then those that block most.
void Policy::sort_decisions(const WaitGraph& graph) {
	const auto rank = [&graph](const Decision& decision) {
		return std::tuple(facts_of(decision.rule).round, decision.rule, -std::int64_t{decision.blocked},
		                  graph.snapshot().sessions[decision.session].pid);
	};
	std::ranges::sort(turn_.decisions, {}, rank);
}

// Leaves the first round with something to do, if those of an earlier one have gone. Returns whether others
// are put off.
bool Policy::keep_one_round(const WaitGraph& graph) {
	if (turn_.decisions.empty())
		return false;
	Round first_dry = facts_of(turn_.decisions.front().rule).round;
	Round first = Round::active;
	for (const Decision& decision : turn_.decisions)
		if (!decision.dry_run)
			first = std::min(first, facts_of(decision.rule).round);
	for (const Session& session : graph.snapshot().sessions) {
		const Memory* memory = session.pid == 0 ? nullptr : known(session);
		if (memory != nullptr && memory->told && memory->told->state_start == session.state_start &&
		    monotonic_ - memory->told->at < kLongestRound)
			first = std::min(first, memory->told->round);
	}
	first_dry = std::min(first_dry, first);
	return std::erase_if(turn_.decisions, [=](const Decision& decision) {
		       return facts_of(decision.rule).round > (decision.dry_run ? first_dry : first);
	       }) > 0;
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

void Policy::resume_reported(const Session& session, Rule rule) {
	remember(session).reported |= flag(rule);
}

// What dry run tells once.
void Policy::note_reported(const WaitGraph& graph) {
	for (const Decision& decision : turn_.decisions)
		if (decision.dry_run)
			memory_[graph.snapshot().sessions[decision.session].pid].reported |= flag(decision.rule);
}

void Policy::wake_in(Micros length) noexcept {
	length = std::max(length, kShortestSleep);
	turn_.sleep = std::min(turn_.sleep.value_or(length), length);
}

void Policy::carried_out(const Decision& decision, const Session& session, std::optional<Micros> sent) {
	if (!sent) {
		actions_in_minute_ = std::max(actions_in_minute_ - 1, 0);
		return;
	}
	const auto entry = memory_.find(session.pid);
	if (entry == memory_.end() || entry->second.backend_start != session.backend_start)
		return;
	Memory& memory = entry->second;
	memory.told = {facts_of(decision.rule).round, session.state_start, *sent};
	if (decision.action == Action::terminate)
		memory.being_ended = true;
	else if (decision.rule == Rule::queued_blocker)
		memory.queue_canceled = session.query_start;
	else
		memory.active_canceled = *sent;
}

Policy::Counted Policy::counted(const Session& session) const noexcept {
	const Memory* memory = known(session);
	if (memory == nullptr || memory->transaction != transaction_of(session) || !memory->counted_until)
		return {};
	return {memory->blocking_idle, now_ - (monotonic_ - *memory->counted_until)};
}

} // namespace unblock::core
