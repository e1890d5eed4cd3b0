// How often a process was put on a processor: whether it ran at all between
// two looks.
#pragma once

#include "compat.h"

namespace unblock::server {

// Context switches of a process since its start, voluntary and not (/proc/PID/status; proc(5)). 0 if
// they cannot be known, elsewhere than on Linux always.
uint64 process_runs(int pid);

} // namespace unblock::server
