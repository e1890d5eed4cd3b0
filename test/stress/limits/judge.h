// The clients' notes against the server's log: was each end due, and is it
// told of once?
#pragma once

#include "notes.h"
#include "report.h"
#include "server_log.h"

#include <string>
#include <vector>

namespace unblock::stress {

inline constexpr const char* kIdleRule = "idle_in_transaction_limit";
inline constexpr const char* kBlockerRule = "idle_blocker_limit";

// A session that the enforcer has ended, and for which of its transactions.
struct End {
	const Transaction* transaction;
	std::string rule;
	Micros limit;
	Micros written; // when it was logged: at least
	Micros late;    // how long after its deadline the client saw it
};

// Checks all ends, and returns those that the log tells of.
std::vector<End> judge_ends(const Notes& notes, const ServerLog& log, Report& report);

} // namespace unblock::stress
