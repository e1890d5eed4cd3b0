// unblock.pause() and unblock.resume(): the enforcer acts on nobody for a while.

#include "actions.h"
#include "history.h"
#include "log_line.h"
#include "memory.h"
#include "monotonic.h"
#include "shared_state.h"

namespace unblock::server {

namespace {

core::Micros pause_argument(FunctionCallInfo fcinfo) {
	const core::Micros length = length_argument(fcinfo, 0, "length");
	if (length == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("length must not be zero"),
		                errhint("To end a pause, use unblock.resume().")));
	return length;
}

// Sets the end of the pause, 0: none, and returns the one before.
core::Micros set_paused_until(core::Micros until) {
	return static_cast<core::Micros>(
	    pg_atomic_exchange_u64(&require_shared_state()->paused_until, static_cast<uint64>(until)));
}

// A moment from now on, or the end of time.
core::Micros after(core::Micros now, core::Micros length) {
	core::Micros moment;
	return pg_add_s64_overflow(now, length, &moment) ? INT64_MAX : moment;
}

// The record of it.
uint64 remember_pause(core::Micros length, Incident::Outcome outcome, const char* function) {
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	incident->kind = Incident::Kind::pause;
	incident->at = GetCurrentTimestamp();
	incident->limit = length;
	incident->outcome = outcome;
	namestrcpy(&incident->by, current_role_name());
	namestrcpy(&incident->function, function);
	return remember_manual(*incident);
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_pause);
PGDLLEXPORT Datum pg_unblock_pause(PG_FUNCTION_ARGS) {
	using namespace unblock::server;
	const auto length = pause_argument(fcinfo);
	require_shared_state();
	set_paused_until(after(monotonic_now(), length));
	const TimestampTz until = after(GetCurrentTimestamp(), length);
	// It wakes the enforcer too, which sleeps until the end of an earlier, longer one.
	log_pause(length, remember_pause(length, Incident::Outcome::unknown, "unblock.pause"));
	PG_RETURN_TIMESTAMPTZ(IS_VALID_TIMESTAMP(until) ? until : DT_NOEND);
}

PG_FUNCTION_INFO_V1(pg_unblock_resume);
PGDLLEXPORT Datum pg_unblock_resume(PG_FUNCTION_ARGS) {
	using namespace unblock::server;
	(void)fcinfo;
	const bool was_paused = set_paused_until(0) > monotonic_now();
	if (was_paused)
		log_resume(remember_pause(0, Incident::Outcome::resumed, "unblock.resume"));
	PG_RETURN_BOOL(was_paused);
}
}
