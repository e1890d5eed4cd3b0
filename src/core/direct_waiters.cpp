// One pass over the awaited locks.

#include "direct_waiters.h"

#include <algorithm>

#include "fence.h"

namespace unblock::core {

std::vector<Index> direct_waiters(const WaitGraph& graph, Index session, std::size_t most) {
	const Snapshot& snapshot = graph.snapshot();
	const Index node = graph.node_of(session);
	std::vector<Index> waits;
	for (const Lock& lock : snapshot.locks) {
		ModeMask against = 0; // modes that those behind in the queue must not want
		for (const Holder& holder : snapshot.holders_of(lock))
			if (graph.node_of(holder.session) == node)
				against |= holder.modes;
		for (Index wait = lock.first_waiter; wait < lock.first_waiter + lock.waiters; ++wait) {
			const Waiter& waiter = snapshot.waiters[wait];
			if (graph.node_of(waiter.session) == node)
				against |= bit(waiter.mode);
			else if (conflict(waiter.mode, against))
				waits.push_back(wait);
		}
	}
	std::ranges::stable_sort(waits, std::ranges::greater{},
	                         [&](Index wait) { return snapshot.waited(snapshot.waiters[wait]); });
	waits.resize(std::min(waits.size(), most));
	return waits;
}

LockMode mode_against(const WaitGraph& graph, Index session, const Waiter& waiter, bool queued) noexcept {
	const Snapshot& snapshot = graph.snapshot();
	const Lock& lock = snapshot.locks[waiter.lock];
	const Index node = graph.node_of(session);
	ModeMask modes = 0;
	if (queued) {
		for (const Waiter& ahead : snapshot.queue_of(lock)) {
			if (&ahead == &waiter)
				break;
			if (graph.node_of(ahead.session) == node)
				modes |= bit(ahead.mode);
		}
	} else
		for (const Holder& holder : snapshot.holders_of(lock))
			if (graph.node_of(holder.session) == node)
				modes |= holder.modes;
	return strongest(modes & conflicts_of(waiter.mode));
}

} // namespace unblock::core
