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

// A pair of readings of both clocks taken at the same moment.
struct ClockReading {
	Time wall = 0;
	Micros monotonic = 0; // since some fixed moment; never steps
};

class Clock {
public:
	// Differences below this are drift or the time between two readings, not a step.
	static constexpr Micros kTolerance = 200'000;

	// Continues from a reading that was remembered elsewhere (a previous life
	// of the enforcer); steps since then are noticed at the next look.
	void resume(ClockReading last) noexcept;

	// Takes the next reading. Returns the step since the last one (negative:
	// the wall clock was set back), 0 if there was none.
	Micros look(ClockReading now) noexcept;

	// Moves idle_since (from state_start) of `sessions` and wait_start of
	// `waiters` to today's clock, and remembers which stamps it has seen, so that they stay recognised
	// at later looks. Call it once after each look, with all sessions and waiters of the snapshot.
	// Stamps that are not there any more are forgotten. A wait_start of 0 becomes `now`.
	// No corrected stamp lies in the future of the last look. O(sessions + waiters). Throws std::bad_alloc.
	void correct(std::span<Session> sessions, std::span<Waiter> waiters);

	ClockReading last() const noexcept { return now_; }

private:
	struct Seen {
		Time raw = 0;
		Micros shift = 0;
		std::uint64_t look = 0;
	};
	Time correct_one(std::uint64_t key, Time raw);

	ClockReading before_, now_;
	Micros step_ = 0;
	bool started_ = false;
	std::uint64_t looks_ = 0;
	std::unordered_map<std::uint64_t, Seen> seen_;
};

} // namespace unblock::core
