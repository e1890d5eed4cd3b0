// The memory for statement trails, a slice for each place in the process array: each session writes its own
// (trail_writer.h), anybody reads any.
#pragma once

#include "compat.h"

namespace unblock::server {

// When shared memory is requested and made; nothing where pg_unblock.statement_trail is 0.
Size trails_bytes();
void make_trails();

// Whether sessions keep trails.
bool has_trails();

// The words of each slice.
std::size_t trail_words();

// nullptr without trails. The process is a backend, see compat::backend_count().
core::TrailSlice* trail_slice(int process_number);

// The trail of a session's present transaction, known by its local id; nullptr: there is none, or it is being
// written all the time. In the current memory context, and no error when memory is short. Waits for nobody.
const core::Trail* read_trail(int process_number, int pid, LocalTransactionId transaction);

// Raises 55000 if sessions keep no trails.
void require_trails();

} // namespace unblock::server
