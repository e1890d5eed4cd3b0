// Random snapshots of many shapes, the same for the same seed.
#pragma once

#include "graph_builder.h"

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

namespace unblock::core::test {

class Dice {
public:
	explicit Dice(unsigned seed) : engine_(seed) {}
	int from_to(int first, int last) { return std::uniform_int_distribution<int>(first, last)(engine_); }
	bool chance(int percent) { return from_to(1, 100) <= percent; }
	template <typename T>
	T one_of(const std::vector<T>& all) {
		return all[static_cast<std::size_t>(from_to(0, static_cast<int>(all.size()) - 1))];
	}

	template <typename T>
	void shuffle(std::vector<T>& all) {
		std::shuffle(all.begin(), all.end(), engine_);
	}

private:
	std::mt19937 engine_;
};

// What snapshots of one seed look like: from a single queue for one mode to a web of everything.
struct Shape {
	int sessions;
	int locks;
	int workers;  // percent
	int prepared; // percent
	int holds;    // percent of sessions that hold some lock
	int waits;    // percent of processes that wait
	int upgrades; // percent of waiters that hold what they await
	std::vector<LockMode> modes;
	// Percent of the processes that also hold a lock on one of the first `tables` locks, most of them in
	// the same mode, as those who pile up on a row do.
	int piled;
	int tables;
};

inline Shape make_shape(Dice& dice, int most_sessions) {
	const std::vector<std::vector<LockMode>> kinds = {
	    {LockMode::exclusive},
	    {LockMode::access_share, LockMode::access_exclusive},
	    {LockMode::share, LockMode::exclusive},
	    {LockMode::access_share, LockMode::row_exclusive, LockMode::share_update_exclusive, LockMode::share,
	     LockMode::access_exclusive},
	    {LockMode::access_share, LockMode::row_share, LockMode::row_exclusive,
	     LockMode::share_update_exclusive, LockMode::share, LockMode::share_row_exclusive,
	     LockMode::exclusive, LockMode::access_exclusive},
	};
	return {dice.from_to(2, most_sessions),     dice.chance(25) ? 1 : dice.from_to(1, 2 + most_sessions / 3),
	        dice.one_of<int>({0, 0, 10, 40}),   dice.one_of<int>({0, 10, 30}),
	        dice.one_of<int>({10, 30, 60, 90}), dice.one_of<int>({30, 60, 90}),
	        dice.one_of<int>({0, 0, 5, 30}),    dice.one_of(kinds),
	        dice.one_of<int>({0, 0, 60, 95}),   dice.from_to(1, 2)};
}

inline void fill(GraphBuilder& b, Dice& dice, const Shape& shape) {
	std::vector<int> pids(static_cast<std::size_t>(shape.sessions));
	for (int i = 0; i < shape.sessions; ++i)
		pids[static_cast<std::size_t>(i)] = 100 + i;
	dice.shuffle(pids);

	std::vector<Index> locks, processes, leaders, workers;
	for (int i = 0; i < shape.locks; ++i) {
		locks.push_back(b.lock("transaction " + std::to_string(i)));
		b.lock_at(locks.back()).advisory = dice.chance(20);
	}
	for (const int pid : pids) {
		const bool prepared = dice.chance(shape.prepared);
		const SessionRef made = prepared ? b.prepared("gid") : b.session(pid);
		made->xact_start = dice.chance(20) ? 0 : ago(dice.from_to(1, 4));
		while (dice.chance(shape.holds))
			b.hold(dice.one_of(locks), made, dice.one_of(shape.modes));
		if (prepared)
			continue;
		processes.push_back(made);
		(dice.chance(shape.workers) ? workers : leaders).push_back(made);
	}
	for (const Index worker : workers)
		if (!leaders.empty()) {
			b.at(worker).leader = dice.one_of(leaders);
			b.at(worker).kind = Kind::worker;
		}
	const LockMode piled_mode = dice.one_of(shape.modes);
	for (const Index session : processes)
		if (dice.chance(shape.piled)) {
			const int table = dice.from_to(1, std::min(shape.tables, shape.locks)) - 1;
			b.hold(locks[static_cast<std::size_t>(table)], session,
			       dice.chance(90) ? piled_mode : dice.one_of(shape.modes));
		}
	dice.shuffle(processes);
	for (const Index session : processes)
		if (dice.chance(shape.waits)) {
			const Index lock = dice.one_of(locks);
			if (dice.chance(shape.upgrades))
				b.hold(lock, session, dice.one_of(shape.modes));
			b.wait(lock, session, dice.one_of(shape.modes), dice.chance(10) ? 0 : ago(dice.from_to(1, 5)));
		}
}

} // namespace unblock::core::test
