// Hooks, and what each of them knows of locks.
//
// A statement is what the client sent; what runs inside it (functions, triggers,
// DO blocks, checks of foreign keys) counts for it. Outside transaction blocks
// nothing is recorded: a transaction of one statement needs no trail.
//
// All hooks of other extensions at the same places are called, before or behind
// ours as the order in shared_preload_libraries has it: none of them changes
// what is locked, and an error of theirs passes through ours like any other.

#include "trail_writer.h"
#include "boundary.h"
#include "held_locks.h"
#include "lock_table.h"
#include "session_slot.h"
#include "settings.h"
#include "trails.h"

namespace unblock::server {

namespace {

using Relation = core::StatementTrail::Relation;

ExecutorRun_hook_type previous_run = nullptr;
ExecutorFinish_hook_type previous_finish = nullptr;
ProcessUtility_hook_type previous_utility = nullptr;

// This session's, made with its first transaction block.
Owned<core::StatementTrail>* trail = nullptr;
core::TrailSlice* slice = nullptr;

int nesting = 0;       // hooks that are under way, one inside the other
int fetch_nesting = 0; // up to the outermost one that fetches from a cursor; 0: there is none

// What the present statement is, if it is not being recorded for the first time.
struct Source {
	TimestampTz at;   // when its message came
	const char* text; // of that message
	int place;        // in it; -1: all of it
	int length;       // 0: to the end
	uint64 query_id;
};
Source source;

void publish() {
	if (!(*trail)->has_changed())
		return;
	const core::StatementTrail::Change change = (*trail)->take_change();
	slice->publish(change.image, change.from);
}

void open_trail() {
	auto* made = Owned<core::StatementTrail>::in(TopMemoryContext);
	core_phase([made] {
		made->make(trail_words() * sizeof(uint64), static_cast<std::size_t>(settings.statement_trail));
	});
	slice = trail_slice(compat::my_number());
	slice->publish({}, 0); // an earlier session's
	trail = made;
}

// Client sessions have slots, their parallel workers do not.
bool is_recording() {
	if (my_slot() == nullptr || !IsTransactionBlock())
		return false;
	if (trail == nullptr)
		open_trail();
	return true;
}

unsigned level() {
	return static_cast<unsigned>(GetCurrentTransactionNestLevel());
}

core::StatementTrail::Statement present_statement() {
	return {.at = source.at, .place = source.place, .query_id = source.query_id, .text = {}};
}

// Not worth its time for statements that add nothing.
core::StatementTrail::Statement statement_with_text() {
	core::StatementTrail::Statement statement = present_statement();
	int place = source.place;
	int length = source.length;
	const char* text = CleanQuerytext(source.text, &place, &length);
	// Of single statements the parser has taken this off.
	while (source.place < 0 && length > 0 && (text[length - 1] == ';' || scanner_isspace(text[length - 1])))
		--length;
	const int most = pgstat_track_activity_query_size - 1;
	statement.text = {text, static_cast<std::size_t>(std::min(length, most))};
	return statement;
}

// A statement of the client's, if nothing is under way. Text of the server's own (a function that the planner
// evaluates, a deferred trigger) stands for the whole message that it runs for. What has the message's text
// and no place in it is what a rule has made of the statement before it.
void begin_statement(const char* text, int place, int length, uint64 query_id) {
	if (nesting > 0)
		return;
	const TimestampTz at = GetCurrentStatementStartTimestamp();
	const bool sent = debug_query_string == nullptr || text == debug_query_string;
	const bool by_rule = sent && place < 0 && source.at == at && source.text == text;
	// A message of one statement has the same place however it is told.
	const bool all = !sent || place < 0 || (place == 0 && length == 0);
	if (!by_rule)
		source = {at, sent ? text : debug_query_string, all ? -1 : place, all ? 0 : length,
		          sent ? query_id : pgstat_get_my_query_id()};
	(*trail)->begin(compat::local_xid(MyProc), present_statement());
}

// --- what it locks -----------------------------------------------------------------------------------

// Names are in the session's caches, where the statement has looked at the relation.
void record(const Relation& relation) {
	(*trail)->begin(compat::local_xid(MyProc), statement_with_text());
	HeapTuple tuple =
	    OidIsValid(relation.oid) ? SearchSysCache1(RELOID, ObjectIdGetDatum(relation.oid)) : nullptr;
	const char* schema = nullptr;
	const char* name = nullptr;
	if (HeapTupleIsValid(tuple)) {
		const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
		schema = get_namespace_name(form->relnamespace);
		name = NameStr(form->relname);
	}
	const unsigned at_level = level();
	core_phase([&relation, at_level, schema, name] {
		(*trail)->add(at_level, relation, schema == nullptr ? "" : schema, schema == nullptr ? "" : name);
	});
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
}

// A lock that the statement needs, if it has it.
void note(Oid oid, LOCKMODE mode, core::RowUses rows) {
	const Relation relation = {
	    .oid = oid, .modes = core::bit(static_cast<core::LockMode>(mode)), .rows = rows};
	if (!(*trail)->knows(relation) && compat::holds(relation_tag(oid), mode))
		record(relation);
}

bool inserts_only(const PlannedStmt* plan, const RangeTblEntry* entry) {
	const AclMode permissions = compat::permissions_on(plan, entry);
	return (permissions & ACL_INSERT) != 0 && (permissions & (ACL_UPDATE | ACL_DELETE)) == 0;
}

// How rows may be locked that are there already; nobody waits for a new one by a lock on the row.
core::RowUses rows_locked(const PlannedStmt* plan, Index number, const RangeTblEntry* entry) {
	if (entry->rellockmode == RowExclusiveLock)
		return inserts_only(plan, entry) ? 0 : core::kRowsLocked;
	if (entry->rellockmode != RowShareLock)
		return 0;
	ListCell* cell;
	foreach (cell, plan->rowMarks) {
		const auto* mark = static_cast<const PlanRowMark*>(lfirst(cell));
		if (mark->rti == number && mark->strength == LCS_FORKEYSHARE)
			return core::kRowsKeyLocked;
	}
	return core::kRowsLocked;
}

// The relations that a plan names, partitions that it may read or change included. The parser, the planner or
// the plan cache has locked them.
void note_planned(const PlannedStmt* plan, bool locks_rows) {
	Index number = 0;
	ListCell* cell;
	foreach (cell, plan->rtable) {
		++number;
		const auto* entry = static_cast<const RangeTblEntry*>(lfirst(cell));
		if (OidIsValid(entry->relid) && entry->rellockmode != NoLock)
			note(entry->relid, entry->rellockmode, locks_rows ? rows_locked(plan, number, entry) : 0);
	}
}

// What the foreign keys of a changed relation point at: a check locks rows there.
void note_foreign_keys(::Relation relation) {
	ListCell* cell;
	foreach (cell, RelationGetFKeyList(relation)) {
		const Oid referenced = static_cast<const ForeignKeyCacheInfo*>(lfirst(cell))->confrelid;
		const bool is_new =
		    !(*trail)->knows({.oid = referenced, .modes = core::bit(core::LockMode::row_share), .rows = 0});
		note(referenced, RowShareLock, is_new || !compat::kForeignKeysAreQueries ? core::kRowsKeyLocked : 0);
	}
}

// The partition that rows went to, and the partitioned tables above it.
void note_routed(const ResultRelInfo* routed) {
	const Oid partition = RelationGetRelid(routed->ri_RelationDesc);
	const bool updates_rows = routed->ri_onConflict != nullptr;
	const Relation relation = {.oid = partition,
	                           .modes = core::bit(core::LockMode::row_exclusive),
	                           .rows = updates_rows ? core::kRowsLocked : core::RowUses{0}};
	if ((*trail)->knows(relation))
		return;
	note(partition, RowExclusiveLock, relation.rows);
	ListCell* cell;
	foreach (cell, get_partition_ancestors(partition))
		note(lfirst_oid(cell), RowExclusiveLock, 0);
}

// What a running plan has opened beside what it names.
void note_opened(const EState* state) {
	ListCell* cell;
	foreach (cell, state->es_opened_result_relations)
		note_foreign_keys(static_cast<const ResultRelInfo*>(lfirst(cell))->ri_RelationDesc);
	foreach (cell, state->es_tuple_routing_result_relations) {
		const auto* routed = static_cast<const ResultRelInfo*>(lfirst(cell));
		note_routed(routed);
		note_foreign_keys(routed->ri_RelationDesc);
	}
}

// The first write of a transaction, or of a savepoint's level.
void note_write() {
	const Relation own_id = {
	    .oid = core::kTransactionId, .modes = core::bit(core::LockMode::exclusive), .rows = 0};
	if (TransactionIdIsValid(GetCurrentTransactionIdIfAny()) && !(*trail)->knows(own_id))
		record(own_id);
}

// Those locks on relations that the trail does not know of, strongest first. Palloc'd.
RelationLocks unknown_locks() {
	RelationLocks found = own_relation_locks();
	RelationLock* end = std::remove_if(found.locks, found.locks + found.count, [](const RelationLock& lock) {
		return (*trail)->knows({.oid = lock.relation, .modes = lock.modes, .rows = 0});
	});
	std::sort(found.locks, end, [](const RelationLock& a, const RelationLock& b) {
		return a.modes != b.modes ? a.modes > b.modes : a.relation < b.relation;
	});
	found.count = static_cast<int>(end - found.locks);
	return found;
}

// Before a statement whose locks are known by what is held afterwards: what is held already, nobody knows
// why. (A statement that was prepared in the transaction and not run, a sequence, an index.)
void note_unexplained() {
	const RelationLocks held = unknown_locks();
	core_phase([&held] {
		for (int i = 0; i < held.count; ++i)
			(*trail)->hold(held.locks[i].relation, held.locks[i].modes);
	});
	pfree(held.locks);
}

void note_held() {
	const RelationLocks held = unknown_locks();
	for (int i = 0; i < held.count; ++i)
		record({.oid = held.locks[i].relation, .modes = held.locks[i].modes, .rows = 0});
	pfree(held.locks);
}

// --- hooks -------------------------------------------------------------------------------------------

void leave() {
	--nesting;
	if (nesting < fetch_nesting)
		fetch_nesting = 0;
	if (nesting == 0)
		(*trail)->end();
	publish();
}

// (With PG_FINALLY() the compiler fears for a variable of that macro.)
void guard_statement(void (*work)(void*), void* argument) {
	++nesting;
	PG_TRY();
	{ work(argument); }
	PG_CATCH();
	{
		leave();
		PG_RE_THROW();
	}
	PG_END_TRY();
	leave();
}

// Does what a hook is there for as a part of the present statement; an error passes through.
template <class Work>
void within_statement(Work work) {
	guard_statement(
	    [](void* argument) {
		    (*static_cast<Work*>(argument))();
		    if (nesting == 1)
			    note_write();
	    },
	    &work);
}

void run_next(UNBLOCK_RUN_PARAMETERS) {
	if (previous_run)
		previous_run(UNBLOCK_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(UNBLOCK_RUN_ARGUMENTS);
}

// Called by ExecutorRun() (executor/execMain.c) for each run of a plan, of nested statements too: plans in
// functions, and in triggers, which ExecutorFinish() or COMMIT fire. A cursor runs a plan piece by piece.
void on_run(UNBLOCK_RUN_PARAMETERS) {
	if (!is_recording()) {
		run_next(UNBLOCK_RUN_ARGUMENTS);
		return;
	}
	const PlannedStmt* plan = query->plannedstmt;
	begin_statement(query->sourceText, plan->stmt_location, plan->stmt_len, plan->queryId);
	// What a cursor fetches counts for the statement that has declared it.
	const bool is_fetched = query->already_executed || (fetch_nesting > 0 && nesting == fetch_nesting);
	note_planned(plan, !is_fetched);
	publish();
	within_statement([&] { run_next(UNBLOCK_RUN_ARGUMENTS); });
}

void finish_next(QueryDesc* query) {
	if (previous_finish)
		previous_finish(query);
	else
		standard_ExecutorFinish(query);
}

// Called by ExecutorFinish() (executor/execMain.c) once for each plan that has run: it fires what triggers
// are due after the statement.
void on_finish(QueryDesc* query) {
	if (!is_recording()) {
		finish_next(query);
		return;
	}
	const PlannedStmt* plan = query->plannedstmt;
	begin_statement(query->sourceText, plan->stmt_location, plan->stmt_len, plan->queryId);
	within_statement([query] {
		finish_next(query);
		note_opened(query->estate);
	});
}

// How the locks of a utility statement are found out.
enum class Utility {
	takes_none, // or its transaction ends with it
	runs_plans, // those of others, which on_run() sees
	is_fetch,   // of a cursor, the same
	is_declare, // its plan is there afterwards
	takes_what_it_holds,
};

Utility kind_of(const Node* statement) {
	switch (nodeTag(statement)) {
	case T_TransactionStmt:
	case T_VariableSetStmt:
	case T_VariableShowStmt:
	case T_ClosePortalStmt:
	case T_DeallocateStmt:
	case T_NotifyStmt:
	case T_ListenStmt:
	case T_UnlistenStmt:
	case T_CheckPointStmt:
	case T_LoadStmt:
		return Utility::takes_none;
	case T_ExecuteStmt:
		return Utility::runs_plans;
	case T_FetchStmt:
		return Utility::is_fetch;
	case T_DeclareCursorStmt:
		return Utility::is_declare;
	default:
		return Utility::takes_what_it_holds;
	}
}

void note_analyzed(const Node* statement);

bool note_analyzed_part(Node* node, void*) {
	if (node == nullptr)
		return false;
	if (IsA(node, RangeTblEntry)) {
		const auto* entry = reinterpret_cast<const RangeTblEntry*>(node);
		if (OidIsValid(entry->relid) && entry->rellockmode != NoLock)
			note(entry->relid, entry->rellockmode, 0);
		return false;
	}
	if (!IsA(node, Query))
		return compat::walk_expression(node, note_analyzed_part, nullptr);
	auto* query = reinterpret_cast<Query*>(node);
	if (query->utilityStmt != nullptr)
		note_analyzed(query->utilityStmt);
	return compat::walk_query(query, note_analyzed_part, nullptr);
}

// What the parser has locked for the query inside a utility statement, before that runs (analyze.c,
// transformStmt()).
void note_analyzed(const Node* statement) {
	Node* query = nullptr;
	if (IsA(statement, ExplainStmt))
		query = reinterpret_cast<const ExplainStmt*>(statement)->query;
	else if (IsA(statement, CreateTableAsStmt))
		query = reinterpret_cast<const CreateTableAsStmt*>(statement)->query;
	else if (IsA(statement, DeclareCursorStmt))
		query = reinterpret_cast<const DeclareCursorStmt*>(statement)->query;
	if (query != nullptr && IsA(query, Query))
		note_analyzed_part(query, nullptr);
}

void note_declared(const Node* statement) {
	const auto* declare = reinterpret_cast<const DeclareCursorStmt*>(statement);
	Portal portal = GetPortalByName(declare->portalname);
	if (!PortalIsValid(portal) || portal->stmts == NIL)
		return;
	note_planned(static_cast<const PlannedStmt*>(linitial(portal->stmts)), true);
}

bool is_begin(const Node* statement) {
	if (!IsA(statement, TransactionStmt))
		return false;
	const TransactionStmtKind kind = reinterpret_cast<const TransactionStmt*>(statement)->kind;
	return kind == TRANS_STMT_BEGIN || kind == TRANS_STMT_START;
}

// A client that pipelines its messages may have run statements before BEGIN, which then belong to the block.
void note_unseen() {
	if (!FirstSnapshotSet || !is_recording())
		return;
	source.at = GetCurrentStatementStartTimestamp();
	(*trail)->begin(compat::local_xid(MyProc), present_statement());
	note_unexplained();
	(*trail)->lose_rows(GetCurrentTransactionStartTimestamp());
	(*trail)->end();
	publish();
}

void utility_next(UNBLOCK_UTILITY_PARAMETERS) {
	if (previous_utility)
		previous_utility(UNBLOCK_UTILITY_ARGUMENTS);
	else
		standard_ProcessUtility(UNBLOCK_UTILITY_ARGUMENTS);
}

// Called by ProcessUtility() (tcop/utility.c) for each statement that has no plan, of nested statements too.
void on_utility(UNBLOCK_UTILITY_PARAMETERS) {
	const Node* utility = statement->utilityStmt;
	const Utility kind = kind_of(utility);
	if (!is_recording() || kind == Utility::takes_none) {
		const bool begins = is_begin(utility) && !IsTransactionBlock();
		utility_next(UNBLOCK_UTILITY_ARGUMENTS);
		if (begins)
			note_unseen();
		return;
	}
	begin_statement(text, statement->stmt_location, statement->stmt_len, statement->queryId);
	note_analyzed(utility);
	if (kind == Utility::takes_what_it_holds) {
		note_unexplained();
		(*trail)->begin(compat::local_xid(MyProc), statement_with_text());
		core_phase([] { (*trail)->run(); });
		publish();
	}
	if (kind == Utility::is_fetch && fetch_nesting == 0)
		fetch_nesting = nesting + 1;
	within_statement([&] {
		utility_next(UNBLOCK_UTILITY_ARGUMENTS);
		if (kind == Utility::takes_what_it_holds)
			note_held();
		else if (kind == Utility::is_declare)
			note_declared(utility);
	});
}

// --- transactions ------------------------------------------------------------------------------------

// Called by xact.c before the locks of the transaction are released.
void on_transaction_end(XactEvent event, void*) {
	const bool is_over =
	    event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE;
	if (trail == nullptr || !is_over)
		return;
	(*trail)->clear();
	publish();
}

// Called by xact.c for savepoints, and for the blocks of functions that catch exceptions.
void on_savepoint_end(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
	if (trail == nullptr)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		(*trail)->release(level());
	else if (event == SUBXACT_EVENT_ABORT_SUB) {
		(*trail)->roll_back(level());
		publish();
	}
}

} // namespace

void install_trail_hooks() {
	if (settings.statement_trail == 0)
		return;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = on_run;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = on_finish;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = on_utility;
	RegisterXactCallback(on_transaction_end, nullptr);
	RegisterSubXactCallback(on_savepoint_end, nullptr);
}

} // namespace unblock::server
