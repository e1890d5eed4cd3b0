// The clock that never steps.
#pragma once

#include "compat.h"

namespace unblock::server {

// Microseconds since an unknown moment, the same one for all processes.
inline core::Micros monotonic_now() {
	instr_time now;
	INSTR_TIME_SET_CURRENT(now);
	return static_cast<core::Micros>(INSTR_TIME_GET_MICROSEC(now));
}

} // namespace unblock::server
