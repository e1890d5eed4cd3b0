// Counting what every node of a graph reaches has no linear solution in general.
// Real waits are nearly always trees or queues, though, and there it has:
//
// - A node reaches all that it dominates, which is what it frees, and what its
//   exits reach: the ends of the edges that lead out of its dominator subtree.
//   Many nodes have no exits; many others have the same ones, as all those who
//   hold a lock that an ALTER TABLE awaits. What a set of exits reaches is
//   counted once.
// - Waiters that stand in the same queue behind a waiter are known by their
//   number for each wanted mode; add what they free and what the exits of their
//   holdings reach, unless that leads back into the queue.
//
// Different sets of exits, and nodes with too many of them, are walked from over
// the graph, 64 at a time, one bit each.
#include "reach.h"

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "fence.h"

namespace unblock::core {

namespace {

// A small set of nodes, or the knowledge that it would not be small.
class FewNodes {
public:
	FewNodes() noexcept {} // a defaulted one would have vectors fill the array

	void add(Index node) noexcept {
		Index* const end = nodes_.data() + count();
		Index* const place = std::lower_bound(nodes_.data(), end, node);
		if (count_ == kTooMany || (place != end && *place == node))
			return;
		if (count_ == kMost) {
			count_ = kTooMany;
			return;
		}
		std::copy_backward(place, end, end + 1);
		*place = node;
		++count_;
	}

	void add_too_many() noexcept { count_ = kTooMany; }
	bool empty() const noexcept { return count_ == 0; }
	bool too_many() const noexcept { return count_ == kTooMany; }

	// Ascending; none if there are too many.
	std::span<const Index> nodes() const noexcept { return {nodes_.data(), count()}; }

	bool operator==(const FewNodes& other) const noexcept {
		return std::equal(nodes().begin(), nodes().end(), other.nodes().begin(), other.nodes().end());
	}
	std::strong_ordering operator<=>(const FewNodes& other) const noexcept {
		return std::lexicographical_compare_three_way(nodes().begin(), nodes().end(), other.nodes().begin(),
		                                              other.nodes().end());
	}

private:
	// As many as one lock has places for: a holder that all wanted modes wait for has so many exits.
	static constexpr Index kMost = kLockModes - 1;
	static constexpr Index kTooMany = kNone;

	std::size_t count() const noexcept { return count_ == kTooMany ? 0 : count_; }

	Index count_ = 0;
	std::array<Index, kMost> nodes_;
};

// Frees, and where edges lead out of what a node frees.
class DominatorTree {
public:
	DominatorTree(const Digraph& graph, const Digraph& reversed, std::span<const Index> starts, Index nodes) {
		Dominators tree = dominators(graph, reversed, starts);
		parent_ = std::move(tree.immediate);
		size_.assign(graph.nodes(), 0);
		place_.assign(graph.nodes(), 0);
		std::vector<Index> depth(graph.nodes(), 0); // 1 at the top
		for (const Index node : tree.order)
			depth[node] = parent_[node] == kNone ? 1 : depth[parent_[node]] + 1;
		// The immediate dominator of an edge's target is above the edge's origin or is that origin. The
		// edge leaves all subtrees that contain the origin and begin below that dominator. This is the
		// least depth of such a dominator over all edges that begin in the subtree: it tells that a
		// subtree has no exits even if parts of it have too many.
		std::vector<Index> leaves_to(graph.nodes(), kNone);
		Index with_exits = 0;
		for (auto it = tree.order.rbegin(); it != tree.order.rend(); ++it) {
			const Index node = *it;
			size_[node] += node < nodes ? 1 : 0;
			for (const Index to : graph.successors(node))
				leaves_to[node] = std::min(leaves_to[node], depth[to] - 1);
			if (leaves_to[node] < depth[node])
				place_[node] = ++with_exits;
			if (const Index parent = parent_[node]; parent != kNone) {
				size_[parent] += size_[node];
				leaves_to[parent] = std::min(leaves_to[parent], leaves_to[node]);
			}
		}
		exits_.resize(with_exits + std::size_t{1});
		for (auto it = tree.order.rbegin(); it != tree.order.rend(); ++it)
			if (place_[*it] != 0)
				collect_exits(*it, graph.successors(*it));
	}

	// Nodes of the wait graph in its subtree, itself included if it is one.
	Index size(Index node) const noexcept { return size_[node]; }

	// The nodes that edges from its subtree to outside lead to.
	const FewNodes& exits(Index node) const noexcept { return exits_[place_[node]]; }

private:
	// Adds its own, and hands all on to its parent.
	void collect_exits(Index node, std::span<const Index> successors) noexcept {
		for (const Index to : successors)
			add_exit(node, to);
		const Index parent = parent_[node];
		if (parent == kNone || place_[parent] == 0)
			return;
		if (exits(node).too_many())
			exits_[place_[parent]].add_too_many();
		for (const Index exit : exits(node).nodes())
			add_exit(parent, exit);
	}

	void add_exit(Index node, Index to) noexcept {
		if (parent_[to] != node && to != node)
			exits_[place_[node]].add(to);
	}

	std::vector<Index> parent_;
	std::vector<Index> size_;
	std::vector<Index> place_; // of a node in exits_; 0: it has none
	std::vector<FewNodes> exits_;
};

// Numbers for the different sets of exits that are met.
class ExitSets {
public:
	static constexpr Index kEmpty = 0;
	static constexpr Index kTooMany = kNone;

	Index number_of(const FewNodes& nodes) {
		if (nodes.empty())
			return kEmpty;
		if (nodes.too_many())
			return kTooMany;
		if (nodes == *sets_[last_])
			return last_;
		const auto [known, added] = numbers_.try_emplace(nodes, static_cast<Index>(sets_.size()));
		if (added)
			sets_.push_back(&known->first);
		return last_ = known->second;
	}

	Index unite(Index a, Index b) {
		if (a == b || b == kEmpty || a == kTooMany)
			return a;
		if (a == kEmpty || b == kTooMany)
			return b;
		FewNodes both = *sets_[a];
		for (const Index node : nodes(b))
			both.add(node);
		return number_of(both);
	}

	std::span<const Index> nodes(Index set) const noexcept { return sets_[set]->nodes(); }
	Index count() const noexcept { return static_cast<Index>(sets_.size()); }

private:
	std::map<FewNodes, Index> numbers_{{FewNodes(), kEmpty}};
	std::vector<const FewNodes*> sets_{&numbers_.begin()->first}; // by number
	Index last_ = kEmpty;                                         // asked for
};

// So many nodes, and what a set of exits reaches.
struct Part {
	Index nodes = 0;
	Index exits = ExitSets::kEmpty;
};

// Counts those reached within one queue, from its end to its front.
class QueueReach {
public:
	explicit QueueReach(ExitSets& sets) : sets_(sets) {}

	// By wanted mode, how many of those taken so far one ahead of them that blocks these modes reaches. They
	// are always the rearmost ones: what blocks one waiter from ahead blocks all behind it who want the same.
	using Numbers = PerMode<Index>;
	Numbers reached(ModeMask blocks) const noexcept {
		Numbers numbers{};
		for_each_mode(blocks & wanted_, [&](std::size_t mode) {
			numbers[mode] = behind(mode);
			for_each_mode(wanted_, [&](std::size_t other) {
				numbers[other] = std::max(numbers[other], reached_by_next_[mode][other]);
			});
		});
		return numbers;
	}

	// These together. The exits may lead to some of the nodes that are counted already.
	Part count(const Numbers& reached) {
		Part all;
		for_each_mode(wanted_, [&](std::size_t mode) { all = sum(all, rearmost(mode, reached[mode])); });
		return all;
	}

	// Takes the next waiter ahead of those taken so far. `reached` is what it reaches of them, `own` what it
	// reaches other than through its place in this queue, itself included.
	void take(LockMode wanted, const Numbers& reached, Part own) {
		const std::size_t mode = static_cast<std::size_t>(wanted);
		reached_by_next_[mode] = reached;
		taken_[mode].push_back(sum(rearmost(mode, behind(mode)), own));
		wanted_ = static_cast<ModeMask>(wanted_ | bit(wanted));
	}

	Part sum(Part a, Part b) { return {a.nodes + b.nodes, sets_.unite(a.exits, b.exits)}; }

private:
	Index behind(std::size_t mode) const noexcept { return static_cast<Index>(taken_[mode].size()); }

	Part rearmost(std::size_t mode, Index number) const noexcept {
		return number == 0 ? Part{} : taken_[mode][number - 1];
	}

	ExitSets& sets_;
	PerMode<std::vector<Part>> taken_;   // [n - 1]: the rearmost n of that wanted mode together
	PerMode<Numbers> reached_by_next_{}; // by the foremost waiter taken of that wanted mode
	ModeMask wanted_ = 0;                // by those taken
};

constexpr std::size_t kBatch = 64;

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

	std::array<Index, kBatch> values() const noexcept {
		std::array<Index, kBatch> values{};
		for (unsigned i = 0; i < digits_.size(); ++i)
			for (std::uint64_t rest = digits_[i]; rest != 0; rest &= rest - 1)
				values[static_cast<std::size_t>(std::countr_zero(rest))] |= Index{1} << i;
		return values;
	}

private:
	std::array<std::uint64_t, 32> digits_{}; // the binary digits of all counters, lowest first
};

// What up to 64 sets of nodes reach.
struct Walk {
	std::array<Index, kBatch> reached;       // nodes of the wait graph, those of the set included
	std::vector<std::uint64_t> reached_from; // by component, a bit for each set
};

Walk walk(const Digraph& graph, const Components& components, const ExitSets& sets,
          std::span<const Index> batch, Index nodes) {
	Walk found{{}, std::vector<std::uint64_t>(components.count, 0)};
	ColumnCounters reached;
	for (std::size_t i = 0; i < batch.size(); ++i)
		for (const Index node : sets.nodes(batch[i]))
			found.reached_from[components.of[node]] |= std::uint64_t{1} << i;
	for (auto it = components.order.rbegin(); it != components.order.rend(); ++it) {
		const Index node = *it;
		const std::uint64_t from = found.reached_from[components.of[node]];
		if (from == 0)
			continue;
		if (node < nodes)
			reached.add(from);
		for (const Index to : graph.successors(node))
			found.reached_from[components.of[to]] |= from;
	}
	found.reached = reached.values();
	return found;
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
		add_exits();
		count_rest();
		for (Index& total : counted_.blocked_total)
			if (total == kUnknown)
				total = 0; // in no wait at all
		return std::move(counted_);
	}

private:
	static constexpr Index kUnknown = kNone;

	// A node that reaches `part`, itself not counted, if the exits lead to none of the part's nodes.
	struct Pending {
		Index node = kNone;
		Part part;
		Index lock = kNone; // the exits may lead back to its queue
	};

	void count_closed() {
		for (const Index node : groups_.nodes()) {
			counted_.frees[node] = tree_.size(node) - 1;
			if (tree_.exits(node).empty())
				counted_.blocked_total[node] = tree_.size(node) - 1;
		}
	}

	// Waiters of this lock, and holders who hold no other.
	void count_queue(Index lock) {
		QueueReach reach(sets_);
		const std::span<const GroupWaiter> queue = groups_.queue_of(lock);
		ModeMask wanted = 0;
		for (const GroupWaiter& waiter : queue)
			wanted = static_cast<ModeMask>(wanted | bit(waiter.mode));
		for (auto waiter = queue.rbegin(); waiter != queue.rend(); ++waiter) {
			const ModeMask conflicts = conflicts_of(waiter->mode);
			// Else it blocks some of those behind as a holder, too; they would be counted twice.
			const bool as_waiter = waiter->blocks == (conflicts & wanted);
			Part own = as_waiter ? reached_by_holdings(waiter->node) : Part{0, ExitSets::kTooMany};
			const QueueReach::Numbers reached = reach.reached(conflicts);
			count_within(reach, waiter->node, reached, own, lock);
			++own.nodes;
			reach.take(waiter->mode, reached, own);
		}
		for (const GroupHolder& holder : groups_.holders_of(lock))
			if (groups_.waits(holder.node) == 0 && groups_.holds(holder.node) == 1)
				count_within(reach, holder.node, reach.reached(holder.blocks), {}, lock);
	}

	void count_within(QueueReach& reach, Index node, const QueueReach::Numbers& reached, Part own,
	                  Index lock) {
		if (counted_.blocked_total[node] != kUnknown)
			return;
		const Part part = reach.sum(reach.count(reached), own);
		if (part.exits == ExitSets::kEmpty)
			counted_.blocked_total[node] = part.nodes;
		else if (part.exits != ExitSets::kTooMany)
			pending_.push_back({node, part, lock});
	}

	// What a waiter reaches with what it holds. Not known of one that stands in several queues.
	Part reached_by_holdings(Index node) {
		const Index holdings = graph_.holdings[node];
		if (groups_.waits(node) == 1 && groups_.holds(node) == 0)
			return {};
		if (holdings == node)
			return {0, ExitSets::kTooMany};
		return {tree_.size(holdings), sets_.number_of(tree_.exits(holdings))};
	}

	void count_rest() {
		if (std::none_of(groups_.nodes().begin(), groups_.nodes().end(),
		                 [&](Index node) { return counted_.blocked_total[node] == kUnknown; }))
			return;
		std::vector<Index> size(components_.count, 0);
		std::vector<Index> member(components_.count, kNone);
		for (const Index node : components_.order) {
			++size[components_.of[node]];
			member[components_.of[node]] = node;
		}
		for (const Index node : groups_.nodes()) {
			if (counted_.blocked_total[node] != kUnknown)
				continue;
			const Index component = components_.of[node];
			// Exits that lead back to the node's subtree lead to the node first, and make it part of
			// a cycle.
			if (size[component] == 1 && !tree_.exits(node).too_many()) {
				const Index exits = sets_.number_of(tree_.exits(node));
				pending_.push_back({node, {tree_.size(node) - 1, exits}, kNone});
				continue;
			}
			FewNodes itself;
			itself.add(member[component]);
			// Without itself: the reached that are added to this are at least one.
			pending_.push_back({node, {Index{0} - 1, sets_.number_of(itself)}, kNone});
		}
		add_exits();
	}

	// Counts what is pending, as far as the exits permit.
	void add_exits() {
		if (pending_.empty())
			return;
		const std::vector<Index> sets = sets_to_walk();
		std::vector<Index> place(sets_.count(), kNone); // of a set in `sets`
		for (Index i = 0; i < sets.size(); ++i)
			place[sets[i]] = i;
		const auto batch_of = [&](const Pending& pending) { return place[pending.part.exits] / kBatch; };
		if (sets.size() > kBatch)
			std::stable_sort(pending_.begin(), pending_.end(),
			                 [&](const Pending& a, const Pending& b) { return batch_of(a) < batch_of(b); });
		auto pending = pending_.cbegin();
		for (std::size_t first = 0; first < sets.size(); first += kBatch) {
			const std::size_t size = std::min(kBatch, sets.size() - first);
			const Walk walked = walk(graph_.graph, components_, sets_, {sets.data() + first, size}, nodes_);
			Index lock = kNone;
			std::uint64_t back = 0; // sets that lead to the lock's queue
			for (; pending != pending_.cend() && batch_of(*pending) == first / kBatch; ++pending) {
				if (lock != pending->lock) {
					lock = pending->lock;
					back = lock == kNone ? 0 : leading_to_queue(walked, lock);
				}
				const unsigned column = static_cast<unsigned>(place[pending->part.exits] - first);
				if ((back >> column & 1U) == 0)
					counted_.blocked_total[pending->node] = pending->part.nodes + walked.reached[column];
			}
		}
		pending_.clear();
	}

	// Each set that is pending once, those with the longest way to go first.
	std::vector<Index> sets_to_walk() const {
		std::vector<bool> met(sets_.count(), false);
		std::vector<std::pair<Index, Index>> found; // first component on the way, set
		for (const Pending& pending : pending_) {
			const Index set = pending.part.exits;
			if (met[set])
				continue;
			met[set] = true;
			Index top = 0;
			for (const Index node : sets_.nodes(set))
				top = std::max(top, components_.of[node]);
			found.push_back({top, set});
		}
		std::sort(found.rbegin(), found.rend());
		std::vector<Index> sets;
		sets.reserve(found.size());
		for (const auto& [top, set] : found)
			sets.push_back(set);
		return sets;
	}

	std::uint64_t leading_to_queue(const Walk& walked, Index lock) const noexcept {
		std::uint64_t sets = 0;
		for (const GroupWaiter& waiter : groups_.queue_of(lock))
			sets |= walked.reached_from[components_.of[waiter.node]];
		return sets;
	}

	const LockGroups& groups_;
	const BlockGraph& graph_;
	const Components& components_;
	const DominatorTree& tree_;
	const Index nodes_;
	ExitSets sets_;
	std::vector<Pending> pending_;
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
