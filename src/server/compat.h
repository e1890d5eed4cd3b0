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
#include "../core/wait_starts.h"

#include <algorithm>
#include <exception>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

extern "C" {
#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "pg_unblock needs PostgreSQL 15 or newer"
#elif PG_VERSION_NUM >= 200000
#error "this version of pg_unblock does not know this PostgreSQL yet: it supports 15 to 19"
#endif

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
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#else
#include "utils/queryjumble.h"
#endif
}

// The module's magic block: from 18 on it tells name and version, which pg_get_loaded_modules() shows.
#if PG_VERSION_NUM >= 180000
#define UNBLOCK_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "pg_unblock", .version = PG_UNBLOCK_VERSION)
#else
#define UNBLOCK_MODULE_MAGIC PG_MODULE_MAGIC
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
#if PG_VERSION_NUM >= 170000
	return proc->vxid.lxid;
#else
	return proc->lxid;
#endif
}

// A virtual transaction id as a pair that can be compared: of the transaction of this process that has this
// local id, and as lock.c hands them out.
using VirtualXid = std::pair<int, LocalTransactionId>;
inline VirtualXid virtual_xid(const VirtualTransactionId& id) {
#if PG_VERSION_NUM >= 170000
	return {id.procNumber, id.localTransactionId};
#else
	return {id.backendId, id.localTransactionId};
#endif
}
inline VirtualTransactionId virtual_transaction(const PGPROC* proc, LocalTransactionId local) {
#if PG_VERSION_NUM >= 170000
	return {proc->vxid.procNumber, local};
#else
	return {proc->backendId, local};
#endif
}
inline VirtualXid virtual_xid(const PGPROC* proc, LocalTransactionId local) {
	return virtual_xid(virtual_transaction(proc, local));
}

// The element of a list whose link stands at this offset in it. (ilist.h's own macros for this do not compile
// as C++.)
template <class Element>
Element* element_of(const void* link, std::size_t offset) {
	return static_cast<Element*>(static_cast<void*>(static_cast<char*>(const_cast<void*>(link)) - offset));
}

// Calls visit(PGPROC*) for each process of a lock group, its leader included. The partition locks are held.
template <class Visit>
void each_group_member(PGPROC* leader, Visit visit) {
	const dlist_node* head = &leader->lockGroupMembers.head;
	for (const dlist_node* node = head->next; node != head; node = node->next)
		visit(element_of<PGPROC>(node, offsetof(PGPROC, lockGroupLink)));
}

// --- backend status ----------------------------------------------------------------------------------

#if PG_VERSION_NUM >= 170000

// Index of a process's entry in the status array: its number in the process array (backend_status.c,
// pgstat_beinit).
inline int status_index(const PGPROC* proc) {
	return number_of(proc);
}

// The whole array: the server keeps it private, but every process knows its own entry and index.
// nullptr in a process that has no entry of its own.
inline PgBackendStatus* status_array() {
	return MyBEEntry == nullptr ? nullptr : MyBEEntry - MyProcNumber;
}
inline int status_count() {
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

#else

// Up to 16 it is its backend id less one; -1 before it has one. Auxiliary processes are filed behind all
// backends, even the startup process of a standby, which has a backend id too (backend_status.c,
// pgstat_beinit; sinvaladt.c, SharedInvalBackendInit).
inline int status_index(const PGPROC* proc) {
	return proc->backendId == InvalidBackendId ? -1 : proc->backendId - 1;
}
inline PgBackendStatus* status_array() {
	if (MyBEEntry == nullptr || MyBackendId == InvalidBackendId)
		return nullptr;
	return MyBEEntry - (MyBackendId - 1);
}
inline int status_count() {
	return MaxBackends + NUM_AUXPROCTYPES;
}

#endif

// --- lock manager ------------------------------------------------------------------------------------

// A process's lock on its own virtual transaction, in the fast path. fpInfoLock is held.
inline LOCKTAG fastpath_virtual_transaction(const PGPROC* proc) {
	LOCKTAG tag;
	SET_LOCKTAG_VIRTUALTRANSACTION(tag, virtual_transaction(proc, proc->fpLocalTransactionId));
	return tag;
}

// The lists of locks, which became dlists with 16.
#if PG_VERSION_NUM >= 160000

using LockList = dlist_head;
using Link = dlist_node;
inline const Link* first_link(const LockList& list) {
	return list.head.next;
}
inline bool is_end(const LockList& list, const Link* link) {
	return link == &list.head;
}
inline const LockList& waiters_of(const LOCK* lock) {
	return lock->waitProcs.dlist;
}
inline int waiter_count(const LOCK* lock) {
	return static_cast<int>(lock->waitProcs.count);
}

#else

using LockList = SHM_QUEUE;
using Link = SHM_QUEUE;
inline const Link* first_link(const LockList& list) {
	return list.next;
}
inline bool is_end(const LockList& list, const Link* link) {
	return link == &list;
}
inline const LockList& waiters_of(const LOCK* lock) {
	return lock->waitProcs.links;
}
inline int waiter_count(const LOCK* lock) {
	return lock->waitProcs.size;
}

#endif

// Where a process stands in the queue of the lock that it awaits.
#if PG_VERSION_NUM >= 190000
constexpr std::size_t kQueueLink = offsetof(PGPROC, waitLink);
#else
constexpr std::size_t kQueueLink = offsetof(PGPROC, links);
#endif
inline const Link* queue_link(const PGPROC* proc) {
	return static_cast<const Link*>(
	    static_cast<const void*>(reinterpret_cast<const char*>(proc) + kQueueLink));
}

// Calls visit(PROCLOCK*) for the holders and waiters of a lock until it returns false.
template <class Visit>
void each_proclock_of_lock(LOCK* lock, Visit visit) {
	const LockList& list = lock->procLocks;
	const Link* link = first_link(list);
	while (!is_end(list, link) && visit(element_of<PROCLOCK>(link, offsetof(PROCLOCK, lockLink))))
		link = link->next;
}

// Calls visit(PROCLOCK*) for each lock that a process holds or awaits, in one partition.
template <class Visit>
void each_proclock_of_proc(PGPROC* proc, int partition, Visit visit) {
	const LockList& list = proc->myProcLocks[partition];
	for (const Link* link = first_link(list); !is_end(list, link); link = link->next)
		visit(element_of<PROCLOCK>(link, offsetof(PROCLOCK, procLink)));
}

// Calls visit(PGPROC*) for each process in a lock's queue, first in line first.
template <class Visit>
void each_waiter(LOCK* lock, Visit visit) {
	const LockList& list = waiters_of(lock);
	for (const Link* link = first_link(list); !is_end(list, link); link = link->next)
		visit(element_of<PGPROC>(link, kQueueLink));
}
inline PGPROC* first_waiter(LOCK* lock) {
	return waiter_count(lock) == 0 ? nullptr : element_of<PGPROC>(first_link(waiters_of(lock)), kQueueLink);
}

// Relations that a process can lock by the fast path, and the words of bits that tell in which modes.
#if PG_VERSION_NUM >= 180000
inline int fastpath_slots() {
	return FastPathLockSlotsPerBackend();
}
inline uint64 fastpath_bits(const PGPROC* proc, int word) {
	return proc->fpLockBits[word];
}
#else
inline int fastpath_slots() {
	return FP_LOCK_SLOTS_PER_BACKEND;
}
inline uint64 fastpath_bits(const PGPROC* proc, int) {
	return proc->fpLockBits;
}
#endif

// Calls visit(relation, modes) for each relation that a process has locked by the fast path, and once
// with InvalidOid for its own virtual transaction. Takes fpInfoLock. Layout: lock.c, FAST_PATH_GET_BITS.
template <class Visit>
void each_fastpath_lock(PGPROC* proc, Visit visit) {
	constexpr int slots_per_word = 16;
	constexpr int bits_per_slot = 3;
	LWLockAcquire(&proc->fpInfoLock, LW_SHARED);
	for (int word = 0; word < fastpath_slots() / slots_per_word; ++word) {
		int slot = word * slots_per_word;
		for (uint64 rest = fastpath_bits(proc, word); rest != 0; rest >>= bits_per_slot, ++slot) {
			const auto bits = rest & ((1U << bits_per_slot) - 1U);
			if (bits != 0)
				visit(proc->fpRelId[slot], static_cast<core::ModeMask>(bits << 1));
		}
	}
	if (proc->fpVXIDLock)
		visit(InvalidOid, core::bit(core::LockMode::exclusive));
	LWLockRelease(&proc->fpInfoLock);
}

// LockAcquireExtended() without waiting, and without an error for a full lock table or a line in the log.
inline LockAcquireResult acquire_if_free(const LOCKTAG& tag, LOCKMODE mode, LOCALLOCK** lock) {
#if PG_VERSION_NUM >= 180000
	return LockAcquireExtended(&tag, mode, false, true, false, lock, false);
#else
	return LockAcquireExtended(&tag, mode, false, true, false, lock);
#endif
}

// Whether this process holds the lock in this mode. Looks into its own table of locks only.
inline bool holds(const LOCKTAG& tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(&tag, mode, false);
#else
	return LockHeldByMe(&tag, mode);
#endif
}

// --- statements --------------------------------------------------------------------------------------

// What a statement may do with a relation, as the parser has found.
inline AclMode permissions_on(const PlannedStmt* plan, const RangeTblEntry* entry) {
#if PG_VERSION_NUM >= 160000
	return entry->perminfoindex == 0
	           ? ACL_NO_RIGHTS
	           : list_nth_node(RTEPermissionInfo, plan->permInfos, static_cast<int>(entry->perminfoindex) - 1)
	                 ->requiredPerms;
#else
	static_cast<void>(plan);
	return entry->requiredPerms;
#endif
}

// Walks a query and what is inside it, range table entries first (nodeFuncs.h).
using Walker = bool (*)(Node* node, void* context);
#if PG_VERSION_NUM >= 160000
inline bool walk_query(Query* query, Walker walker, void* context) {
	return query_tree_walker_impl(query, walker, context, QTW_EXAMINE_RTES_BEFORE);
}
inline bool walk_expression(Node* node, Walker walker, void* context) {
	return expression_tree_walker_impl(node, walker, context);
}
#else
inline bool walk_query(Query* query, Walker walker, void* context) {
	return query_tree_walker(query, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)),
	                         context, QTW_EXAMINE_RTES_BEFORE);
}
inline bool walk_expression(Node* node, Walker walker, void* context) {
	return expression_tree_walker(node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)),
	                              context);
}
#endif

// Whether a foreign key is checked by a query of its own, which runs through the executor.
constexpr bool kForeignKeysAreQueries = PG_VERSION_NUM < 190000;

// What hooks and callbacks are told, by types that have changed: post_parse_analyze_hook_type,
// SyscacheCallbackFunction.
#if PG_VERSION_NUM >= 190000
using Jumble = const JumbleState;
using CacheId = SysCacheIdentifier;
#else
using Jumble = JumbleState;
using CacheId = int;
#endif

// The arguments of a hook as they are handed on: ExecutorRun_hook_type, ProcessUtility_hook_type.
#if PG_VERSION_NUM >= 180000
#define UNBLOCK_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define UNBLOCK_RUN_ARGUMENTS query, direction, count
#else
#define UNBLOCK_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define UNBLOCK_RUN_ARGUMENTS query, direction, count, execute_once
#endif
#define UNBLOCK_UTILITY_PARAMETERS                                                                           \
	PlannedStmt *statement, const char *text, bool read_only_tree, ProcessUtilityContext context,            \
	    ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *receiver,                     \
	    QueryCompletion *completion
#define UNBLOCK_UTILITY_ARGUMENTS                                                                            \
	statement, text, read_only_tree, context, parameters, environment, receiver, completion

// --- replication slots ------------------------------------------------------------------------------

// Entries of the array of slots (slot.h).
inline int slot_count() {
#if PG_VERSION_NUM >= 190000
	return max_replication_slots + max_repack_replication_slots;
#else
	return max_replication_slots;
#endif
}

// The process that uses a slot, or 0. Its mutex is held.
inline pid_t active_pid(const ReplicationSlot* slot) {
#if PG_VERSION_NUM >= 190000
	return slot->active_proc == INVALID_PROC_NUMBER ? 0 : proc_at(slot->active_proc)->pid;
#else
	return slot->active_pid;
#endif
}

// Whether a slot has lost what it reserved, and holds back nothing any more (slot.c,
// ReplicationSlotsComputeRequiredXmin). Its mutex is held.
inline bool is_invalidated(const ReplicationSlot* slot) {
#if PG_VERSION_NUM >= 160000
	return slot->data.invalidated != RS_INVAL_NONE;
#else
	return !XLogRecPtrIsInvalid(slot->data.invalidated_at) && XLogRecPtrIsInvalid(slot->data.restart_lsn);
#endif
}

// --- settings ----------------------------------------------------------------------------------------

// Memory for a check hook's `extra`, which the server frees.
inline void* guc_extra(std::size_t size) {
#if PG_VERSION_NUM >= 160000
	return guc_malloc(LOG, size);
#else
	return malloc(size);
#endif
}

// --- workers -----------------------------------------------------------------------------------------

inline void ignore_signal(int signal) {
#if PG_VERSION_NUM >= 190000
	pqsignal(signal, PG_SIG_IGN);
#else
	pqsignal(signal, SIG_IGN);
#endif
}

// From 19 on a worker can be told to leave a database that is to be dropped.
inline int recorder_flags() {
#if PG_VERSION_NUM >= 190000
	return BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION | BGWORKER_INTERRUPTIBLE;
#else
	return BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
#endif
}

} // namespace unblock::server::compat
