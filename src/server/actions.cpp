// Permission, signal, and the wait for ends.

#include "actions.h"
#include "farewell.h"
#include "log_line.h"
#include "memory.h"
#include "privileges.h"
#include "shared_state.h"

namespace unblock::server {

namespace {

constexpr core::Micros kDefaultWait = 5 * core::kSecond;
constexpr long kPollMilliseconds = 10;

// What is known of the session before it is signalled; nullptr: there is no history, or no room in it.
Incident* draft(const Target& target, const Farewell& note, Drafts*& drafts) {
	if (incidents() == nullptr || !has_share())
		return nullptr;
	if (drafts == nullptr) {
		Collected& collected = *collect(Purpose::recording);
		drafts = new (palloc(sizeof(Drafts))) Drafts(collected, graph_of(collected));
	}
	const core::Index found = drafts->find(target.pid, target.backend_start);
	Incident* incident =
	    found == core::kNone ? draft_incident(target.pid, target.backend_start) : drafts->of(found);
	incident->kind = note.action == core::Action::terminate ? Incident::Kind::manual_terminate
	                                                        : Incident::Kind::manual_cancel;
	incident->by = note.role;
	incident->function = note.function;
	return incident;
}

// Signals, and records it if it was sent. The enforcer, which may see the session go first, waits for that
// word.
Sent send_and_record(const Target& target, const Farewell& note, Incident* incident, uint64* number) {
	SharedState* shared = incident == nullptr ? nullptr : shared_state();
	if (shared != nullptr)
		pg_atomic_fetch_add_u32(&shared->signalling, 1);
	const Sent sent = send(target, note.action, settings.explain_actions ? &note : nullptr);
	const int kill_error = errno;
	if (shared != nullptr) {
		incident->signalled_at = monotonic_now();
		if (sent == Sent::sent)
			*number = remember_manual(*incident);
		pg_atomic_fetch_sub_u32(&shared->signalling, 1);
	}
	errno = kill_error;
	return sent;
}

} // namespace

bool may_know(const Names& names, const core::Session& session) {
	return !session.masked || may_signal(names, session.role);
}

Outcome outcome_for(const Names& names, int pid, Oid role, core::State state) {
	Outcome outcome = {};
	outcome.pid = pid;
	outcome.usename = role_name(names, role);
	outcome.state = may_see(names, role) ? state_name(state) : nullptr;
	return outcome;
}

void tell(Outcome& outcome, const char* what, const char* detail) {
	outcome.outcome = what;
	outcome.detail = detail;
}

void add_outcome(Rows& rows, const Outcome& outcome) {
	rows.int4(outcome.pid);
	if (outcome.usename == nullptr)
		rows.null();
	else
		rows.name(outcome.usename);
	rows.text(outcome.state);
	rows.text(outcome.outcome);
	rows.text(outcome.detail);
	rows.end_row();
}

void refuse_null_argument(FunctionCallInfo fcinfo, int number, const char* argument) {
	if (PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", argument)));
}

bool boolean_argument(FunctionCallInfo fcinfo, int number, const char* argument) {
	refuse_null_argument(fcinfo, number, argument);
	return PG_GETARG_BOOL(number);
}

// A length of time; months count 30 days, as elsewhere in the server.
core::Micros length_argument(FunctionCallInfo fcinfo, int number, const char* argument) {
	refuse_null_argument(fcinfo, number, argument);
	const Interval* interval = PG_GETARG_INTERVAL_P(number);
	const int64 days = static_cast<int64>(interval->month) * DAYS_PER_MONTH + interval->day;
	int64 length;
	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &length) ||
	    pg_add_s64_overflow(length, interval->time, &length))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is out of range", argument)));
	if (length < 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be negative", argument)));
	return length;
}

Farewell note_for(core::Action action, const char* function) {
	Farewell note = {};
	note.asked = Farewell::Asked::by_role;
	note.action = action;
	namestrcpy(&note.role, current_role_name());
	namestrcpy(&note.function, function);
	return note;
}

void act(Outcome& outcome, const Target& target, const Farewell& note, Drafts*& drafts) {
	const core::Action action = note.action;
	Incident* incident = draft(target, note, drafts);
	uint64 number = 0;
	const Sent sent = send_and_record(target, note, incident, &number);
	switch (sent) {
	case Sent::sent:
		if (action == core::Action::terminate) {
			outcome.backend_start = target.backend_start;
			count(kManualTerminated);
		} else {
			tell(outcome, "canceled", "The statement was told to stop.");
			count(kManualCancelled);
		}
		log_manual_action(note, target.pid, outcome.usename ? outcome.usename : "", number);
		break;
	case Sent::gone:
		tell(outcome, "gone", "There is no such session any more.");
		break;
	case Sent::changed:
		tell(outcome, "changed", "The session went on in the last moment. Nothing was done.");
		break;
	case Sent::busy:
		tell(outcome, "changed", kUnreadable);
		break;
	case Sent::failed:
		tell(outcome, "still there", psprintf("The signal could not be sent: %s.", strerror(errno)));
		break;
	}
}

void wait_for_ends(Outcome* outcomes, std::size_t count, core::Micros wait) {
	core::Micros deadline;
	if (pg_add_s64_overflow(monotonic_now(), wait, &deadline))
		deadline = INT64_MAX;
	const auto is_awaited = [](const Outcome& outcome) { return outcome.outcome == nullptr; };
	for (;;) {
		for (std::size_t i = 0; i < count; ++i)
			if (is_awaited(outcomes[i]) && !is_present(outcomes[i].pid, outcomes[i].backend_start))
				tell(outcomes[i], "terminated", "The session has ended.");
		if (std::none_of(outcomes, outcomes + count, is_awaited) || monotonic_now() >= deadline)
			break;
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPollMilliseconds,
		          PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	for (std::size_t i = 0; i < count; ++i)
		if (is_awaited(outcomes[i]))
			tell(outcomes[i], "still there", "The session was told to end and has not done so yet.");
}

Endings::Endings(std::size_t most, const char* function, bool dry_run)
    : outcomes_(allocate<Outcome>(most, MCXT_ALLOC_ZERO)), dry_run_(dry_run),
      note_(note_for(core::Action::terminate, function)) {}

void Endings::end(const Names& names, const core::Session& session, const Target& target) {
	if (!may_know(names, session))
		return;
	Outcome& outcome = outcomes_[count_++];
	outcome = outcome_for(names, session.pid, session.role, session.state);
	if (!may_signal(names, session.role))
		tell(outcome, "not permitted", "The same rules apply as for pg_terminate_backend().");
	else if (dry_run_)
		tell(outcome, "would terminate", "Nothing was done.");
	else
		act(outcome, target, note_, drafts_);
}

void Endings::finish(Rows& rows) {
	wait_for_ends(outcomes_, count_, kDefaultWait);
	for (std::size_t i = 0; i < count_; ++i)
		add_outcome(rows, outcomes_[i]);
}

} // namespace unblock::server
