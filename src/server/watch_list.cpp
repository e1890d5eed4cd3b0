// A list in the enforcer's own memory.

#include "watch_list.h"
#include "signal.h"

namespace unblock::server {

namespace {

// A session that exits wakes the enforcer shortly before it is gone. The longer one stays, the less often
// it is looked for.
constexpr core::Micros kSoonest = 2'000;
constexpr core::Micros kLatest = core::kSecond;
constexpr core::Micros kReportAfter = 10 * core::kSecond;

struct Watched {
	int pid;
	TimestampTz backend_start;
	core::Micros signalled_at; // monotonic
	bool reported;
};

List* watched = NIL; // of Watched*, in TopMemoryContext

void note_end(const Watched& session) {
	count(kEndsSeen);
	const uint64 took = static_cast<uint64>(monotonic_now() - session.signalled_at);
	record(shared_state()->statistics.end_time, took);
	ereport(DEBUG1, (errmsg_internal("pg_unblock: session %d was gone " UINT64_FORMAT " us after its signal",
	                                 session.pid, took)));
}

void report_if_late(Watched& session) {
	if (session.reported || monotonic_now() - session.signalled_at < kReportAfter)
		return;
	session.reported = true;
	ereport(LOG, (errmsg("pg_unblock: session %d is still there %d s after it was told to end", session.pid,
	                     static_cast<int>(kReportAfter / core::kSecond)),
	              errhint("It will go when it next looks for signals. pg_unblock sends no SIGKILL, which "
	                      "would reset every session.")));
}

} // namespace

void watch(int pid, TimestampTz backend_start) {
	const MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
	auto* session = static_cast<Watched*>(palloc(sizeof(Watched)));
	*session = {pid, backend_start, monotonic_now(), false};
	watched = lappend(watched, session);
	MemoryContextSwitchTo(before);
}

long look_after_watched() {
	constexpr core::Micros per_millisecond = 1000;
	core::Micros next = kLatest;
	ListCell* cell;
	foreach (cell, watched) {
		auto* session = static_cast<Watched*>(lfirst(cell));
		if (is_present(session->pid, session->backend_start)) {
			report_if_late(*session);
			const core::Micros waited = monotonic_now() - session->signalled_at;
			next = std::min(next, std::clamp(waited, kSoonest, kLatest));
			continue;
		}
		note_end(*session);
		watched = foreach_delete_current(watched, cell);
		pfree(session);
	}
	return watched == NIL ? -1 : static_cast<long>(next / per_millisecond);
}

} // namespace unblock::server
