// Everything in the server that holds back vacuum, as core wants it.
#pragma once

#include "compat.h"

namespace unblock::server {

// Palloc'd.
struct Horizon {
	core::HorizonHolder* holders;
	std::size_t count;
};

// Ranked, with names, masked for the current user. Waits for no heavyweight lock.
Horizon collect_horizon();

} // namespace unblock::server
