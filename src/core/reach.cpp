// Counting what every node of a graph reaches has no linear solution in general.
// Real waits are nearly always trees or queues, though, and there it has:
//
// - A node that dominates all it reaches reaches exactly what it frees.
// - Behind a waiter whose followers stand in the same queue and, with what they
//   hold, reach only what they free, those reached are known by their number
//   for each wanted mode.
// - What is left is found by walks over the graph, 64 nodes at a time, one bit each.
#include "reach.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <utility>

#include "fence.h"

namespace unblock::core {

namespace {

// Frees, and the nodes that dominate all they reach.
class DominatorTree {
public:
	DominatorTree(const Digraph& graph, const Digraph& reversed, std::span<const Index> starts, Index nodes)
	    : size_(graph.nodes(), 0), depth_(graph.nodes(), 0), leaves_to_(graph.nodes(), kNone) {
		const Dominators tree = dominators(graph, reversed, starts);
		for (const Index node : tree.order)
			depth_[node] = depth_of_parent(tree, node) + 1;
		for (auto it = tree.order.rbegin(); it != tree.order.rend(); ++it) {
			const Index node = *it;
			size_[node] += node < nodes ? 1 : 0;
			for (const Index to : graph.successors(node))
				leaves_to_[node] = std::min(leaves_to_[node], depth_of_parent(tree, to));
			if (const Index parent = tree.immediate[node]; parent != kNone) {
				size_[parent] += size_[node];
				leaves_to_[parent] = std::min(leaves_to_[parent], leaves_to_[node]);
			}
		}
	}

	// Nodes of the wait graph in its subtree, itself included if it is one.
	Index size(Index node) const noexcept { return size_[node]; }

	// Whether no edge leads out of the node's subtree. (Says no, too, where one leads back to the node.)
	bool closed(Index node) const noexcept { return leaves_to_[node] >= depth_[node]; }

private:
	Index depth_of_parent(const Dominators& tree, Index node) const noexcept {
		const Index parent = tree.immediate[node];
		return parent == kNone ? 0 : depth_[parent];
	}

	std::vector<Index> size_;
	std::vector<Index> depth_; // 1 at the top
	// The immediate dominator of an edge's target is above the edge's origin or is that origin. The edge
	// leaves all subtrees that contain the origin and begin below that dominator. This is the least
	// depth of such a dominator over all edges that begin in the subtree.
	std::vector<Index> leaves_to_;
};

// Counts those reached within one queue, from its end to its front.
class QueueReach {
public:
	// Takes the next waiter ahead of those taken so far. It counts for itself and those that it frees with
	// what it holds: `weight`. `stands_apart`: these are all that it reaches but for waiters of this queue.
	void take(const GroupWaiter& waiter, Index weight, bool stands_apart) {
		const std::size_t mode = static_cast<std::size_t>(waiter.mode);
		const ModeMask blocks = conflicts_of(waiter.mode);
		if (!stands_apart || leads_elsewhere(blocks))
			elsewhere_ = static_cast<ModeMask>(elsewhere_ | bit(waiter.mode));
		reached_by_next_[mode] = reached(blocks);
		weights_[mode].push_back(weight_of_rearmost(mode, behind(mode)) + weight);
		wanted_ = static_cast<ModeMask>(wanted_ | bit(waiter.mode));
	}

	// Whether one that blocks these wanted modes, ahead of those taken so far, may reach something
	// else than waiters of this queue and what they free.
	bool leads_elsewhere(ModeMask blocks) const noexcept { return (blocks & elsewhere_) != 0; }

	// What one that blocks these wanted modes, ahead of those taken so far, reaches.
	Index count(ModeMask blocks) const noexcept {
		const PerMode<Index> numbers = reached(blocks);
		Index sum = 0;
		for (std::size_t mode = 0; mode < kLockModes; ++mode)
			sum += weight_of_rearmost(mode, numbers[mode]);
		return sum;
	}

private:
	Index behind(std::size_t mode) const noexcept { return static_cast<Index>(weights_[mode].size()); }

	Index weight_of_rearmost(std::size_t mode, Index number) const noexcept {
		return number == 0 ? 0 : weights_[mode][number - 1];
	}

	// By wanted mode, how many of those taken are reached. They are always the rearmost ones: what
	// blocks one waiter from ahead blocks all behind it who want the same.
	PerMode<Index> reached(ModeMask blocks) const noexcept {
		PerMode<Index> numbers{};
		for_each_mode(blocks & wanted_, [&](std::size_t mode) {
			numbers[mode] = behind(mode);
			for (std::size_t other = 0; other < kLockModes; ++other)
				numbers[other] = std::max(numbers[other], reached_by_next_[mode][other]);
		});
		return numbers;
	}

	PerMode<std::vector<Index>> weights_;       // [n - 1]: of the rearmost n of that wanted mode together
	PerMode<PerMode<Index>> reached_by_next_{}; // by the foremost waiter taken of that wanted mode
	ModeMask wanted_ = 0;                       // by those taken
	ModeMask elsewhere_ = 0;                    // wanted modes of waiters that reach something else
};

// 64 counters, of which each set bit of a word raises one.
class ColumnCounters {
public:
	void add(std::uint64_t columns) noexcept {
		for (std::uint64_t& digit : digits_) {
			const std::uint64_t carry = digit & columns;
			digit ^= columns;
			columns = carry;
			if (columns == 0)
				return;
		}
	}

	Index operator[](unsigned column) const noexcept {
		Index value = 0;
		for (unsigned i = 0; i < digits_.size(); ++i)
			value |= static_cast<Index>(digits_[i] >> column & 1U) << i;
		return value;
	}

private:
	std::array<std::uint64_t, 32> digits_{}; // the binary digits of all counters, lowest first
};

constexpr std::size_t kBatch = 64;

// Walks the graph down from up to 64 components, given in descending order, and returns how many nodes
// of the wait graph each of them reaches, its own included.
ColumnCounters walk(const Digraph& graph, const Components& components, std::span<const Index> batch,
                    Index nodes) {
	ColumnCounters reached;
	std::vector<std::uint64_t> reached_from(components.count, 0);
	for (std::size_t i = 0; i < batch.size(); ++i)
		reached_from[batch[i]] |= std::uint64_t{1} << i;
	for (auto it = components.order.rbegin(); it != components.order.rend(); ++it) {
		const Index node = *it;
		const std::uint64_t from = reached_from[components.of[node]];
		if (from == 0)
			continue;
		if (node < nodes)
			reached.add(from);
		for (const Index to : graph.successors(node))
			reached_from[components.of[to]] |= from;
	}
	return reached;
}

class ReachCount {
public:
	ReachCount(const LockGroups& groups, const BlockGraph& graph, const Components& components,
	           const DominatorTree& tree)
	    : groups_(groups), graph_(graph), components_(components), tree_(tree),
	      nodes_(static_cast<Index>(groups.snapshot().sessions.size())) {
		counted_.frees.assign(nodes_, 0);
		counted_.blocked_total.assign(nodes_, kUnknown);
	}

	Reach count() {
		count_closed();
		for (Index lock = 0; lock < groups_.snapshot().locks.size(); ++lock)
			count_queue(lock);
		count_rest();
		for (Index& total : counted_.blocked_total)
			if (total == kUnknown)
				total = 0; // in no wait at all
		return std::move(counted_);
	}

private:
	static constexpr Index kUnknown = kNone;

	void count_closed() {
		for (const Index node : groups_.nodes()) {
			counted_.frees[node] = tree_.size(node) - 1;
			if (tree_.closed(node))
				counted_.blocked_total[node] = tree_.size(node) - 1;
		}
	}

	// Waiters of this lock who reach elsewhere only what they free, and holders who hold no other.
	void count_queue(Index lock) {
		QueueReach reach;
		const std::span<const GroupWaiter> queue = groups_.queue_of(lock);
		for (auto waiter = queue.rbegin(); waiter != queue.rend(); ++waiter) {
			const Index freed = freed_by_holdings(waiter->node);
			if (freed == kUnknown) {
				reach.take(*waiter, 1, false);
				continue;
			}
			count_within(reach, waiter->node, conflicts_of(waiter->mode), freed);
			reach.take(*waiter, 1 + freed, true);
		}
		for (const GroupHolder& holder : groups_.holders_of(lock))
			if (groups_.waits(holder.node) == 0 && groups_.holds(holder.node) == 1)
				count_within(reach, holder.node, holder.blocks, 0);
	}

	void count_within(const QueueReach& reach, Index node, ModeMask blocks, Index freed) {
		if (counted_.blocked_total[node] == kUnknown && !reach.leads_elsewhere(blocks))
			counted_.blocked_total[node] = reach.count(blocks) + freed;
	}

	// How many a waiter reaches with what it holds, if it frees them; unknown if it does not, or if it
	// stands in several queues.
	Index freed_by_holdings(Index node) const noexcept {
		if (groups_.waits(node) > 1)
			return kUnknown;
		if (groups_.holds(node) == 0)
			return 0;
		const Index holdings = graph_.holdings[node];
		return holdings != node && tree_.closed(holdings) ? tree_.size(holdings) : kUnknown;
	}

	void count_rest() {
		std::vector<Index> rest; // components
		for (const Index node : groups_.nodes())
			if (counted_.blocked_total[node] == kUnknown)
				rest.push_back(components_.of[node]);
		if (rest.empty())
			return;
		std::sort(rest.begin(), rest.end(), std::greater<>());
		rest.erase(std::unique(rest.begin(), rest.end()), rest.end());
		std::vector<Index> reached_by(components_.count, 0);
		for (std::size_t first = 0; first < rest.size(); first += kBatch) {
			const std::size_t size = std::min(kBatch, rest.size() - first);
			const std::span<const Index> batch(rest.data() + first, size);
			const ColumnCounters reached = walk(graph_.graph, components_, batch, nodes_);
			for (unsigned i = 0; i < size; ++i)
				reached_by[batch[i]] = reached[i];
		}
		for (const Index node : groups_.nodes())
			if (Index& total = counted_.blocked_total[node]; total == kUnknown)
				total = reached_by[components_.of[node]] - 1; // without itself
	}

	const LockGroups& groups_;
	const BlockGraph& graph_;
	const Components& components_;
	const DominatorTree& tree_;
	const Index nodes_;
	Reach counted_;
};

} // namespace

Reach count_reach(const LockGroups& groups, const BlockGraph& graph, const Digraph& reversed,
                  const Components& components, std::span<const Index> starts) {
	const Index nodes = static_cast<Index>(groups.snapshot().sessions.size());
	const DominatorTree tree(graph.graph, reversed, starts, nodes);
	return ReachCount(groups, graph, components, tree).count();
}

} // namespace unblock::core
