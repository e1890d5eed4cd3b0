// The one structured line that the server log gets for each action.
#pragma once

#include "farewell.h"
#include "history.h"

namespace unblock::server {

// What the enforcer is about to do or, in dry run, would do; `farewell` says why, `query` is the session's
// last statement, `locking` the one that took the lock. Palloc'd.
const char* action_line(const Incident& incident, const Farewell& farewell, const char* query,
                        const LockingStatement& locking);

// `incident`: its number, 0 if it has none.
void log_action(const char* line, uint64 incident);

// What a role did with one of the SQL functions.
void log_manual_action(const Farewell& note, int pid, const char* victim_role, uint64 incident);

// That a role has told the enforcer to act on nobody, or to go on.
void log_pause(core::Micros length, uint64 incident);
void log_resume(uint64 incident);

// Begin and end of a blocking episode.
void log_episode_begin(const Incident& incident, uint64 number);
void log_episode_end(const Incident& incident, uint64 number);

} // namespace unblock::server
