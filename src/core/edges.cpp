// Lists what blockers_of() tells of each wait.
#include "edges.h"

#include <set>
#include <tuple>

#include "fence.h"

namespace unblock::core {

namespace {

// Tells pairs that were listed before: of sessions that wait in several of their processes.
class Repeats {
public:
	explicit Repeats(const WaitGraph& graph) : graph_(graph) {}

	bool is_one(const Waiter& waiter, const Blocker& blocker) {
		const Index node = graph_.node_of(waiter.session);
		return graph_.waits_of(node) > 1 &&
		       !met_.emplace(node, waiter.lock, waiter.mode, blocker.node).second;
	}

private:
	const WaitGraph& graph_;
	std::set<std::tuple<Index, Index, LockMode, Index>> met_;
};

} // namespace

Edges edges(const WaitGraph& graph, std::size_t most) {
	Edges found;
	Repeats repeats(graph);
	const auto waiters = graph.snapshot().waiters;
	for (Index waiter = 0; waiter < waiters.size(); ++waiter) {
		for (const Blocker& blocker : graph.blockers_of(waiter)) {
			if (repeats.is_one(waiters[waiter], blocker))
				continue;
			if (found.list.size() == most) {
				found.cut = true;
				return found;
			}
			found.list.push_back({waiter, blocker});
		}
	}
	return found;
}

Edges primary_edges(const WaitGraph& graph) {
	Edges found;
	for (Index waiter = 0; waiter < graph.snapshot().waiters.size(); ++waiter) {
		const WaiterFacts& facts = graph.waiter(waiter);
		if (facts.primary.node != kNone)
			found.list.push_back({waiter, facts.primary});
		found.cut = found.cut || facts.blockers > 1;
	}
	return found;
}

} // namespace unblock::core
