// Who may see and who may signal a session: the server's own rules.
#pragma once

#include "names.h"

namespace unblock::server {

// As pg_stat_activity shows details (pgstatfuncs.c, HAS_PGSTAT_PERMISSIONS). InvalidOid: nobody but
// pg_read_all_stats.
bool may_see(Oid role);

// The same without ever waiting for a catalog: if those of roles cannot be read, only superusers see other
// roles' sessions.
bool may_see(const Names& names, Oid role);

// As pg_terminate_backend() allows (signalfuncs.c, pg_signal_backend()), without ever waiting for a catalog
// either: if those of roles cannot be read, superusers may signal all, others their own sessions.
bool may_signal(const Names& names, Oid role);

// Whether they may end sessions of others at all: superusers and members of pg_signal_backend.
bool may_signal_others(const Names& names);

// As the server shows settings that are for superusers and pg_read_all_settings (guc.c, GUC_SUPERUSER_ONLY).
bool may_read_settings(const Names& names);

} // namespace unblock::server
