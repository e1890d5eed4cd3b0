// What became of what was done: a signal is not a death. Sessions that were signalled are watched until they
// are gone, statements that were canceled until they are over, and in dry run transactions until they end by
// themselves.
#pragma once

#include "history.h"

namespace unblock::server {

// From the enforcer, right after the signal or, in dry run, instead of it.
void watch(const Incident& incident, uint64 number);

// Looks at all that is watched: notes outcomes, counts sessions that are gone, logs once each that is still
// there after a while. Returns in how many ms it wants to look again, -1 if nobody has been signalled.
long look_after_watched();

} // namespace unblock::server
