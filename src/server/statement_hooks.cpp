// When a session's statements begin, run and end, by the server's hooks.
//
// A statement is what the client sent; what runs inside it (functions, triggers,
// DO blocks, checks of foreign keys) counts for it. Outside transaction blocks
// nothing is recorded: a transaction of one statement needs no trail. (A message
// of several statements is a block too.)

#include "statement_hooks.h"
#include "settings.h"
#include "trail_writer.h"

extern "C" {
#include "common/hashfn.h"
#include "parser/analyze.h"
}

namespace unblock::server {

namespace {

post_parse_analyze_hook_type previous_parse = nullptr;
ExecutorStart_hook_type previous_start = nullptr;
ExecutorRun_hook_type previous_run = nullptr;
ExecutorFinish_hook_type previous_finish = nullptr;
ProcessUtility_hook_type previous_utility = nullptr;

int nesting = 0; // runs that are under way, one inside the other

const QueryDesc* started = nullptr; // the present statement's plan, if nothing else has begun since

// --- statements that are parsed, and perhaps never run -----------------------------------------------

// The last one that the client has sent and that has not begun. The parser has locked what it looks at.
class Parsed {
public:
	// False: another one had been parsed before, and has not begun. `copied`: it may begin by a copy of its
	// text.
	bool add(const char* text, bool copied) {
		const bool alone = begin(text);
		text_ = text;
		at_ = GetCurrentStatementStartTimestamp();
		level_ = GetCurrentTransactionNestLevel();
		hash_ = copied ? hash_of(text) : 0;
		return alone;
	}
	// A statement begins. False as above.
	bool begin(const char* text) {
		if (text_ == nullptr)
			return true;
		const bool same =
		    hash_ != 0 ? hash_of(text) == hash_ : text == text_ && at_ == GetCurrentStatementStartTimestamp();
		text_ = nullptr;
		return same;
	}
	// A level of the transaction ends: what was locked there belongs to the one below, or is undone.
	void release(int level) { level_ = std::min(level_, level - 1); }
	void roll_back(int level) {
		if (level_ >= level)
			text_ = nullptr;
	}
	void clear() { text_ = nullptr; }

private:
	static uint64 hash_of(const char* text) {
		return hash_bytes_extended(reinterpret_cast<const unsigned char*>(text),
		                           static_cast<int>(strlen(text)), 0);
	}
	const char* text_ = nullptr; // to be compared only: it may be gone
	TimestampTz at_ = 0;
	int level_ = 0;
	uint64 hash_ = 0; // 0: not known
};

Parsed parsed;

// --- what the client sent ----------------------------------------------------------------------------

// Whether all of a message is one statement, which then has the same place however it is told: a rule's part
// of it has none.
bool is_whole(const char* text, int place, int length) {
	if (place != 0)
		return place < 0;
	const char* rest = length == 0 ? "" : text + length;
	while (*rest == ';' || scanner_isspace(*rest))
		++rest;
	return *rest == '\0';
}

// Text of the server's own (a function that the planner evaluates, a deferred trigger) stands for the whole
// message that it runs for; so does what a rule has made of one of its statements.
// Returns whether it is text of the client's.
bool begin(const char* text, int place, int length, uint64 query_id) {
	const char* message = debug_query_string;
	// A portal has a copy of its message's text.
	const bool sent = text == message || strcmp(text, message) == 0;
	// The locks that another one's parsing has left are not its own.
	if (sent && !parsed.begin(text))
		note_unexplained();
	const bool whole = !sent || is_whole(message, place, length);
	begin_statement({GetCurrentStatementStartTimestamp(), message, whole ? -1 : place, whole ? 0 : length,
	                 sent ? query_id : pgstat_get_my_query_id()});
	return sent;
}

bool begin(const QueryDesc* query) {
	const PlannedStmt* plan = query->plannedstmt;
	return begin(query->sourceText, plan->stmt_location, plan->stmt_len, plan->queryId);
}

// The client's statement whose plan runs or has run; nothing for a nested one.
void go_on(const QueryDesc* query) {
	if (nesting > 0)
		return;
	if (query == started)
		continue_statement(query->sourceText);
	else
		begin(query);
}

// Called by parse_analyze_fixedparams() and its like (parser/analyze.c) for each statement, whoever parses
// it: one that is prepared takes its locks here. What is parsed inside of a statement is that one's, run or
// not. Other extensions (pg_stat_statements) change the query's id, not its locks.
void on_parse(ParseState* state, Query* query, compat::Jumble* jumble) {
	if (previous_parse)
		previous_parse(state, query, jumble);
	const char* text = state->p_sourcetext;
	const bool locks_nothing = state->p_rtable == NIL && !state->p_hasSubLinks && query->cteList == NIL;
	if (locks_nothing || text == nullptr || !is_recording())
		return;
	if (nesting == 0 && text == debug_query_string) {
		// A message of the simple protocol, which has no parameters, runs by the text that it has parsed.
		const bool copied = state->p_paramref_hook != nullptr;
		if (!parsed.add(text, copied))
			note_unexplained();
	} else {
		if (nesting == 0) // inside of the planner
			begin(text, -1, 0, 0);
		note_parsed(query);
	}
	publish_trail();
}

// --- running -----------------------------------------------------------------------------------------

void leave() {
	if (--nesting == 0)
		end_statement();
	publish_trail();
}

// (With PG_FINALLY() the compiler fears for a variable of that macro.)
void guard_statement(void (*work)(void*), void* argument) {
	++nesting;
	PG_TRY();
	{ work(argument); }
	PG_CATCH();
	{
		leave();
		PG_RE_THROW();
	}
	PG_END_TRY();
	leave();
}

// Does what a hook is there for as a part of the present statement; an error passes through.
template <class Work>
void within_statement(Work work) {
	guard_statement(
	    [](void* argument) {
		    (*static_cast<Work*>(argument))();
		    if (nesting == 1)
			    note_write();
	    },
	    &work);
}

void start_next(QueryDesc* query, int flags) {
	if (previous_start)
		previous_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

// Called by ExecutorStart() (executor/execMain.c) for each plan that is about to run, a cursor's and a nested
// statement's too: what a cursor fetches counts for the statement that has opened it. Other extensions
// (auto_explain, pg_stat_statements) ask for instrumentation here, before ours or behind.
void on_start(QueryDesc* query, int flags) {
	start_next(query, flags);
	if (!is_recording())
		return;
	if (nesting == 0)
		started = begin(query) ? query : nullptr;
	note_planned(query->plannedstmt, (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0);
	publish_trail();
}

void run_next(UNBLOCK_RUN_PARAMETERS) {
	if (previous_run)
		previous_run(UNBLOCK_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(UNBLOCK_RUN_ARGUMENTS);
}

// Called by ExecutorRun() (executor/execMain.c) for each run of a plan; a cursor runs one piece by piece.
// Other extensions count nesting and time here; they all call on, and an error of theirs passes through ours.
void on_run(UNBLOCK_RUN_PARAMETERS) {
	if (!is_recording()) {
		run_next(UNBLOCK_RUN_ARGUMENTS);
		return;
	}
	go_on(query);
	within_statement([&] { run_next(UNBLOCK_RUN_ARGUMENTS); });
}

void finish_next(QueryDesc* query) {
	if (previous_finish)
		previous_finish(query);
	else
		standard_ExecutorFinish(query);
}

// Called by ExecutorFinish() (executor/execMain.c) once for each plan that has run: it fires what triggers
// are due after the statement. Of other extensions the same is true as for on_run().
void on_finish(QueryDesc* query) {
	const bool changes_nothing = query->operation == CMD_SELECT && !query->plannedstmt->hasModifyingCTE;
	if (changes_nothing || !is_recording()) {
		finish_next(query);
		return;
	}
	go_on(query);
	within_statement([query] {
		finish_next(query);
		note_opened(query->estate);
	});
}

// How the locks of a utility statement are found out.
enum class Utility {
	takes_none, // or its transaction ends with it
	runs_plans, // which the other hooks see, or utility statements inside
	takes_what_it_holds,
};

Utility kind_of(const Node* statement) {
	switch (nodeTag(statement)) {
	case T_TransactionStmt:
	case T_VariableSetStmt:
	case T_VariableShowStmt:
	case T_ClosePortalStmt:
	case T_DeallocateStmt:
	case T_NotifyStmt:
	case T_ListenStmt:
	case T_UnlistenStmt:
	case T_CheckPointStmt:
	case T_LoadStmt:
		return Utility::takes_none;
	case T_ExecuteStmt:
	case T_DeclareCursorStmt:
	case T_FetchStmt:
	case T_DoStmt:
	case T_CallStmt:
		return Utility::runs_plans;
	default:
		return Utility::takes_what_it_holds;
	}
}

bool is_begin(const Node* statement) {
	if (!IsA(statement, TransactionStmt))
		return false;
	const TransactionStmtKind kind = reinterpret_cast<const TransactionStmt*>(statement)->kind;
	return kind == TRANS_STMT_BEGIN || kind == TRANS_STMT_START;
}

// A client that pipelines its messages may have run statements before BEGIN, which then belong to the block.
void note_unseen(const PlannedStmt* statement, const char* text) {
	if (!is_recording() || !FirstSnapshotSet)
		return;
	begin(text, statement->stmt_location, statement->stmt_len, statement->queryId);
	end_unseen();
	publish_trail();
}

void utility_next(UNBLOCK_UTILITY_PARAMETERS) {
	if (previous_utility)
		previous_utility(UNBLOCK_UTILITY_ARGUMENTS);
	else
		standard_ProcessUtility(UNBLOCK_UTILITY_ARGUMENTS);
}

// Called by ProcessUtility() (tcop/utility.c) for each statement that has no plan, a nested one too. Other
// extensions that handle a statement without calling on, before ours, hide it and its locks.
void on_utility(UNBLOCK_UTILITY_PARAMETERS) {
	const Node* utility = statement->utilityStmt;
	const Utility kind = kind_of(utility);
	if (!is_recording() || kind == Utility::takes_none) {
		const bool begins = is_begin(utility) && !IsTransactionBlock();
		utility_next(UNBLOCK_UTILITY_ARGUMENTS);
		if (begins)
			note_unseen(statement, text);
		return;
	}
	if (nesting == 0) {
		begin(text, statement->stmt_location, statement->stmt_len, statement->queryId);
		started = nullptr;
	}
	note_analyzed(utility);
	if (kind == Utility::takes_what_it_holds) {
		note_unexplained();
		run_statement();
		publish_trail();
	}
	within_statement([&] {
		utility_next(UNBLOCK_UTILITY_ARGUMENTS);
		if (kind == Utility::takes_what_it_holds)
			note_held();
	});
}

// --- transactions ------------------------------------------------------------------------------------

// Called by xact.c at the end of each transaction, before its locks are released; each extension's callback
// by itself.
void on_transaction_end(XactEvent event, void*) {
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	forget_transaction();
	started = nullptr;
	parsed.clear();
}

// Called by xact.c for savepoints, and for the blocks of functions that catch exceptions.
void on_savepoint_end(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
	if (event == SUBXACT_EVENT_COMMIT_SUB) {
		release_level();
		parsed.release(GetCurrentTransactionNestLevel());
	} else if (event == SUBXACT_EVENT_ABORT_SUB) {
		roll_back_level();
		parsed.roll_back(GetCurrentTransactionNestLevel());
	}
}

} // namespace

void install_statement_hooks() {
	if (settings.statement_trail == 0)
		return;
	previous_parse = post_parse_analyze_hook;
	post_parse_analyze_hook = on_parse;
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = on_start;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = on_run;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = on_finish;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = on_utility;
	RegisterXactCallback(on_transaction_end, nullptr);
	RegisterSubXactCallback(on_savepoint_end, nullptr);
}

} // namespace unblock::server
