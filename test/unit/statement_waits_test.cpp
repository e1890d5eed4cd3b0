// Blocked time of statements that wait for several locks one after another.

#include "core/statement_waits.h"
#include "graph_builder.h"

#include <gtest/gtest.h>

namespace unblock::core {
namespace {

// One session that waits, or not, and looks at it.
class Statement {
public:
	static constexpr Time kNotWaiting = -1;

	Session session;

	Statement() {
		session.pid = 7;
		session.backend_start = 1;
		session.query_start = 100;
	}

	Micros look(Time now, Time wait_start) {
		Waiter waiter;
		waiter.session = 0;
		waiter.lock = 0;
		waiter.wait_start = wait_start;
		Snapshot snapshot;
		snapshot.now = now;
		snapshot.sessions = {&session, 1};
		if (wait_start != kNotWaiting)
			snapshot.waiters = {&waiter, 1};
		Lock lock;
		snapshot.locks = {&lock, 1};
		waits_.look(snapshot, {&session, 1}, now);
		return session.blocked_before;
	}

private:
	StatementWaits waits_;
};

constexpr Time at(Micros seconds) {
	return 1000 * kSecond + seconds * kSecond;
}

TEST(StatementWaits, FirstWaitHasNothingBefore) {
	Statement s;
	EXPECT_EQ(s.look(at(5), at(1)), 0);
	EXPECT_EQ(s.look(at(9), at(1)), 0);
}

TEST(StatementWaits, EarlierWaitsAddUpAsFarAsTheyWereSeen) {
	Statement s;
	s.look(at(5), at(1));                           // 4 s of the first wait seen
	EXPECT_EQ(s.look(at(10), at(8)), 4 * kSecond);  // the second began at 8
	EXPECT_EQ(s.look(at(12), at(8)), 4 * kSecond);  // … and goes on: 4 s of it seen
	EXPECT_EQ(s.look(at(14), at(13)), 8 * kSecond); // the third
}

TEST(StatementWaits, WaitsThatEndedBetweenTwoLooksStayCounted) {
	Statement s;
	s.look(at(5), at(1));
	EXPECT_EQ(s.look(at(7), Statement::kNotWaiting), 4 * kSecond);
	EXPECT_EQ(s.look(at(9), at(8)), 4 * kSecond);
}

TEST(StatementWaits, NextStatementBeginsAtZero) {
	Statement s;
	s.look(at(5), at(1));
	s.look(at(8), at(7));
	s.session.query_start = 200;
	EXPECT_EQ(s.look(at(10), at(9)), 0);
}

TEST(StatementWaits, NextSessionWithTheSamePidBeginsAtZero) {
	Statement s;
	s.look(at(5), at(1));
	s.look(at(8), at(7));
	s.session.backend_start = 2;
	EXPECT_EQ(s.look(at(10), at(9)), 0);
}

TEST(StatementWaits, WaitWithoutStartCountsAsJustBegun) {
	Statement s;
	s.look(at(5), at(1));
	EXPECT_EQ(s.look(at(10), 0), 4 * kSecond);
	EXPECT_EQ(s.look(at(11), at(10)), 4 * kSecond);
}

} // namespace
} // namespace unblock::core
