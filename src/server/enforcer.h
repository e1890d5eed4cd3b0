// The background worker that enforces limits.
#pragma once

#include "compat.h"

namespace unblock::server {

// From _PG_init, while preloading.
void register_enforcer();

// backend_type of the worker in pg_stat_activity.
inline constexpr char kEnforcerType[] = "pg_unblock enforcer";

} // namespace unblock::server

extern "C" PGDLLEXPORT void pg_unblock_enforcer_main(Datum argument);
