// Stamps around steps of the wall clock: never read as older than they are,
// and younger by no more than the time between two looks.

#include "core/clock.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace unblock::core::test {
namespace {

constexpr Micros kHour = 3600 * kSecond;
constexpr Micros kMilli = 1'000;
constexpr Time kStart = 800'000 * kHour;

// Both clocks, sessions that publish stamps, and a corrected clock that looks at them.
class ClockTest : public testing::Test {
protected:
	void advance(Micros length) { monotonic += length; }
	void step(Micros by) { offset += by; }
	Time wall() const { return monotonic + offset; }
	ClockReading reading() const { return {wall(), monotonic}; }

	void turn(std::int32_t pid) { state[pid] = {wall(), monotonic}; }
	void begin_statement(std::int32_t pid) { statement[pid] = {wall(), monotonic}; }
	void begin_wait(std::int32_t pid) { wait[pid] = {wall(), monotonic}; }
	void begin_transaction(std::int32_t pid) { xact[pid] = {wall(), monotonic}; }

	Micros look() {
		const Micros noticed = clock.look(reading());
		correct();
		return noticed;
	}

	void correct() {
		sessions.clear();
		waiters.clear();
		for (const auto& [pid, stamp] : state) {
			sessions.push_back({});
			sessions.back().pid = pid;
			sessions.back().state_start = stamp.wall;
			if (const auto transaction = xact.find(pid); transaction != xact.end())
				sessions.back().xact_start = transaction->second.wall;
			if (const auto runs = statement.find(pid); runs != statement.end())
				sessions.back().query_start = runs->second.wall;
			if (const auto waits = wait.find(pid); waits != wait.end())
				waiters.push_back({.session = static_cast<Index>(sessions.size() - 1),
				                   .lock = 0,
				                   .mode = LockMode::share,
				                   .wait_start = waits->second.wall});
		}
		clock.correct(sessions, waiters);
	}

	// Ages as the last look read them.
	Micros age(std::int32_t pid) const {
		for (const Session& session : sessions)
			if (session.pid == pid)
				return clock.last().wall - session.idle_since;
		return -1;
	}
	Micros xact_age(std::int32_t pid) const {
		for (const Session& session : sessions)
			if (session.pid == pid)
				return clock.last().wall - session.xact_since;
		return -1;
	}
	Micros wait_age(std::int32_t pid) const {
		for (const Waiter& waiter : waiters)
			if (sessions[waiter.session].pid == pid)
				return clock.last().wall - waiter.wait_start;
		return -1;
	}

	Clock clock;
	Micros monotonic = 5 * kHour;
	Micros offset = kStart;
	std::map<std::int32_t, ClockReading> state, wait, xact, statement; // by pid: when the stamp was set
	std::map<std::int32_t, ClockReading> hidden;                       // not in the snapshot
	std::vector<Session> sessions;
	std::vector<Waiter> waiters;
};

TEST_F(ClockTest, StampsStayAsTheyAreWhileTheClocksAgree) {
	turn(1);
	begin_wait(1);
	advance(7 * kSecond);
	EXPECT_EQ(look(), 0);
	EXPECT_EQ(age(1), 7 * kSecond);
	EXPECT_EQ(wait_age(1), 7 * kSecond);
	turn(2);
	advance(3 * kSecond);
	EXPECT_EQ(look(), 0);
	EXPECT_EQ(age(1), 10 * kSecond);
	EXPECT_EQ(wait_age(1), 10 * kSecond);
	EXPECT_EQ(age(2), 3 * kSecond);
	EXPECT_EQ(clock.steady_since(), 0);
}

TEST_F(ClockTest, AStepIsWhatExceedsTheTolerance) {
	look();
	step(Clock::kTolerance);
	EXPECT_EQ(look(), 0);
	step(-Clock::kTolerance);
	EXPECT_EQ(look(), 0);
	step(Clock::kTolerance + 1);
	EXPECT_EQ(look(), Clock::kTolerance + 1);
	step(-Clock::kTolerance - 1);
	EXPECT_EQ(look(), -Clock::kTolerance - 1);
	EXPECT_EQ(clock.steady_since(), wall());
}

TEST_F(ClockTest, SeenStampsMoveWithEachStep) {
	turn(1);
	begin_wait(1);
	look();
	Micros truth = 0;
	for (const Micros by : {3 * kHour, -kHour, 300 * kMilli, -300 * kMilli, -10 * kHour}) {
		step(by);
		advance(kSecond);
		truth += kSecond;
		EXPECT_EQ(look(), by);
		EXPECT_EQ(age(1), truth);
		EXPECT_EQ(wait_age(1), truth);
		advance(kSecond);
		truth += kSecond;
		EXPECT_EQ(look(), 0);
		EXPECT_EQ(age(1), truth) << "the shift is kept";
	}
}

TEST_F(ClockTest, AStepSharesNothingBetweenTheTwoStampsOfAProcess) {
	turn(1);
	look();
	step(kHour);
	advance(10 * kMilli);
	begin_wait(1);
	wait[1].wall = state[1].wall; // by chance the same value, but not seen before
	advance(10 * kMilli);
	look();
	EXPECT_EQ(age(1), 20 * kMilli);
	EXPECT_EQ(wait_age(1), 20 * kMilli);
	wait.erase(1);
	advance(kSecond);
	look();
	EXPECT_EQ(age(1), kSecond + 20 * kMilli) << "the end of the wait does not forget the state";
}

// A stamp set between two looks, before or after a step that lies between them too.
TEST_F(ClockTest, TransactionsAndSpellsAreCorrectedEachForItself) {
	begin_transaction(1);
	turn(1);
	look();
	advance(kSecond);
	step(kHour);
	look();
	advance(kSecond);
	turn(1); // its next spell, on the new clock
	advance(kSecond);
	look();
	EXPECT_EQ(xact_age(1), 3 * kSecond);
	EXPECT_EQ(age(1), kSecond);
	xact.erase(1);
	look();
	EXPECT_EQ(sessions.at(0).xact_since, 0) << "in no transaction";
}

TEST_F(ClockTest, BetweenTwoLooksAStampIsNeverOlderThanItIsNorYoungerByMoreThanALook) {
	for (const Micros by : {kHour, -kHour, 300 * kMilli, -300 * kMilli, 2 * kSecond, -2 * kSecond})
		for (const Micros progress : {100 * kMilli, kSecond, 100 * kSecond})
			for (const Micros set : {progress / 10, progress / 2, progress})
				for (const Micros stepped : {Micros{0}, progress / 3, progress}) {
					SCOPED_TRACE(testing::Message() << by << ' ' << progress << ' ' << set << ' ' << stepped);
					look();
					advance(std::min(set, stepped));
					set < stepped ? turn(1) : step(by);
					advance(std::max(set, stepped) - std::min(set, stepped));
					set < stepped ? step(by) : turn(1);
					advance(progress - std::max(set, stepped));
					EXPECT_EQ(look(), by);
					const Micros truth = progress - set;
					EXPECT_LE(age(1), truth);
					EXPECT_GE(age(1), 0);
					advance(5 * kSecond);
					look();
					EXPECT_LE(age(1), truth + 5 * kSecond);
					EXPECT_GE(age(1), 5 * kSecond) << "it ages from the look that saw it first";
				}
}

TEST_F(ClockTest, AnUnambiguousStampIsReadExactly) {
	look();
	advance(kSecond);
	turn(1);
	advance(kSecond);
	step(kHour); // 1 lies before anything that today's clock has shown since
	advance(kSecond);
	turn(2);
	advance(10 * kSecond);
	look();
	EXPECT_EQ(age(1), 12 * kSecond);
	EXPECT_EQ(age(2), 10 * kSecond);

	turn(3);
	advance(kSecond);
	step(-kHour); // 3 lies in the future
	advance(kSecond);
	turn(4);
	advance(kSecond);
	look();
	EXPECT_EQ(age(3), 3 * kSecond);
	EXPECT_EQ(age(4), kSecond);
}

TEST_F(ClockTest, AStampSetBetweenTheReadingAndTheSnapshotIsNotFromBeforeTheStep) {
	look();
	for (const Micros by : {-kHour, kHour, -300 * kMilli}) {
		step(by);
		advance(kSecond);
		clock.look(reading());
		advance(50);
		turn(1);
		correct();
		EXPECT_EQ(age(1), 0) << by;
		advance(kSecond);
		look();
		EXPECT_EQ(age(1), kSecond) << by;
	}
}

TEST_F(ClockTest, AheadByLittleAStampIsReadAsNowAndLaterExactly) {
	look();
	turn(1);
	state[1].wall += 70;
	look();
	EXPECT_EQ(age(1), 0);
	advance(kSecond);
	look();
	EXPECT_EQ(age(1), kSecond - 70);
}

TEST_F(ClockTest, SeveralStepsBetweenTwoLooksMakeNobodyOlder) {
	look();
	advance(kSecond);
	step(-2 * kHour);
	turn(1); // from a clock that is neither the old nor the new one
	step(kHour);
	advance(kSecond);
	look();
	EXPECT_LE(age(1), 2 * kSecond);
	EXPECT_GE(age(1), kSecond) << "here it is even exact to a look";

	step(3 * kHour);
	turn(2);
	step(-kHour);
	advance(kSecond);
	look();
	EXPECT_EQ(age(1), 3 * kSecond);
	EXPECT_LE(age(2), kSecond);
	EXPECT_GE(age(2), 0);
}

TEST_F(ClockTest, AWaitThatHasJustBegunBeginsNow) {
	turn(1);
	begin_wait(1);
	wait[1].wall = 0;
	look();
	EXPECT_EQ(wait_age(1), 0);
	advance(kSecond);
	look();
	EXPECT_EQ(wait_age(1), 0);
}

TEST_F(ClockTest, WhatAnEarlierWaitHasLeftBeginsNow) {
	turn(1);
	begin_statement(1);
	begin_wait(1);
	advance(kSecond);
	look();
	EXPECT_EQ(wait_age(1), kSecond);

	advance(kSecond);
	begin_statement(1); // it waits already, and its stamp is still the first one's
	advance(kMilli);
	look();
	EXPECT_EQ(wait_age(1), 0);

	begin_wait(1);
	advance(kSecond);
	look();
	EXPECT_EQ(wait_age(1), kSecond);
}

TEST_F(ClockTest, AStartThatWasSeenUnderAnotherStatementIsLeftFromAnEarlierWait) {
	turn(1);
	begin_statement(1);
	begin_wait(1);
	advance(kSecond);
	look();
	statement[1].wall -= kMilli; // on a clock that was set back meanwhile
	look();
	EXPECT_EQ(wait_age(1), 0);
}

TEST_F(ClockTest, AWaitStaysAsItIsWhileItsStatementIsUnknown) {
	turn(1);
	begin_statement(1);
	begin_wait(1);
	look();
	step(kHour);
	advance(kSecond);
	look();
	EXPECT_EQ(wait_age(1), kSecond);
	const ClockReading known = statement[1];
	for (const Time query_start : {Time{0}, known.wall}) {
		statement[1].wall = query_start;
		advance(kSecond);
		look();
		EXPECT_EQ(wait_age(1), query_start == 0 ? 2 * kSecond : 3 * kSecond);
	}
}

TEST_F(ClockTest, AWaitThatSeemsOlderThanItsStatementCountsFromTheFirstLook) {
	turn(1);
	begin_statement(1);
	look();
	step(-kHour);
	look();
	advance(kSecond);
	begin_wait(1);
	advance(kSecond);
	look();
	EXPECT_EQ(wait_age(1), 0);
	advance(5 * kSecond);
	look();
	EXPECT_EQ(wait_age(1), 5 * kSecond);
	step(kHour);
	advance(kSecond);
	look();
	EXPECT_EQ(wait_age(1), 6 * kSecond);

	begin_statement(1);
	look();
	EXPECT_EQ(wait_age(1), 0);
}

TEST_F(ClockTest, WhatHasNoStateStampGetsNone) {
	turn(0); // a prepared transaction
	turn(1);
	state[1].wall = 0;
	for (const Micros by : {Micros{0}, kHour}) {
		step(by);
		look();
		EXPECT_EQ(sessions[0].idle_since, 0);
		EXPECT_EQ(sessions[1].idle_since, 0);
	}
}

TEST_F(ClockTest, ForgetsStampsThatAreGone) {
	turn(1);
	const ClockReading set = state[1];
	look();
	state.clear();
	advance(kSecond);
	look();
	step(kHour);
	advance(kSecond);
	state[1] = set; // was not there at the last look: it cannot be from before it
	look();
	EXPECT_EQ(age(1), kSecond);
}

TEST_F(ClockTest, ALookWithoutSnapshotLosesNoStep) {
	turn(1);
	look();
	advance(kSecond);
	turn(2);
	step(kHour);
	EXPECT_EQ(clock.look(reading()), kHour);
	advance(kSecond);
	EXPECT_EQ(clock.look(reading()), 0);
	correct();
	EXPECT_EQ(age(1), 2 * kSecond);
	EXPECT_EQ(age(2), kSecond);
	turn(3);
	advance(kSecond);
	look();
	EXPECT_EQ(age(2), 2 * kSecond);
	EXPECT_EQ(age(3), kSecond);

	advance(500 * kMilli);
	turn(4);
	for (const Micros by : {kHour, 3 * kHour}) {
		step(by);
		EXPECT_EQ(clock.look(reading()), by);
		advance(kSecond);
	}
	look();
	EXPECT_EQ(age(4), 2 * kSecond) << "both steps are later";
}

TEST_F(ClockTest, AnOldStampThatComesIntoSightIsReadAsItIsWithoutAStep) {
	turn(1);
	state.swap(hidden);
	look();
	advance(10 * kSecond);
	look();
	state.swap(hidden);
	look();
	EXPECT_EQ(age(1), 10 * kSecond);
}

TEST_F(ClockTest, DriftBesideAStepIsAllowedFor) {
	// The old clock gained 150 ms before it was set on: a stamp from then is still one of the old clock.
	look();
	advance(10 * kMilli);
	step(150 * kMilli);
	turn(1);
	step(100 * kMilli);
	advance(50 * kMilli);
	look();
	EXPECT_LE(age(1), 50 * kMilli);

	// The new clock gained 100 ms after it was set back, and nobody looked at the stamps in between.
	const ClockReading remembered = clock.last();
	clock = Clock();
	clock.resume(remembered);
	step(-kHour);
	turn(2);
	step(100 * kMilli);
	advance(kSecond);
	look();
	EXPECT_LE(age(2), kSecond + 100 * kMilli);
}

TEST_F(ClockTest, AStepBetweenTwoLivesIsNoticed) {
	turn(1);
	advance(100 * kSecond);
	look();
	for (const Micros by : {kHour, -kHour}) {
		const ClockReading remembered = clock.last();
		const Time steady_since = clock.steady_since();
		step(by);
		advance(kSecond);
		clock = Clock();
		clock.resume(remembered, steady_since);
		EXPECT_EQ(look(), by);
		EXPECT_LE(age(1), monotonic - state[1].monotonic);
		turn(1);
		advance(100 * kSecond);
		look();
	}
	EXPECT_EQ(age(1), 100 * kSecond);
}

TEST_F(ClockTest, AfterResumingOldStampsAreMovedInFull) {
	turn(1);
	advance(100 * kSecond);
	const ClockReading remembered = reading();
	step(kHour);
	advance(kSecond);
	clock.resume(remembered);
	look();
	EXPECT_EQ(age(1), 101 * kSecond);
}

TEST_F(ClockTest, StepsOfAnEarlierLifeAgeNobody) {
	turn(1);
	advance(100 * kSecond);
	look();
	step(kHour);
	advance(kSecond);
	look();
	turn(2);
	advance(10 * kSecond);
	look();
	const ClockReading remembered = clock.last();
	const Time steady_since = clock.steady_since();
	clock = Clock();
	clock.resume(remembered, steady_since);
	advance(5 * kSecond);
	look();
	EXPECT_EQ(age(1), 15 * kSecond) << "1 is known to be no younger than the step";
	EXPECT_EQ(age(2), 15 * kSecond);

	clock = Clock();
	clock.resume(remembered, steady_since);
	step(-kHour);
	look();
	EXPECT_EQ(age(1), 15 * kSecond);
	EXPECT_EQ(age(2), 15 * kSecond);
}

TEST_F(ClockTest, AStampFromAFutureThatNobodyRemembersAgesFromTheFirstLook) {
	turn(1);
	step(-kHour);
	look();
	EXPECT_EQ(age(1), 0);
	advance(10 * kSecond);
	look();
	EXPECT_EQ(age(1), 10 * kSecond);
}

// Random stamps, steps and looks. The truth is the age on the monotonic clock.
TEST_F(ClockTest, RandomStepsNeverMakeAStampOlder) {
	std::mt19937_64 random(7);
	const auto pick = [&random](Micros low, Micros high) {
		return std::uniform_int_distribution<Micros>(low, high)(random);
	};
	std::map<std::int32_t, Micros> doubt; // length of the look interval in which the stamp was set
	Micros last_look = monotonic;
	bool stepped = false;
	int steps = 0;
	for (int round = 0; round < 20'000; ++round) {
		advance(pick(1, 400 * kMilli));
		switch (pick(0, 3)) {
		case 0: {
			const auto pid = static_cast<std::int32_t>(pick(1, 6));
			turn(pid);
			doubt.erase(pid);
			break;
		}
		case 1: {
			const auto pid = static_cast<std::int32_t>(pick(1, 6));
			turn(pid);
			begin_wait(pid);
			doubt.erase(pid);
			break;
		}
		case 2:
			if (!stepped && pick(0, 3) == 0) {
				// Small steps and large ones, each beyond the tolerance, one between two looks.
				const Micros size = pick(0, 1) ? pick(201 * kMilli, kSecond) : pick(kSecond, 3 * kHour);
				step(pick(0, 1) ? size : -size);
				stepped = true;
				++steps;
			}
			break;
		default:
			look();
			for (const auto& [pid, stamp] : state) {
				const Micros truth = monotonic - stamp.monotonic;
				doubt.try_emplace(pid, monotonic - last_look);
				ASSERT_LE(age(pid), truth) << "round " << round << ", pid " << pid;
				// A stamp of the old clock just ahead of today's may be one of the new clock.
				ASSERT_GE(age(pid), truth - doubt[pid] - Clock::kTolerance)
				    << "round " << round << ", pid " << pid;
			}
			for (const auto& [pid, stamp] : wait)
				ASSERT_LE(wait_age(pid), monotonic - stamp.monotonic) << "round " << round;
			last_look = monotonic;
			stepped = false;
		}
	}
	EXPECT_GT(steps, 100);
}

} // namespace
} // namespace unblock::core::test
