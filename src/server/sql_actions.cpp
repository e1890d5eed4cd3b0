// unblock.terminate(), unblock.cancel() and unblock.terminate_idle(): what a
// person does by hand, with the identity checks of the enforcer.

#include "actions.h"
#include "boundary.h"
#include "privileges.h"

namespace unblock::server {

namespace {

// --- arguments ---------------------------------------------------------------------------------------

int pid_argument(FunctionCallInfo fcinfo, int number) {
	refuse_null_argument(fcinfo, number, "pid");
	const int pid = PG_GETARG_INT32(number);
	if (pid == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid PID: 0"),
		                errdetail("PID 0 stands for prepared transactions, which have no process."),
		                errhint("Use ROLLBACK PREPARED with the transaction's gid, in its database.")));
	if (pid < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid PID: %d", pid)));
	if (pid == MyProcPid)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("PID %d is the calling session itself", pid)));
	return pid;
}

// --- one session -------------------------------------------------------------------------------------

enum class Found { client, nobody, unreadable };

// Looks for the process of a pid; an error if it is no client's.
Found find_client(int pid, Status* status) {
	PGPROC* proc = BackendPidGetProc(pid);
	if (proc == nullptr && AuxiliaryPidGetProc(pid) == nullptr)
		return Found::nobody;
	if (proc != nullptr && !read_status(proc, pid, status, nullptr))
		return Found::unreadable;
	if (proc == nullptr || status->type != B_BACKEND)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("PID %d is not a client backend", pid),
		         errdetail("Only sessions of clients are ended or canceled.")));
	return Found::client;
}

// The common part of terminate() and cancel(). False: the outcome is known, nothing is to be done.
bool prepare(FunctionCallInfo fcinfo, Outcome* outcome, Status* status, Target* target) {
	const int pid = pid_argument(fcinfo, 0);
	const bool has_xact_start = !PG_ARGISNULL(1);
	*outcome = {};
	outcome->pid = pid;
	const Found found = find_client(pid, status);
	if (found == Found::nobody)
		tell(*outcome, "gone", "There is no such session.");
	if (found == Found::unreadable)
		tell(*outcome, "changed", kUnreadable);
	if (found != Found::client)
		return false;
	const Names names = open_names();
	*outcome = outcome_for(names, pid, status->role, state_of(*status));
	const bool permitted = may_signal(names, status->role);
	close_names(names);
	if (!permitted) {
		tell(*outcome, "not permitted",
		     "The same rules apply as for pg_terminate_backend() and pg_cancel_backend().");
		return false;
	}
	*target = {};
	target->pid = pid;
	target->backend_start = status->backend_start;
	target->same_transaction = has_xact_start;
	target->xact_start = has_xact_start ? PG_GETARG_TIMESTAMPTZ(1) : 0;
	if (has_xact_start && target->xact_start != status->xact_start) {
		tell(*outcome, "changed", "The session is not in that transaction any more. Nothing was done.");
		return false;
	}
	return true;
}

// Pins the target to the present statement, and says whether there is one that a cancel would help against:
// it is ignored while a statement reads from its client or writes to it (postgres.c, ProcessInterrupts()),
// and would end a commit's wait for a standby.
bool has_statement_to_cancel(const Status& status, Target* target) {
	target->same_spell = true;
	target->state = state_of(status);
	target->state_start = status.state_start;
	if (target->state != core::State::active && target->state != core::State::fastpath)
		return false;
	PGPROC* proc = BackendPidGetProc(target->pid);
	if (proc == nullptr)
		return false;
	target->local_xid = compat::local_xid(proc);
	target->where_it_helps = true;
	return wait_of(proc->wait_event_info) == core::Wait::other;
}

// --- many sessions -----------------------------------------------------------------------------------

struct IdleWanted {
	core::Micros older_than;
	bool only_blockers;
	Oid database;
};

bool is_wanted(const IdleWanted& wanted, const core::WaitGraph& graph, core::Index index) {
	const core::Snapshot& snapshot = graph.snapshot();
	const core::Session& session = snapshot.sessions[index];
	return session.kind == core::Kind::client && session.pid != MyProcPid &&
	       session.database == wanted.database && core::idle_in_transaction(session) &&
	       snapshot.now - session.state_start >= wanted.older_than &&
	       (!wanted.only_blockers || graph.node(index).blocked_total > 0);
}

Oid database_argument(FunctionCallInfo fcinfo, int number) {
	refuse_null_argument(fcinfo, number, "database");
	return get_database_oid(NameStr(*PG_GETARG_NAME(number)), false);
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_terminate);
PGDLLEXPORT Datum pg_unblock_terminate(PG_FUNCTION_ARGS) {
	using namespace unblock;
	using namespace unblock::server;
	Rows rows(fcinfo);
	const core::Micros wait = length_argument(fcinfo, 2, "wait");
	Outcome outcome;
	Status status;
	Target target;
	Drafts* drafts = nullptr;
	if (prepare(fcinfo, &outcome, &status, &target)) {
		act(outcome, target, note_for(core::Action::terminate, "unblock.terminate"), drafts);
		wait_for_ends(&outcome, 1, wait);
	}
	add_outcome(rows, outcome);
	return 0;
}

PG_FUNCTION_INFO_V1(pg_unblock_cancel);
PGDLLEXPORT Datum pg_unblock_cancel(PG_FUNCTION_ARGS) {
	using namespace unblock;
	using namespace unblock::server;
	Rows rows(fcinfo);
	Outcome outcome;
	Status status;
	Target target;
	Drafts* drafts = nullptr;
	if (prepare(fcinfo, &outcome, &status, &target)) {
		if (has_statement_to_cancel(status, &target))
			act(outcome, target, note_for(core::Action::cancel, "unblock.cancel"), drafts);
		else
			tell(outcome, "nothing to cancel",
			     "The session runs no statement, or one that waits for its client or for a standby, where a "
			     "cancel is of no use.");
	}
	add_outcome(rows, outcome);
	return 0;
}

PG_FUNCTION_INFO_V1(pg_unblock_terminate_idle);
PGDLLEXPORT Datum pg_unblock_terminate_idle(PG_FUNCTION_ARGS) {
	using namespace unblock;
	using namespace unblock::server;
	Rows rows(fcinfo);
	IdleWanted wanted;
	wanted.older_than = length_argument(fcinfo, 0, "older_than");
	wanted.only_blockers = boolean_argument(fcinfo, 1, "only_blockers");
	const bool dry_run = boolean_argument(fcinfo, 2, "dry_run");
	wanted.database = database_argument(fcinfo, 3);

	const Collected& collected = *collect(Purpose::reporting);
	const core::WaitGraph& graph = graph_of(collected);
	const auto sessions = collected.snapshot.sessions;
	Endings endings(sessions.size(), "unblock.terminate_idle", dry_run);
	const Names names = open_names();
	for (core::Index i = 0; i < sessions.size(); ++i) {
		if (!is_wanted(wanted, graph, i))
			continue;
		Target target = target_of(sessions[i]);
		target.must_block = wanted.only_blockers ? core::MustBlock::as_holder : core::MustBlock::no;
		target.count_advisory_locks = true; // a person has seen what it blocks
		endings.end(names, sessions[i], target);
	}
	close_names(names);
	endings.finish(rows);
	return 0;
}
}
