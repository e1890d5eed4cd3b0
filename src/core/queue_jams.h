// Queued sessions that keep others from a lock although nobody holds it against
// these: a migration that waits for a reader, and stops a table's traffic.
//
// A jammed waiter has no hard blocker; only the queue keeps it from going on. This
// measures, for each queued session with a limit, how long as many sessions
// as it names have been jammed behind it at the same lock.
#pragma once

#include "wait_graph.h"

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace unblock::core {

struct Jam {
	Index wait = kNone;   // of the session that jams, an index into Snapshot::waiters
	Index waiter = kNone; // the one jammed longest by it, another such index
	Micros length = 0;    // for so long queued_blocker_waiters sessions have been jammed by it
	bool enough = false;  // there are so many; else `length` is 0
};

class QueueJams {
public:
	// Takes in one look (stamps corrected, see clock.h) at `monotonic`.
	//
	// A waiter counts from the beginning of its wait or, if that is later, of the jamming session's own, but
	// not for a time in which a look saw somebody hold the lock against it. Parallel workers do not count,
	// their leaders do; nor do autovacuum workers, which the server sends away itself. Queues for advisory
	// locks count for those sessions that count them. O(waiters * (log k + k)) with k the largest
	// queued_blocker_waiters of a queue, small as a rule. Throws std::bad_alloc.
	void look(const WaitGraph& graph, Micros monotonic);

	// The jam that a session's wait makes: nullptr if it has no queued_blocker limit or awaits nothing. O(1).
	const Jam* of(Index session) const noexcept;

private:
	struct Memory {
		Time backend_start = 0;
		Micros held_until = 0; // monotonic: the last look that saw a hard blocker of it
		std::uint64_t look = 0;
	};
	void look_at(const WaitGraph& graph, const Lock& lock);
	Micros jammed_for(const WaitGraph& graph, Index waiter);

	std::unordered_map<std::int32_t, Memory> memory_; // by pid
	std::unordered_map<Index, Jam> jams_;             // by session
	std::uint64_t looks_ = 0;
	Micros monotonic_ = 0;
};

} // namespace unblock::core
