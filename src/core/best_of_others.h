// The best of many candidates when one node's own must not count.
#pragma once

#include "snapshot.h"

#include <optional>

namespace unblock::core {

// Candidate: has a member `node`, and operator< puts the better one first.
// Keeps the best and the best of another node: enough for any question.
template <typename Candidate>
class BestOfOthers {
public:
	void offer(const Candidate& candidate) {
		if (!best_ || candidate < *best_) {
			if (best_ && best_->node != candidate.node)
				second_ = best_;
			best_ = candidate;
		} else if (candidate.node != best_->node && (!second_ || candidate < *second_)) {
			second_ = candidate;
		}
	}

	const std::optional<Candidate>& best_but(Index node) const noexcept {
		return best_ && best_->node == node ? second_ : best_;
	}

private:
	std::optional<Candidate> best_;
	std::optional<Candidate> second_;
};

} // namespace unblock::core
