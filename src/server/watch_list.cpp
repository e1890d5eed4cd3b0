// A list in the enforcer's own memory.

#include "watch_list.h"
#include "shared_state.h"
#include "signal.h"

namespace unblock::server {

namespace {

// A session that exits wakes the enforcer shortly before it is gone. The longer one stays, the less often
// it is looked for.
constexpr core::Micros kSoonest = 2'000;
constexpr core::Micros kLatest = core::kSecond;
constexpr core::Micros kReportAfter = 10 * core::kSecond;

struct Watched {
	uint64 incident;
	Incident::Kind kind;
	int pid;
	TimestampTz backend_start;
	TimestampTz xact_start;
	TimestampTz state_start;
	core::Micros since; // monotonic
	bool reported;
	bool again; // it had been told to end before

	// Others are looked at when the enforcer is awake anyway.
	bool is_urgent() const { return terminates(kind) || (cancels(kind) && !reported); }
	core::Micros age() const { return monotonic_now() - since; }
};

List* watched = NIL; // of Watched*, in TopMemoryContext

bool is_over(const Watched& entry) {
	Status status;
	switch (find_session(entry.pid, entry.backend_start, &status)) {
	case Presence::gone:
		return true;
	case Presence::unreadable:
		return false;
	case Presence::present:
		break;
	}
	if (terminates(entry.kind))
		return false;
	if (cancels(entry.kind) || entry.xact_start == 0) // an aborted transaction is known by its spell
		return status.state_start != entry.state_start;
	return status.xact_start != entry.xact_start;
}

void note_end(const Watched& entry) {
	const core::Micros took = entry.age();
	if (!terminates(entry.kind)) {
		note_outcome(entry.incident,
		             cancels(entry.kind) ? Incident::Outcome::canceled : Incident::Outcome::by_itself, took);
		return;
	}
	note_outcome(entry.incident, Incident::Outcome::terminated, took);
	if (entry.again)
		return;
	count(kEndsSeen);
	record(shared_state()->statistics.end_time, static_cast<uint64>(took));
	ereport(DEBUG1, (errmsg_internal("pg_unblock: session %d was gone " INT64_FORMAT " us after its signal",
	                                 entry.pid, took)));
}

void report_if_late(Watched& entry) {
	if (entry.reported || !entry.is_urgent() || entry.age() < kReportAfter)
		return;
	entry.reported = true;
	note_outcome(entry.incident, Incident::Outcome::still_there, entry.age());
	if (terminates(entry.kind) && !entry.again)
		ereport(LOG, (errmsg("pg_unblock: session %d is still there %d s after it was told to end", entry.pid,
		                     static_cast<int>(kReportAfter / core::kSecond)),
		              errhint("It will go when it next looks for signals. pg_unblock sends no SIGKILL, which "
		                      "would reset every session.")));
}

// When its time began, monotonic: with the signal or, in dry run, with the incident, perhaps in a previous
// life of the enforcer.
core::Micros begin_of(const Incident& incident) {
	if (incident.signalled_at != 0)
		return incident.signalled_at;
	return monotonic_now() - std::max<core::Micros>(GetCurrentTimestamp() - incident.at, 0);
}

} // namespace

void watch(const Incident& incident, uint64 number) {
	bool again = false;
	ListCell* cell;
	foreach (cell, watched) {
		const auto* other = static_cast<const Watched*>(lfirst(cell));
		again = again || (terminates(other->kind) && other->pid == incident.pid &&
		                  other->backend_start == incident.backend_start);
	}
	const MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
	auto* entry = static_cast<Watched*>(palloc(sizeof(Watched)));
	*entry = {number,
	          incident.kind,
	          incident.pid,
	          incident.backend_start,
	          incident.xact_start,
	          incident.state_start,
	          begin_of(incident),
	          incident.outcome == Incident::Outcome::still_there,
	          again};
	watched = lappend(watched, entry);
	MemoryContextSwitchTo(before);
}

long look_after_watched() {
	constexpr core::Micros per_millisecond = 1000;
	core::Micros next = -per_millisecond;
	ListCell* cell;
	foreach (cell, watched) {
		auto* entry = static_cast<Watched*>(lfirst(cell));
		if (is_over(*entry)) {
			note_end(*entry);
			watched = foreach_delete_current(watched, cell);
			pfree(entry);
			continue;
		}
		report_if_late(*entry);
		if (!entry->is_urgent())
			continue;
		const core::Micros wait = std::clamp(entry->age(), kSoonest, kLatest);
		next = next < 0 ? wait : std::min(next, wait);
	}
	return static_cast<long>(next / per_millisecond);
}

} // namespace unblock::server
