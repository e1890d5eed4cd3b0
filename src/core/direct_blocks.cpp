// Counts by lock and mode: one walk along each queue.
#include "direct_blocks.h"
#include "best_of_others.h"
#include "blocker_lists.h"

#include <algorithm>
#include <utility>

#include "fence.h"

namespace unblock::core {

namespace {

// A waiter in the order of the beginnings of waits.
struct Earliest {
	Time start = 0;
	Index waiter = kNone;
	Index node = kNone;

	bool operator<(const Earliest& other) const noexcept {
		return std::tie(start, waiter) < std::tie(other.start, other.waiter);
	}
};

class DirectBlocks {
public:
	DirectBlocks(const LockGroups& groups, std::span<WaiterFacts> waiters, std::span<NodeFacts> nodes)
	    : groups_(groups), waiters_(waiters), nodes_(nodes) {}

	void count() {
		for (Index lock = 0; lock < groups_.snapshot().locks.size(); ++lock) {
			count_blockers(lock);
			count_waiters(lock);
			find_hard_waiters(lock);
		}
		count_waiting_groups();
	}

private:
	Index first_waiter(Index lock) const noexcept { return groups_.snapshot().locks[lock].first_waiter; }

	void count_blockers(Index lock) {
		PerMode<Index> hard{};   // nodes that hold against a wanted mode
		PerMode<Index> queued{}; // further nodes, so far ahead in the queue
		for (const GroupHolder& holder : groups_.holders_of(lock))
			for_each_mode(holder.blocks, [&](std::size_t mode) { ++hard[mode]; });
		Index position = 0;
		for (const GroupWaiter& waiter : groups_.queue_of(lock)) {
			const std::size_t mode = static_cast<std::size_t>(waiter.mode);
			WaiterFacts& facts = waiters_[first_waiter(lock) + position];
			facts.queue_position = ++position;
			facts.hard_blockers = hard[mode] - waiter.holds_against_itself;
			facts.blockers = facts.hard_blockers + queued[mode] - waiter.queued_against_itself;
			for_each_mode(waiter.blocks, [&](std::size_t blocked) { ++queued[blocked]; });
			nodes_[waiter.node].waits = true;
		}
	}

	// Leaves out the waits of nodes with several of them: these could wait twice for the same node.
	void count_waiters(Index lock) {
		PerMode<Index> behind{};
		for (const GroupWaiter& waiter : groups_.queue_of(lock))
			behind[static_cast<std::size_t>(waiter.mode)] += waits_once(waiter.node);
		const auto add = [&](Index node, ModeMask blocks) {
			for_each_mode(blocks, [&](std::size_t mode) { nodes_[node].direct_waiters += behind[mode]; });
		};
		for (const GroupHolder& holder : groups_.holders_of(lock))
			add(holder.node, holder.blocks);
		for (const GroupWaiter& waiter : groups_.queue_of(lock)) {
			if (waits_once(waiter.node)) {
				--behind[static_cast<std::size_t>(waiter.mode)];
				// It was counted among those who wait for what it holds itself.
				nodes_[waiter.node].direct_waiters -= waiter.holds_against_itself;
			}
			add(waiter.node, waiter.blocks);
		}
	}

	bool waits_once(Index node) const noexcept { return groups_.waits(node) == 1; }

	void count_waiting_groups() {
		std::vector<std::pair<Index, Index>> waits; // node, waiter
		for (Index waiter = 0; waiter < waiters_.size(); ++waiter)
			if (const Index node = groups_.waiter(waiter).node; node != kNone && !waits_once(node))
				waits.emplace_back(node, waiter);
		if (waits.empty())
			return;
		std::sort(waits.begin(), waits.end());
		const BlockerLists lists(groups_);
		std::vector<Index> counted_for(nodes_.size(), kNone);
		for (const auto& [node, waiter] : waits) {
			const auto count_once = [&, group = node](const auto& blocker) {
				if (std::exchange(counted_for[blocker.node], group) != group)
					++nodes_[blocker.node].direct_waiters;
				return true;
			};
			lists.for_each_blocker(waiter, count_once, count_once);
		}
	}

	void find_hard_waiters(Index lock) {
		PerMode<BestOfOthers<Earliest>> earliest;
		Index i = first_waiter(lock);
		for (const GroupWaiter& waiter : groups_.queue_of(lock)) {
			earliest[static_cast<std::size_t>(waiter.mode)].offer({groups_.wait_start(i), i, waiter.node});
			++i;
		}
		const bool advisory = groups_.snapshot().locks[lock].advisory;
		for (const GroupHolder& holder : groups_.holders_of(lock))
			for_each_mode(holder.blocks, [&](std::size_t mode) {
				if (const auto& found = earliest[mode].best_but(holder.node))
					note_hard_waiter(nodes_[holder.node], *found, advisory);
			});
	}

	void note_hard_waiter(NodeFacts& facts, const Earliest& found, bool advisory) const {
		keep_earlier(found, facts.hard_since, facts.hard_waiter);
		if (!advisory)
			keep_earlier(found, facts.hard_since_no_advisory, facts.hard_waiter_no_advisory);
	}

	static void keep_earlier(const Earliest& found, Time& since, Index& waiter) {
		if (waiter == kNone || std::tie(found.start, found.waiter) < std::tie(since, waiter)) {
			since = found.start;
			waiter = found.waiter;
		}
	}

	const LockGroups& groups_;
	std::span<WaiterFacts> waiters_;
	std::span<NodeFacts> nodes_;
};

} // namespace

void count_direct_blocks(const LockGroups& groups, std::span<WaiterFacts> waiters,
                         std::span<NodeFacts> nodes) {
	DirectBlocks(groups, waiters, nodes).count();
}

} // namespace unblock::core
