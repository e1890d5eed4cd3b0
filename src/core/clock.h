// Time stamps that survive a step of the wall clock.
//
// Sessions publish wall-clock times. When somebody sets the clock, every stamp
// from before is off by the size of the step, and a limit counted from it
// would end an innocent session. The corrected clock compares the progress of
// the wall clock with that of a monotonic clock at every look, and moves the
// stamps from before a step to today's clock. Where it cannot be known whether
// a stamp is from before or after the step, it takes the reading that makes
// the session younger.
#pragma once

#include "snapshot.h"

#include <cstdint>
#include <span>
#include <unordered_map>

namespace unblock::core {

// A pair of readings of both clocks taken at the same moment, just before the
// snapshot whose stamps it is to judge. A step between the pair and the end of
// the snapshot cannot be told from one after it: whoever takes the snapshot
// reads both clocks again afterwards, and takes it anew if they disagree.
struct ClockReading {
	Time wall = 0;
	Micros monotonic = 0; // since some fixed moment; never steps
};

// How much further than the monotonic clock the wall clock went between two readings.
constexpr Micros drift(ClockReading from, ClockReading to) noexcept {
	return (to.wall - from.wall) - (to.monotonic - from.monotonic);
}

class Clock {
public:
	// Differences up to this are drift or the time between two readings, not a step.
	static constexpr Micros kTolerance = 200'000;

	// Before the first look: continues from a reading that was remembered elsewhere (a previous life of the
	// enforcer); steps since then are noticed at that look. `steady_since` is what steady_since() said in
	// that life: no stamp from before it is taken for older than it.
	void resume(ClockReading last, Time steady_since = 0) noexcept;

	// Takes the next reading. Returns the step since the last one (negative: the wall clock was set
	// back), 0 if there was none. O(stamps) on a step.
	Micros look(ClockReading now) noexcept;

	// Moves idle_since (from state_start) and xact_since (from xact_start) of `sessions` and wait_start of
	// `waiters` to today's clock, and remembers which stamps it has seen, so that they stay recognised at
	// later looks. Call it once after each look, with all sessions and waiters of the snapshot; a waiter's
	// session is an index into `sessions`. Stamps that are not there any more are forgotten. A wait_start of
	// 0 becomes now; one that is older than its statement (see wait_starts.h) counts from the look that sees
	// it first; stamps of sessions that are not known, and those of prepared transactions, become 0. No
	// corrected stamp lies in the future of the last look. O(sessions + waiters). Throws std::bad_alloc; the
	// next call then makes up for it.
	void correct(std::span<Session> sessions, std::span<Waiter> waiters);

	ClockReading last() const noexcept { return now_; }

	// The look that noticed the last step, 0 if there was none.
	Time steady_since() const noexcept { return steady_since_; }

private:
	struct Seen {
		Time raw = 0;
		Time statement = 0; // of a wait
		Micros shift = 0;   // from raw to today's clock
		std::uint64_t look = 0;
	};
	Time correct_one(std::uint64_t key, Time raw, Time statement = 0);
	Time youngest_reading(Time raw) const noexcept;

	ClockReading now_;
	// Since the last complete correct(): stamps that are not in seen_ were set after its reading.
	ClockReading known_;
	Micros step_since_known_ = 0;
	bool started_ = false;
	Time oldest_unseen_ = 0; // no such stamp is taken for older, on today's clock
	bool all_seen_ = false;  // correct() has been through in this life
	Time steady_since_ = 0;
	std::uint64_t looks_ = 0;
	std::unordered_map<std::uint64_t, Seen> seen_; // by process and kind of stamp
};

} // namespace unblock::core
