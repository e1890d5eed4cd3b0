// Waits of one statement, added up.

#include "statement_waits.h"

#include <algorithm>

#include "fence.h"

namespace unblock::core {

void StatementWaits::look(const Snapshot& snapshot, Micros monotonic) {
	const Micros since_last_look = looks_ == 0 ? 0 : monotonic - last_look_;
	last_look_ = monotonic;
	++looks_;
	for (const Waiter& waiter : snapshot.waiters) {
		const Micros present = waiter.wait_start == 0 ? 0 : snapshot.now - waiter.wait_start;
		remember(snapshot.sessions[waiter.session], std::max<Micros>(present, 0), since_last_look);
	}
	// Statements that wait for nothing now keep what they had.
	for (const Session& session : snapshot.sessions) {
		const auto known = memory_.find(session.pid);
		if (known != memory_.end() && known->second.look != looks_)
			remember(session, 0, since_last_look);
	}
	std::erase_if(memory_, [this](const auto& entry) { return entry.second.look != looks_; });
}

void StatementWaits::remember(const Session& session, Micros present, Micros since_last_look) {
	Memory& memory = memory_[session.pid];
	if (memory.backend_start != session.backend_start || memory.query_start != session.query_start)
		memory = {.backend_start = session.backend_start, .query_start = session.query_start};
	// A wait that was there at the last look is at least as old as that look.
	const bool same_wait = present >= since_last_look;
	if (!same_wait)
		memory.ended += memory.present;
	memory.present = present;
	memory.look = looks_;
}

Micros StatementWaits::before(const Session& session) const noexcept {
	const auto known = memory_.find(session.pid);
	const bool same_statement = known != memory_.end() &&
	                            known->second.backend_start == session.backend_start &&
	                            known->second.query_start == session.query_start;
	return same_statement ? known->second.ended : 0;
}

} // namespace unblock::core
