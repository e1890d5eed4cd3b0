#include "core/in_the_way.h"
#include "graph_builder.h"

#include <gtest/gtest.h>

#include <vector>

namespace unblock::core::test {
namespace {

constexpr bool kHolds = true;
constexpr bool kThroughOthers = false;

using Found = std::vector<InTheWay>;

TEST(InTheWay, NobodyIsInTheWayOfALockThatNobodyHasAnythingToDoWith) {
	GraphBuilder b;
	b.session(1).idle_in_transaction();
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(in_the_way(graph, kNone, LockMode::access_exclusive, {}), Found{});
}

// The lock table knows holders of a lock that nobody awaits; the snapshot does not.
TEST(InTheWay, HoldersKnownFromElsewhereCountOnce) {
	GraphBuilder b;
	b.session(1);
	const Index reader = b.session(2);
	const Index holders[] = {reader, reader};
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(in_the_way(graph, kNone, LockMode::access_exclusive, holders), (Found{{reader, kHolds}}));
}

TEST(InTheWay, OnlyWhoConflicts) {
	GraphBuilder b;
	const Index reader = b.session(1);
	const Index writer = b.session(2);
	const Index alter = b.session(3);
	const Index read_behind = b.session(4);
	const Index table = b.lock("relation public.t");
	b.hold(table, reader, LockMode::access_share).hold(table, writer, LockMode::row_exclusive);
	b.wait(table, alter, LockMode::access_exclusive).wait(table, read_behind, LockMode::access_share);
	const WaitGraph graph(b.snapshot());

	EXPECT_EQ(
	    in_the_way(graph, table, LockMode::access_exclusive, {}),
	    (Found{{reader, kHolds}, {writer, kHolds}, {alter, kThroughOthers}, {read_behind, kThroughOthers}}));
	// A reader would queue behind the ALTER TABLE, which waits for both of those who hold.
	EXPECT_EQ(in_the_way(graph, table, LockMode::access_share, {}),
	          (Found{{reader, kThroughOthers}, {writer, kThroughOthers}, {alter, kThroughOthers}}));
}

TEST(InTheWay, QueuedInModesThatDoNotConflictAreNot) {
	GraphBuilder b;
	const Index writer = b.session(1);
	const Index create_index = b.session(2);
	const Index table = b.lock("relation public.t");
	b.hold(table, writer, LockMode::row_exclusive).wait(table, create_index, LockMode::share);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(in_the_way(graph, table, LockMode::access_share, {}), Found{});
	EXPECT_EQ(in_the_way(graph, table, LockMode::row_share, {}), Found{});
	EXPECT_EQ(in_the_way(graph, table, LockMode::row_exclusive, {}),
	          (Found{{writer, kThroughOthers}, {create_index, kThroughOthers}}));
}

TEST(InTheWay, TheRootBehindAnotherTable) {
	GraphBuilder b;
	const Index idle = b.session(1).idle_in_transaction();
	const Index alter = b.session(2);
	const Index bystander = b.session(3).idle_in_transaction();
	const Index other_waiter = b.session(4);
	const Index table = b.lock("relation public.t");
	const Index other = b.lock("relation public.u");
	const Index third = b.lock("relation public.v");
	b.hold(other, idle, LockMode::access_share).wait(other, alter, LockMode::access_exclusive);
	b.hold(third, bystander, LockMode::access_share).wait(third, other_waiter, LockMode::access_exclusive);
	const Index holders[] = {alter};
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(in_the_way(graph, kNone, LockMode::access_share, holders),
	          (Found{{idle, kThroughOthers}, {alter, kHolds}}));
	EXPECT_EQ(in_the_way(graph, table, LockMode::access_share, {}), Found{});
}

TEST(InTheWay, AGroupCountsAsItsLeader) {
	GraphBuilder b;
	const Index leader = b.session(1);
	const Index worker = b.worker_of(leader, 2);
	const Index root = b.session(3);
	const Index table = b.lock("relation public.t");
	const Index other = b.lock("relation public.u");
	b.hold(table, worker, LockMode::access_share);
	b.hold(other, root, LockMode::access_exclusive).wait(other, leader, LockMode::access_share);
	b.wait(table, b.session(4), LockMode::access_exclusive);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(in_the_way(graph, table, LockMode::share_row_exclusive, {}),
	          (Found{{leader, kThroughOthers}, {root, kThroughOthers}, {3, kThroughOthers}}));
	EXPECT_EQ(in_the_way(graph, table, LockMode::access_exclusive, {}),
	          (Found{{leader, kHolds}, {root, kThroughOthers}, {3, kThroughOthers}}));
}

TEST(InTheWay, DeadlockEnds) {
	GraphBuilder b;
	const Index first = b.session(1);
	const Index second = b.session(2);
	const Index a = b.lock("relation public.a");
	const Index c = b.lock("relation public.c");
	b.hold(a, first, LockMode::access_exclusive).wait(a, second, LockMode::access_share);
	b.hold(c, second, LockMode::access_exclusive).wait(c, first, LockMode::access_share);
	const WaitGraph graph(b.snapshot());
	EXPECT_EQ(in_the_way(graph, a, LockMode::access_share, {}),
	          (Found{{first, kHolds}, {second, kThroughOthers}}));
}

} // namespace
} // namespace unblock::core::test
