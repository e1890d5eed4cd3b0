// unblock.terminate(), unblock.cancel() and unblock.terminate_idle(): what a
// person does by hand, with the identity checks of the enforcer.

#include "boundary.h"
#include "collect.h"
#include "farewell.h"
#include "log_line.h"
#include "names.h"
#include "privileges.h"
#include "rows.h"
#include "shared_state.h"
#include "signal.h"

namespace unblock::server {

namespace {

constexpr core::Micros kDefaultWait = 5 * core::kSecond;
constexpr long kPollMilliseconds = 10;
constexpr char kUnreadable[] = "The session's state could not be read. Nothing was done.";

// One row of the result.
struct Outcome {
	int pid;
	const char* usename;
	const char* state; // nullptr if the caller may not see it
	const char* outcome;
	const char* detail;
	TimestampTz backend_start; // of a session that was told to end, else 0
};

void add_row(Rows& rows, const Outcome& outcome) {
	rows.int4(outcome.pid);
	if (outcome.usename == nullptr)
		rows.null();
	else
		rows.name(outcome.usename);
	rows.text(outcome.state);
	rows.text(outcome.outcome);
	rows.text(outcome.detail);
	rows.end_row();
}

// --- arguments ---------------------------------------------------------------------------------------

[[noreturn]] void refuse_null(const char* argument) {
	ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", argument)));
	pg_unreachable();
}

void refuse_null_argument(FunctionCallInfo fcinfo, int number, const char* argument) {
	if (PG_ARGISNULL(number))
		refuse_null(argument);
}

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

// A length of time; months count 30 days, as elsewhere in the server.
core::Micros length_argument(FunctionCallInfo fcinfo, int number, const char* argument) {
	refuse_null_argument(fcinfo, number, argument);
	const Interval* interval = PG_GETARG_INTERVAL_P(number);
	const int64 days = static_cast<int64>(interval->month) * DAYS_PER_MONTH + interval->day;
	int64 length;
	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &length) ||
	    pg_add_s64_overflow(length, interval->time, &length))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is out of range", argument)));
	if (length < 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be negative", argument)));
	return length;
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

Outcome outcome_for(const Names& names, int pid, Oid role, core::State state) {
	Outcome outcome = {};
	outcome.pid = pid;
	outcome.usename = role_name(names, role);
	outcome.state = may_see(role) ? state_name(state) : nullptr;
	return outcome;
}

void tell(Outcome& outcome, const char* what, const char* detail) {
	outcome.outcome = what;
	outcome.detail = detail;
}

Farewell note_for(core::Action action, const char* function) {
	Farewell note = {};
	note.asked = Farewell::Asked::by_role;
	note.action = action;
	namestrcpy(&note.role, GetUserNameFromId(GetUserId(), false));
	namestrcpy(&note.function, function);
	return note;
}

// Signals and says how it went; a terminated session's end is still to be waited for.
void act(Outcome& outcome, const Target& target, const Farewell& note) {
	const core::Action action = note.action;
	switch (send(target, action, settings.explain_actions ? &note : nullptr)) {
	case Sent::sent:
		if (action == core::Action::terminate) {
			outcome.backend_start = target.backend_start;
			count(kManualTerminated);
		} else {
			tell(outcome, "canceled", "The statement was told to stop.");
			count(kManualCancelled);
		}
		log_manual_action(action, NameStr(note.function), target.pid, outcome.usename ? outcome.usename : "");
		break;
	case Sent::gone:
		tell(outcome, "gone", "There is no such session any more.");
		break;
	case Sent::changed:
		tell(outcome, "changed", "The session went on in the last moment. Nothing was done.");
		break;
	case Sent::busy:
		tell(outcome, "changed", kUnreadable);
		break;
	case Sent::failed:
		tell(outcome, "still there", psprintf("The signal could not be sent: %s.", strerror(errno)));
		break;
	}
}

// Waits until the sessions that were told to end are gone, or the time has passed.
void wait_for_ends(Outcome* outcomes, std::size_t count, core::Micros wait) {
	core::Micros deadline;
	if (pg_add_s64_overflow(monotonic_now(), wait, &deadline))
		deadline = INT64_MAX;
	const auto is_awaited = [](const Outcome& outcome) { return outcome.outcome == nullptr; };
	for (;;) {
		for (std::size_t i = 0; i < count; ++i)
			if (is_awaited(outcomes[i]) && !is_present(outcomes[i].pid, outcomes[i].backend_start))
				tell(outcomes[i], "terminated", "The session has ended.");
		if (std::none_of(outcomes, outcomes + count, is_awaited) || monotonic_now() >= deadline)
			break;
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPollMilliseconds,
		          compat::action_wait_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	for (std::size_t i = 0; i < count; ++i)
		if (is_awaited(outcomes[i]))
			tell(outcomes[i], "still there", "The session was told to end and has not done so yet.");
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
	close_names(names);
	if (!may_signal(status->role)) {
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
	target->wait = wait_of(proc->wait_event_info);
	return target->wait == core::Wait::other;
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

// Sessions that the caller may neither see nor hope to signal are left out, as in idle_transactions: a
// row would tell that they are idle.
bool may_know(const core::Session& session) {
	return !session.masked || has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND);
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
	if (prepare(fcinfo, &outcome, &status, &target)) {
		act(outcome, target, note_for(core::Action::terminate, "unblock.terminate"));
		wait_for_ends(&outcome, 1, wait);
	}
	add_row(rows, outcome);
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
	if (prepare(fcinfo, &outcome, &status, &target)) {
		if (has_statement_to_cancel(status, &target))
			act(outcome, target, note_for(core::Action::cancel, "unblock.cancel"));
		else
			tell(outcome, "nothing to cancel",
			     "The session runs no statement, or one that waits for its client or for a standby, where a "
			     "cancel is of no use.");
	}
	add_row(rows, outcome);
	return 0;
}

PG_FUNCTION_INFO_V1(pg_unblock_terminate_idle);
PGDLLEXPORT Datum pg_unblock_terminate_idle(PG_FUNCTION_ARGS) {
	using namespace unblock;
	using namespace unblock::server;
	Rows rows(fcinfo);
	IdleWanted wanted;
	wanted.older_than = length_argument(fcinfo, 0, "older_than");
	refuse_null_argument(fcinfo, 1, "only_blockers");
	wanted.only_blockers = PG_GETARG_BOOL(1);
	refuse_null_argument(fcinfo, 2, "dry_run");
	const bool dry_run = PG_GETARG_BOOL(2);
	wanted.database = database_argument(fcinfo, 3);

	const Collected& collected = *collect(Purpose::reporting);
	const core::WaitGraph& graph = graph_of(collected);
	const auto sessions = collected.snapshot.sessions;
	auto* outcomes =
	    static_cast<Outcome*>(palloc0(sizeof(Outcome) * std::max<std::size_t>(sessions.size(), 1)));
	std::size_t count = 0;
	const Farewell note = note_for(core::Action::terminate, "unblock.terminate_idle");
	const Names names = open_names();
	for (core::Index i = 0; i < sessions.size(); ++i) {
		const core::Session& session = sessions[i];
		if (!is_wanted(wanted, graph, i) || !may_know(session))
			continue;
		Outcome& outcome = outcomes[count++];
		outcome = outcome_for(names, session.pid, session.role, session.state);
		if (!may_signal(session.role)) {
			tell(outcome, "not permitted", "The same rules apply as for pg_terminate_backend().");
			continue;
		}
		if (dry_run) {
			tell(outcome, "would terminate", "Nothing was done.");
			continue;
		}
		Target target = target_of(session);
		target.must_block = wanted.only_blockers;
		target.count_advisory_locks = true; // a person has seen what it blocks
		act(outcome, target, note);
	}
	close_names(names);
	wait_for_ends(outcomes, count, kDefaultWait);
	for (std::size_t i = 0; i < count; ++i)
		add_row(rows, outcomes[i]);
	return 0;
}
}
