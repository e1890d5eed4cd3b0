// The one structured line that the server log gets for each action.
#pragma once

#include "collect.h"
#include "farewell.h"

namespace unblock::server {

// What the enforcer is about to do or, in dry run, would do; `farewell` says why. Reads the session's names
// and last statement, and so comes before the signal: a session can be gone at once. Palloc'd.
const char* action_line(const Collected& collected, const core::Decision& decision, const Farewell& farewell);
void log_action(const char* line);

// What a role did with one of the SQL functions.
void log_manual_action(const Farewell& note, int pid, const char* victim_role);

// That a role has told the enforcer to act on nobody, or to go on.
void log_pause(core::Micros length);
void log_resume();

} // namespace unblock::server
