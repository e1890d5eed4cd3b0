#include "core/wait_graph.h"
#include "graph_builder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace unblock::core::test {
namespace {

// One word per row: its chain, its depth in dots, its pid, and "." after the last of siblings.
std::vector<std::string> drawn(const Snapshot& snapshot) {
	const WaitGraph graph(snapshot);
	const std::vector<ChainRow> rows = chains(graph);
	std::vector<std::string> words;
	for (const ChainRow& row : rows) {
		EXPECT_EQ(row.depth, graph.node(row.node).depth);
		if (row.depth == 0)
			EXPECT_EQ(row.parent, kNone);
		else
			EXPECT_EQ(rows[row.parent].depth + 1, row.depth);
		words.push_back(std::to_string(row.chain) + ":" + std::string(row.depth, '>') +
		                std::to_string(snapshot.sessions[row.node].pid) + (row.last ? "." : ""));
	}
	return words;
}

using Words = std::vector<std::string>;

TEST(Chains, NothingForBystanders) {
	GraphBuilder b;
	b.session(101);
	const auto table = b.lock("relation public.t");
	b.hold(table, b.session(102), LockMode::access_share);
	EXPECT_EQ(drawn(b.snapshot()), Words{});
}

TEST(Chains, TheIncident) {
	GraphBuilder b;
	const auto idle = b.session(101).idle_in_transaction(ago(3600));
	const auto table = b.lock("relation public.features");
	b.hold(table, idle, LockMode::access_share);
	for (int i = 0; i < 3; ++i)
		b.wait(table, b.session(102 + i), LockMode::access_exclusive, ago(30 - i));
	for (int i = 0; i < 2; ++i)
		b.wait(table, b.session(105 + i), LockMode::access_share, ago(10 - i));
	EXPECT_EQ(drawn(b.snapshot()), (Words{"1:101.", "1:>102", "1:>>105", "1:>>106.", "1:>103", "1:>104."}));
}

TEST(Chains, SiblingsByStartOfTheirWaitThenPid) {
	GraphBuilder b;
	const auto holder = b.session(101);
	const auto table = b.lock("relation public.t");
	b.hold(table, holder, LockMode::exclusive);
	b.wait(table, b.session(105), LockMode::row_share, 0); // began now
	b.wait(table, b.session(104), LockMode::row_exclusive, ago(5));
	b.wait(table, b.session(103), LockMode::row_exclusive, ago(5));
	b.wait(table, b.session(102), LockMode::row_exclusive, ago(4));
	b.wait(table, b.session(106), LockMode::row_exclusive, ago(6));
	EXPECT_EQ(drawn(b.snapshot()), (Words{"1:101.", "1:>106", "1:>103", "1:>104", "1:>102", "1:>105."}));
}

TEST(Chains, MostBlockedFirstThenOldestTransactionThenPid) {
	GraphBuilder b;
	const auto table = [&](const SessionRef& holder, int waiters, int first_pid) {
		const auto made = b.lock("relation public.t");
		b.hold(made, holder, LockMode::exclusive);
		for (int i = 0; i < waiters; ++i)
			b.wait(made, b.session(first_pid + i), LockMode::row_share, ago(5));
	};
	table(b.session(104), 1, 201);
	table(b.session(103), 1, 301);
	table(b.session(102).xact_start(0), 1, 401);
	table(b.session(105).xact_start(ago(500)), 1, 501);
	table(b.session(106), 2, 601);
	EXPECT_EQ(drawn(b.snapshot()), (Words{"1:106.", "1:>601", "1:>602.", "2:105.", "2:>501.", "3:103.",
	                                      "3:>301.", "4:104.", "4:>201.", "5:102.", "5:>401."}));
}

// Of two holders one draws the waiter to itself; the other is a chain of its own.
TEST(Chains, EachNodeOnce) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	b.hold(table, b.session(102), LockMode::share).hold(table, b.session(101), LockMode::share);
	b.wait(table, b.session(103), LockMode::exclusive);
	EXPECT_EQ(drawn(b.snapshot()), (Words{"1:101.", "1:>103.", "2:102."}));
}

TEST(Chains, CycleBeginsWithTheMemberThatFreesMost) {
	GraphBuilder b;
	const auto one = b.session(101);
	const auto other = b.session(102);
	const auto a = b.lock("transaction 1");
	const auto c = b.lock("transaction 2");
	b.hold(a, one, LockMode::exclusive).wait(a, other, LockMode::share);
	b.hold(c, other, LockMode::exclusive).wait(c, one, LockMode::share, ago(9));
	b.wait(c, b.session(103), LockMode::share, ago(8));
	EXPECT_EQ(drawn(b.snapshot()), (Words{"1:102.", "1:>101", "1:>103."}));
}

TEST(Chains, WaiterThatNobodyBlocksIsAChainOfItsOwn) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	b.wait(table, b.session(101), LockMode::exclusive);
	EXPECT_EQ(drawn(b.snapshot()), (Words{"1:101."}));
}

// One chain of several stands by itself.
TEST(ChainOf, IsAForestOfItsOwn) {
	GraphBuilder b;
	const auto worse = b.session(101);
	const auto better = b.session(102);
	const auto calm = b.session(109);
	const auto one = b.lock("relation public.one");
	const auto other = b.lock("relation public.other");
	b.hold(one, worse, LockMode::exclusive).hold(other, better, LockMode::exclusive);
	b.wait(one, b.session(103), LockMode::exclusive, ago(9)).wait(one, b.session(104), LockMode::exclusive);
	const auto middle = b.session(105);
	const auto last = b.session(106);
	const auto row = b.lock("transaction 1");
	b.wait(other, middle, LockMode::exclusive);
	b.hold(row, middle, LockMode::exclusive).wait(row, last, LockMode::share);
	const WaitGraph graph(b.snapshot());
	const std::vector<ChainRow> all = chains(graph);
	for (const Index member : {Index{better}, Index{middle}, Index{last}}) {
		const std::vector<ChainRow> rows = chain_of(all, member);
		ASSERT_EQ(rows.size(), 3U);
		const Index nodes[] = {better, middle, last};
		for (Index i = 0; i < 3; ++i) {
			EXPECT_EQ(rows[i].node, nodes[i]);
			EXPECT_EQ(rows[i].depth, i);
			EXPECT_EQ(rows[i].chain, 1U);
			EXPECT_EQ(rows[i].parent, i == 0 ? kNone : i - 1);
			EXPECT_TRUE(rows[i].last);
		}
	}
	EXPECT_EQ(chain_of(all, worse).size(), 3U);
	EXPECT_EQ(chain_of(all, calm).size(), 0U);
	EXPECT_EQ(chain_of({}, worse).size(), 0U);
}

} // namespace
} // namespace unblock::core::test
