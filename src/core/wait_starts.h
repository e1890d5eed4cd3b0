// When waits began, where the server does not know it yet.
#pragma once

#include "snapshot.h"

namespace unblock::core {

// The server writes wait_start a moment after a process has joined the queue (proc.c, ProcSleep()). Until
// then it stands as an earlier wait may have left it, one that ended with an error (lock.c,
// LockErrorCleanup()). No wait of a statement is older than the statement: such a one begins now. O(waiters).
//
// If the clock was set back between the two this loses a true start, so that the wait counts for less; an
// earlier wait of the same statement (a loop around a lock_timeout, in a function) is not told from it.
inline void forget_earlier_waits(std::span<const Session> sessions, std::span<Waiter> waiters) noexcept {
	for (Waiter& waiter : waiters)
		if (waiter.wait_start < sessions[waiter.session].query_start)
			waiter.wait_start = 0;
}

} // namespace unblock::core
