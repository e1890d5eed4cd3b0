// From a statement to the locks that it has taken, and from these to the trail.
//
// What is noted is new to the trail: a statement that locks nothing new costs a
// look at what is known already.

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

// This session's, made with its first transaction block.
Owned<core::StatementTrail>* trail = nullptr;
core::TrailSlice* slice = nullptr;

Source source;                                        // of the present statement
bool had_written;                                     // when it began
LocalTransactionId block = InvalidLocalTransactionId; // the transaction that is one, or was

// Called by inval.c when the description of a relation has changed, or may have (InvalidOid: of any).
void on_relation_change(Datum, Oid relation) {
	if (OidIsValid(relation))
		(*trail)->forget_name(relation);
	else
		(*trail)->forget_all_names();
}

// The same for schemas.
void on_schema_change(Datum, compat::CacheId, uint32) {
	(*trail)->forget_all_names();
}

void open_trail() {
	static Owned<core::StatementTrail>* place = nullptr; // one, however often memory is short
	if (place == nullptr)
		place = Owned<core::StatementTrail>::in(TopMemoryContext);
	auto* made = place;
	core_phase([made] {
		made->make(trail_words() * sizeof(uint64), static_cast<std::size_t>(settings.statement_trail));
	});
	slice = trail_slice(compat::my_number());
	slice->publish({}, 0); // an earlier session's
	trail = made;
	CacheRegisterRelcacheCallback(on_relation_change, Datum{0});
	CacheRegisterSyscacheCallback(NAMESPACEOID, on_schema_change, Datum{0});
}

unsigned level() {
	return static_cast<unsigned>(GetCurrentTransactionNestLevel());
}

std::string_view statement_text() {
	int place = source.place;
	int length = source.length;
	const char* text = CleanQuerytext(source.text, &place, &length);
	// From single statements the parser takes this off.
	while (source.place < 0 && length > 0 && (text[length - 1] == ';' || scanner_isspace(text[length - 1])))
		--length;
	const int most = pgstat_track_activity_query_size - 1;
	return {text, static_cast<std::size_t>(std::min(length, most))};
}

void want_text() {
	if ((*trail)->wants_text())
		(*trail)->set_text(statement_text());
}

// The statement that has locked it has brought it into the session's caches.
void name_relation(Oid oid) {
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple)) // dropped by the statement
		return;
	const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
	const char* schema = get_namespace_name(form->relnamespace);
	const char* name = NameStr(form->relname);
	if (schema != nullptr)
		core_phase([oid, schema, name] { (*trail)->set_name(oid, schema, name); });
	ReleaseSysCache(tuple);
}

void record(const Relation& relation) {
	want_text();
	if (OidIsValid(relation.oid) && !(*trail)->has_name(relation.oid))
		name_relation(relation.oid);
	const unsigned at_level = level();
	core_phase([&relation, at_level] { (*trail)->add(at_level, relation); });
}

// A lock that the statement needs, if it holds it. False: there was nothing to note.
bool note(Oid oid, LOCKMODE mode, core::RowUses rows) {
	const Relation relation = {
	    .oid = oid, .modes = core::bit(static_cast<core::LockMode>(mode)), .rows = rows};
	if ((*trail)->knows(relation) || !compat::holds(relation_tag(oid), mode))
		return false;
	record(relation);
	return true;
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

// What the foreign keys of a changed relation point at: a check locks rows there.
void note_foreign_keys(::Relation relation) {
	if constexpr (compat::kForeignKeysAreQueries)
		return; // on_start() has seen them
	// The cache's own list may vanish while names are looked up.
	List* referenced = NIL;
	ListCell* cell;
	foreach (cell, RelationGetFKeyList(relation))
		referenced =
		    lappend_oid(referenced, static_cast<const ForeignKeyCacheInfo*>(lfirst(cell))->confrelid);
	foreach (cell, referenced)
		note(lfirst_oid(cell), RowShareLock, core::kRowsKeyLocked);
}

// The partition that rows went to, and the partitioned tables above it.
void note_routed(const ResultRelInfo* routed) {
	const Oid partition = RelationGetRelid(routed->ri_RelationDesc);
	const bool updates_rows = routed->ri_onConflict != nullptr;
	if (!note(partition, RowExclusiveLock, updates_rows ? core::kRowsLocked : core::RowUses{0}))
		return;
	ListCell* cell;
	foreach (cell, get_partition_ancestors(partition))
		note(lfirst_oid(cell), RowExclusiveLock, 0);
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

} // namespace

bool is_recording() {
	if (!IsTransactionBlock() || debug_query_string == nullptr || (trail == nullptr && my_slot() == nullptr))
		return false;
	// A function that catches errors has levels of its own, in a transaction of one statement too.
	const LocalTransactionId transaction = compat::local_xid(MyProc);
	const bool is_known = block == transaction;
	if (level() == 1)
		block = transaction;
	else if (!is_known)
		return false;
	if (trail == nullptr)
		open_trail();
	(*trail)->belong_to(transaction);
	// From 18 on a pipeline becomes a block with its second statement (postgres.c, start_xact_command()).
	if (!is_known && (MyXactFlags & XACT_FLAGS_PIPELINING) != 0) {
		begin_statement({GetCurrentTransactionStartTimestamp(), debug_query_string, -1, 0, 0});
		end_unseen();
	}
	return true;
}

void begin_statement(const Source& statement) {
	if (source.at != statement.at || source.place != statement.place)
		had_written = TransactionIdIsValid(GetCurrentTransactionIdIfAny());
	source = statement;
	(*trail)->begin(compat::local_xid(MyProc),
	                {.at = source.at, .place = source.place, .query_id = source.query_id, .text = {}});
}

void continue_statement(const char* text) {
	source.text = text;
}

void end_statement() {
	(*trail)->end();
}

void run_statement() {
	want_text();
	const unsigned at_level = level();
	core_phase([at_level] { (*trail)->run(at_level); });
}

void note_planned(const PlannedStmt* plan, bool runs) {
	Index number = 0;
	ListCell* cell;
	foreach (cell, plan->rtable) {
		++number;
		const auto* entry = static_cast<const RangeTblEntry*>(lfirst(cell));
		if (!OidIsValid(entry->relid) || entry->rellockmode == NoLock)
			continue;
		const Relation relation = {.oid = entry->relid,
		                           .modes = core::bit(static_cast<core::LockMode>(entry->rellockmode)),
		                           .rows = runs ? rows_locked(plan, number, entry) : core::RowUses{0}};
		if (!(*trail)->knows(relation))
			record(relation);
	}
}

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

void note_parsed(Query* query) {
	note_analyzed_part(reinterpret_cast<Node*>(query), nullptr);
}

void note_analyzed(const Node* statement) {
	Node* query = nullptr;
	if (IsA(statement, ExplainStmt))
		query = reinterpret_cast<const ExplainStmt*>(statement)->query;
	else if (IsA(statement, CreateTableAsStmt))
		query = reinterpret_cast<const CreateTableAsStmt*>(statement)->query;
	if (query != nullptr && IsA(query, Query))
		note_analyzed_part(query, nullptr);
}

void note_write() {
	const Relation own_id = {
	    .oid = core::kTransactionId, .modes = core::bit(core::LockMode::exclusive), .rows = 0};
	if (!had_written && TransactionIdIsValid(GetCurrentTransactionIdIfAny()) && !(*trail)->knows(own_id))
		record(own_id);
}

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
	for (int i = 0; i < held.count; ++i) {
		CHECK_FOR_INTERRUPTS();
		record({.oid = held.locks[i].relation, .modes = held.locks[i].modes, .rows = 0});
	}
	pfree(held.locks);
}

void end_unseen() {
	note_unexplained();
	(*trail)->lose_rows(GetCurrentTransactionStartTimestamp());
	end_statement();
}

void publish_trail() {
	if (!(*trail)->has_changed())
		return;
	const core::StatementTrail::Change change = (*trail)->take_change();
	slice->publish(change.image, change.from);
}

void release_level() {
	if (trail != nullptr)
		(*trail)->release(level());
}

void roll_back_level() {
	if (trail == nullptr)
		return;
	(*trail)->roll_back(level());
	publish_trail();
}

void forget_transaction() {
	if (trail == nullptr)
		return;
	(*trail)->clear();
	publish_trail();
}

} // namespace unblock::server
