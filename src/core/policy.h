// From limits, graph and time to decisions, and to the moment of the next one.
//
// Pure: no clock, no signals, no settings of its own. The enforcer feeds it a
// snapshot with corrected stamps (clock.h) and the limits of every session,
// carries out what it decides, and tells it how that went. It remembers, per
// session, the blocking idle time that a transaction has collected, what was
// already reported in dry run, and who is being ended.
#pragma once

#include "snapshot.h"
#include "wait_graph.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace unblock::core {

// The rules, gravest first: where a session breaks several, the first one names the reason.
enum class Rule : std::uint8_t { idle_blocker, idle_in_transaction };

// The setting behind a rule without the prefix, "idle_blocker_limit".
std::string_view setting(Rule rule) noexcept;

enum class Action : std::uint8_t { terminate, cancel };

// "terminate", "cancel".
std::string_view name(Action action) noexcept;

struct Decision {
	Index session = kNone;
	Rule rule = Rule::idle_blocker;
	Action action = Action::terminate;
	bool dry_run = false; // record that it would have been done; do nothing
	Micros limit = 0;
	Micros measured = 0;     // what had been collected against the limit: never less than it
	Index blocked = 0;       // sessions that wait for it, directly or through others
	Index waiter = kNone;    // its longest direct hard waiter, kNone if there is none
	bool stalled = false;    // active, but its client is silent and its process has not run
	bool must_block = false; // to be carried out only if it still blocks somebody
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

	// Looks at one snapshot. `monotonic` is its moment on the clock that never steps (ClockReading): the
	// fuse and all that is remembered from look to look count on it, so that a step of the wall clock
	// between two looks changes nothing. Sessions are judged once: one that is being ended, or that was
	// reported in dry run for this transaction and rule, is passed over. The result lives until the next
	// call. O(sessions). Throws std::bad_alloc.
	const Turn& look(const WaitGraph& graph, const ClusterSettings& cluster, Micros monotonic);

	// Tells how a decision (not a dry run one) went. `sent`: the session is being ended from here on;
	// otherwise it had changed in the last moment and is judged anew, and the fuse does not count it.
	void carried_out(const Session& session, bool sent);

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
	struct Memory {
		Time backend_start = 0;
		bool being_ended = false;
		// Of the transaction.
		Time transaction = 0; // see transaction_of()
		Micros blocking_idle = 0;
		std::optional<Micros> counted_until; // monotonic
		std::uint32_t reported = 0;          // dry run: one bit per rule
		Stall stall;
		std::uint64_t look = 0;
	};
	Memory& remember(const Session& session);
	std::optional<Micros> stalled_for(Memory& memory, const Session& session) const noexcept;
	void judge(const WaitGraph& graph, Index index, Memory& memory);
	void forget_the_gone();
	void sort_decisions(const WaitGraph& graph);
	void apply_fuse(int max_actions);
	void wake_in(Micros length) noexcept;

	Turn turn_;
	std::unordered_map<std::int32_t, Memory> memory_; // by pid
	std::uint64_t looks_ = 0;
	Time now_ = 0;
	Micros monotonic_ = 0;
	Micros minute_began_ = 0;   // of the fuse, monotonic
	int actions_in_minute_ = 0; // 0: no minute runs
	bool paused_ = false;
	bool blown_ = false; // in this minute
};

// Whether a session waits for its client inside a transaction, by its state alone.
constexpr bool idle_in_transaction(const Session& session) noexcept {
	return session.state == State::idle_in_transaction || session.state == State::idle_in_transaction_aborted;
}

// Blocking idle time of a session as a report can tell it: what the enforcer had counted of this
// transaction plus what has come since, as far as the session's state alone shows that it waits for its
// client. Never over-counted; 0 for all but client backends. O(1).
Micros blocking_idle_time(const WaitGraph& graph, Index session) noexcept;

// What a report says of a session's next limit, on present facts: the one that would be broken first
// if nothing changed. none: no limit applies.
struct Due {
	Rule rule = Rule::idle_blocker;
	Action action = Action::terminate;
	bool dry_run = false;
	Micros in = 0; // 0: now
};
std::optional<Due> next_due(const WaitGraph& graph, Index session) noexcept;

} // namespace unblock::core
