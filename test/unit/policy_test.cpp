// The rules in virtual time: single scenes first, then random worlds whose own
// books say what truly happened.

#include "core/next_limit.h"
#include "core/policy.h"

#include "graph_builder.h"
#include "virtual_server.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace unblock::core::test {
namespace {

constexpr Limits idle_limit(Micros limit) {
	return {.idle_in_transaction = limit};
}
constexpr Limits blocker_limit(Micros limit) {
	return {.idle_blocker = limit};
}
Limits with(Limits limits, Mode mode) {
	limits.mode = mode;
	return limits;
}

// One table, one client that holds it, and one migration that may wait for it.
class PolicyTest : public testing::Test {
protected:
	Index leak(const Limits& limits) {
		const Index client = server.connect(limits);
		server.work(client);
		server.hold(client, table);
		server.idle_in_transaction(client);
		return client;
	}
	void migrate() {
		if (migration == kNone) {
			migration = server.connect();
			server.work(migration);
		}
		server.wait(migration, table);
	}
	Turn look() { return enforcer.look(server); }
	// Sleeps as told and looks again, until there is a decision.
	Turn follow_sleep(int at_most = 1000) {
		Turn turn = look();
		while (turn.decisions.empty() && turn.sleep && at_most-- > 0) {
			server.advance(*turn.sleep);
			turn = look();
		}
		return turn;
	}

	VirtualServer server;
	VirtualEnforcer enforcer;
	Index table = server.lock();
	Index migration = kNone;
};

TEST_F(PolicyTest, IdleInTransactionBreaksItsLimitToTheMicrosecond) {
	const Index client = leak(idle_limit(2 * kSecond));
	Turn turn = look();
	EXPECT_TRUE(turn.decisions.empty());
	EXPECT_EQ(turn.sleep, 2 * kSecond);
	server.advance(2 * kSecond - 1);
	turn = look();
	EXPECT_TRUE(turn.decisions.empty());
	EXPECT_EQ(turn.sleep, Policy::kShortestSleep);
	server.advance(1);
	turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	const Decision& decision = turn.decisions.front();
	EXPECT_EQ(decision.session, client);
	EXPECT_EQ(decision.rule, Rule::idle_in_transaction);
	EXPECT_EQ(decision.action, Action::terminate);
	EXPECT_EQ(decision.limit, 2 * kSecond);
	EXPECT_EQ(decision.measured, 2 * kSecond);
	EXPECT_EQ(decision.blocked, 0U);
	EXPECT_EQ(decision.waiter, kNone);
	EXPECT_FALSE(decision.dry_run);
	EXPECT_FALSE(decision.stalled);
	EXPECT_EQ(decision.must_block, MustBlock::no);
}

TEST_F(PolicyTest, AnAbortedTransactionIsIdleToo) {
	const Index client = leak(idle_limit(2 * kSecond));
	server.advance(kSecond);
	server.abort(client);
	server.advance(2 * kSecond - 1);
	EXPECT_TRUE(look().decisions.empty());
	server.advance(1);
	EXPECT_EQ(look().decisions.size(), 1U);
}

TEST_F(PolicyTest, IdleOutsideATransactionIsNobodysBusiness) {
	const Index client = leak({.idle_in_transaction = 2 * kSecond, .idle_blocker = kSecond});
	server.commit(client);
	server.advance(kHour);
	const Turn turn = look();
	EXPECT_TRUE(turn.decisions.empty());
	EXPECT_EQ(turn.sleep, std::nullopt) << "nothing pending, no limit to come";
}

TEST_F(PolicyTest, AKeepAliveStartsIdleTimeAnew) {
	const Index client = leak(idle_limit(2 * kSecond));
	for (int i = 0; i < 10; ++i) {
		server.advance(1500 * kMilli);
		EXPECT_TRUE(look().decisions.empty());
		server.work(client);
		server.idle_in_transaction(client);
	}
}

TEST_F(PolicyTest, BusyClientsAndUnknownStatesAreLeftAlone) {
	const Limits limits{.idle_in_transaction = kSecond, .idle_blocker = kSecond};
	const Index busy = leak(limits);
	server.work(busy);
	const Index unknown = leak(limits);
	server.client(unknown).session.state = State::unknown;
	const Index disabled = leak(limits);
	server.client(disabled).session.state = State::disabled;
	const Index standby = leak(limits);
	server.work(standby);
	server.client(standby).session.wait = Wait::sync_rep;
	const Index unstamped = leak(limits);
	server.client(unstamped).session.state_start = 0;
	const Index follower = leak(limits);
	server.client(follower).session.leader = busy;
	migrate();
	EXPECT_TRUE(enforcer.watch(server, 500 * kMilli, 20 * kSecond).empty());
}

TEST_F(PolicyTest, OnlyClientBackendsAreEnded) {
	for (const Kind kind : {Kind::worker, Kind::autovacuum, Kind::walsender, Kind::startup, Kind::background,
	                        Kind::prepared, Kind::unknown}) {
		const Index other = leak({.idle_in_transaction = kSecond, .idle_blocker = kSecond});
		server.client(other).session.kind = kind;
	}
	migrate();
	EXPECT_TRUE(enforcer.watch(server, 500 * kMilli, 20 * kSecond).empty());
}

TEST_F(PolicyTest, AnIdleBlockerIsEndedOnceItHasBlockedThatLong) {
	const Index client = leak(blocker_limit(2 * kSecond));
	EXPECT_TRUE(enforcer.watch(server, kSecond, kHour).empty()) << "idle for an hour, but in nobody's way";
	migrate();
	const Index reader = server.connect(); // waits for the migration only
	server.work(reader);
	server.wait(reader, table, LockMode::access_share);
	server.advance(2 * kSecond - 1);
	EXPECT_TRUE(look().decisions.empty());
	server.advance(1);
	const Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	const Decision& decision = turn.decisions.front();
	EXPECT_EQ(decision.session, client);
	EXPECT_EQ(decision.rule, Rule::idle_blocker);
	EXPECT_EQ(decision.action, Action::terminate);
	EXPECT_EQ(decision.limit, 2 * kSecond);
	EXPECT_EQ(decision.measured, 2 * kSecond);
	EXPECT_EQ(decision.blocked, 2U);
	EXPECT_EQ(decision.waiter, 0U);
	EXPECT_EQ(decision.must_block, MustBlock::as_holder);
}

TEST_F(PolicyTest, AWaitOlderThanTheIdleSpellCountsFromTheSpell) {
	const Index client = leak(blocker_limit(2 * kSecond));
	server.work(client);
	migrate();
	EXPECT_TRUE(enforcer.watch(server, 700 * kMilli, 10 * kSecond).empty()) << "blocks, but works";
	server.idle_in_transaction(client);
	server.advance(2 * kSecond - 1);
	EXPECT_TRUE(look().decisions.empty());
	server.advance(1);
	EXPECT_EQ(look().decisions.size(), 1U);
}

TEST_F(PolicyTest, SpellsOfOneTransactionAddUp) {
	const Index client = leak(blocker_limit(2 * kSecond));
	migrate();
	for (int i = 0; i < 3; ++i) { // keep-alive statements
		server.advance(600 * kMilli);
		EXPECT_TRUE(look().decisions.empty());
		server.work(client);
		server.advance(5 * kMilli);
		EXPECT_EQ(look().sleep, 2 * kSecond - (i + 1) * 600 * kMilli) << "it could be idle again at once";
		server.idle_in_transaction(client);
	}
	EXPECT_EQ(enforcer.policy.counted(server.client(client).session).sum, 1800 * kMilli);
	server.advance(200 * kMilli);
	const Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().measured, 2 * kSecond);
}

TEST_F(PolicyTest, ANewTransactionBeginsAtZero) {
	const Index client = leak(blocker_limit(2 * kSecond));
	for (int i = 0; i < 5; ++i) {
		migrate();
		server.advance(1500 * kMilli);
		EXPECT_TRUE(look().decisions.empty());
		EXPECT_EQ(enforcer.policy.counted(server.client(client).session).sum, 1500 * kMilli);
		server.commit(client);
		server.stop_waiting(migration);
		EXPECT_EQ(enforcer.policy.counted(server.client(client).session).sum, 0);
		server.advance(kMilli);
		server.work(client);
		server.hold(client, table);
		server.idle_in_transaction(client);
	}
}

TEST_F(PolicyTest, TransactionsOfOneMessageAreToldByTheirIds) {
	const Index client = leak(blocker_limit(2 * kSecond));
	migrate();
	server.advance(1500 * kMilli);
	look();
	Session& session = server.client(client).session;
	++session.local_xid; // xact_start is that of the message
	server.idle_in_transaction(client);
	server.advance(1500 * kMilli);
	EXPECT_TRUE(look().decisions.empty());
	EXPECT_EQ(enforcer.policy.counted(session).sum, 1500 * kMilli);
}

TEST_F(PolicyTest, WhoCouldBeSeenToWaitOrIdleIsLookedAtEachSecond) {
	enforcer.cluster.smallest_limit = kHour;
	const Index busy = leak({.active_blocker = kHour});
	server.work(busy);
	EXPECT_EQ(look().sleep, kHour) << "blocks nobody";
	migrate();
	EXPECT_EQ(look().sleep, Policy::kWatchful);
	server.client(busy).session.limits = {};
	EXPECT_EQ(look().sleep, kHour);
	server.client(migration).session.limits = {.queued_blocker = kHour};
	EXPECT_EQ(look().sleep, Policy::kWatchful);
}

TEST_F(PolicyTest, AStatementThatPreemptsIsWatchedWhileItRuns) {
	enforcer.cluster.smallest_limit = kHour;
	const Index busy = leak({});
	server.work(busy);
	migrate();
	server.client(migration).session.limits = {.preempt_idle_blockers_after = kSecond};
	server.advance(2 * kSecond);
	EXPECT_EQ(look().sleep, kGap);
	server.stop_waiting(migration);
	server.advance(kMilli);
	EXPECT_EQ(look().sleep, kGap) << "the next lock may be in somebody's way";
	server.idle_in_transaction(migration);
	EXPECT_EQ(look().sleep, kHour);
}

TEST_F(PolicyTest, ASuccessorWithTheSamePidInheritsNothing) {
	const Index client = leak(blocker_limit(2 * kSecond));
	migrate();
	server.advance(1500 * kMilli);
	look();
	Session& session = server.client(client).session;
	++session.backend_start; // as of another backend, whatever else is the same
	EXPECT_EQ(enforcer.policy.counted(session).sum, 0);
	server.work(client);
	server.idle_in_transaction(client);
	server.advance(1500 * kMilli);
	EXPECT_TRUE(look().decisions.empty());
	EXPECT_EQ(enforcer.policy.counted(session).sum, 1500 * kMilli);
}

TEST_F(PolicyTest, WhoIsGoneIsForgotten) {
	const Index client = leak(blocker_limit(2 * kSecond));
	migrate();
	server.advance(kSecond);
	look();
	EXPECT_EQ(enforcer.policy.counted(server.client(client).session).sum, kSecond);
	server.client(client).session.kind = Kind::unknown;
	look();
	EXPECT_EQ(enforcer.policy.counted(server.client(client).session).sum, 0);
}

TEST_F(PolicyTest, ABatchJobWithShortGapsHardlyCollectsAny) {
	const Index client = leak(blocker_limit(2 * kSecond));
	migrate();
	enforcer.cluster.smallest_limit = 2 * kSecond;
	Micros next_look = server.monotonic();
	int looks = 0;
	for (int statement = 0; statement < 3000; ++statement) { // ten minutes
		server.work(client);
		server.advance(199 * kMilli);
		server.idle_in_transaction(client);
		server.advance(kMilli);
		if (server.monotonic() >= next_look) { // in a gap each time
			const Turn turn = look();
			++looks;
			ASSERT_TRUE(turn.decisions.empty());
			next_look = server.monotonic() + *turn.sleep;
		}
	}
	EXPECT_LE(enforcer.policy.counted(server.client(client).session).sum, looks * kMilli);
	EXPECT_GT(looks, 200);
}

TEST_F(PolicyTest, WaitsForAdvisoryLocksCountOnlyWhereAskedFor) {
	table = server.lock(true);
	const Index leader = leak(blocker_limit(2 * kSecond));
	migrate();
	EXPECT_TRUE(enforcer.watch(server, kSecond, kHour).empty());
	server.client(leader).session.limits.count_advisory_locks = true;
	server.advance(2 * kSecond);
	EXPECT_EQ(look().decisions.size(), 1U);
}

TEST_F(PolicyTest, TheWaiterOfADecisionIsOneThatCounts) {
	const Index advisory = server.lock(true);
	const Index client = leak({.idle_in_transaction = 5 * kSecond, .idle_blocker = 2 * kSecond});
	server.hold(client, advisory, LockMode::exclusive);
	const Index follower = server.connect();
	server.work(follower);
	server.wait(follower, advisory, LockMode::exclusive);
	server.advance(kSecond);
	migrate();
	EXPECT_TRUE(enforcer.watch(server, kSecond / 2, 2 * kSecond - 1).size() == 1);
	const Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().rule, Rule::idle_blocker);
	EXPECT_EQ(turn.decisions.front().waiter, 0U) << "the migration, though the other waits longer";
	server.stop_waiting(migration);
	server.advance(2 * kSecond);
	const Turn later = look();
	ASSERT_EQ(later.decisions.size(), 1U);
	EXPECT_EQ(later.decisions.front().rule, Rule::idle_in_transaction);
	EXPECT_EQ(later.decisions.front().waiter, 0U) << "told, though it does not count";
}

TEST_F(PolicyTest, ASessionIdleWithSessionLocksIsABlocker) {
	const Index client = leak({.idle_in_transaction = kSecond, .idle_blocker = 2 * kSecond});
	server.commit(client, true);
	migrate();
	server.advance(1500 * kMilli);
	EXPECT_TRUE(look().decisions.empty());
	server.work(client); // each spell for itself
	server.commit(client, true);
	server.advance(1500 * kMilli);
	EXPECT_TRUE(look().decisions.empty());
	server.advance(500 * kMilli);
	const Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().rule, Rule::idle_blocker);
}

TEST_F(PolicyTest, QueuedBlockersAreNotIdleBlockers) {
	// The migration waits for the leak, readers wait for the migration: its client is not to blame.
	leak({});
	migrate();
	server.client(migration).session.limits = {.idle_in_transaction = kSecond, .idle_blocker = kSecond};
	const Index reader = server.connect();
	server.work(reader);
	server.wait(reader, table, LockMode::access_share);
	EXPECT_TRUE(enforcer.watch(server, kSecond, 20 * kSecond).empty());
}

TEST_F(PolicyTest, EveryHolderIsJudgedByItself) {
	const Index first = leak(blocker_limit(2 * kSecond));
	const Index busy = leak(blocker_limit(2 * kSecond));
	server.work(busy);
	migrate();
	server.advance(kSecond);
	const Index second = leak(blocker_limit(3 * kSecond));
	leak({});
	server.advance(kSecond);
	Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U) << "though a busy one still stands in the way";
	EXPECT_EQ(turn.decisions.front().session, first);
	enforcer.carry_out(server, first);
	turn = follow_sleep();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().session, second);
	EXPECT_EQ(turn.decisions.front().measured, 3 * kSecond);
}

class PolicyStalled : public PolicyTest {
protected:
	Index stalled_copy(const Limits& limits, Wait wait = Wait::client_read) {
		const Index client = leak(limits);
		server.work(client);
		server.advance(10 * kMilli);
		server.stall(client, wait);
		return client;
	}
};

TEST_F(PolicyStalled, CountsFromTheLookThatSawItFirst) {
	for (const Wait wait : {Wait::client_read, Wait::client_write}) {
		enforcer.cluster.smallest_limit = 2 * kSecond;
		const Index client = stalled_copy(idle_limit(2 * kSecond), wait);
		server.advance(10 * kSecond);
		EXPECT_EQ(look().sleep, 2 * kSecond);
		server.advance(2 * kSecond - 1);
		EXPECT_TRUE(look().decisions.empty());
		server.advance(1);
		const Turn turn = look();
		ASSERT_EQ(turn.decisions.size(), 1U);
		EXPECT_EQ(turn.decisions.front().measured, 2 * kSecond);
		EXPECT_TRUE(turn.decisions.front().stalled);
		EXPECT_EQ(turn.decisions.front().rule, Rule::idle_in_transaction);
		server.commit(client);
	}
}

TEST_F(PolicyStalled, AsABlockerToo) {
	const Index client = stalled_copy(blocker_limit(2 * kSecond), Wait::client_write);
	migrate();
	server.advance(10 * kSecond);
	EXPECT_EQ(look().sleep, 2 * kSecond);
	server.advance(1500 * kMilli);
	EXPECT_EQ(look().sleep, 500 * kMilli);
	server.advance(500 * kMilli);
	const Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_TRUE(turn.decisions.front().stalled);
	EXPECT_EQ(enforcer.policy.counted(server.client(client).session).sum, 0) << "if it moves, it was none";
	server.work(client);
	server.idle_in_transaction(client);
	EXPECT_TRUE(look().decisions.empty());
}

TEST_F(PolicyStalled, ProgressOfAnyKindStartsAnew) {
	const Index client = stalled_copy(idle_limit(2 * kSecond));
	Session& session = server.client(client).session;
	const auto expect_anew = [&](const char* what) {
		SCOPED_TRACE(what);
		look(); // sees it first
		server.advance(1900 * kMilli);
		EXPECT_TRUE(look().decisions.empty());
	};
	expect_anew("stalled");
	server.run(client);
	expect_anew("ran");
	++session.query_start;
	expect_anew("another statement");
	session.wait = Wait::client_write;
	expect_anew("another wait");
	server.advance(100 * kMilli);
	EXPECT_EQ(look().decisions.size(), 1U);
}

TEST_F(PolicyStalled, ADumpThatMakesProgressIsNotIdle) {
	const Index dump =
	    stalled_copy({.idle_in_transaction = 2 * kSecond, .idle_blocker = 2 * kSecond}, Wait::client_write);
	migrate();
	for (int i = 0; i < 500; ++i) {
		server.advance(100 * kMilli);
		ASSERT_TRUE(look().decisions.empty());
		server.run(dump);
	}
	EXPECT_EQ(enforcer.policy.counted(server.client(dump).session).sum, 0);
}

TEST_F(PolicyStalled, ShortStallsDoNotAddUpHoweverOftenItLooks) {
	const Index dump = stalled_copy({.idle_blocker = 2 * kSecond}, Wait::client_write);
	migrate();
	server.client(migration).session.limits = {.preempt_idle_blockers_after = kSecond};
	for (int i = 0; i < 500; ++i) {
		server.advance(20 * kMilli);
		ASSERT_TRUE(look().decisions.empty());
		if (i % 20 == 0)
			server.run(dump);
	}
}

TEST_F(PolicyStalled, WhereRunsAreNotKnownItDoesNotCount) {
	const Index client = stalled_copy({.idle_in_transaction = 2 * kSecond, .idle_blocker = 2 * kSecond});
	server.client(client).session.runs = 0;
	migrate();
	EXPECT_TRUE(enforcer.watch(server, kSecond, 20 * kSecond).empty());
}

TEST_F(PolicyStalled, OutsideATransactionOnlyAsABlocker) {
	const Index client = stalled_copy({.idle_in_transaction = kSecond, .idle_blocker = 3 * kSecond});
	server.client(client).session.xact_start = 0;
	migrate();
	const std::vector<Decision> decisions = enforcer.watch(server, 100 * kMilli, 20 * kSecond);
	ASSERT_EQ(decisions.size(), 1U);
	EXPECT_EQ(decisions.front().rule, Rule::idle_blocker);
	EXPECT_EQ(decisions.front().measured, 3 * kSecond);
}

TEST_F(PolicyTest, TheGravestBrokenRuleNamesTheReason) {
	leak({.idle_in_transaction = 3 * kSecond, .idle_blocker = 2 * kSecond});
	migrate();
	server.advance(10 * kSecond);
	const Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().rule, Rule::idle_blocker);
}

TEST_F(PolicyTest, IdleBlockersFirstThenThoseThatBlockMostThenByPid) {
	const Index nobody = leak(idle_limit(kSecond)); // the lowest pid, and in nobody's way
	server.client(nobody).held.clear();
	const Index also_nobody = leak(idle_limit(kSecond));
	server.client(also_nobody).held.clear();
	const Index one = leak(blocker_limit(kSecond));
	migrate();
	table = server.lock();
	const Index two = leak(blocker_limit(kSecond));
	migration = kNone;
	migrate();
	migration = kNone;
	migrate();
	const Index also_two = leak(blocker_limit(kSecond));
	const Index only_idle = leak(idle_limit(kSecond));
	server.advance(2 * kSecond);
	const Turn turn = look();
	std::vector<Index> order;
	for (const Decision& decision : turn.decisions)
		order.push_back(decision.session);
	EXPECT_EQ(order, (std::vector<Index>{two, also_two, one, only_idle, nobody, also_nobody}));
}

TEST_F(PolicyTest, WhoIsBeingEndedIsNotDecidedAgain) {
	const Index client = leak(idle_limit(kSecond));
	server.advance(kSecond);
	EXPECT_EQ(look().decisions.size(), 1U);
	EXPECT_EQ(look().decisions.size(), 1U) << "not yet carried out";
	enforcer.carry_out(server, client);
	for (int i = 0; i < 100; ++i) {
		const Turn turn = look();
		EXPECT_TRUE(turn.decisions.empty());
		EXPECT_EQ(turn.sleep, std::nullopt);
		server.advance(kSecond);
	}
	server.commit(client); // even if it somehow got into the next transaction
	server.work(client);
	server.idle_in_transaction(client);
	server.advance(kHour);
	EXPECT_TRUE(look().decisions.empty());
	++server.client(client).session.backend_start;
	EXPECT_EQ(look().decisions.size(), 1U) << "another backend with the same pid";
}

TEST_F(PolicyTest, WhoHadChangedInTheLastMomentIsJudgedAnew) {
	const Index client = leak(blocker_limit(kSecond));
	migrate();
	server.advance(kSecond);
	Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.sleep, Policy::kShortestSleep);
	server.work(client);
	enforcer.carry_out(server, client, false);
	EXPECT_TRUE(look().decisions.empty());
	server.idle_in_transaction(client);
	server.advance(kMilli);
	turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U) << "its sum is what it was";
	EXPECT_EQ(turn.decisions.front().measured, kSecond + kMilli);
}

TEST_F(PolicyTest, ModeOffExempts) {
	leak(with({.idle_in_transaction = kSecond, .idle_blocker = kSecond}, Mode::off));
	migrate();
	server.advance(kHour);
	const Turn turn = look();
	EXPECT_TRUE(turn.decisions.empty());
	EXPECT_EQ(turn.sleep, std::nullopt);
}

TEST_F(PolicyTest, DryRunReportsOncePerTransactionAndRule) {
	const Index client =
	    leak(with({.idle_in_transaction = 5 * kSecond, .idle_blocker = 2 * kSecond}, Mode::dry_run));
	migrate();
	std::multimap<Rule, Micros> reported;
	const auto watch = [&] {
		reported.clear();
		const Micros begin = server.monotonic();
		for (int i = 0; i < 1000; ++i) {
			for (const Decision& decision : look().decisions) {
				EXPECT_TRUE(decision.dry_run);
				reported.emplace(decision.rule, server.monotonic() - begin);
			}
			server.advance(10 * kMilli);
		}
	};
	watch();
	EXPECT_EQ(reported, (std::multimap<Rule, Micros>{{Rule::idle_blocker, 2 * kSecond},
	                                                 {Rule::idle_in_transaction, 5 * kSecond}}));
	EXPECT_EQ(look().sleep, std::nullopt) << "all is said";
	server.work(client);
	server.idle_in_transaction(client);
	watch();
	EXPECT_TRUE(reported.empty()) << "still the same transaction";
	server.commit(client);
	server.work(client);
	server.hold(client, table);
	server.idle_in_transaction(client);
	watch();
	EXPECT_EQ(reported.size(), 2U);
}

TEST_F(PolicyTest, DryRunReportsTheGravestRuleFirst) {
	leak(with({.idle_in_transaction = kSecond, .idle_blocker = kSecond}, Mode::dry_run));
	migrate();
	server.advance(5 * kSecond);
	Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().rule, Rule::idle_blocker);
	EXPECT_EQ(turn.sleep, Policy::kShortestSleep) << "the other rule is broken too";
	turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().rule, Rule::idle_in_transaction);
	EXPECT_TRUE(look().decisions.empty());
}

TEST_F(PolicyTest, WhoWasReportedInDryRunIsEndedOnceItIsEarnest) {
	const Index client = leak(with(idle_limit(kSecond), Mode::dry_run));
	server.advance(kSecond);
	EXPECT_TRUE(look().decisions.at(0).dry_run);
	EXPECT_TRUE(look().decisions.empty());
	server.client(client).session.limits.mode = Mode::enforce;
	const Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_FALSE(turn.decisions.front().dry_run);
}

TEST_F(PolicyTest, PausedItDecidesNothingAndWakesWhenThePauseEnds) {
	leak(idle_limit(kSecond));
	server.advance(5 * kSecond);
	enforcer.cluster.paused_for = 3 * kSecond;
	Turn turn = look();
	EXPECT_TRUE(turn.decisions.empty());
	EXPECT_EQ(turn.sleep, 3 * kSecond);
	EXPECT_FALSE(turn.fuse_blown);
	server.advance(3 * kSecond);
	enforcer.cluster.paused_for = 0;
	turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().measured, 8 * kSecond);
}

TEST_F(PolicyTest, BlockingIdleTimeIsCollectedDuringAPause) {
	leak(blocker_limit(4 * kSecond));
	migrate();
	enforcer.cluster.paused_for = kSecond;
	for (int i = 0; i < 6; ++i) {
		EXPECT_TRUE(look().decisions.empty());
		server.advance(kSecond);
	}
	enforcer.cluster.paused_for = 0;
	const Turn turn = look();
	ASSERT_EQ(turn.decisions.size(), 1U);
	EXPECT_EQ(turn.decisions.front().measured, 6 * kSecond);
}

TEST_F(PolicyTest, APauseDoesNotUseUpWhatDryRunReportsOnce) {
	leak(with(idle_limit(kSecond), Mode::dry_run));
	server.advance(2 * kSecond);
	enforcer.cluster.paused_for = kSecond;
	EXPECT_TRUE(look().decisions.empty());
	enforcer.cluster.paused_for = 0;
	EXPECT_EQ(look().decisions.size(), 1U);
}

class PolicyFuse : public PolicyTest {
protected:
	PolicyFuse() { enforcer.cluster.max_actions_per_minute = 3; }
	// Carries out what is decided; returns how many that were.
	std::size_t act() {
		last = look();
		for (const Decision& decision : last.decisions) {
			enforcer.carry_out(server, decision.session);
			ended.insert(decision.session);
		}
		return last.decisions.size();
	}
	Turn last;
	std::set<Index> ended;
};

TEST_F(PolicyFuse, HoldsBackWhatIsBeyondItUntilTheMinuteHasPassed) {
	for (int i = 0; i < 8; ++i)
		leak(idle_limit(kSecond));
	server.advance(kSecond);
	EXPECT_EQ(act(), 3U);
	EXPECT_TRUE(last.fuse_blown);
	EXPECT_TRUE(last.fuse_blew_now);
	EXPECT_EQ(act(), 0U);
	EXPECT_TRUE(last.fuse_blown);
	EXPECT_FALSE(last.fuse_blew_now) << "said once";
	EXPECT_EQ(last.sleep, 60 * kSecond);
	server.advance(60 * kSecond - 1);
	EXPECT_EQ(act(), 0U);
	EXPECT_EQ(last.sleep, Policy::kShortestSleep);
	server.advance(1);
	EXPECT_EQ(act(), 3U);
	EXPECT_TRUE(last.fuse_blew_now);
	server.advance(60 * kSecond);
	EXPECT_EQ(act(), 2U);
	EXPECT_FALSE(last.fuse_blown);
	EXPECT_FALSE(last.fuse_blew_now);
	EXPECT_EQ(ended.size(), 8U);
}

TEST_F(PolicyFuse, TheMinuteBeginsWithTheFirstAction) {
	server.advance(55 * kSecond);
	look();
	const auto breach = [&] {
		leak(idle_limit(kSecond));
		server.advance(kSecond);
	};
	breach();
	EXPECT_EQ(act(), 1U);
	server.advance(50 * kSecond);
	breach();
	breach();
	EXPECT_EQ(act(), 2U);
	breach();
	EXPECT_EQ(act(), 0U);
	EXPECT_EQ(last.sleep, 7 * kSecond);
	server.advance(7 * kSecond);
	EXPECT_EQ(act(), 1U);
	server.advance(59 * kSecond); // its own minute, not one in step with the last
	breach();
	breach();
	breach();
	EXPECT_EQ(act(), 3U);
	EXPECT_FALSE(last.fuse_blown);
}

TEST_F(PolicyFuse, WhatWasNotSentDoesNotCount) {
	for (int i = 0; i < 4; ++i)
		leak(idle_limit(kSecond));
	server.advance(kSecond);
	last = look();
	ASSERT_EQ(last.decisions.size(), 3U);
	for (const Decision& decision : last.decisions) {
		server.commit(decision.session);
		enforcer.carry_out(server, decision.session, false);
	}
	EXPECT_EQ(last.sleep, Policy::kShortestSleep);
	EXPECT_EQ(act(), 1U);
	EXPECT_FALSE(last.fuse_blown);
}

TEST_F(PolicyFuse, DryRunsNeitherCountNorWait) {
	for (int i = 0; i < 5; ++i) {
		leak(idle_limit(kSecond));
		leak(with(idle_limit(kSecond), Mode::dry_run));
	}
	server.advance(kSecond);
	const Turn turn = look();
	std::size_t dry = 0;
	for (const Decision& decision : turn.decisions)
		dry += decision.dry_run ? 1 : 0;
	EXPECT_EQ(dry, 5U);
	EXPECT_EQ(turn.decisions.size(), 8U);
	EXPECT_TRUE(turn.fuse_blown);
}

TEST_F(PolicyFuse, HeldBackSessionsDoNotKeepTheEnforcerAwake) {
	for (int i = 0; i < 5; ++i)
		leak({.idle_in_transaction = kSecond, .idle_blocker = kSecond});
	migrate();
	server.advance(5 * kSecond); // in breach of both
	EXPECT_EQ(act(), 3U);
	EXPECT_EQ(act(), 0U);
	EXPECT_EQ(last.sleep, 60 * kSecond);
}

TEST_F(PolicyFuse, ZeroIsNoFuse) {
	enforcer.cluster.max_actions_per_minute = 0;
	for (int i = 0; i < 200; ++i)
		leak(idle_limit(kSecond));
	server.advance(kSecond);
	EXPECT_EQ(act(), 200U);
	EXPECT_FALSE(last.fuse_blown);
}

TEST_F(PolicyFuse, AStepOfTheWallClockDoesNotShortenTheMinute) {
	for (int i = 0; i < 4; ++i)
		leak(idle_limit(kSecond));
	server.advance(kSecond);
	EXPECT_EQ(act(), 3U);
	server.step(kHour);
	EXPECT_EQ(act(), 0U);
	server.step(-2 * kHour);
	server.advance(60 * kSecond);
	EXPECT_EQ(act(), 1U);
}

TEST_F(PolicyTest, WithoutAnyLimitItSleepsForEver) {
	leak({});
	migrate();
	server.advance(kHour);
	EXPECT_EQ(look().sleep, std::nullopt);
}

TEST_F(PolicyTest, SessionsToComeCouldBreakTheSmallestLimit) {
	enforcer.cluster.smallest_limit = 700 * kMilli;
	EXPECT_EQ(look().sleep, 700 * kMilli);
	leak(idle_limit(kHour));
	EXPECT_EQ(look().sleep, 700 * kMilli);
	enforcer.cluster.smallest_limit = 2 * kHour;
	EXPECT_EQ(look().sleep, kHour);
	enforcer.cluster.smallest_limit = 1;
	EXPECT_EQ(look().sleep, Policy::kShortestSleep);
}

TEST_F(PolicyTest, ABreachTakesFewLooks) {
	enforcer.cluster.smallest_limit = 10 * kSecond;
	leak({.idle_in_transaction = kHour, .idle_blocker = 10 * kSecond});
	server.advance(3 * kSecond);
	migrate();
	const Micros begin = server.monotonic();
	int looks = 0;
	Turn turn = look();
	for (; turn.decisions.empty(); ++looks) {
		server.advance(*turn.sleep);
		turn = look();
	}
	EXPECT_EQ(server.monotonic() - begin, 10 * kSecond);
	EXPECT_EQ(looks, 1);
}

TEST_F(PolicyTest, AClockStepEndsNobodyEarlyAndDelaysByLessThanALook) {
	constexpr Micros kInterval = 500 * kMilli;
	const std::vector<Limits> rules = {idle_limit(5 * kSecond), blocker_limit(5 * kSecond)};
	for (const Limits& limits : rules)
		for (const Micros by : {3 * kHour, -3 * kHour, 300 * kMilli, -300 * kMilli, 24 * kHour})
			for (const Micros idle_at : {Micros{0}, 100 * kMilli, 400 * kMilli})
				for (Micros step_at = 0; step_at < 6 * kSecond; step_at += 70 * kMilli) {
					SCOPED_TRACE(testing::Message()
					             << limits.idle_blocker << ' ' << by << ' ' << idle_at << ' ' << step_at);
					server = VirtualServer();
					enforcer = VirtualEnforcer();
					table = server.lock();
					migration = kNone;
					migrate();
					const Index client = server.connect(limits);
					server.work(client);
					server.hold(client, table);
					look();
					const Micros begin = server.monotonic();
					Micros decided = 0;
					for (Micros at = 0; at < 20 * kSecond && decided == 0; at += 10 * kMilli) {
						if (at == idle_at)
							server.idle_in_transaction(client);
						if (at == step_at)
							server.step(by);
						if (at % kInterval == 0 && !look().decisions.empty())
							decided = server.monotonic() - begin;
						server.advance(10 * kMilli);
					}
					EXPECT_GE(decided, idle_at + 5 * kSecond);
					// A look late because of the step, and a look late as always.
					EXPECT_LE(decided, idle_at + 5 * kSecond + 2 * kInterval);
				}
}

TEST_F(PolicyTest, AClockStepMakesNoTransactionOlder) {
	for (const Micros by : {3 * kHour, -3 * kHour, 300 * kMilli}) {
		const Index client = server.connect({.transaction = 5 * kSecond});
		server.work(client);
		look();
		server.advance(2 * kSecond);
		server.step(by);
		server.advance(3 * kSecond - 1);
		EXPECT_TRUE(look().decisions.empty()) << by;
		server.advance(1);
		EXPECT_EQ(look().decisions.size(), 1U) << by;
		server.commit(client);
	}
}

TEST_F(PolicyTest, TheLedgerIsOnTheClockThatNeverSteps) {
	const Index client = leak(blocker_limit(kHour));
	migrate();
	Micros truth = 0;
	look();
	for (const Micros by : {kHour, -kHour, 2 * kHour, -5 * kHour}) {
		server.advance(kSecond);
		server.step(by);
		server.advance(kSecond);
		truth += 2 * kSecond;
		look();
		const Policy::Counted counted = enforcer.policy.counted(server.client(client).session);
		EXPECT_EQ(counted.sum, truth);
		EXPECT_EQ(counted.until, server.wall());
	}
}

// Sessions that work, idle, commit, abort and stall, and waiters that come and go, at random.
class RandomWorld {
public:
	static constexpr Index kClients = 6;
	static constexpr Index kWaiters = 4;
	static constexpr Index kLocks = 4;

	RandomWorld(std::uint64_t seed, const std::vector<Limits>& limits,
	            const std::vector<Limits>& waiters_limits)
	    : random_(seed) {
		for (Index i = 0; i < kLocks; ++i)
			server.lock(i == kLocks - 1);
		for (Index i = 0; i < kClients; ++i)
			server.connect(limits[i % limits.size()]);
		for (Index i = 0; i < kWaiters; ++i)
			server.work(server.connect(waiters_limits[i % waiters_limits.size()]));
	}

	Micros pick(Micros low, Micros high) { return std::uniform_int_distribution<Micros>(low, high)(random_); }

	// One thing happens.
	void event(bool with_stalls) {
		if (pick(0, 2) == 0)
			waiter_event(kClients + static_cast<Index>(pick(0, kWaiters - 1)));
		else
			client_event(static_cast<Index>(pick(0, kClients - 1)), with_stalls);
	}

	VirtualServer server;

private:
	void waiter_event(Index waiter) {
		if (server.client(waiter).awaited != kNone) {
			server.stop_waiting(waiter);
			if (pick(0, 1))
				server.work(waiter); // the next statement
		} else
			server.wait(waiter, static_cast<Index>(pick(0, kLocks - 1)),
			            pick(0, 3) ? LockMode::access_exclusive : LockMode::row_exclusive);
	}

	// Whoever comes later gets no lock ahead of a queue that it would have to wait for.
	void take_lock(const VirtualServer::Client& client) {
		const auto lock = static_cast<Index>(pick(0, kLocks - 1));
		const LockMode mode = pick(0, 1) ? LockMode::access_share : LockMode::share;
		if (std::ranges::none_of(server.clients(), [&](const VirtualServer::Client& other) {
			    return other.awaited == lock && conflict(mode, bit(other.wanted));
		    }))
			server.hold(client.index, lock, mode);
	}

	void client_event(Index index, bool with_stalls) {
		VirtualServer::Client& client = server.client(index);
		switch (client.session.state) {
		case State::active:
			if (client.session.wait != Wait::other)
				server.work(index);
			else if (client.session.xact_start == 0) // aborted
				pick(0, 1) ? server.abort(index) : server.commit(index);
			else if (const Micros what = pick(0, 10); what == 10)
				server.write(index);
			else if (what < 3)
				take_lock(client);
			else if (what < 7)
				server.idle_in_transaction(index);
			else if (what == 7)
				server.abort(index);
			else if (what == 8 && with_stalls)
				server.stall(index, pick(0, 1) ? Wait::client_read : Wait::client_write);
			else
				server.commit(index, pick(0, 1) == 0);
			return;
		case State::idle_in_transaction:
			pick(0, 4) ? server.work(index) : server.commit(index);
			return;
		default:
			server.work(index);
		}
	}

	std::mt19937_64 random_;
};

const std::vector<Limits> kMixedLimits = {
    {.idle_in_transaction = 3 * kSecond, .idle_blocker = kSecond},
    {.idle_in_transaction = kSecond, .active_blocker = 700 * kMilli, .cancel_grace = 300 * kMilli},
    {.idle_blocker = 500 * kMilli, .transaction = 3 * kSecond, .count_advisory_locks = true},
    {.idle_write_transaction = 800 * kMilli, .idle_blocker = 2 * kSecond},
    {.mode = Mode::dry_run, .idle_in_transaction = 2 * kSecond, .idle_blocker = 400 * kMilli},
    {.idle_blocker = 100 * kMilli},
};
const std::vector<Limits> kWaitersLimits = {
    {.queued_blocker = 300 * kMilli},
    {.queued_blocker = 200 * kMilli, .queued_blocker_waiters = 2},
    {.preempt_idle_blockers_after = 600 * kMilli},
    {},
};
constexpr Micros kSmallestMixed = 100 * kMilli;

// What a decision claims of who waits behind the session in a queue.
void expect_true_jam(const VirtualServer& server, const Decision& decision) {
	const VirtualServer::Client& client = server.clients()[decision.session];
	Index jammed = 0;
	for (const VirtualServer::Client& other : server.clients())
		if (server.is_queued_behind(other, client) && !server.is_held_against(other) &&
		    server.monotonic() - other.lock_since >= decision.measured)
			++jammed;
	EXPECT_GE(jammed, client.session.limits.queued_blocker_waiters);
}

// Somebody whom the session keeps waiting has the limit, and has been blocked for so long.
void expect_true_preemption(const VirtualServer& server, const Decision& decision) {
	const VirtualServer::Client& client = server.clients()[decision.session];
	EXPECT_TRUE(VirtualServer::waits_for_client(client));
	EXPECT_GE(server.monotonic() - client.waits_since, kGap);
	EXPECT_TRUE(std::ranges::any_of(server.clients(), [&](const VirtualServer::Client& waiter) {
		return waiter.session.limits.preempt_idle_blockers_after == decision.limit &&
		       waiter.blocked >= decision.measured && server.waits_for(waiter, client);
	}));
}

// What a decision claims has truly come to pass.
void expect_true_breaches(const VirtualServer& server, const Turn& turn) {
	for (const Decision& decision : turn.decisions) {
		const VirtualServer::Client& client = server.clients()[decision.session];
		if (decision.since_cancel == 0) {
			EXPECT_GE(decision.measured, decision.limit);
		}
		EXPECT_EQ(decision.action == Action::cancel,
		          decision.rule == Rule::queued_blocker ||
		              (decision.rule == Rule::active_blocker && decision.since_cancel == 0));
		switch (decision.rule) {
		case Rule::idle_blocker:
			EXPECT_TRUE(VirtualServer::waits_for_client(client));
			EXPECT_TRUE(server.is_hard_blocker(client));
			EXPECT_LE(decision.measured, client.blocking_idle);
			break;
		case Rule::preempt_idle_blockers:
			expect_true_preemption(server, decision);
			break;
		case Rule::idle_write_transaction:
			EXPECT_NE(client.session.xid, 0U);
			[[fallthrough]];
		case Rule::idle_in_transaction:
			EXPECT_TRUE(VirtualServer::waits_for_client(client));
			EXPECT_LE(decision.measured, server.monotonic() - client.waits_since);
			break;
		case Rule::transaction:
			EXPECT_NE(client.session.xact_start, 0);
			EXPECT_LE(decision.measured, server.monotonic() - client.xact_since);
			break;
		case Rule::queued_blocker:
			expect_true_jam(server, decision);
			break;
		case Rule::active_blocker:
			EXPECT_TRUE(server.is_hard_blocker(client));
			EXPECT_EQ(client.awaited, kNone);
			EXPECT_LE(decision.measured, client.blocking);
			break;
		case Rule::horizon_age:
			FAIL() << "nobody has set it";
		}
	}
}

TEST(PolicyRandomWorld, NeverCountsMoreThanTheTruthWheneverItLooks) {
	std::size_t decisions = 0;
	Micros counted = 0;
	for (std::uint64_t seed = 1; seed <= 20; ++seed) {
		RandomWorld world(seed, kMixedLimits, kWaitersLimits);
		VirtualEnforcer enforcer(0, 0);
		const Micros longest_pause = seed % 2 ? 3 * kSecond : 300 * kMilli;
		Micros next_look = 0;
		for (int i = 0; i < 3000; ++i) {
			world.server.advance(world.pick(1, 200 * kMilli));
			world.event(true);
			if (world.server.monotonic() < next_look)
				continue;
			next_look = world.server.monotonic() + world.pick(0, longest_pause);
			const Turn turn = enforcer.look(world.server);
			expect_true_breaches(world.server, turn);
			decisions += turn.decisions.size();
			for (const VirtualServer::Client& client : world.server.clients()) {
				const Micros sum = enforcer.policy.counted(client.session).sum;
				counted += sum;
				ASSERT_LE(sum, client.blocking_idle) << "seed " << seed << ", pid " << client.session.pid;
			}
		}
	}
	EXPECT_GT(decisions, 1000U);
	EXPECT_GT(counted, 0);
}

TEST(PolicyRandomWorld, CountsTheTruthWhenItLooksAroundEveryEvent) {
	for (std::uint64_t seed = 1; seed <= 20; ++seed) {
		RandomWorld world(seed, kMixedLimits, kWaitersLimits);
		VirtualEnforcer enforcer(0, 0);
		Micros counted = 0;
		for (int i = 0; i < 2000; ++i) {
			enforcer.look(world.server);
			world.server.advance(world.pick(1, 200 * kMilli));
			enforcer.look(world.server);
			for (const VirtualServer::Client& client : world.server.clients()) {
				const Micros sum = enforcer.policy.counted(client.session).sum;
				ASSERT_EQ(sum, client.blocking_idle) << "seed " << seed << ", pid " << client.session.pid;
				counted += sum;
			}
			world.event(false);
		}
		EXPECT_GT(counted, 0);
	}
}

TEST(PolicyRandomWorld, ClockStepsEndNobodyEarly) {
	std::size_t decisions = 0;
	for (std::uint64_t seed = 1; seed <= 20; ++seed) {
		RandomWorld world(seed, kMixedLimits, kWaitersLimits);
		VirtualEnforcer enforcer(0, 0);
		bool stepped = false;
		for (int i = 0; i < 3000; ++i) {
			world.server.advance(world.pick(1, 100 * kMilli));
			if (!stepped && world.pick(0, 19) == 0) {
				const Micros size =
				    world.pick(0, 1) ? world.pick(201 * kMilli, kSecond) : world.pick(kSecond, 9 * kHour);
				world.server.step(world.pick(0, 1) ? size : -size);
				stepped = true;
			}
			world.server.advance(world.pick(1, 100 * kMilli));
			if (world.pick(0, 1))
				world.event(true);
			if (world.pick(0, 2) != 0)
				continue;
			stepped = false;
			const Turn turn = enforcer.look(world.server);
			expect_true_breaches(world.server, turn);
			decisions += turn.decisions.size();
			for (const VirtualServer::Client& client : world.server.clients())
				ASSERT_LE(enforcer.policy.counted(client.session).sum, client.blocking_idle)
				    << "seed " << seed;
		}
	}
	EXPECT_GT(decisions, 1000U);
}

// The enforcer sleeps exactly as told. At every moment a copy of it takes a look of its own: what that one
// would decide, the sleeping one has to notice within its shortest sleep.
TEST(PolicyRandomWorld, SleepsPastNoBreach) {
	std::set<Rule> decided;
	std::size_t breaches = 0;
	std::size_t looks = 0;
	std::size_t moments = 0;
	for (std::uint64_t seed = 1; seed <= 15; ++seed) {
		RandomWorld world(seed, kMixedLimits, kWaitersLimits);
		VirtualEnforcer enforcer(kSmallestMixed, 0);
		Turn turn;
		Micros wake = world.server.monotonic();
		for (int i = 0; i < 4000; ++i) {
			if (world.server.monotonic() >= wake) {
				turn = enforcer.look(world.server);
				++looks;
				expect_true_breaches(world.server, turn);
				for (const Decision& decision : turn.decisions) {
					decided.insert(decision.rule);
					// Cancels are swallowed; who was to be ended has changed in the last moment, so that it
					// goes on to be judged.
					if (!decision.dry_run)
						enforcer.carry_out(world.server, decision.session, decision.action == Action::cancel);
				}
				wake = world.server.monotonic() + *turn.sleep;
				// The worst moment for something to happen is right after a look.
				while (world.pick(0, 1))
					world.event(true);
			}
			++moments;
			VirtualEnforcer probe = enforcer;
			if (!probe.look(world.server).decisions.empty()) {
				++breaches;
				ASSERT_LE(wake, world.server.monotonic() + Policy::kShortestSleep) << "seed " << seed;
			}
			// Not past the moment at which it wakes.
			const Micros step = std::min<Micros>(world.pick(1, 8 * kMilli), wake - world.server.monotonic());
			world.server.advance(step);
			if (world.pick(0, 40) == 0)
				world.event(true);
		}
	}
	EXPECT_GT(breaches, 1000U);
	EXPECT_LT(looks, moments / 2) << "it does sleep";
	EXPECT_EQ(decided.size(), kRules - 1) << "all but horizon_age, which has no time";
}

// What dry run would do is what is done: at any moment the same policy, told that all sessions are in dry
// run, decides the same.
TEST(PolicyRandomWorld, DryRunTakesTheSameDecisions) {
	std::set<Rule> decided;
	std::vector<Limits> limits = kMixedLimits;
	for (Limits& each : limits)
		each.mode = Mode::enforce;
	for (std::uint64_t seed = 1; seed <= 15; ++seed) {
		RandomWorld world(seed, limits, kWaitersLimits);
		VirtualEnforcer enforcer(kSmallestMixed, 0);
		for (int i = 0; i < 2000; ++i) {
			world.server.advance(world.pick(1, 200 * kMilli));
			world.event(true);
			VirtualEnforcer rehearsal = enforcer;
			const Turn would = rehearsal.look(world.server, Mode::dry_run);
			const Turn does = enforcer.look(world.server);
			ASSERT_EQ(would.decisions.size(), does.decisions.size()) << "seed " << seed;
			for (std::size_t j = 0; j < does.decisions.size(); ++j) {
				Decision decision = would.decisions[j];
				EXPECT_TRUE(decision.dry_run);
				decision.dry_run = false;
				EXPECT_EQ(decision, does.decisions[j]) << "seed " << seed;
				decided.insert(decision.rule);
				enforcer.carry_out(world.server, decision.session, decision.action == Action::cancel);
			}
		}
	}
	EXPECT_EQ(decided.size(), kRules - 1);
}

TEST(PolicyReport, BlockingIdleTimeIsWhatWasCountedAndWhatHasComeSince) {
	GraphBuilder b;
	const Index table = b.lock("relation public.t");
	const SessionRef holder = b.session(1).idle_in_transaction(ago(30));
	const SessionRef waiter = b.session(2);
	b.hold(table, holder, LockMode::access_share);
	const auto told = [&] { return blocking_idle_time(WaitGraph(b.snapshot()), holder); };

	EXPECT_EQ(told(), 0) << "nobody waits";
	b.wait(table, waiter, LockMode::access_exclusive, ago(20));
	EXPECT_EQ(told(), 20 * kSecond) << "no enforcer";
	holder->idle_since = ago(10);
	EXPECT_EQ(told(), 10 * kSecond);
	holder->blocking_idle_counted = 100 * kSecond;
	holder->blocking_idle_until = ago(4);
	EXPECT_EQ(told(), 104 * kSecond);
	holder->blocking_idle_until = ago(-1); // the enforcer looked after this snapshot
	EXPECT_EQ(told(), 100 * kSecond);
	holder.active();
	EXPECT_EQ(told(), 100 * kSecond) << "what it collected stays its transaction's";
	holder.of_kind(Kind::walsender);
	EXPECT_EQ(told(), 0);
	EXPECT_EQ(blocking_idle_time(WaitGraph(b.snapshot()), waiter), 0);
}

TEST(PolicyReport, BlockingIdleTimeThroughAdvisoryLocksWhereTheyCount) {
	GraphBuilder b;
	const Index lock = b.lock("advisory 42").advisory();
	const SessionRef holder = b.session(1).idle(ago(30));
	b.hold(lock, holder, LockMode::exclusive).wait(lock, b.session(2), LockMode::exclusive, ago(20));
	EXPECT_EQ(blocking_idle_time(WaitGraph(b.snapshot()), holder), 0);
	holder->limits.count_advisory_locks = true;
	EXPECT_EQ(blocking_idle_time(WaitGraph(b.snapshot()), holder), 20 * kSecond);
}

TEST(PolicyReport, NextDueIsTheLimitThatBreaksFirst) {
	GraphBuilder b;
	const Index table = b.lock("relation public.t");
	const SessionRef holder = b.session(1).idle_in_transaction(ago(30));
	b.hold(table, holder, LockMode::access_share);
	b.wait(table, b.session(2), LockMode::access_exclusive, ago(20));
	const auto due = [&](const Limits& limits) {
		holder.limits(limits);
		return NextLimits(WaitGraph(b.snapshot())).of(holder);
	};
	EXPECT_FALSE(due({}));
	EXPECT_FALSE(due({.mode = Mode::off, .idle_in_transaction = kSecond, .idle_blocker = kSecond}));

	auto next = due({.idle_in_transaction = 40 * kSecond, .idle_blocker = 60 * kSecond});
	ASSERT_TRUE(next);
	EXPECT_EQ(next->rule, Rule::idle_in_transaction);
	EXPECT_EQ(next->action, Action::terminate);
	EXPECT_EQ(next->in, 10 * kSecond);
	EXPECT_FALSE(next->dry_run);

	next = due({.mode = Mode::dry_run, .idle_in_transaction = 40 * kSecond, .idle_blocker = 25 * kSecond});
	ASSERT_TRUE(next);
	EXPECT_EQ(next->rule, Rule::idle_blocker);
	EXPECT_EQ(next->in, 5 * kSecond);
	EXPECT_TRUE(next->dry_run);

	next = due({.idle_in_transaction = kSecond, .idle_blocker = kSecond});
	ASSERT_TRUE(next);
	EXPECT_EQ(next->rule, Rule::idle_blocker) << "both are broken: the gravest";
	EXPECT_EQ(next->in, 0);

	holder->blocking_idle_counted = 22 * kSecond;
	holder->blocking_idle_until = kNow;
	next = due({.idle_blocker = 25 * kSecond});
	ASSERT_TRUE(next);
	EXPECT_EQ(next->in, 3 * kSecond);
}

TEST(PolicyReport, NothingIsDueOutsideARulesCondition) {
	GraphBuilder b;
	const Limits limits{.idle_in_transaction = 40 * kSecond, .idle_blocker = 60 * kSecond};
	const SessionRef session = b.session(1).limits(limits);
	const auto due = [&] { return NextLimits(WaitGraph(b.snapshot())).of(session); };
	EXPECT_FALSE(due()) << "active";
	session.idle(ago(100));
	EXPECT_FALSE(due()) << "blocks nobody";
	session.idle_in_transaction_aborted(ago(15));
	ASSERT_TRUE(due());
	EXPECT_EQ(due()->in, 25 * kSecond);
	session->wait = Wait::sync_rep;
	EXPECT_FALSE(due());
	session->wait = Wait::client_read;
	session->state_start = session->idle_since = 0;
	EXPECT_FALSE(due()) << "since when is not known";
	session.idle_in_transaction(ago(15)).of_kind(Kind::background);
	EXPECT_FALSE(due());
}

TEST(PolicyReport, NextLimitKnowsAllRulesAboutIdleSessions) {
	GraphBuilder b;
	const Index table = b.lock("relation public.t");
	const SessionRef holder = b.session(1).idle_in_transaction(ago(30));
	const SessionRef migration = b.session(2);
	b.hold(table, holder, LockMode::access_share).wait(table, migration, LockMode::access_exclusive, ago(20));
	holder->xact_since = holder->xact_start = ago(50);
	const auto next = [&](const Limits& limits) {
		holder.limits(limits);
		Snapshot snapshot = b.snapshot();
		snapshot.next_xid = 5000;
		const WaitGraph graph(snapshot);
		return NextLimits(graph).of(holder);
	};

	EXPECT_FALSE(next({.idle_write_transaction = 40 * kSecond})) << "has not written";
	holder->xid = 4800;
	ASSERT_TRUE(next({.idle_write_transaction = 40 * kSecond}));
	EXPECT_EQ(next({.idle_write_transaction = 40 * kSecond})->in, 10 * kSecond);
	EXPECT_EQ(next({.idle_in_transaction = 40 * kSecond, .transaction = 55 * kSecond})->rule,
	          Rule::transaction);
	EXPECT_EQ(next({.transaction = 55 * kSecond})->in, 5 * kSecond);
	EXPECT_FALSE(next({.active_blocker = kSecond, .queued_blocker = kSecond})) << "not while it idles";

	EXPECT_EQ(next({.horizon_age = 300})->rule, Rule::horizon_age);
	EXPECT_EQ(next({.horizon_age = 300})->in, std::nullopt) << "no length of time";
	EXPECT_EQ(next({.horizon_age = 200})->in, 0);
	EXPECT_EQ(next({.transaction = 55 * kSecond, .horizon_age = 300})->rule, Rule::transaction);
	EXPECT_EQ(next({.transaction = 55 * kSecond, .horizon_age = 100})->rule, Rule::horizon_age);

	migration->limits.preempt_idle_blockers_after = 30 * kSecond;
	migration->counted_blocked_before = 4 * kSecond;
	ASSERT_TRUE(next({}));
	EXPECT_EQ(next({})->rule, Rule::preempt_idle_blockers);
	EXPECT_EQ(next({})->in, 6 * kSecond);
	EXPECT_FALSE(next({})->dry_run);
	migration->limits.mode = Mode::dry_run;
	EXPECT_TRUE(next({})->dry_run);
	EXPECT_EQ(next({.idle_in_transaction = 35 * kSecond})->rule, Rule::idle_in_transaction);
	EXPECT_FALSE(next({.mode = Mode::off}));
}

TEST(PolicyNames, AreThoseOfTheSettings) {
	EXPECT_EQ(setting(Rule::preempt_idle_blockers), "preempt_idle_blockers_after");
	EXPECT_EQ(setting(Rule::idle_write_transaction), "idle_write_transaction_limit");
	EXPECT_EQ(setting(Rule::horizon_age), "horizon_age_limit");
	EXPECT_EQ(setting(Rule::transaction), "transaction_limit");
	EXPECT_EQ(setting(Rule::queued_blocker), "queued_blocker_limit");
	EXPECT_EQ(setting(Rule::active_blocker), "active_blocker_limit");
	for (std::size_t i = 0; i < kRules; ++i)
		EXPECT_EQ(rules()[i].rule, static_cast<Rule>(i));
	EXPECT_EQ(setting(Rule::idle_blocker), "idle_blocker_limit");
	EXPECT_EQ(setting(Rule::idle_in_transaction), "idle_in_transaction_limit");
	EXPECT_EQ(name(Action::terminate), "terminate");
	EXPECT_EQ(name(Action::cancel), "cancel");
}

} // namespace
} // namespace unblock::core::test
