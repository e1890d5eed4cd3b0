// Hands root sets down the graph, from the roots to those who wait.
#include "root_sets.h"

#include <algorithm>

#include "fence.h"

namespace unblock::core {

RootSets::RootSets(const Digraph& reversed, const Components& components, std::span<const Index> roots)
    : set_of_(components.count, 0) {
	for (Index i = 0; i < roots.size(); ++i) {
		members_.push_back(i); // made nodes in the end: until then places in `roots`, which have their order
		set_of_[components.of[roots[i]]] = add_set();
	}
	std::vector<Index> sets;
	const std::vector<Index>& order = components.order;
	for (std::size_t i = order.size(); i > 0;) {
		const Index component = components.of[order[i - 1]];
		sets.clear();
		const auto add = [&](Index set) {
			if (set != 0 && (sets.empty() || set != sets.back()))
				sets.push_back(set);
		};
		add(set_of_[component]);
		for (; i > 0 && components.of[order[i - 1]] == component; --i)
			for (const Index before : reversed.successors(order[i - 1]))
				// Places that nothing leads to are in no component.
				if (components.of[before] != kNone)
					add(set_of_[components.of[before]]);
		if (!sets.empty())
			set_of_[component] = unite(sets);
	}
	for (Index& member : members_)
		member = roots[member];
}

// Makes a set of the members appended last.
Index RootSets::add_set() {
	first_.push_back(static_cast<Index>(members_.size()));
	return static_cast<Index>(first_.size() - 2);
}

Index RootSets::unite(std::vector<Index>& sets) {
	if (sets.size() == 1)
		return sets.front();
	std::sort(sets.begin(), sets.end());
	sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
	if (const auto known = united_.find(sets); known != united_.end())
		return known->second;

	std::vector<Index> all;
	Index largest = sets.front();
	for (const Index set : sets) {
		const std::span<const Index> more = members(set);
		all.insert(all.end(), more.begin(), more.end());
		if (more.size() > members(largest).size())
			largest = set;
	}
	std::sort(all.begin(), all.end());
	all.erase(std::unique(all.begin(), all.end()), all.end());
	Index united = largest;
	if (all.size() > members(largest).size()) {
		members_.insert(members_.end(), all.begin(), all.end());
		united = add_set();
	}
	united_.emplace(sets, united);
	return united;
}

} // namespace unblock::core
