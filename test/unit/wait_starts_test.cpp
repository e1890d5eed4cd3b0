#include "core/wait_starts.h"

#include <gtest/gtest.h>
#include <vector>

namespace unblock::core {
namespace {

Time wait_start(Time query_start, Time wait_start) {
	std::vector<Session> sessions(2);
	sessions[1].query_start = query_start;
	std::vector<Waiter> waiters = {{.session = 1, .wait_start = wait_start}};
	forget_earlier_waits(sessions, waiters);
	return waiters[0].wait_start;
}

TEST(WaitStarts, OfTheStatementStay) {
	EXPECT_EQ(wait_start(1000, 1001), 1001);
	EXPECT_EQ(wait_start(1000, 1000), 1000);
}

TEST(WaitStarts, OlderThanTheStatementAreAnEarlierWaits) {
	EXPECT_EQ(wait_start(1000, 999), 0);
}

TEST(WaitStarts, UnknownStaysUnknown) {
	EXPECT_EQ(wait_start(1000, 0), 0);
	EXPECT_EQ(wait_start(0, 0), 0);
}

TEST(WaitStarts, StayWithoutAStatement) { // a session that is still starting, a process without a status
	EXPECT_EQ(wait_start(0, 5), 5);
}

TEST(WaitStarts, EachIsComparedWithItsOwnStatement) {
	std::vector<Session> sessions(3);
	sessions[0].query_start = 50;
	sessions[2].query_start = 10;
	std::vector<Waiter> waiters = {{.session = 2, .wait_start = 20}, {.session = 0, .wait_start = 20}};
	forget_earlier_waits(sessions, waiters);
	EXPECT_EQ(waiters[0].wait_start, 20);
	EXPECT_EQ(waiters[1].wait_start, 0);
}

} // namespace
} // namespace unblock::core
