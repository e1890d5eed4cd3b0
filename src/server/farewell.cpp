// Notes in slots, and the hook that turns one into words.

#include "farewell.h"
#include "boundary.h"
#include "names.h"
#include "text_snapshot.h"
#include "trails.h"

namespace unblock::server {

namespace {

emit_log_hook_type previous_log_hook = nullptr;

// A cancel that found no statement to cancel leaves a note that nobody claims. After this time it must not
// explain somebody else's cancel.
constexpr int kCancelNoteMilliseconds = 5000;

bool is_stale(const Farewell& note) {
	return note.action == core::Action::cancel &&
	       TimestampDifferenceExceeds(note.left_at, GetCurrentTimestamp(), kCancelNoteMilliseconds);
}

// The error that a signal of ours leads to (postgres.c, ProcessInterrupts()), told by its text too: a
// statement_timeout, or a RAISE, has the same SQLSTATE as a cancel.
bool comes_from(core::Action action, const ErrorData* error) {
	const bool terminate = action == core::Action::terminate;
	const char* text = terminate ? "terminating connection due to administrator command"
	                             : "canceling statement due to user request";
	return error->elevel == (terminate ? FATAL : ERROR) &&
	       error->sqlerrcode == (terminate ? ERRCODE_ADMIN_SHUTDOWN : ERRCODE_QUERY_CANCELED) &&
	       error->message_id != nullptr && strcmp(error->message_id, text) == 0;
}

DurationText text_of(core::Micros length, std::string (*text)(core::Micros)) noexcept {
	DurationText result;
	try {
		strlcpy(result.text, text(length).c_str(), sizeof(result.text));
	} catch (...) {
		snprintf(result.text, sizeof(result.text), INT64_FORMAT "us", length);
	}
	return result;
}

const char* sessions(uint32 count) {
	return count == 1 ? "session" : "sessions";
}

// The trail of this session's own transaction; no catalog can be read here.
const core::Trail* own_trail() {
	return read_trail(compat::my_number(), MyProcPid, compat::local_xid(MyProc));
}

// "public.features"; nullptr if the trail does not tell.
const char* relation_text(const core::Trail* trail, Oid oid) {
	const core::Trail::Relation* relation = trail == nullptr ? nullptr : core::named_relation(*trail, oid);
	return relation == nullptr ? nullptr : qualified_name(relation->schema, relation->name);
}

// "AccessShareLock on relation public.features" or, of one without a name, "… 16421 of database lab".
char* lock_text(const Farewell& note) {
	Names names = only_database(MyDatabaseId, NameStr(my_slot()->database));
	if (*note.lock_relation != '\0')
		names.known_relation = {lock_relation(note.lock), fit_text(note.lock_relation)};
	const auto mode = core::name(note.mode);
	return psprintf("%.*s on %s", static_cast<int>(mode.size()), mode.data(), lock_label(names, note.lock));
}

// On one line, and not too long for one.
const char* statement_text(std::string_view text) {
	constexpr std::size_t most = 200;
	const std::string_view fit = text_for_core(fit_text(text));
	const char* line = "";
	auto* room = static_cast<char*>(palloc0(most * MAX_MULTIBYTE_CHAR_LEN + 1));
	const auto cut = [fit, room] {
		const std::string text_on_a_line = core::one_line(fit, most);
		text_on_a_line.copy(room, most * MAX_MULTIBYTE_CHAR_LEN);
	};
	if (run_guarded(cut).status == CoreStatus::ok)
		line = room;
	return line;
}

// "; lock on public.features taken by: SELECT * FROM features at 2026-01-05 10:00:00.123 UTC", where that is
// known. It is the session's own text.
const char* locking_text(const Farewell& note) {
	const core::Trail* trail = note.statement == 0 ? nullptr : own_trail();
	const char* relation = relation_text(trail, note.relation);
	if (relation == nullptr)
		return "";
	for (const core::Trail::Statement& statement : trail->statements)
		if (statement.number == note.statement)
			return psprintf("; lock on %s taken by: %s at %s", relation, statement_text(statement.text),
			                timestamptz_to_str(statement.at));
	return "";
}

// "; it blocked 5 sessions through AccessShareLock on relation public.features; lock …", where that is known.
const char* blocked_text(const Farewell& note) {
	return note.has_lock ? psprintf("; it blocked %u %s through %s%s", note.blocked, sessions(note.blocked),
	                                lock_text(note), locking_text(note))
	                     : "";
}

// What happened, as a sentence. In the error's own context.
char* reason(const Farewell& note) {
	const DurationText measured = duration_text(note.measured);
	const char* subject = note.in_transaction ? "transaction" : "session";
	switch (note.rule) {
	case core::Rule::idle_blocker:
		return psprintf("The %s waited for its client while it blocked others for %s%s.", subject,
		                measured.text, blocked_text(note));
	case core::Rule::preempt_idle_blockers:
		return psprintf("The %s waited for its client in the way of process %d, whose statement had been "
		                "blocked for %s%s.",
		                subject, note.preempting, measured.text, blocked_text(note));
	case core::Rule::idle_write_transaction:
		return psprintf("The transaction, which had written, waited for its client for %s.", measured.text);
	case core::Rule::idle_in_transaction:
		return psprintf("The %s waited for its client for %s.", subject, measured.text);
	case core::Rule::horizon_age:
		return psprintf("The transaction waited for its client and held back vacuum for " INT64_FORMAT
		                " transactions.",
		                note.measured);
	case core::Rule::transaction:
		return psprintf("The transaction had been open for %s.", measured.text);
	case core::Rule::queued_blocker:
		return psprintf("The statement waited for %s and kept %u %s waiting behind it in the queue, for %s.",
		                lock_text(note), note.blocked, sessions(note.blocked), measured.text);
	case core::Rule::active_blocker:
		return note.action == core::Action::cancel
		           ? psprintf("The transaction blocked others for %s while it worked%s.", measured.text,
		                      blocked_text(note))
		           : psprintf(
		                 "The transaction blocked others for %s while it worked, and still did so %s after "
		                 "its statement was canceled%s.",
		                 measured.text, duration_text(note.since_cancel).text, blocked_text(note));
	}
	return pstrdup("");
}

// "pg_unblock.idle_blocker_limit is 2s."
char* rule_sentence(const Farewell& note) {
	const auto setting = core::setting(note.rule);
	const char* of_whom = note.rule == core::Rule::preempt_idle_blockers ? " of that session" : "";
	char* sentence = psprintf("pg_unblock.%.*s%s is %s", static_cast<int>(setting.size()), setting.data(),
	                          of_whom, limit_text(note.rule, note.limit).text);
	return note.since_cancel > 0
	           ? psprintf("%s, pg_unblock.cancel_grace is %s.", sentence, setting_text(note.grace).text)
	           : psprintf("%s.", sentence);
}

char* detail_text(const Farewell& note) {
	if (note.asked == Farewell::Asked::by_role)
		return psprintf(note.action == core::Action::terminate
		                    ? "The session was terminated by role \"%s\" with %s()."
		                    : "The statement was canceled by role \"%s\" with %s().",
		                valid_text(NameStr(note.role)), NameStr(note.function));
	return psprintf("%s %s", reason(note), rule_sentence(note));
}

const char* hint_text(const Farewell& note) {
	switch (note.rule) {
	case core::Rule::queued_blocker:
		return "Try again later. With a lower lock_timeout a statement gives up by itself before others have "
		       "to wait behind it for long.";
	case core::Rule::active_blocker:
		return "Do the work in smaller transactions.";
	case core::Rule::transaction:
		return "Do the work in shorter transactions.";
	default:
		return note.in_transaction ? "Commit or roll back as soon as the work is done; do not leave a "
		                             "transaction open while the application does something else."
		                           : "Release session-level locks as soon as the work is done.";
	}
}

// The condition that retry tools and drivers know for what the limit does.
void set_condition(ErrorData* error, const Farewell& note) {
	constexpr int transaction_timeout = MAKE_SQLSTATE('2', '5', 'P', '0', '4'); // has a name from 17 on
	if (note.rule == core::Rule::queued_blocker) {
		error->sqlerrcode = ERRCODE_LOCK_NOT_AVAILABLE;
		error->message = pstrdup(_("canceling statement due to lock timeout"));
	} else if (note.rule == core::Rule::transaction)
		error->sqlerrcode = transaction_timeout;
	else if (note.rule < core::Rule::transaction && note.in_transaction)
		error->sqlerrcode = ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT;
}

// PostgreSQL's elog.c allows a log hook to change output_to_server only and calls any other change
// unsupported. It has let hooks change the texts since the hook exists: the hook runs before both the log
// line and the client's message are made from the same ErrorData. A test for each version watches over it.
void explain(ErrorData* error, const Farewell& note) {
	const MemoryContext before = MemoryContextSwitchTo(error->assoc_context);
	error->detail = detail_text(note);
	error->detail_log = nullptr; // from 19 on: which process has sent the signal
	if (note.asked == Farewell::Asked::by_limit) {
		error->hint = pstrdup(hint_text(note));
		set_condition(error, note);
	}
	MemoryContextSwitchTo(before);
}

// Drivers that find the connection gone often show no FATAL, but keep notices. (The end of a WARNING
// checks for interrupts: a second signal may raise its own FATAL here, which is explained like the first.)
void warn_client(const char* detail) {
	ereport(WARNING_CLIENT_ONLY,
	        (errmsg("pg_unblock is ending this session"), errdetail_internal("%s", detail)));
}

// Takes the note that explains this error, if there is one. A note about the session's end stays claimed
// and explains a second such error too.
bool claim_note(Farewell& note, const ErrorData* error, Farewell* copy, bool* first) {
	uint32 state = pg_atomic_read_u32(&note.state);
	*first = state == Farewell::left;
	if (state != Farewell::left && state != Farewell::claimed)
		return false;
	pg_read_barrier();
	if (!comes_from(note.action, error))
		return false;
	if (*first && !pg_atomic_compare_exchange_u32(&note.state, &state, Farewell::claimed))
		return false;
	*copy = note;
	if (!comes_from(copy->action, error)) { // replaced in between by a note about another error
		pg_atomic_write_u32(&note.state, state);
		return false;
	}
	if (copy->action == core::Action::cancel)
		pg_atomic_write_u32(&note.state, Farewell::none);
	return !is_stale(*copy);
}

void on_log(ErrorData* error) {
	SessionSlot* slot = my_slot();
	Farewell note;
	bool first = false;
	if (slot != nullptr && error->elevel >= ERROR && claim_note(slot->farewell, error, &note, &first)) {
		explain(error, note);
		if (first && error->elevel == FATAL)
			warn_client(error->detail);
	}
	if (previous_log_hook)
		previous_log_hook(error);
}

} // namespace

void install_farewell_hook() {
	previous_log_hook = emit_log_hook;
	emit_log_hook = on_log;
}

bool leave_farewell(SessionSlot* slot, const Farewell& farewell) {
	Farewell& note = slot->farewell;
	uint32 expected = pg_atomic_read_u32(&note.state);
	const bool free_to_write = expected == Farewell::none || (expected == Farewell::left && is_stale(note)) ||
	                           // The end of a session outdoes a canceled statement.
	                           (expected == Farewell::left && note.action == core::Action::cancel &&
	                            farewell.action == core::Action::terminate);
	if (!free_to_write || !pg_atomic_compare_exchange_u32(&note.state, &expected, Farewell::being_written))
		return false;
	note.asked = farewell.asked;
	note.action = farewell.action;
	note.rule = farewell.rule;
	note.limit = farewell.limit;
	note.measured = farewell.measured;
	note.since_cancel = farewell.since_cancel;
	note.grace = farewell.grace;
	note.blocked = farewell.blocked;
	note.preempting = farewell.preempting;
	note.in_transaction = farewell.in_transaction;
	note.has_lock = farewell.has_lock;
	note.lock = farewell.lock;
	note.mode = farewell.mode;
	strlcpy(note.lock_relation, farewell.lock_relation, sizeof(note.lock_relation));
	note.relation = farewell.relation;
	note.statement = farewell.statement;
	note.left_at = GetCurrentTimestamp();
	note.role = farewell.role;
	note.function = farewell.function;
	pg_write_barrier();
	pg_atomic_write_u32(&note.state, Farewell::left);
	return true;
}

void take_back_farewell(SessionSlot* slot) {
	uint32 expected = Farewell::left;
	pg_atomic_compare_exchange_u32(&slot->farewell.state, &expected, Farewell::none);
}

DurationText duration_text(core::Micros length) {
	return text_of(length, core::duration);
}

DurationText setting_text(core::Micros length) {
	return text_of(length, core::exact_duration);
}

DurationText limit_text(core::Rule rule, core::Micros limit) {
	if (!core::counts_transactions(rule))
		return setting_text(limit);
	DurationText result;
	snprintf(result.text, sizeof(result.text), INT64_FORMAT, limit);
	return result;
}

DurationText measured_text(core::Rule rule, core::Micros measured) {
	return core::counts_transactions(rule) ? limit_text(rule, measured) : duration_text(measured);
}

} // namespace unblock::server
