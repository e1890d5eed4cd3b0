// The extension's shared memory: the slots of all sessions, and what the
// enforcer tells everybody. Exists only if the module is preloaded.
#pragma once

#include "incident.h"
#include "session_slot.h"
#include "../core/ring.h"

namespace unblock::server {

// A measure of something that the enforcer does again and again. Written by
// the enforcer alone; readers may see one turn's fields beside the next one's.
struct Measure {
	pg_atomic_uint64 last; // microseconds
	pg_atomic_uint64 sum;
	pg_atomic_uint64 max;
};

enum Counter : int {
	kTurns, // times that the enforcer woke
	kLooks, // those of them in which it read the lock table
	kTerminated,
	kCancelled,
	kWouldTerminate,
	kWouldCancel,
	kChangedInTime, // decisions dropped because the session had changed in the last moment
	kEndsSeen,      // signalled sessions that were watched until they were gone
	kFuseBlown,
	kClockSteps,
	kManualTerminated,
	kManualCancelled,
	kRecorded, // turns that recorded something
	kEpisodes, // reported
	kCounters,
};

// What a rule leads to: kTerminated to kWouldCancel.
constexpr int kRuleActions = kWouldCancel - kTerminated + 1;

struct Statistics {
	pg_atomic_uint64 count[kCounters];
	Measure look_time;      // snapshot, graph and policy
	Measure snapshot_time;  // of that, reading the lock table and session states
	Measure partition_time; // of that, with the lock manager's partition locks held
	Measure graph_time;     // of look_time, making the wait graph
	Measure end_time;       // from the signal to the end of the session
	Measure record_time;    // of a turn with something to record, the time that this took
	// By rule: terminated, canceled, and what would have been.
	pg_atomic_uint64 by_rule[core::kRules][kRuleActions];
	pg_atomic_uint64 waited; // µs of session time that lock waits have taken up, as far as looks saw
};

struct SharedState {
	// The enforcer's place in the process array plus one; 0 while there is none.
	pg_atomic_uint32 enforcer;
	// The smallest limit, in ms, that the enforcer's present sleep allows for.
	pg_atomic_uint32 plan;
	// The configuration file's values as the enforcer has read them.
	pg_atomic_uint32 file_values[kSessionSettings];
	pg_atomic_uint32 file_sources[kSessionSettings];
	pg_atomic_uint32 file_values_known;
	pg_atomic_uint32 fuse_is_blown;
	// Until when unblock.pause() holds back the enforcer, on the clock that never steps; 0: it does not.
	pg_atomic_uint64 paused_until;
	// What the enforcer's clock was when it last looked, so that its next life goes on from there.
	pg_atomic_uint64 clock_wall;
	pg_atomic_uint64 clock_monotonic;
	pg_atomic_uint64 clock_steady_since;

	Statistics statistics;

	// When this memory was made: with its number it names an incident.
	TimestampTz boot;
	// Roles that have signalled a session, or are about to, and have not recorded it yet.
	pg_atomic_uint32 signalling;
	// The minute and how much of its share is used up, see has_share().
	pg_atomic_uint64 share;
	// The recorder, see recorder.h.
	pg_atomic_uint32 recorder_pid; // 0: there is none
	pg_atomic_uint32 recorder_result;
	pg_atomic_uint64 recorded; // Ring::changes() that the table has; UINT64_MAX: nobody has looked for one
	pg_atomic_uint32 earlier_closed; // what earlier lives of the server left open is closed in the table

	int slot_count;
	SessionSlot slots[FLEXIBLE_ARRAY_MEMBER];
};

// From _PG_init while preloading: asks for the memory and fills it.
void install_shared_state_hooks();

// nullptr if the module is not preloaded.
SharedState* shared_state();

// Raises 55000 with the line to add to the configuration if the module is not preloaded.
SharedState* require_shared_state();

// For how long the enforcer is to act on nobody, in µs; 0: it is not paused.
core::Micros enforcement_paused_for();

// Wakes the enforcer from its sleep, if there is one.
void wake_enforcer();
bool enforcer_is_running();

// The smallest limit in ms that its present sleep allows for.
uint32 enforcer_plan();

// The configuration file's values as last read by the enforcer; no limits without one.
void file_values(InForce& file);

// The smallest limit in force anywhere, in the file or in a session, in ms (see soonest_breach()); 0: none.
uint32 smallest_limit(const InForce& file);

// Counts what a rule led to: kTerminated, kCancelled, kWouldTerminate or kWouldCancel.
void count_by_rule(core::Rule rule, Counter counter);

uint64 counter_value(Counter counter);

// Adds one to a counter; nothing without preloading.
void count(Counter counter);

// The history; nullptr if the module is not preloaded.
using IncidentRing = core::Ring<Incident>;
IncidentRing* incidents();

// From the enforcer alone.
void record(Measure& measure, uint64 value);

} // namespace unblock::server
