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
	// Takes in one snapshot (with corrected stamps, see clock.h) taken at `monotonic`. O(sessions + waiters).
	// Throws std::bad_alloc.
	void look(const Snapshot& snapshot, Micros monotonic);

	// The time that the session's present statement had been blocked before its present wait, as of the
	// last look. O(1).
	Micros before(const Session& session) const noexcept;

private:
	struct Memory {
		Time backend_start = 0;
		Time query_start = 0;
		Micros ended = 0;   // waits that are over
		Micros present = 0; // the wait seen at the last look; 0: none
		std::uint64_t look = 0;
	};
	void remember(const Session& session, Micros present, Micros since_last_look);

	std::unordered_map<std::int32_t, Memory> memory_; // by pid
	std::uint64_t looks_ = 0;
	Micros last_look_ = 0;
};

} // namespace unblock::core
