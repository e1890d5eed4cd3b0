// Who waits for whom directly, counted without listing the pairs.
#pragma once

#include "lock_groups.h"
#include "wait_graph.h"

#include <span>

namespace unblock::core {

// Fills in queue_position, blockers and hard_blockers of every wait, and waits, direct_waiters and the
// hard_ fields of every node (by session index). O(waiters + holders), and for each wait of a group with
// several waits O(1) for each of its blockers. Throws std::bad_alloc.
void count_direct_blocks(const LockGroups& groups, std::span<WaiterFacts> waiters,
                         std::span<NodeFacts> nodes);

} // namespace unblock::core
