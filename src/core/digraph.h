// Directed graphs and the two classic questions that the wait graph asks of
// them: strongly connected components and dominators. Knows nothing of locks.
//
// No recursion anywhere: a chain of waits can be as long as max_connections,
// and a backend's stack is small.
#pragma once

#include "snapshot.h"

#include <span>
#include <vector>

namespace unblock::core {

// Nodes are 0 … nodes() - 1. Parallel edges and loops are allowed.
class Digraph {
public:
	struct Edge {
		Index from = kNone;
		Index to = kNone;
	};

	// O(nodes + edges). Throws std::bad_alloc.
	Digraph(Index nodes, std::span<const Edge> edges);

	Index nodes() const noexcept { return static_cast<Index>(first_.size() - 1); }

	std::span<const Index> successors(Index node) const noexcept {
		return {to_.data() + first_[node], to_.data() + first_[node + 1]};
	}

	// The same graph with every edge turned round.
	Digraph reversed() const;

private:
	Digraph(std::size_t nodes, std::size_t edges) : first_(nodes + 1), to_(edges) {}
	void end_runs();

	std::vector<Index> first_; // of a node's run in to_; one more than there are nodes
	std::vector<Index> to_;
};

struct Components {
	Index count = 0;
	std::vector<Index> of;    // component of a node; kNone where the search did not come
	std::vector<Index> order; // the nodes found: component 0 first, each component in one run
};

// Strongly connected components of what can be reached from `from` (Tarjan 1972). Edges between
// components lead from the higher number to the lower. O(nodes + edges). Throws std::bad_alloc.
Components strong_components(const Digraph& graph, std::span<const Index> from);

struct Dominators {
	// The last node, other than itself, that all paths from the starts to a node have in common;
	// kNone where there is none, and for nodes that no start reaches.
	std::vector<Index> immediate;
	std::vector<Index> order; // the nodes reached, each after its immediate dominator
};

// Dominators by Lengauer and Tarjan (1979), as if one more node led to all starts. `reversed` is the
// graph with its edges turned round. O(edges * log nodes). Throws std::bad_alloc.
Dominators dominators(const Digraph& graph, const Digraph& reversed, std::span<const Index> starts);

} // namespace unblock::core
