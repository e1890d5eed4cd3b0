// Who may see and who may signal a session: the server's own rules.
#pragma once

#include "compat.h"

namespace unblock::server {

// As pg_stat_activity shows details (pgstatfuncs.c, HAS_PGSTAT_PERMISSIONS). InvalidOid: nobody but
// pg_read_all_stats.
bool may_see(Oid role);

// As pg_terminate_backend() allows (signalfuncs.c, pg_signal_backend()).
bool may_signal(Oid role);

} // namespace unblock::server
