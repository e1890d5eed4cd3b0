// Recognition of clock steps, and what a stamp from around one may mean.

#include "clock.h"
#include "wait_starts.h"

#include <algorithm>
#include <cstdlib>

#include "fence.h"

namespace unblock::core {

namespace {

enum class Stamp : std::uint8_t { state_start, xact_start, wait_start };

std::uint64_t key_of(std::int32_t pid, Stamp stamp) noexcept {
	return std::uint64_t{static_cast<std::uint32_t>(pid)} << 2 | static_cast<std::uint64_t>(stamp);
}

} // namespace

void Clock::resume(ClockReading last, Time steady_since) noexcept {
	now_ = known_ = last;
	oldest_unseen_ = steady_since_ = steady_since;
	started_ = true;
}

Micros Clock::look(ClockReading now) noexcept {
	if (!started_)
		resume(now);
	const Micros difference = drift(now_, now);
	now_ = now;
	++looks_;
	if (std::abs(difference) <= kTolerance)
		return 0;

	// What was seen before the step was set before the step.
	for (auto& [key, seen] : seen_)
		seen.shift += difference;
	step_since_known_ += difference;
	oldest_unseen_ += difference;
	steady_since_ = now.wall;
	return difference;
}

void Clock::correct(std::span<Session> sessions, std::span<Waiter> waiters) {
	const auto corrected = [this](std::int32_t pid, Stamp stamp, Time raw) {
		return pid != 0 && raw != 0 ? correct_one(key_of(pid, stamp), raw) : 0;
	};
	for (Session& session : sessions) {
		session.idle_since = corrected(session.pid, Stamp::state_start, session.state_start);
		session.xact_since = corrected(session.pid, Stamp::xact_start, session.xact_start);
	}
	for (Waiter& waiter : waiters) {
		const Session& session = sessions[waiter.session];
		waiter.wait_start = waiter.wait_start == 0 ? now_.wall
		                                           : correct_one(key_of(session.pid, Stamp::wait_start),
		                                                         waiter.wait_start, session.query_start);
	}

	std::erase_if(seen_, [this](const auto& entry) { return entry.second.look != looks_; });
	known_ = now_;
	step_since_known_ = 0;
	oldest_unseen_ = now_.wall;
	all_seen_ = true;
}

Time Clock::correct_one(std::uint64_t key, Time raw, Time statement) {
	const auto [entry, is_new] = seen_.try_emplace(key);
	Seen& seen = entry->second;
	const bool is_same = !is_new && seen.raw == raw;
	// A statement may be unknown for a look.
	if (!is_same || (statement != 0 && statement != seen.statement)) {
		const bool certain = all_seen_ && step_since_known_ == 0;
		const bool is_left = (is_same && seen.statement != 0) || is_of_earlier_wait(raw, statement);
		const Time reading = is_left ? now_.wall : certain ? raw : youngest_reading(raw);
		seen = {.raw = raw, .statement = statement, .shift = reading - raw};
	}
	seen.look = looks_;
	// A stamp set between the reading of the clock and the snapshot lies ahead by that little.
	return std::min(raw + seen.shift, now_.wall);
}

// Let the last known look be at wall W, the monotonic clock have gone on by p since, and the step be d,
// so that now = W + p + d. A stamp set before the step was read from the old clock, which had come to
// W + p at the most: it is <= W + p, and raw + d today. A stamp set after the step was read from the
// new clock, which stood at W + d at the least: it lies in [W + d, now], and is right as it stands. One
// that fits both is ambiguous: the later reading is the younger. One that fits neither is from a clock
// that was set in between, or before our time; it counts from now. Either way a stamp that was not there
// at the last look was set after it, so that it is no older than W + d.
Time Clock::youngest_reading(Time raw) const noexcept {
	const Micros step = step_since_known_;
	const Time old_clock_end = known_.wall + (now_.monotonic - known_.monotonic);
	const Time new_clock_begin = known_.wall + step;
	const bool fits_before = raw <= old_clock_end + kTolerance;
	const bool fits_after = raw >= new_clock_begin - kTolerance && raw <= now_.wall + kTolerance;

	if (!fits_before && !fits_after)
		return now_.wall;
	Time reading = oldest_unseen_;
	if (fits_before)
		reading = std::max(reading, raw + step);
	if (fits_after)
		reading = std::max(reading, raw);
	return reading;
}

} // namespace unblock::core
