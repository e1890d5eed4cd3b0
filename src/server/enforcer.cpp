// The worker's loop: snapshot, graph, decisions, signals, sleep.
//
// It belongs to no database, reads no catalog, waits for no heavyweight lock
// and writes no table, so that nothing it polices can stop it. Between turns
// it sleeps until a limit could be broken at the earliest.

#include "enforcer.h"
#include "boundary.h"
#include "chronicle.h"
#include "collect.h"
#include "farewell.h"
#include "log_line.h"
#include "process_runs.h"
#include "recorder.h"
#include "shared_state.h"
#include "signal.h"
#include "watch_list.h"

namespace unblock::server {

namespace {

constexpr int kRestartSeconds = 1;

// What lives from turn to turn, in C++.
struct Memory {
	core::Clock clock;
	core::Policy policy;
	core::StatementWaits waits;
	Chronicle chronicle;
};

void publish_file_values(const InForce& file) {
	SharedState* shared = shared_state();
	for (int setting = 0; setting < kSessionSettings; ++setting) {
		pg_atomic_write_u32(&shared->file_values[setting], static_cast<uint32>(file.values[setting]));
		pg_atomic_write_u32(&shared->file_sources[setting], static_cast<uint32>(file.sources[setting]));
	}
	pg_write_barrier();
	pg_atomic_write_u32(&shared->file_values_known, 1);
}

// --- one turn ----------------------------------------------------------------------------------------

// Follows both clocks to the moment of a snapshot, and says so when the wall clock was set.
void follow_clocks(Memory& memory, core::ClockReading reading) {
	const core::Micros step = memory.clock.look(reading);
	SharedState* shared = shared_state();
	pg_atomic_write_u64(&shared->clock_wall, static_cast<uint64>(reading.wall));
	pg_atomic_write_u64(&shared->clock_monotonic, static_cast<uint64>(reading.monotonic));
	pg_atomic_write_u64(&shared->clock_steady_since, static_cast<uint64>(memory.clock.steady_since()));
	if (step == 0)
		return;
	count(kClockSteps);
	const DurationText length = duration_text(std::abs(step));
	ereport(LOG, (step > 0 ? errmsg("pg_unblock: the clock was set forward by %s", length.text)
	                       : errmsg("pg_unblock: the clock was set back by %s", length.text),
	              errdetail("The step does not count towards any limit.")));
}

core::ClockReading moment_of(const Collected& collected) {
	return {collected.snapshot.now, collected.monotonic};
}

// A snapshot during which nobody set the clock: see ClockReading.
Collected* collect_on_steady_clock() {
	for (;;) {
		Collected* collected = collect(Purpose::enforcing);
		const core::ClockReading after = {GetCurrentTimestamp(), monotonic_now()};
		if (std::abs(core::drift(moment_of(*collected), after)) <= core::Clock::kTolerance)
			return collected;
		CHECK_FOR_INTERRUPTS();
	}
}

// What the ended client will be told.
Farewell farewell_of(const Collected& collected, const core::WaitGraph& graph,
                     const core::Decision& decision) {
	const core::Snapshot& snapshot = collected.snapshot;
	const core::Session& session = snapshot.sessions[decision.session];
	Farewell farewell = {};
	farewell.asked = Farewell::Asked::by_limit;
	farewell.action = decision.action;
	farewell.rule = decision.rule;
	farewell.limit = decision.limit;
	farewell.measured = decision.measured;
	farewell.since_cancel = decision.since_cancel;
	farewell.grace = session.limits.cancel_grace;
	farewell.blocked = decision.blocked;
	farewell.in_transaction = session.state != core::State::idle;
	if (decision.preempting != core::kNone)
		farewell.preempting = snapshot.sessions[snapshot.waiters[decision.preempting].session].pid;
	if (decision.waiter == core::kNone)
		return farewell;
	const core::Waiter& waiter = snapshot.waiters[decision.waiter];
	farewell.has_lock = true;
	farewell.lock = collected.tags[waiter.lock];
	farewell.mode =
	    core::mode_against(graph, decision.session, waiter, decision.must_block == core::MustBlock::in_queue);
	return farewell;
}

// A stalled client's process must not have run since it was judged.
bool has_run_since(const core::Session& session) {
	const uint64 runs = process_runs(session.pid);
	return runs == 0 || runs != session.runs;
}

// The session as it was judged.
Target judged_target(const Collected& collected, const core::Decision& decision) {
	const core::Snapshot& snapshot = collected.snapshot;
	const core::Session& session = snapshot.sessions[decision.session];
	Target target = target_of(session);
	target.same_spell = decision.same_spell;
	target.same_wait = decision.stalled;
	target.must_block = decision.must_block;
	if (decision.must_block == core::MustBlock::in_queue)
		target.lock = collected.tags[snapshot.waiters[decision.waiter].lock];
	if (decision.preempting != core::kNone)
		target.waiter_pid = snapshot.sessions[snapshot.waiters[decision.preempting].session].pid;
	return target;
}

Sent end_session(const Collected& collected, const core::Decision& decision, const Farewell& farewell) {
	if (decision.stalled && has_run_since(collected.sessions[decision.session]))
		return Sent::changed;
	return send(judged_target(collected, decision), decision.action,
	            settings.explain_actions ? &farewell : nullptr);
}

void carry_out(Memory& memory, const Collected& collected, const core::WaitGraph& graph, Drafts& drafts,
               const core::Decision& decision) {
	const core::Session& session = collected.sessions[decision.session];
	Farewell farewell = farewell_of(collected, graph, decision);
	Incident* incident = draft_incident(memory.chronicle, memory.policy, drafts, decision, farewell);
	LockingStatement locking = {};
	if (decision.waiter != core::kNone)
		locking = drafts.locking_statement(decision.session, decision.waiter);
	strlcpy(farewell.lock_relation, incident->relation, sizeof(farewell.lock_relation));
	farewell.relation = locking.relation;
	farewell.statement = locking.number;
	const char* line = action_line(*incident, farewell, drafts.statement(decision.session), locking);
	if (decision.dry_run) {
		keep(memory.chronicle, *incident, line);
		return;
	}
	if (enforcement_paused_for() > 0) { // since the decision
		memory.policy.carried_out(decision, session, std::nullopt);
		return;
	}
	const Sent sent = end_session(collected, decision, farewell);
	const int kill_error = errno;
	incident->signalled_at = monotonic_now();
	memory.policy.carried_out(decision, session,
	                          sent == Sent::sent ? std::optional(incident->signalled_at) : std::nullopt);
	errno = kill_error;
	if (sent == Sent::failed)
		ereport(WARNING, (errmsg("pg_unblock: could not send signal to process %d: %m", session.pid)));
	if (sent != Sent::sent) {
		count(kChangedInTime);
		return;
	}
	keep(memory.chronicle, *incident, line);
}

// Lets reports know what is remembered from look to look.
void publish_accounts(const Memory& memory, const Collected& collected) {
	for (core::Index i = 0; i < collected.snapshot.sessions.size(); ++i) {
		const core::Session& session = collected.sessions[i];
		SessionSlot* slot = slot_of(collected.details[i].process_number, session.pid);
		const Account account = {session.xact_start, memory.policy.counted(session), session.query_start,
		                         session.blocked_before, session.counted_blocked_before};
		if (slot != nullptr && (account.blocking_idle.sum != 0 || account.blocked_before != 0))
			write_account(slot, account);
	}
}

void tell_fuse(const core::Turn& turn) {
	pg_atomic_write_u32(&shared_state()->fuse_is_blown, turn.fuse_blown ? 1 : 0);
	if (!turn.fuse_blew_now)
		return;
	count(kFuseBlown);
	record_fuse();
	ereport(WARNING,
	        (errmsg_plural("pg_unblock: stopped ending sessions after %d action in one minute",
	                       "pg_unblock: stopped ending sessions after %d actions in one minute",
	                       static_cast<unsigned long>(settings.max_actions_per_minute),
	                       settings.max_actions_per_minute),
	         errdetail("More have broken their limits. Enforcement goes on when the minute has passed."),
	         errhint("If so many ends are intended, raise pg_unblock.max_actions_per_minute.")));
}

std::optional<core::Micros> sooner(std::optional<core::Micros> a, std::optional<core::Micros> b) {
	return !a || (b && *b < *a) ? b : a;
}

// Looks once, acts, and returns for how many ms nothing can happen; -1: for ever.
long look_and_act(Memory& memory, const core::ClusterSettings& cluster, core::Micros report_after) {
	const core::Micros start = monotonic_now();
	Collected* collected = collect_on_steady_clock();
	const core::ClockReading moment = moment_of(*collected);
	follow_clocks(memory, moment);
	const bool word_comes = wait_for_word(memory.chronicle);
	auto* graph = Owned<core::WaitGraph>::in(CurrentMemoryContext);
	const core::Turn* turn = nullptr;
	const core::Episodes::Look* episodes = nullptr;
	core::Micros graph_time = 0;
	core_phase([&memory, collected, graph, &cluster, &moment, &turn, &episodes, &graph_time, report_after,
	            word_comes] {
		const core::Snapshot& snapshot = collected->snapshot;
		memory.clock.correct({collected->sessions, snapshot.sessions.size()},
		                     {collected->waiters, snapshot.waiters.size()});
		memory.waits.look(snapshot, {collected->sessions, snapshot.sessions.size()}, moment.monotonic);
		const core::Micros begin = monotonic_now();
		graph->make(snapshot);
		graph_time = monotonic_now() - begin;
		turn = &memory.policy.look(**graph, cluster, moment.monotonic);
		episodes = &memory.chronicle.episodes.look(**graph, report_after, moment.monotonic, word_comes);
	});
	Statistics& statistics = shared_state()->statistics;
	count(kLooks);
	record(statistics.look_time, static_cast<uint64>(monotonic_now() - start));
	record(statistics.snapshot_time, collected->total_time);
	record(statistics.partition_time, collected->partition_time);
	record(statistics.graph_time, static_cast<uint64>(graph_time));

	Drafts drafts(*collected, **graph);
	memory.chronicle.spent = 0;
	memory.chronicle.records = 0;
	for (const core::Decision& decision : turn->decisions)
		carry_out(memory, *collected, **graph, drafts, decision);
	tell_episodes(memory.chronicle, memory.policy, drafts, *episodes);
	if (memory.chronicle.records > 0) {
		count(kRecorded);
		record(statistics.record_time, static_cast<uint64>(memory.chronicle.spent));
	}
	pg_atomic_fetch_add_u64(&statistics.waited, episodes->waited);
	publish_accounts(memory, *collected);
	tell_fuse(*turn);
	const std::optional<core::Micros> sleep = sooner(turn->sleep, episodes->sleep);
	if (!sleep)
		return -1;
	constexpr core::Micros per_millisecond = 1000;
	const core::Micros spent = monotonic_now() - moment.monotonic;
	const core::Micros left = std::max<core::Micros>(*sleep - spent, 0);
	return static_cast<long>(std::min<core::Micros>((left + per_millisecond - 1) / per_millisecond, INT_MAX));
}

// One turn in a memory context of its own. Returns the time to sleep in ms, -1: until something happens.
long take_turn(Memory& memory) {
	SharedState* shared = shared_state();
	// While the limits are being read, any published limit is worth a wake-up: see publish_setting().
	pg_atomic_write_u32(&shared->plan, UINT32_MAX);
	pg_memory_barrier();
	InForce file;
	current_values(file);
	publish_file_values(file);
	const uint32 smallest = smallest_limit(file);
	adopt_manual_actions(memory.chronicle);
	const long watching = look_after_watched();
	long sleep = -1;
	constexpr core::Micros per_millisecond = 1000;
	const bool off = file.values[kSettingMode] == static_cast<int>(core::Mode::off);
	const core::Micros report_after = off ? 0 : settings.report_after * per_millisecond;
	if ((smallest != 0 && !off) || report_after != 0 || memory.chronicle.episodes.has_open()) {
		core::ClusterSettings cluster;
		cluster.smallest_limit = smallest * per_millisecond;
		cluster.max_actions_per_minute = settings.max_actions_per_minute;
		cluster.paused_for = enforcement_paused_for();
		sleep = look_and_act(memory, cluster, report_after);
		if (smallest != 0 && !off)
			pg_atomic_write_u32(&shared->plan, smallest);
	} else
		pg_atomic_write_u32(&shared->fuse_is_blown, 0);
	count(kTurns);
	for (const long other : {watching, keep_recording()})
		if (other >= 0 && (sleep < 0 || other < sleep))
			sleep = other;
	return sleep;
}

void leave_place(int, Datum) {
	pg_atomic_write_u32(&shared_state()->enforcer, 0);
}

void take_place(Memory& memory) {
	SharedState* shared = shared_state();
	const uint64 wall = pg_atomic_read_u64(&shared->clock_wall);
	if (wall != 0)
		memory.clock.resume({static_cast<core::Time>(wall),
		                     static_cast<core::Micros>(pg_atomic_read_u64(&shared->clock_monotonic))},
		                    static_cast<core::Time>(pg_atomic_read_u64(&shared->clock_steady_since)));
	pg_atomic_write_u32(&shared->fuse_is_blown, 0);
	on_shmem_exit(leave_place, 0);
	pg_atomic_write_u32(&shared->enforcer, static_cast<uint32>(compat::my_number()) + 1);
}

[[noreturn]] void run() {
	auto* memory = Owned<Memory>::in(TopMemoryContext);
	core_phase([memory] { memory->make(); });
	take_place(**memory);
	resume((*memory)->chronicle, (*memory)->policy);
	// What a usual turn needs stays allocated: new pages would cost it more than its work does.
	constexpr Size usual = 256 * 1024;
	const MemoryContext turn_context =
	    AllocSetContextCreate(TopMemoryContext, "pg_unblock turn", usual, usual, ALLOCSET_DEFAULT_MAXSIZE);
	for (;;) {
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending) {
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(turn_context);
		const long sleep = take_turn(**memory);
		MemoryContextSwitchTo(TopMemoryContext);
		MemoryContextReset(turn_context);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (sleep >= 0 ? WL_TIMEOUT : 0), sleep,
		          PG_WAIT_EXTENSION);
	}
}

} // namespace

void register_enforcer() {
	BackgroundWorker worker = {};
	strlcpy(worker.bgw_name, kEnforcerType, BGW_MAXLEN);
	strlcpy(worker.bgw_type, kEnforcerType, BGW_MAXLEN);
	// "Database connection" is what gives it a status entry and the standard signal handlers; it
	// connects to none.
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = kRestartSeconds;
	strlcpy(worker.bgw_library_name, "pg_unblock", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pg_unblock_enforcer_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

} // namespace unblock::server

extern "C" void pg_unblock_enforcer_main(Datum) {
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	unblock::server::compat::ignore_signal(SIGINT); // it runs no statement that could be canceled
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
	unblock::server::run();
}
