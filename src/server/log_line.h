// The one structured line that the server log gets for each action.
#pragma once

#include "collect.h"
#include "farewell.h"

namespace unblock::server {

// What the enforcer did or, in dry run, would have done. Reads the session's last statement.
// `farewell` says why.
void log_action(const Collected& collected, const core::Decision& decision, const Farewell& farewell);

// What a role did with one of the SQL functions.
void log_manual_action(core::Action action, const char* function, int pid, const char* victim_role);

} // namespace unblock::server
