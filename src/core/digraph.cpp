// Strongly connected components and dominators, without recursion.
#include "digraph.h"

#include <algorithm>
#include <utility>

#include "fence.h"

namespace unblock::core {

// Both ways to make one sort by counting: first_[n] is the number of n's edges, then the end of n's run until
// the run is filled from its back.
Digraph::Digraph(Index nodes, std::span<const Edge> edges) : Digraph(std::size_t{nodes}, edges.size()) {
	for (const Edge& edge : edges)
		++first_[edge.from];
	end_runs();
	for (std::size_t i = edges.size(); i-- > 0;)
		to_[--first_[edges[i].from]] = edges[i].to;
}

Digraph Digraph::reversed() const {
	Digraph turned(nodes(), to_.size());
	for (const Index to : to_)
		++turned.first_[to];
	turned.end_runs();
	for (Index node = nodes(); node-- > 0;)
		for (const Index to : successors(node))
			turned.to_[--turned.first_[to]] = node;
	return turned;
}

void Digraph::end_runs() {
	Index end = 0;
	for (Index& first : first_)
		first = end += first;
}

namespace {

// A node that a depth-first search has entered, and how many of its edges it has followed.
struct Visit {
	Index node;
	Index followed;
};

class ComponentSearch {
public:
	explicit ComponentSearch(const Digraph& graph)
	    : graph_(graph), entered_(graph.nodes(), kNone), lowest_(graph.nodes(), kNone) {
		found_.of.assign(graph.nodes(), kNone);
		found_.order.reserve(graph.nodes());
	}

	void search(Index start) {
		if (entered_[start] != kNone)
			return;
		enter(start);
		while (!path_.empty()) {
			Visit& visit = path_.back();
			const std::span<const Index> next = graph_.successors(visit.node);
			if (visit.followed < next.size())
				follow(visit.node, next[visit.followed++]);
			else
				leave();
		}
	}

	Components take() { return std::move(found_); }

private:
	void enter(Index node) {
		entered_[node] = lowest_[node] = clock_++;
		path_.push_back({node, 0});
		open_.push_back(node);
	}

	void follow(Index from, Index to) {
		if (entered_[to] == kNone)
			enter(to);
		else if (found_.of[to] == kNone)
			lowest_[from] = std::min(lowest_[from], entered_[to]);
	}

	void leave() {
		const Index node = path_.back().node;
		path_.pop_back();
		if (!path_.empty())
			lowest_[path_.back().node] = std::min(lowest_[path_.back().node], lowest_[node]);
		if (lowest_[node] == entered_[node])
			close_component(node);
	}

	void close_component(Index first) {
		Index node;
		do {
			node = open_.back();
			open_.pop_back();
			found_.of[node] = found_.count;
			found_.order.push_back(node);
		} while (node != first);
		++found_.count;
	}

	const Digraph& graph_;
	Components found_;
	std::vector<Index> entered_; // when; kNone: not yet
	std::vector<Index> lowest_;  // earliest node known to be reached that is still open
	std::vector<Visit> path_;
	std::vector<Index> open_; // entered, component not closed yet
	Index clock_ = 0;
};

// Works on numbers that count the nodes as a depth-first search enters them.
// Number 0 is the node before all starts. Names follow the paper.
class DominatorSearch {
public:
	DominatorSearch(const Digraph& graph, const Digraph& reversed, std::span<const Index> starts)
	    : graph_(graph), reversed_(reversed), number_(graph.nodes(), 0) {
		vertex_.reserve(std::size_t{graph.nodes()} + 1);
		parent_.reserve(std::size_t{graph.nodes()} + 1);
		add(kNone, 0);
		for (const Index start : starts)
			enter_from(start);
		const std::size_t numbers = vertex_.size();
		semi_.resize(numbers);
		label_.resize(numbers);
		for (Index n = 0; n < numbers; ++n)
			semi_[n] = label_[n] = n;
		start_.assign(numbers, false);
		for (const Index start : starts)
			start_[number_[start]] = true;
		ancestor_.assign(numbers, kNone);
		dominator_.assign(numbers, 0);
		bucket_.assign(numbers, kNone);
		bucket_next_.assign(numbers, kNone);
	}

	Dominators find() {
		const Index numbers = static_cast<Index>(vertex_.size());
		for (Index w = numbers - 1; w > 0; --w) {
			find_semidominator(w);
			bucket_next_[w] = bucket_[semi_[w]];
			bucket_[semi_[w]] = w;
			ancestor_[w] = parent_[w];
			empty_bucket(parent_[w]);
		}
		Dominators found;
		found.immediate.assign(graph_.nodes(), kNone);
		found.order.assign(vertex_.begin() + 1, vertex_.end());
		for (Index w = 1; w < numbers; ++w) {
			if (dominator_[w] != semi_[w])
				dominator_[w] = dominator_[dominator_[w]];
			found.immediate[vertex_[w]] = vertex_[dominator_[w]];
		}
		return found;
	}

private:
	void add(Index node, Index parent) {
		if (node != kNone) {
			number_[node] = static_cast<Index>(vertex_.size());
			path_.push_back({node, 0});
		}
		vertex_.push_back(node);
		parent_.push_back(parent);
	}

	void enter_from(Index start) {
		if (number_[start] != 0)
			return;
		add(start, 0);
		while (!path_.empty()) {
			Visit& visit = path_.back();
			const std::span<const Index> next = graph_.successors(visit.node);
			if (visit.followed == next.size()) {
				path_.pop_back();
				continue;
			}
			const Index to = next[visit.followed++];
			if (number_[to] == 0)
				add(to, number_[visit.node]);
		}
	}

	void find_semidominator(Index w) {
		if (start_[w])
			semi_[w] = 0;
		for (const Index before : reversed_.successors(vertex_[w]))
			if (number_[before] != 0)
				semi_[w] = std::min(semi_[w], semi_[evaluate(number_[before])]);
	}

	void empty_bucket(Index parent) {
		for (Index v = bucket_[parent]; v != kNone; v = bucket_next_[v]) {
			const Index u = evaluate(v);
			dominator_[v] = semi_[u] < semi_[v] ? u : parent;
		}
		bucket_[parent] = kNone;
	}

	// The node with the lowest semidominator on the way up from v in the forest linked so far,
	// without the forest's root; shortens that way.
	Index evaluate(Index v) {
		if (ancestor_[v] == kNone)
			return v;
		way_.clear();
		Index u = v;
		for (; ancestor_[ancestor_[u]] != kNone; u = ancestor_[u])
			way_.push_back(u);
		for (; !way_.empty(); way_.pop_back()) {
			const Index lower = way_.back();
			const Index upper = ancestor_[lower];
			if (semi_[label_[upper]] < semi_[label_[lower]])
				label_[lower] = label_[upper];
			ancestor_[lower] = ancestor_[upper];
		}
		return label_[v];
	}

	const Digraph& graph_;
	const Digraph& reversed_;
	std::vector<Index> number_; // of a node; 0: not reached
	std::vector<Index> vertex_; // the node with that number
	std::vector<Index> parent_; // in the search tree; this and all below are by number and of numbers
	std::vector<bool> start_;
	std::vector<Index> semi_;
	std::vector<Index> label_;
	std::vector<Index> ancestor_; // in the linked forest
	std::vector<Index> dominator_;
	std::vector<Index> bucket_; // lists of the nodes with this semidominator
	std::vector<Index> bucket_next_;
	std::vector<Visit> path_;
	std::vector<Index> way_;
};

} // namespace

Components strong_components(const Digraph& graph, std::span<const Index> from) {
	ComponentSearch search(graph);
	for (const Index node : from)
		search.search(node);
	return search.take();
}

Dominators dominators(const Digraph& graph, const Digraph& reversed, std::span<const Index> starts) {
	return DominatorSearch(graph, reversed, starts).find();
}

} // namespace unblock::core
