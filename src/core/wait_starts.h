// When waits began, where the server does not know it yet.
#pragma once

#include "snapshot.h"

namespace unblock::core {

// The server writes wait_start a moment after a process has joined the queue (proc.c, ProcSleep()). Until
// then there may be what an earlier wait has left: one that ended with an error (proc.c,
// LockErrorCleanup()), or one that was over before its start was written. No wait of a statement is older
// than the statement, unless the clock was set back between the two. An earlier wait of the same statement
// (a loop around a lock_timeout, in a function) is not told from it.
constexpr bool is_of_earlier_wait(Time wait_start, Time query_start) noexcept {
	return wait_start != 0 && wait_start < query_start;
}

// For whoever looks once: such a wait begins now. Clock::correct() does it for looks in a row. O(waiters).
inline void forget_earlier_waits(std::span<const Session> sessions, std::span<Waiter> waiters) noexcept {
	for (Waiter& waiter : waiters)
		if (is_of_earlier_wait(waiter.wait_start, sessions[waiter.session].query_start))
			waiter.wait_start = 0;
}

} // namespace unblock::core
