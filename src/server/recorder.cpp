// The enforcer's side, and the worker.

#include "recorder.h"
#include "history.h"
#include "monotonic.h"
#include "shared_state.h"

extern "C" {
#include "executor/spi.h"
#include "utils/snapmgr.h"
}

namespace unblock::server {

namespace {

constexpr core::Micros kBetweenLaunches = core::kSecond / 2;
constexpr core::Micros kFirstStep = core::kSecond; // of the back-off, each one twice as long
constexpr core::Micros kLastStep = 300 * core::kSecond;
constexpr core::Micros kOnStandby = 10 * core::kSecond;
// A recorder that has been at it for so long leaves the rest to the next one, so that DROP DATABASE, which
// waits five seconds for sessions to leave, finds its moment however many incidents come.
constexpr core::Micros kLongestRun = core::kSecond;

// What came of a recorder; what it finds when it starts is `broken`.
enum class Result : uint32 { broken, done, no_table, foreign_table };

void set_result(Result result) {
	pg_atomic_write_u32(&shared_state()->recorder_result, static_cast<uint32>(result));
}

// --- in the enforcer ---------------------------------------------------------------------------------

struct Launcher {
	BackgroundWorkerHandle* running = nullptr;
	core::Micros next = 0; // monotonic: no launch before
	core::Micros step = 0; // of the back-off; 0: it works
};
Launcher launcher;

long milliseconds_until(core::Micros moment) {
	constexpr core::Micros per_millisecond = 1000;
	return static_cast<long>(std::max<core::Micros>(moment - monotonic_now(), 0) / per_millisecond) + 1;
}

bool has_incidents() {
	return incidents()->changes() != 0;
}

// Returns whether it was the last step already.
bool back_off() {
	if (!has_incidents()) { // nothing to save: there was no table, or nobody could look for it
		pg_atomic_write_u64(&shared_state()->recorded, 0);
		return true;
	}
	const bool is_last = launcher.step == kLastStep;
	launcher.step = launcher.step == 0 ? kFirstStep : std::min(2 * launcher.step, kLastStep);
	launcher.next = monotonic_now() + launcher.step;
	return is_last;
}

void back_off(const char* reason, const char* hint) {
	if (!back_off())
		ereport(LOG, (errmsg("pg_unblock: the history is not saved: %s", reason), errhint("%s", hint)));
}

bool launch() {
	BackgroundWorker worker = {};
	strlcpy(worker.bgw_name, kRecorderType, BGW_MAXLEN);
	strlcpy(worker.bgw_type, kRecorderType, BGW_MAXLEN);
	worker.bgw_flags = compat::recorder_flags();
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "pg_unblock", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pg_unblock_recorder_main", BGW_MAXLEN);
	worker.bgw_notify_pid = MyProcPid;
	set_result(Result::broken);
	const MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
	const bool registered = RegisterDynamicBackgroundWorker(&worker, &launcher.running);
	MemoryContextSwitchTo(before);
	return registered;
}

// What the last one has come to. A broken one has left a line in the log itself.
void conclude() {
	pfree(launcher.running);
	launcher.running = nullptr;
	switch (static_cast<Result>(pg_atomic_read_u32(&shared_state()->recorder_result))) {
	case Result::done:
		launcher.step = 0;
		break;
	case Result::no_table:
		back_off(psprintf("database \"%s\" does not have the extension", settings.history_database),
		         "Run CREATE EXTENSION pg_unblock there, or set pg_unblock.history_database.");
		break;
	case Result::foreign_table:
		back_off("table unblock.incident or its schema does not belong to a superuser",
		         "Give both to a superuser: what others own could run anything with the recorder's rights.");
		break;
	case Result::broken:
		back_off();
		break;
	}
}

bool is_running() {
	pid_t pid;
	return launcher.running != nullptr && GetBackgroundWorkerPid(launcher.running, &pid) != BGWH_STOPPED;
}

// At the start of the server, too: what its earlier lives have left open is to be closed. A standby leaves
// that to the time after its promotion.
bool is_pending() {
	const uint64 recorded = pg_atomic_read_u64(&shared_state()->recorded);
	return *settings.history_database != '\0' && incidents()->changes() != recorded &&
	       (has_incidents() || !RecoveryInProgress());
}

// --- in the recorder ---------------------------------------------------------------------------------

struct Setting {
	const char* name;
	const char* value;
};
// Whatever ALTER DATABASE says: nothing may time out, run out of its share of the disk, wait for a standby,
// be found in another schema, or run somebody's trigger with our privileges. Two things are left: who has the
// table locked is waited for, which every report shows; and a server that is read-only stays so.
constexpr Setting kSettings[] = {
    {"role", "none"},
    {"search_path", "pg_catalog, pg_temp"},
    {"session_replication_role", "replica"},
    {"statement_timeout", "0"},
    {"lock_timeout", "0"},
    {"idle_in_transaction_session_timeout", "0"},
    {"temp_file_limit", "-1"},
    {"synchronous_commit", "local"},
    {"default_transaction_isolation", "read committed"},
};

void settle_settings() {
	for (const Setting& setting : kSettings)
		SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
}

// The extension's own table, and whether it and its schema belong to superusers: another owner could have
// anything run there with our privileges.
constexpr char kFindTable[] =
    "SELECT r.rolsuper AND s.rolsuper FROM pg_extension e"
    " JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid"
    " AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'"
    " JOIN pg_class c ON c.oid = d.objid AND c.relname = 'incident' AND c.relkind = 'r'"
    " JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'unblock'"
    " JOIN pg_roles r ON r.oid = c.relowner JOIN pg_roles s ON s.oid = n.nspowner"
    " WHERE e.extname = 'pg_unblock'";

#define COLUMNS                                                                                              \
	"id, at, kind, rule, limit_ms, measured_ms, pid, backend_type, backend_start, xact_start, datid, "       \
	"datname, usesysid, usename, application_name, client_addr, state, backend_xid, locks_held, for_pid, "   \
	"database, relation, relation_name, lock, mode, blocked_total, longest_wait_ms, waiters, chain, "        \
	"ended_at, waiting_ms, "                                                                                 \
	"idle_ms, outcome, outcome_ms, asked_by, function, query_id, query, "                                    \
	"locking_query_id, locking_query, locking_query_at, revision"

// A record that has changed takes the place of what was saved of it. What changes between the two
// statements is left to the next time.
constexpr char kClear[] = "DELETE FROM unblock.incident"
                          " WHERE id IN (SELECT id FROM unblock.incidents_in_memory(only_unsaved => true))";
constexpr char kSave[] = "INSERT INTO unblock.incident (" COLUMNS ")"
                         " SELECT " COLUMNS " FROM unblock.incidents_in_memory(only_unsaved => true)"
                         " ON CONFLICT (id) DO NOTHING RETURNING revision";

// An episode is as old as its end.
constexpr char kForget[] = "DELETE FROM unblock.incident WHERE at < now() - make_interval(mins => $1)"
                           " AND coalesce(ended_at, at) < now() - make_interval(mins => $1)"
                           " AND NOT (kind = 'episode' AND outcome IS NULL)";

// What was open when the server, or its shared memory, came to its end stays unknown.
constexpr char kClose[] = "UPDATE unblock.incident SET outcome = 'server stopped'"
                          " WHERE outcome IS NULL AND kind NOT IN ('fuse', 'pause')"
                          " AND NOT starts_with(id, $1)";

void execute(const char* sql, Oid type, Datum value, int expected) {
	const int count = type == InvalidOid ? 0 : 1;
	const int result = SPI_execute_with_args(sql, count, &type, &value, nullptr, false, 0);
	if (result != expected)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(result));
}

// The value of a row's only column.
Datum only_value(uint64 row) {
	bool is_null = true;
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &is_null);
}

// Whether there is a table to save in.
Result look_for_table() {
	execute(kFindTable, InvalidOid, 0, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return Result::no_table;
	return DatumGetBool(only_value(0)) ? Result::done : Result::foreign_table;
}

struct Saved {
	uint64 count;
	IncidentRing::State* states; // palloc'd
};

// All that is to be done with the table, in one transaction.
Saved write_table() {
	SharedState* shared = shared_state();
	execute(kClear, InvalidOid, 0, SPI_OK_DELETE);
	execute(kSave, InvalidOid, 0, SPI_OK_INSERT_RETURNING);
	Saved saved;
	saved.count = SPI_processed;
	saved.states = static_cast<IncidentRing::State*>(MemoryContextAllocHuge(
	    TopMemoryContext, sizeof(IncidentRing::State) * std::max<uint64>(SPI_processed, 1)));
	for (uint64 i = 0; i < saved.count; ++i)
		saved.states[i] = static_cast<IncidentRing::State>(DatumGetInt64(only_value(i)));
	if (settings.history_retention > 0)
		execute(kForget, INT4OID, Int32GetDatum(settings.history_retention), SPI_OK_DELETE);
	if (pg_atomic_read_u32(&shared->earlier_closed) == 0)
		execute(kClose, TEXTOID, CStringGetTextDatum(incident_prefix()), SPI_OK_UPDATE);
	return saved;
}

// In a transaction of its own, after which what was saved is marked.
Result save() {
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	const Result result = look_for_table();
	Saved saved = {};
	if (result == Result::done)
		saved = write_table();
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	if (result != Result::done)
		return result;
	for (uint64 i = 0; i < saved.count; ++i)
		incidents()->mark_saved(saved.states[i]);
	pfree(saved.states);
	pg_atomic_write_u32(&shared_state()->earlier_closed, 1);
	return result;
}

// The enforcer that waits for this may be another one than that which launched us.
void leave_place(int, Datum) {
	pg_atomic_write_u32(&shared_state()->recorder_pid, 0);
	wake_enforcer();
}

// Saves until nothing new has come meanwhile.
Result record_all() {
	SharedState* shared = shared_state();
	const core::Micros last_start = monotonic_now() + kLongestRun;
	for (;;) {
		CHECK_FOR_INTERRUPTS();
		const uint64 changes = incidents()->changes();
		if (changes == pg_atomic_read_u64(&shared->recorded) || monotonic_now() > last_start)
			return Result::done;
		pgstat_report_activity(STATE_RUNNING, "saving incidents");
		const Result result = save();
		pgstat_report_activity(STATE_IDLE, nullptr);
		if (result != Result::done)
			return result;
		pg_atomic_write_u64(&shared->recorded, changes);
	}
}

// One line in the log for an error, and no restart.
void run_recorder() {
	const MemoryContext context = CurrentMemoryContext;
	PG_TRY();
	{ set_result(record_all()); }
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		const ErrorData* error = CopyErrorData();
		FlushErrorState();
		HOLD_INTERRUPTS();
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
		ereport(LOG, (errcode(error->sqlerrcode),
		              errmsg("pg_unblock: the history is not saved: %s", error->message),
		              error->detail ? errdetail_internal("%s", error->detail) : 0,
		              error->hint ? errhint("%s", error->hint) : 0));
	}
	PG_END_TRY();
}

} // namespace

long keep_recording() {
	if (launcher.running != nullptr) {
		if (is_running())
			return -1; // the postmaster tells of its end
		conclude();
	}
	// A recorder that a previous life of the enforcer has launched tells of its end.
	if (pg_atomic_read_u32(&shared_state()->recorder_pid) != 0 || !is_pending())
		return -1;
	if (RecoveryInProgress())
		return milliseconds_until(monotonic_now() + kOnStandby);
	if (monotonic_now() < launcher.next)
		return milliseconds_until(launcher.next);
	launcher.next = monotonic_now() + kBetweenLaunches;
	if (launch())
		return -1;
	back_off("there is no free slot for a worker", "Raise max_worker_processes.");
	return milliseconds_until(launcher.next);
}

} // namespace unblock::server

extern "C" void pg_unblock_recorder_main(Datum) {
	using namespace unblock::server;
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	uint32 nobody = 0;
	if (!pg_atomic_compare_exchange_u32(&shared_state()->recorder_pid, &nobody,
	                                    static_cast<uint32>(MyProcPid)))
		return; // another one is at it, launched by a previous life of the enforcer
	before_shmem_exit(leave_place, 0);
	BackgroundWorkerInitializeConnection(settings.history_database, nullptr, 0);
	settle_settings();
	run_recorder();
}
