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
enum class Result : uint32 { broken, done, no_table };

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

void back_off(const char* reason, const char* hint) {
	if (!has_incidents()) { // nothing to save: there was no table, or nobody could look for it
		pg_atomic_write_u64(&shared_state()->recorded, 0);
		return;
	}
	const bool is_last = launcher.step == kLastStep;
	launcher.step = launcher.step == 0 ? kFirstStep : std::min(2 * launcher.step, kLastStep);
	launcher.next = monotonic_now() + launcher.step;
	if (reason != nullptr && !is_last)
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
	launcher.next = std::max(launcher.next, monotonic_now());
	switch (static_cast<Result>(pg_atomic_read_u32(&shared_state()->recorder_result))) {
	case Result::done:
		launcher.step = 0;
		break;
	case Result::no_table:
		back_off(psprintf("database \"%s\" does not have the extension", settings.history_database),
		         "Run CREATE EXTENSION pg_unblock there, or set pg_unblock.history_database.");
		break;
	case Result::broken:
		back_off(nullptr, nullptr);
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

// The session's settings, whatever ALTER DATABASE says: nothing may time out, run out of its share of
// the disk, wait for a standby, or be found in another schema.
void settle_settings() {
	for (const auto& [name, value] : compat::recorder_settings())
		SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

// The table, if it is the extension's and nobody but superusers can put a trigger on it, which would run with
// our privileges.
constexpr char kFindTable[] =
    "SELECT c.oid FROM pg_catalog.pg_extension e"
    " JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = "
    "e.oid"
    " AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e'"
    " JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relname = 'incident' AND c.relkind = 'r'"
    " JOIN pg_catalog.pg_roles r ON r.oid = c.relowner AND r.rolsuper"
    " WHERE e.extname = 'pg_unblock'";

// What changes of an incident once it is in the table.
constexpr char kSave[] =
    "INSERT INTO unblock.incident SELECT * FROM unblock.incidents_in_memory(only_unsaved => $1)"
    " WHERE $2 = 0 OR at >= now() - make_interval(mins => $2)"
    " ON CONFLICT (id) DO UPDATE SET (measured_ms, state, mode, lock, blocked_total, longest_wait_ms, "
    "waiters, chain,"
    " ended_at, waiting_ms, idle_ms, outcome, outcome_ms, query_id, query, revision) ="
    " (excluded.measured_ms, excluded.state, excluded.mode, excluded.lock, excluded.blocked_total,"
    " excluded.longest_wait_ms, excluded.waiters, excluded.chain, excluded.ended_at, excluded.waiting_ms,"
    " excluded.idle_ms, excluded.outcome, excluded.outcome_ms, excluded.query_id, excluded.query, "
    "excluded.revision)"
    " RETURNING revision";

constexpr char kForget[] = "DELETE FROM unblock.incident WHERE at < now() - make_interval(mins => $1)";

// What was open when the server, or its shared memory, came to its end stays unknown.
constexpr char kClose[] = "UPDATE unblock.incident SET outcome = 'server stopped'"
                          " WHERE outcome IS NULL AND kind NOT IN ('fuse', 'pause')"
                          " AND NOT starts_with(id, $1)";

void execute(const char* sql, int count, Oid* types, Datum* values, int expected) {
	const int result = SPI_execute_with_args(sql, count, types, values, nullptr, false, 0);
	if (result != expected)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(result));
}

Oid find_table() {
	const int result = SPI_execute(kFindTable, true, 1);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(result));
	bool is_null = true;
	return SPI_processed == 0
	           ? InvalidOid
	           : DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
}

struct Saved {
	uint64 count;
	IncidentRing::State* states;
};

// In a transaction of its own. nullptr: there is no table.
Saved* save() {
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	const Oid table = find_table();
	Saved* saved = nullptr;
	if (OidIsValid(table)) {
		SharedState* shared = shared_state();
		// The extension may have been dropped and created again.
		const bool known = pg_atomic_read_u32(&shared->history_table) == table;
		Oid types[] = {BOOLOID, INT4OID};
		Datum values[] = {BoolGetDatum(known), Int32GetDatum(settings.history_retention)};
		execute(kSave, 2, types, values, SPI_OK_INSERT_RETURNING);
		saved = static_cast<Saved*>(MemoryContextAlloc(TopMemoryContext, sizeof(Saved)));
		saved->count = SPI_processed;
		saved->states = static_cast<IncidentRing::State*>(MemoryContextAllocHuge(
		    TopMemoryContext, sizeof(IncidentRing::State) * std::max<uint64>(SPI_processed, 1)));
		for (uint64 i = 0; i < saved->count; ++i) {
			bool is_null = true;
			saved->states[i] = static_cast<IncidentRing::State>(
			    DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null)));
		}
		if (settings.history_retention > 0)
			execute(kForget, 1, types + 1, values + 1, SPI_OK_DELETE);
		if (!known) {
			Oid text[] = {TEXTOID};
			Datum boot[] = {CStringGetTextDatum(incident_prefix())};
			execute(kClose, 1, text, boot, SPI_OK_UPDATE);
		}
		pg_atomic_write_u32(&shared->history_table, InvalidOid); // until it is committed
		PopActiveSnapshot();
		SPI_finish();
		CommitTransactionCommand();
		pg_atomic_write_u32(&shared->history_table, table);
		return saved;
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	return nullptr;
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
		Saved* saved = save();
		pgstat_report_activity(STATE_IDLE, nullptr);
		if (saved == nullptr)
			return Result::no_table;
		for (uint64 i = 0; i < saved->count; ++i)
			incidents()->mark_saved(saved->states[i]);
		pg_atomic_write_u64(&shared->recorded, changes);
		pfree(saved->states);
		pfree(saved);
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
		EmitErrorReport();
		FlushErrorState();
		HOLD_INTERRUPTS();
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
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
