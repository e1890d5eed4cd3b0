// The server's headers, in the only order that works, and every difference
// between its versions.
//
// Standard and core headers come first: postgres.h redefines names of the C
// library. The rest of the code includes this file and tests no version.
#pragma once

#include "../core/check.h"
#include "../core/clock.h"
#include "../core/graph_text.h"
#include "../core/horizon.h"
#include "../core/in_the_way.h"
#include "../core/next_limit.h"
#include "../core/policy.h"
#include "../core/remedy.h"
#include "../core/render.h"
#include "../core/statement_trail.h"
#include "../core/statement_waits.h"
#include "../core/text.h"
#include "../core/trail_slice.h"
#include "../core/wait_graph.h"

#include <algorithm>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

extern "C" {
#include "postgres.h"

// Up to 15 the server marks entry points for Windows only; we hide all other symbols.
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

// libpq/libpq-be.h wants Kerberos headers that the server's development package does not bring along. It
// keeps its structs the same without them ("for extension ABI compatibility").
#if defined(ENABLE_GSS) && !__has_include(<gssapi/gssapi.h>) && !__has_include(<gssapi.h>)
#undef ENABLE_GSS
#endif

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/partition.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/int.h"
#include "common/ip.h"
#include "executor/executor.h"
#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "pgstat.h"
#include "parser/scansup.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inet.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/queryjumble.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

#if PG_VERSION_NUM < 150000
#error "pg_unblock needs PostgreSQL 15 or newer"
#elif PG_VERSION_NUM >= 160000
#error "this version of pg_unblock does not know this PostgreSQL yet: it supports 15"
#endif

namespace unblock::server::compat {

// --- processes ---------------------------------------------------------------------------------------

// Processes that can have a slot: everything but auxiliary processes and prepared transactions.
inline int backend_count() {
	return MaxBackends;
}

// Entries of the process array, without and with the dummies of prepared transactions, which follow the
// others (proc.c, InitProcGlobal).
inline int process_count() {
	return static_cast<int>(ProcGlobal->allProcCount);
}
inline int process_and_prepared_count() {
	return process_count() + max_prepared_xacts;
}

inline int number_of(const PGPROC* proc) {
	return static_cast<int>(proc - ProcGlobal->allProcs);
}
inline PGPROC* proc_at(int number) {
	return &ProcGlobal->allProcs[number];
}
inline int my_number() {
	return number_of(MyProc);
}

inline LocalTransactionId local_xid(const PGPROC* proc) {
	return proc->lxid;
}

// A virtual transaction id as a pair that can be compared: of the transaction of this process that has this
// local id, and as lock.c hands them out.
using VirtualXid = std::pair<int, LocalTransactionId>;
inline VirtualXid virtual_xid(const PGPROC* proc, LocalTransactionId local) {
	return {proc->backendId, local};
}
inline VirtualXid virtual_xid(const VirtualTransactionId& id) {
	return {id.backendId, id.localTransactionId};
}

// Calls visit(PGPROC*) for each process of a lock group, its leader included. The partition locks are held.
// (ilist.h's own macros for this do not compile as C++.)
template <class Visit>
void each_group_member(PGPROC* leader, Visit visit) {
	const dlist_node* head = &leader->lockGroupMembers.head;
	for (dlist_node* node = head->next; node != head; node = node->next)
		visit(reinterpret_cast<PGPROC*>(reinterpret_cast<char*>(node) - offsetof(PGPROC, lockGroupLink)));
}

// --- backend status ----------------------------------------------------------------------------------

// Index of a backend's entry in the status array: its backend id less one; -1 before it has one. Auxiliary
// processes are filed behind all backends, even the startup process of a standby, which has a backend id
// too (backend_status.c, pgstat_beinit; sinvaladt.c, SharedInvalBackendInit).
inline int status_index(const PGPROC* proc) {
	return proc->backendId == InvalidBackendId ? -1 : proc->backendId - 1;
}

// The whole array: the server keeps it private, but every process knows its own entry and index.
// nullptr in a process that has no entry of its own.
inline PgBackendStatus* status_array() {
	if (MyBEEntry == nullptr || MyBackendId == InvalidBackendId)
		return nullptr;
	return MyBEEntry - (MyBackendId - 1);
}
inline int status_count() {
	return MaxBackends + NUM_AUXPROCTYPES;
}

// --- lock manager ------------------------------------------------------------------------------------

// A process's lock on its own virtual transaction, in the fast path. fpInfoLock is held.
inline LOCKTAG fastpath_virtual_transaction(const PGPROC* proc) {
	LOCKTAG tag;
	SET_LOCKTAG_VIRTUALTRANSACTION(tag, (VirtualTransactionId{proc->backendId, proc->fpLocalTransactionId}));
	return tag;
}

// Calls visit(PROCLOCK*) for the holders and waiters of a lock until it returns false.
template <class Visit>
void each_proclock_of_lock(LOCK* lock, Visit visit) {
	SHM_QUEUE* queue = &lock->procLocks;
	auto* entry =
	    static_cast<PROCLOCK*>(static_cast<void*>(SHMQueueNext(queue, queue, offsetof(PROCLOCK, lockLink))));
	while (entry != nullptr && visit(entry))
		entry = static_cast<PROCLOCK*>(
		    static_cast<void*>(SHMQueueNext(queue, &entry->lockLink, offsetof(PROCLOCK, lockLink))));
}

// Calls visit(PROCLOCK*) for each lock that a process holds or awaits, in one partition.
template <class Visit>
void each_proclock_of_proc(PGPROC* proc, int partition, Visit visit) {
	SHM_QUEUE* queue = &proc->myProcLocks[partition];
	auto* entry =
	    static_cast<PROCLOCK*>(static_cast<void*>(SHMQueueNext(queue, queue, offsetof(PROCLOCK, procLink))));
	while (entry != nullptr) {
		visit(entry);
		entry = static_cast<PROCLOCK*>(
		    static_cast<void*>(SHMQueueNext(queue, &entry->procLink, offsetof(PROCLOCK, procLink))));
	}
}

// Calls visit(PGPROC*) for each process in a lock's queue, first in line first.
template <class Visit>
void each_waiter(LOCK* lock, Visit visit) {
	auto* proc = reinterpret_cast<PGPROC*>(lock->waitProcs.links.next);
	for (int i = 0; i < lock->waitProcs.size; ++i) {
		visit(proc);
		proc = reinterpret_cast<PGPROC*>(proc->links.next);
	}
}
inline PGPROC* first_waiter(LOCK* lock) {
	return lock->waitProcs.size == 0 ? nullptr : reinterpret_cast<PGPROC*>(lock->waitProcs.links.next);
}
inline int waiter_count(const LOCK* lock) {
	return lock->waitProcs.size;
}

// Calls visit(relation, modes) for each relation that a process has locked by the fast path, and once
// with InvalidOid for its own virtual transaction. Takes fpInfoLock. Layout: lock.c, FAST_PATH_GET_BITS.
template <class Visit>
void each_fastpath_lock(PGPROC* proc, Visit visit) {
	constexpr int bits_per_slot = 3;
	LWLockAcquire(&proc->fpInfoLock, LW_SHARED);
	for (int slot = 0; slot < FP_LOCK_SLOTS_PER_BACKEND; ++slot) {
		const auto bits = (proc->fpLockBits >> (bits_per_slot * slot)) & ((1U << bits_per_slot) - 1U);
		if (bits != 0)
			visit(proc->fpRelId[slot], static_cast<core::ModeMask>(bits << 1));
	}
	if (proc->fpVXIDLock)
		visit(InvalidOid, core::bit(core::LockMode::exclusive));
	LWLockRelease(&proc->fpInfoLock);
}

// Whether this process holds the lock in this mode. Looks into its own table of locks only.
inline bool holds(const LOCKTAG& tag, LOCKMODE mode) {
	return LockHeldByMe(&tag, mode);
}

// --- statements --------------------------------------------------------------------------------------

// What a statement may do with a relation, as the parser has found.
inline AclMode permissions_on(const PlannedStmt*, const RangeTblEntry* entry) {
	return entry->requiredPerms;
}

// Walks a query and what is inside it, range table entries first (nodeFuncs.h).
using Walker = bool (*)(Node* node, void* context);
inline bool walk_query(Query* query, Walker walker, void* context) {
	return query_tree_walker(query, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)),
	                         context, QTW_EXAMINE_RTES_BEFORE);
}
inline bool walk_expression(Node* node, Walker walker, void* context) {
	return expression_tree_walker(node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)),
	                              context);
}

// Whether a foreign key is checked by a query of its own, which runs through the executor.
constexpr bool kForeignKeysAreQueries = true;

// The arguments of a hook as they are handed on: ExecutorRun_hook_type, ProcessUtility_hook_type.
#define UNBLOCK_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define UNBLOCK_RUN_ARGUMENTS query, direction, count, execute_once
#define UNBLOCK_UTILITY_PARAMETERS                                                                           \
	PlannedStmt *statement, const char *text, bool read_only_tree, ProcessUtilityContext context,            \
	    ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *receiver,                     \
	    QueryCompletion *completion
#define UNBLOCK_UTILITY_ARGUMENTS                                                                            \
	statement, text, read_only_tree, context, parameters, environment, receiver, completion

// --- replication slots ------------------------------------------------------------------------------

// Whether a slot has lost what it reserved, and holds back nothing any more (slot.c,
// ReplicationSlotsComputeRequiredXmin). Its mutex is held.
inline bool is_invalidated(const ReplicationSlot* slot) {
	return !XLogRecPtrIsInvalid(slot->data.invalidated_at) && XLogRecPtrIsInvalid(slot->data.restart_lsn);
}

// --- settings ----------------------------------------------------------------------------------------

// Memory for a check hook's `extra`, which the server frees.
inline void* guc_extra(std::size_t size) {
	return malloc(size);
}

// --- workers -----------------------------------------------------------------------------------------

inline int recorder_flags() {
	return BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
}

// --- wait events -------------------------------------------------------------------------------------

inline uint32 enforcer_wait_event() {
	return PG_WAIT_EXTENSION;
}
inline uint32 action_wait_event() {
	return PG_WAIT_EXTENSION;
}

} // namespace unblock::server::compat
