// Mode 2: transactions whose COMMIT is sent when the enforcer is about to end
// them. What was acknowledged must be there.
#pragma once

#include "report.h"

#include <string>

namespace unblock::stress {

void run_commit_race(int races, std::uint64_t seed, const std::string& log, Report& report);

} // namespace unblock::stress
