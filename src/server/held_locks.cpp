// Walks the lock lists of single processes, fast-path arrays first.
//
// Fast-path locks move to the main table, never back while they are held;
// reading them first can count one twice but misses none (lock.c,
// GetLockStatusData(), does the same).

#include "held_locks.h"

namespace unblock::server {

namespace {

int mode_count(core::ModeMask modes) {
	return __builtin_popcount(modes);
}

bool is_better(core::LockMode mode, const LOCKTAG& tag, const HeldLocks& held) {
	if (mode != held.strongest)
		return mode > held.strongest;
	if (tag.locktag_type != LOCKTAG_RELATION || held.tag.locktag_type != LOCKTAG_RELATION)
		return tag.locktag_type == LOCKTAG_RELATION;
	return tag.locktag_field2 < held.tag.locktag_field2; // a table rather than its indexes, which came later
}

void add(HeldLocks& held, const LOCKTAG& tag, core::ModeMask modes) {
	held.count += mode_count(modes);
	const core::LockMode mode = core::strongest(modes);
	// Every transaction holds its own ids exclusively: nothing to tell.
	const bool own_id =
	    tag.locktag_type == LOCKTAG_VIRTUALTRANSACTION || tag.locktag_type == LOCKTAG_TRANSACTION;
	if (!own_id && is_better(mode, tag, held)) {
		held.strongest = mode;
		held.tag = tag;
	}
}

void add_fastpath(HeldLocks& held, PGPROC* proc) {
	compat::each_fastpath_lock(proc, [&](Oid relation, core::ModeMask modes) {
		LOCKTAG tag;
		if (OidIsValid(relation))
			SET_LOCKTAG_RELATION(tag, proc->databaseId, relation);
		else
			SET_LOCKTAG_VIRTUALTRANSACTION(tag, (VirtualTransactionId{InvalidBackendId, 0}));
		add(held, tag, modes);
	});
}

} // namespace

HeldLocks* count_held_locks(const Collected& collected, const bool* wanted) {
	const std::size_t sessions = collected.snapshot.sessions.size();
	auto* held = static_cast<HeldLocks*>(palloc0(sizeof(HeldLocks) * std::max<std::size_t>(sessions, 1)));
	const auto each_wanted = [&](auto visit) {
		for (std::size_t i = 0; i < sessions; ++i) {
			PGPROC* proc = compat::proc_at(collected.details[i].process_number);
			if (wanted[i] && proc->pid == collected.sessions[i].pid)
				visit(held[i], proc);
		}
	};
	each_wanted([](HeldLocks& locks, PGPROC* proc) { add_fastpath(locks, proc); });
	for (int partition = 0; partition < NUM_LOCK_PARTITIONS; ++partition)
		LWLockAcquire(LockHashPartitionLockByIndex(partition), LW_SHARED);
	each_wanted([](HeldLocks& locks, PGPROC* proc) {
		for (int partition = 0; partition < NUM_LOCK_PARTITIONS; ++partition)
			compat::each_proclock_of_proc(proc, partition, [&](PROCLOCK* proclock) {
				add(locks, proclock->tag.myLock->tag, static_cast<core::ModeMask>(proclock->holdMask));
			});
	});
	for (int partition = NUM_LOCK_PARTITIONS - 1; partition >= 0; --partition)
		LWLockRelease(LockHashPartitionLockByIndex(partition));
	return held;
}

} // namespace unblock::server
