// Who is subject to which limit.
#pragma once

#include "clock.h"

#include <array>
#include <string>

namespace unblock::stress {

struct Role {
	const char* name;
	Micros idle_in_transaction; // limits; 0: none
	Micros idle_blocker;
	bool exempt;
	int sessions; // of the never-early mode

	// The limit of a rule, by the name of its setting; 0: it may end nobody of this role.
	Micros limit(const std::string& rule) const {
		if (exempt)
			return 0;
		if (rule == "idle_in_transaction_limit")
			return idle_in_transaction;
		return rule == "idle_blocker_limit" ? idle_blocker : 0;
	}
};

inline constexpr std::array kRoles = {
    Role{"idler", 1000 * kMillisecond, 0, false, 36},
    Role{"short_idler", 400 * kMillisecond, 0, false, 16},
    Role{"blocker", 0, 1000 * kMillisecond, false, 36},
    Role{"short_blocker", 0, 500 * kMillisecond, false, 16},
    Role{"under_both", 1000 * kMillisecond, 700 * kMillisecond, false, 12},
    Role{"exempt", 300 * kMillisecond, 300 * kMillisecond, true, 6},
};

// Waits for others' locks, and is never idle in a transaction.
inline constexpr Role kWaiter = {"waiter", 0, 0, false, 40};

// The smallest limit that there can be.
inline constexpr Role kRacer = {"racer", 100 * kMillisecond, 0, false, 0};

} // namespace unblock::stress
