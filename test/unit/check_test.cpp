#include "check_text.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core::test {
namespace {

struct Incident : GraphBuilder {
	SessionRef idle, alter1, alter2, reader;
	LockRef features;

	Incident()
	    : idle(session(4711)
	               .idle_in_transaction(ago(3 * 3600 + 2 * 60))
	               .query("SELECT features.id\nFROM features")),
	      alter1(session(4802).query("ALTER TABLE features ADD COLUMN methods TEXT")),
	      alter2(session(4806).query("ALTER TABLE features ADD COLUMN targets TEXT")),
	      reader(session(4900).query("SELECT 1 FROM features")), features(lock("relation public.features")) {
		idle.user("app").database("lab").application("features-api");
		alter1.user("migrator").database("lab");
		alter2.user("migrator").database("lab");
		hold(features, idle, LockMode::access_share);
		wait(features, alter1, LockMode::access_exclusive, ago(252));
		wait(features, alter2, LockMode::access_exclusive, ago(184));
		wait(features, reader, LockMode::access_share, ago(40));
	}
};

TEST(Check, SaysWhenAllIsWell) {
	GraphBuilder b;
	b.session(1);
	const auto all = findings(b);
	EXPECT_EQ(told(all), "ok: nobody is blocked\n");
	EXPECT_EQ(all[0].detail, "1 client session in a transaction.");
	EXPECT_EQ(all[0].remedy, "");
}

TEST(Check, TellsTheIncident) {
	Incident b;
	const auto all = findings(b);
	EXPECT_EQ(told(all),
	          "critical: session 4711, idle in transaction for 3h 02min, blocks 3 sessions, with 2 "
	          "blocked migrations among them\n"
	          "warning: 2 migrations queued for relation public.features jam 1 session\n");
	ASSERT_EQ(all.size(), 2U);
	EXPECT_EQ(all[0].detail,
	          "It belongs to app@lab (features-api). It holds AccessShareLock on relation "
	          "public.features, which 4802 has awaited for 4min 12s. Ending it frees all of them. "
	          "Blocked migrations: 4802, 4806. Its last statement: SELECT features.id FROM "
	          "features");
	EXPECT_EQ(all[0].remedy, "SELECT unblock.terminate(4711, 'T4711');");
	EXPECT_EQ(all[1].detail,
	          "Nobody who holds the lock stands in the way of the jammed ones; they wait only "
	          "because others are ahead in its queue: 4802 migrator@lab, 4806 migrator@lab. The "
	          "first one's statement: ALTER TABLE features ADD COLUMN methods TEXT");
	EXPECT_EQ(all[1].remedy, "SELECT unblock.cancel(4802, 'T4802');\nSELECT unblock.cancel(4806, 'T4806');");
}

TEST(Check, HidesWhatTheReaderMayNotSee) {
	Incident b;
	b.idle->masked = true;
	b.alter1->masked = true;
	b.alter2->masked = true;
	const auto all = findings(b);
	EXPECT_EQ(told(all), "warning: session 4711 blocks 3 sessions\n"
	                     "warning: 2 sessions queued for relation public.features jam 1 session\n");
	ASSERT_EQ(all.size(), 2U);
	EXPECT_EQ(all[0].detail,
	          "It belongs to app@lab. It holds AccessShareLock on relation public.features, which 4802 "
	          "awaits. Ending it frees all of them.");
	EXPECT_EQ(all[0].remedy, "");
	EXPECT_EQ(all[1].detail, "Nobody who holds the lock stands in the way of the jammed ones; they wait only "
	                         "because others are ahead in its queue: 4802 migrator@lab, 4806 migrator@lab.");
	EXPECT_EQ(all[1].remedy, "");
}

// The findings about one root that blocks one session.
std::vector<Finding> of_root(const auto& prepare) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	const SessionRef root = b.session(1);
	prepare(root);
	b.hold(table, root, LockMode::access_exclusive).wait(table, b.session(2), LockMode::share, ago(4));
	return findings(b);
}

TEST(Check, JudgesRootsByWhatTheyDo) {
	EXPECT_EQ(told(of_root([](SessionRef) {})), "warning: session 1, active for 1.0s, blocks 1 session\n");
	EXPECT_EQ(told(of_root([](SessionRef s) { s.idle_in_transaction_aborted(ago(5)); })),
	          "critical: session 1, idle in transaction (aborted) for 5.0s, blocks 1 session\n");
	EXPECT_EQ(told(of_root([](SessionRef s) { s.idle(ago(5)); })),
	          "critical: session 1, idle for 5.0s, holds session-level locks, blocks 1 session\n");
	EXPECT_EQ(told(of_root([](SessionRef s) { s.in_state(State::active, Wait::client_write, ago(5)); })),
	          "warning: session 1, active for 1.0s, waits for its client, blocks 1 session\n");
	EXPECT_EQ(told(of_root([](SessionRef s) { s.of_kind(Kind::autovacuum); })),
	          "warning: session 1, autovacuum for 1.0s, blocks 1 session\n");
}

// How grave a root is that blocks so many, the first of whom has waited for so long.
Severity of_blocking(bool idle, int waiters, double seconds) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	const SessionRef root = b.session(1);
	if (idle)
		root.idle_in_transaction(ago(9000));
	b.hold(table, root, LockMode::access_exclusive);
	for (int i = 0; i < waiters; ++i)
		b.wait(table, b.session(10 + i), LockMode::share, i == 0 ? ago(seconds) : ago(0));
	return findings(b)[0].severity;
}

TEST(Check, JudgesRootsByHowLongAndHowManyTheyBlock) {
	EXPECT_EQ(of_blocking(true, 9, 2.9), Severity::warning);
	EXPECT_EQ(of_blocking(true, 1, 3), Severity::critical);
	EXPECT_EQ(of_blocking(true, 10, 0), Severity::critical);
	EXPECT_EQ(of_blocking(false, 9, 299), Severity::warning);
	EXPECT_EQ(of_blocking(false, 1, 300), Severity::critical);
	EXPECT_EQ(of_blocking(false, 10, 0), Severity::critical);
}

TEST(Check, TellsOfAStatementThatRuns) {
	const auto all = of_root([](SessionRef s) { s.query("VACUUM FULL t"); });
	ASSERT_EQ(all.size(), 1U);
	EXPECT_EQ(all[0].detail,
	          "It holds AccessExclusiveLock on relation public.t, which 2 has awaited for 4.0s. "
	          "Ending it frees all of them. Its statement: VACUUM FULL t");
	EXPECT_EQ(all[0].remedy, "SELECT unblock.cancel(1, 'T1');");
}

TEST(Check, TellsOfAPreparedTransaction) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.prepared("it's").database("lab").xact_start(ago(7200)), LockMode::row_exclusive);
	b.wait(table, b.session(2), LockMode::share, ago(5));
	const auto all = findings(b);
	EXPECT_EQ(told(all), "critical: prepared transaction 'it's', 2h 00min old, blocks 1 session\n");
	EXPECT_EQ(all[0].remedy, "ROLLBACK PREPARED 'it''s'; -- in database lab");

	b.at(0).xact_start = 0;
	EXPECT_EQ(told(findings(b)), "critical: prepared transaction 'it's' blocks 1 session\n");
}

TEST(Check, NamesTheModeThatStandsInTheWay) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t"), other = b.lock("relation public.u");
	const SessionRef root = b.session(1);
	b.hold(table, root, LockMode::share).hold(table, root, LockMode::row_exclusive);
	b.hold(other, root, LockMode::access_exclusive);
	b.wait(table, b.session(2), LockMode::share, ago(9)).wait(other, b.session(3), LockMode::share, ago(2));
	const Finding finding = findings(b)[0];
	EXPECT_NE(finding.detail.find("It holds RowExclusiveLock on relation public.t, which 2 has awaited for"),
	          std::string::npos)
	    << finding.detail;
}

TEST(Check, SaysHowManyGoFree) {
	GraphBuilder b;
	const LockRef t = b.lock("relation public.t"), u = b.lock("relation public.u");
	const SessionRef first = b.session(1);
	b.hold(t, first, LockMode::access_share).hold(t, b.session(2), LockMode::access_share);
	b.hold(u, first, LockMode::access_exclusive);
	b.wait(t, b.session(11), LockMode::access_exclusive).wait(u, b.session(12), LockMode::share);
	const Finding finding = finding_of(findings(b), "session 1");
	EXPECT_NE(finding.detail.find("Ending it alone frees 1 of them."), std::string::npos) << finding.detail;
}

TEST(Check, TellsOfAJamByOthersThanMigrations) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::row_exclusive);
	b.wait(table, b.session(2).query("CREATE INDEX ON t (c)"), LockMode::share);
	b.wait(table, b.session(3).query("SELECT f()"), LockMode::share);
	b.wait(table, b.session(4), LockMode::row_exclusive);
	EXPECT_NE(told(findings(b))
	              .find("warning: 2 sessions, 1 migration among them, queued for relation public.t "
	                    "jam 1 session\n"),
	          std::string::npos)
	    << told(findings(b));

	b.at(1).query = "SELECT g()";
	EXPECT_NE(told(findings(b)).find("warning: 2 sessions queued for relation public.t jam 1 session\n"),
	          std::string::npos);
}

TEST(Check, CountsASessionInAJamOnceWithItsWorkers) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_share);
	const SessionRef ahead = b.session(2), behind = b.session(3);
	b.wait(table, ahead, LockMode::access_exclusive);
	b.wait(table, b.worker_of(ahead, 21), LockMode::access_exclusive);
	b.wait(table, behind, LockMode::access_share);
	b.wait(table, b.worker_of(behind, 31), LockMode::access_share);
	const Finding jam = finding_of(findings(b), "1 session queued");
	EXPECT_EQ(jam.finding, "1 session queued for relation public.t jams 1 session");
	EXPECT_EQ(jam.remedy, "SELECT unblock.cancel(2, 'T2');");
}

TEST(Check, NamesNoneInAJamWhoStandsInNobodysWay) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_share);
	b.wait(table, b.session(2), LockMode::access_exclusive, ago(3));
	b.wait(table, b.session(3), LockMode::access_share, ago(2));
	b.wait(table, b.session(4), LockMode::access_exclusive, ago(1)); // behind the jammed one
	const std::string text = told(findings(b));
	EXPECT_NE(text.find("1 session queued for relation public.t jams 1 session\n"), std::string::npos)
	    << text;
}

TEST(Check, CountsNoneAsJammedWhoIsAboutToGetTheLock) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.wait(table, b.session(1), LockMode::exclusive).wait(table, b.session(2), LockMode::exclusive);
	EXPECT_EQ(told(findings(b)), "warning: 1 session queued for relation public.t jams 1 session\n");
}

TEST(Check, TellsOfADeadlock) {
	GraphBuilder b;
	const LockRef first = b.lock("transaction 1"), second = b.lock("transaction 2");
	const SessionRef x = b.session(11).user("x"), y = b.session(12).user("y");
	b.hold(first, x, LockMode::exclusive).hold(second, y, LockMode::exclusive);
	b.wait(second, x, LockMode::share, ago(5)).wait(first, y, LockMode::share, ago(4));
	b.wait(second, b.session(13), LockMode::share); // waits for them, is none of them
	const auto all = findings(b);
	EXPECT_EQ(told(all), "warning: 2 sessions wait for one another: a deadlock\n");
	EXPECT_NE(all[0].detail.find("12 y"), std::string::npos);
	EXPECT_EQ(all[0].detail.find("13"), std::string::npos);
	EXPECT_TRUE(all[0].detail.ends_with(". The server cancels one of them when deadlock_timeout has passed, "
	                                    "unless the circle goes through the "
	                                    "order of a queue, which it rearranges."))
	    << all[0].detail;
	EXPECT_EQ(all[0].remedy, "SELECT unblock.cancel(12, 'T12');"); // which 13 waits for
}

// Two sessions that wait for one another, and `behind` who wait for the second one.
void deadlock(GraphBuilder& b, int pid, int behind) {
	const LockRef first = b.lock("transaction 1"), second = b.lock("transaction 2");
	const SessionRef x = b.session(pid), y = b.session(pid + 1);
	b.hold(first, x, LockMode::exclusive).hold(second, y, LockMode::exclusive);
	b.wait(second, x, LockMode::share, ago(5)).wait(first, y, LockMode::share, ago(4));
	for (int i = 0; i < behind; ++i)
		b.wait(second, b.session(pid + 2 + i), LockMode::share);
}

TEST(Check, TellsOfEachDeadlock) {
	GraphBuilder b;
	deadlock(b, 10, 0);
	deadlock(b, 20, 3);
	auto all = findings(b);
	ASSERT_EQ(told(all), "warning: 2 sessions wait for one another: a deadlock\n"
	                     "warning: 2 sessions wait for one another: a deadlock\n");
	EXPECT_TRUE(all[0].detail.starts_with("In the deadlock: 21, 20. ")) << all[0].detail;
	EXPECT_TRUE(all[1].detail.starts_with("In the deadlock: 10, 11. ")) << all[1].detail;
	EXPECT_EQ(all[0].remedy, "SELECT unblock.cancel(21, 'T21');");

	for (int i = 3; i <= 13; ++i)
		deadlock(b, 10 * i, 1);
	all = findings(b);
	ASSERT_EQ(all.size(), 11U);
	EXPECT_EQ(all[10].finding, "3 more deadlocks");
}

TEST(Check, TellsOfOldIdleTransactionsThatBlockNobody) {
	GraphBuilder b;
	b.session(1).idle_in_transaction(ago(59.9));
	b.session(2).active(ago(500));
	b.session(3).idle(ago(500));
	b.session(4).of_kind(Kind::background).idle_in_transaction(ago(500));
	b.session(5).idle_in_transaction(ago(500))->masked = true;
	b.session(8).idle_in_transaction(0);
	EXPECT_EQ(told(findings(b)), "ok: nobody is blocked\n");

	b.session(6).user("app").idle_in_transaction(ago(60));
	auto all = findings(b);
	EXPECT_EQ(told(all),
	          "notice: 1 session has been idle in transaction for 1min 00s or longer and blocks nobody "
	          "yet\nok: nobody is blocked\n");
	EXPECT_EQ(all[0].detail, "Longest first: 6 app, 1min 00s.");
	EXPECT_EQ(all[0].remedy, "SELECT unblock.terminate(6, 'T6');");

	b.session(7).idle_in_transaction_aborted(ago(3600));
	all = findings(b);
	EXPECT_EQ(told(all),
	          "notice: 2 sessions have been idle in transaction for 1min 00s or longer and block nobody "
	          "yet\nok: nobody is blocked\n");
	EXPECT_EQ(all[0].detail, "Longest first: 7, 1h 00min, 6 app, 1min 00s.");
	EXPECT_EQ(all[0].remedy, "SELECT * FROM unblock.idle_transactions;");
}

TEST(Check, TellsNothingTwiceOfAnIdleBlocker) {
	EXPECT_EQ(told(of_root([](SessionRef s) { s.idle_in_transaction(ago(5000)); })),
	          "critical: session 1, idle in transaction for 1h 23min, blocks 1 session\n");
}

TEST(Check, TellsOfSessionsThatCannotBeJudged) {
	GraphBuilder b;
	b.session(1).user("app").in_state(State::disabled, Wait::other, 0);
	b.session(2).in_state(State::disabled, Wait::other, 0)->masked = true;
	b.session(4).in_state(State::unknown, Wait::other, 0);
	b.prepared("x");
	b.without_details(3);
	const auto all = findings(b);
	EXPECT_EQ(told(all),
	          "notice: 1 session cannot be judged: the state is not known\nok: nobody is blocked\n");
	EXPECT_NE(all[0].detail.find(": 1 app."), std::string::npos) << all[0].detail;
}

TEST(Check, TellsWhatKeepsTheEnforcerFromItsWork) {
	GraphBuilder b;
	ServerFacts facts = well();
	facts.enforcer_running = false;
	EXPECT_EQ(told(findings(b, facts)),
	          "warning: the enforcer is not running: nothing is enforced\nok: nobody is blocked\n");

	facts = well();
	facts.mode = Mode::off;
	EXPECT_EQ(told(findings(b, facts)), "notice: mode is off: nothing is enforced\nok: nobody is blocked\n");
	facts.mode = Mode::dry_run;
	EXPECT_EQ(told(findings(b, facts)),
	          "notice: mode is dry_run: nothing is enforced\nok: nobody is blocked\n");
	EXPECT_EQ(findings(b, facts)[0].remedy, "-- to enforce: ALTER SYSTEM SET pg_unblock.mode = 'enforce';\n"
	                                        "-- and then: SELECT pg_reload_conf();");

	facts = well();
	facts.any_limit = false;
	EXPECT_EQ(told(findings(b, facts)), "notice: no limit is in force for any present session: none of them "
	                                    "is ended\nok: nobody is blocked\n");
	EXPECT_EQ(findings(b, facts)[0].remedy,
	          "-- to end those after a minute: ALTER SYSTEM SET pg_unblock.idle_blocker_limit = '1min';\n"
	          "-- and then: SELECT pg_reload_conf();");
	EXPECT_TRUE(findings(b, facts)[0].detail.starts_with(
	    "Limits of roles and databases (ALTER ROLE, ALTER DATABASE) are seen while they have sessions. "))
	    << findings(b, facts)[0].detail;
	facts.settings_known = false;
	EXPECT_EQ(told(findings(b, facts)), "ok: nobody is blocked\n");
	facts.settings_known = true;
	facts.enforcer_running = false; // who knows what stands in the file by now
	facts.mode = Mode::off;
	EXPECT_EQ(told(findings(b, facts)),
	          "warning: the enforcer is not running: nothing is enforced\nok: nobody is blocked\n");

	facts = well();
	facts.fuse_blown = true;
	EXPECT_EQ(told(findings(b, facts)),
	          "warning: the fuse has blown: the enforcer holds back its actions\nok: nobody is blocked\n");

	// Without preloading the rest goes without saying.
	const auto all = findings(b, ServerFacts{});
	EXPECT_EQ(told(all), "notice: pg_unblock is not preloaded: nothing is enforced\nok: nobody is blocked\n");
	EXPECT_EQ(all[0].remedy,
	          "-- in postgresql.conf: add pg_unblock to shared_preload_libraries, then restart the server");
	facts = ServerFacts{};
	facts.preload_libraries = "";
	EXPECT_EQ(findings(b, facts)[0].remedy,
	          "-- in postgresql.conf: shared_preload_libraries = 'pg_unblock', then restart the server");
	facts.preload_libraries = "pg_stat_statements,\n\"it's\"";
	EXPECT_EQ(findings(b, facts)[0].remedy,
	          "-- in postgresql.conf: shared_preload_libraries = 'pg_stat_statements, \"it''s\",pg_unblock', "
	          "then restart the server");
}

TEST(Check, TellsThatEnforcementIsPaused) {
	GraphBuilder b;
	ServerFacts facts = well();
	facts.paused_for = 725 * kSecond;
	const auto all = findings(b, facts);
	EXPECT_EQ(told(all), "notice: enforcement is paused for another 12min 05s: nothing is enforced\n"
	                     "ok: nobody is blocked\n");
	EXPECT_EQ(all[0].remedy, "SELECT unblock.resume();");
}

TEST(Check, SaysThatNobodyIsBlockedWhoIsAboutToGetTheLock) {
	GraphBuilder b;
	b.wait(b.lock("relation public.t"), b.session(1), LockMode::share);
	EXPECT_EQ(told(findings(b)), "ok: nobody is blocked\n");
}

TEST(Check, SaysWhatItLookedAt) {
	GraphBuilder b;
	ServerFacts facts = well();
	EXPECT_EQ(findings(b, facts)[0].detail, "");
	b.session(1);
	b.session(2).idle_in_transaction_aborted();
	b.session(3).idle();
	b.session(4).of_kind(Kind::autovacuum);
	EXPECT_EQ(findings(b, facts)[0].detail, "2 client sessions in a transaction.");
	facts.client_sessions = 30;
	EXPECT_EQ(findings(b, facts)[0].detail, "30 client sessions, 2 of them in a transaction.");
}

// The findings when `waiters` clients wait for one that is idle.
std::vector<Finding> of_waiters(int waiters, int max_connections) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	const SessionRef root = b.session(1).user("app").idle_in_transaction(ago(9));
	b.hold(table, root, LockMode::access_exclusive);
	b.wait(table, b.session(2).of_kind(Kind::autovacuum), LockMode::share);
	for (int i = 0; i < waiters; ++i)
		b.wait(table, b.session(10 + i), LockMode::access_share);
	ServerFacts facts = well();
	facts.max_connections = max_connections;
	return findings(b, facts);
}

TEST(Check, TellsOfWaitersAsAShareOfAllConnections) {
	const auto severity = [](int waiters, int max_connections) {
		const auto all = of_waiters(waiters, max_connections);
		return all.size() == 1
		           ? Severity::ok
		           : finding_of(all, std::to_string(waiters) + " of " + std::to_string(max_connections) +
		                                 " connections wait for locks")
		                 .severity;
	};
	EXPECT_EQ(severity(4, 5), Severity::ok);
	EXPECT_EQ(severity(5, 0), Severity::ok);
	EXPECT_EQ(severity(9, 100), Severity::ok);
	EXPECT_EQ(severity(10, 100), Severity::notice);
	EXPECT_EQ(severity(24, 100), Severity::notice);
	EXPECT_EQ(severity(25, 100), Severity::warning);
	EXPECT_EQ(severity(49, 100), Severity::warning);
	EXPECT_EQ(severity(50, 100), Severity::critical);
}

TEST(Check, NamesTheWorstRootBehindTheWaiters) {
	const auto all = of_waiters(30, 50);
	EXPECT_EQ(told(all), "critical: session 1, idle in transaction for 9.0s, blocks 31 sessions\n"
	                     "critical: 30 of 50 connections wait for locks\n");
	EXPECT_EQ(all[1].detail,
	          "When all connections are taken, nobody else can log in. Most are blocked by 1 app: "
	          "31 sessions, of which its end alone frees 31.");
	EXPECT_EQ(all[1].remedy, "SELECT unblock.terminate(1, 'T1');");
}

TEST(Check, SaysMostOnlyWhereItIsMost) {
	GraphBuilder b;
	for (int i = 1; i <= 2; ++i) {
		const LockRef table = b.lock("relation public.t");
		b.hold(table, b.session(i), LockMode::access_exclusive);
		for (int j = 0; j < 5; ++j)
			b.wait(table, b.session(10 * i + j), LockMode::access_share);
	}
	ServerFacts facts = well();
	facts.max_connections = 100;
	EXPECT_EQ(finding_of(findings(b, facts), "10 of 100").detail,
	          "When all connections are taken, nobody else can log in. The one that blocks most is 1: 5 "
	          "sessions, of which its end alone frees 5.");
	b.wait(0, b.session(15), LockMode::access_share);
	EXPECT_NE(finding_of(findings(b, facts), "11 of 100").detail.find(" Most are blocked by 1: 6 sessions"),
	          std::string::npos);
}

// Whom to end is then said of the set.
TEST(Check, HasNoRemedyInTheWorstRootWhoFreesNobody) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_share).hold(table, b.session(2), LockMode::access_share);
	for (int i = 0; i < 5; ++i)
		b.wait(table, b.session(10 + i), LockMode::access_exclusive);
	ServerFacts facts = well();
	facts.max_connections = 10;
	const Finding finding = finding_of(findings(b, facts), "5 of 10 connections");
	EXPECT_TRUE(finding.detail.ends_with("of which its end alone frees 0.")) << finding.detail;
	EXPECT_EQ(finding.remedy,
	          "-- ending one session alone does not free them: see the other findings, or SELECT * "
	          "FROM unblock.tree();");
}

TEST(Check, TellsOfMigrationsInAndBehindADeadlock) {
	GraphBuilder b;
	const LockRef first = b.lock("transaction 1"), second = b.lock("transaction 2");
	const SessionRef x = b.session(11), y = b.session(12).query("SET a = 1; ALTER TABLE t");
	b.hold(first, x, LockMode::exclusive).hold(second, y, LockMode::exclusive);
	b.wait(second, x, LockMode::share, ago(5)).wait(first, y, LockMode::share, ago(4));
	const std::string deadlock =
	    "warning: 2 sessions wait for one another: a deadlock, with 1 blocked migration "
	    "among them\n";
	EXPECT_EQ(told(findings(b)), deadlock);

	b.wait(second, b.session(13).user("migrator").query("DROP TABLE t"), LockMode::share);
	const auto all = findings(b);
	EXPECT_EQ(told(all), deadlock + "warning: 1 migration is blocked\n");
	EXPECT_EQ(all[1].detail,
	          "Behind a deadlock, or behind sessions that are not told one by one: 13 migrator. The "
	          "first one's statement: DROP TABLE t");
	EXPECT_EQ(all[1].remedy, "SELECT * FROM unblock.blocking_chains;");
}

TEST(Check, TellsOfMigrationsBehindTheRootsThatAreOnlyCounted) {
	GraphBuilder b;
	for (int i = 1; i <= 20; ++i) {
		const LockRef table = b.lock("relation public.t");
		b.hold(table, b.session(i), LockMode::access_exclusive);
		b.wait(table, b.session(100 + i).query("LOCK t"), LockMode::share);
		b.wait(table, b.session(200 + i), LockMode::share);
	}
	EXPECT_EQ(finding_of(findings(b), "1 migration").finding, "");
	const LockRef table = b.lock("relation public.u");
	b.hold(table, b.session(21), LockMode::access_exclusive);
	b.wait(table, b.session(121).query("DROP TABLE u"), LockMode::share);
	const Finding finding = finding_of(findings(b), "1 migration is blocked");
	EXPECT_NE(finding.detail.find("one by one: 121. "), std::string::npos) << finding.detail;
}

// The server shows the beginning of a long statement only.
TEST(Check, TakesNoDumpForAMigration) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_exclusive);
	b.wait(table, b.session(2).query("LOCK TABLE public.t IN ACCESS SHARE MODE"), LockMode::access_share);
	b.wait(table, b.session(3).query("LOCK TABLE public.t, public.a_long_na"), LockMode::access_share);
	EXPECT_EQ(told(findings(b)), "warning: session 1, active for 1.0s, blocks 2 sessions\n");
}

TEST(Check, PutsTheWorstFirst) {
	Incident b;
	const LockRef other = b.lock("relation public.u");
	b.hold(other, b.session(1).idle_in_transaction(ago(9)), LockMode::access_exclusive);
	b.wait(other, b.session(2), LockMode::share, ago(8));
	b.session(3).idle_in_transaction(ago(900));
	ServerFacts facts = well();
	facts.any_limit = false;
	facts.fuse_blown = true;
	EXPECT_EQ(told(findings(b, facts)),
	          "critical: session 4711, idle in transaction for 3h 02min, blocks 3 sessions, with 2 blocked "
	          "migrations among them\n"
	          "critical: session 1, idle in transaction for 9.0s, blocks 1 session\n"
	          "warning: 2 migrations queued for relation public.features jam 1 session\n"
	          "warning: the fuse has blown: the enforcer holds back its actions\n"
	          "notice: 1 session has been idle in transaction for 1min 00s or longer and blocks nobody yet\n"
	          "notice: no limit is in force for any present session: none of them is ended\n");
}

TEST(Check, PutsSeverityBeforeNumbers) {
	GraphBuilder b;
	const LockRef one = b.lock("relation public.t"), other = b.lock("relation public.u");
	b.hold(one, b.session(1), LockMode::access_exclusive);
	b.hold(other, b.session(2).idle_in_transaction(ago(9)), LockMode::access_exclusive);
	b.wait(one, b.session(11), LockMode::access_share).wait(one, b.session(12), LockMode::access_share);
	b.wait(other, b.session(13), LockMode::access_share, ago(8));
	EXPECT_EQ(told(findings(b)), "critical: session 2, idle in transaction for 9.0s, blocks 1 session\n"
	                             "warning: session 1, active for 1.0s, blocks 2 sessions\n");
}

TEST(Check, TellsTwentyRootsAndCountsTheRest) {
	GraphBuilder b;
	for (int i = 1; i <= 23; ++i) {
		const LockRef table = b.lock("relation public.t");
		b.hold(table, b.session(i), LockMode::access_exclusive);
		b.wait(table, b.session(100 + i), LockMode::share);
	}
	auto all = findings(b);
	ASSERT_EQ(all.size(), 21U);
	EXPECT_EQ(all[20].finding, "3 more sessions block others and wait for nobody");
	EXPECT_EQ(all[20].remedy, "SELECT * FROM unblock.root_blockers;");

	// Those of a set are no more of them.
	const LockRef shared = b.lock("relation public.u");
	for (int i = 201; i <= 223; ++i)
		b.hold(shared, b.session(i), LockMode::access_share);
	b.wait(shared, b.session(99).query("DROP TABLE u"), LockMode::access_exclusive);
	all = findings(b);
	ASSERT_EQ(all.size(), 22U);
	EXPECT_EQ(all[0].finding, "23 sessions block 1 together, with 1 blocked migration among them: 201, 202, "
	                          "203, 204, 205 and 18 more");
	EXPECT_EQ(all[21].finding, "3 more sessions block others and wait for nobody");
}

TEST(Check, KeepsEveryFindingOnOneLine) {
	Incident b;
	b.features->label = "relation public.\"a\nb\"";
	b.idle.user("x\x1b[2J").query("SELECT\n\xFF" + std::string(500, 'x'));
	b.alter1.query("ALTER\nTABLE t").user("y\r");
	for (const Finding& one : findings(b))
		for (const std::string& text : {one.finding, one.detail}) {
			EXPECT_EQ(text.find_first_of("\n\r\x1b\xFF"), std::string::npos) << text;
			EXPECT_LT(text.size(), 500U) << text;
		}
}

// Where all sessions may be seen. Returns how many there are.
std::size_t findings_with_remedy(GraphBuilder& b, const ServerFacts& facts = well()) {
	const std::vector<Finding> all = findings(b, facts);
	for (const Finding& one : all)
		EXPECT_EQ(one.remedy.empty(), one.severity == Severity::ok) << one.finding;
	return all.size();
}

TEST(CheckRemedies, AreToldOfAllThatKeepsOthersWaiting) {
	Incident jam;
	EXPECT_EQ(findings_with_remedy(jam), 2U);

	GraphBuilder deadlocks;
	for (int i = 1; i <= 11; ++i)
		deadlock(deadlocks, 10 * i, 4);
	deadlocks.at(2).query = "DROP TABLE t";
	ServerFacts facts = well();
	facts.max_connections = 100;
	EXPECT_EQ(findings_with_remedy(deadlocks, facts), 13U);

	for (const Kind kind :
	     {Kind::client, Kind::autovacuum, Kind::walsender, Kind::startup, Kind::background}) {
		for (const State state : {State::active, State::idle, State::idle_in_transaction, State::disabled}) {
			GraphBuilder roots; // one alone, two together
			for (int lock = 0; lock < 2; ++lock) {
				const LockRef table = roots.lock("relation public.t");
				for (int root = 0; root <= lock; ++root)
					roots.hold(table,
					           roots.session(10 * lock + root + 1)
					               .of_kind(kind)
					               .in_state(state, Wait::other, ago(9)),
					           LockMode::access_share);
				roots.wait(table, roots.session(100 + lock).query("DROP TABLE t"),
				           LockMode::access_exclusive);
			}
			roots.hold(0, roots.prepared("x"), LockMode::access_share);
			EXPECT_GE(findings_with_remedy(roots), 2U);
		}
	}

	GraphBuilder many; // 25 roots alone, 12 sets of roots
	for (int i = 0; i < 49; ++i) {
		const LockRef table = many.lock("relation public.t");
		many.hold(table, many.session(1000 + i), LockMode::access_share);
		if (i >= 25)
			many.hold(table, many.session(2000 + i), LockMode::access_share);
		for (int waiter = 0; waiter < 3; ++waiter)
			many.wait(table, many.session(3000 + 3 * i + waiter).query("DROP TABLE t"),
			          LockMode::access_exclusive);
	}
	EXPECT_GE(findings_with_remedy(many), 20U + 10U + 2U);
}

TEST(CheckRemedies, AreToldOfSessionsByTheirState) {
	GraphBuilder b;
	b.session(1).in_state(State::disabled, Wait::other, 0);
	EXPECT_EQ(findings_with_remedy(b), 2U);
	b.session(2).idle_in_transaction(ago(900));
	EXPECT_EQ(findings_with_remedy(b), 3U);
	b.session(3).idle_in_transaction_aborted(ago(900));
	EXPECT_EQ(findings_with_remedy(b), 3U);
}

TEST(CheckRemedies, AreToldOfAllThatHoldsBackVacuum) {
	GraphBuilder b;
	b.session(1);
	b.session(2).in_state(State::disabled, Wait::other, 0);
	for (const HorizonKind kind :
	     {HorizonKind::session, HorizonKind::prepared, HorizonKind::slot, HorizonKind::standby})
		for (const std::int32_t pid : {0, 1, 2, 3})
			for (const std::uint32_t database : {0U, 5U}) {
				HorizonHolder holder;
				holder.kind = kind;
				holder.pid = pid;
				holder.database = database;
				holder.name = "x";
				holder.since = ago(100);
				holder.xmin = holder.data_xmin = 1;
				holder.age = holder.data_age = 300'000'000;
				ServerFacts facts = well();
				facts.horizon = {&holder, 1};
				EXPECT_EQ(findings_with_remedy(b, facts), 3U);
				holder.since = ago(1000);
				facts.prepared_worth_telling = 1000 * kSecond;
				EXPECT_EQ(findings_with_remedy(b, facts), kind == HorizonKind::prepared ? 4U : 3U);
			}
}

TEST(CheckRemedies, AreToldOfAllThatKeepsTheEnforcerFromItsWork) {
	GraphBuilder b;
	EXPECT_EQ(findings_with_remedy(b, {}), 2U);
	ServerFacts facts = well();
	facts.paused_for = kSecond;
	facts.fuse_blown = true;
	facts.any_limit = false;
	for (const Mode mode : {Mode::off, Mode::dry_run}) {
		facts.mode = mode;
		EXPECT_EQ(findings_with_remedy(b, facts), 5U);
	}
	facts.enforcer_running = false;
	EXPECT_EQ(findings_with_remedy(b, facts), 4U);
}

TEST(Check, WarnsOfLimitsOnDumpsAndTheLike) {
	GraphBuilder b;
	std::vector<CopySession> copies(2);
	copies[0] = {.pid = 41,
	             .application_name = "pg_dump",
	             .datname = "lab",
	             .usename = "backup",
	             .role = "backup",
	             .limits = {.idle_in_transaction = kSecond, .transaction = kSecond}};
	copies[1] = {.pid = 42,
	             .application_name = "sync",
	             .datname = "lab",
	             .usename = "Copy\nist",
	             .role = "\"Copy\nist\"",
	             .replication_role = true,
	             .limits = {.mode = Mode::dry_run, .horizon_age = 5}};
	ServerFacts facts = well();
	facts.copies = copies;
	const Finding both = finding_of(findings(b, facts), "2 sessions");
	EXPECT_EQ(both.severity, Severity::warning);
	EXPECT_EQ(both.finding, "2 sessions that copy or repair data are under limits");
	EXPECT_EQ(both.detail,
	          "41 backup@lab (pg_dump), 42 Copy ist@lab (sync), whose role is one for replication. "
	          "Such work takes long, and has to begin again when it is ended. In force: "
	          "horizon_age_limit, idle_in_transaction_limit, transaction_limit.");
	EXPECT_EQ(both.remedy,
	          "-- to exempt the role from its next session on: ALTER ROLE ... SET pg_unblock.mode = off;\n"
	          "-- to exempt the role from its next session on: ALTER ROLE backup SET pg_unblock.mode = off;");

	facts.somebody_preempts = true;
	EXPECT_TRUE(finding_of(findings(b, facts), "2 sessions")
	                .detail.ends_with("In force: horizon_age_limit, idle_in_transaction_limit, "
	                                  "preempt_idle_blockers_after, transaction_limit."));
	facts.somebody_preempts = false;
	facts.copies = {&copies[1], 1};
	EXPECT_EQ(told(findings(b, facts)),
	          "notice: 1 session that copies or repairs data is under limits\nok: nobody is blocked\n");
	facts.mode = Mode::off;
	EXPECT_EQ(told(findings(b, facts)), "notice: mode is off: nothing is enforced\nok: nobody is blocked\n");
}

TEST(Check, KnowsProgramsThatCopyDatabases) {
	for (const char* name : {"pg_dump", "pg_dumpall", "pg_basebackup", "pg_repack", "pgcopydb[17] clone"})
		EXPECT_TRUE(copies_databases(name)) << name;
	for (const char* name : {"", "psql", "my pg_dump", "PG_DUMP", "pg_restore"})
		EXPECT_FALSE(copies_databases(name)) << name;
}

TEST(Check, SaysWhereToLookForWhoCannotBeJudged) {
	const auto root = [](bool masked) {
		const auto all =
		    of_root([masked](SessionRef s) { s.in_state(State::disabled, Wait::other, 0)->masked = masked; });
		return finding_of(all, "session 1");
	};
	EXPECT_EQ(root(false).remedy,
	          "-- it is not known what 1 does: SELECT * FROM pg_catalog.pg_stat_activity WHERE pid = 1;");
	EXPECT_EQ(root(true).remedy, "");
}

TEST(Check, NeedsNoRemedies) {
	Incident b;
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	const auto all = check(graph, chains(graph), well());
	ASSERT_EQ(all.size(), 2U);
	EXPECT_EQ(all[0].remedy, "");
}

TEST(Severity, HasNames) {
	EXPECT_EQ(name(Severity::ok), "ok");
	EXPECT_EQ(name(Severity::notice), "notice");
	EXPECT_EQ(name(Severity::warning), "warning");
	EXPECT_EQ(name(Severity::critical), "critical");
}

} // namespace
} // namespace unblock::core::test
