// The graph of who blocks whom in linear size.
#pragma once

#include "digraph.h"
#include "lock_groups.h"

namespace unblock::core {

struct BlockGraph {
	// Edges lead from a blocker to those who wait for it. Nodes below snapshot().sessions.size() are those of
	// the wait graph; the others stand for many edges at once and are passed through: a path between two
	// nodes that passes none but these is one edge of the wait graph. (A node that both holds and awaits a
	// lock can get such a path to itself, which is none.)
	Digraph graph;
	// By node of the wait graph: where the edges of what it holds begin. That is a node of their own, right
	// behind it, for those who wait in one queue, and not alone there; else the node itself.
	std::vector<Index> holdings;
};

// O(waiters + holders) nodes and edges. Throws std::bad_alloc.
BlockGraph block_graph(const LockGroups& groups);

} // namespace unblock::core
