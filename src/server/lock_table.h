// Reading the lock manager's shared tables as a whole.
#pragma once

#include "compat.h"

namespace unblock::server {

// All partitions in order, as the server takes them (lock.c, GetLockStatusData()). ProcArrayLock and
// TwoPhaseStateLock come before them.
inline void acquire_partitions() {
	for (int i = 0; i < NUM_LOCK_PARTITIONS; ++i)
		LWLockAcquire(LockHashPartitionLockByIndex(i), LW_SHARED);
}

inline void release_partitions() {
	for (int i = NUM_LOCK_PARTITIONS - 1; i >= 0; --i)
		LWLockRelease(LockHashPartitionLockByIndex(i));
}

// As SetLocktagRelationOid() in lmgr.c.
inline LOCKTAG relation_tag(Oid relation) {
	LOCKTAG tag;
	SET_LOCKTAG_RELATION(tag, IsSharedRelation(relation) ? InvalidOid : MyDatabaseId, relation);
	return tag;
}

// Whether two processes are of one lock group. The partitions are held.
inline bool same_group(const PGPROC* a, const PGPROC* b) {
	return a == b || (a->lockGroupLeader != nullptr && a->lockGroupLeader == b->lockGroupLeader);
}

} // namespace unblock::server
