// The snapshot, in two steps: lock table, then session details.

#include "collect.h"
#include "boundary.h"
#include "lock_table.h"
#include "memory.h"
#include "names.h"
#include "prepared.h"
#include "privileges.h"
#include "process_runs.h"
#include "shared_state.h"

namespace unblock::server {

namespace {

constexpr int kFirstHolderCapacity = 4096;

// All that is read of a process under the partition locks: these few bytes instead of a core::Session, whose
// memory is mostly new to the process, so that they are not held for page faults.
struct Process {
	int number;
	int pid;
	core::Index leader;
	Oid database;
	Oid role;
	TransactionId xid;
	TransactionId xmin;
	LocalTransactionId local_xid;
};

// Arrays of fixed capacity, allocated before any lock is taken. A process awaits one lock at a time and
// appears once, so that only the number of holders is unknown.
struct Arrays {
	Process* processes; // of the sessions, same index
	core::Session* sessions;
	SessionDetails* details;
	core::Index session_count;
	core::Index* session_of_process; // by process number

	core::Waiter* waiters;
	core::Index waiter_count;

	core::Lock* locks;
	LOCKTAG* tags;
	core::Index lock_count;

	core::Holder* holders;
	core::Index holder_capacity;
	core::Index holder_count; // counted on beyond the capacity
};

Arrays& make_arrays() {
	const int processes = compat::process_and_prepared_count();
	Arrays& a = *allocate<Arrays>(1);
	a.processes = allocate<Process>(processes);
	a.sessions = allocate<core::Session>(processes);
	a.details = allocate<SessionDetails>(processes);
	a.session_of_process = allocate<core::Index>(processes);
	a.waiters = allocate<core::Waiter>(processes);
	a.locks = allocate<core::Lock>(processes);
	a.tags = allocate<LOCKTAG>(processes);
	a.holder_capacity = kFirstHolderCapacity;
	a.holders = allocate<core::Holder>(kFirstHolderCapacity);
	return a;
}

// The enforcer's, made once: memory that is new at each look would cost it more than its reading does.
Arrays& kept_arrays() {
	static Arrays* kept = nullptr;
	if (kept == nullptr) {
		const MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
		kept = &make_arrays();
		MemoryContextSwitchTo(before);
	}
	return *kept;
}

void clear(Arrays& a) {
	a.session_count = a.waiter_count = a.lock_count = a.holder_count = 0;
	std::fill_n(a.session_of_process, compat::process_and_prepared_count(), core::kNone);
}

// The index of a process's session, given at its first mention. Under the partition locks, or without for
// processes whose identity is compared later.
core::Index session_of(Arrays& a, PGPROC* proc) {
	const int number = compat::number_of(proc);
	core::Index& index = a.session_of_process[number];
	if (index == core::kNone) {
		index = a.session_count++;
		a.processes[index] = {number,       proc->pid, index,      proc->databaseId,
		                      proc->roleId, proc->xid, proc->xmin, compat::local_xid(proc)};
	}
	return index;
}

// The same with its lock group. The partition locks guard lockGroupLeader (proc.h).
core::Index member_of(Arrays& a, PGPROC* proc) {
	const core::Index index = session_of(a, proc);
	if (proc->lockGroupLeader != nullptr)
		a.processes[index].leader = session_of(a, proc->lockGroupLeader);
	return index;
}

void copy_lock(Arrays& a, LOCK* lock) {
	const core::Index index = a.lock_count++;
	core::Lock& copy = *new (&a.locks[index]) core::Lock;
	a.tags[index] = lock->tag;
	copy.advisory = lock->tag.locktag_type == LOCKTAG_ADVISORY;
	copy.first_holder = a.holder_count;
	// Those who only wait have entries too, most of them behind the holders', scattered over the lock table:
	// the walk ends with the last grant. GrantLock() in lock.c counts each mode of each holder once.
	int grants_left = lock->nGranted;
	compat::each_proclock_of_lock(lock, [&](PROCLOCK* proclock) {
		if (grants_left == 0)
			return false;
		if (proclock->holdMask == 0)
			return true;
		grants_left -= std::popcount(static_cast<core::ModeMask>(proclock->holdMask));
		const core::Index session = member_of(a, proclock->tag.myProc);
		if (a.holder_count < a.holder_capacity)
			a.holders[a.holder_count] = {session, static_cast<core::ModeMask>(proclock->holdMask)};
		++a.holder_count;
		return true;
	});
	copy.holders = a.holder_count - copy.first_holder;
	copy.first_waiter = a.waiter_count;
	compat::each_waiter(lock, [&](PGPROC* proc) {
		const core::Index session = member_of(a, proc);
		a.waiters[a.waiter_count++] = {session, index, static_cast<core::LockMode>(proc->waitLockMode),
		                               static_cast<core::Time>(pg_atomic_read_u64(&proc->waitStart))};
	});
	copy.waiters = a.waiter_count - copy.first_waiter;
}

// A prefetch would be no more than a hint, which processors do not follow where the page is unknown to them.
void touch(const void* memory) {
	static_cast<void>(*static_cast<const volatile char*>(memory));
}

// Brings the fields of waiting processes into the processor's cache. With a thousand of them the locks would
// be held for that rather than for the copying. What is read here without locks is not used.
void warm_up_waiters() {
	for (int number = 0; number < compat::process_count(); ++number) {
		const PGPROC* proc = compat::proc_at(number);
		if (proc->waitLock == nullptr)
			continue;
		touch(compat::queue_link(proc));
		touch(&proc->xid);
		touch(&proc->roleId);
		touch(&proc->waitStart);
		touch(&proc->lockGroupLeader);
	}
}

// Nothing in here may allocate or raise.
void copy_awaited_locks(Arrays& a) {
	acquire_partitions();
	for (int number = 0; number < compat::process_count(); ++number) {
		PGPROC* proc = compat::proc_at(number);
		if (proc->waitLock != nullptr && compat::first_waiter(proc->waitLock) == proc)
			copy_lock(a, proc->waitLock);
	}
	release_partitions();
}

uint64 microseconds_since(core::Micros start) {
	return static_cast<uint64>(monotonic_now() - start);
}

// Returns the time that the last attempt held the partition locks, in µs.
uint64 read_lock_table(Arrays& a) {
	for (;;) {
		clear(a);
		warm_up_waiters();
		const core::Micros start = monotonic_now();
		copy_awaited_locks(a);
		const uint64 held = microseconds_since(start);
		if (a.holder_count <= a.holder_capacity)
			return held;
		CHECK_FOR_INTERRUPTS();
		const core::Index capacity = a.holder_count * 2; // more may have come
		a.holders = static_cast<core::Holder*>(repalloc_huge(a.holders, sizeof(core::Holder) * capacity));
		a.holder_capacity = capacity;
	}
}

core::Session& make_session(Arrays& a, core::Index index) {
	const Process& process = a.processes[index];
	core::Session& session = *new (&a.sessions[index]) core::Session;
	session.pid = process.pid;
	session.leader = process.leader;
	session.database = process.database;
	session.role = process.role;
	session.xid = process.xid;
	session.xmin = process.xmin;
	session.local_xid = process.local_xid;
	// Not by its pid: a process that is exiting while others of its group go on has pid 0 too.
	if (process.number >= compat::process_count())
		session.kind = core::Kind::prepared;
	SessionDetails& details = a.details[index];
	details.process_number = process.number;
	details.has_status = false;
	details.wait_event = 0;
	return session;
}

core::Kind kind_of(BackendType type, bool has_other_leader) {
	switch (type) {
	case B_BACKEND:
		return core::Kind::client;
	case B_BG_WORKER:
		return has_other_leader ? core::Kind::worker : core::Kind::background;
	case B_AUTOVAC_WORKER:
		return core::Kind::autovacuum;
	case B_WAL_SENDER:
		return core::Kind::walsender;
	case B_STARTUP:
		return core::Kind::startup;
	default:
		return core::Kind::background;
	}
}

// Whether the status may tell of another transaction than that whose locks were read since `moment`: a remedy
// would hit that one. A transaction's number is set before the status tells of it, and cleared before its
// locks are released (xact.c). Without a number, what a session does must be what it did before.
bool has_gone_on(const PGPROC* proc, const Process& process, const Status& status, TimestampTz moment) {
	const LocalTransactionId now = compat::local_xid(proc);
	return now != process.local_xid || (now == InvalidLocalTransactionId && status.state_start > moment);
}

void forget_transaction(Status& status, const StatusTexts* texts) {
	status.state = STATE_UNDEFINED;
	status.xact_start = status.query_start = status.state_start = 0;
	status.query_id = 0;
	if (texts != nullptr)
		texts->query[0] = '\0';
}

// Sessions that are in a transaction, or that may be: with track_activities off nobody knows.
bool may_be_in_transaction(const Status& status) {
	return status.state == STATE_DISABLED || status.xact_start != 0 ||
	       status.state == STATE_IDLEINTRANSACTION || status.state == STATE_IDLEINTRANSACTION_ABORTED;
}

// Processes of the lock table get their details; client sessions in a transaction join them.
void read_details(Arrays& a, TimestampTz moment, const StatusTexts* texts,
                  void (*take_texts)(core::Session&, const StatusTexts&)) {
	Status status;
	for (core::Index i = 0; i < a.session_count; ++i) {
		core::Session& session = make_session(a, i);
		PGPROC* proc = compat::proc_at(a.details[i].process_number);
		if (session.kind == core::Kind::prepared || !read_status(proc, session.pid, &status, texts))
			continue;
		if (has_gone_on(proc, a.processes[i], status, moment))
			forget_transaction(status, texts);
		apply_status(session, a.details[i], status, session.leader != i);
		if (texts != nullptr)
			take_texts(session, *texts);
	}
	for (int number = 0; number < compat::backend_count(); ++number) {
		if (a.session_of_process[number] != core::kNone)
			continue;
		PGPROC* proc = compat::proc_at(number);
		const int pid = proc->pid;
		if (pid == 0 || !read_status(proc, pid, &status, nullptr) || status.type != B_BACKEND ||
		    !may_be_in_transaction(status))
			continue;
		if (texts != nullptr && !read_status(proc, pid, &status, texts))
			continue;
		const core::Index index = session_of(a, proc);
		make_session(a, index).pid = pid;
		apply_status(a.sessions[index], a.details[index], status, a.sessions[index].leader != index);
		if (texts != nullptr)
			take_texts(a.sessions[index], *texts);
	}
}

// What the enforcer remembers of this very transaction and statement.
void apply_account(core::Session& session, SessionSlot* slot) {
	Account account;
	if (!read_account(slot, &account))
		return;
	if (session.xact_start != 0 && account.xact_start == session.xact_start) {
		session.blocking_idle_counted = account.blocking_idle.sum;
		session.blocking_idle_until = account.blocking_idle.until;
	}
	if (session.query_start != 0 && account.query_start == session.query_start) {
		session.blocked_before = account.blocked_before;
		session.counted_blocked_before = account.counted_blocked_before;
	}
}

void apply_limits(Arrays& a, const InForce& file) {
	const auto file_mode = static_cast<core::Mode>(file.values[kSettingMode]);
	for (core::Index i = 0; i < a.session_count; ++i) {
		core::Session& session = a.sessions[i];
		SessionSlot* slot = slot_of(a.details[i].process_number, session.pid);
		InForce own;
		effective_values(slot, session.pid, file, own);
		session.limits = limits_from(own.values, file_mode);
		if (slot != nullptr)
			apply_account(session, slot);
	}
}

// --- for the enforcer --------------------------------------------------------------------------------

// Whether it matters if the session waits for its client. `preempted`: somebody could make it give way.
bool has_idle_limit(const core::Limits& limits, bool preempted) {
	return preempted || limits.idle_in_transaction != 0 || limits.idle_write_transaction != 0 ||
	       limits.idle_blocker != 0 || limits.horizon_age != 0;
}

// A statement that waits for its client may be one that nobody attends to: whether its process runs at
// all tells.
void read_runs(Arrays& a) {
	const bool preempted =
	    std::any_of(a.waiters, a.waiters + a.waiter_count, [&a](const core::Waiter& waiter) {
		    return a.sessions[waiter.session].limits.preempt_idle_blockers_after != 0;
	    });
	for (core::Index i = 0; i < a.session_count; ++i) {
		core::Session& session = a.sessions[i];
		const bool waits_for_client =
		    session.wait == core::Wait::client_read || session.wait == core::Wait::client_write;
		if (session.kind == core::Kind::client && session.state == core::State::active && waits_for_client &&
		    has_idle_limit(session.limits, preempted))
			session.runs = process_runs(session.pid);
	}
}

// --- for reports -------------------------------------------------------------------------------------

void take_texts(core::Session& session, const StatusTexts& texts) {
	session.application_name = pstrdup(texts.application_name);
	// A session of another database may have sent what is no text in this one's encoding.
	char* query = pgstat_clip_activity(texts.query);
	make_valid(query);
	session.query = query;
}

void name_sessions(Arrays& a, const Names& names) {
	for (core::Index i = 0; i < a.session_count; ++i) {
		core::Session& session = a.sessions[i];
		SessionSlot* slot = slot_of(a.details[i].process_number, session.pid);
		const SessionNames found = session_names(names, slot, session.pid, session.database, session.role);
		session.datname = view(found.database);
		session.usename = view(found.role);
	}
}

void mask_sessions(Arrays& a, const Names& names) {
	for (core::Index i = 0; i < a.session_count; ++i) {
		core::Session& session = a.sessions[i];
		session.masked = session.kind != core::Kind::prepared && !may_see(names, session.role);
		if (session.masked)
			session.query = "<insufficient privilege>";
	}
}

} // namespace

SessionNames session_names(const Names& names, SessionSlot* slot, int pid, Oid database, Oid role) {
	SessionNames found = {database_name(names, database), role_name(names, role)};
	NameData slot_role, slot_database;
	if ((found.database == nullptr || found.role == nullptr) && slot != nullptr &&
	    copy_names(slot, pid, &slot_role, &slot_database)) {
		make_valid(NameStr(slot_database));
		make_valid(NameStr(slot_role));
		if (found.database == nullptr)
			found.database = pstrdup(NameStr(slot_database));
		if (found.role == nullptr)
			found.role = pstrdup(NameStr(slot_role));
	}
	return found;
}

void apply_status(core::Session& session, SessionDetails& details, const Status& status, bool helps) {
	details.has_status = true;
	details.status = status;
	details.wait_event = compat::proc_at(details.process_number)->wait_event_info;
	session.kind = kind_of(status.type, helps);
	session.state = state_of(status);
	session.wait = wait_of(details.wait_event);
	session.backend_start = status.backend_start;
	session.xact_start = status.xact_start;
	session.query_start = status.query_start;
	session.state_start = status.state_start;
	session.idle_since = status.state_start;
	session.xact_since = status.xact_start;
	session.database = status.database;
	session.role = status.role;
}

Collected* collect(Purpose purpose) {
	const core::Micros start = monotonic_now();
	const bool reporting = purpose == Purpose::reporting;
	const bool enforcing = purpose == Purpose::enforcing;
	Arrays& a = enforcing ? kept_arrays() : make_arrays();
	const StatusTexts texts = reporting ? make_status_texts() : StatusTexts{};
	auto* collected = allocate<Collected>(1, MCXT_ALLOC_ZERO);

	// The moment of the snapshot is before the first look: what is seen waiting or idle afterwards has
	// been so at least until then, so that no time is counted that has not passed.
	collected->snapshot.now = GetCurrentTimestamp();
	collected->monotonic = monotonic_now();
	const TransactionId next_xid =
	    ReadNextTransactionId(); // nobody looks older for those who begin meanwhile
	collected->partition_time = read_lock_table(a);
	read_details(a, collected->snapshot.now, reporting ? &texts : nullptr, take_texts);
	if (!enforcing) // the enforcer's clock knows more
		core::forget_earlier_waits({a.sessions, a.session_count}, {a.waiters, a.waiter_count});

	InForce file;
	if (enforcing)
		current_values(file);
	else
		file_values(file);
	apply_limits(a, file);

	if (reporting) {
		const Names names = open_names();
		fill_prepared(a.sessions, a.session_count);
		name_sessions(a, names);
		for (core::Index i = 0; i < a.lock_count; ++i)
			a.locks[i].label = lock_label(names, a.tags[i]);
		mask_sessions(a, names);
		close_names(names);
	} else if (enforcing)
		read_runs(a);
	for (core::Index i = 0; i < a.lock_count; ++i) {
		a.locks[i].database = lock_database(a.tags[i]);
		a.locks[i].relation = lock_relation(a.tags[i]);
	}

	collected->sessions = a.sessions;
	collected->waiters = a.waiters;
	collected->locks = a.locks;
	collected->details = a.details;
	collected->tags = a.tags;
	collected->snapshot.sessions = {a.sessions, a.session_count};
	collected->snapshot.locks = {a.locks, a.lock_count};
	collected->snapshot.holders = {a.holders, a.holder_count};
	collected->snapshot.waiters = {a.waiters, a.waiter_count};
	collected->snapshot.next_xid = next_xid;
	collected->total_time = microseconds_since(start);
	return collected;
}

core::WaitGraph& graph_of(const Collected& collected) {
	auto* graph = Owned<core::WaitGraph>::in(CurrentMemoryContext);
	const core::Snapshot* snapshot = &collected.snapshot;
	core_phase([graph, snapshot] { graph->make(*snapshot); });
	return **graph;
}

} // namespace unblock::server
