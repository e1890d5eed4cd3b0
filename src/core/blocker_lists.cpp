// Lists by lock and wanted mode what LockGroups says of each holder and each waiter.
#include "blocker_lists.h"

#include "fence.h"

namespace unblock::core {

BlockerLists::BlockerLists(const LockGroups& groups) : groups_(groups) {
	const std::size_t locks = groups.snapshot().locks.size();
	first_holder_.reserve(locks * kLockModes + 1);
	first_queued_.reserve(locks * kLockModes + 1);
	for (Index lock = 0; lock < locks; ++lock)
		for (int mode = 0; mode < kLockModes; ++mode)
			add_list(lock, bit(static_cast<LockMode>(mode)));
}

void BlockerLists::add_list(Index lock, ModeMask wanted) {
	for (const GroupHolder& holder : groups_.holders_of(lock))
		if (holder.blocks & wanted)
			holders_.push_back(&holder);
	for (const GroupWaiter& waiter : groups_.queue_of(lock))
		if (waiter.blocks & wanted)
			queued_.push_back(&waiter);
	first_holder_.push_back(holders_.size());
	first_queued_.push_back(queued_.size());
}

} // namespace unblock::core
