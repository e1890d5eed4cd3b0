// The pairs of the wait graph as a list, for reports that want each of them.
#pragma once

#include "wait_graph.h"

#include <cstddef>
#include <vector>

namespace unblock::core {

// One session waits for another one.
struct Edge {
	Index waiter = kNone; // the wait, an index into Snapshot::waiters
	Blocker blocker;
};

struct Edges {
	std::vector<Edge> list;
	bool cut = false; // there are more than were asked for
};

// At most `most` pairs: lock by lock, in the order of each queue, those who hold the lock before those who
// are ahead. Several processes of one session that wait for the same lock in the same mode count once for
// each blocker. O(waiters + holders), and O(log pairs) for each pair of each process. Throws std::bad_alloc.
Edges edges(const WaitGraph& graph, std::size_t most);

// Of each wait the one pair with its primary blocker, of a graph with more pairs than can be shown: `cut`
// says whether there are others. O(waiters). Throws std::bad_alloc.
Edges primary_edges(const WaitGraph& graph);

} // namespace unblock::core
