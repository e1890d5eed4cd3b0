// A request that nobody has made yet has no place in the graph, but its direct blockers do.
#include "in_the_way.h"

#include "fence.h"

namespace unblock::core {

std::vector<InTheWay> in_the_way(const WaitGraph& graph, Index lock, LockMode wanted,
                                 std::span<const Index> holders) {
	const Snapshot& snapshot = graph.snapshot();
	std::vector<Index> blockers(holders.begin(), holders.end());
	if (lock != kNone)
		for (const Holder& holder : snapshot.holders_of(snapshot.locks[lock]))
			if (conflict(wanted, holder.modes))
				blockers.push_back(holder.session);
	std::vector<bool> holds(snapshot.sessions.size(), false);
	for (const Index holder : blockers)
		holds[graph.node_of(holder)] = true;
	if (lock != kNone)
		for (const Waiter& waiter : snapshot.queue_of(snapshot.locks[lock]))
			if (conflict(wanted, bit(waiter.mode)))
				blockers.push_back(waiter.session);

	std::vector<InTheWay> found;
	for (const Index node : graph.with_all_ahead(blockers))
		found.push_back({node, holds[node]});
	return found;
}

} // namespace unblock::core
