// Every fact of the wait graph against the naive one, on random snapshots of many shapes.
#include "core/in_the_way.h"
#include "graph_builder.h"
#include "naive_graph.h"
#include "random_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace unblock::core::test {
namespace {

void compare_waits(const WaitGraph& graph, const NaiveGraph& naive) {
	for (Index i = 0; i < naive.snapshot.waiters.size(); ++i) {
		SCOPED_TRACE("waiter " + std::to_string(i));
		const std::vector<Blocker>& expected = naive.blockers[i];
		const std::vector<Blocker> found = graph.blockers_of(i);
		const std::vector<Blocker> first_two = graph.blockers_of(i, 2);
		ASSERT_EQ(first_two.size(), std::min<std::size_t>(found.size(), 2));
		EXPECT_TRUE(std::equal(first_two.begin(), first_two.end(), found.begin()));
		std::map<Index, Blocker> by_node;
		for (const Blocker& blocker : found)
			by_node[blocker.node] = blocker;
		ASSERT_EQ(found.size(), expected.size());
		ASSERT_EQ(by_node.size(), expected.size());
		EXPECT_TRUE(std::is_partitioned(found.begin(), found.end(),
		                                [](const Blocker& b) { return b.kind == Blocks::hard; }));
		Index hard = 0;
		for (const Blocker& blocker : expected) {
			ASSERT_TRUE(by_node.contains(blocker.node));
			EXPECT_EQ(by_node[blocker.node].kind, blocker.kind);
			EXPECT_EQ(by_node[blocker.node].mode, blocker.mode);
			hard += blocker.kind == Blocks::hard;
		}
		const WaiterFacts& facts = graph.waiter(i);
		EXPECT_EQ(facts.blockers, expected.size());
		EXPECT_EQ(facts.hard_blockers, hard);
		EXPECT_EQ(facts.queue_position,
		          i - naive.snapshot.locks[naive.snapshot.waiters[i].lock].first_waiter + 1);
		const Blocker primary = naive.primary(i);
		EXPECT_EQ(facts.primary.node, primary.node);
		EXPECT_EQ(facts.primary.kind, primary.kind);
		EXPECT_EQ(facts.primary.mode, primary.mode);
	}
}

void compare_nodes(const WaitGraph& graph, const NaiveGraph& naive) {
	for (Index node = 0; node < naive.size; ++node) {
		if (naive.node_of(node) != node) {
			EXPECT_EQ(&graph.node(node), &graph.node(naive.node_of(node)));
			continue;
		}
		SCOPED_TRACE("node " + std::to_string(node));
		const NodeFacts& facts = graph.node(node);
		EXPECT_EQ(facts.waits, naive.waits[node] != 0);
		EXPECT_EQ(facts.root, naive.root(node));
		EXPECT_EQ(facts.in_cycle, naive.in_cycle(node));
		EXPECT_EQ(facts.direct_waiters, naive.direct_waiters(node));
		EXPECT_EQ(facts.blocked_total, naive.blocked_total(node));
		EXPECT_EQ(facts.frees, naive.frees(node));
		EXPECT_EQ(facts.waiter, naive.shown_wait(node));

		const Index hard = naive.hard_waiter(node, true);
		const Index hard_no_advisory = naive.hard_waiter(node, false);
		EXPECT_EQ(facts.hard_waiter, hard);
		EXPECT_EQ(facts.hard_since, hard == kNone ? 0 : naive.start(hard));
		EXPECT_EQ(facts.hard_waiter_no_advisory, hard_no_advisory);
		EXPECT_EQ(facts.hard_since_no_advisory,
		          hard_no_advisory == kNone ? 0 : naive.start(hard_no_advisory));

		std::vector<Index> roots = naive.roots_of(node);
		const std::span<const Index> order = graph.roots();
		std::ranges::sort(roots, {}, [&](Index root) { return std::ranges::find(order, root); });
		EXPECT_TRUE(std::ranges::equal(graph.roots_of(node), roots));
	}
}

void compare_roots(const WaitGraph& graph, const NaiveGraph& naive) {
	std::vector<Index> expected;
	for (Index node = 0; node < naive.size; ++node)
		if (naive.root(node))
			expected.push_back(node);
	std::sort(expected.begin(), expected.end(), [&](Index a, Index b) {
		return std::tuple(-static_cast<int>(naive.blocked_total(a)), naive.worth(a)) <
		       std::tuple(-static_cast<int>(naive.blocked_total(b)), naive.worth(b));
	});
	EXPECT_EQ(std::vector<Index>(graph.roots().begin(), graph.roots().end()), expected);
}

void compare_ahead(const WaitGraph& graph, const NaiveGraph& naive, Dice& dice) {
	std::vector<Index> from;
	std::vector<Index> expected;
	for (Index session = 0; session < naive.size; ++session)
		if (dice.chance(20))
			from.push_back(session);
	for (Index node = 0; node < naive.size; ++node)
		if (std::any_of(from.begin(), from.end(), [&](Index session) {
			    return naive.node_of(session) == node || naive.reach[node][naive.node_of(session)];
		    }))
			expected.push_back(node);
	EXPECT_EQ(graph.with_all_ahead(from), expected);
}

// Who is in the way of a request, before it is made and, by the naive graph, after. The graph's snapshot is
// gone then.
void compare_request(GraphBuilder& b, const WaitGraph& graph, Dice& dice, const Shape& shape) {
	const Index lock = static_cast<Index>(dice.from_to(0, shape.locks - 1));
	const LockMode wanted = dice.one_of(shape.modes);
	std::vector<Index> holders;
	for (const Holder& holder : graph.snapshot().holders_of(graph.snapshot().locks[lock]))
		if (conflict(wanted, holder.modes))
			holders.push_back(holder.session);
	const bool awaited = graph.snapshot().locks[lock].waiters > 0;
	const std::vector<InTheWay> found =
	    in_the_way(graph, awaited ? lock : kNone, wanted, awaited ? std::vector<Index>{} : holders);

	const Index asker = b.session(1);
	b.wait(lock, asker, wanted);
	const Snapshot snapshot = b.snapshot();
	const NaiveGraph naive(snapshot);
	std::vector<InTheWay> expected;
	for (Index node = 0; node < naive.size; ++node)
		if (naive.reach[node][asker])
			expected.push_back({node, std::any_of(holders.begin(), holders.end(), [&](Index holder) {
				                    return naive.node_of(holder) == node;
			                    })});
	EXPECT_EQ(found, expected);
}

// Adds the rows below `parent`, or the tops, as chains() should give them.
void expect_rows(const NaiveGraph& naive, const std::vector<Index>& parents, Index parent, ChainRow under,
                 std::vector<ChainRow>& rows) {
	std::vector<Index> children;
	for (Index node = 0; node < naive.size; ++node)
		if ((naive.waits[node] || naive.direct_waiters(node) > 0) && parents[node] == parent)
			children.push_back(node);
	const auto order = [&](Index node) {
		const Session& session = naive.snapshot.sessions[node];
		if (parent != kNone)
			return std::tuple(0, naive.start(naive.shown_wait(node)), session.pid, node);
		return std::tuple(-static_cast<int>(naive.blocked_total(node)),
		                  session.xact_start == 0 ? INT64_MAX : session.xact_start, session.pid, node);
	};
	std::sort(children.begin(), children.end(), [&](Index a, Index b) { return order(a) < order(b); });
	for (const Index node : children) {
		ChainRow row = under;
		row.node = node;
		row.last = parent == kNone || node == children.back();
		if (parent == kNone)
			++under.chain;
		row.chain = under.chain;
		rows.push_back(row);
		const Index here = static_cast<Index>(rows.size() - 1);
		expect_rows(naive, parents, node, {kNone, row.chain, row.depth + 1, here, false}, rows);
	}
}

void compare_chains(const WaitGraph& graph, const NaiveGraph& naive) {
	std::vector<Index> parents;
	for (Index node = 0; node < naive.size; ++node)
		parents.push_back(naive.parent(node));
	std::vector<ChainRow> expected;
	expect_rows(naive, parents, kNone, {}, expected);
	const std::vector<ChainRow> rows = chains(graph);
	ASSERT_EQ(rows.size(), expected.size());
	for (std::size_t i = 0; i < rows.size(); ++i) {
		SCOPED_TRACE("row " + std::to_string(i));
		EXPECT_EQ(rows[i].node, expected[i].node);
		EXPECT_EQ(rows[i].chain, expected[i].chain);
		EXPECT_EQ(rows[i].depth, expected[i].depth);
		EXPECT_EQ(rows[i].parent, expected[i].parent);
		EXPECT_EQ(rows[i].last, expected[i].last);
		EXPECT_EQ(graph.node(rows[i].node).depth, rows[i].depth);
	}
}

void compare(unsigned seed, Dice& dice, const Shape& shape) {
	SCOPED_TRACE("seed " + std::to_string(seed));
	GraphBuilder b;
	fill(b, dice, shape);
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	const NaiveGraph naive(snapshot);
	compare_waits(graph, naive);
	compare_nodes(graph, naive);
	compare_roots(graph, naive);
	if (shape.sessions <= 25)
		compare_chains(graph, naive);
	compare_ahead(graph, naive, dice);
	compare_request(b, graph, dice, shape);
}

void compare(unsigned seed, int most_sessions) {
	Dice dice(seed);
	compare(seed, dice, make_shape(dice, most_sessions));
}

TEST(WaitGraphRandom, SmallGraphsAgreeWithTheNaiveOne) {
	for (unsigned seed = 1; seed <= 4000 && !testing::Test::HasFailure(); ++seed)
		compare(seed, seed % 2 ? 8 : 25);
}

TEST(WaitGraphRandom, LargeGraphsAgreeWithTheNaiveOne) {
	for (unsigned seed = 10'001; seed <= 10'030 && !testing::Test::HasFailure(); ++seed)
		compare(seed, 140);
}

// Locks that few share: so many sets of sessions are reached in common that blocked_total needs several
// walks.
TEST(WaitGraphRandom, GraphsOfManyLocksAgreeWithTheNaiveOne) {
	for (unsigned seed = 20'001; seed <= 20'003 && !testing::Test::HasFailure(); ++seed) {
		Dice dice(seed);
		compare(seed, dice,
		        {.sessions = 600,
		         .locks = 300,
		         .workers = 0,
		         .prepared = 0,
		         .holds = 50,
		         .waits = 75,
		         .upgrades = 0,
		         .modes = {LockMode::share, LockMode::exclusive},
		         .piled = 0,
		         .tables = 1});
	}
}

} // namespace
} // namespace unblock::core::test
