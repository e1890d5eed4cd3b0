// Sessions that are in the way of a statement which makes others give way: those
// that it waits for, directly or through others.
//
// A role with preempt_idle_blockers_after, for migrations mostly, has
// whoever is in its way without working ended. This says who is in whose way;
// the rule (rules.h) looks at whether they work.
#pragma once

#include "wait_graph.h"

#include <optional>
#include <unordered_map>
#include <vector>

namespace unblock::core {

// One session is in the way of another.
struct Preemption {
	Index waiter = kNone;      // of whom it is in the way, an index into Snapshot::waiters
	Mode mode = Mode::enforce; // of that session
	Micros limit = 0;
	Micros blocked = 0; // that session's whole statement, its present wait included
	Micros wait = 0;    // its present wait
};

class Preemptions {
public:
	// Where several sessions that preempt wait for the same one, the first to be due is told, those in
	// earnest before those in dry run. An advisory lock is in the way only where its holder counts advisory
	// locks. Sessions whose mode is `off` preempt nobody. Linear in the snapshot, for each lock mode that is
	// waited for. Throws std::bad_alloc.
	explicit Preemptions(const WaitGraph& graph);

	// nullptr: the session is in nobody's way who preempts. O(1).
	const Preemption* on(Index session) const noexcept;

	// When the first statement that preempts will have been blocked for so long, from now on: 0 if one has
	// been already, whether it waits at the moment or not. none: no such statement has been blocked yet.
	std::optional<Micros> soonest() const noexcept { return soonest_; }

private:
	std::unordered_map<Index, Preemption> found_; // by session
	std::optional<Micros> soonest_;
};

} // namespace unblock::core
