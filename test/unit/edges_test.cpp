#include "core/edges.h"
#include "graph_builder.h"
#include "naive_graph.h"
#include "random_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace unblock::core::test {
namespace {

constexpr std::size_t kAll = SIZE_MAX;

// "waiter>holder", "waiter>>queued", by pid, with lock and modes.
std::vector<std::string> told(GraphBuilder& b, std::size_t most = kAll) {
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	std::vector<std::string> lines;
	for (const Edge& edge : edges(graph, most).list) {
		const Waiter& waiter = snapshot.waiters[edge.waiter];
		std::string line = std::to_string(snapshot.sessions[waiter.session].pid);
		line += edge.blocker.kind == Blocks::hard ? ">" : ">>";
		line += std::to_string(snapshot.sessions[edge.blocker.node].pid);
		line.append(" ").append(snapshot.locks[waiter.lock].label);
		line.append(" ").append(name(waiter.mode)).append(" ").append(name(edge.blocker.mode));
		lines.push_back(line);
	}
	return lines;
}

TEST(Edges, OfNobodyAreNone) {
	GraphBuilder b;
	b.session(1);
	EXPECT_TRUE(told(b).empty());
}

TEST(Edges, GoLockByLockInTheOrderOfTheQueueHoldersFirst) {
	GraphBuilder b;
	const LockRef t = b.lock("t"), u = b.lock("u");
	const SessionRef idle = b.session(1), other = b.session(2), alter = b.session(3), reader = b.session(4);
	b.hold(u, reader, LockMode::exclusive).wait(u, b.session(5), LockMode::share);
	b.hold(t, idle, LockMode::access_share).hold(t, other, LockMode::row_exclusive);
	b.wait(t, b.session(6), LockMode::share).wait(t, alter, LockMode::access_exclusive);
	b.wait(t, reader, LockMode::access_share);
	EXPECT_EQ(told(b), (std::vector<std::string>{
	                       "6>2 t ShareLock RowExclusiveLock",
	                       "3>1 t AccessExclusiveLock AccessShareLock",
	                       "3>2 t AccessExclusiveLock RowExclusiveLock",
	                       "3>>6 t AccessExclusiveLock ShareLock",
	                       "4>>3 t AccessShareLock AccessExclusiveLock",
	                       "5>4 u ShareLock ExclusiveLock",
	                   }));
}

TEST(Edges, OfProcessesOfOneSessionCountOnceForEachLockAndMode) {
	GraphBuilder b;
	const LockRef t = b.lock("t"), u = b.lock("u");
	const SessionRef holder = b.session(1), leader = b.session(20);
	b.hold(t, holder, LockMode::access_exclusive).hold(u, holder, LockMode::access_exclusive);
	b.wait(t, b.worker_of(leader, 21), LockMode::access_share);
	b.wait(t, b.worker_of(leader, 22), LockMode::access_share);
	b.wait(t, b.worker_of(leader, 23), LockMode::row_share);
	b.wait(u, b.worker_of(leader, 24), LockMode::access_share);
	b.wait(t, b.session(30), LockMode::access_share);
	EXPECT_EQ(told(b), (std::vector<std::string>{
	                       "21>1 t AccessShareLock AccessExclusiveLock",
	                       "23>1 t RowShareLock AccessExclusiveLock",
	                       "30>1 t AccessShareLock AccessExclusiveLock",
	                       "24>1 u AccessShareLock AccessExclusiveLock",
	                   }));
}

// A worker further back in the queue can have a blocker that the first one does not have.
TEST(Edges, OfALaterProcessOfOneSessionAddWhatIsNew) {
	GraphBuilder b;
	const LockRef t = b.lock("t");
	const SessionRef leader = b.session(20);
	b.hold(t, b.session(1), LockMode::share);
	b.wait(t, b.worker_of(leader, 21), LockMode::row_exclusive);
	b.wait(t, b.session(30), LockMode::share_row_exclusive);
	b.wait(t, b.worker_of(leader, 22), LockMode::row_exclusive);
	EXPECT_EQ(told(b), (std::vector<std::string>{
	                       "21>1 t RowExclusiveLock ShareLock",
	                       "30>1 t ShareRowExclusiveLock ShareLock",
	                       "30>>20 t ShareRowExclusiveLock RowExclusiveLock",
	                       "22>>30 t RowExclusiveLock ShareRowExclusiveLock",
	                   }));
}

using Pair = std::tuple<Index, Index, Blocks, LockMode>; // wait, blocker, and how it blocks

Pair pair(Index waiter, const Blocker& blocker) {
	return {waiter, blocker.node, blocker.kind, blocker.mode};
}

std::vector<Pair> pairs(const Edges& edges) {
	std::vector<Pair> found;
	for (const Edge& edge : edges.list)
		found.push_back(pair(edge.waiter, edge.blocker));
	return found;
}

std::set<Pair> expected_pairs(const NaiveGraph& naive) {
	std::set<Pair> expected;
	std::set<std::tuple<Index, Index, LockMode, Index>> met;
	for (Index i = 0; i < naive.snapshot.waiters.size(); ++i) {
		const Waiter& waiter = naive.snapshot.waiters[i];
		for (const Blocker& blocker : naive.blockers[i])
			if (met.emplace(naive.node_of(waiter.session), waiter.lock, waiter.mode, blocker.node).second)
				expected.insert(pair(i, blocker));
	}
	return expected;
}

void compare(unsigned seed) {
	SCOPED_TRACE("seed " + std::to_string(seed));
	Dice dice(seed);
	GraphBuilder b;
	fill(b, dice, make_shape(dice, 20));
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);

	const Edges all = edges(graph, kAll);
	const std::vector<Pair> found = pairs(all);
	EXPECT_FALSE(all.cut);
	EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), [](const Pair& x, const Pair& y) {
		return std::tuple(std::get<0>(x), std::get<2>(x)) < std::tuple(std::get<0>(y), std::get<2>(y));
	}));
	EXPECT_EQ(std::set(found.begin(), found.end()), expected_pairs(NaiveGraph(snapshot)));
	EXPECT_EQ(std::set(found.begin(), found.end()).size(), found.size());

	const std::size_t some = static_cast<std::size_t>(dice.from_to(0, static_cast<int>(found.size())));
	for (const std::size_t most : {some, found.size(), found.size() + 1}) {
		const Edges first = edges(graph, most);
		EXPECT_EQ(first.cut, most < found.size());
		const std::size_t size = std::min(most, found.size());
		EXPECT_EQ(pairs(first),
		          std::vector(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(size)));
	}
}

TEST(Edges, AgreeWithTheNaiveGraph) {
	for (unsigned seed = 1; seed <= 2000 && !testing::Test::HasFailure(); ++seed)
		compare(seed);
}

TEST(PrimaryEdges, AreOneForEachBlockedWait) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	const Index holder = b.session(1), other = b.session(2), first = b.session(3), second = b.session(4);
	b.hold(table, holder, LockMode::access_share).hold(table, other, LockMode::access_share);
	b.wait(table, first, LockMode::access_exclusive).wait(table, second, LockMode::access_share);
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	const Edges found = primary_edges(graph);
	ASSERT_EQ(found.list.size(), 2U);
	EXPECT_EQ(found.list[0].blocker, graph.waiter(0).primary);
	EXPECT_EQ(found.list[1].blocker.node, first);
	EXPECT_EQ(found.list[1].blocker.kind, Blocks::queued);
	EXPECT_TRUE(found.cut) << "the first one waits for two";
}

TEST(PrimaryEdges, AreCompleteWhereNobodyWaitsForTwo) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_share);
	b.wait(table, b.session(2), LockMode::access_exclusive);
	const Snapshot snapshot = b.snapshot();
	EXPECT_FALSE(primary_edges(WaitGraph(snapshot)).cut);
}

} // namespace
} // namespace unblock::core::test
