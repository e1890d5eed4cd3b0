// Moves incidents from shared memory into the table unblock.incident.
//
// The enforcer writes no table and waits for no lock. When there is something to save it launches a worker
// that connects to pg_unblock.history_database, saves, and exits: a worker that stayed would hold up DROP
// DATABASE.
#pragma once

#include "compat.h"

namespace unblock::server {

// From the enforcer, each turn: launches a recorder if there is something to save and none runs, less and
// less often while that does not work. Returns in how many ms it wants to be called again, -1: when something
// happens.
long keep_recording();

// backend_type of the worker in pg_stat_activity.
inline constexpr char kRecorderType[] = "pg_unblock recorder";

} // namespace unblock::server

extern "C" PGDLLEXPORT void pg_unblock_recorder_main(Datum argument);
