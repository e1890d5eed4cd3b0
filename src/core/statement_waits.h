// How long a statement has been blocked by locks before the one that it waits
// for now.
//
// The server's wait_start begins anew with every lock: a statement that waits
// for many transactions one after another (CREATE INDEX CONCURRENTLY does) looks as if it had just begun to
// wait. This remembers from look to look. What was not looked at is not
// counted: the sums are lower bounds.
#pragma once

#include "snapshot.h"

#include <cstdint>
#include <unordered_map>

namespace unblock::core {

class StatementWaits {
public:
	// Takes in one snapshot (with corrected stamps, see clock.h) taken at `monotonic`, whose waiters point
	// into `sessions`, and fills in blocked_before and counted_blocked_before of `sessions`. Waits for
	// advisory locks are counted for sessions that count them. O(sessions + waiters). Throws std::bad_alloc.
	void look(const Snapshot& snapshot, std::span<Session> sessions, Micros monotonic);

private:
	// A time that waits take up, some of which may not count towards limits.
	struct Length {
		Micros all = 0;
		Micros counted = 0;
	};
	struct Memory {
		Time backend_start = 0;
		Time query_start = 0;
		Length ended = {};   // waits that are over
		Length present = {}; // the wait seen at the last look; zeros: none
		std::uint64_t look = 0;
	};
	void remember(Session& session, Length present, Micros since_last_look);

	std::unordered_map<std::int32_t, Memory> memory_; // by pid
	std::uint64_t looks_ = 0;
	Micros last_look_ = 0;
};

} // namespace unblock::core
