// From the lock manager and the status array to a core::Snapshot.
//
// One pass over the process array with the lock manager's partition locks
// held shared: every awaited lock is copied once, from the process that is
// first in its queue. Nothing is allocated, copied as text or raised there.
// Session details follow after the locks are released.
#pragma once

#include "backend_status.h"
#include "monotonic.h"
#include "names.h"
#include "session_slot.h"

namespace unblock::server {

// What the server knows of a session beside core::Session; same index.
struct SessionDetails {
	int process_number;
	bool has_status;
	Status status;
	uint32 wait_event;
};

// The snapshot's spans point into these arrays. They are palloc'd in the context that was current; those of
// the enforcer live until its next snapshot.
struct Collected {
	core::Snapshot snapshot;
	core::Session* sessions;
	core::Waiter* waiters;
	core::Lock* locks;
	SessionDetails* details;
	LOCKTAG* tags;          // of the snapshot's locks
	core::Micros monotonic; // the moment of snapshot.now on the clock that never steps
	uint64 total_time;      // µs
	uint64 partition_time;  // µs of that with the partition locks held
};

enum class Purpose {
	enforcing, // numbers only, reads no catalog; limits as this process's file says
	reporting, // with texts and names, masked for the current user
	recording, // for one record of the history: as for the enforcer, from any process
};

// The snapshot holds all processes that wait for a lock or hold an awaited one, and all client sessions
// in a transaction or with track_activities off.
Collected* collect(Purpose purpose);

// Names of a session's database and role: from the catalogs or, where those cannot be read at once, from its
// slot, which may be nullptr. Palloc'd, or nullptr if unknown.
struct SessionNames {
	char* database;
	char* role;
};
SessionNames session_names(const Names& names, SessionSlot* slot, int pid, Oid database, Oid role);

// Into a session what its process says of itself; `details` knows the process. `helps`: it works for a
// leader.
void apply_status(core::Session& session, SessionDetails& details, const Status& status, bool helps);

// A core phase that builds the graph of a snapshot, which lives as long as the current context.
core::WaitGraph& graph_of(const Collected& collected);

} // namespace unblock::server
