// Bounded reads of the status array.

#include "backend_status.h"

namespace unblock::server {

namespace {

enum class Read { done, another, unstable };

// The server's own readers spin until the entry is stable. A process that was stopped in the middle of
// an update would hold them up for ever; the enforcer gives up instead.
Read read_entry(const PgBackendStatus* entry, int pid, Status* status, const StatusTexts* texts) {
	constexpr int most_tries = 1000;
	for (int i = 0; i < most_tries; ++i) {
		int before, after;
		pgstat_begin_read_activity(entry, before);
		status->pid = entry->st_procpid;
		status->type = entry->st_backendType;
		status->state = entry->st_state;
		status->backend_start = entry->st_proc_start_timestamp;
		status->xact_start = entry->st_xact_start_timestamp;
		status->query_start = entry->st_activity_start_timestamp;
		status->state_start = entry->st_state_start_timestamp;
		status->database = entry->st_databaseid;
		status->role = entry->st_userid;
		status->client = entry->st_clientaddr;
		status->query_id = entry->st_query_id;
		if (texts != nullptr) {
			// The entry's owner never overwrites the last byte of either, a zero.
			memcpy(texts->application_name, entry->st_appname, NAMEDATALEN);
			memccpy(texts->query, entry->st_activity_raw, '\0',
			        static_cast<size_t>(pgstat_track_activity_query_size));
		}
		pgstat_end_read_activity(entry, after);
		if (pgstat_read_activity_complete(before, after))
			return status->pid == pid ? Read::done : Read::another;
	}
	return Read::unstable;
}

} // namespace

StatusTexts make_status_texts() {
	StatusTexts texts;
	texts.application_name = static_cast<char*>(palloc(NAMEDATALEN));
	texts.query = static_cast<char*>(palloc(static_cast<Size>(pgstat_track_activity_query_size)));
	return texts;
}

bool read_status(const PGPROC* proc, int pid, Status* status, const StatusTexts* texts) {
	const PgBackendStatus* entries = compat::status_array();
	if (entries == nullptr || pid == 0)
		return false;
	if (compat::number_of(proc) < compat::backend_count()) {
		const int index = compat::status_index(proc); // none: it has not told anything yet
		return index >= 0 && read_entry(&entries[index], pid, status, texts) == Read::done;
	}
	for (int i = compat::backend_count(); i < compat::status_count(); ++i)
		if (entries[i].st_procpid == pid)
			return read_entry(&entries[i], pid, status, texts) == Read::done;
	return false;
}

core::State state_of(const Status& status) {
	switch (status.state) {
	case STATE_IDLE:
		return core::State::idle;
	case STATE_RUNNING:
		return core::State::active;
	case STATE_IDLEINTRANSACTION:
		return core::State::idle_in_transaction;
	case STATE_IDLEINTRANSACTION_ABORTED:
		return core::State::idle_in_transaction_aborted;
	case STATE_FASTPATH:
		return core::State::fastpath;
	case STATE_DISABLED:
		return core::State::disabled;
	default:
		return core::State::unknown;
	}
}

const char* state_name(core::State state) {
	switch (state) {
	case core::State::idle:
		return "idle";
	case core::State::active:
		return "active";
	case core::State::idle_in_transaction:
		return "idle in transaction";
	case core::State::idle_in_transaction_aborted:
		return "idle in transaction (aborted)";
	case core::State::fastpath:
		return "fastpath function call";
	case core::State::disabled:
		return "disabled";
	case core::State::unknown:
		break;
	}
	return nullptr;
}

core::Wait wait_of(uint32 wait_event) {
	switch (wait_event) {
	case WAIT_EVENT_CLIENT_READ:
		return core::Wait::client_read;
	case WAIT_EVENT_CLIENT_WRITE:
		return core::Wait::client_write;
	case WAIT_EVENT_SYNC_REP:
		return core::Wait::sync_rep;
	default:
		return core::Wait::other;
	}
}

} // namespace unblock::server
