// unblock.transaction_statements(): a session's statements that took locks in its present transaction.

#include "columns.h"
#include "names.h"
#include "privileges.h"
#include "shared_state.h"
#include "trails.h"

namespace unblock::server {

namespace {

// A session whose trail is shown.
struct Subject {
	PGPROC* proc;
	Status status;
	const core::Trail* trail;
};

bool find(int pid, Subject& subject) {
	subject.proc = BackendPidGetProc(pid);
	if (subject.proc == nullptr || !read_status(subject.proc, pid, &subject.status, nullptr))
		return false;
	subject.trail = read_trail(compat::number_of(subject.proc), pid, compat::local_xid(subject.proc));
	return subject.trail != nullptr;
}

LOCKTAG tag_of(const Subject& subject, Oid relation, TransactionId xid) {
	LOCKTAG tag;
	if (relation == core::kTransactionId)
		SET_LOCKTAG_TRANSACTION(tag, xid);
	else
		SET_LOCKTAG_RELATION(tag, IsSharedRelation(relation) ? InvalidOid : subject.status.database,
		                     relation);
	return tag;
}

// The name that the session knew, where the catalogs do not tell.
const char* label_of(Names names, const LOCKTAG& tag, const core::Trail::Relation& relation, bool visible) {
	if (visible && !relation.name.empty())
		names.known_relation = {relation.oid, qualified_name(relation.schema, relation.name)};
	return lock_label(names, tag);
}

void add_row(Rows& rows, const Subject& subject, const core::Trail::Statement& statement,
             const core::Trail::Relation* relation, const Names& names, bool visible) {
	const TransactionId xid = subject.proc->xid;
	rows.int4(static_cast<int32>(statement.number));
	rows.time(visible ? statement.at : 0);
	if (relation == nullptr || (relation->oid == core::kTransactionId && !TransactionIdIsValid(xid))) {
		for (int i = 0; i < 4; ++i)
			rows.null();
	} else {
		rows.oid(relation->oid);
		rows.text(label_of(names, tag_of(subject, relation->oid, xid), *relation, visible));
		add_mode(rows, core::strongest(relation->modes));
		rows.boolean(relation->rows != 0);
	}
	if (visible && statement.query_id != 0)
		rows.int8(static_cast<int64>(statement.query_id));
	else
		rows.null();
	rows.text(visible ? fit_text(statement.text) : core::kInsufficientPrivilege.data());
	rows.end_row();
}

// A statement may have locked a relation in several steps.
bool is_same(const core::Trail::Relation& a, const core::Trail::Relation& b) {
	return a.statement == b.statement && a.oid == b.oid;
}

bool is_first_of_its_kind(const core::Trail& trail, const core::Trail::Relation& relation) {
	return &*std::ranges::find_if(trail.relations,
	                              [&](const auto& other) { return is_same(other, relation); }) == &relation;
}

core::Trail::Relation merged(const core::Trail& trail, core::Trail::Relation relation) {
	for (const core::Trail::Relation& other : trail.relations)
		if (is_same(other, relation)) {
			relation.modes = static_cast<core::ModeMask>(relation.modes | other.modes);
			relation.rows = static_cast<core::RowUses>(relation.rows | other.rows);
		}
	return relation;
}

void add_statements(Rows& rows, const Subject& subject, const Names& names) {
	const bool visible = may_see(names, subject.status.role);
	const core::Trail& trail = *subject.trail;
	for (core::Index i = 0; i < trail.statements.size(); ++i) {
		bool has_relations = false;
		for (const core::Trail::Relation& relation : trail.relations) {
			if (relation.statement != i || !is_first_of_its_kind(trail, relation))
				continue;
			const core::Trail::Relation whole = merged(trail, relation);
			add_row(rows, subject, trail.statements[i], &whole, names, visible);
			has_relations = true;
		}
		if (!has_relations)
			add_row(rows, subject, trail.statements[i], nullptr, names, visible);
	}
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_transaction_statements);
PGDLLEXPORT Datum pg_unblock_transaction_statements(PG_FUNCTION_ARGS) {
	using namespace unblock::server;
	require_trails();
	Rows rows(fcinfo);
	Subject subject;
	if (!find(PG_GETARG_INT32(0), subject))
		return 0;
	const Names names = open_names();
	add_statements(rows, subject, names);
	close_names(names);
	return 0;
}
}
