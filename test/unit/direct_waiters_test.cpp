// Who waits for a session directly: by what it holds, and by its place in a queue.

#include "core/direct_waiters.h"
#include "graph_builder.h"
#include "random_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace unblock::core::test {
namespace {

class DirectWaiters : public testing::Test {
protected:
	std::vector<Index> of(Index session, std::size_t most = SIZE_MAX) {
		return direct_waiters(WaitGraph(b.snapshot()), session, most);
	}
	Index wait(Index lock, Index session) const { return b.waiter(lock, session); }

	GraphBuilder b;
	LockRef table = b.lock("relation public.t");
	SessionRef holder = b.session(101);
};

TEST_F(DirectWaiters, NobodyWaits) {
	const auto other = b.session(102);
	b.hold(table, holder, LockMode::access_exclusive);
	EXPECT_TRUE(of(holder).empty());
	EXPECT_TRUE(of(other).empty());
}

TEST_F(DirectWaiters, WhoeverConflictsWithAHeldModeWaitsForTheHolder) {
	const auto writer = b.session(102);
	const auto migration = b.session(103);
	const auto reader = b.session(104);
	b.hold(table, holder, LockMode::share);
	b.wait(table, writer, LockMode::row_exclusive, ago(9));
	b.wait(table, migration, LockMode::access_exclusive, ago(5));
	b.wait(table, reader, LockMode::access_share, ago(3)); // waits for the migration alone
	EXPECT_EQ(of(holder), (std::vector{wait(table, writer), wait(table, migration)}));
	EXPECT_EQ(of(migration), std::vector{wait(table, reader)});
	EXPECT_TRUE(of(reader).empty());
}

TEST_F(DirectWaiters, SeveralHeldModesAddUp) {
	const auto writer = b.session(102);
	const auto locker = b.session(103);
	b.hold(table, holder, LockMode::share).hold(table, holder, LockMode::row_exclusive);
	b.wait(table, writer, LockMode::row_exclusive, ago(9)); // against SHARE
	b.wait(table, locker, LockMode::share, ago(5));         // against ROW EXCLUSIVE
	EXPECT_EQ(of(holder), (std::vector{wait(table, writer), wait(table, locker)}));
}

TEST_F(DirectWaiters, OnlyThoseBehindInTheQueueWaitForOneWhoIsQueued) {
	const auto first = b.session(102);
	const auto migration = b.session(103);
	const auto behind = b.session(104);
	b.hold(table, holder, LockMode::access_exclusive);
	b.wait(table, first, LockMode::access_share, ago(9));
	b.wait(table, migration, LockMode::access_exclusive, ago(5));
	b.wait(table, behind, LockMode::access_share, ago(3));
	EXPECT_EQ(of(migration), std::vector{wait(table, behind)});
	EXPECT_EQ(of(first), std::vector{wait(table, migration)}) << "readers get along";
}

TEST_F(DirectWaiters, WhoeverWaitsThroughOthersIsNotOneOfThem) {
	const auto middle = b.session(102);
	const auto indirect = b.session(103);
	const auto row = b.lock("transaction 742");
	b.hold(table, holder, LockMode::access_exclusive).wait(table, middle, LockMode::access_share);
	b.hold(row, middle, LockMode::exclusive).wait(row, indirect, LockMode::share);
	EXPECT_EQ(of(holder), std::vector{wait(table, middle)});
	EXPECT_EQ(of(middle), std::vector{wait(row, indirect)});
}

TEST_F(DirectWaiters, AnUpgradeBlocksByWhatItHoldsAndByItsPlaceEachWaitOnce) {
	const auto ahead = b.session(102);
	const auto upgrade = b.session(103);
	const auto behind = b.session(104);
	b.hold(table, upgrade, LockMode::share);
	b.wait(table, ahead, LockMode::row_exclusive, ago(9));
	b.wait(table, upgrade, LockMode::access_exclusive, ago(5));
	b.wait(table, behind, LockMode::row_exclusive, ago(3)); // conflicts with both of its modes
	EXPECT_EQ(of(upgrade), (std::vector{wait(table, ahead), wait(table, behind)})) << "and not itself";
}

TEST_F(DirectWaiters, TheLongestFirstThenAsTheyStand) {
	const auto row = b.lock("transaction 742");
	std::vector<SessionRef> sessions;
	for (int i = 0; i < 5; ++i)
		sessions.push_back(b.session(102 + i));
	b.hold(table, holder, LockMode::access_exclusive).hold(row, holder, LockMode::exclusive);
	b.wait(table, sessions[0], LockMode::access_share, ago(3));
	b.wait(table, sessions[1], LockMode::access_share, 0); // has begun just now
	b.wait(table, sessions[2], LockMode::access_share, ago(7));
	b.wait(row, sessions[3], LockMode::share, ago(20));
	b.wait(row, sessions[4], LockMode::share, ago(3));
	const std::vector<Index> all = {wait(row, sessions[3]), wait(table, sessions[2]),
	                                wait(table, sessions[0]), wait(row, sessions[4]),
	                                wait(table, sessions[1])};
	EXPECT_EQ(of(holder), all);
	EXPECT_EQ(of(holder, 5), all);
	EXPECT_EQ(of(holder, 2), std::vector(all.begin(), all.begin() + 2)) << "the worst of all locks";
	EXPECT_TRUE(of(holder, 0).empty());
}

TEST_F(DirectWaiters, ALockGroupIsOne) {
	const auto worker = b.worker_of(holder, 102);
	const auto colleague = b.worker_of(holder, 103);
	const auto other = b.session(104);
	const auto behind = b.session(105);
	const auto row = b.lock("transaction 742");
	b.hold(table, worker, LockMode::share);
	b.wait(table, colleague, LockMode::access_exclusive, ago(20)); // for its own group: nobody
	b.wait(table, other, LockMode::row_exclusive, ago(9));
	b.hold(row, holder, LockMode::exclusive).wait(row, behind, LockMode::share, ago(12));
	const std::vector<Index> all = {wait(row, behind), wait(table, other)};
	EXPECT_EQ(of(holder), all);
	EXPECT_EQ(of(worker), all);
	EXPECT_EQ(of(colleague), all);
}

TEST_F(DirectWaiters, EachWaitOfAnotherGroupCounts) {
	const auto leader = b.session(102);
	const auto worker = b.worker_of(leader, 103);
	b.hold(table, holder, LockMode::access_exclusive);
	b.wait(table, leader, LockMode::access_share, ago(5)).wait(table, worker, LockMode::access_share, ago(9));
	EXPECT_EQ(of(holder), (std::vector{wait(table, worker), wait(table, leader)}));
}

TEST_F(DirectWaiters, APreparedTransactionHasThemToo) {
	const auto prepared = b.prepared("gid");
	const auto waiter = b.session(102);
	b.hold(table, prepared, LockMode::row_exclusive).wait(table, waiter, LockMode::share);
	EXPECT_EQ(of(prepared), std::vector{wait(table, waiter)});
}

TEST(DirectWaitersRandom, AreThoseWhoseBlockersInclude) {
	for (unsigned seed = 1; seed <= 300; ++seed) {
		SCOPED_TRACE("seed " + std::to_string(seed));
		Dice dice(seed);
		GraphBuilder b;
		fill(b, dice, make_shape(dice, seed % 10 == 0 ? 60 : 15));
		const WaitGraph graph(b.snapshot());
		const Snapshot& snapshot = graph.snapshot();
		for (Index session = 0; session < snapshot.sessions.size(); ++session) {
			std::vector<Index> expected;
			for (Index wait = 0; wait < snapshot.waiters.size(); ++wait)
				for (const Blocker& blocker : graph.blockers_of(wait))
					if (blocker.node == graph.node_of(session)) {
						expected.push_back(wait);
						EXPECT_EQ(mode_against(graph, session, snapshot.waiters[wait],
						                       blocker.kind == Blocks::queued),
						          blocker.mode);
					}
			std::ranges::stable_sort(expected, [&](Index one, Index other) {
				return snapshot.waited(snapshot.waiters[one]) > snapshot.waited(snapshot.waiters[other]);
			});
			ASSERT_EQ(direct_waiters(graph, session, SIZE_MAX), expected) << "session " << session;
			expected.resize(std::min<std::size_t>(expected.size(), 3));
			ASSERT_EQ(direct_waiters(graph, session, 3), expected) << "session " << session;
		}
	}
}

} // namespace
} // namespace unblock::core::test
