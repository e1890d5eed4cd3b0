// Who would be in the way of one more request for a lock.
#pragma once

#include "wait_graph.h"

#include <span>
#include <vector>

namespace unblock::core {

struct InTheWay {
	Index node = kNone;
	bool holds = false; // the lock itself, in a conflicting mode; the others stand in the way through others

	bool operator==(const InTheWay&) const = default;
};

// The nodes that a process would wait for, directly or through others, if it asked now for `wanted` and got
// the last place in the queue: those who hold the lock in a conflicting mode, those who are queued for it in
// a conflicting mode (the rule of pg_blocking_pids(), see wait_graph.h), and all whom these wait for.
// Ascending by index, each once.
//
// `lock` is one of the snapshot's, kNone if nobody awaits it. The snapshot has the holders of awaited locks
// only: `holders` are sessions that are known to hold the lock in a conflicting mode from elsewhere; they may
// repeat what the snapshot says. Linear in the graph. Throws std::bad_alloc.
std::vector<InTheWay> in_the_way(const WaitGraph& graph, Index lock, LockMode wanted,
                                 std::span<const Index> holders);

} // namespace unblock::core
