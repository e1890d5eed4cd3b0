// The graph of who blocks whom in linear size.
#pragma once

#include "digraph.h"
#include "lock_groups.h"

namespace unblock::core {

// Edges lead from a blocker to those who wait for it. Nodes below snapshot().sessions.size() are those
// of the wait graph; the others stand for many edges at once and are passed through: a path between two
// nodes that passes none but these is one edge of the wait graph. (A node that both holds and awaits a
// lock can get such a path to itself, which is none.) O(waiters + holders) nodes and edges. Throws
// std::bad_alloc.
Digraph block_graph(const LockGroups& groups);

} // namespace unblock::core
