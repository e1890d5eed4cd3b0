// Allocation of shared memory and the small questions to it.

#include "shared_state.h"
#include "monotonic.h"
#include "trails.h"

namespace unblock::server {

namespace {

SharedState* state = nullptr;
IncidentRing* history = nullptr;
shmem_request_hook_type previous_request_hook = nullptr;
shmem_startup_hook_type previous_startup_hook = nullptr;

Size shared_size() {
	return add_size(offsetof(SharedState, slots),
	                mul_size(sizeof(SessionSlot), static_cast<Size>(compat::backend_count())));
}

Size history_bytes() {
	return IncidentRing::bytes(static_cast<uint32>(settings.history_size));
}

void on_request() {
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestAddinShmemSpace(history_bytes());
	RequestAddinShmemSpace(trails_bytes());
}

void initialize(Measure& measure) {
	pg_atomic_init_u64(&measure.last, 0);
	pg_atomic_init_u64(&measure.sum, 0);
	pg_atomic_init_u64(&measure.max, 0);
}

void initialize(Statistics& statistics) {
	for (Measure* measure : {&statistics.look_time, &statistics.snapshot_time, &statistics.partition_time,
	                         &statistics.graph_time, &statistics.end_time, &statistics.record_time})
		initialize(*measure);
	for (pg_atomic_uint64& counter : statistics.count)
		pg_atomic_init_u64(&counter, 0);
	for (auto& rule : statistics.by_rule)
		for (pg_atomic_uint64& counter : rule)
			pg_atomic_init_u64(&counter, 0);
	pg_atomic_init_u64(&statistics.waited, 0);
}

void initialize(SharedState& shared) {
	memset(static_cast<void*>(&shared), 0, shared_size());
	pg_atomic_init_u32(&shared.enforcer, 0);
	pg_atomic_init_u32(&shared.plan, UINT32_MAX);
	for (int setting = 0; setting < kSessionSettings; ++setting) {
		pg_atomic_init_u32(&shared.file_values[setting], 0);
		pg_atomic_init_u32(&shared.file_sources[setting], 0);
	}
	pg_atomic_init_u32(&shared.file_values_known, 0);
	pg_atomic_init_u32(&shared.fuse_is_blown, 0);
	pg_atomic_init_u64(&shared.paused_until, 0);
	pg_atomic_init_u64(&shared.clock_wall, 0);
	pg_atomic_init_u64(&shared.clock_monotonic, 0);
	pg_atomic_init_u64(&shared.clock_steady_since, 0);
	initialize(shared.statistics);
	shared.boot = GetCurrentTimestamp();
	pg_atomic_init_u32(&shared.signalling, 0);
	pg_atomic_init_u64(&shared.share, 0);
	pg_atomic_init_u32(&shared.recorder_pid, 0);
	pg_atomic_init_u32(&shared.recorder_result, 0);
	pg_atomic_init_u64(&shared.recorded, UINT64_MAX);
	pg_atomic_init_u32(&shared.earlier_closed, 0);
	shared.slot_count = compat::backend_count();
	for (int i = 0; i < shared.slot_count; ++i)
		initialize_slot(shared.slots[i]);
}

void on_startup() {
	if (previous_startup_hook)
		previous_startup_hook();
	bool found = false;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	state = static_cast<SharedState*>(ShmemInitStruct("pg_unblock", shared_size(), &found));
	if (!found)
		initialize(*state);
	void* memory = ShmemInitStruct("pg_unblock history", history_bytes(), &found);
	if (found)
		history = static_cast<IncidentRing*>(memory);
	else
		history = IncidentRing::make(memset(memory, 0, history_bytes()),
		                             static_cast<uint32>(settings.history_size));
	make_trails();
	LWLockRelease(AddinShmemInitLock);
}

// Smaller of two limits in ms, 0 standing for none.
uint32 smaller_limit(uint32 a, uint32 b) {
	return a == 0 || (b != 0 && b < a) ? b : a;
}

uint32 smallest_limit_of(const SettingValues& values) {
	uint32 smallest = 0;
	for (int setting = 0; setting < kSessionSettings; ++setting)
		smallest = smaller_limit(smallest, soonest_breach(setting, values[setting]));
	return smallest;
}

} // namespace

void install_shared_state_hooks() {
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = on_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = on_startup;
}

SharedState* shared_state() {
	return state;
}

SharedState* require_shared_state() {
	if (state == nullptr)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("pg_unblock is not preloaded"),
		         errhint("Add \"shared_preload_libraries = 'pg_unblock'\" to postgresql.conf "
		                 "(beside what is listed there already) and restart the server.")));
	return state;
}

core::Micros enforcement_paused_for() {
	const uint64 until = state == nullptr ? 0 : pg_atomic_read_u64(&state->paused_until);
	return until == 0 ? 0 : std::max<core::Micros>(static_cast<core::Micros>(until) - monotonic_now(), 0);
}

void wake_enforcer() {
	const uint32 place = state == nullptr ? 0 : pg_atomic_read_u32(&state->enforcer);
	if (place != 0)
		SetLatch(&compat::proc_at(static_cast<int>(place) - 1)->procLatch);
}

bool enforcer_is_running() {
	return state != nullptr && pg_atomic_read_u32(&state->enforcer) != 0;
}

uint32 enforcer_plan() {
	return state == nullptr ? 0 : pg_atomic_read_u32(&state->plan);
}

void file_values(InForce& file) {
	file = {};
	default_values(file.values);
	if (state == nullptr || pg_atomic_read_u32(&state->file_values_known) == 0)
		return;
	pg_read_barrier();
	for (int setting = 0; setting < kSessionSettings; ++setting) {
		file.values[setting] = static_cast<int32>(pg_atomic_read_u32(&state->file_values[setting]));
		file.sources[setting] = static_cast<GucSource>(pg_atomic_read_u32(&state->file_sources[setting]));
	}
}

uint32 smallest_limit(const InForce& file) {
	uint32 smallest = smallest_limit_of(file.values);
	for (int i = 0; i < state->slot_count; ++i) {
		SessionSlot* slot = &state->slots[i];
		const uint32 pid = pg_atomic_read_u32(&slot->pid);
		if (pid == 0)
			continue;
		pg_read_barrier();
		InForce session;
		effective_values(slot, static_cast<int>(pid), file, session);
		smallest = smaller_limit(smallest, smallest_limit_of(session.values));
	}
	return smallest;
}

uint64 counter_value(Counter counter) {
	return pg_atomic_read_u64(&state->statistics.count[counter]);
}

void count(Counter counter) {
	if (state != nullptr)
		pg_atomic_fetch_add_u64(&state->statistics.count[counter], 1);
}

void count_by_rule(core::Rule rule, Counter counter) {
	pg_atomic_fetch_add_u64(&state->statistics.by_rule[static_cast<std::size_t>(rule)][counter - kTerminated],
	                        1);
}

IncidentRing* incidents() {
	return history;
}

void record(Measure& measure, uint64 value) {
	pg_atomic_write_u64(&measure.last, value);
	pg_atomic_write_u64(&measure.sum, pg_atomic_read_u64(&measure.sum) + value);
	if (value > pg_atomic_read_u64(&measure.max))
		pg_atomic_write_u64(&measure.max, value);
}

} // namespace unblock::server
