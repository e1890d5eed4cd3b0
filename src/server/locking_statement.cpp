// From a wait to a statement.

#include "locking_statement.h"
#include "held_locks.h"
#include "memory.h"
#include "names.h"
#include "trails.h"

#include "../core/direct_waiters.h"

namespace unblock::server {

namespace {

// Holders that are asked for a relation's name.
constexpr std::size_t kMostAsked = 8;

// The client has sent nothing else in this transaction.
bool runs_first_statement(const core::Session& session) {
	return session.state == core::State::active && session.query_start != 0 && session.xact_start != 0 &&
	       session.query_start == session.xact_start;
}

// Whether the lock belongs to the transaction, or to the statement, not to the session.
bool ends_with_transaction(const LOCKTAG& tag) {
	return tag.locktag_type != LOCKTAG_ADVISORY;
}

// A key's share lock is in the way of those only who want the whole row for themselves (heapam.c,
// tupleLockExtraInfo; manual, "Row-Level Locks").
core::RowUses rows_in_the_way(core::LockMode of_waiter) {
	return of_waiter == core::LockMode::access_exclusive ? core::kRowsAnyhow : core::kRowsLocked;
}

LockingStatement present_statement(const core::Session& session, const SessionDetails& details) {
	if (session.query.data() == nullptr)
		return {};
	return {session.query_start, details.status.query_id,
	        pnstrdup(session.query.data(), session.query.size()), 0, InvalidOid};
}

} // namespace

const core::Trail* LockingStatements::trail_of(core::Index session) {
	if (read_ == nullptr)
		read_ = allocate<Read>(collected_.snapshot.sessions.size(), MCXT_ALLOC_ZERO);
	Read& read = read_[session];
	if (!read.done) {
		const core::Session& owner = collected_.sessions[session];
		read = {true,
		        owner.kind == core::Kind::prepared
		            ? nullptr
		            : read_trail(collected_.details[session].process_number, owner.pid, owner.local_xid)};
	}
	return read.trail;
}

const core::Trail::Statement* LockingStatements::find(core::Index session, core::Index wait, Oid& relation) {
	const core::Trail* trail = trail_of(session);
	if (trail == nullptr)
		return nullptr;
	const core::Waiter& waiter = collected_.waiters[wait];
	const LOCKTAG& tag = collected_.tags[waiter.lock];
	if (tag.locktag_type == LOCKTAG_RELATION) {
		relation = tag.locktag_field2;
		return core::lock_statement(*trail, relation,
		                            core::bit(core::mode_against(graph_, session, waiter, false)));
	}
	if (tag.locktag_type != LOCKTAG_TRANSACTION)
		return nullptr;
	const AwaitedRow row = awaited_row(compat::proc_at(collected_.details[waiter.session].process_number),
	                                   collected_.sessions[waiter.session].pid, tag);
	relation = row.relation;
	// Utility statements write to catalogs by themselves.
	return OidIsValid(relation) && !IsCatalogRelationOid(relation)
	           ? core::row_statement(*trail, relation, waiter.wait_start, rows_in_the_way(row.mode))
	           : nullptr;
}

LockingStatement LockingStatements::of(core::Index session, core::Index wait) {
	const core::Session& holder = collected_.sessions[session];
	const LOCKTAG& tag = collected_.tags[collected_.waiters[wait].lock];
	Oid relation = InvalidOid;
	if (const core::Trail::Statement* found = find(session, wait, relation))
		return {found->at, found->query_id, pnstrdup(found->text.data(), found->text.size()), found->number,
		        relation};
	// A row's own lock is held no longer than by the statement that waits for the row. (What the status says
	// was read after the locks: in the few microseconds between it may have gone on.)
	const bool is_present_one = tag.locktag_type == LOCKTAG_TUPLE && holder.state == core::State::active;
	if (is_present_one || (runs_first_statement(holder) && ends_with_transaction(tag)))
		return present_statement(holder, collected_.details[session]);
	return {};
}

LockingStatement LockingStatements::of(core::Index session) {
	const core::Index wait = graph_.node(session).hard_waiter;
	return wait == core::kNone ? LockingStatement{} : of(session, wait);
}

const char* LockingStatements::relation_name(core::Index lock) {
	const core::Lock& awaited = collected_.locks[lock];
	if (!OidIsValid(awaited.relation))
		return nullptr;
	const auto holders = collected_.snapshot.holders_of(awaited);
	for (const core::Holder& holder : holders.first(std::min(holders.size(), kMostAsked))) {
		const core::Trail* trail = trail_of(graph_.node_of(holder.session));
		const core::Trail::Relation* named =
		    trail == nullptr ? nullptr : core::named_relation(*trail, awaited.relation);
		if (named != nullptr)
			return qualified_name(named->schema, named->name);
	}
	return nullptr;
}

} // namespace unblock::server
