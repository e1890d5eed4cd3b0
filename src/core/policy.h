// From limits, graph and time to decisions, and to the moment of the next one.
//
// Pure: no clock, no signals, no settings of its own. The enforcer feeds it a
// snapshot with corrected stamps (clock.h) and the limits of every session,
// carries out what it decides, and tells it how that went. It remembers, per
// session, the time that a transaction has collected while it blocked others, what was
// already reported in dry run, who is being ended and whose statement was canceled. The rules themselves
// are in rules.h.
#pragma once

#include "rules.h"

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace unblock::core {

struct Decision {
	Index session = kNone;
	Rule rule = Rule::idle_blocker;
	Action action = Action::terminate;
	bool dry_run = false; // record that it would have been done; do nothing
	Micros limit = 0;     // of horizon_age: transactions, as is `measured`
	Micros measured = 0;  // what had been collected against the limit: never less than it
	Index blocked = 0;    // sessions that wait for it, directly or through others
	Index waiter =
	    kNone; // the wait to tell of: its longest direct hard waiter, or jammed waiter; kNone: none
	Index preempting = kNone; // of preempt_idle_blockers: the wait that this makes way for
	Micros since_cancel = 0;  // of active_blocker: its statement was canceled so long ago; 0: it was not
	// It is to be carried out only if the session's transaction is the same, and
	bool stalled = false;    // its process, which did not run while its client was silent, has not run
	bool same_spell = false; // its state has not changed
	MustBlock must_block = MustBlock::no; // it still blocks somebody

	bool operator==(const Decision&) const = default;
};

// Settings that are the same for all sessions.
struct ClusterSettings {
	Micros smallest_limit = 0;       // of all limits in force anywhere, of sessions to come too; 0: none
	int max_actions_per_minute = 30; // 0: no fuse
	Micros paused_for = 0;           // enforcement is paused for that long still
};

// What one look led to.
struct Turn {
	std::vector<Decision> decisions;
	std::optional<Micros> sleep; // until something could be in breach; none: nothing ever will
	bool fuse_blown = false;     // decisions are being held back
	bool fuse_blew_now = false;  // for the first time in this minute
};

class Policy {
public:
	// No sleep is shorter than this, so that a session on the brink of its limit cannot keep the
	// enforcer spinning; a decision can be late by as much.
	static constexpr Micros kShortestSleep = 20'000;
	// For so long, at most, is the next round held back for those that were told to end in the one before.
	static constexpr Micros kLongestRound = kSecond;

	// The longest time between two looks while somebody blocks who has an active_blocker limit, or stands in
	// a queue and has a queued_blocker limit: waits and idle spells that do not count should be seen.
	static constexpr Micros kWatchful = kSecond;

	// Looks at one snapshot. `monotonic` is its moment on the clock that never steps (ClockReading): the
	// fuse and all that is remembered from look to look count on it, so that a step of the wall clock
	// between two looks changes nothing. Sessions are judged once: one that is being ended, or that was
	// reported in dry run for this transaction and rule, is passed over; a statement that was canceled for
	// its place in a queue is not canceled again. Decisions are those of one round. The result lives until
	// the next call. Linear in the snapshot but for what preemption.h and queue_jams.h say. Throws
	// std::bad_alloc.
	const Turn& look(const WaitGraph& graph, const ClusterSettings& cluster, Micros monotonic);

	// Tells how a decision (not a dry run one) about this session went. `sent`: when it was signalled, on the
	// clock of look(); none: it had changed in the last moment and is judged anew, and the fuse does not
	// count it.
	void carried_out(const Decision& decision, const Session& session, std::optional<Micros> sent);

	// Before the first look: a previous life of the enforcer has reported this session in dry run, in the
	// transaction that it tells of, for this rule. Throws std::bad_alloc.
	void resume_reported(const Session& session, Rule rule);

	// The blocking idle time that the session's transaction had collected at the last look; zeros if
	// it was not there then. O(1).
	struct Counted {
		Micros sum = 0;
		Time until = 0; // on the clock of that look
	};
	Counted counted(const Session& session) const noexcept;

private:
	// A statement whose process has not run since a look.
	struct Stall {
		Time query_start = 0;
		Wait wait = Wait::other;
		std::uint64_t runs = 0;
		Micros since = 0; // monotonic
	};
	// The last signal that a session was sent.
	struct Told {
		Round round = Round::idle;
		Time state_start = 0; // of the spell that it was to end
		Micros at = 0;        // monotonic
	};
	struct Memory {
		Time backend_start = 0;
		bool being_ended = false;
		std::optional<Told> told;
		Time queue_canceled = 0; // query_start of the statement that was canceled for its place in a queue
		// Of the transaction.
		Time transaction = 0;        // see transaction_of()
		std::uint32_t local_xid = 0; // several transactions of one message begin at the same time
		Micros blocking_idle = 0;
		Micros blocking_work = 0;
		bool at_work = false;                  // at the last look
		std::optional<Micros> counted_until;   // monotonic: the last look
		std::optional<Micros> active_canceled; // monotonic: by active_blocker_limit
		std::uint32_t reported = 0;            // dry run: one bit per rule
		Stall stall;
		std::uint64_t look = 0;
	};
	Memory& remember(const Session& session);
	const Memory* known(const Session& session) const noexcept;
	std::optional<Micros> stalled_for(Memory& memory, const Session& session) const noexcept;
	void judge(const WaitGraph& graph, Index index, Memory& memory);
	void collect(Subject& subject, Memory& memory, Micros state_age) noexcept;
	void decide(const WaitGraph& graph, Index index, const Subject& subject, const RuleFacts& rule,
	            const Measure& found, bool dry_run);
	bool is_settled(const WaitGraph& graph, Rule rule, const Subject& subject, const Memory& memory) const;
	void forget_the_gone();
	void sort_decisions(const WaitGraph& graph);
	bool keep_one_round(const WaitGraph& graph);
	void apply_fuse(int max_actions);
	void note_reported(const WaitGraph& graph);
	void wake_in(Micros length) noexcept;

	Turn turn_;
	std::unordered_map<std::int32_t, Memory> memory_; // by pid
	QueueJams jams_;
	std::optional<Preemptions> preemptions_; // of the present look
	std::uint64_t looks_ = 0;
	Time now_ = 0;
	Micros monotonic_ = 0;
	Micros minute_began_ = 0;   // of the fuse, monotonic
	int actions_in_minute_ = 0; // 0: no minute runs
	bool paused_ = false;
	bool blown_ = false; // in this minute
};

} // namespace unblock::core
