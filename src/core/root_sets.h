// The roots that each component of the block graph waits for in the end.
#pragma once

#include "digraph.h"

#include <map>
#include <span>
#include <vector>

namespace unblock::core {

// Most sessions wait for the same few roots, so equal sets are kept once.
class RootSets {
public:
	// `reversed` is the block graph with its edges turned round; `roots` are nodes without a way in, in the
	// order in which sets are to list them. Linear in the graph as long as few different sets meet; otherwise
	// it costs the sum of the sets that do. Throws std::bad_alloc.
	RootSets(const Digraph& reversed, const Components& components, std::span<const Index> roots);

	// A root is in its own set.
	std::span<const Index> of(Index component) const noexcept { return members(set_of_[component]); }

private:
	std::span<const Index> members(Index set) const noexcept {
		return {members_.data() + first_[set], members_.data() + first_[set + 1]};
	}
	Index add_set();
	Index unite(std::vector<Index>& sets);

	std::vector<Index> set_of_;                  // component to set; set 0 is empty
	std::vector<Index> members_;                 // of all sets, one after the other
	std::vector<Index> first_{0, 0};             // of a set in members_; one more than there are sets
	std::map<std::vector<Index>, Index> united_; // sets, ascending, to their union
};

} // namespace unblock::core
