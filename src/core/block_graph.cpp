// n sessions on one lock have n*n/2 edges. They become O(n) by places between
// them: a place leads to some of those in a queue who want one mode, and to the
// next place behind it for that mode. Whoever blocks that mode from some point
// of the queue on, be it a waiter or, from its front, a holder, needs but one
// edge: to the first place behind that point.
#include "block_graph.h"

#include <numeric>
#include <utility>

#include "fence.h"

namespace unblock::core {

namespace {

class Builder {
public:
	explicit Builder(const LockGroups& groups)
	    : groups_(groups), nodes_(static_cast<Index>(groups.snapshot().sessions.size())), holdings_(nodes_) {
		std::iota(holdings_.begin(), holdings_.end(), Index{0});
		edges_.reserve(4 * groups.snapshot().waiters.size() + groups.snapshot().holders.size());
	}

	BlockGraph build() {
		const Index locks = static_cast<Index>(groups_.snapshot().locks.size());
		for (Index lock = 0; lock < locks; ++lock)
			separate_holdings(lock);
		for (Index lock = 0; lock < locks; ++lock)
			add_lock(lock);
		return {Digraph(nodes_, edges_), std::move(holdings_)};
	}

private:
	// The foremost place for one wanted mode, as far as the queue has been gone through from its end.
	struct Place {
		Index node = kNone;
		bool single = false; // is no place yet, but the only waiter
		bool led_to = false; // somebody ahead leads to it: no more waiters may be added
	};
	using Places = PerMode<Place>;

	void separate_holdings(Index lock) {
		const std::span<const GroupWaiter> queue = groups_.queue_of(lock);
		if (queue.size() == 1)
			return;
		for (const GroupWaiter& waiter : queue)
			if (groups_.waits(waiter.node) == 1 && groups_.holds(waiter.node) > 0) {
				edges_.push_back({waiter.node, nodes_});
				holdings_[waiter.node] = nodes_++;
			}
	}

	void add_lock(Index lock) {
		Places places{};
		const std::span<const GroupWaiter> queue = groups_.queue_of(lock);
		for (auto waiter = queue.rbegin(); waiter != queue.rend(); ++waiter) {
			add_blocks(waiter->node, waiter->blocks, places);
			add_waiter(places[static_cast<std::size_t>(waiter->mode)], waiter->node);
		}
		for (const GroupHolder& holder : groups_.holders_of(lock))
			add_blocks(holdings_[holder.node], holder.blocks, places);
	}

	void add_blocks(Index node, ModeMask blocks, Places& places) {
		for_each_mode(blocks, [&](std::size_t mode) {
			Place& place = places[mode];
			if (place.node == kNone)
				return;
			edges_.push_back({node, place.node});
			place.led_to = true;
		});
	}

	void add_waiter(Place& place, Index node) {
		if (place.node == kNone) {
			place = {node, true, false};
			return;
		}
		if (place.single || place.led_to) {
			edges_.push_back({nodes_, place.node});
			place = {nodes_++, false, false};
		}
		edges_.push_back({place.node, node});
	}

	const LockGroups& groups_;
	Index nodes_;
	std::vector<Index> holdings_;
	std::vector<Digraph::Edge> edges_;
};

} // namespace

BlockGraph block_graph(const LockGroups& groups) {
	return Builder(groups).build();
}

} // namespace unblock::core
