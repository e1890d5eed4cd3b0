// What locks a process holds: how many, the strongest one, or each of them.
#pragma once

#include "collect.h"

namespace unblock::server {

struct HeldLocks {
	int count;                // rows that pg_locks shows as granted: one for each lock and mode
	core::LockMode strongest; // none: holds nothing. Among equals a relation's
	LOCKTAG tag;              // of the strongest
};

// For each session i of the snapshot with wanted[i]. Palloc'd, all sessions long. The partition locks are
// held shared for as long as the locks of these sessions take to count.
HeldLocks* count_held_locks(const Collected& collected, const bool* wanted);

// A lock in one mode.
struct LockEntry {
	LOCKTAG tag;
	core::LockMode mode;
	bool granted;
	bool fastpath;
	int waiters; // processes that wait for it in a conflicting mode; if it is not granted, those behind
};

struct LockEntries {
	LockEntry* entries; // palloc'd
	int count;
};

// All that a process holds or awaits, as pg_locks shows it (lock.c, GetLockStatusData()); pid 0: what all
// prepared transactions hold. Predicate locks, which block nobody, are none of them. The partition locks are
// held shared for as long as these locks and their queues take to read.
LockEntries read_locks(int pid);

// A row that a process waits for, by its lock on the row.
struct AwaitedRow {
	Oid relation;        // InvalidOid: it waits for something else
	core::LockMode mode; // of the lock on the row
};

// That of a process which awaits the lock `awaited`, of a transaction. Holds the partition locks shared while
// it reads what the process holds.
AwaitedRow awaited_row(PGPROC* proc, int pid, const LOCKTAG& awaited);

// A relation and the modes in which this process holds it.
struct RelationLock {
	Oid relation;
	core::ModeMask modes;
};

struct RelationLocks {
	RelationLock* locks; // palloc'd
	int count;
};

// All that this process holds on relations; one that is moved from the fast path to the main table meanwhile
// may be there twice. Holds one partition lock at a time, shared.
RelationLocks own_relation_locks();

} // namespace unblock::server
