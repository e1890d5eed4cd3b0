// What each client backend publishes about itself in shared memory, and what
// the enforcer leaves there for it.
//
// A slot belongs to a place in the process array. Its backend claims it at
// session start (fields first, then the pid) and gives it back at exit; readers
// compare the pid before and after reading. Nobody takes a lock: every field
// but the farewell, which is claimed first, has one writer.
#pragma once

#include "settings.h"

namespace unblock::server {

// Why a session is being ended or its statement canceled: written by whoever
// signals it, read by the session itself when the signal arrives (farewell.*).
struct Farewell {
	static constexpr int kRelationBytes = 264; // two names with all their characters quoted

	enum State : uint32 { none, being_written, left, claimed };
	enum class Asked : uint8 { by_limit, by_role };

	pg_atomic_uint32 state;
	Asked asked;
	core::Action action;
	core::Rule rule;    // asked by a limit
	core::Micros limit; // as in core::Decision
	core::Micros measured;
	core::Micros since_cancel; // its statement was canceled so long ago; 0: it was not
	core::Micros grace;
	uint32 blocked;      // sessions that waited for it
	int preempting;      // pid of the session that it makes way for; 0: none
	bool in_transaction; // while it waited for its client
	bool has_lock;
	LOCKTAG lock;                       // one that it blocked them through
	core::LockMode mode;                // held or, by a limit on queues, wanted
	char lock_relation[kRelationBytes]; // its relation, qualified and quoted; empty: not known
	Oid relation;                       // that of the lock or, of a row's lock, of the row
	uint32 statement;                   // that took it, in the session's trail; 0: not known
	TimestampTz left_at;
	NameData role;     // who asked, if a role did
	NameData function; // through which function
};

// What the enforcer remembers of a session, for reports.
struct Account {
	TimestampTz xact_start; // of the transaction that the blocking idle time belongs to
	core::Policy::Counted blocking_idle;
	TimestampTz query_start; // of the statement that the blocked time belongs to
	core::Micros blocked_before;
	core::Micros counted_blocked_before;
};

struct SessionSlot {
	pg_atomic_uint32 pid;       // 0: free
	pg_atomic_uint32 published; // bit n: setting n is published
	pg_atomic_uint32 value[kSessionSettings];
	pg_atomic_uint32 source[kSessionSettings]; // of the value: a GucSource

	pg_atomic_uint32 account_version; // odd while the account is being written
	Account account;

	Farewell farewell;

	NameData role;
	NameData database;
};

// From the postmaster, when shared memory is made.
void initialize_slot(SessionSlot& slot);

// From _PG_init, while preloading: claims a slot for every client that logs in.
void install_slot_hooks();

// This session's slot; nullptr in other processes and without preloading.
SessionSlot* my_slot();

// The slot of a process if it is that process's, else nullptr.
SessionSlot* slot_of(int process_number, int pid);

// From the assign hooks. No-ops without a slot. They wake the enforcer if it has planned to sleep longer than
// the new value allows.
void publish_setting(SessionSetting setting, int32 value, GucSource source);
void withdraw_setting(SessionSetting setting);

// The values in force for the session of this pid: what it has published, otherwise `file`. `slot` may be
// nullptr.
void effective_values(SessionSlot* slot, int pid, const InForce& file, InForce& in_force);

// Copies the names of the slot's session, or returns false if the slot has changed hands.
bool copy_names(SessionSlot* slot, int pid, NameData* role, NameData* database);

// The enforcer writes its account; anybody reads it. False: it is being written all the time.
void write_account(SessionSlot* slot, const Account& account);
bool read_account(SessionSlot* slot, Account* account);

} // namespace unblock::server
