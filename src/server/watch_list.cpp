// A list in the enforcer's own memory.

#include "watch_list.h"
#include "signal.h"

namespace unblock::server {

namespace {

constexpr long kLookAgainMilliseconds = 1000; // a session that exits wakes the enforcer by itself
constexpr int kReportAfterMilliseconds = 10000;

struct Watched {
	int pid;
	TimestampTz backend_start;
	TimestampTz signalled_at;
	bool reported;
};

List* watched = NIL; // of Watched*, in TopMemoryContext

void note_end(const Watched& session) {
	count(kEndsSeen);
	const TimestampTz now = GetCurrentTimestamp();
	const uint64 took = now > session.signalled_at ? static_cast<uint64>(now - session.signalled_at) : 0;
	record(shared_state()->statistics.end_time, took);
	ereport(DEBUG1, (errmsg_internal("pg_unblock: session %d was gone " UINT64_FORMAT " us after its signal",
	                                 session.pid, took)));
}

void report_if_late(Watched& session) {
	if (session.reported ||
	    !TimestampDifferenceExceeds(session.signalled_at, GetCurrentTimestamp(), kReportAfterMilliseconds))
		return;
	session.reported = true;
	ereport(LOG, (errmsg("pg_unblock: session %d is still there %d s after it was told to end", session.pid,
	                     kReportAfterMilliseconds / 1000),
	              errhint("It will go when it next looks for signals. pg_unblock sends no SIGKILL, which "
	                      "would reset every session.")));
}

} // namespace

void watch(int pid, TimestampTz backend_start) {
	const MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
	auto* session = static_cast<Watched*>(palloc(sizeof(Watched)));
	*session = {pid, backend_start, GetCurrentTimestamp(), false};
	watched = lappend(watched, session);
	MemoryContextSwitchTo(before);
}

long look_after_watched() {
	ListCell* cell;
	foreach (cell, watched) {
		auto* session = static_cast<Watched*>(lfirst(cell));
		if (is_present(session->pid, session->backend_start)) {
			report_if_late(*session);
			continue;
		}
		note_end(*session);
		watched = foreach_delete_current(watched, cell);
		pfree(session);
	}
	return watched == NIL ? -1 : kLookAgainMilliseconds;
}

} // namespace unblock::server
