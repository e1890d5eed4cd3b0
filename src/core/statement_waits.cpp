// Waits of one statement, added up.

#include "statement_waits.h"

#include <algorithm>

#include "fence.h"

namespace unblock::core {

void StatementWaits::look(const Snapshot& snapshot, std::span<Session> sessions, Micros monotonic) {
	const Micros since_last_look = looks_ == 0 ? 0 : monotonic - last_look_;
	last_look_ = monotonic;
	++looks_;
	for (const Waiter& waiter : snapshot.waiters) {
		Session& session = sessions[waiter.session];
		const Micros present = snapshot.waited(waiter);
		const bool counts = !snapshot.locks[waiter.lock].advisory || session.limits.count_advisory_locks;
		remember(session, {present, counts ? present : 0}, since_last_look);
	}
	// Statements that wait for nothing now keep what they had.
	for (Session& session : sessions) {
		const auto known = memory_.find(session.pid);
		if (known != memory_.end() && known->second.look != looks_)
			remember(session, {}, since_last_look);
	}
	std::erase_if(memory_, [this](const auto& entry) { return entry.second.look != looks_; });
}

void StatementWaits::remember(Session& session, Length present, Micros since_last_look) {
	Memory& memory = memory_[session.pid];
	if (memory.backend_start != session.backend_start || memory.query_start != session.query_start)
		memory = {.backend_start = session.backend_start, .query_start = session.query_start};
	// A wait that was there at the last look is at least as old as that look.
	const bool same_wait = present.all >= since_last_look;
	if (!same_wait) {
		memory.ended.all += memory.present.all;
		memory.ended.counted += memory.present.counted;
	}
	memory.present = present;
	memory.look = looks_;
	session.blocked_before = memory.ended.all;
	session.counted_blocked_before = memory.ended.counted;
}

} // namespace unblock::core
