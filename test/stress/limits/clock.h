// The clock that client and server share, and random numbers.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <random>

namespace unblock::stress {

// A length of time in microseconds, or a moment in microseconds since 1970.
using Micros = std::int64_t;

inline constexpr Micros kMillisecond = 1'000;
inline constexpr Micros kSecond = 1'000'000;
inline constexpr Micros kNever = std::numeric_limits<Micros>::max();

template <class Clock>
Micros read_clock() {
	return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch()).count();
}

// CLOCK_REALTIME, which is the server's clock_timestamp(), on the same machine.
inline Micros now() {
	return read_clock<std::chrono::system_clock>();
}

// How far the wall clock is ahead of the clock that nobody sets.
inline Micros wall_clock_lead() {
	return now() - read_clock<std::chrono::steady_clock>();
}

class Dice {
public:
	explicit Dice(std::uint64_t seed) : generator_(seed) {}

	bool chance(double probability) { return std::bernoulli_distribution(probability)(generator_); }

	Micros between(Micros least, Micros most) {
		return std::uniform_int_distribution<Micros>(least, most)(generator_);
	}

	// Within `reach` of `middle`, most often close to it.
	Micros around(Micros middle, Micros reach) {
		return middle + (between(-reach, reach) + between(-reach, reach)) / 2;
	}

private:
	std::mt19937_64 generator_;
};

} // namespace unblock::stress
