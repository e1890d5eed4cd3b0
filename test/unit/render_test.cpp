#include "core/render.h"
#include "graph_builder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core::test {
namespace {

std::string joined(const std::vector<std::string>& lines) {
	std::string text;
	for (const std::string& line : lines)
		text += line + "\n";
	return text;
}

std::vector<std::string> lines_of(GraphBuilder& b, const RenderOptions& options = {}) {
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	return tree(graph, chains(graph), options);
}

std::string draw(GraphBuilder& b, const RenderOptions& options = {}) {
	return joined(lines_of(b, options));
}

std::size_t lines_with(const std::vector<std::string>& lines, std::string_view text) {
	return static_cast<std::size_t>(std::count_if(lines.begin(), lines.end(), [&](const std::string& line) {
		return line.find(text) != std::string::npos;
	}));
}

constexpr RenderOptions kAscii{.unicode = false};

// The incident: a leaked transaction, three migrations, and the readers behind them.
struct Incident : GraphBuilder {
	SessionRef idle, alter1, alter2, alter3;
	LockRef features;

	Incident()
	    : idle(session(4711)
	               .idle_in_transaction(ago(3 * 3600 + 2 * 60 + 11))
	               .query("SELECT features.id FROM features")),
	      alter1(session(4802)), alter2(session(4806)), alter3(session(4809)),
	      features(lock("relation public.features")) {
		idle.user("app").database("lab").application("features-api");
		hold(features, idle, LockMode::access_share);
		migration(alter1, "ALTER TABLE features ADD COLUMN methods TEXT,\n    ADD COLUMN summary TEXT,\n"
		                  "    ADD COLUMN results TEXT,\n    ADD COLUMN conclusions TEXT");
		wait(features, alter1, LockMode::access_exclusive, ago(252));
		migration(alter2, "ALTER TABLE features ADD COLUMN targets VARCHAR[]");
		wait(features, alter2, LockMode::access_exclusive, ago(184.2));
		migration(alter3, "ALTER TABLE features ADD COLUMN short_id VARCHAR(12)");
		wait(features, alter3, LockMode::access_exclusive, ago(95));
	}

	void readers(int count) {
		for (int i = 0; i < count; ++i) {
			SessionRef reader = session(4900 + i).user("web").database("lab");
			reader.query("SELECT features.id, features.name FROM features WHERE features.dataset_id = 17 "
			             "ORDER BY features.name");
			wait(features, reader, LockMode::access_share, ago(40.5 - 0.5 * i));
		}
	}

private:
	void migration(SessionRef who, std::string_view statement) {
		who.user("migrator").database("lab").application("alembic").query(statement);
	}
};

TEST(Tree, TellsTheIncidentInBoxes) {
	Incident b;
	b.readers(3);
	EXPECT_EQ(draw(b), R"(● 4711 app@lab (features-api): idle in transaction for 3h 02min
│ root blocker: blocks 6, frees 6
│ SELECT features.id FROM features
├─ 4802 migrator@lab (alembic): waits 4min 12s for AccessExclusiveLock
│  │ on relation public.features, held in AccessShareLock; blocks 5, frees 0
│  │ ALTER TABLE features ADD COLUMN methods TEXT, ADD COLUMN summary TEXT, ADD…
│  ├─ 4900 web@lab: waits 40.5s for AccessShareLock
│  │    on relation public.features, queued behind AccessExclusiveLock
│  │    SELECT features.id, features.name FROM features WHERE features.dataset_…
│  ├─ 4901 web@lab: waits 40.0s for AccessShareLock
│  │    on relation public.features, queued behind AccessExclusiveLock
│  │    SELECT features.id, features.name FROM features WHERE features.dataset_…
│  └─ 4902 web@lab: waits 39.5s for AccessShareLock
│       on relation public.features, queued behind AccessExclusiveLock
│       SELECT features.id, features.name FROM features WHERE features.dataset_…
├─ 4806 migrator@lab (alembic): waits 3min 04s for AccessExclusiveLock
│    on relation public.features, held in AccessShareLock; blocks 4, frees 0
│    ALTER TABLE features ADD COLUMN targets VARCHAR[]
└─ 4809 migrator@lab (alembic): waits 1min 35s for AccessExclusiveLock
     on relation public.features, held in AccessShareLock; blocks 3, frees 0
     ALTER TABLE features ADD COLUMN short_id VARCHAR(12)
)");
}

TEST(Tree, TellsTheIncidentInAscii) {
	Incident b;
	b.readers(30);
	EXPECT_EQ(draw(b, kAscii), R"(* 4711 app@lab (features-api): idle in transaction for 3h 02min
| root blocker: blocks 33, frees 33
| SELECT features.id FROM features
|- 4802 migrator@lab (alembic): waits 4min 12s for AccessExclusiveLock
|  | on relation public.features, held in AccessShareLock; blocks 32, frees 0
|  | ALTER TABLE features ADD COLUMN methods TEXT, ADD COLUMN summary TEXT, A...
|  |- 4900 web@lab: waits 40.5s for AccessShareLock
|  |    on relation public.features, queued behind AccessExclusiveLock
|  |    SELECT features.id, features.name FROM features WHERE features.datase...
|  |- 4901 web@lab: waits 40.0s for AccessShareLock
|  |    on relation public.features, queued behind AccessExclusiveLock
|  |    SELECT features.id, features.name FROM features WHERE features.datase...
|  `- ... and 28 more wait for AccessShareLock, longest 39.5s
|- 4806 migrator@lab (alembic): waits 3min 04s for AccessExclusiveLock
|    on relation public.features, held in AccessShareLock; blocks 31, frees 0
|    ALTER TABLE features ADD COLUMN targets VARCHAR[]
`- 4809 migrator@lab (alembic): waits 1min 35s for AccessExclusiveLock
     on relation public.features, held in AccessShareLock; blocks 30, frees 0
     ALTER TABLE features ADD COLUMN short_id VARCHAR(12)
)");
}

TEST(Tree, LeavesOutStatements) {
	Incident b;
	b.readers(30);
	const std::vector<std::string> all = lines_of(b);
	const std::vector<std::string> without = lines_of(b, {.statements = false});
	EXPECT_EQ(without.size(), all.size() - 6);
	EXPECT_EQ(lines_with(without, "SELECT"), 0U);
	EXPECT_EQ(lines_with(without, "ALTER"), 0U);
}

TEST(Tree, StopsWhereTheRoomIsUsedUp) {
	Incident b;
	b.readers(3);
	const std::vector<std::string> all = lines_of(b);
	for (std::size_t bytes = 0; bytes < joined(all).size(); ++bytes) {
		const std::vector<std::string> some = lines_of(b, {.bytes = bytes});
		ASSERT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
		std::size_t drawn = 0;
		for (const std::string& line : some)
			drawn += line.size();
		ASSERT_TRUE(drawn > bytes || some == all);
		ASSERT_LE(some.size(), all.size());
	}
	EXPECT_EQ(lines_of(b, {.bytes = 0}).size(), 3U); // the first session
}

TEST(Tree, TellsWhichRowsAreDrawn) {
	Incident b;
	b.readers(30);
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	const std::vector<ChainRow> rows = chains(graph);
	std::vector<Index> drawn;
	const std::vector<std::string> lines = tree(graph, rows, {});
	for (Index row = 0; row < rows.size(); ++row)
		if (lines_with(lines, std::to_string(snapshot.sessions[rows[row].node].pid) + " ") > 0)
			drawn.push_back(row);
	EXPECT_EQ(drawn.size(), 6U);
	EXPECT_EQ(rows_drawn(graph, rows), drawn);
	EXPECT_TRUE(rows_drawn(graph, {}).empty());
}

TEST(Tree, OfNobodyIsEmpty) {
	GraphBuilder b;
	b.session(1);
	EXPECT_TRUE(lines_of(b).empty());
}

// A holder and `count` sessions that wait for it alike.
struct Pile : GraphBuilder {
	explicit Pile(int count) {
		const LockRef table = lock("relation public.t");
		hold(table, session(100).query("LOCK TABLE t"), LockMode::access_exclusive);
		for (int i = 0; i < count; ++i)
			wait(table, session(200 + i), LockMode::access_share, ago(50 - i));
	}
};

TEST(Tree, DrawsFourSiblingsAlikeAndCountsFromFive) {
	Pile four(4);
	EXPECT_EQ(lines_with(lines_of(four), " waits "), 4U);
	EXPECT_EQ(lines_with(lines_of(four), " more wait"), 0U);

	Pile five(5);
	EXPECT_EQ(draw(five), R"(● 100: active for 1.0s
│ root blocker: blocks 5, frees 5
│ LOCK TABLE t
├─ 200: waits 50.0s for AccessShareLock
│    on relation public.t, held in AccessExclusiveLock
├─ 201: waits 49.0s for AccessShareLock
│    on relation public.t, held in AccessExclusiveLock
└─ … and 3 more wait for AccessShareLock, longest 48.0s
)");
}

TEST(Tree, CountsNoSiblingThatDiffers) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t"), other = b.lock("relation public.u");
	const SessionRef holder = b.session(100);
	b.hold(table, holder, LockMode::access_exclusive).hold(other, holder, LockMode::access_exclusive);
	for (int i = 0; i < 3; ++i) {
		b.wait(table, b.session(200 + i), LockMode::access_share);
		b.wait(table, b.session(300 + i), LockMode::row_share);
		b.wait(other, b.session(400 + i), LockMode::access_share);
	}
	EXPECT_EQ(lines_with(lines_of(b), " waits "), 9U);
	EXPECT_EQ(lines_with(lines_of(b), " more wait"), 0U);
}

TEST(Tree, DrawsASiblingThatOthersStandBelow) {
	Pile b(9);
	const LockRef row = b.lock("transaction 742");
	b.hold(row, 9, LockMode::exclusive); // the session with pid 208
	b.wait(row, b.session(500), LockMode::share);
	const std::vector<std::string> lines = lines_of(b);
	EXPECT_EQ(lines_with(lines, "208: waits"), 1U);
	EXPECT_EQ(lines_with(lines, "500: waits"), 1U);
	EXPECT_EQ(lines_with(lines, "and 6 more wait"), 1U);
}

TEST(Tree, TellsNoTimeOfMaskedSessionsInACount) {
	Pile b(6);
	for (Index i = 1; i <= 6; ++i)
		b.at(i).masked = true;
	EXPECT_EQ(lines_of(b).back(), "└─ … and 4 more wait for AccessShareLock");
	b.at(5).masked = false;
	EXPECT_EQ(lines_of(b).back(), "└─ … and 4 more wait for AccessShareLock, longest 46.0s");
}

TEST(Tree, TellsNoTimeOfWaitsThatHaveOnlyBegun) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_exclusive);
	for (int i = 0; i < 5; ++i)
		b.wait(table, b.session(10 + i), LockMode::access_share, 0);
	EXPECT_EQ(lines_with(lines_of(b), "10: waits for AccessShareLock"), 1U);
	EXPECT_EQ(lines_of(b).back(), "└─ … and 3 more wait for AccessShareLock");
}

TEST(Tree, HidesWhatTheReaderMayNotSee) {
	Incident b;
	for (Index i = 0; i < 4; ++i)
		b.at(i).masked = true;
	EXPECT_EQ(draw(b), R"(● 4711 app@lab
│ root blocker: blocks 3, frees 3
│ <insufficient privilege>
├─ 4802 migrator@lab: waits for AccessExclusiveLock
│    on relation public.features, held in AccessShareLock; blocks 2, frees 0
│    <insufficient privilege>
├─ 4806 migrator@lab: waits for AccessExclusiveLock
│    on relation public.features, held in AccessShareLock; blocks 1, frees 0
│    <insufficient privilege>
└─ 4809 migrator@lab: waits for AccessExclusiveLock
     on relation public.features, held in AccessShareLock
     <insufficient privilege>
)");
}

TEST(Tree, HidesTheKindOfAMaskedProcess) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_exclusive);
	const SessionRef vacuum = b.session(2).of_kind(Kind::autovacuum);
	vacuum->masked = true;
	b.wait(table, vacuum, LockMode::share_update_exclusive);
	EXPECT_EQ(lines_with(lines_of(b), "└─ 2: waits for ShareUpdateExclusiveLock"), 1U);
}

TEST(Tree, HidesTheNameOfAMaskedPreparedTransaction) {
	GraphBuilder b;
	const SessionRef prepared = b.prepared("secret").user("owner").database("lab");
	prepared->masked = true;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, prepared, LockMode::row_exclusive);
	b.wait(table, b.session(7), LockMode::share);
	const std::string text = draw(b);
	EXPECT_EQ(text.find("secret"), std::string::npos);
	EXPECT_TRUE(text.starts_with("● owner@lab: prepared transaction\n")) << text;
}

TEST(Tree, MarksADeadlock) {
	GraphBuilder b;
	const LockRef first = b.lock("transaction 1"), second = b.lock("transaction 2");
	const SessionRef x = b.session(11).xact_start(ago(20)), y = b.session(12).xact_start(ago(10));
	b.hold(first, x, LockMode::exclusive).hold(second, y, LockMode::exclusive);
	b.wait(second, x, LockMode::share, ago(5)).wait(first, y, LockMode::share, ago(4));
	EXPECT_EQ(draw(b), R"(○ 11: waits 5.0s for ShareLock
│ on transaction 2, held in ExclusiveLock by 12; deadlock: blocks 1, frees 0
└─ 12: waits 4.0s for ShareLock
     on transaction 1, held in ExclusiveLock; deadlock: blocks 1, frees 0
)");
}

TEST(Tree, DrawsEveryMemberOfADeadlock) {
	GraphBuilder b;
	const LockRef one = b.lock("relation public.t"), shared = b.lock("relation public.u");
	const SessionRef first = b.session(1);
	b.hold(one, first, LockMode::exclusive);
	for (int i = 0; i < 6; ++i) {
		const SessionRef other = b.session(10 + i);
		b.hold(shared, other, LockMode::share).wait(one, other, LockMode::row_share);
	}
	b.wait(shared, first, LockMode::exclusive);
	EXPECT_EQ(lines_with(lines_of(b), "deadlock: "), 7U);
}

TEST(Tree, SaysWhoIsAboutToGetItsLock) {
	GraphBuilder b;
	const LockRef one = b.lock("relation public.t"), other = b.lock("relation public.u");
	for (int i = 0; i < 5; ++i)
		b.wait(one, b.session(10 + i), LockMode::access_share);
	b.wait(other, b.session(20), LockMode::exclusive).wait(other, b.session(21), LockMode::exclusive);
	const std::vector<std::string> lines = lines_of(b);
	EXPECT_EQ(lines_with(lines, "on relation public.t, about to be granted"), 5U);
	EXPECT_EQ(lines_with(lines, "○ 20: waits"), 1U);
	EXPECT_EQ(lines_with(lines, "on relation public.u, about to be granted; blocks 1, frees 1"), 1U);
}

TEST(Tree, SetsChainsApart) {
	GraphBuilder b;
	const LockRef t = b.lock("relation public.t"), u = b.lock("relation public.u");
	b.hold(t, b.session(1), LockMode::access_exclusive);
	b.wait(t, b.session(11), LockMode::access_share, ago(3));
	b.wait(t, b.session(12), LockMode::access_share, ago(2));
	b.hold(u, b.prepared("it's").xact_start(ago(2 * 86400 + 4 * 3600)), LockMode::row_exclusive);
	b.wait(u, b.session(21), LockMode::share, ago(2));
	EXPECT_EQ(draw(b, kAscii), R"(* 1: active for 1.0s
| root blocker: blocks 2, frees 2
|- 11: waits 3.0s for AccessShareLock
|    on relation public.t, held in AccessExclusiveLock
`- 12: waits 2.0s for AccessShareLock
     on relation public.t, held in AccessExclusiveLock

* prepared transaction 'it's', 2d 04h old
| root blocker: blocks 1, frees 1
`- 21: waits 2.0s for ShareLock
     on relation public.u, held in RowExclusiveLock
)");
}

TEST(Tree, TellsTheKindOfOtherProcesses) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1).of_kind(Kind::autovacuum).database("lab").query("autovacuum: VACUUM t"),
	       LockMode::share_update_exclusive);
	b.wait(table, b.session(2).of_kind(Kind::startup), LockMode::access_exclusive, 0);
	b.wait(table, b.without_details(3), LockMode::access_share, ago(2));
	const std::string text = draw(b);
	EXPECT_NE(text.find("● 1 lab: autovacuum for 1.0s\n"), std::string::npos) << text;
	EXPECT_NE(text.find("2: startup process, waits for AccessExclusiveLock\n"), std::string::npos) << text;
	EXPECT_NE(text.find("3: starting up, waits 2.0s for AccessShareLock\n"), std::string::npos) << text;
}

TEST(Tree, ShowsAWaitingWorkerUnderItsLeader) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_exclusive);
	const SessionRef leader = b.session(20).user("web");
	b.wait(table, b.worker_of(leader, 21), LockMode::access_share, ago(3));
	b.wait(table, b.worker_of(leader, 22), LockMode::access_share, ago(2));
	EXPECT_EQ(draw(b), R"(● 1: active for 1.0s
│ root blocker: blocks 1, frees 1
└─ 20 web: parallel worker 21 waits 3.0s for AccessShareLock
     on relation public.t, held in AccessExclusiveLock
     and waits in 1 more of its processes
)");
}

TEST(Tree, SaysThatOthersHoldTheLockToo) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	for (int i = 1; i <= 2; ++i)
		b.hold(table, b.session(i).xact_start(ago(100 - i)), LockMode::access_share);
	b.wait(table, b.session(9), LockMode::access_exclusive);
	EXPECT_EQ(lines_with(lines_of(b), "on relation public.t, held in AccessShareLock, and by 1 more"), 1U);
}

// The first line about a root that blocks one session.
std::string root_line(const auto& prepare) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	const SessionRef root = b.session(1);
	prepare(root);
	b.hold(table, root, LockMode::access_exclusive).wait(table, b.session(2), LockMode::share);
	return lines_of(b).front();
}

TEST(Tree, SaysWhatARootDoes) {
	EXPECT_EQ(root_line([](SessionRef s) { s.idle_in_transaction_aborted(ago(65)); }),
	          "● 1: idle in transaction (aborted) for 1min 05s");
	EXPECT_EQ(root_line([](SessionRef s) { s.idle(ago(7)); }),
	          "● 1: idle for 7.0s, holds session-level locks");
	EXPECT_EQ(root_line([](SessionRef s) { s.in_state(State::active, Wait::client_write, ago(9)); }),
	          "● 1: active for 1.0s, waits for its client");
	EXPECT_EQ(root_line([](SessionRef s) { s.in_state(State::active, Wait::sync_rep, ago(9)); }),
	          "● 1: active for 1.0s, waits for a standby");
	EXPECT_EQ(root_line([](SessionRef s) { s.in_state(State::unknown, Wait::other, 0); }),
	          "● 1: state not known");
	EXPECT_EQ(root_line([](SessionRef s) { s.in_state(State::fastpath, Wait::other, 0); }),
	          "● 1: function call for 1.0s");
	EXPECT_EQ(root_line([](SessionRef s) { s.idle_in_transaction(0); }), "● 1: idle in transaction");
}

TEST(Tree, NamesAPreparedTransactionByItsXidWithoutItsName) {
	EXPECT_EQ(root_line([](SessionRef s) {
		          s.of_kind(Kind::prepared);
		          s->pid = 0;
		          s->xid = 742;
	          }),
	          "● prepared transaction 742, 1min 40s old");
}

TEST(Tree, DrawsADeepChainWithinTheWidth) {
	GraphBuilder b;
	Index above = b.session(1000);
	for (int i = 1; i <= 300; ++i) {
		const LockRef row = b.lock("transaction " + std::to_string(i));
		const SessionRef next = b.session(1000 + i);
		b.hold(row, above, LockMode::exclusive).wait(row, next, LockMode::share);
		above = next;
	}
	const std::vector<std::string> lines = lines_of(b);
	EXPECT_EQ(lines_with(lines, ": waits "), 300U);
	EXPECT_EQ(lines_with(lines, "└─ (level 300) 1300: waits 1.0s for ShareLock"), 1U);
	EXPECT_EQ(lines_with(lines, "├─ (level 299) 1299: waits 1.0s for ShareLock"), 1U);
	EXPECT_EQ(lines_with(lines, "├─ (level 11) 1011: waits"), 1U);
	EXPECT_EQ(lines_with(lines, "├─ 1010: waits"), 1U); // the deepest that fits
	for (const std::string& line : lines)
		EXPECT_LE(display_width(line), 80U) << line;
}

TEST(Tree, PutsCountsOnALineOfTheirOwnWhereTheyDoNotFit) {
	Incident b;
	const std::string text = draw(b, {.unicode = false, .width = 60});
	EXPECT_NE(text.find("|    on relation public.features, held in AccessShareLock\n"
	                    "|    blocks 2, frees 0\n"),
	          std::string::npos)
	    << text;
}

TEST(Tree, ShowsTwoLevelsInTheNarrowestWidth) {
	Incident b;
	b.readers(2);
	EXPECT_EQ(lines_with(lines_of(b, {.unicode = false, .width = 1}), "|  |- 4900 web@lab: waits"), 1U);
}

TEST(Tree, CutsNamesBeforeWhatTheSessionDoes) {
	Incident b;
	b.alter1.application(std::string(63, 'x'));
	const std::vector<std::string> lines = lines_of(b);
	EXPECT_EQ(
	    lines_with(lines, "├─ 4802 migrator@lab (xxxxxxxxxxxxxxxxx…: waits 4min 12s for AccessExclusiveLock"),
	    1U);
	b.features->label = b.keep("relation public." + std::string(63, 'y'));
	EXPECT_EQ(lines_with(lines_of(b), "yyyy…, held in AccessShareLock"), 3U);
}

// Text that tries to break out of its line: controls, escape sequences, marks that turn the direction of
// writing, bytes that are no UTF-8, wide and combining characters.
constexpr std::string_view kNasty = "SELECT\t'\x1b[31mred'\r\n\x01, '\xC2\x85\xE2\x80\xAE', '\xFF\xC3', "
                                    "'\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E', 'e\xCC\x81', '\xF0\x9F\x90\x98' "
                                    "FROM a_table_with_a_name_that_is_long AS t WHERE t.id = 1 AND t.x = 2";

std::string without_spaces(std::string text) {
	std::erase(text, ' ');
	return text;
}

void add_pile_below_a_chain(GraphBuilder& b) {
	Index above = b.session(20);
	for (int i = 0; i < 20; ++i) {
		const LockRef transaction = b.lock("transaction");
		b.hold(transaction, above, LockMode::exclusive);
		above = b.session(21 + i);
		b.wait(transaction, above, LockMode::share);
	}
	const LockRef table = b.lock("relation public.u");
	b.hold(table, above, LockMode::access_exclusive);
	for (int i = 0; i < 12; ++i)
		b.wait(table, b.session(50 + i), LockMode::share_update_exclusive, ago(200));
	const SessionRef leader = b.session(70);
	for (int i = 1; i <= 12; ++i)
		b.wait(table, b.worker_of(leader, 70 + i), LockMode::access_share);
}

TEST(Tree, StaysWithinItsWidthAndOnItsLines) {
	Incident b;
	b.readers(4);
	for (Index i = 0; i < 4; ++i) {
		b.at(i).query = b.keep(std::string(i, 'q') + std::string(kNasty));
		b.at(i).usename = b.keep(std::string(i, 'u') + "\xE6\x97\xA5\xE6\x9C\xAC\n\x1b[c");
		b.at(i).application_name = b.keep(kNasty);
	}
	b.features->label = b.keep("relation public.\xE6\x97\xA5\xE6\x9C\xAC\n" + std::string(60, 'x'));
	add_pile_below_a_chain(b);
	for (int width = -1; width <= 200; ++width)
		for (const bool unicode : {true, false})
			for (const std::string& line : lines_of(b, {.unicode = unicode, .width = width})) {
				ASSERT_LE(display_width(line), static_cast<std::size_t>(std::max(width, 40))) << line;
				for (const char c : line)
					ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << line;
				// All of it is valid: nothing would be made a question mark.
				ASSERT_EQ(without_spaces(line), without_spaces(one_line(line)));
				for (const std::string_view harmful : {"\xFF", "\xC2\x85", "\xE2\x80\xAE"})
					ASSERT_EQ(line.find(harmful), std::string::npos) << line;
			}
}

TEST(Tree, DoesNotDependOnTheOrderOfSessions) {
	const auto drawn = [](bool turned) {
		GraphBuilder b;
		const LockRef t = b.lock("relation public.t");
		std::vector<std::int32_t> pids = {1, 5, 6, 7, 8, 9, 10, 11};
		if (turned)
			std::reverse(pids.begin() + 1, pids.end());
		std::vector<Index> made;
		for (const std::int32_t pid : pids)
			made.push_back(b.session(pid));
		b.hold(t, made[0], LockMode::access_exclusive);
		for (std::size_t i = 1; i < made.size(); ++i)
			b.wait(t, made[i], LockMode::access_share, ago(9));
		return draw(b);
	};
	EXPECT_EQ(drawn(false), drawn(true));
	EXPECT_NE(drawn(true).find("├─ 5: waits"), std::string::npos);
	EXPECT_NE(drawn(true).find("├─ 6: waits"), std::string::npos);
	EXPECT_EQ(drawn(true).find("7: waits"), std::string::npos);
}

TEST(Duration, ReadsWellInEveryUnit) {
	EXPECT_EQ(duration(-5 * kSecond), "0ms");
	EXPECT_EQ(duration(0), "0ms");
	EXPECT_EQ(duration(250'999), "250ms");
	EXPECT_EQ(duration(999'999), "999ms");
	EXPECT_EQ(duration(kSecond), "1.0s");
	EXPECT_EQ(duration(12'399'999), "12.3s");
	EXPECT_EQ(duration(59'999'999), "59.9s");
	EXPECT_EQ(duration(60 * kSecond), "1min 00s");
	EXPECT_EQ(duration(245 * kSecond), "4min 05s");
	EXPECT_EQ(duration(3600 * kSecond - 1), "59min 59s");
	EXPECT_EQ(duration((3 * 3600 + 2 * 60) * kSecond), "3h 02min");
	EXPECT_EQ(duration(24 * 3600 * kSecond - 1), "23h 59min");
	EXPECT_EQ(duration(24 * 3600 * kSecond), "1d 00h");
	EXPECT_EQ(duration((2 * 24 + 4) * 3600 * kSecond), "2d 04h");
	EXPECT_EQ(duration(INT64_MAX), "106751991d 04h");
}

TEST(OneLine, MakesOneSpaceOfBlanksAndControls) {
	EXPECT_EQ(one_line("  SELECT\n\t 1\r\n\x1b[2J;\x7f "), "SELECT 1 [2J;");
	EXPECT_EQ(one_line("a\xC2\x85"
	                   "b\xE2\x80\xA8"
	                   "c\xE2\x80\xAE"
	                   "d"),
	          "a b c d");
	EXPECT_EQ(one_line(std::string_view("a\0b", 3)), "a b");
	EXPECT_EQ(one_line("a\xC2\xA0 \xE3\x80\x80z"), "a z"); // no-break and ideographic space
	EXPECT_EQ(one_line(" \n\t "), "");
}

TEST(OneLine, CutsBetweenCharacters) {
	const std::string_view text = "ab\xC3\xA9\xE6\x97\xA5\xF0\x9F\x90\x98z"; // 1, 1, 1, 2, 2, 1 columns
	EXPECT_EQ(one_line(text, 8, "~"), text);
	EXPECT_EQ(one_line(text, 7, "~"), "ab\xC3\xA9\xE6\x97\xA5~"); // the next one would end in column 7
	EXPECT_EQ(one_line(text, 6, "~"), "ab\xC3\xA9\xE6\x97\xA5~");
	EXPECT_EQ(one_line(text, 5, "~"), "ab\xC3\xA9~");
	EXPECT_EQ(one_line(text, 4, "~"), "ab\xC3\xA9~");
	EXPECT_EQ(one_line(text, 3, "~"), "ab~");
	EXPECT_EQ(one_line(text, 1, "~"), "~");
	EXPECT_EQ(one_line(text, 0, "~"), "");
	EXPECT_EQ(one_line(text, 2, "..."), "ab"); // no room for the ellipsis
}

TEST(OneLine, LeavesNoSpaceBeforeTheEllipsis) {
	EXPECT_EQ(one_line("abc def", 6, "~"), "abc d~");
	EXPECT_EQ(one_line("abc def", 5, "~"), "abc~");
	EXPECT_EQ(one_line("abc def  ", 7, "~"), "abc def");
}

// Character by character, as the contract reads.
std::string one_line_slowly(const std::vector<std::string_view>& characters, std::size_t columns) {
	std::vector<std::string_view> shown;
	for (const std::string_view character : characters)
		if (character != " " && character != "\t")
			shown.push_back(character);
		else if (!shown.empty() && shown.back() != " ")
			shown.push_back(" ");
	if (!shown.empty() && shown.back() == " ")
		shown.pop_back();
	const auto joined_up_to = [&](std::size_t most) {
		std::string text;
		for (const std::string_view character : shown) {
			if (display_width(text) + display_width(character) > most)
				break;
			text += character;
		}
		return text;
	};
	const std::string all = joined_up_to(SIZE_MAX);
	if (display_width(all) <= columns)
		return all;
	std::string text = joined_up_to(columns >= 2 ? columns - 2 : columns);
	if (text.ends_with(' '))
		text.pop_back();
	return columns >= 2 ? text + ".." : text;
}

TEST(OneLine, IsTheSameForAllMixturesOfCharacters) {
	constexpr std::string_view alphabet[] = {"a",  "b",        "~",        " ",
	                                         "\t", "\xC3\xA9", "\xCC\x81", "\xE6\x97\xA5"};
	std::mt19937 random(20);
	for (int round = 0; round < 20'000; ++round) {
		std::vector<std::string_view> characters(random() % 24);
		std::string text;
		for (std::string_view& character : characters) {
			character = alphabet[random() % (round % 2 == 0 ? 4 : std::size(alphabet))];
			text += character;
		}
		for (std::size_t columns = 0; columns < 26; ++columns)
			ASSERT_EQ(one_line(text, columns, ".."), one_line_slowly(characters, columns))
			    << '"' << text << "\" in " << columns;
	}
}

TEST(OneLine, KeepsCombiningMarksWithTheirLetter) {
	EXPECT_EQ(one_line("e\xCC\x81t", 2), "e\xCC\x81t");
	EXPECT_EQ(one_line("e\xCC\x81te", 2, "~"), "e\xCC\x81~");
}

TEST(OneLine, MakesInvalidBytesHarmless) {
	EXPECT_EQ(one_line("\x80 \xFF \xC0\xAF"), "? ? ??");              // stray, never used, overlong
	EXPECT_EQ(one_line("\x80\x80\xF9\x88\x80\x80\x80"), "???????");   // sequences of no length
	EXPECT_EQ(one_line("\xE0\x80\xAF \xF0\x80\x80\xAF"), "??? ????"); // overlong
	EXPECT_EQ(one_line("\xED\xA0\x80 \xF4\x90\x80\x80"), "??? ????"); // surrogate, beyond Unicode
	EXPECT_EQ(one_line("a\xE6\x97"), "a??");                          // ends early
	EXPECT_EQ(one_line(std::string_view("a\xE6\x97\xA5", 3)), "a??");
	EXPECT_EQ(one_line("\xE6\x97z\xC3"), "??z?"); // followed by something else
	EXPECT_EQ(one_line("\xEF\xBF\xBD\xF4\x8F\xBF\xBF"),
	          "\xEF\xBF\xBD\xF4\x8F\xBF\xBF"); // the last valid ones
}

TEST(Who, TellsWhatIsKnown) {
	GraphBuilder b;
	const auto text = [](SessionRef session) { return who(*session.operator->()); };
	EXPECT_EQ(text(b.session(1)), "");
	EXPECT_EQ(text(b.session(2).user("app")), "app");
	EXPECT_EQ(text(b.session(3).database("lab")), "lab");
	EXPECT_EQ(text(b.session(4).application("x")), "(x)");
	EXPECT_EQ(text(b.session(5).user("a\nb").database("lab").application("x\x1b")), "a b@lab (x )");
}

} // namespace
} // namespace unblock::core::test
