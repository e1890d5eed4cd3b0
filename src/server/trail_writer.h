// How a session remembers which of its statements took which lock: hooks around the statements of a
// transaction block, from which the locks that each adds go into the session's trail.
#pragma once

#include "compat.h"

namespace unblock::server {

// From _PG_init, while preloading; nothing where pg_unblock.statement_trail is 0.
void install_trail_hooks();

} // namespace unblock::server
