// Walks the lock lists of single processes, fast-path arrays first.
//
// Fast-path locks move to the main table, never back while they are held;
// reading them first can count one twice but misses none (lock.c,
// GetLockStatusData(), does the same). All partitions are locked at once: one
// after the other, a process that goes on meanwhile could seem to await two
// locks.

#include "held_locks.h"
#include "lock_table.h"
#include "memory.h"

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

// A prepared transaction has a place in the process array. The server fills and frees such a place with
// TwoPhaseStateLock held (twophase.c, MarkAsPreparing(), RemoveGXact()) and takes partition locks after it.
void acquire_tables(bool with_prepared) {
	if (with_prepared)
		LWLockAcquire(TwoPhaseStateLock, LW_SHARED);
	acquire_partitions();
}

void release_tables(bool with_prepared) {
	release_partitions();
	if (with_prepared)
		LWLockRelease(TwoPhaseStateLock);
}

// --- each lock of one process ------------------------------------------------------------------------

constexpr int kFirstCapacity = 1024;

struct Entries {
	LockEntry* entries;
	int capacity;
	int count; // goes on beyond the capacity

	bool has_room() const { return count < capacity; }
};

void append(Entries& list, const LockEntry& entry) {
	if (list.has_room())
		list.entries[list.count] = entry;
	++list.count;
}

// How many processes wait for a lock, by the mode that they want. The last few locks' are kept: a thousand
// prepared transactions can hold the lock that a thousand sessions await.
class Queues {
public:
	// Those whom `proc` keeps waiting by a mode that it holds, without its own group: one process is looked
	// at, or all prepared transactions, which are in no group and wait for nothing.
	int count(LOCK* lock, const PGPROC* proc, core::LockMode held) {
		Queue& queue = kept_[reinterpret_cast<std::uintptr_t>(lock) / sizeof(LOCK) % kKept];
		if (queue.lock != lock) {
			queue = {lock, {}};
			compat::each_waiter(lock, [&](PGPROC* waiter) {
				if (!same_group(waiter, proc))
					++queue.wanted[waiter->waitLockMode];
			});
		}
		int waiters = 0;
		core::for_each_mode(core::conflicts_of(held),
		                    [&](std::size_t mode) { waiters += queue.wanted[mode]; });
		return waiters;
	}

private:
	struct Queue {
		const LOCK* lock;
		int wanted[core::kLockModes];
	};
	static constexpr std::size_t kKept = 64;
	Queue kept_[kKept] = {};
};

// Processes behind one in a lock's queue that its request keeps waiting.
int count_behind(LOCK* lock, const PGPROC* proc) {
	const auto mode = static_cast<core::LockMode>(proc->waitLockMode);
	int waiters = 0;
	bool behind = false;
	compat::each_waiter(lock, [&](PGPROC* waiter) {
		const auto wanted = static_cast<core::LockMode>(waiter->waitLockMode);
		if (behind && core::conflict(wanted, core::bit(mode)) && !same_group(waiter, proc))
			++waiters;
		behind = behind || waiter == proc;
	});
	return waiters;
}

// What finds no room is looked at again: see read_locks().
void append_proclock(Entries& list, PROCLOCK* proclock, Queues& queues) {
	LOCK* lock = proclock->tag.myLock;
	PGPROC* proc = proclock->tag.myProc;
	core::for_each_mode(static_cast<core::ModeMask>(proclock->holdMask), [&](std::size_t number) {
		const auto mode = static_cast<core::LockMode>(number);
		append(list, {lock->tag, mode, true, false, list.has_room() ? queues.count(lock, proc, mode) : 0});
	});
	if (proc->waitLock == lock) {
		const auto mode = static_cast<core::LockMode>(proc->waitLockMode);
		append(list, {lock->tag, mode, false, false, list.has_room() ? count_behind(lock, proc) : 0});
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
	Queues queues;
	acquire_tables(pid == 0);
	each_process(pid, [&](PGPROC* proc) {
		each_proclock(proc, [&](PROCLOCK* proclock) { append_proclock(list, proclock, queues); });
	});
	release_tables(pid == 0);
}

// By what makes a lock the same one, whatever their order.
bool comes_first(const LockEntry& a, const LockEntry& b) {
	const int tags = memcmp(&a.tag, &b.tag, sizeof(LOCKTAG));
	return tags != 0 ? tags < 0 : std::tie(a.mode, a.granted) < std::tie(b.mode, b.granted);
}

// Locks that moved to the main table in between were seen in both places. Fast-path entries come first.
void drop_moved(LockEntries& list) {
	LockEntry* end = list.entries + list.count;
	LockEntry* main_table = std::find_if(list.entries, end, [](const LockEntry& e) { return !e.fastpath; });
	std::sort(main_table, end, comes_first);
	LockEntry* kept = std::remove_if(list.entries, main_table, [&](const LockEntry& moved) {
		return std::binary_search(main_table, end, moved, comes_first);
	});
	list.count = static_cast<int>(std::move(main_table, end, kept) - list.entries);
}

} // namespace

HeldLocks* count_held_locks(const Collected& collected, const bool* wanted) {
	const std::size_t sessions = collected.snapshot.sessions.size();
	auto* held = allocate<HeldLocks>(sessions, MCXT_ALLOC_ZERO);
	const auto is_prepared = [&](std::size_t i) {
		return collected.sessions[i].kind == core::Kind::prepared;
	};
	const auto process_of = [&](std::size_t i) {
		return compat::proc_at(collected.details[i].process_number);
	};
	bool any_prepared = false;
	for (std::size_t i = 0; i < sessions; ++i) {
		if (!wanted[i])
			continue;
		PGPROC* proc = process_of(i);
		if (is_prepared(i))
			any_prepared = true; // and holds nothing by the fast path
		else if (proc->pid == collected.sessions[i].pid)
			each_fastpath_tag(proc,
			                  [&](const LOCKTAG& tag, core::ModeMask modes) { add(held[i], tag, modes); });
	}
	acquire_tables(any_prepared);
	for (std::size_t i = 0; i < sessions; ++i) {
		if (!wanted[i])
			continue;
		PGPROC* proc = process_of(i);
		const core::Session& session = collected.sessions[i];
		if (is_prepared(i) ? proc->xid == session.xid : proc->pid == session.pid)
			each_proclock(proc, [&](PROCLOCK* proclock) {
				add(held[i], proclock->tag.myLock->tag, static_cast<core::ModeMask>(proclock->holdMask));
			});
	}
	release_tables(any_prepared);
	return held;
}

LockEntries read_locks(int pid) {
	Entries list = {nullptr, kFirstCapacity, 0};
	for (;;) {
		// Zeroed, so that its pages are there before the locks are taken.
		list.entries = allocate<LockEntry>(list.capacity, MCXT_ALLOC_ZERO);
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

// heapam.c, heap_acquire_tuplock(): whoever waits for a row's transaction holds the row's own lock meanwhile,
// and no other row's.
AwaitedRow awaited_row(PGPROC* proc, int pid, const LOCKTAG& awaited) {
	AwaitedRow row = {InvalidOid, core::LockMode::none};
	acquire_partitions();
	const LOCK* lock = proc->waitLock;
	if (proc->pid == pid && lock != nullptr && memcmp(&lock->tag, &awaited, sizeof(LOCKTAG)) == 0)
		each_proclock(proc, [&](PROCLOCK* proclock) {
			const LOCKTAG& tag = proclock->tag.myLock->tag;
			if (tag.locktag_type == LOCKTAG_TUPLE && proclock->holdMask != 0)
				row = {tag.locktag_field2, core::strongest(static_cast<core::ModeMask>(proclock->holdMask))};
		});
	release_partitions();
	return row;
}

namespace {

constexpr int kFirstOwnCapacity = 64;

// Counts on beyond the capacity. Nothing in here may allocate or raise.
int copy_own_relation_locks(RelationLock* locks, int capacity) {
	int count = 0;
	const auto append_own = [&](Oid relation, core::ModeMask modes) {
		if (count < capacity)
			locks[count] = {relation, modes};
		++count;
	};
	compat::each_fastpath_lock(MyProc, [&](Oid relation, core::ModeMask modes) {
		if (OidIsValid(relation))
			append_own(relation, modes);
	});
	for (int partition = 0; partition < NUM_LOCK_PARTITIONS; ++partition) {
		LWLock* lock = LockHashPartitionLockByIndex(partition);
		LWLockAcquire(lock, LW_SHARED);
		compat::each_proclock_of_proc(MyProc, partition, [&](PROCLOCK* proclock) {
			const LOCKTAG& tag = proclock->tag.myLock->tag;
			if (tag.locktag_type == LOCKTAG_RELATION && proclock->holdMask != 0)
				append_own(tag.locktag_field2, static_cast<core::ModeMask>(proclock->holdMask));
		});
		LWLockRelease(lock);
	}
	return count;
}

} // namespace

RelationLocks own_relation_locks() {
	for (int capacity = kFirstOwnCapacity;;) {
		auto* locks = allocate<RelationLock>(capacity);
		const int count = copy_own_relation_locks(locks, capacity);
		if (count <= capacity)
			return {locks, count};
		pfree(locks);
		capacity = count;
	}
}

} // namespace unblock::server
