// Who waits for a session directly, worst first.
#pragma once

#include "wait_graph.h"

#include <vector>

namespace unblock::core {

// Waits (indexes into Snapshot::waiters) of other nodes that the session's node blocks, as holder or from its
// place in the queue; the longest first, then in the order of the snapshot; `most` of them at the most.
// O(holders + waiters, and the sorting). Throws std::bad_alloc.
std::vector<Index> direct_waiters(const WaitGraph& graph, Index session, std::size_t most);

// The strongest mode in which the session's node holds or, `queued` ahead of it, wants the lock of a wait
// against the waiter, which is one of the snapshot's. O(holders and waiters of the lock).
LockMode mode_against(const WaitGraph& graph, Index session, const Waiter& waiter, bool queued) noexcept;

} // namespace unblock::core
