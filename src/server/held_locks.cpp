// Walks the lock lists of single processes, fast-path arrays first.
//
// Fast-path locks move to the main table, never back while they are held;
// reading them first can count one twice but misses none (lock.c,
// GetLockStatusData(), does the same). All partitions are locked at once: one
// after the other, a process that goes on meanwhile could seem to await two
// locks.

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

// Calls visit(LOCKTAG, modes) for each lock that a process holds by the fast path.
template <class Visit>
void each_fastpath_tag(PGPROC* proc, Visit visit) {
	compat::each_fastpath_lock(proc, [&](Oid relation, core::ModeMask modes) {
		LOCKTAG tag;
		if (OidIsValid(relation))
			SET_LOCKTAG_RELATION(tag, proc->databaseId, relation);
		else
			tag = compat::fastpath_virtual_transaction(proc);
		visit(tag, modes);
	});
}

template <class Visit>
void each_proclock(PGPROC* proc, Visit visit) {
	for (int partition = 0; partition < NUM_LOCK_PARTITIONS; ++partition)
		compat::each_proclock_of_proc(proc, partition, visit);
}

void acquire_partitions() {
	for (int partition = 0; partition < NUM_LOCK_PARTITIONS; ++partition)
		LWLockAcquire(LockHashPartitionLockByIndex(partition), LW_SHARED);
}

void release_partitions() {
	for (int partition = NUM_LOCK_PARTITIONS - 1; partition >= 0; --partition)
		LWLockRelease(LockHashPartitionLockByIndex(partition));
}

// --- each lock of one process ------------------------------------------------------------------------

constexpr int kFirstCapacity = 256;

struct Entries {
	LockEntry* entries;
	int capacity;
	int count; // goes on beyond the capacity
};

void append(Entries& list, const LockEntry& entry) {
	if (list.count < list.capacity)
		list.entries[list.count] = entry;
	++list.count;
}

bool same_group(const PGPROC* a, const PGPROC* b) {
	return a == b || (a->lockGroupLeader != nullptr && a->lockGroupLeader == b->lockGroupLeader);
}

// Processes in a lock's queue that a mode keeps waiting; for a request, those behind it only.
int count_waiters(LOCK* lock, const PGPROC* proc, core::LockMode mode, bool granted) {
	int waiters = 0;
	bool counts = granted;
	compat::each_waiter(lock, [&](PGPROC* waiter) {
		const auto wanted = static_cast<core::LockMode>(waiter->waitLockMode);
		if (counts && core::conflict(wanted, core::bit(mode)) && !same_group(waiter, proc))
			++waiters;
		counts = counts || waiter == proc;
	});
	return waiters;
}

void append_proclock(Entries& list, PROCLOCK* proclock) {
	LOCK* lock = proclock->tag.myLock;
	PGPROC* proc = proclock->tag.myProc;
	core::for_each_mode(static_cast<core::ModeMask>(proclock->holdMask), [&](std::size_t number) {
		const auto mode = static_cast<core::LockMode>(number);
		append(list, {lock->tag, mode, true, false, count_waiters(lock, proc, mode, true)});
	});
	if (proc->waitLock == lock) {
		const auto mode = static_cast<core::LockMode>(proc->waitLockMode);
		append(list, {lock->tag, mode, false, false, count_waiters(lock, proc, mode, false)});
	}
}

void append_fastpath(Entries& list, PGPROC* proc) {
	each_fastpath_tag(proc, [&](const LOCKTAG& tag, core::ModeMask modes) {
		core::for_each_mode(modes, [&](std::size_t mode) {
			append(list, {tag, static_cast<core::LockMode>(mode), true, true, 0});
		});
	});
}

// Calls visit(PGPROC*) for the process of a pid, or for each prepared transaction.
template <class Visit>
void each_process(int pid, Visit visit) {
	const int first = pid == 0 ? compat::process_count() : 0;
	const int end = pid == 0 ? compat::process_and_prepared_count() : compat::process_count();
	for (int number = first; number < end; ++number)
		if (PGPROC* proc = compat::proc_at(number); pid == 0 || proc->pid == pid)
			visit(proc);
}

// Nothing in here may allocate or raise.
void copy_locks(Entries& list, int pid) {
	list.count = 0;
	// Prepared transactions hold nothing by the fast path (lock.c, AtPrepare_Locks()), nor is their array's
	// lock ready for use.
	if (pid != 0)
		each_process(pid, [&](PGPROC* proc) { append_fastpath(list, proc); });
	acquire_partitions();
	each_process(pid, [&](PGPROC* proc) {
		each_proclock(proc, [&](PROCLOCK* proclock) { append_proclock(list, proclock); });
	});
	release_partitions();
}

bool same_lock(const LockEntry& a, const LockEntry& b) {
	return a.mode == b.mode && a.granted == b.granted && memcmp(&a.tag, &b.tag, sizeof(LOCKTAG)) == 0;
}

// Locks that moved to the main table in between were seen in both places. There are few fast-path entries,
// and they come first.
void drop_moved(LockEntries& list) {
	LockEntry* end = list.entries + list.count;
	LockEntry* main_table = std::find_if(list.entries, end, [](const LockEntry& e) { return !e.fastpath; });
	LockEntry* kept = std::remove_if(list.entries, main_table, [&](const LockEntry& moved) {
		return std::any_of(main_table, end, [&](const LockEntry& e) { return same_lock(moved, e); });
	});
	list.count = static_cast<int>(std::move(main_table, end, kept) - list.entries);
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
	each_wanted([](HeldLocks& locks, PGPROC* proc) {
		each_fastpath_tag(proc, [&](const LOCKTAG& tag, core::ModeMask modes) { add(locks, tag, modes); });
	});
	acquire_partitions();
	each_wanted([](HeldLocks& locks, PGPROC* proc) {
		each_proclock(proc, [&](PROCLOCK* proclock) {
			add(locks, proclock->tag.myLock->tag, static_cast<core::ModeMask>(proclock->holdMask));
		});
	});
	release_partitions();
	return held;
}

LockEntries read_locks(int pid) {
	Entries list = {nullptr, kFirstCapacity, 0};
	for (;;) {
		list.entries = static_cast<LockEntry*>(
		    palloc_extended(sizeof(LockEntry) * static_cast<Size>(list.capacity), MCXT_ALLOC_HUGE));
		copy_locks(list, pid);
		if (list.count <= list.capacity)
			break;
		CHECK_FOR_INTERRUPTS();
		pfree(list.entries);
		list.capacity = list.count * 2; // more may have come
	}
	LockEntries read = {list.entries, list.count};
	drop_moved(read);
	return read;
}

} // namespace unblock::server
