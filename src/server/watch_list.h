// Sessions that were signalled, watched until they are gone: a signal is not a
// death.
#pragma once

#include "shared_state.h"

namespace unblock::server {

// From the enforcer, right after the signal.
void watch(int pid, TimestampTz backend_start);

// Looks at all watched sessions: counts those that are gone, logs once each that is still there after a
// while. Returns in how many ms it wants to look again, -1 if it watches nobody.
long look_after_watched();

} // namespace unblock::server
