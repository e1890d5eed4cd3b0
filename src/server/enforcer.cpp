// The worker's loop: snapshot, graph, decisions, signals, sleep.
//
// It belongs to no database, reads no catalog, waits for no heavyweight lock
// and writes no table, so that nothing it polices can stop it. Between turns
// it sleeps until a limit could be broken at the earliest.

#include "enforcer.h"
#include "boundary.h"
#include "collect.h"
#include "farewell.h"
#include "history.h"
#include "log_line.h"
#include "memory.h"
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
	core::Episodes episodes;
	uint64 adopted = 0;       // the newest incident that was looked at, see adopt_manual_actions()
	std::vector<uint64> late; // older ones that were not in their place yet
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

// --- the history -------------------------------------------------------------------------------------

// Adds up what recording costs a turn.
class Stopwatch {
public:
	explicit Stopwatch(core::Micros& sum) : sum_(sum), start_(monotonic_now()) {}
	void stop() { sum_ += monotonic_now() - start_; }

private:
	core::Micros& sum_;
	core::Micros start_;
};

Incident::Kind kind_of(const core::Decision& decision) {
	if (decision.action == core::Action::terminate)
		return decision.dry_run ? Incident::Kind::would_terminate : Incident::Kind::terminate;
	return decision.dry_run ? Incident::Kind::would_cancel : Incident::Kind::cancel;
}

Incident* incident_of(const Memory& memory, Collected& collected, const core::WaitGraph& graph,
                      const core::Decision& decision, const Farewell& farewell) {
	const core::Session& session = collected.sessions[decision.session];
	Incident* incident = draft_incident(collected, graph, decision.session);
	if (const core::Episode* episode = memory.episodes.of(session))
		incident->waiting = episode->waiting;
	incident->idle = memory.policy.counted(session).sum;
	incident->kind = kind_of(decision);
	incident->has_rule = true;
	incident->rule = decision.rule;
	incident->limit = decision.limit;
	incident->measured = decision.measured;
	incident->since_cancel = decision.since_cancel;
	incident->preempting = farewell.preempting;
	if (farewell.has_lock) {
		incident->has_lock = true;
		incident->lock = farewell.lock;
		incident->mode = farewell.mode;
	}
	return incident;
}

// What changes of an episode from look to look.
void follow(Incident& incident, const core::Episode& episode, core::Micros idle) {
	incident.measured = episode.blocked;
	incident.waiting = episode.waiting;
	incident.idle = std::max(incident.idle, idle);
}

Incident* incident_of(Collected& collected, const core::WaitGraph& graph, const core::Episode& episode,
                      core::Index session, core::Micros idle) {
	Incident* incident = draft_incident(collected, graph, session);
	incident->kind = Incident::Kind::episode;
	incident->at = episode.begin;
	incident->limit = settings.report_after * core::Micros{1000};
	follow(*incident, episode, idle);
	return incident;
}

void begin_episode(Collected& collected, const core::WaitGraph& graph, core::Episode& episode,
                   core::Index session, core::Micros idle, core::Micros& recording) {
	Stopwatch drafting(recording);
	const Incident* incident = incident_of(collected, graph, episode, session, idle);
	episode.record = remember(*incident);
	drafting.stop();
	count(kEpisodes);
	log_episode_begin(*incident, episode.record);
}

// The chain at its peak.
void grow_episode(Collected& collected, const core::WaitGraph& graph, const core::Episode& episode,
                  core::Index session, core::Micros idle, core::Micros& recording) {
	if (episode.record == 0)
		return;
	Stopwatch drafting(recording);
	const Incident* incident = incident_of(collected, graph, episode, session, idle);
	incidents()->change(episode.record, false, [incident](Incident& recorded) {
		const core::Micros idle_before = recorded.idle;
		const core::Micros limit = recorded.limit;
		recorded = *incident;
		recorded.idle = std::max(recorded.idle, idle_before);
		recorded.limit = limit;
	});
	drafting.stop();
}

Incident::Outcome outcome_of(const core::Episode& episode) {
	if (!episode.told)
		return Incident::Outcome::by_itself;
	return *episode.told == core::Action::terminate ? Incident::Outcome::terminated
	                                                : Incident::Outcome::canceled;
}

void end_episode(const core::Episode& episode) {
	Incident* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	incident->pid = episode.pid;
	incident->xid = episode.xid;
	incident->blocked = episode.peak;
	const auto end = [&episode](Incident& recorded) {
		follow(recorded, episode, 0);
		recorded.ended_at = episode.end;
		recorded.outcome = outcome_of(episode);
		recorded.took = episode.blocked;
	};
	end(*incident);
	// Its record may have made way for others since.
	if (episode.record != 0)
		incidents()->change(episode.record, false, [incident, &end](Incident& recorded) {
			end(recorded);
			*incident = recorded;
		});
	log_episode_end(*incident, episode.record);
}

void tell_episodes(const Memory& memory, Collected& collected, const core::WaitGraph& graph,
                   const core::Episodes::Look& look, core::Micros& recording) {
	for (const core::Episodes::Change& change : look.changes) {
		core::Episode& episode = *change.episode;
		const core::Micros idle =
		    change.session == core::kNone ? 0 : memory.policy.counted(collected.sessions[change.session]).sum;
		switch (change.what) {
		case core::Episodes::What::begins:
			begin_episode(collected, graph, episode, change.session, idle, recording);
			break;
		case core::Episodes::What::grows:
			grow_episode(collected, graph, episode, change.session, idle, recording);
			break;
		case core::Episodes::What::goes_on:
			if (episode.record != 0)
				incidents()->change(episode.record, true,
				                    [&](Incident& recorded) { follow(recorded, episode, idle); });
			break;
		case core::Episodes::What::ends:
			end_episode(episode);
			break;
		}
	}
}

core::Action action_of(Incident::Kind kind) {
	return kind == Incident::Kind::terminate || kind == Incident::Kind::manual_terminate
	           ? core::Action::terminate
	           : core::Action::cancel;
}

bool is_manual(const Incident& incident) {
	return incident.kind == Incident::Kind::manual_terminate ||
	       incident.kind == Incident::Kind::manual_cancel;
}

// Watches those that a role has signalled since the last turn. Its session may have been stopped before it
// has written its record.
void adopt_manual_actions(Memory& memory) {
	const IncidentRing& ring = *incidents();
	const uint64 newest = ring.newest();
	if (memory.adopted == newest && memory.late.empty())
		return;
	const uint64 replaced = newest > ring.size() ? newest - ring.size() : 0;
	core_phase([&memory, newest, replaced] {
		for (uint64 number = std::max(memory.adopted, replaced) + 1; number <= newest; ++number)
			memory.late.push_back(number);
	});
	memory.adopted = newest;
	auto* incident = allocate<Incident>(1);
	std::erase_if(memory.late, [&](uint64 number) {
		const uint64 found = IncidentRing::number(ring.read(ring.index_of(number), *incident));
		if (found < number)
			return number <= replaced;
		if (found == number && is_manual(*incident)) {
			watch(*incident, number);
			memory.episodes.told(incident->pid, incident->backend_start, action_of(incident->kind));
		}
		return true;
	});
}

// So that it is not told of again.
void resume_reported(Memory& memory, const Incident& incident) {
	core::Session session;
	session.pid = incident.pid;
	session.backend_start = incident.backend_start;
	session.state = incident.state;
	session.state_start = incident.state_start;
	session.xact_start = incident.xact_start;
	session.local_xid = incident.local_xid;
	core_phase([&memory, &session, &incident] { memory.policy.resume_reported(session, incident.rule); });
}

// Goes on with what a previous life of the enforcer has left open.
void resume_history(Memory& memory) {
	const IncidentRing& ring = *incidents();
	const uint64 newest = ring.newest();
	memory.adopted = newest;
	auto* incident = allocate<Incident>(1);
	for (uint64 i = 0; i < std::min<uint64>(newest, ring.size()); ++i) {
		const uint64 expected = newest - i;
		const uint64 number = IncidentRing::number(ring.read(ring.index_of(expected), *incident));
		if (number < expected)
			core_phase([&memory, expected] { memory.late.push_back(expected); });
		const bool open = incident->outcome == Incident::Outcome::unknown ||
		                  incident->outcome == Incident::Outcome::still_there;
		if (number == 0 || number > newest || !open)
			continue;
		if (incident->kind < Incident::Kind::episode)
			watch(*incident, number);
		if (incident->kind == Incident::Kind::would_terminate ||
		    incident->kind == Incident::Kind::would_cancel)
			resume_reported(memory, *incident);
		if (incident->kind != Incident::Kind::episode)
			continue;
		core::Episode episode;
		episode.pid = incident->pid;
		episode.backend_start = incident->backend_start;
		episode.transaction = incident->xact_start != 0 ? incident->xact_start : -incident->state_start;
		episode.local_xid = incident->local_xid;
		episode.xid = incident->xid;
		episode.begin = incident->at;
		episode.blocked = incident->measured;
		episode.waiting = incident->waiting;
		episode.peak = incident->blocked;
		episode.record = number;
		core_phase([&memory, &episode] { memory.episodes.resume(episode); });
	}
}

// --- decisions ---------------------------------------------------------------------------------------

void carry_out(Memory& memory, Collected& collected, const core::WaitGraph& graph,
               const core::Decision& decision, core::Micros& recording) {
	const core::Session& session = collected.sessions[decision.session];
	const bool terminate = decision.action == core::Action::terminate;
	const Farewell farewell = farewell_of(collected, graph, decision);
	const char* line = action_line(collected, decision, farewell);
	Stopwatch drafting(recording);
	Incident* incident = incident_of(memory, collected, graph, decision, farewell);
	drafting.stop();
	const auto keep = [&](Counter counter) {
		count(counter);
		count_by_rule(decision.rule, counter);
		Stopwatch adding(recording);
		const uint64 number = remember(*incident);
		adding.stop();
		watch(*incident, number);
		log_action(line, number);
	};
	if (decision.dry_run) {
		keep(terminate ? kWouldTerminate : kWouldCancel);
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
		ereport(WARNING, (errmsg("could not send signal to process %d: %m", session.pid)));
	if (sent != Sent::sent) {
		count(kChangedInTime);
		return;
	}
	memory.episodes.told(session.pid, session.backend_start, decision.action);
	keep(terminate ? kTerminated : kCancelled);
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
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	incident->kind = Incident::Kind::fuse;
	incident->at = GetCurrentTimestamp();
	incident->limit = settings.max_actions_per_minute;
	remember(*incident);
	ereport(
	    WARNING,
	    (errmsg("pg_unblock stopped ending sessions after %d in one minute", settings.max_actions_per_minute),
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
	auto* graph = Owned<core::WaitGraph>::in(CurrentMemoryContext);
	const core::Turn* turn = nullptr;
	const core::Episodes::Look* episodes = nullptr;
	core::Micros graph_time = 0;
	core_phase([&memory, collected, graph, &cluster, &moment, &turn, &episodes, &graph_time, report_after] {
		const core::Snapshot& snapshot = collected->snapshot;
		memory.clock.correct({collected->sessions, snapshot.sessions.size()},
		                     {collected->waiters, snapshot.waiters.size()});
		memory.waits.look(snapshot, {collected->sessions, snapshot.sessions.size()}, moment.monotonic);
		const core::Micros begin = monotonic_now();
		graph->make(snapshot);
		graph_time = monotonic_now() - begin;
		turn = &memory.policy.look(**graph, cluster, moment.monotonic);
		episodes = &memory.episodes.look(**graph, report_after, moment.monotonic);
	});
	Statistics& statistics = shared_state()->statistics;
	count(kLooks);
	record(statistics.look_time, static_cast<uint64>(monotonic_now() - start));
	record(statistics.snapshot_time, collected->total_time);
	record(statistics.partition_time, collected->partition_time);
	record(statistics.graph_time, static_cast<uint64>(graph_time));

	core::Micros recording = 0;
	for (const core::Decision& decision : turn->decisions)
		carry_out(memory, *collected, **graph, decision, recording);
	tell_episodes(memory, *collected, **graph, *episodes, recording);
	pg_atomic_fetch_add_u64(&statistics.waited, episodes->waited);
	if (!turn->decisions.empty() || !episodes->changes.empty()) {
		count(kRecorded);
		record(statistics.record_time, static_cast<uint64>(recording));
	}
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
	adopt_manual_actions(memory);
	const long watching = look_after_watched();
	long sleep = -1;
	constexpr core::Micros per_millisecond = 1000;
	const bool off = file.values[kSettingMode] == static_cast<int>(core::Mode::off);
	const core::Micros report_after = off ? 0 : settings.report_after * per_millisecond;
	if ((smallest != 0 && !off) || report_after != 0 || memory.episodes.has_open()) {
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
	resume_history(**memory);
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
		          compat::enforcer_wait_event());
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
	pqsignal(SIGINT, SIG_IGN); // it runs no statement that could be canceled
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
	unblock::server::run();
}
