// What a process says about itself in the server's status array (the source of
// pg_stat_activity), read by the array's changecount protocol
// (utils/backend_status.h).
#pragma once

#include "compat.h"

namespace unblock::server {

// The fixed part of a status entry.
struct Status {
	int pid;
	BackendType type;
	BackendState state;
	TimestampTz backend_start;
	TimestampTz xact_start;
	TimestampTz query_start;
	TimestampTz state_start;
	Oid database;
	Oid role;
	SockAddr client;
	uint64 query_id;
};

// Room for the texts of an entry; allocate with make_status_texts.
struct StatusTexts {
	char* application_name; // NAMEDATALEN
	char* query;            // pgstat_track_activity_query_size; may end inside a character
};

StatusTexts make_status_texts();

// Reads the entry of a process: by its index in the array, or by search for an auxiliary process.
// Neither waits nor allocates nor raises: false if the process has no entry, if the entry is another's,
// or if its owner keeps writing it. `texts` may be nullptr.
bool read_status(const PGPROC* proc, int pid, Status* status, const StatusTexts* texts);

// Calls visit(PGPROC*, const Status&) for each client backend that can be read. `texts` as above.
template <class Visit>
void each_client(const StatusTexts* texts, Visit visit) {
	for (int number = 0; number < compat::backend_count(); ++number) {
		PGPROC* proc = compat::proc_at(number);
		Status status;
		if (read_status(proc, proc->pid, &status, texts) && status.type == B_BACKEND)
			visit(proc, status);
	}
}

// The state in core's terms, and as pg_stat_activity names it (nullptr: unknown).
core::State state_of(const Status& status);
const char* state_name(core::State state);

// What a process waits for, from its PGPROC's wait_event_info.
core::Wait wait_of(uint32 wait_event);

} // namespace unblock::server
