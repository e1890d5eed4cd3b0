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
	holder.xmin = holder.data_xmin = xid;
	holder.own_xid = true;
	holder.database = 16384;
	return holder;
}

// Whatever keeps all rows of all databases.
HorizonHolder holder_of(HorizonKind kind, std::uint32_t age) {
	HorizonHolder holder;
	holder.kind = kind;
	holder.xmin = holder.data_xmin = 2'000'000'000 - age;
	holder.age = holder.data_age = age;
	holder.all_databases = true;
	return holder;
}

HorizonHolder slot(std::string_view name, std::uint32_t age) {
	HorizonHolder holder = holder_of(HorizonKind::slot, age);
	holder.name = name;
	return holder;
}

HorizonHolder logical_slot(std::string_view name, std::uint32_t age) {
	HorizonHolder holder = slot(name, age);
	holder.data_xmin = holder.data_age = 0;
	holder.database = 16384;
	return holder;
}

HorizonHolder session(std::int32_t pid, std::uint32_t age, Time since = ago(100)) {
	HorizonHolder holder = holder_of(HorizonKind::session, age);
	holder.pid = pid;
	holder.since = since;
	holder.usename = "app";
	holder.database = 16384;
	holder.datname = "lab";
	holder.all_databases = false;
	holder.name = "features-api";
	return holder;
}

HorizonHolder in_database(HorizonHolder holder, std::uint32_t database, std::string_view name) {
	holder.database = database;
	holder.datname = name;
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
	EXPECT_EQ(
	    told(findings(b, {prepared("x", ago(900))})),
	    "critical: 1 session and 1 prepared transaction block 1 together: prepared transaction 'x', 3\n");
}

TEST(CheckVacuum, IsHeldBackByAgeOrByTime) {
	EXPECT_EQ(told(alone(session(4711, 999'999))), "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 0, ago(7200)))), "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 1, ago(3599)))), "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 1, 0))), "ok: nobody is blocked\n");
	EXPECT_EQ(
	    told(alone(session(4711, 1, ago(3600)))),
	    "notice: session 4711 holds back vacuum in database lab: dead rows of the last 1 transaction stay\n"
	    "ok: nobody is blocked\n");
	EXPECT_EQ(told(alone(session(4711, 1'000'000, 0))),
	          "notice: session 4711 holds back vacuum in database lab: dead rows of the last 1000000 "
	          "transactions stay\n"
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
	    "(autovacuum_freeze_max_age) tables there are vacuumed against wraparound, in vain; near 2 billion "
	    "the server takes no more writes.");
}

TEST(CheckVacuum, NamesTheSessionAndItsRemedy) {
	GraphBuilder b;
	b.session(1);
	b.session(4711).idle_in_transaction(ago(20));
	auto all = findings(b, {session(4711, 2'000'000), session(8, 2'000'000)});
	EXPECT_EQ(all[0].detail,
	          "It belongs to app@lab (features-api). State: idle in transaction for 20.0s. Its transaction "
	          "began 1min 40s ago. As old: session 8. Tables and indexes there, and shared catalogs, grow "
	          "meanwhile.");
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
	hidden.all_databases = false;
	hidden.database = 16384;
	all = findings(b, {hidden});
	EXPECT_TRUE(all[0].finding.starts_with("session 4711 holds back vacuum in one database: "))
	    << all[0].finding;
	EXPECT_EQ(all[0].detail, "Tables and indexes there, and shared catalogs, grow meanwhile.");
	EXPECT_EQ(all[0].remedy, "");
}

TEST(CheckVacuum, NamesTheFirstThatLastsWhereNoneIsOld) {
	GraphBuilder b;
	const HorizonHolder brief = session(8, 15), old = session(9, 10, ago(3600)),
	                    older = session(7, 9, ago(7200));
	EXPECT_EQ(told(findings(b, {brief})), "ok: nobody is blocked\n");
	const auto all = findings(b, {brief, old, older});
	EXPECT_EQ(
	    told(all),
	    "notice: session 9 holds back vacuum in database lab: dead rows of the last 10 transactions stay\n"
	    "ok: nobody is blocked\n");
	EXPECT_NE(all[0].detail.find(" ago. Older: session 8. Tables"), std::string::npos) << all[0].detail;
	EXPECT_EQ(findings(b, {session(8, 1'000'000), old})[0].finding.substr(0, 9), "session 8");
}

TEST(CheckVacuum, NamesTheCauseAmongThoseAsOld) {
	GraphBuilder b;
	HorizonHolder reader = session(1, 2'000'000), writer = session(2, 2'000'000, ago(50));
	HorizonHolder unknown = session(3, 2'000'000, 0), earlier = session(4, 2'000'000, ago(200));
	EXPECT_TRUE(findings(b, {unknown, reader, earlier})[0].finding.starts_with("session 4 "));
	writer.own_xid = true;
	EXPECT_TRUE(findings(b, {unknown, reader, earlier, writer})[0].finding.starts_with("session 2 "));
	writer.since = ago(3600);
	earlier.since = ago(7200); // its snapshot is younger than its transaction
	EXPECT_TRUE(findings(b, {earlier, writer})[0].finding.starts_with("session 2 "));
}

TEST(CheckVacuum, TellsOfEachKindOfRowsThatAreKept) {
	GraphBuilder b;
	HorizonHolder launcher = in_database(session(5, 1'100'000), 0, "");
	const auto all =
	    findings(b, {logical_slot("consumer", 9'000'000), in_database(session(6, 3'000'000), 2, "other"),
	                 session(7, 2'000'000), in_database(session(8, 1'900'000), 2, "other"),
	                 slot("standby", 1'500'000), launcher});
	EXPECT_EQ(
	    told(all),
	    "notice: replication slot 'consumer' holds back vacuum of system catalogs: dead rows of the last "
	    "9000000 transactions stay\n"
	    "notice: session 6 holds back vacuum in database other: dead rows of the last 3000000 transactions "
	    "stay\n"
	    "notice: session 7 holds back vacuum in database lab: dead rows of the last 2000000 transactions "
	    "stay\n"
	    "notice: replication slot 'standby' holds back vacuum in all databases: dead rows of the last "
	    "1500000 "
	    "transactions stay\n"
	    "notice: session 5 holds back vacuum of shared catalogs: dead rows of the last 1100000 transactions "
	    "stay\n"
	    "ok: nobody is blocked\n");
	EXPECT_EQ(all[0].detail, "Nobody uses it at present. System catalogs grow meanwhile.");
	EXPECT_TRUE(
	    all[4].detail.ends_with(" ago. Older: replication slot 'standby' in all databases. Shared catalogs "
	                            "grow meanwhile."))
	    << all[4].detail;
}

TEST(CheckVacuum, TellsOfASlotThatKeepsCatalogsForLonger) {
	HorizonHolder both = slot("x", 3'000'000);
	both.data_xmin = 2'000'000'000 - 2'000'000;
	both.data_age = 2'000'000;
	GraphBuilder b;
	const auto all = findings(b, {both});
	EXPECT_EQ(told(all),
	          "notice: replication slot 'x' holds back vacuum of system catalogs: dead rows of the last "
	          "3000000 transactions stay\n"
	          "notice: replication slot 'x' holds back vacuum in all databases: dead rows of the last "
	          "2000000 transactions stay\n"
	          "ok: nobody is blocked\n");
	EXPECT_EQ(all[1].detail.find("Older"), std::string::npos) << all[1].detail;
}

// Their xmin moves on as soon as the writer has ended, and not before.
TEST(CheckVacuum, BlamesNobodyForTheSnapshotsThatAWriterMakesOld) {
	GraphBuilder b;
	HorizonHolder writer = session(1, 2'000'000);
	writer.own_xid = true;
	HorizonHolder reader = in_database(session(2, 2'000'000), 2, "other");
	HorizonHolder consumer = logical_slot("consumer", 2'000'000),
	              standby = holder_of(HorizonKind::standby, 2'000'000);
	consumer.pid = 12;
	auto all = findings(b, {writer, reader, consumer, standby});
	EXPECT_EQ(told(all), "notice: session 1 holds back vacuum in database lab: dead rows of the last 2000000 "
	                     "transactions stay\n"
	                     "ok: nobody is blocked\n");
	EXPECT_NE(
	    all[0].detail.find(" As old: standby in all databases, session 2 in database other, replication slot "
	                       "'consumer' of system catalogs. "),
	    std::string::npos)
	    << all[0].detail;

	reader.since = ago(3600); // long of its own accord
	consumer.pid = 0;         // stays where it is
	standby.xmin = standby.data_xmin -= 1;
	standby.age = standby.data_age += 1;
	all = findings(b, {standby, writer, reader, consumer});
	ASSERT_EQ(all.size(), 5U);
	EXPECT_TRUE(all[0].finding.starts_with("standby ")) << all[0].finding;
	EXPECT_NE(finding_of(all, "session 2 ").detail, "");
	EXPECT_NE(finding_of(all, "replication slot 'consumer' ").detail, "");
}

TEST(CheckVacuum, TellsOfFiveAndCountsTheRest) {
	GraphBuilder b;
	std::vector<HorizonHolder> horizon;
	for (std::uint32_t i = 1; i <= 6; ++i)
		horizon.push_back(in_database(session(static_cast<std::int32_t>(i), 120'000'000 - i), i, "x"));
	auto all = findings(b, horizon);
	ASSERT_EQ(all.size(), 7U);
	EXPECT_TRUE(all[4].finding.starts_with("session 5 ")) << all[4].finding;
	EXPECT_EQ(all[5].finding, "1 more holds back vacuum elsewhere");
	EXPECT_EQ(all[5].severity, Severity::warning);
	EXPECT_EQ(all[5].remedy, "SELECT * FROM unblock.horizon;");
	horizon.push_back(slot("x", 119'000'000));
	EXPECT_EQ(findings(b, horizon)[5].finding, "2 more hold back vacuum elsewhere");
}

TEST(CheckVacuum, AdvisesByKind) {
	HorizonHolder holder = prepared("x", ago(10));
	holder.data_age = holder.age = 1'000'000;
	auto all = alone(holder);
	EXPECT_EQ(all[0].finding,
	          "prepared transaction 'x' holds back vacuum in database lab: dead rows of the last "
	          "1000000 transactions stay");
	EXPECT_EQ(all[0].detail,
	          "It belongs to app@lab. It was prepared 10.0s ago. Ask whoever coordinates it: COMMIT "
	          "PREPARED lets go of vacuum just as well. Tables and indexes there, and shared catalogs, grow "
	          "meanwhile.");
	EXPECT_EQ(all[0].remedy, "ROLLBACK PREPARED 'x'; -- in database lab");

	for (const bool logical : {true, false}) {
		holder = logical ? logical_slot("x", 1'000'000) : slot("x", 1'000'000);
		all = alone(holder);
		EXPECT_TRUE(all[0].finding.starts_with("replication slot 'x' holds back vacuum ")) << all[0].finding;
		EXPECT_TRUE(all[0].detail.starts_with("Nobody uses it at present. ")) << all[0].detail;
		EXPECT_EQ(all[0].remedy, "-- if nobody needs it any more: SELECT pg_drop_replication_slot('x');");
		holder.pid = 12;
		all = alone(holder);
		EXPECT_TRUE(all[0].detail.starts_with("Process 12 uses it. ")) << all[0].detail;
		EXPECT_EQ(all[0].remedy,
		          logical ? "-- see to it that the consumer of replication slot 'x' keeps up, and end "
		                    "transactions that have been open for long"
		                  : "-- end the long query on the standby that uses replication slot 'x', or "
		                    "switch hot_standby_feedback off there");
	}

	holder = holder_of(HorizonKind::standby, 1'000'000);
	holder.name = "x";
	all = alone(holder);
	EXPECT_TRUE(all[0].finding.starts_with("standby 'x' holds back vacuum in all databases: "))
	    << all[0].finding;
	EXPECT_EQ(all[0].detail,
	          "A query there needs them, as hot_standby_feedback says. Tables and indexes grow "
	          "meanwhile.");
	EXPECT_EQ(all[0].remedy,
	          "-- end the long query on standby 'x', or switch hot_standby_feedback off there");
	holder.name = "x\n; DROP TABLE t";
	EXPECT_EQ(alone(holder)[0].remedy.find('\n'), std::string::npos);
	holder.name = "";
	EXPECT_TRUE(alone(holder)[0].finding.starts_with("standby holds back vacuum in all databases: "));
}

TEST(CheckVacuum, SaysWhichTablesAreInDanger) {
	const auto danger = [](const HorizonHolder& holder) {
		const std::string detail = alone(holder)[0].detail;
		const std::size_t begin = detail.find("_age) ") + 6;
		return detail.substr(begin, detail.find(" are vacuumed") - begin);
	};
	EXPECT_EQ(danger(slot("x", 100'000'000)), "tables");
	EXPECT_EQ(danger(session(1, 100'000'000)), "tables there");
	EXPECT_EQ(danger(logical_slot("x", 100'000'000)), "system catalogs");
	EXPECT_EQ(danger(in_database(session(1, 100'000'000), 0, "")), "shared catalogs");
}

} // namespace
} // namespace unblock::core::test
