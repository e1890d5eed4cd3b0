// How many wait for a node, directly or through others; and how many for it alone.
#pragma once

#include "block_graph.h"

#include <span>
#include <vector>

namespace unblock::core {

struct Reach {
	std::vector<Index> frees;         // by node; see wait_graph.h
	std::vector<Index> blocked_total; // by node
};

// `graph` is the block graph of `groups`, searched from groups.nodes() for its `components`; `starts`
// are the nodes of those components that no other leads to. Linear in the graph where few different sets
// of exits occur (see reach.cpp); each 64 of them, and each 64 nodes or cycles in the middle of a web, cost
// one walk over the graph. Throws std::bad_alloc.
Reach count_reach(const LockGroups& groups, const BlockGraph& graph, const Digraph& reversed,
                  const Components& components, std::span<const Index> starts);

} // namespace unblock::core
