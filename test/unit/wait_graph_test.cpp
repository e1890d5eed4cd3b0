#include "core/wait_graph.h"
#include "graph_builder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace unblock::core {

void PrintTo(const Blocker& blocker, std::ostream* out) {
	*out << (blocker.kind == Blocks::hard ? "hard " : "queued ") << blocker.node << " " << name(blocker.mode);
}

namespace test {
namespace {

using Blockers = std::vector<Blocker>;

std::vector<Index> list(std::span<const Index> nodes) {
	return {nodes.begin(), nodes.end()};
}

TEST(WaitGraph, EmptySnapshot) {
	const WaitGraph graph{Snapshot{}};
	EXPECT_TRUE(graph.roots().empty());
}

TEST(WaitGraph, SessionInNoWaitHasNoFacts) {
	GraphBuilder b;
	const auto bystander = b.session(101).idle_in_transaction();
	const WaitGraph graph(b.snapshot());
	const NodeFacts& facts = graph.node(bystander);
	EXPECT_FALSE(facts.waits);
	EXPECT_FALSE(facts.root);
	EXPECT_EQ(facts.direct_waiters, 0U);
	EXPECT_EQ(facts.blocked_total, 0U);
	EXPECT_EQ(facts.frees, 0U);
	EXPECT_EQ(facts.waiter, kNone);
	EXPECT_EQ(facts.hard_waiter, kNone);
	EXPECT_TRUE(graph.roots_of(bystander).empty());
}

TEST(WaitGraph, HolderOfAConflictingModeBlocksHard) {
	GraphBuilder b;
	const auto holder = b.session(101).idle_in_transaction();
	const auto waiter = b.session(102);
	const auto table = b.lock("relation public.t");
	b.hold(table, holder, LockMode::access_share).hold(table, holder, LockMode::row_exclusive);
	b.wait(table, waiter, LockMode::share, ago(5));
	const WaitGraph graph(b.snapshot());

	// The strongest mode that conflicts, not the strongest held.
	EXPECT_EQ(graph.blockers_of(0), (Blockers{{holder, Blocks::hard, LockMode::row_exclusive}}));
	EXPECT_EQ(graph.waiter(0).hard_blockers, 1U);
	EXPECT_EQ(graph.waiter(0).queue_position, 1U);
	EXPECT_TRUE(graph.node(holder).root);
	EXPECT_FALSE(graph.node(holder).waits);
	EXPECT_EQ(graph.node(holder).hard_since, ago(5));
	EXPECT_EQ(graph.node(holder).hard_waiter, 0U);
	EXPECT_TRUE(graph.node(waiter).waits);
	EXPECT_FALSE(graph.node(waiter).root);
	EXPECT_EQ(graph.node(waiter).depth, 1U);
	EXPECT_EQ(list(graph.roots_of(waiter)), std::vector<Index>{holder});
	EXPECT_TRUE(graph.roots_of(holder).empty());
}

TEST(WaitGraph, HolderOfACompatibleModeBlocksNobody) {
	GraphBuilder b;
	const auto reader = b.session(101);
	const auto writer = b.session(102);
	const auto waiter = b.session(103);
	const auto table = b.lock("relation public.t");
	b.hold(table, reader, LockMode::access_share).hold(table, writer, LockMode::row_exclusive);
	b.wait(table, waiter, LockMode::share);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.blockers_of(0), (Blockers{{writer, Blocks::hard, LockMode::row_exclusive}}));
	EXPECT_FALSE(graph.node(reader).root);
	EXPECT_EQ(graph.node(reader).blocked_total, 0U);
	EXPECT_EQ(list(graph.roots()), std::vector<Index>{writer});
}

TEST(WaitGraph, OnlyThoseAheadInTheQueueBlock) {
	GraphBuilder b;
	const auto holder = b.session(101);
	const auto first = b.session(102);
	const auto second = b.session(103);
	const auto third = b.session(104);
	const auto table = b.lock("relation public.t");
	b.hold(table, holder, LockMode::access_exclusive);
	b.wait(table, first, LockMode::access_share);
	b.wait(table, second, LockMode::access_exclusive);
	b.wait(table, third, LockMode::access_share);
	const WaitGraph graph(b.snapshot());
	const Blocker hard{holder, Blocks::hard, LockMode::access_exclusive};
	EXPECT_EQ(graph.blockers_of(0), (Blockers{hard}));
	EXPECT_EQ(graph.blockers_of(1), (Blockers{hard, {first, Blocks::queued, LockMode::access_share}}));
	EXPECT_EQ(graph.blockers_of(2), (Blockers{hard, {second, Blocks::queued, LockMode::access_exclusive}}));
	EXPECT_EQ(graph.waiter(2).queue_position, 3U);
	EXPECT_EQ(graph.node(first).direct_waiters, 1U);
	EXPECT_EQ(graph.node(first).blocked_total, 2U);
	EXPECT_EQ(graph.node(first).frees, 0U) << "the holder blocks them all anyway";
	EXPECT_EQ(graph.node(holder).frees, 3U);
	EXPECT_EQ(graph.node(first).hard_waiter, kNone) << "the queue alone is no hard block";
	EXPECT_EQ(graph.node(first).hard_since, 0);
}

// An open SELECT, three migrations, and all later readers of the table behind them.
class Incident : public testing::Test {
protected:
	Incident() {
		b.hold(table, idle, LockMode::access_share);
		for (int i = 0; i < 3; ++i) {
			migrations.push_back(b.session(102 + i));
			b.wait(table, migrations.back(), LockMode::access_exclusive, ago(30 - i));
		}
		for (int i = 0; i < 20; ++i) {
			readers.push_back(b.session(200 + i));
			b.wait(table, readers.back(), LockMode::access_share, ago(20 - 0.1 * i));
		}
	}

	GraphBuilder b;
	SessionRef idle = b.session(101).idle_in_transaction(ago(3600));
	LockRef table = b.lock("relation public.features");
	std::vector<Index> migrations, readers;
};

TEST_F(Incident, TheIdleSessionIsTheOneToEnd) {
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(list(graph.roots()), std::vector<Index>{idle});
	const NodeFacts& facts = graph.node(idle);
	EXPECT_EQ(facts.direct_waiters, 3U);
	EXPECT_EQ(facts.blocked_total, 23U);
	EXPECT_EQ(facts.frees, 23U);
	EXPECT_EQ(facts.hard_since, ago(30));
	EXPECT_EQ(facts.hard_waiter, 0U);
}

TEST_F(Incident, ReadersAreJammedBehindTheFirstMigration) {
	const WaitGraph graph(b.snapshot());
	const Index reader = b.waiter(table, readers[7]);
	EXPECT_EQ(graph.waiter(reader).hard_blockers, 0U);
	EXPECT_EQ(graph.waiter(reader).blockers, 3U);
	EXPECT_EQ(graph.waiter(reader).primary,
	          (Blocker{migrations[0], Blocks::queued, LockMode::access_exclusive}));
	EXPECT_EQ(graph.node(readers[7]).depth, 2U);
	EXPECT_EQ(list(graph.roots_of(readers[7])), std::vector<Index>{idle});
}

TEST_F(Incident, EndingOneMigrationFreesNobody) {
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node(migrations[0]).frees, 0U);
	EXPECT_EQ(graph.node(migrations[0]).direct_waiters, 22U);
	EXPECT_EQ(graph.node(migrations[0]).blocked_total, 22U);
	EXPECT_EQ(graph.node(migrations[2]).blocked_total, 20U);
	EXPECT_EQ(graph.waiter(2).blockers, 3U);
	EXPECT_EQ(graph.waiter(2).hard_blockers, 1U);
}

TEST(WaitGraph, TwoHoldersBlockTogether) {
	GraphBuilder b;
	const auto one = b.session(101);
	const auto other = b.session(102);
	const auto waiter = b.session(103);
	const auto table = b.lock("relation public.t");
	b.hold(table, other, LockMode::share).hold(table, one, LockMode::share);
	b.wait(table, waiter, LockMode::exclusive);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.waiter(0).hard_blockers, 2U);
	EXPECT_EQ(graph.node(one).blocked_total, 1U);
	EXPECT_EQ(graph.node(one).frees, 0U);
	EXPECT_EQ(graph.node(other).frees, 0U);
	EXPECT_EQ(list(graph.roots_of(waiter)), (std::vector<Index>{one, other}));
}

TEST(WaitGraph, RootsOfAWaiterBeginWithTheOneThatBlocksMost) {
	GraphBuilder b;
	const auto one = b.session(101);
	const auto other = b.session(102);
	const auto waiter = b.session(103);
	const auto table = b.lock("relation public.t"), elsewhere = b.lock("relation public.u");
	b.hold(table, one, LockMode::share).hold(table, other, LockMode::share);
	b.wait(table, waiter, LockMode::exclusive);
	b.hold(elsewhere, other, LockMode::share).wait(elsewhere, b.session(104), LockMode::exclusive);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(list(graph.roots_of(waiter)), (std::vector<Index>{other, one}));
}

// Updates of one row: the first waits for the transaction that wrote it and holds the tuple lock, for
// which all others queue (src/backend/access/heap/README.tuplock).
TEST(WaitGraph, RowLockPile) {
	GraphBuilder b;
	const auto writer = b.session(101).idle_in_transaction(ago(60));
	const auto transaction = b.lock("transaction 742");
	const auto tuple = b.lock("tuple (0,1) of relation public.t");
	const auto first = b.session(102);
	b.hold(transaction, writer, LockMode::exclusive).wait(transaction, first, LockMode::share, ago(9));
	b.hold(tuple, first, LockMode::exclusive);
	std::vector<Index> others;
	for (int i = 0; i < 10; ++i) {
		others.push_back(b.session(103 + i));
		b.wait(tuple, others.back(), LockMode::exclusive, ago(8));
	}
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(list(graph.roots()), std::vector<Index>{writer});
	EXPECT_EQ(graph.node(writer).direct_waiters, 1U);
	EXPECT_EQ(graph.node(writer).blocked_total, 11U);
	EXPECT_EQ(graph.node(writer).frees, 11U);
	EXPECT_EQ(graph.node(first).frees, 10U);
	EXPECT_EQ(graph.node(first).hard_since, ago(8));
	EXPECT_EQ(graph.node(others[3]).blocked_total, 6U);
	EXPECT_EQ(graph.node(others[9]).depth, 2U) << "below the holder, not below nine others";
	EXPECT_EQ(graph.waiter(b.waiter(tuple, others[9])).blockers, 10U);
	EXPECT_EQ(graph.waiter(b.waiter(tuple, others[9])).hard_blockers, 1U);
}

TEST(WaitGraph, ChainOfThree) {
	GraphBuilder b;
	const auto top = b.session(101);
	const auto middle = b.session(102);
	const auto bottom = b.session(103);
	const auto a = b.lock("transaction 1");
	const auto c = b.lock("transaction 2");
	b.hold(a, top, LockMode::exclusive).wait(a, middle, LockMode::share);
	b.hold(c, middle, LockMode::exclusive).wait(c, bottom, LockMode::share);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node(top).direct_waiters, 1U);
	EXPECT_EQ(graph.node(top).blocked_total, 2U);
	EXPECT_EQ(graph.node(middle).frees, 1U);
	EXPECT_EQ(graph.node(bottom).depth, 2U);
	EXPECT_EQ(list(graph.roots_of(bottom)), std::vector<Index>{top});
}

TEST(WaitGraph, CycleWithoutARoot) {
	GraphBuilder b;
	const auto one = b.session(101);
	const auto other = b.session(102);
	const auto behind = b.session(103);
	const auto a = b.lock("transaction 1");
	const auto c = b.lock("transaction 2");
	b.hold(a, one, LockMode::exclusive).wait(a, other, LockMode::share);
	b.hold(c, other, LockMode::exclusive).wait(c, one, LockMode::share).wait(c, behind, LockMode::share);
	const WaitGraph graph(b.snapshot());
	EXPECT_TRUE(graph.roots().empty());
	EXPECT_TRUE(graph.node(one).in_cycle);
	EXPECT_TRUE(graph.node(other).in_cycle);
	EXPECT_FALSE(graph.node(behind).in_cycle);
	EXPECT_TRUE(graph.roots_of(behind).empty());
	EXPECT_EQ(graph.node(one).blocked_total, 2U) << "itself not counted";
	EXPECT_EQ(graph.node(other).blocked_total, 2U);
	EXPECT_EQ(graph.node(one).frees, 0U);
	EXPECT_EQ(graph.node(other).frees, 1U) << "members of the cycle count as roots";
	EXPECT_EQ(graph.node(other).depth, 0U) << "frees most";
	EXPECT_EQ(graph.node(one).depth, 1U);
	EXPECT_EQ(graph.node(behind).depth, 1U);
}

TEST(WaitGraph, CycleThatHangsOnARoot) {
	GraphBuilder b;
	const auto one = b.session(101);
	const auto other = b.session(102);
	const auto root = b.session(103);
	const auto a = b.lock("transaction 1");
	const auto c = b.lock("relation public.t");
	b.hold(a, one, LockMode::exclusive).wait(a, other, LockMode::share);
	b.hold(c, other, LockMode::share).hold(c, root, LockMode::share);
	b.wait(c, one, LockMode::exclusive);
	const WaitGraph graph(b.snapshot());
	EXPECT_TRUE(graph.node(one).in_cycle);
	EXPECT_TRUE(graph.node(other).in_cycle);
	EXPECT_FALSE(graph.node(root).in_cycle);
	EXPECT_EQ(list(graph.roots_of(other)), std::vector<Index>{root});
	EXPECT_EQ(graph.node(root).blocked_total, 2U);
	EXPECT_EQ(graph.node(root).frees, 2U);
	EXPECT_EQ(graph.node(one).blocked_total, 1U);
}

TEST(WaitGraph, PreparedTransactionIsANodeWithoutAProcess) {
	GraphBuilder b;
	const auto one = b.prepared("transfer 1");
	const auto other = b.prepared("transfer 2");
	const auto waiter = b.session(101);
	const auto table = b.lock("relation public.t");
	b.hold(table, one, LockMode::row_exclusive).hold(table, other, LockMode::row_exclusive);
	b.wait(table, waiter, LockMode::share);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.waiter(0).hard_blockers, 2U) << "both have pid 0, and are two";
	EXPECT_EQ(graph.roots().size(), 2U);
}

TEST(WaitGraph, ProcessesOfOneGroupAreOneNode) {
	GraphBuilder b;
	const auto leader = b.session(101);
	const auto worker = b.worker_of(leader, 102);
	const auto waiter = b.session(103);
	const auto table = b.lock("relation public.t");
	b.hold(table, leader, LockMode::access_share).hold(table, worker, LockMode::row_share);
	b.wait(table, waiter, LockMode::access_exclusive);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node_of(worker), leader);
	EXPECT_EQ(graph.waiter(0).blockers, 1U);
	EXPECT_EQ(graph.blockers_of(0), (Blockers{{leader, Blocks::hard, LockMode::row_share}}));
	EXPECT_EQ(&graph.node(worker), &graph.node(leader));
	EXPECT_EQ(graph.node(leader).frees, 1U);
}

TEST(WaitGraph, ProcessesOfOneGroupDoNotBlockEachOther) {
	GraphBuilder b;
	const auto leader = b.session(101);
	const auto worker = b.worker_of(leader, 102);
	const auto colleague = b.worker_of(leader, 103);
	const auto table = b.lock("relation public.t");
	b.hold(table, leader, LockMode::exclusive);
	b.wait(table, worker, LockMode::exclusive).wait(table, colleague, LockMode::exclusive);
	const WaitGraph graph(b.snapshot());
	EXPECT_TRUE(graph.blockers_of(0).empty());
	EXPECT_TRUE(graph.blockers_of(1).empty());
	EXPECT_EQ(graph.waiter(1).blockers, 0U);
	EXPECT_EQ(graph.waiter(1).primary.node, kNone);
	const NodeFacts& facts = graph.node(leader);
	EXPECT_EQ(facts.direct_waiters, 0U);
	EXPECT_EQ(facts.blocked_total, 0U);
	EXPECT_EQ(facts.hard_waiter, kNone);
	EXPECT_EQ(facts.hard_since, 0);
	EXPECT_FALSE(facts.in_cycle);
}

TEST(WaitGraph, GroupThatAwaitsSeveralLocks) {
	GraphBuilder b;
	const auto leader = b.session(101);
	const auto worker = b.worker_of(leader, 102);
	const auto colleague = b.worker_of(leader, 103);
	const auto queued = b.session(104);
	const auto holder = b.session(105);
	const auto other = b.session(106);
	const auto a = b.lock("page 1 of relation public.t");
	const auto c = b.lock("page 2 of relation public.t");
	b.hold(a, other, LockMode::access_share).hold(a, holder, LockMode::exclusive);
	b.wait(a, queued, LockMode::exclusive, ago(9)).wait(a, worker, LockMode::exclusive, ago(3));
	b.hold(c, holder, LockMode::exclusive).wait(c, colleague, LockMode::exclusive, ago(4));
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node(holder).direct_waiters, 2U) << "the group counts once";
	EXPECT_EQ(graph.node(holder).blocked_total, 2U);
	EXPECT_EQ(graph.node(leader).waiter, b.waiter(c, colleague)) << "the longest hard wait";
	EXPECT_EQ(graph.node(queued).direct_waiters, 1U);
}

TEST(WaitGraph, GroupIsShownByItsHardWait) {
	GraphBuilder b;
	const auto leader = b.session(101);
	const auto worker = b.worker_of(leader, 102);
	const auto reader = b.session(103);
	const auto migration = b.session(104);
	const auto holder = b.session(105);
	const auto a = b.lock("relation public.t");
	const auto c = b.lock("relation public.u");
	b.hold(a, reader, LockMode::access_share).wait(a, migration, LockMode::access_exclusive, ago(9));
	b.wait(a, worker, LockMode::access_share, ago(8));
	b.hold(c, holder, LockMode::exclusive).wait(c, leader, LockMode::share, ago(2));
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node(leader).waiter, b.waiter(c, leader)) << "the other is longer, but only queued";
	EXPECT_EQ(graph.node(leader).depth, 1U);
	EXPECT_EQ(list(graph.roots_of(leader)), (std::vector<Index>{reader, holder}));
}

TEST(WaitGraph, LockUpgradeBlocksHardAndOnce) {
	GraphBuilder b;
	const auto upgrade = b.session(101);
	const auto reader = b.session(102);
	const auto behind = b.session(103);
	const auto table = b.lock("relation public.t");
	b.hold(table, upgrade, LockMode::share).hold(table, reader, LockMode::share);
	b.wait(table, upgrade, LockMode::exclusive, ago(9));
	b.wait(table, behind, LockMode::row_exclusive, ago(8));
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.blockers_of(0), (Blockers{{reader, Blocks::hard, LockMode::share}})) << "not itself";
	EXPECT_EQ(graph.waiter(1).blockers, 2U);
	EXPECT_EQ(graph.waiter(1).hard_blockers, 2U) << "holds and is queued: hard";
	EXPECT_EQ(graph.node(upgrade).direct_waiters, 1U);
	EXPECT_EQ(graph.node(upgrade).blocked_total, 1U);
	EXPECT_EQ(graph.node(upgrade).hard_since, ago(8));
	EXPECT_FALSE(graph.node(upgrade).in_cycle);
	EXPECT_EQ(graph.node(reader).frees, 2U);
}

TEST(WaitGraph, TwoUpgradesAreADeadlock) {
	GraphBuilder b;
	const auto one = b.session(101);
	const auto other = b.session(102);
	const auto table = b.lock("relation public.t");
	b.hold(table, one, LockMode::share).hold(table, other, LockMode::share);
	b.wait(table, one, LockMode::exclusive).wait(table, other, LockMode::exclusive);
	const WaitGraph graph(b.snapshot());
	for (const Index session : {Index{one}, Index{other}}) {
		EXPECT_TRUE(graph.node(session).in_cycle);
		EXPECT_EQ(graph.node(session).direct_waiters, 1U);
		EXPECT_EQ(graph.node(session).blocked_total, 1U);
	}
}

TEST(WaitGraph, WaiterWithoutDetails) {
	GraphBuilder b;
	const auto holder = b.session(101);
	const auto stranger = b.without_details(102);
	const auto behind = b.session(103);
	const auto database = b.lock("object 1262");
	b.hold(database, holder, LockMode::access_exclusive);
	b.wait(database, stranger, LockMode::row_exclusive, ago(4));
	b.wait(database, behind, LockMode::share, ago(3));
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(b.at(stranger).kind, Kind::unknown);
	EXPECT_TRUE(graph.node(stranger).waits);
	EXPECT_EQ(graph.node(stranger).direct_waiters, 1U);
	EXPECT_EQ(graph.node(holder).frees, 2U);
}

TEST(WaitGraph, WaiterThatNobodyBlocksIsNoRoot) {
	GraphBuilder b;
	const auto next = b.session(101);
	const auto behind = b.session(102);
	const auto table = b.lock("relation public.t");
	b.wait(table, next, LockMode::exclusive).wait(table, behind, LockMode::exclusive);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.waiter(0).primary.node, kNone);
	EXPECT_TRUE(graph.roots().empty());
	EXPECT_TRUE(graph.roots_of(behind).empty());
	EXPECT_EQ(graph.node(next).frees, 1U);
	EXPECT_EQ(graph.node(next).depth, 0U);
	EXPECT_EQ(graph.node(behind).depth, 1U);
}

TEST(WaitGraph, HardSinceLooksAtDirectWaitersOnly) {
	GraphBuilder b;
	const auto holder = b.session(101);
	const auto waiter = b.session(102);
	const auto indirect = b.session(103);
	const auto a = b.lock("relation public.t");
	const auto c = b.lock("relation public.u");
	b.hold(a, holder, LockMode::exclusive).wait(a, waiter, LockMode::exclusive, ago(2));
	b.hold(c, waiter, LockMode::exclusive).wait(c, indirect, LockMode::exclusive, ago(50));
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node(holder).hard_since, ago(2));
	EXPECT_EQ(graph.node(waiter).hard_since, ago(50));
}

TEST(WaitGraph, HardSinceWithAndWithoutAdvisoryLocks) {
	GraphBuilder b;
	const auto holder = b.session(101);
	const auto advised = b.session(102);
	const auto waiter = b.session(103);
	const auto advisory = b.lock("advisory 42").advisory();
	const auto table = b.lock("relation public.t");
	b.hold(advisory, holder, LockMode::exclusive).wait(advisory, advised, LockMode::exclusive, ago(50));
	b.hold(table, holder, LockMode::exclusive).wait(table, waiter, LockMode::exclusive, ago(2));
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node(holder).hard_since, ago(50));
	EXPECT_EQ(graph.node(holder).hard_waiter, b.waiter(advisory, advised));
	EXPECT_EQ(graph.node(holder).hard_since_no_advisory, ago(2));
	EXPECT_EQ(graph.node(holder).hard_waiter_no_advisory, b.waiter(table, waiter));
}

TEST(WaitGraph, WaitWithoutAStartBeganNow) {
	GraphBuilder b;
	const auto holder = b.session(101);
	const auto table = b.lock("relation public.t");
	b.hold(table, holder, LockMode::exclusive).wait(table, b.session(102), LockMode::exclusive, 0);
	EXPECT_EQ(WaitGraph(b.snapshot()).node(holder).hard_since, kNow);
	b.wait(table, b.session(103), LockMode::exclusive, ago(1));
	EXPECT_EQ(WaitGraph(b.snapshot()).node(holder).hard_since, ago(1));
}

// Four holders of one table, of which the caller makes one stand out.
class Primary : public testing::Test {
protected:
	Primary() {
		for (const Index holder : holders)
			b.hold(table, holder, LockMode::share);
		b.wait(table, b.session(200), LockMode::exclusive);
	}

	Index primary() { return WaitGraph(b.snapshot()).waiter(0).primary.node; }

	GraphBuilder b;
	std::vector<Index> holders{b.session(104), b.session(103), b.session(102), b.session(101)};
	LockRef table = b.lock("relation public.t");
};

TEST_F(Primary, IsTheLowerPidAmongEquals) {
	EXPECT_EQ(primary(), holders[3]);
}

TEST_F(Primary, IsTheOldestTransactionFirst) {
	b.at(holders[1]).xact_start = ago(200);
	b.at(holders[2]).xact_start = 0;
	EXPECT_EQ(primary(), holders[1]);
}

TEST_F(Primary, IsTheOneThatFreesMostBeforeAll) {
	b.at(holders[1]).xact_start = ago(200);
	const auto other = b.lock("relation public.u");
	b.hold(other, holders[0], LockMode::exclusive).wait(other, b.session(201), LockMode::exclusive);
	EXPECT_EQ(primary(), holders[0]);
}

TEST_F(Primary, IsAHolderBeforeAnyoneInTheQueue) {
	const auto last = b.session(201);
	b.wait(table, last, LockMode::exclusive);
	EXPECT_EQ(WaitGraph(b.snapshot()).waiter(1).primary.node, holders[3]);
}

TEST(WaitGraph, RootsComeWorstFirst) {
	GraphBuilder b;
	const auto young = b.session(101).xact_start(ago(10));
	const auto old = b.session(102).xact_start(ago(20));
	const auto alone = b.session(103).xact_start(ago(5));
	const auto shared = b.lock("relation public.t");
	const auto own = b.lock("relation public.u");
	b.hold(shared, young, LockMode::share).hold(shared, old, LockMode::share);
	b.wait(shared, b.session(201), LockMode::exclusive);
	b.hold(own, alone, LockMode::share).wait(own, b.session(202), LockMode::exclusive);
	EXPECT_EQ(list(WaitGraph(b.snapshot()).roots()), (std::vector<Index>{alone, old, young})) << "frees";
	b.wait(shared, b.session(203), LockMode::exclusive);
	EXPECT_EQ(list(WaitGraph(b.snapshot()).roots()), (std::vector<Index>{old, young, alone})) << "totals";
}

// A web in which no shortcut counts: everyone in the queue holds something that the next queue awaits.
TEST(WaitGraph, WebOfManyQueues) {
	constexpr int kLayers = 5, kPerLayer = 40;
	GraphBuilder b;
	std::vector<Index> above{b.session(1), b.session(2)};
	int pid = 100;
	for (int layer = 0; layer < kLayers; ++layer) {
		const auto table = b.lock("relation public.t" + std::to_string(layer));
		for (const Index holder : above)
			b.hold(table, holder, LockMode::row_share);
		above.clear();
		for (int i = 0; i < kPerLayer; ++i) {
			above.push_back(b.session(++pid));
			b.wait(table, above.back(), LockMode::exclusive);
		}
	}
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node(0).blocked_total, Index{kLayers * kPerLayer});
	EXPECT_EQ(graph.node(0).frees, 0U);
	EXPECT_EQ(graph.node(2).blocked_total, Index{kLayers * kPerLayer - 1});
	EXPECT_EQ(graph.node(2 + 39).blocked_total, Index{(kLayers - 1) * kPerLayer});
	EXPECT_EQ(graph.node(2 + 199).blocked_total, 0U);
	EXPECT_EQ(graph.roots_of(2 + 199).size(), 2U);
}

// Longer than any stack of a backend would bear.
TEST(WaitGraph, ChainOfAHundredThousand) {
	constexpr Index kLength = 100'000;
	GraphBuilder b;
	Index above = b.session(1);
	for (Index i = 1; i < kLength; ++i) {
		const auto transaction = b.lock("transaction");
		b.hold(transaction, above, LockMode::exclusive);
		above = b.session(static_cast<int>(i + 1));
		b.wait(transaction, above, LockMode::share);
	}
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(graph.node(0).frees, kLength - 1);
	EXPECT_EQ(graph.node(above).depth, kLength - 1);
	EXPECT_EQ(chains(graph).size(), kLength);
}

} // namespace
} // namespace test
} // namespace unblock::core
