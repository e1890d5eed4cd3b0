// What the functions that end or cancel sessions share: arguments, permission,
// the signal, the wait for ends, one row for each session.
#pragma once

#include "history.h"
#include "names.h"
#include "rows.h"
#include "signal.h"

namespace unblock::server {

constexpr char kUnreadable[] = "The session's state could not be read. Nothing was done.";

// One row of the result.
struct Outcome {
	int pid;
	const char* usename;
	const char* state;         // nullptr if the caller may not see it
	const char* outcome;       // nullptr while it is not known yet
	const char* detail;        // a sentence or two
	TimestampTz backend_start; // of a session that was told to end, else 0
};

// Whether the caller may learn of a session that it is idle in a transaction: may see it, or end it.
bool may_know(const Names& names, const core::Session& session);

// An outcome that is not known yet.
Outcome outcome_for(const Names& names, int pid, Oid role, core::State state);
void tell(Outcome& outcome, const char* what, const char* detail);
void add_outcome(Rows& rows, const Outcome& outcome);

// Raise 22004 if the argument is null; a length of time also 22023 if it is negative.
void refuse_null_argument(FunctionCallInfo fcinfo, int number, const char* argument);
bool boolean_argument(FunctionCallInfo fcinfo, int number, const char* argument);
core::Micros length_argument(FunctionCallInfo fcinfo, int number, const char* argument);

// Who acts, for the client that it happens to. `function` with its schema.
Farewell note_for(core::Action action, const char* function);

// Signals, records, and says how it went; a terminated session's end is still to be waited for.
// `drafts` is made by the first call, for records of all that follow.
void act(Outcome& outcome, const Target& target, const Farewell& note, Drafts*& drafts);

// Waits until the sessions that were told to end are gone, or the time has passed.
void wait_for_ends(Outcome* outcomes, std::size_t count, core::Micros wait);

// Ends some sessions of a snapshot. Plain data: an error may pass over it.
class Endings {
public:
	// `most` is the number of rows at most.
	Endings(std::size_t most, const char* function, bool dry_run);

	// Tells a session to end, or says why not. Sessions that the caller may not know of are left out, as in
	// idle_transactions: a row would tell that they are idle.
	void end(const Names& names, const core::Session& session, const Target& target);

	// A row for something that is not told to end.
	void add(const Outcome& outcome) { outcomes_[count_++] = outcome; }

	// Waits for the ends and gives all rows.
	void finish(Rows& rows);

private:
	Outcome* outcomes_;
	std::size_t count_ = 0;
	bool dry_run_;
	Farewell note_;
	Drafts* drafts_ = nullptr;
};

} // namespace unblock::server
