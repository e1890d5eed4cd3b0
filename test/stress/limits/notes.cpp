// Intervals of idleness cut with intervals of others' waits.

#include "notes.h"
#include "client.h"

#include <algorithm>

namespace unblock::stress {

namespace {

std::vector<Interval> merged(std::vector<Interval> intervals) {
	std::ranges::sort(intervals, {}, &Interval::begin);
	std::vector<Interval> result;
	for (const Interval& interval : intervals) {
		if (!result.empty() && interval.begin <= result.back().end)
			result.back().end = std::max(result.back().end, interval.end);
		else
			result.push_back(interval);
	}
	return result;
}

} // namespace

Wait& Notes::add_wait(int object, bool exclusive, Micros sent) {
	return waits_[object].emplace_back(Wait{{sent, kNever}, exclusive, sent});
}

std::vector<Interval> Notes::blocking_idle(const Transaction& transaction, Micros until) const {
	std::vector<Interval> found;
	if (transaction.spells.empty())
		return found;
	const Micros begin = transaction.spells.front().begin;
	for (const Holding& holding : transaction.holdings) {
		const std::deque<Wait>& waits = waits_[holding.object];
		// A wait that was sent long before is over: attend() sees to that.
		for (auto wait = waits.rbegin(); wait != waits.rend() && wait->sent + kPatience >= begin; ++wait) {
			if (!wait->exclusive && !holding.exclusive)
				continue;
			for (const Spell& spell : transaction.spells) {
				const Interval common = {std::max({spell.begin, wait->begin, holding.since}),
				                         std::min({spell.end, wait->end, until})};
				if (common.begin < common.end)
					found.push_back(common);
			}
		}
	}
	return merged(std::move(found));
}

Micros sum_of(const std::vector<Interval>& intervals) {
	Micros sum = 0;
	for (const Interval& interval : intervals)
		sum += interval.length();
	return sum;
}

std::optional<Micros> moment_of(const std::vector<Interval>& intervals, Micros sum) {
	for (const Interval& interval : intervals) {
		if (interval.length() >= sum)
			return interval.begin + sum;
		sum -= interval.length();
	}
	return std::nullopt;
}

} // namespace unblock::stress
