// The forest of primary blockers, as rows in the order of reading.
#include "wait_graph.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "fence.h"

namespace unblock::core {

namespace {

// A node and its place among its siblings.
struct Child {
	Index parent = kNone; // kNone: the top of a chain
	std::tuple<Index, Time, std::int32_t, Index> order;
	Index node = kNone;
};

Child child(const WaitGraph& graph, Index node) {
	const Snapshot& snapshot = graph.snapshot();
	const NodeFacts& facts = graph.node(node);
	const Session& session = snapshot.sessions[node];
	if (facts.waiter == kNone || facts.depth == 0) {
		const Time age = session.xact_start == 0 ? INT64_MAX : session.xact_start;
		return {kNone, {UINT32_MAX - facts.blocked_total, age, session.pid, node}, node};
	}
	const Time start = snapshot.waiters[facts.waiter].wait_start;
	return {graph.waiter(facts.waiter).primary.node,
	        {0, start == 0 ? snapshot.now : start, session.pid, node},
	        node};
}

// All nodes that wait or block, siblings side by side in their order.
std::vector<Child> siblings(const WaitGraph& graph) {
	std::vector<Child> children;
	const Index sessions = static_cast<Index>(graph.snapshot().sessions.size());
	children.reserve(sessions);
	for (Index node = 0; node < sessions; ++node)
		if (graph.node_of(node) == node && (graph.node(node).waits || graph.node(node).direct_waiters > 0))
			children.push_back(child(graph, node));
	std::sort(children.begin(), children.end(), [](const Child& a, const Child& b) {
		return std::tie(a.parent, a.order) < std::tie(b.parent, b.order);
	});
	return children;
}

class Forest {
public:
	explicit Forest(const WaitGraph& graph)
	    : children_(siblings(graph)), first_child_(graph.snapshot().sessions.size(), kNone) {
		for (Index i = 0; i < children_.size(); ++i)
			if (children_[i].parent != kNone && first_child_[children_[i].parent] == kNone)
				first_child_[children_[i].parent] = i;
	}

	std::vector<ChainRow> rows() {
		rows_.reserve(children_.size());
		// kNone sorts last: the tops stand at the end.
		Index top = 0;
		while (top < children_.size() && children_[top].parent != kNone)
			++top;
		for (Index chain = 1; top < children_.size(); ++top, ++chain)
			add_chain(top, chain);
		return std::move(rows_);
	}

private:
	// A run of siblings of which some are still to come.
	struct Pending {
		Index next;
		Index parent_row;
		Index depth;
	};

	void add_chain(Index top, Index chain) {
		rows_.push_back({children_[top].node, chain, 0, kNone, true});
		go_down(0);
		while (!path_.empty()) {
			const Pending run = path_.back();
			const Child& here = children_[run.next];
			const bool last =
			    run.next + 1 == children_.size() || children_[run.next + 1].parent != here.parent;
			if (last)
				path_.pop_back();
			else
				++path_.back().next;
			rows_.push_back({here.node, chain, run.depth, run.parent_row, last});
			go_down(run.depth);
		}
	}

	// Puts the children of the row added last, at `depth`, before all that is pending.
	void go_down(Index depth) {
		if (const Index first = first_child_[rows_.back().node]; first != kNone)
			path_.push_back({first, static_cast<Index>(rows_.size() - 1), depth + 1});
	}

	std::vector<Child> children_;
	std::vector<Index> first_child_; // by node
	std::vector<ChainRow> rows_;
	std::vector<Pending> path_;
};

} // namespace

std::vector<ChainRow> chains(const WaitGraph& graph) {
	return Forest(graph).rows();
}

std::vector<ChainRow> chain_of(std::span<const ChainRow> rows, Index node) {
	const auto found = std::ranges::find(rows, node, &ChainRow::node);
	if (found == rows.end())
		return {};
	const auto begin = std::ranges::lower_bound(rows, found->chain, {}, &ChainRow::chain);
	const auto end = std::ranges::upper_bound(rows, found->chain, {}, &ChainRow::chain);
	std::vector<ChainRow> copy(begin, end);
	const auto first = static_cast<Index>(begin - rows.begin());
	for (ChainRow& row : copy) {
		row.chain = 1;
		if (row.parent != kNone)
			row.parent -= first;
	}
	return copy;
}

} // namespace unblock::core
