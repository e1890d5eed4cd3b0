#include "check_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace unblock::core::test {
namespace {

HorizonHolder prepared(std::string_view gid, Time since, std::uint32_t xid = 700) {
	HorizonHolder holder;
	holder.kind = HorizonKind::prepared;
	holder.name = gid;
	holder.usename = "app";
	holder.datname = "lab";
	holder.since = since;
	holder.xmin = xid;
	return holder;
}

HorizonHolder holder_of(HorizonKind kind, std::uint32_t age) {
	HorizonHolder holder;
	holder.kind = kind;
	holder.age = age;
	holder.oldest = true;
	return holder;
}

HorizonHolder session(std::int32_t pid, std::uint32_t age, Time since = ago(100)) {
	HorizonHolder holder = holder_of(HorizonKind::session, age);
	holder.pid = pid;
	holder.since = since;
	holder.usename = "app";
	holder.datname = "lab";
	holder.name = "features-api";
	return holder;
}

std::vector<Finding> findings(GraphBuilder& b, const std::vector<HorizonHolder>& horizon) {
	ServerFacts facts = well();
	facts.horizon = horizon;
	return findings(b, facts);
}

std::vector<Finding> alone(const HorizonHolder& holder) {
	GraphBuilder b;
	return findings(b, {holder});
}

TEST(CheckPrepared, TellsOfOneThatNobodyFinishes) {
	EXPECT_EQ(told(alone(prepared("x", ago(299)))), "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(prepared("x", 0))), "ok: nobody is blocked\n");
	const auto all = alone(prepared("it's", ago(300)));
	EXPECT_EQ(told(all),
	          "warning: 1 prepared transaction has waited for COMMIT PREPARED or ROLLBACK PREPARED "
	          "for 5min 00s\n"
	          "ok: nobody is blocked\n");
	EXPECT_EQ(
	    all[0].detail,
	    "Longest first: app@lab 'it's', 5min 00s. Until then its locks are held and vacuum is held back, "
	    "even after a restart. Ask whoever coordinates it whether it is to be committed: COMMIT PREPARED "
	    "would do that.");
	EXPECT_EQ(all[0].remedy, "ROLLBACK PREPARED 'it''s'; -- in database lab");
}

TEST(CheckPrepared, TellsOfSeveralLongestFirst) {
	GraphBuilder b;
	const auto two = findings(b, {prepared("young", ago(600)), prepared("old", ago(900))});
	EXPECT_EQ(two[0].finding,
	          "2 prepared transactions have waited for COMMIT PREPARED or ROLLBACK PREPARED for "
	          "5min 00s or longer");
	EXPECT_TRUE(two[0].detail.starts_with("Longest first: app@lab 'old', 15min 00s, app@lab 'young', 10min"))
	    << two[0].detail;
	EXPECT_EQ(two[0].remedy, "ROLLBACK PREPARED 'old'; -- in database lab\n"
	                         "ROLLBACK PREPARED 'young'; -- in database lab");

	const auto seven = findings(b, std::vector<HorizonHolder>(7, prepared("x", ago(600))));
	EXPECT_NE(seven[0].detail.find("'x', 10min 00s and 2 more. "), std::string::npos) << seven[0].detail;
	EXPECT_TRUE(seven[0].remedy.ends_with(
	    "lab\n-- and more of them: SELECT * FROM pg_catalog.pg_prepared_xacts ORDER BY prepared;"))
	    << seven[0].remedy;

	std::vector<HorizonHolder> masked(7, prepared("x", ago(600)));
	for (HorizonHolder& holder : masked)
		holder.masked = true;
	EXPECT_TRUE(findings(b, masked)[0].remedy.starts_with("-- and more of them: "))
	    << findings(b, masked)[0].remedy;
}

TEST(CheckPrepared, TellsNothingTwiceOfARoot) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	const SessionRef root = b.prepared("x").xact_start(ago(900));
	root->xid = 700;
	b.hold(table, root, LockMode::share).wait(table, b.session(2), LockMode::row_exclusive, ago(3));
	EXPECT_EQ(told(findings(b, {prepared("x", ago(900))})),
	          "critical: prepared transaction 'x', 15min 00s old, blocks 1 session\n");
	const auto all = findings(b, {prepared("x", ago(900)), prepared("y", ago(900), 701)});
	EXPECT_EQ(all[1].remedy, "ROLLBACK PREPARED 'y'; -- in database lab");

	b.hold(table, b.session(3), LockMode::share); // as one of a set
	EXPECT_EQ(told(findings(b, {prepared("x", ago(900))})),
	          "critical: 2 sessions block 1 together: a prepared transaction, 3\n");
}

TEST(CheckVacuum, IsHeldBackByAgeOrByTime) {
	EXPECT_EQ(told(alone(session(4711, 999'999))), "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 0, ago(7200)))), "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 1, ago(3599)))), "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 1, 0))), "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 1, ago(3600)))),
	          "notice: session 4711 holds back vacuum: dead rows of the last 1 transaction stay\n"
	          "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 1'000'000, 0))),
	          "notice: session 4711 holds back vacuum: dead rows of the last 1000000 transactions stay\n"
	          "ok: nobody is blocked\n");
}

TEST(CheckVacuum, GetsGraverTowardsTheFreezeAge) {
	GraphBuilder b;
	ServerFacts facts = well();
	const auto severity = [&](std::uint32_t age, std::uint32_t freeze_max_age) {
		const std::vector<HorizonHolder> horizon = {session(4711, age)};
		facts.horizon = horizon;
		facts.freeze_max_age = freeze_max_age;
		return findings(b, facts)[0].severity;
	};
	EXPECT_EQ(severity(99'999'999, 0), Severity::notice);
	EXPECT_EQ(severity(100'000'000, 0), Severity::warning);
	EXPECT_EQ(severity(200'000'000, 0), Severity::critical);
	EXPECT_EQ(severity(200'000'000, 1'000'000'000), Severity::notice);
	EXPECT_EQ(severity(999'999'999, 1'000'000'000), Severity::warning);
	EXPECT_EQ(
	    alone(session(4711, 150'000'000))[0].detail,
	    "It belongs to app@lab (features-api). Its transaction began 1min 40s ago. From 200000000 on "
	    "(autovacuum_freeze_max_age) tables are vacuumed against wraparound, in vain; near 2 billion the "
	    "server takes no more writes.");
}

TEST(CheckVacuum, NamesTheSessionAndItsRemedy) {
	GraphBuilder b;
	b.session(1);
	b.session(4711).idle_in_transaction(ago(20));
	auto all = findings(b, {session(4711, 2'000'000), session(8, 2'000'000)});
	EXPECT_EQ(all[0].detail,
	          "It belongs to app@lab (features-api). State: idle in transaction for 20.0s. Its transaction "
	          "began 1min 40s ago. As old: session 8. Tables and indexes grow meanwhile.");
	EXPECT_EQ(all[0].remedy, "SELECT unblock.terminate(4711, 'T4711');");
	b.at(1).state = State::active;
	b.at(1).wait = Wait::other;
	EXPECT_EQ(findings(b, {session(4711, 2'000'000)})[0].remedy, "SELECT unblock.cancel(4711, 'T4711');");

	// Another transaction by now, or no client.
	const std::string wait = "-- wait until session 4711 is done";
	EXPECT_EQ(findings(b, {session(4711, 2'000'000, ago(101))})[0].remedy, wait);
	b.at(1).kind = Kind::autovacuum;
	EXPECT_EQ(findings(b, {session(4711, 2'000'000)})[0].remedy, wait);

	HorizonHolder hidden = holder_of(HorizonKind::session, 2'000'000);
	hidden.pid = 4711;
	hidden.masked = true;
	all = findings(b, {hidden});
	EXPECT_EQ(all[0].detail, "Tables and indexes grow meanwhile.");
	EXPECT_EQ(all[0].remedy, "");
}

TEST(CheckVacuum, TellsOfALongTransactionBehindASlot) {
	HorizonHolder slot = holder_of(HorizonKind::slot, 20);
	slot.name = "x";
	HorizonHolder brief = session(8, 15), old = session(9, 10, ago(3600)), older = session(7, 9, ago(7200));
	for (HorizonHolder* behind : {&brief, &old, &older})
		behind->oldest = false;
	GraphBuilder b;
	EXPECT_EQ(told(findings(b, {slot, brief})), "ok: nobody is blocked\n");
	auto all = findings(b, {slot, brief, old, older});
	EXPECT_EQ(told(all), "notice: session 9 holds back vacuum: dead rows of the last 10 transactions stay\n"
	                     "ok: nobody is blocked\n");
	EXPECT_NE(all[0].detail.find(" Older: replication slot 'x'. "), std::string::npos) << all[0].detail;
	old.oldest = true;
	slot.age = 1'000'000;
	all = findings(b, {slot, old});
	ASSERT_EQ(all.size(), 3U);
	EXPECT_TRUE(all[0].finding.starts_with("replication slot 'x'")) << all[0].finding;
	EXPECT_NE(all[1].detail.find(" As old: replication slot 'x'. "), std::string::npos) << all[1].detail;

	// One session in front is enough to begin with.
	EXPECT_EQ(findings(b, {brief, old})[0].finding, "nobody is blocked");
}

TEST(CheckVacuum, AdvisesByKind) {
	HorizonHolder holder = prepared("x", ago(10));
	holder.age = 1'000'000;
	auto all = alone(holder);
	EXPECT_EQ(all[0].finding,
	          "prepared transaction 'x' holds back vacuum: dead rows of the last 1000000 transactions stay");
	EXPECT_EQ(all[0].detail,
	          "It belongs to app@lab. It was prepared 10.0s ago. Ask whoever coordinates it: COMMIT "
	          "PREPARED lets go of vacuum just as well. Tables and indexes grow meanwhile.");
	EXPECT_EQ(all[0].remedy, "ROLLBACK PREPARED 'x'; -- in database lab");

	holder = holder_of(HorizonKind::slot, 1'000'000);
	holder.name = "x";
	all = alone(holder);
	EXPECT_TRUE(all[0].finding.starts_with("replication slot 'x' holds back vacuum: ")) << all[0].finding;
	EXPECT_TRUE(all[0].detail.starts_with("Nobody uses it at present. ")) << all[0].detail;
	EXPECT_EQ(all[0].remedy, "-- if nobody needs it any more: SELECT pg_drop_replication_slot('x');");
	holder.pid = 12;
	all = alone(holder);
	EXPECT_TRUE(all[0].detail.starts_with("Process 12 uses it. ")) << all[0].detail;
	EXPECT_EQ(all[0].remedy,
	          "-- end the long query on the standby or subscriber that uses replication slot 'x'");

	holder.kind = HorizonKind::standby;
	all = alone(holder);
	EXPECT_TRUE(all[0].finding.starts_with("standby 'x' holds back vacuum: ")) << all[0].finding;
	EXPECT_TRUE(all[0].detail.starts_with("A query there needs them, as hot_standby_feedback says. "));
	EXPECT_EQ(all[0].remedy,
	          "-- end the long query on standby 'x', or switch hot_standby_feedback off there");
	holder.name = "x\n; DROP TABLE t";
	EXPECT_EQ(alone(holder)[0].remedy.find('\n'), std::string::npos);
	holder.name = "";
	EXPECT_TRUE(alone(holder)[0].finding.starts_with("standby holds back vacuum: "));
}

} // namespace
} // namespace unblock::core::test
