// Global ids, owners and ages of prepared transactions.
#pragma once

#include "compat.h"

namespace unblock::server {

// Completes the prepared transactions among the sessions: gid, role, database, and as xact_start the
// moment of PREPARE TRANSACTION. Reads no catalog.
void fill_prepared(core::Session* sessions, core::Index count);

} // namespace unblock::server
