// Mode 1: sessions that idle around their limits, the second half of the time
// while they block each other, and their own notes on it.
#pragma once

#include "report.h"

#include <string>

namespace unblock::stress {

void run_never_early(Micros length, std::uint64_t seed, const std::string& log, Report& report);

} // namespace unblock::stress
