// unblock.clear_path(): ends the idle sessions in the way of one more request
// for a table's lock, so that a migration can be run right after.

#include "actions.h"
#include "boundary.h"
#include "lock_table.h"
#include "memory.h"
#include "prepared.h"

namespace unblock::server {

namespace {

// --- arguments ---------------------------------------------------------------------------------------

LOCKTAG relation_argument(FunctionCallInfo fcinfo, int number) {
	refuse_null_argument(fcinfo, number, "relation");
	const Oid relation = PG_GETARG_OID(number);
	if (get_rel_name(relation) == nullptr)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", relation)));
	return relation_tag(relation);
}

core::LockMode mode_argument(FunctionCallInfo fcinfo, int number) {
	refuse_null_argument(fcinfo, number, "mode");
	const char* name = text_to_cstring(PG_GETARG_TEXT_PP(number));
	const auto mode = core::lock_mode(name);
	if (!mode)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized lock mode: \"%s\"", name),
		     errhint("Lock modes are ACCESS SHARE, ROW SHARE, ROW EXCLUSIVE, SHARE UPDATE EXCLUSIVE, SHARE, "
		             "SHARE ROW EXCLUSIVE, EXCLUSIVE, and ACCESS EXCLUSIVE, or their names in pg_locks.")));
	return *mode;
}

// --- who holds it ------------------------------------------------------------------------------------

// The transactions, other than the caller's, that hold a lock in a conflicting mode.
class ConflictingTransactions {
public:
	// By the fast path too, and whether somebody waits or not (lock.c). To be asked after the snapshot was
	// taken: a session that has not gone on since is then known to hold the lock during the spell in which
	// the snapshot saw it.
	ConflictingTransactions(const LOCKTAG& tag, core::LockMode mode) {
		const VirtualTransactionId* ids = GetLockConflicts(&tag, static_cast<LOCKMODE>(mode), &count_);
		ids_ = allocate<compat::VirtualXid>(count_);
		std::transform(ids, ids + count_, ids_,
		               [](const VirtualTransactionId& id) { return compat::virtual_xid(id); });
		std::sort(ids_, ids_ + count_);
	}

	bool contain(const PGPROC* proc, LocalTransactionId local) const {
		return std::binary_search(ids_, ids_ + count_, compat::virtual_xid(proc, local));
	}

private:
	compat::VirtualXid* ids_;
	int count_;
};

std::span<const core::Index> sessions_among(const ConflictingTransactions& holders,
                                            const Collected& collected) {
	const auto sessions = collected.snapshot.sessions;
	auto* found = allocate<core::Index>(sessions.size());
	std::size_t count = 0;
	for (core::Index i = 0; i < sessions.size(); ++i)
		if (holders.contain(compat::proc_at(collected.details[i].process_number), sessions[i].local_xid))
			found[count++] = i;
	return {found, count};
}

// Prepared transactions that hold no awaited lock are not in the snapshot.
std::span<const core::Session> prepared_among(const ConflictingTransactions& holders,
                                              const Collected& collected) {
	const int first = compat::process_count();
	const int end = compat::process_and_prepared_count();
	auto* in_snapshot = allocate<bool>(end - first, MCXT_ALLOC_ZERO);
	for (core::Index i = 0; i < collected.snapshot.sessions.size(); ++i)
		if (const int number = collected.details[i].process_number; number >= first)
			in_snapshot[number - first] = true;
	auto* found = allocate<core::Session>(end - first);
	core::Index count = 0;
	for (int number = first; number < end; ++number) {
		const PGPROC* proc = compat::proc_at(number);
		if (in_snapshot[number - first] || !holders.contain(proc, compat::local_xid(proc)))
			continue;
		core::Session& session = *new (&found[count++]) core::Session;
		session.kind = core::Kind::prepared;
		session.xid = proc->xid;
	}
	fill_prepared(found, count);
	return {found, count};
}

// --- who is in the way -------------------------------------------------------------------------------

core::Index find_lock(const Collected& collected, const LOCKTAG& tag) {
	for (core::Index i = 0; i < collected.snapshot.locks.size(); ++i)
		if (memcmp(&collected.tags[i], &tag, sizeof(LOCKTAG)) == 0)
			return i;
	return core::kNone;
}

using InTheWay = std::vector<core::InTheWay>;

const InTheWay& find_in_the_way(const Collected& collected, core::Index lock, core::LockMode mode,
                                std::span<const core::Index> holders) {
	const core::WaitGraph* graph = &graph_of(collected);
	auto* found = Owned<InTheWay>::in(CurrentMemoryContext);
	core_phase([=] { found->make(core::in_the_way(*graph, lock, mode, holders)); });
	return **found;
}

// Of the sessions that the caller may not know of: whether they are idle is not told, but the way is not
// clear. That they hold the lock is in pg_locks.
void tell_hidden(int hidden) {
	if (hidden > 0)
		ereport(NOTICE,
		        (errmsg_plural("%d session that you may neither see nor end is in the way",
		                       "%d sessions that you may neither see nor end are in the way",
		                       static_cast<unsigned long>(hidden), hidden),
		         errhint("Members of pg_read_all_stats see them; members of pg_signal_backend can end "
		                 "all but superusers' sessions.")));
}

bool is_to_end(const core::Session& session, core::Time now, core::Micros older_than) {
	return session.kind == core::Kind::client && session.pid != MyProcPid &&
	       core::idle_in_transaction(session) && now - session.state_start >= older_than;
}

// What a person has to do about a prepared transaction. One that has ended meanwhile has no gid.
void add_prepared(Endings& endings, const Names& names, const core::Session& session) {
	if (session.gid.empty())
		return;
	Outcome outcome = outcome_for(names, 0, session.role, core::State::unknown);
	const char* statement = "ROLLBACK PREPARED";
	if (session.gid_exact)
		statement = psprintf("ROLLBACK PREPARED %s;",
		                     quote_literal_cstr(pnstrdup(session.gid.data(), session.gid.size())));
	const char* database = database_name(names, session.database);
	tell(outcome, "still there",
	     psprintf("It is a prepared transaction. %s in database %s ends it.", statement,
	              database == nullptr ? psprintf("%u", session.database) : quote_identifier(database)));
	endings.add(outcome);
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_clear_path);
PGDLLEXPORT Datum pg_unblock_clear_path(PG_FUNCTION_ARGS) {
	using namespace unblock;
	using namespace unblock::server;
	Rows rows(fcinfo);
	const LOCKTAG tag = relation_argument(fcinfo, 0);
	const core::LockMode mode = mode_argument(fcinfo, 1);
	const core::Micros older_than = length_argument(fcinfo, 2, "older_than");
	const bool dry_run = boolean_argument(fcinfo, 3, "dry_run");

	const Collected& collected = *collect(Purpose::reporting);
	const ConflictingTransactions holders(tag, mode);
	const auto prepared = prepared_among(holders, collected);
	const InTheWay& in_the_way =
	    find_in_the_way(collected, find_lock(collected, tag), mode, sessions_among(holders, collected));
	Endings endings(in_the_way.size() + prepared.size(), "unblock.clear_path", dry_run);
	const Names names = open_names();
	int hidden = 0;
	for (const core::InTheWay& found : in_the_way) {
		const core::Session& session = collected.sessions[found.node];
		if (session.kind == core::Kind::prepared)
			add_prepared(endings, names, session);
		else if (session.pid != MyProcPid && !may_know(names, session))
			++hidden;
		else if (is_to_end(session, collected.snapshot.now, older_than)) {
			Target target = target_of(session);
			// While it is idle it goes on holding the lock, but those who wait for it may have gone.
			target.must_block = found.holds ? core::MustBlock::no : core::MustBlock::as_holder;
			target.count_advisory_locks = true;
			endings.end(names, session, target);
		}
	}
	for (const core::Session& transaction : prepared)
		add_prepared(endings, names, transaction);
	close_names(names);
	tell_hidden(hidden);
	endings.finish(rows);
	return 0;
}
}
