// The wait graph once more, as slow and as plain as can be: a matrix of edges
// from the text of pg_blocking_pids(), searches from every node, and "frees"
// by taking each node out and searching again.
#pragma once

#include "core/wait_graph.h"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <vector>

namespace unblock::core::test {

class NaiveGraph {
public:
	using Matrix = std::vector<std::vector<char>>;

	explicit NaiveGraph(const Snapshot& from)
	    : snapshot(from), size(snapshot.sessions.size()), present(size, 0), waits(size, 0),
	      edges(size, std::vector<char>(size, 0)) {
		for (const Holder& holder : snapshot.holders)
			present[node_of(holder.session)] = 1;
		for (Index i = 0; i < snapshot.waiters.size(); ++i) {
			const Index node = node_of(snapshot.waiters[i].session);
			present[node] = waits[node] = 1;
			blockers.push_back(find_blockers(i));
			for (const Blocker& blocker : blockers.back())
				edges[blocker.node][node] = 1;
		}
		for (Index node = 0; node < size; ++node)
			reach.push_back(search({node}, kNone));
		for (Index node = 0; node < size; ++node)
			if (present[node] && is_start(node))
				starts.push_back(node);
	}

	Index node_of(Index session) const { return snapshot.sessions[session].leader; }

	Time start(Index waiter) const {
		const Time start = snapshot.waiters[waiter].wait_start;
		return start == 0 ? snapshot.now : start;
	}

	bool in_cycle(Index node) const { return reach[node][node]; }

	bool root(Index node) const { return !waits[node] && direct_waiters(node) > 0; }

	Index direct_waiters(Index node) const { return count(edges[node]); }

	Index blocked_total(Index node) const { return count(reach[node]) - (reach[node][node] ? 1 : 0); }

	Index frees(Index node) const {
		if (!present[node])
			return 0;
		std::vector<Index> others;
		for (const Index start : starts)
			if (start != node)
				others.push_back(start);
		std::vector<char> reached = search(others, node);
		for (const Index start : others)
			reached[start] = 1;
		Index freed = 0;
		for (Index other = 0; other < size; ++other)
			freed += present[other] && other != node && !reached[other];
		return freed;
	}

	std::vector<Index> roots_of(Index node) const {
		std::vector<Index> found;
		for (Index other = 0; other < size; ++other)
			if (root(other) && reach[other][node])
				found.push_back(other);
		return found;
	}

	// The wait that began first among those that wait for the node because of what it holds.
	Index hard_waiter(Index node, bool advisory_too) const {
		Index found = kNone;
		for (Index i = 0; i < snapshot.waiters.size(); ++i) {
			if (!advisory_too && snapshot.locks[snapshot.waiters[i].lock].advisory)
				continue;
			const bool hard =
			    std::any_of(blockers[i].begin(), blockers[i].end(), [&](const Blocker& blocker) {
				    return blocker.node == node && blocker.kind == Blocks::hard;
			    });
			if (hard && (found == kNone || start(i) < start(found)))
				found = i;
		}
		return found;
	}

	Blocker primary(Index waiter) const {
		const std::vector<Blocker>& all = blockers[waiter];
		if (all.empty() || all.front().kind == Blocks::queued)
			return all.empty() ? Blocker{} : all.front();
		const Blocker* best = nullptr;
		for (const Blocker& blocker : all)
			if (blocker.kind == Blocks::hard && (best == nullptr || worth(blocker.node) < worth(best->node)))
				best = &blocker;
		return *best;
	}

	// The less, the sooner it is named: most freed, oldest transaction, lower pid.
	std::tuple<int, Time, std::int32_t, Index> worth(Index node) const {
		const Session& session = snapshot.sessions[node];
		return {-static_cast<int>(frees(node)), session.xact_start == 0 ? INT64_MAX : session.xact_start,
		        session.pid, node};
	}

	Index shown_wait(Index node) const {
		Index chosen = kNone;
		const auto rank = [&](Index i) {
			const int kind = blockers[i].empty() ? 2 : primary(i).kind == Blocks::hard ? 0 : 1;
			return std::tuple(kind, start(i), i);
		};
		for (Index i = 0; i < snapshot.waiters.size(); ++i)
			if (node_of(snapshot.waiters[i].session) == node && (chosen == kNone || rank(i) < rank(chosen)))
				chosen = i;
		return chosen;
	}

	// The node above in the chain; kNone for a top.
	Index parent(Index node) const {
		const auto up = [&](Index from) {
			const Index wait = shown_wait(from);
			return wait == kNone ? kNone : primary(wait).node;
		};
		std::vector<Index> circle;
		for (Index above = up(node); above != kNone && circle.size() <= size; above = up(above)) {
			circle.push_back(above);
			if (above != node)
				continue;
			const bool top = std::all_of(circle.begin(), circle.end(),
			                             [&](Index member) { return worth(node) <= worth(member); });
			return top ? kNone : up(node);
		}
		return up(node);
	}

	const Snapshot& snapshot;
	std::size_t size;
	std::vector<char> present; // holds or awaits
	std::vector<char> waits;
	Matrix edges; // [blocker][waiter]
	Matrix reach;
	std::vector<Index> starts;
	std::vector<std::vector<Blocker>> blockers; // by waiter, hard ones first

private:
	static Index count(const std::vector<char>& row) {
		return static_cast<Index>(std::count(row.begin(), row.end(), 1));
	}

	// As pg_blocking_pids() goes about it: process by process.
	std::vector<Blocker> find_blockers(Index blocked) const {
		const Waiter& self = snapshot.waiters[blocked];
		const Lock& lock = snapshot.locks[self.lock];
		std::vector<Blocker> found;
		for (Index node = 0; node < size; ++node) {
			if (node == node_of(self.session))
				continue; // members of one lock group never block each other
			unsigned held = 0;
			for (const Holder& holder : snapshot.holders_of(lock))
				if (node_of(holder.session) == node)
					held |= holder.modes & conflicts_of(self.mode);
			if (held != 0)
				found.push_back({node, Blocks::hard, strongest(static_cast<ModeMask>(held))});
		}
		const auto known = [&](Index node) {
			return std::any_of(found.begin(), found.end(), [&](const Blocker& b) { return b.node == node; });
		};
		for (Index ahead = lock.first_waiter; ahead < blocked; ++ahead) {
			const Waiter& other = snapshot.waiters[ahead];
			const Index node = node_of(other.session);
			if (node != node_of(self.session) && conflict(self.mode, bit(other.mode)) && !known(node))
				found.push_back({node, Blocks::queued, other.mode});
		}
		return found;
	}

	// The nodes at the end of a path of one edge or more, `without` left out.
	std::vector<char> search(std::vector<Index> from, Index without) const {
		std::vector<char> reached(size, 0);
		while (!from.empty()) {
			const Index node = from.back();
			from.pop_back();
			for (Index next = 0; next < size; ++next)
				if (edges[node][next] && next != without && !reached[next]) {
					reached[next] = 1;
					from.push_back(next);
				}
		}
		return reached;
	}

	bool is_start(Index node) const {
		for (Index other = 0; other < size; ++other)
			if (reach[other][node] && !reach[node][other])
				return false;
		return true;
	}
};

} // namespace unblock::core::test
