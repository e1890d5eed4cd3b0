// The direct blockers of single waits, told in no more time than they are many.
#pragma once

#include "lock_groups.h"

#include <span>
#include <vector>

namespace unblock::core {

class BlockerLists {
public:
	// `groups` must outlive it. O(waiters + holders) time and memory. Throws std::bad_alloc.
	explicit BlockerLists(const LockGroups& groups);

	// Calls hard(GroupHolder), then queued(GroupWaiter), once for each distinct node that a wait waits for:
	// hard for those that hold, queued for the others, first in line first, until one of them returns false.
	// O(1) for each call.
	template <typename Hard, typename Queued>
	void for_each_blocker(Index waiter, Hard hard, Queued queued) const {
		const GroupWaiter& self = groups_.waiter(waiter);
		const std::size_t list = list_of(groups_.snapshot().waiters[waiter].lock, self.mode);
		for (const GroupHolder* holder : run(holders_, first_holder_, list))
			if (holder->node != self.node && !hard(*holder))
				return;
		for (const GroupWaiter* ahead : run(queued_, first_queued_, list)) {
			if (ahead >= &self)
				return;
			if (ahead->node != self.node && !queued(*ahead))
				return;
		}
	}

private:
	static std::size_t list_of(Index lock, LockMode wanted) noexcept {
		return std::size_t{lock} * kLockModes + static_cast<std::size_t>(wanted);
	}
	template <typename Entry>
	static std::span<const Entry> run(const std::vector<Entry>& entries,
	                                  const std::vector<std::size_t>& first, std::size_t list) noexcept {
		return {entries.data() + first[list], entries.data() + first[list + 1]};
	}

	void add_list(Index lock, ModeMask wanted);

	// All lists one after the other, by lock and wanted mode: those who block whoever wants it, or whoever
	// wants it behind them.
	const LockGroups& groups_;
	std::vector<const GroupHolder*> holders_;
	std::vector<const GroupWaiter*> queued_;
	std::vector<std::size_t> first_holder_{0}; // of a list; one more than there are lists
	std::vector<std::size_t> first_queued_{0};
};

} // namespace unblock::core
