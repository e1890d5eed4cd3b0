// Ends one exact session, or cancels its statement.
//
// Between a decision and its signal the session may have gone on: committed,
// begun another statement, left, its pid given to somebody else. The last look
// is taken with ProcArrayLock held shared, under which no process can leave
// the array, and the signal is sent before it is released. Precedent in the
// server: procarray.c, SignalVirtualTransaction().
//
// What stays possible is a COMMIT that arrives within these microseconds: its
// outcome is what the server had done.
#pragma once

#include "collect.h"

namespace unblock::server {

// The session as it was judged.
struct Target {
	int pid;
	TimestampTz backend_start;
	bool same_transaction; // only in the transaction that began at xact_start
	TimestampTz xact_start;
	bool same_spell; // only if its state has not changed since
	core::State state;
	TimestampTz state_start;
	LocalTransactionId local_xid; // … nor its transaction; without same_spell only if it is valid
	bool same_wait;               // only if it waits for the same thing still
	core::Wait wait;
	bool where_it_helps; // not while it waits for a standby; nor a cancel while it waits for its client,
	                     // which the server would ignore
	core::MustBlock must_block; // only if it still blocks somebody
	bool count_advisory_locks;  // … who may wait for an advisory lock
	LOCKTAG lock;               // … in the queue of this lock
	int waiter_pid;             // only while this process waits for a lock; 0: whoever does
};

enum class Sent {
	sent,
	gone,    // no such process any more
	changed, // another session, transaction or state, or it blocks nobody
	busy,    // its status entry could not be read: nothing was done
	failed,  // kill() failed, see errno
};

// A session of a snapshot: the very spell that was seen, and not while it only waits for a standby.
Target target_of(const core::Session& session);

// Leaves `farewell` (if not nullptr) in the session's slot and signals it as pg_terminate_backend and
// pg_cancel_backend do. Takes and releases ProcArrayLock; raises nothing.
Sent send(const Target& target, core::Action action, const Farewell* farewell);

// Whether the process of this session is still there, and its status. One whose entry cannot be read now is
// taken for present.
enum class Presence { gone, unreadable, present };
Presence find_session(int pid, TimestampTz backend_start, Status* status);
bool is_present(int pid, TimestampTz backend_start);

} // namespace unblock::server
