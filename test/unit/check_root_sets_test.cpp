#include "check_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace unblock::core::test {
namespace {

TEST(CheckRootSets, AreToldWithWhoTheyBlock) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1).user("a").idle_in_transaction(ago(9)), LockMode::access_share);
	b.hold(table, b.session(2).user("b").idle_in_transaction(ago(8)), LockMode::access_share);
	b.wait(table, b.session(3), LockMode::access_exclusive);
	b.wait(table, b.session(4), LockMode::access_exclusive);
	const auto all = findings(b);
	ASSERT_EQ(told(all), "warning: 2 sessions block 2 together: 1, 2\n");
	EXPECT_EQ(
	    all[0].detail,
	    "All of these wait for each of them: 1 a, idle in transaction for 9.0s, holds AccessShareLock on "
	    "relation public.t; 2 b, idle in transaction for 8.0s, holds AccessShareLock on relation "
	    "public.t.");
	EXPECT_EQ(all[0].remedy, "SELECT unblock.terminate(1, 'T1');\nSELECT unblock.terminate(2, 'T2');");

	b.at(1).masked = true; // ending the other one is no use, then
	EXPECT_EQ(findings(b)[0].remedy, "");
}

// Three idle readers, a migration, and twenty readers behind it.
struct ReadersBehindAMigration : GraphBuilder {
	SessionRef alter;

	ReadersBehindAMigration() : alter(session(10).user("migrator").query("ALTER TABLE t ADD c int")) {
		const LockRef table = lock("relation public.t");
		for (int pid = 1; pid <= 3; ++pid)
			hold(table, session(pid).idle_in_transaction(ago(60)), LockMode::access_share);
		wait(table, alter, LockMode::access_exclusive, ago(30));
		for (int pid = 21; pid <= 40; ++pid)
			wait(table, session(pid), LockMode::access_share, ago(20));
	}
};

TEST(CheckRootSets, StandInFrontOfTheirMembers) {
	ReadersBehindAMigration b;
	EXPECT_EQ(told(findings(b)),
	          "critical: canceling the migration 10 alone lets 20 of 21 go on\n"
	          "critical: 3 sessions block 21 together, with 1 blocked migration among them: 1, 2, 3\n"
	          "warning: 1 migration queued for relation public.t jams 20 sessions\n");
	const Finding finding = finding_of(findings(b), "3 sessions");
	EXPECT_TRUE(finding.detail.ends_with(" Blocked migrations: 10.")) << finding.detail;

	// One who blocks more elsewhere is told by itself, behind the set.
	const LockRef other = b.lock("relation public.u");
	b.hold(other, 1, LockMode::access_exclusive).wait(other, b.session(50), LockMode::share);
	const auto all = findings(b);
	ASSERT_EQ(all.size(), 4U);
	EXPECT_EQ(all[1].finding.substr(0, 10), "3 sessions");
	EXPECT_EQ(all[2].finding,
	          "session 1, idle in transaction for 1min 00s, blocks 22 sessions, with 1 blocked migration "
	          "among them");
}

TEST(CheckRootSets, TellOfAPreparedTransactionAmongThem) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.prepared("x").user("app").xact_start(ago(900)), LockMode::access_share);
	b.hold(table, b.session(1), LockMode::access_share);
	b.wait(table, b.session(2), LockMode::access_exclusive, ago(3));
	const auto all = findings(b);
	ASSERT_EQ(
	    told(all),
	    "critical: 1 session and 1 prepared transaction block 1 together: prepared transaction 'x', 1\n");
	EXPECT_NE(
	    all[0].detail.find(": prepared transaction 'x', 15min 00s old, of app, holds AccessShareLock on"),
	    std::string::npos)
	    << all[0].detail;
}

TEST(CheckRootSets, NamePreparedTransactionsByGid) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	const SessionRef first = b.prepared("two\nlines " + std::string(100, 'x'));
	b.hold(table, first, LockMode::access_share).hold(table, b.prepared("it's"), LockMode::access_share);
	b.wait(table, b.session(2), LockMode::access_exclusive, ago(9));
	EXPECT_EQ(told(findings(b)),
	          "critical: 2 prepared transactions block 1 together: prepared transaction 'two lines " +
	              std::string(27, 'x') + "...', prepared transaction 'it's'\n");
	for (int pid = 3; pid <= 5; ++pid)
		b.wait(table, b.session(pid), LockMode::access_share, ago(8));
	first->masked = true;
	const auto all = findings(b);
	EXPECT_EQ(all[0].detail, "They wait for 2, which waits itself for 2 prepared transactions.");
	EXPECT_EQ(
	    all[1].finding,
	    "2 prepared transactions block 4 together: a prepared transaction, prepared transaction 'it's'");
}

TEST(CheckRootSets, AreToldOnceEach) {
	GraphBuilder b;
	const LockRef t = b.lock("relation public.t"), u = b.lock("relation public.u");
	const SessionRef first = b.session(1).user("a"), second = b.session(2), third = b.session(3);
	b.hold(t, first, LockMode::access_share).hold(t, second, LockMode::access_share);
	b.hold(u, second, LockMode::access_share).hold(u, third, LockMode::access_share);
	b.wait(t, b.session(11), LockMode::access_exclusive);
	b.wait(u, b.session(12), LockMode::access_exclusive).wait(u, b.session(13), LockMode::access_exclusive);
	const std::string text = told(findings(b));
	EXPECT_EQ(text, "warning: 2 sessions block 2 together: 2, 3\n"
	                "warning: 2 sessions block 1 together: 2, 1\n");
}

// `waiters` sessions that wait for a table that all of `roots` hold.
void share(GraphBuilder& b, std::vector<Index> roots, int first_pid, int waiters) {
	const LockRef table = b.lock("relation public.t");
	for (const Index root : roots)
		b.hold(table, root, LockMode::access_share);
	for (int i = 0; i < waiters; ++i)
		b.wait(table, b.session(first_pid + i), LockMode::access_exclusive);
}

std::string together(const std::vector<Finding>& all) {
	std::string text;
	for (const Finding& one : all)
		if (one.finding.find(" together") != std::string::npos)
			text += one.finding + "\n";
	return text;
}

TEST(CheckRootSets, CountThoseWhoWaitForSomeOfThem) {
	GraphBuilder b;
	const Index x = b.session(1), y = b.session(2), z = b.session(3);
	share(b, {x, y}, 10, 2);
	share(b, {x, y, z}, 20, 1);
	share(b, {z}, 30, 4);
	share(b, {b.session(4)}, 40, 1);
	const auto all = findings(b);
	EXPECT_EQ(together(all), "3 sessions block 7 together: 3, 1, 2\n"
	                         "2 sessions block 2 together: 1, 2\n");
	EXPECT_EQ(finding_of(all, "3 sessions").detail,
	          "1 of these waits for each of them, the others for some: 3, active for 1.0s, holds "
	          "AccessShareLock on relation public.t; 1, active for 1.0s, holds AccessShareLock on relation "
	          "public.t; 2, active for 1.0s, holds AccessShareLock on relation public.t.");
	EXPECT_TRUE(finding_of(all, "2 sessions").detail.starts_with("All of these wait for each of them: 1, "));
}

TEST(CheckRootSets, NameTheOneInTheMiddleThatIsEnough) {
	GraphBuilder b;
	const Index x = b.session(1), y = b.session(2);
	const LockRef table = b.lock("relation public.t");
	b.hold(table, x, LockMode::access_share).hold(table, y, LockMode::access_share);
	const SessionRef alter = b.session(10).user("migrator").query("ALTER TABLE t ADD c int");
	b.wait(table, alter, LockMode::access_exclusive, ago(9));
	for (int i = 0; i < 5; ++i)
		b.wait(table, b.session(20 + i), LockMode::access_share, ago(8));
	auto all = findings(b);
	EXPECT_EQ(all[0].finding, "canceling the migration 10 alone lets 5 of 6 go on");
	EXPECT_EQ(all[0].detail, "They wait for 10 migrator, which waits itself for 2 sessions. Its statement: "
	                         "ALTER TABLE t ADD c int");
	EXPECT_EQ(all[0].remedy, "SELECT unblock.cancel(10, 'T10');");
	EXPECT_EQ(all[1].finding, "2 sessions block 6 together, with 1 blocked migration among them: 1, 2");
	EXPECT_EQ(all[1].remedy, "SELECT unblock.cancel(1, 'T1');\nSELECT unblock.cancel(2, 'T2');");

	alter->masked = true;
	all = findings(b);
	EXPECT_EQ(all[0].finding, "canceling 10 alone lets 5 of 6 go on");
	EXPECT_EQ(all[0].detail, "They wait for 10 migrator, which waits itself for 2 sessions.");
	EXPECT_EQ(all[0].remedy, "");

	// Whoever came first to the same set matters less.
	const LockRef other = b.lock("relation public.u");
	b.hold(other, x, LockMode::access_share).hold(other, y, LockMode::access_share);
	b.wait(other, b.session(9), LockMode::access_exclusive, ago(20));
	EXPECT_EQ(findings(b)[0].finding, "canceling 10 alone lets 5 of 7 go on");

	// Not worth a word when most of them wait past it.
	share(b, {x, y}, 30, 7);
	EXPECT_EQ(finding_of(findings(b), "canceling").finding, "");
}

TEST(CheckRootSets, NameNobodyInTheMiddleWhoseEndGainsNothing) {
	GraphBuilder b;
	share(b, {b.session(1), b.session(2)}, 10, 2); // 10 holds up 11 alone
	EXPECT_EQ(finding_of(findings(b), "canceling").finding, "");
}

// {1, 2} and 3, or 1 and {2, 3}: the same three.
TEST(CheckRootSets, AreToldOnceHoweverTheyCameTogether) {
	GraphBuilder b;
	const Index x = b.session(1), y = b.session(2), z = b.session(3);
	const auto behind = [&](Index holds, Index other, Index pair, Index pair_too, int pid) {
		const LockRef shared = b.lock("relation public.t"), last = b.lock("relation public.u");
		b.hold(shared, pair, LockMode::access_share).hold(shared, pair_too, LockMode::access_share);
		b.hold(last, holds, LockMode::access_share).hold(last, other, LockMode::access_share);
		b.wait(shared, holds, LockMode::access_exclusive);
		b.wait(last, b.session(pid), LockMode::access_exclusive);
	};
	behind(b.session(12), z, x, y, 20);
	behind(b.session(23), x, y, z, 21);
	EXPECT_EQ(together(findings(b)), "3 sessions block 4 together: 2, 1, 3\n"
	                                 "2 sessions block 1 together: 2, 1\n"
	                                 "2 sessions block 1 together: 2, 3\n");
}

TEST(CheckRootSets, AreToldUpToTen) {
	GraphBuilder b;
	std::vector<Index> roots;
	for (int i = 0; i < 12; ++i)
		roots.push_back(b.session(1 + i));
	for (int i = 0; i < 11; ++i)
		share(b, {roots[static_cast<std::size_t>(i)], roots[static_cast<std::size_t>(i) + 1]}, 100 + 20 * i,
		      i == 0 ? 1 : 2);
	const auto all = findings(b);
	EXPECT_EQ(together(all).find("2 sessions block 1 together"), std::string::npos) << together(all);
	const Finding rest = finding_of(all, "1 more set of sessions blocks others together");
	EXPECT_EQ(rest.remedy, "SELECT pid, root_pids FROM unblock.lock_waits WHERE cardinality(root_pids) > 1;");

	// All of them free most, though few wait for all of them.
	share(b, roots, 500, 1);
	const auto more = findings(b);
	EXPECT_NE(finding_of(more, "2 more sets of sessions block others together").detail, "");
	EXPECT_NE(finding_of(more, "12 sessions block 22 together").detail, "");
}

TEST(CheckRootSets, AreToldInBoundedTimeByTheThousand) {
	GraphBuilder b;
	std::vector<Index> roots;
	for (int i = 0; i < 3000; ++i)
		roots.push_back(b.session(1 + i));
	for (std::size_t i = 0; i + 1 < roots.size(); ++i)
		share(b, {roots[i], roots[i + 1]}, 10'000 + static_cast<int>(i), 1);
	EXPECT_NE(finding_of(findings(b), "2989 more sets").detail, "");
}

} // namespace
} // namespace unblock::core::test
