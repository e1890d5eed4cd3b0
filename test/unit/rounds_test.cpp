// What happens after a decision: rounds, cancels that help and that do not, dry
// run, and statements that are canceled together.

#include "core/policy.h"
#include "virtual_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

namespace unblock::core::test {
namespace {

// A table, who holds it, and a queue for it.
class RoundsTest : public testing::Test {
protected:
	Index holder(const Limits& limits, bool idle) {
		const Index client = server.connect(limits);
		server.work(client);
		server.hold(client, table);
		if (idle)
			server.idle_in_transaction(client);
		return client;
	}
	Index waiter(const Limits& limits = {}, LockMode mode = LockMode::access_exclusive) {
		const Index client = server.connect(limits);
		server.work(client);
		server.wait(client, table, mode);
		return client;
	}
	Index reader() { return waiter({}, LockMode::access_share); }

	// Looks at once and as often as planned, until there is a decision or the time has passed.
	std::vector<Decision> next(Micros at_most = 3600 * kSecond) {
		const Micros end = server.monotonic() + at_most;
		for (;;) {
			if (const Turn turn = enforcer.look(server); !turn.decisions.empty())
				return turn.decisions;
			if (server.monotonic() >= end)
				return {};
			server.advance(std::min(enforcer.last.sleep.value_or(at_most), end - server.monotonic()));
		}
	}
	static std::vector<Index> sessions(const std::vector<Decision>& decisions) {
		std::vector<Index> found;
		for (const Decision& decision : decisions)
			found.push_back(decision.session);
		return found;
	}
	void carry_out(Index session) { enforcer.carry_out(server, session); }

	VirtualServer server;
	VirtualEnforcer enforcer{kSecond};
	Index table = server.lock();
};

constexpr Limits kMigration = {.queued_blocker = 5 * kSecond};

TEST_F(RoundsTest, AllThatJamAReaderAreCanceledTogether) {
	const Index busy = holder({.queued_blocker = kSecond}, false);
	const std::vector<Index> migrations = {waiter(kMigration), waiter(kMigration), waiter(kMigration)};
	for (int i = 0; i < 20; ++i)
		reader();
	const Micros begin = server.monotonic();
	const std::vector<Decision> decisions = next();
	EXPECT_EQ(server.monotonic() - begin, 5 * kSecond);
	std::vector<Index> canceled = sessions(decisions);
	std::ranges::sort(canceled);
	EXPECT_EQ(canceled, migrations) << "and not the working holder";
	for (const Decision& decision : decisions) {
		EXPECT_EQ(decision.action, Action::cancel);
		EXPECT_EQ(decision.must_block, MustBlock::in_queue);
		EXPECT_TRUE(decision.same_spell);
		EXPECT_EQ(decision.measured, 5 * kSecond);
		EXPECT_EQ(decision.waiter, 3U) << "the reader that has waited longest";
		EXPECT_GE(decision.blocked, 20U);
	}
	EXPECT_FALSE(server.is_hard_blocker(server.client(migrations[0])));
	EXPECT_FALSE(server.clients()[busy].session.kind == Kind::unknown);
}

TEST_F(RoundsTest, AStatementIsCanceledOnceForItsPlaceInTheQueue) {
	holder({}, false);
	const Index migration = waiter(kMigration);
	reader();
	EXPECT_EQ(sessions(next()), std::vector{migration});
	enforcer.carry_out(server, migration, false); // it was in another state in the last moment
	EXPECT_EQ(sessions(next()), std::vector{migration});
	carry_out(migration);
	EXPECT_TRUE(next().empty()) << "it swallows the cancel, and waits on";
	server.work(migration); // the next statement
	server.wait(migration, table);
	EXPECT_TRUE(next(kSecond).empty()) << "now it stands behind the reader";
	reader();
	EXPECT_EQ(sessions(next()), std::vector{migration});
}

TEST_F(RoundsTest, AStatementJamsNobodyBeforeItStandsInTheQueue) {
	holder({}, false);
	const Index first = reader();
	waiter({}, LockMode::share); // in whose way the reader is not
	server.advance(60 * kSecond);
	const Index migration = waiter(kMigration);
	std::swap(server.client(first).place, server.client(migration).place); // it held the lock in another mode
	const Micros begin = server.monotonic();
	EXPECT_EQ(sessions(next()), std::vector{migration});
	EXPECT_EQ(server.monotonic() - begin, 5 * kSecond);
}

TEST_F(RoundsTest, IdleBlockersGoBeforeTheQueueBehindThem) {
	const Index idle = holder({.idle_blocker = 5 * kSecond}, true);
	const Index migration = waiter(kMigration);
	reader();
	server.advance(30 * kSecond); // all limits are broken
	EXPECT_EQ(sessions(next()), std::vector{idle});
	carry_out(idle);
	EXPECT_TRUE(next(Policy::kLongestRound - 1).empty()) << "it has not gone yet";
	EXPECT_EQ(sessions(next()), std::vector{migration}) << "and does not go";
}

TEST_F(RoundsTest, AQueueThatMovesOnIsLeftAlone) {
	const Index idle = holder({.idle_blocker = 5 * kSecond}, true);
	const Index migration = waiter(kMigration);
	const Index behind = reader();
	server.advance(30 * kSecond);
	EXPECT_EQ(sessions(next()), std::vector{idle});
	carry_out(idle);
	server.leave(idle);
	server.stop_waiting(migration);
	server.hold(migration, table, LockMode::access_exclusive);
	EXPECT_TRUE(next().empty());
	server.commit(migration);
	server.stop_waiting(behind);
}

TEST_F(RoundsTest, QueuedBlockersGoBeforeThoseAtWork) {
	const Index busy = holder({.active_blocker = 5 * kSecond}, false);
	const Index migration = waiter(kMigration);
	reader();
	server.advance(30 * kSecond);
	enforcer.look(server); // the work counts from here on
	server.advance(30 * kSecond);
	EXPECT_EQ(sessions(next()), std::vector{migration});
	carry_out(migration);
	EXPECT_TRUE(next(100 * kMilli).empty());
	server.abort(migration);
	server.stop_waiting(migration);
	EXPECT_TRUE(next().empty()) << "the one at work blocks nobody any more";
	waiter();
	EXPECT_EQ(sessions(next()), std::vector{busy});
}

class RoundsCancel : public RoundsTest {
protected:
	static constexpr Micros kGrace = 3 * kSecond;
	Index canceled(Micros grace) {
		const Index busy = holder({.active_blocker = 5 * kSecond, .cancel_grace = grace}, false);
		waiter();
		const std::vector<Decision> decisions = next();
		EXPECT_EQ(sessions(decisions), std::vector{busy});
		EXPECT_EQ(decisions.at(0).action, Action::cancel);
		EXPECT_EQ(decisions.at(0).since_cancel, 0);
		carry_out(busy);
		began = server.monotonic();
		return busy;
	}
	void expect_terminated(Index busy) {
		const std::vector<Decision> decisions = next();
		ASSERT_EQ(sessions(decisions), std::vector{busy});
		EXPECT_EQ(decisions.front().action, Action::terminate);
		EXPECT_EQ(decisions.front().rule, Rule::active_blocker);
		EXPECT_EQ(decisions.front().must_block, MustBlock::as_holder);
		EXPECT_FALSE(decisions.front().same_spell) << "whatever it does by now";
		EXPECT_GE(decisions.front().since_cancel, kGrace);
		EXPECT_GE(server.monotonic(), began + kGrace);
		EXPECT_LE(server.monotonic(), began + kGrace + Policy::kShortestSleep);
	}
	Micros began = 0;
};

TEST_F(RoundsCancel, WhoStillBlocksAfterTheGraceIsEnded) {
	const Index busy = canceled(kGrace);
	expect_terminated(busy);
	carry_out(busy);
	EXPECT_TRUE(next().empty()) << "once";
}

TEST_F(RoundsCancel, WhoIdlesInASavepointOnTheLocksToo) {
	const Index busy = canceled(kGrace);
	server.idle_in_transaction(busy);
	expect_terminated(busy);
}

TEST_F(RoundsCancel, WhoGoesOnWithAnotherStatementToo) {
	const Index busy = canceled(kGrace);
	server.advance(kSecond);
	server.work(busy);
	expect_terminated(busy);
}

TEST_F(RoundsCancel, WhoBlocksSomebodyElseMuchLaterHasTheGraceAgain) {
	const Index busy = canceled(kGrace);
	server.idle_in_transaction(busy);
	server.stop_waiting(1);
	EXPECT_TRUE(next(60 * kSecond).empty());
	EXPECT_GE(enforcer.last.sleep, kSecond) << "nor is it looked at all the time";
	waiter();
	began = server.monotonic();
	expect_terminated(busy);
}

TEST_F(RoundsCancel, WhoBlocksNobodyAnyMoreIsNot) {
	const Index busy = canceled(kGrace);
	server.client(busy).held.clear();
	EXPECT_TRUE(next().empty());
}

TEST_F(RoundsCancel, WithoutGraceNobodyIsEndedOrCanceledAgain) {
	canceled(0);
	EXPECT_TRUE(next().empty());
}

TEST_F(RoundsCancel, AnotherTransactionBeginsAnew) {
	const Index busy = canceled(kGrace);
	server.commit(busy);
	server.work(busy);
	server.hold(busy, table);
	const std::vector<Decision> decisions = next();
	ASSERT_EQ(sessions(decisions), std::vector{busy});
	EXPECT_EQ(decisions.front().action, Action::cancel);
	EXPECT_EQ(server.monotonic() - began, 5 * kSecond);
}

TEST_F(RoundsTest, TheFuseHoldsBackCancelsToo) {
	enforcer.cluster.max_actions_per_minute = 2;
	holder({}, false);
	for (int i = 0; i < 3; ++i)
		waiter(kMigration);
	reader();
	EXPECT_EQ(next().size(), 2U);
	EXPECT_TRUE(enforcer.last.fuse_blown);
}

TEST_F(RoundsTest, OneStatementThatPreemptsTakesAllInItsWayAtOnce) {
	const std::vector<Index> idle = {holder({}, true), holder({}, true), holder({}, true)};
	const Index busy = holder({}, false);
	const Index migration = waiter({.preempt_idle_blockers_after = 5 * kSecond});
	const std::vector<Decision> decisions = next();
	EXPECT_EQ(sessions(decisions), idle) << "and not " << busy;
	for (const Decision& decision : decisions) {
		EXPECT_EQ(decision.preempting, 0U);
		EXPECT_EQ(decision.limit, 5 * kSecond);
		EXPECT_EQ(decision.measured, 5 * kSecond);
	}
	EXPECT_EQ(server.clients()[migration].session.kind, Kind::client);
}

TEST_F(RoundsTest, OfSeveralWhoPreemptTheOneInEarnestCounts) {
	const Index idle = holder({}, true);
	waiter({.mode = Mode::dry_run, .preempt_idle_blockers_after = kSecond});
	std::vector<Decision> decisions = next();
	ASSERT_EQ(sessions(decisions), std::vector{idle});
	EXPECT_TRUE(decisions.front().dry_run);
	EXPECT_TRUE(next(60 * kSecond).empty()) << "once";
	waiter({.preempt_idle_blockers_after = 5 * kSecond});
	decisions = next();
	ASSERT_EQ(sessions(decisions), std::vector{idle});
	EXPECT_FALSE(decisions.front().dry_run);
	EXPECT_EQ(decisions.front().limit, 5 * kSecond);
	EXPECT_EQ(decisions.front().preempting, 1U);
}

Limits dry(Limits limits) {
	limits.mode = Mode::dry_run;
	return limits;
}

TEST_F(RoundsTest, InDryRunWhoWouldHaveGoneOnIsNotReported) {
	const Index idle = holder(dry({.idle_blocker = 2 * kSecond}), true);
	const Index migration = waiter(dry(kMigration));
	reader();
	EXPECT_EQ(sessions(next()), std::vector{idle});
	EXPECT_TRUE(next().empty()) << "the migration would have been through for long";
	const Index busy = holder({}, false);
	EXPECT_EQ(sessions(next()), std::vector{migration}) << "somebody else is in its way";
	server.leave(busy);
}

TEST_F(RoundsTest, InDryRunWhoWouldBlockNobodyIsNotReported) {
	const Index busy = holder(dry({.active_blocker = 20 * kSecond}), false);
	const Index migration = waiter(dry(kMigration));
	reader();
	EXPECT_EQ(sessions(next()), std::vector{migration});
	EXPECT_TRUE(next().empty());
	server.leave(migration);
	waiter();
	EXPECT_EQ(sessions(next()), std::vector{busy});
}

TEST_F(RoundsTest, ADryRunHoldsBackNobodyInEarnest) {
	const Index idle = holder(dry({.idle_blocker = 5 * kSecond}), true);
	const Index migration = waiter(kMigration);
	const Index rehearsing = waiter(dry(kMigration));
	reader();
	server.advance(30 * kSecond);
	EXPECT_EQ(sessions(next()), (std::vector{idle, migration})) << "nobody will end the idle one";
	carry_out(migration);
	EXPECT_TRUE(next().empty()) << "the idle one would be gone, and so nothing is said of " << rehearsing;
}

} // namespace
} // namespace unblock::core::test
