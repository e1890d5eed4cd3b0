// How many locks a session holds, and its strongest one.
#pragma once

#include "collect.h"

namespace unblock::server {

struct HeldLocks {
	int count;                // rows that pg_locks shows as granted: one for each lock and mode
	core::LockMode strongest; // none: holds nothing. Among equals a relation's
	LOCKTAG tag;              // of the strongest
};

// For each session i of the snapshot with wanted[i]. Palloc'd, all sessions long. The partition locks are
// held shared for as long as the locks of these sessions take to count.
HeldLocks* count_held_locks(const Collected& collected, const bool* wanted);

} // namespace unblock::server
