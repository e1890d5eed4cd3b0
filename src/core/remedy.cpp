// Remedies by what a session is and does.
#include "remedy.h"

#include "text.h"

#include "fence.h"

namespace unblock::core {

namespace {

// A call that hits nobody but the session as it was seen: see remedy.h.
std::string call(std::string_view function, const Session& session, const SessionTimes& times) {
	const std::string pid = std::to_string(session.pid);
	std::string text = "SELECT unblock.";
	text.append(function);
	if (!times.xact_start.empty())
		return text + "(" + pid + ", " + quote_literal(times.xact_start) + ");";
	if (times.backend_start.empty() || times.state_start.empty())
		return {};
	return text + "(pid) FROM pg_catalog.pg_stat_activity WHERE pid = " + pid +
	       " AND backend_start = " + quote_literal(times.backend_start) +
	       " AND state_change = " + quote_literal(times.state_start) + ";";
}

std::string rollback_prepared(const Session& session) {
	if (session.gid.empty())
		return {};
	// It works in that database only. On one line, lest the name end the comment.
	std::string place;
	if (!session.datname.empty())
		place = " in database " + one_line(session.datname);
	if (!session.gid_exact)
		return "-- ROLLBACK PREPARED" + place + ", with the gid that pg_prepared_xacts shows there";
	return "ROLLBACK PREPARED " + quote_literal(session.gid) + ";" + (place.empty() ? place : " --" + place);
}

std::string remedy_of_client(const Session& session, const SessionTimes& times) {
	if (session.wait == Wait::sync_rep)
		return "-- " + std::to_string(session.pid) +
		       " has committed and waits for a standby: mend that standby, or take it out of "
		       "synchronous_standby_names";
	switch (session.state) {
	case State::unknown:
	case State::disabled:
		return {};
	case State::idle:
	case State::idle_in_transaction:
	case State::idle_in_transaction_aborted:
		return call("terminate", session, times);
	case State::active:
	case State::fastpath:
		break;
	}
	// The server ignores a cancel while it reads from or writes to the client inside a statement.
	const bool waits_for_client = session.wait == Wait::client_read || session.wait == Wait::client_write;
	return call(waits_for_client ? "terminate" : "cancel", session, times);
}

// A waiter has an autovacuum worker that blocks it canceled after deadlock_timeout, but not one that prevents
// wraparound (proc.c, ProcSleep). The worker says so in its activity (autovacuum.c, autovac_report_activity).
std::string advice_on_autovacuum(const Session& session, std::string_view waiting) {
	const bool prevents_wraparound = session.query.find("(to prevent wraparound)") != std::string_view::npos;
	std::string text = "-- wait until this autovacuum is done (";
	text += prevents_wraparound ? "the server does not cancel it: it prevents wraparound"
	                            : "the server cancels it when a lock was awaited for deadlock_timeout";
	text += "), or cancel the waiting statement";
	if (!waiting.empty())
		text += ": " + one_line(waiting);
	return text;
}

} // namespace

std::string remedy(const Session& session, const SessionTimes& times, std::string_view waiting) {
	if (session.masked)
		return {};
	switch (session.kind) {
	case Kind::unknown:
		return {};
	case Kind::client:
		return remedy_of_client(session, times);
	case Kind::prepared:
		return rollback_prepared(session);
	case Kind::autovacuum:
		return advice_on_autovacuum(session, waiting);
	case Kind::startup:
		return "-- wait until the startup process has replayed more, or end the transaction on the primary "
		       "that holds the lock";
	case Kind::walsender:
		return "-- wait until this walsender has done what its client asked for, or stop that client (a "
		       "standby, subscriber or backup)";
	case Kind::worker:
	case Kind::background:
		break;
	}
	return "-- wait until this background process is done; what it is: SELECT backend_type, query FROM "
	       "pg_catalog.pg_stat_activity WHERE pid = " +
	       std::to_string(session.pid) + ";";
}

std::string remedy(const WaitGraph& graph, Index node, std::span<const SessionTimes> times) {
	const Snapshot& snapshot = graph.snapshot();
	const Session& session = snapshot.sessions[node];
	const Index waiter = graph.node(node).hard_waiter;
	std::string waiting;
	if (session.kind == Kind::autovacuum && waiter != kNone) {
		const Index waits = graph.node_of(snapshot.waiters[waiter].session);
		if (snapshot.sessions[waits].kind == Kind::client)
			waiting = remedy(snapshot.sessions[waits], times[waits]);
	}
	return remedy(session, times[node], waiting);
}

} // namespace unblock::core
