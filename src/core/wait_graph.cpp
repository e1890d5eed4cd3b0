// Puts the graph together: direct blocks, reach, roots, primary blockers and the depth below them.
#include "wait_graph.h"

#include "best_of_others.h"
#include "block_graph.h"
#include "blocker_lists.h"
#include "digraph.h"
#include "direct_blocks.h"
#include "lock_groups.h"
#include "reach.h"
#include "root_sets.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "fence.h"

namespace unblock::core {

namespace {

// The nodes of components that no other component leads to.
std::vector<Index> find_starts(const LockGroups& groups, const Digraph& graph, const Components& components) {
	std::vector<bool> led_to(components.count, false);
	for (const Index node : components.order)
		for (const Index to : graph.successors(node))
			if (components.of[to] != components.of[node])
				led_to[components.of[to]] = true;
	std::vector<Index> starts;
	for (const Index node : groups.nodes())
		if (!led_to[components.of[node]])
			starts.push_back(node);
	return starts;
}

// A hard blocker that may be the primary one.
struct Candidate {
	Index node = kNone;
	ModeMask modes = 0;
	Index frees = 0;
	std::tuple<Time, std::int32_t, Index> seniority;

	bool operator<(const Candidate& other) const noexcept {
		return std::tie(other.frees, seniority) < std::tie(frees, other.seniority);
	}
};

// The first in a queue to conflict with some wanted mode.
struct First {
	Index node = kNone;
	Index position = 0;
	LockMode mode = LockMode::none;

	bool operator<(const First& other) const noexcept { return position < other.position; }
};

} // namespace

struct WaitGraph::Impl {
	explicit Impl(const Snapshot& snapshot)
	    : groups(snapshot), waiters(snapshot.waiters.size()), nodes(snapshot.sessions.size()) {
		count_direct_blocks(groups, waiters, nodes);
		search();
		for (Index lock = 0; lock < snapshot.locks.size(); ++lock)
			choose_primary_blockers(lock);
		choose_waits();
		break_cycles();
		measure_depths();
	}

	void search();
	void sort_roots();
	void choose_primary_blockers(Index lock);
	void choose_waits();
	void break_cycles();
	void measure_depths();

	// The next node up a chain, if any.
	Index parent(Index node) const noexcept {
		return nodes[node].waiter == kNone ? kNone : waiters[nodes[node].waiter].primary.node;
	}

	LockGroups groups;
	std::vector<WaiterFacts> waiters;
	std::vector<NodeFacts> nodes;
	std::vector<Index> roots;
	std::vector<Index> component_of; // by node; kNone in no wait
	std::optional<Digraph> reversed; // from waiters to blockers
	std::optional<RootSets> root_sets;
	std::vector<bool> top_of_cycle;            // by node
	std::optional<BlockerLists> blocker_lists; // once somebody asks
};

// All that takes the whole graph: cycles, frees, totals, roots.
void WaitGraph::Impl::search() {
	const BlockGraph blocks = block_graph(groups);
	reversed.emplace(blocks.graph.reversed());
	Components components = strong_components(blocks.graph, groups.nodes());
	const std::vector<Index> starts = find_starts(groups, blocks.graph, components);
	const Reach reach = count_reach(groups, blocks, *reversed, components, starts);

	std::vector<Index> size(components.count, 0);
	for (const Index node : groups.nodes())
		++size[components.of[node]];
	for (const Index node : groups.nodes()) {
		NodeFacts& facts = nodes[node];
		facts.in_cycle = size[components.of[node]] > 1;
		facts.frees = reach.frees[node];
		facts.blocked_total = reach.blocked_total[node];
		facts.root = !facts.waits && facts.direct_waiters > 0;
		if (facts.root)
			roots.push_back(node);
	}
	sort_roots();
	root_sets.emplace(*reversed, components, roots);
	component_of = std::move(components.of);
}

void WaitGraph::Impl::sort_roots() {
	using Rank = std::tuple<std::int64_t, std::int64_t, std::tuple<Time, std::int32_t, Index>>;
	std::vector<Rank> ranks;
	ranks.reserve(roots.size());
	for (const Index root : roots)
		ranks.emplace_back(-std::int64_t{nodes[root].blocked_total}, -std::int64_t{nodes[root].frees},
		                   seniority(groups.snapshot(), root));
	std::sort(ranks.begin(), ranks.end());
	std::transform(ranks.begin(), ranks.end(), roots.begin(),
	               [](const Rank& rank) { return std::get<Index>(std::get<2>(rank)); });
}

void WaitGraph::Impl::choose_primary_blockers(Index lock) {
	PerMode<BestOfOthers<Candidate>> hard;
	PerMode<BestOfOthers<First>> queued;
	for (const GroupHolder& holder : groups.holders_of(lock)) {
		const Candidate candidate{holder.node, holder.modes, nodes[holder.node].frees,
		                          seniority(groups.snapshot(), holder.node)};
		for_each_mode(holder.blocks, [&](std::size_t mode) { hard[mode].offer(candidate); });
	}
	Index i = groups.snapshot().locks[lock].first_waiter;
	for (const GroupWaiter& waiter : groups.queue_of(lock)) {
		const std::size_t wanted = static_cast<std::size_t>(waiter.mode);
		Blocker& primary = waiters[i].primary;
		if (const auto& holder = hard[wanted].best_but(waiter.node)) {
			const unsigned conflicting = holder->modes & conflicts_of(waiter.mode);
			primary = {holder->node, Blocks::hard, strongest(static_cast<ModeMask>(conflicting))};
		} else if (const auto& ahead = queued[wanted].best_but(waiter.node)) {
			primary = {ahead->node, Blocks::queued, ahead->mode};
		}
		for_each_mode(waiter.blocks, [&](std::size_t mode) {
			queued[mode].offer({waiter.node, i, waiter.mode});
		});
		++i;
	}
}

// Chooses the wait of each node that a chain shows: one with a hard blocker before one that is only
// queued behind others before one that nobody blocks; then the longest.
void WaitGraph::Impl::choose_waits() {
	const auto rank = [&](Index waiter) {
		const Blocker& primary = waiters[waiter].primary;
		const int kind = primary.node == kNone ? 2 : primary.kind == Blocks::queued ? 1 : 0;
		return std::tuple(kind, groups.wait_start(waiter), waiter);
	};
	for (Index lock = 0; lock < groups.snapshot().locks.size(); ++lock) {
		Index i = groups.snapshot().locks[lock].first_waiter;
		for (const GroupWaiter& waiter : groups.queue_of(lock)) {
			Index& chosen = nodes[waiter.node].waiter;
			if (chosen == kNone || rank(i) < rank(chosen))
				chosen = i;
			++i;
		}
	}
}

// Going up primary blockers can end in a circle. A chain begins there with the member that frees most.
void WaitGraph::Impl::break_cycles() {
	const auto before = [&](Index a, Index b) {
		return std::tuple(nodes[b].frees, seniority(groups.snapshot(), a)) <
		       std::tuple(nodes[a].frees, seniority(groups.snapshot(), b));
	};
	top_of_cycle.assign(nodes.size(), false);
	std::vector<Index> walk_of(nodes.size(), kNone); // the node that a walk began with
	for (const Index start : groups.nodes()) {
		Index node = start;
		for (; node != kNone && walk_of[node] == kNone; node = parent(node))
			walk_of[node] = start;
		if (node == kNone || walk_of[node] != start)
			continue;
		Index top = node;
		for (Index member = parent(node); member != node; member = parent(member))
			if (before(member, top))
				top = member;
		top_of_cycle[top] = true;
	}
}

void WaitGraph::Impl::measure_depths() {
	std::vector<Index> way;
	std::vector<bool> known(nodes.size(), false);
	for (const Index start : groups.nodes()) {
		for (Index node = start; !known[node]; node = parent(node)) {
			known[node] = true;
			way.push_back(node);
			if (top_of_cycle[node] || parent(node) == kNone)
				break;
		}
		for (; !way.empty(); way.pop_back()) {
			const Index node = way.back();
			const bool top = top_of_cycle[node] || parent(node) == kNone;
			nodes[node].depth = top ? 0 : nodes[parent(node)].depth + 1;
		}
	}
}

WaitGraph::WaitGraph(const Snapshot& snapshot) : impl_(new Impl(snapshot)) {}

void WaitGraph::Delete::operator()(Impl* impl) const noexcept {
	delete impl;
}

const Snapshot& WaitGraph::snapshot() const noexcept {
	return impl_->groups.snapshot();
}

Index WaitGraph::node_of(Index session) const noexcept {
	return impl_->groups.node_of(session);
}

const NodeFacts& WaitGraph::node(Index session) const noexcept {
	return impl_->nodes[node_of(session)];
}

const WaiterFacts& WaitGraph::waiter(Index waiter) const noexcept {
	return impl_->waiters[waiter];
}

Index WaitGraph::waits_of(Index session) const noexcept {
	return impl_->groups.waits(node_of(session));
}

std::span<const Index> WaitGraph::roots() const noexcept {
	return impl_->roots;
}

std::span<const Index> WaitGraph::roots_of(Index session) const noexcept {
	const Index node = node_of(session);
	const Index component = impl_->component_of[node];
	if (component == kNone || impl_->nodes[node].root)
		return {};
	return impl_->root_sets->of(component);
}

Index WaitGraph::cycle_of(Index session) const noexcept {
	const Index node = node_of(session);
	return impl_->nodes[node].in_cycle ? impl_->component_of[node] : kNone;
}

std::vector<Blocker> WaitGraph::blockers_of(Index waiter, std::size_t most) const {
	std::vector<Blocker> found;
	if (most == 0)
		return found;
	if (!impl_->blocker_lists)
		impl_->blocker_lists.emplace(impl_->groups);
	found.reserve(std::min<std::size_t>(impl_->waiters[waiter].blockers, most));
	const ModeMask conflicts = conflicts_of(snapshot().waiters[waiter].mode);
	impl_->blocker_lists->for_each_blocker(
	    waiter,
	    [&](const GroupHolder& holder) {
		    const unsigned conflicting = holder.modes & conflicts;
		    found.push_back({holder.node, Blocks::hard, strongest(static_cast<ModeMask>(conflicting))});
		    return found.size() < most;
	    },
	    [&](const GroupWaiter& ahead) {
		    found.push_back({ahead.node, Blocks::queued, ahead.mode});
		    return found.size() < most;
	    });
	return found;
}

std::vector<Index> WaitGraph::with_all_ahead(std::span<const Index> sessions) const {
	const Digraph& up = *impl_->reversed;
	std::vector<bool> found(up.nodes(), false);
	std::vector<Index> to_visit;
	const auto visit = [&](Index node) {
		if (!found[node]) {
			found[node] = true;
			to_visit.push_back(node);
		}
	};
	for (const Index session : sessions)
		visit(node_of(session));
	while (!to_visit.empty()) {
		const Index node = to_visit.back();
		to_visit.pop_back();
		for (const Index blocker : up.successors(node))
			visit(blocker);
	}
	std::vector<Index> nodes;
	for (Index node = 0; node < snapshot().sessions.size(); ++node)
		if (found[node])
			nodes.push_back(node);
	return nodes;
}

} // namespace unblock::core
