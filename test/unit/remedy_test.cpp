#include "core/remedy.h"
#include "graph_builder.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace unblock::core::test {
namespace {

Session client(State state, Wait wait = Wait::other) {
	Session session;
	session.pid = 4711;
	session.kind = Kind::client;
	session.state = state;
	session.wait = wait;
	return session;
}

Session of_kind(Kind kind) {
	Session session = client(State::active);
	session.kind = kind;
	return session;
}

constexpr SessionTimes kInTransaction{
    .xact_start = "2026-01-05 10:00:00.123456+00", .backend_start = {}, .state_start = {}};
constexpr SessionTimes kInNone{
    .xact_start = {}, .backend_start = "2026-01-05 09:00:00+00", .state_start = "2026-01-05 10:00:00.5+00"};

TEST(Remedy, TerminatesWhoWaitsForItsClient) {
	const std::string terminate = "SELECT unblock.terminate(4711, '2026-01-05 10:00:00.123456+00');";
	EXPECT_EQ(remedy(client(State::idle_in_transaction, Wait::client_read), kInTransaction), terminate);
	EXPECT_EQ(remedy(client(State::active, Wait::client_read), kInTransaction), terminate);
	EXPECT_EQ(remedy(client(State::active, Wait::client_write), kInTransaction), terminate);
}

TEST(Remedy, CancelsWhoRunsAStatement) {
	const std::string cancel = "SELECT unblock.cancel(4711, '2026-01-05 10:00:00.123456+00');";
	EXPECT_EQ(remedy(client(State::active), kInTransaction), cancel);
	EXPECT_EQ(remedy(client(State::fastpath), kInTransaction), cancel);
}

TEST(Remedy, NamesTheSpellWhereThereIsNoTransactionToName) {
	const std::string spell = "(pid) FROM pg_catalog.pg_stat_activity WHERE pid = 4711 AND backend_start = "
	                          "'2026-01-05 09:00:00+00' AND state_change = '2026-01-05 10:00:00.5+00';";
	for (const State state : {State::idle_in_transaction_aborted, State::idle})
		EXPECT_EQ(remedy(client(state, Wait::client_read), kInNone), "SELECT unblock.terminate" + spell);
	EXPECT_EQ(remedy(client(State::active), kInNone), "SELECT unblock.cancel" + spell);
}

TEST(Remedy, IsNoneWhereNothingTellsTheSessionFromAStranger) {
	for (const SessionTimes& times : {SessionTimes{}, SessionTimes{{}, kInNone.backend_start, {}},
	                                  SessionTimes{{}, {}, kInNone.state_start}})
		for (const State state : {State::idle_in_transaction_aborted, State::idle, State::active})
			EXPECT_EQ(remedy(client(state), times), "");
}

TEST(Remedy, LeavesAloneWhoCannotBeJudged) {
	for (const SessionTimes& times : {kInTransaction, kInNone}) {
		EXPECT_EQ(remedy(client(State::unknown), times), "");
		EXPECT_EQ(remedy(client(State::disabled), times), "");
		EXPECT_EQ(remedy(of_kind(Kind::unknown), times), "");
	}
	for (const Kind kind : {Kind::client, Kind::autovacuum, Kind::startup, Kind::prepared}) {
		Session session = of_kind(kind);
		session.gid = "x";
		EXPECT_NE(remedy(session, kInTransaction), "");
		session.masked = true;
		EXPECT_EQ(remedy(session, kInTransaction), "");
	}
}

TEST(Remedy, IsACommentWhereNothingIsToBePasted) {
	EXPECT_EQ(remedy(client(State::active, Wait::sync_rep), kInTransaction),
	          "-- 4711 has committed and waits for a standby: mend that standby, or take it out of "
	          "synchronous_standby_names");
	EXPECT_EQ(remedy(of_kind(Kind::startup), {}),
	          "-- wait until the startup process has replayed more, or end the transaction on the primary "
	          "that holds the lock");
	EXPECT_EQ(remedy(of_kind(Kind::walsender), {}),
	          "-- wait until this walsender has done what its client asked for, or stop that client (a "
	          "standby, subscriber or backup)");
	for (const Kind kind : {Kind::background, Kind::worker})
		EXPECT_EQ(
		    remedy(of_kind(kind), {}),
		    "-- wait until this background process is done; what it is: SELECT backend_type, query FROM "
		    "pg_catalog.pg_stat_activity WHERE pid = 4711;");
}

TEST(Remedy, SaysWhetherTheServerCancelsAnAutovacuum) {
	Session session = of_kind(Kind::autovacuum);
	session.query = "autovacuum: VACUUM public.t";
	EXPECT_EQ(remedy(session, {}), "-- wait until this autovacuum is done (the server cancels it when a lock "
	                               "was awaited for deadlock_timeout), or cancel the waiting statement");
	session.query = "autovacuum: VACUUM public.t (to prevent wraparound)";
	EXPECT_EQ(
	    remedy(session, {}, "SELECT unblock.cancel(2,\n'T2');"),
	    "-- wait until this autovacuum is done (the server does not cancel it: it prevents wraparound), "
	    "or cancel the waiting statement: SELECT unblock.cancel(2, 'T2');");
}

TEST(Remedy, FindsTheStatementThatWaitsForAnAutovacuum) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1).of_kind(Kind::autovacuum), LockMode::share_update_exclusive);
	b.wait(table, b.session(2), LockMode::access_exclusive, ago(5));
	b.wait(table, b.session(3), LockMode::access_exclusive, ago(4));
	const std::vector<SessionTimes> times = {{"T1", {}, {}}, {"T2", {}, {}}, {"T3", {}, {}}};
	const Snapshot snapshot = b.snapshot();
	const std::string found = remedy(WaitGraph(snapshot), 0, times);
	EXPECT_TRUE(found.ends_with("the waiting statement: SELECT unblock.cancel(2, 'T2');")) << found;
	EXPECT_EQ(remedy(WaitGraph(snapshot), 1, times), "SELECT unblock.cancel(2, 'T2');");

	b.at(1).masked = true;
	const Snapshot masked = b.snapshot();
	const std::string words = remedy(WaitGraph(masked), 0, times);
	EXPECT_TRUE(words.ends_with("the waiting statement")) << words;
}

TEST(Remedy, RollsBackAPreparedTransactionByItsQuotedName) {
	Session session;
	session.kind = Kind::prepared;
	EXPECT_EQ(remedy(session, {}), "");
	session.gid = "it's; x";
	EXPECT_EQ(remedy(session, {}), "ROLLBACK PREPARED 'it''s; x';");
	session.datname = "lab\nDROP TABLE t;";
	EXPECT_EQ(remedy(session, {}), "ROLLBACK PREPARED 'it''s; x'; -- in database lab DROP TABLE t;");
	session.gid = "back\\slash'";
	session.datname = "";
	EXPECT_EQ(remedy(session, {}), "ROLLBACK PREPARED E'back\\\\slash''';");
	session.gid = "two\r\n'; DROP TABLE t";
	EXPECT_EQ(remedy(session, {}), "ROLLBACK PREPARED E'two\\r\\n''; DROP TABLE t';");
}

} // namespace
} // namespace unblock::core::test
