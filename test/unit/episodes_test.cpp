// Episodes of root blockers: when each is told, what it counts, and where it ends.

#include "core/episodes.h"
#include "core/policy.h"
#include "graph_builder.h"
#include "random_graph.h"
#include "virtual_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace unblock::core::test {
namespace {

using What = Episodes::What;

// Looks at a virtual server in the way that the enforcer does.
class Watcher {
public:
	explicit Watcher(Micros limit) : report_after(limit) {}

	const Episodes::Look& look(const VirtualServer& server) {
		VirtualServer::Published seen = server.publish();
		clock.look(server.reading());
		clock.correct(seen.sessions, seen.waiters);
		const Snapshot snapshot{server.wall(), seen.sessions, seen.locks,
		                        seen.holders,  seen.waiters,  server.next_xid()};
		return episodes.look(WaitGraph(snapshot), report_after, server.monotonic(), wait_for_word);
	}

	Micros report_after;
	bool wait_for_word = false;
	Clock clock;
	Episodes episodes;
};

// A change as it was told, with a copy of its episode.
struct Told {
	What what;
	Index session;
	Episode episode;
	const Episode* told;
};

class EpisodesTest : public testing::Test {
protected:
	Index holder(Index lock, const Limits& limits = {}) {
		const Index client = server.connect(limits);
		begin(client, lock);
		return client;
	}
	// A transaction that holds the lock and leaves it at that.
	void begin(Index client, Index lock) {
		server.advance(1); // no two transactions begin at the same time
		server.work(client);
		server.hold(client, lock);
		server.idle_in_transaction(client);
	}
	Index waiter(Index lock) {
		const Index client = server.connect();
		server.work(client);
		server.wait(client, lock);
		return client;
	}
	void give_up(Index client) {
		server.stop_waiting(client);
		server.abort(client);
	}

	std::vector<Told> look() {
		const Episodes::Look& seen = watcher.look(server);
		sleep = seen.sleep;
		waited = seen.waited;
		std::vector<Told> told;
		for (const Episodes::Change& change : seen.changes)
			told.push_back({change.what, change.session, *change.episode, change.episode});
		return told;
	}
	std::vector<Told> look_in(Micros length) {
		server.advance(length);
		return look();
	}
	// What is told but that episodes go on, with a look every `interval`, the first one at its end.
	std::vector<Told> watch(Micros length, Micros interval = 500 * kMilli) {
		std::vector<Told> all;
		for (const Micros end = server.monotonic() + length; server.monotonic() < end;)
			for (const Told& told : look_in(std::min(interval, end - server.monotonic())))
				if (told.what != What::goes_on)
					all.push_back(told);
		return all;
	}
	std::int32_t pid(Index client) { return server.client(client).session.pid; }

	VirtualServer server;
	Watcher watcher{10 * kSecond};
	Index table = server.lock();
	std::optional<Micros> sleep; // of the last look
	Micros waited = 0;
};

TEST_F(EpisodesTest, NothingIsToldWhileNobodyIsBlocked) {
	holder(table);
	server.work(server.connect());
	EXPECT_TRUE(look().empty());
	EXPECT_EQ(sleep, 10 * kSecond) << "whoever begins to block now has lasted then";
	EXPECT_EQ(waited, 0);
	EXPECT_TRUE(watch(100 * kSecond).empty());
	EXPECT_EQ(waited, 0);
}

TEST_F(EpisodesTest, WhoeverBlocksForLessIsNotTold) {
	look();
	const Index root = holder(table);
	const Index blocked = waiter(table);
	EXPECT_TRUE(watch(9'999 * kMilli).empty());
	server.commit(root);
	server.stop_waiting(blocked);
	EXPECT_TRUE(watch(100 * kSecond).empty());
}

TEST_F(EpisodesTest, AnEpisodeIsToldOnceWhenItHasLasted) {
	const Index root = holder(table);
	server.write(root);
	const Time begin = server.wall();
	waiter(table);
	look();
	EXPECT_TRUE(watch(9'999 * kMilli).empty());
	const std::vector<Told> told = look_in(kMilli);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::begins);
	EXPECT_EQ(told[0].session, root);
	const Episode& episode = told[0].episode;
	const Session& session = server.client(root).session;
	EXPECT_EQ(episode.pid, session.pid);
	EXPECT_EQ(episode.backend_start, session.backend_start);
	EXPECT_EQ(episode.transaction, session.xact_start);
	EXPECT_EQ(episode.xid, session.xid);
	EXPECT_EQ(episode.begin, begin);
	EXPECT_EQ(episode.end, 0);
	EXPECT_EQ(episode.blocked, 10 * kSecond);
	EXPECT_EQ(episode.waiting, 10 * kSecond);
	EXPECT_EQ(episode.peak, 1U);
	EXPECT_TRUE(watch(100 * kSecond).empty()) << "from then on it goes on";
}

TEST_F(EpisodesTest, TheFirstLookOfAllTakesInWhatHasLastedAlready) {
	const Index root = holder(table);
	const Time begin = server.wall();
	waiter(table);
	server.advance(60 * kSecond);
	waiter(table);
	const std::vector<Told> told = look_in(30 * kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::begins);
	EXPECT_EQ(told[0].session, root);
	EXPECT_EQ(told[0].episode.begin, begin);
	EXPECT_EQ(told[0].episode.blocked, 90 * kSecond);
	EXPECT_EQ(told[0].episode.waiting, 120 * kSecond);
	EXPECT_EQ(waited, 0) << "there is no look before";
}

TEST_F(EpisodesTest, SleepLeadsToTheMomentWhenItHasLasted) {
	for (const Micros ahead : {Micros{0}, 3 * kSecond, Micros{7'300'001}, Micros{9'999'999}}) {
		look();
		server.advance(ahead);
		const Index lock = server.lock();
		const Index root = holder(lock);
		const Index blocked = waiter(lock);
		const Micros begin = server.monotonic();
		server.advance(sleep.value() - ahead);
		std::vector<Told> told = look();
		while (told.empty() && server.monotonic() < begin + 100 * kSecond)
			told = look_in(sleep.value());
		ASSERT_EQ(told.size(), 1U);
		EXPECT_EQ(told[0].what, What::begins);
		EXPECT_EQ(told[0].episode.pid, pid(root));
		EXPECT_GE(server.monotonic() - begin, watcher.report_after);
		EXPECT_LE(server.monotonic() - begin, watcher.report_after + Policy::kShortestSleep);
		EXPECT_LE(sleep.value(), Episodes::kWatchful) << "its end should be seen";
		server.commit(root);
		server.stop_waiting(blocked);
		EXPECT_EQ(look_in(kSecond).size(), 1U);
		EXPECT_EQ(sleep, watcher.report_after);
	}
}

TEST_F(EpisodesTest, GrowsWithEveryNewPeak) {
	holder(table);
	const Index first = waiter(table);
	look();
	look_in(10 * kSecond);
	EXPECT_EQ(look_in(kSecond).at(0).what, What::goes_on);
	waiter(table);
	waiter(table);
	std::vector<Told> told = look_in(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::grows);
	EXPECT_EQ(told[0].episode.peak, 3U);
	give_up(first);
	told = look_in(kSecond);
	EXPECT_EQ(told.at(0).what, What::goes_on);
	EXPECT_EQ(told[0].episode.peak, 3U) << "the most, not the last";
	waiter(table);
	EXPECT_EQ(look_in(kSecond).at(0).what, What::goes_on) << "as many as ever, not more";
	waiter(table);
	EXPECT_EQ(look_in(kSecond).at(0).what, What::grows);
}

TEST_F(EpisodesTest, ThePeakIsThatSinceItWasReported) {
	holder(table);
	waiter(table);
	const std::vector<Index> burst = {waiter(table), waiter(table), waiter(table)};
	look();
	look_in(5 * kSecond);
	for (const Index blocked : burst)
		give_up(blocked);
	const std::vector<Told> told = look_in(5 * kSecond);
	EXPECT_EQ(told.at(0).what, What::begins);
	EXPECT_EQ(told[0].episode.peak, 1U);
}

TEST_F(EpisodesTest, ReadersOfTheRecordHearAtEveryLookThatItGoesOn) {
	const Index root = holder(table);
	waiter(table);
	look();
	look_in(10 * kSecond);
	for (int i = 1; i <= 5; ++i) {
		const std::vector<Told> told = look_in(kSecond);
		ASSERT_EQ(told.size(), 1U);
		EXPECT_EQ(told[0].what, What::goes_on);
		EXPECT_EQ(told[0].session, root);
		EXPECT_EQ(told[0].episode.blocked, (10 + i) * kSecond);
		EXPECT_EQ(told[0].episode.waiting, (10 + i) * kSecond);
		EXPECT_EQ(told[0].episode.end, 0);
	}
}

TEST_F(EpisodesTest, EndsWithTheTransaction) {
	const Index root = holder(table);
	const Index blocked = waiter(table);
	watch(12 * kSecond);
	server.commit(root);
	server.stop_waiting(blocked);
	const std::vector<Told> told = look_in(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::ends);
	EXPECT_EQ(told[0].session, kNone);
	EXPECT_EQ(told[0].episode.pid, pid(root));
	EXPECT_EQ(told[0].episode.end, server.wall()) << "it blocked at the last look";
	EXPECT_EQ(told[0].episode.blocked, 12 * kSecond) << "as far as it was seen";
	EXPECT_TRUE(watch(100 * kSecond).empty());
}

TEST_F(EpisodesTest, EndsWithTheSession) {
	const Index root = holder(table);
	const Index blocked = waiter(table);
	watch(12 * kSecond);
	server.leave(root);
	server.stop_waiting(blocked);
	const std::vector<Told> told = look_in(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::ends);
	EXPECT_EQ(told[0].episode.pid, pid(root));
	EXPECT_EQ(told[0].episode.end, server.wall());
}

TEST_F(EpisodesTest, EndsWhenItsPidHasGoneToAnotherSession) {
	const Index root = holder(table);
	waiter(table);
	watch(12 * kSecond);
	++server.client(root).session.backend_start; // all else is alike
	std::vector<Told> told = look_in(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::ends);
	told = watch(9 * kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::begins);
	EXPECT_EQ(told[0].episode.backend_start, server.client(root).session.backend_start);
}

TEST_F(EpisodesTest, TheNextTransactionOfTheSessionMakesAnEpisodeOfItsOwn) {
	watcher.report_after = kSecond;
	const Index root = holder(table);
	const Index blocked = waiter(table);
	watch(12 * kSecond);
	const Time first_transaction = server.client(root).session.xact_start;
	server.commit(root);
	server.stop_waiting(blocked);
	begin(root, table);
	const Time begin = server.wall();
	server.work(blocked);
	server.wait(blocked, table);
	const std::vector<Told> told = look_in(3 * kSecond);
	ASSERT_EQ(told.size(), 2U);
	EXPECT_EQ(told[0].what, What::ends);
	EXPECT_EQ(told[0].episode.transaction, first_transaction);
	EXPECT_EQ(told[0].episode.end, server.wall());
	EXPECT_EQ(told[1].what, What::begins);
	EXPECT_EQ(told[1].session, root);
	EXPECT_EQ(told[1].episode.transaction, server.client(root).session.xact_start);
	EXPECT_EQ(told[1].episode.begin, begin);
	EXPECT_EQ(told[1].episode.blocked, 3 * kSecond);
	EXPECT_EQ(told[1].episode.waiting, 3 * kSecond);
}

TEST_F(EpisodesTest, TransactionsThatBeginAtTheSameTimeAreToldApart) {
	const Index root = holder(table);
	waiter(table);
	watch(12 * kSecond);
	++server.client(root).session.local_xid; // the next one of the same message
	const std::vector<Told> told = look_in(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::ends);
}

TEST_F(EpisodesTest, ATransactionIsNotToBlameForWaitsFromBeforeIt) {
	watcher.report_after = kSecond;
	const Index advisory = server.lock(true);
	const Index root = holder(advisory, {.count_advisory_locks = true});
	waiter(advisory);
	watch(60 * kSecond);
	server.commit(root, true); // a session's advisory lock stays
	server.advance(500 * kMilli);
	server.work(root);
	const Time begin = server.wall();
	EXPECT_EQ(look_in(300 * kMilli).at(0).what, What::ends);
	const std::vector<Told> told = watch(2 * kSecond, 100 * kMilli);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::begins);
	EXPECT_EQ(told[0].episode.begin, begin);
	EXPECT_EQ(told[0].episode.blocked, kSecond);
	EXPECT_EQ(told[0].episode.waiting, kSecond);
}

TEST_F(EpisodesTest, TwoRootsOfOneLockHaveAnEpisodeEach) {
	const std::vector<Index> roots = {holder(table), holder(table)};
	waiter(table);
	waiter(table);
	look();
	std::vector<Told> told = look_in(10 * kSecond);
	ASSERT_EQ(told.size(), 2U);
	std::ranges::sort(told, {}, &Told::session);
	for (std::size_t i = 0; i < 2; ++i) {
		EXPECT_EQ(told[i].what, What::begins);
		EXPECT_EQ(told[i].session, roots[i]);
		EXPECT_EQ(told[i].episode.pid, pid(roots[i]));
		EXPECT_EQ(told[i].episode.blocked, 10 * kSecond);
		EXPECT_EQ(told[i].episode.waiting, 20 * kSecond) << "each of them kept both waiting";
		EXPECT_EQ(told[i].episode.peak, 2U);
	}
	EXPECT_EQ(waited, 20 * kSecond) << "a wait is a wait, whoever is to blame";
	server.commit(roots[0]);
	told = look_in(kSecond);
	ASSERT_EQ(told.size(), 2U);
	EXPECT_EQ(std::ranges::count(told, What::ends, &Told::what), 1);
	EXPECT_EQ(std::ranges::find(told, What::ends, &Told::what)->episode.pid, pid(roots[0]));
}

// The holder of a table, a session that waits for it and holds a row, and others that wait for the row.
TEST_F(EpisodesTest, WaitsThroughOthersCount) {
	const Index row = server.lock();
	const Index root = holder(table);
	const Index middle = waiter(table);
	server.hold(middle, row);
	look();
	server.advance(2 * kSecond);
	waiter(row);
	server.advance(kSecond);
	waiter(row);
	watch(6 * kSecond);
	const std::vector<Told> told = look_in(kSecond);
	ASSERT_EQ(told.size(), 1U) << "who waits is no root";
	EXPECT_EQ(told[0].session, root);
	EXPECT_EQ(told[0].episode.blocked, 10 * kSecond);
	EXPECT_EQ(told[0].episode.waiting, (10 + 8 + 7) * kSecond);
	EXPECT_EQ(told[0].episode.peak, 3U);
}

TEST_F(EpisodesTest, OldWaitsForSomebodyWhoWaitsOnlyNowAreNewToTheRoot) {
	const Index row = server.lock();
	holder(table);
	const Index middle = holder(row);
	waiter(table);
	waiter(row);
	look();
	server.advance(9 * kSecond);
	server.work(middle);
	server.wait(middle, table);
	const std::vector<Told> told = look_in(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].episode.waiting, (10 + 1 + 1) * kSecond);
	EXPECT_EQ(told[0].episode.peak, 3U);
	EXPECT_EQ(waited, (10 + 10 + 1) * kSecond);
}

// A long line of sessions, each of which holds what the next one waits for.
TEST_F(EpisodesTest, TheWholeLineBehindIsNewToTheRoot) {
	for (const bool nearest_first : {true, false}) {
		std::vector<Index> rows;
		for (int i = 0; i < 6; ++i)
			rows.push_back(server.lock());
		if (!nearest_first)
			std::ranges::reverse(rows);
		holder(table);
		waiter(table);
		const Index first = holder(rows[0]);
		for (std::size_t i = 0; i + 1 < rows.size(); ++i)
			server.hold(waiter(rows[i]), rows[i + 1]);
		waiter(rows.back());
		look();
		server.advance(9 * kSecond);
		server.work(first);
		server.wait(first, table);
		const std::vector<Told> told = look_in(kSecond);
		ASSERT_EQ(told.size(), 1U);
		EXPECT_EQ(told[0].episode.peak, 8U);
		EXPECT_EQ(told[0].episode.waiting - told[0].episode.blocked, 7 * kSecond);
		server = VirtualServer();
		watcher = Watcher(10 * kSecond);
		table = server.lock();
	}
}

TEST_F(EpisodesTest, WhoeverWaitedItselfIsNotToBlameForThatTime) {
	const Index row = server.lock();
	const Index first = holder(table);
	const Index second = waiter(table);
	server.hold(second, row);
	waiter(row);
	watch(60 * kSecond);
	server.commit(first);
	server.stop_waiting(second);
	server.hold(second, table, LockMode::access_exclusive);
	std::vector<Told> told = look_in(500 * kMilli);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::ends);
	EXPECT_EQ(told[0].episode.pid, pid(first));
	const Micros begin = server.monotonic();
	told = watch(20 * kSecond, 100 * kMilli);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::begins);
	EXPECT_EQ(told[0].session, second);
	EXPECT_EQ(told[0].episode.blocked, 10 * kSecond);
	EXPECT_EQ(told[0].episode.waiting, 10 * kSecond);
	EXPECT_LE(told[0].episode.begin + server.monotonic() - server.wall(), begin);
	EXPECT_GE(told[0].episode.begin + server.monotonic() - server.wall(), begin - 500 * kMilli);
}

TEST_F(EpisodesTest, TriesInShortGapsAreOneEpisode) {
	const Index root = holder(table);
	const Index blocked = server.connect();
	const Time begin = server.wall();
	std::vector<Told> all;
	for (int i = 0; i < 10; ++i) {
		server.work(blocked);
		server.wait(blocked, table);
		for (const Told& told : watch(2 * kSecond))
			all.push_back(told);
		give_up(blocked);
		for (const Told& told : watch(8 * kSecond))
			all.push_back(told);
		server.advance(200 * kMilli); // the next try begins between two looks
	}
	ASSERT_EQ(all.size(), 1U);
	EXPECT_EQ(all[0].what, What::begins);
	EXPECT_EQ(all[0].episode.begin, begin);
	server.commit(root);
	all = watch(kSecond);
	ASSERT_EQ(all.size(), 1U);
	EXPECT_EQ(all[0].what, What::ends);
	EXPECT_EQ(all[0].episode.blocked, 20 * kSecond) << "without the gaps";
	EXPECT_EQ(all[0].episode.waiting, 20 * kSecond);
}

TEST_F(EpisodesTest, ALongGapEndsItAtTheLastLookThatSawItBlock) {
	holder(table);
	const Index blocked = waiter(table);
	watch(15 * kSecond);
	const Time last_seen = server.wall();
	server.advance(100 * kMilli);
	give_up(blocked);
	EXPECT_TRUE(watch(9'800 * kMilli).empty());
	std::vector<Told> told = watch(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::ends);
	EXPECT_EQ(told[0].episode.end, last_seen);
	EXPECT_EQ(told[0].episode.blocked, 15 * kSecond);
	server.work(blocked);
	server.wait(blocked, table);
	const Time begin = server.wall();
	told = watch(12 * kSecond);
	ASSERT_EQ(told.size(), 1U) << "of the same transaction, another episode";
	EXPECT_EQ(told[0].what, What::begins);
	EXPECT_EQ(told[0].episode.begin, begin);
	EXPECT_EQ(told[0].episode.blocked, 10 * kSecond);
}

TEST_F(EpisodesTest, ACommitInAGapDoesNotMoveTheEnd) {
	const Index root = holder(table);
	const Index blocked = waiter(table);
	watch(15 * kSecond);
	const Time last_seen = server.wall();
	give_up(blocked);
	EXPECT_TRUE(watch(5 * kSecond).empty());
	server.commit(root);
	const std::vector<Told> told = watch(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::ends);
	EXPECT_EQ(told[0].episode.end, last_seen);
}

TEST_F(EpisodesTest, TheEndOfAGapIsSeenInTime) {
	holder(table);
	const Index blocked = waiter(table);
	watch(15 * kSecond);
	give_up(blocked);
	const Micros begin = server.monotonic();
	std::vector<Told> told = look();
	while (told.empty() && server.monotonic() < begin + 100 * kSecond) {
		EXPECT_LE(sleep.value(), Episodes::kWatchful) << "the next try, or the commit, should be seen";
		told = look_in(sleep.value());
	}
	EXPECT_EQ(told.at(0).what, What::ends);
	EXPECT_LE(server.monotonic() - begin, watcher.report_after + Episodes::kWatchful);
}

TEST_F(EpisodesTest, NoLimitTellsNothing) {
	watcher.report_after = 0;
	const Index root = holder(table);
	waiter(table);
	look();
	EXPECT_EQ(sleep, std::nullopt);
	EXPECT_TRUE(look_in(100 * kSecond).empty());
	EXPECT_EQ(waited, 100 * kSecond);
	server.commit(root);
	EXPECT_TRUE(look_in(kSecond).empty());
	EXPECT_EQ(sleep, std::nullopt);
}

TEST_F(EpisodesTest, TurnedOffItEndsWhatWasReported) {
	const Index root = holder(table);
	const Index lock = server.lock();
	holder(lock);
	const Index blocked = waiter(lock);
	waiter(table);
	EXPECT_EQ(watch(15 * kSecond).size(), 2U);
	give_up(blocked);
	watch(kSecond); // one of them is in a gap
	watcher.report_after = 0;
	const std::vector<Told> told = look_in(kSecond);
	ASSERT_EQ(told.size(), 2U);
	for (const Told& change : told) {
		EXPECT_EQ(change.what, What::ends);
		EXPECT_EQ(change.session, kNone);
		EXPECT_EQ(change.episode.end, server.wall() - (change.episode.pid == pid(root) ? 0 : 2 * kSecond));
	}
	EXPECT_EQ(sleep, std::nullopt);
	EXPECT_TRUE(look_in(kSecond).empty());
	server.commit(root);
	EXPECT_TRUE(look_in(kSecond).empty()) << "each ends once";
}

TEST_F(EpisodesTest, TurnedOnAgainItTellsThoseWhoStillBlock) {
	const Index root = holder(table);
	waiter(table);
	watch(15 * kSecond);
	watcher.report_after = 0;
	EXPECT_EQ(watch(5 * kSecond).size(), 1U);
	watcher.report_after = 10 * kSecond;
	const std::vector<Told> told = watch(10 * kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::begins);
	EXPECT_EQ(told[0].session, root);
	EXPECT_EQ(told[0].episode.record, 0U);
	EXPECT_EQ(told[0].episode.peak, 1U);
	server.commit(root);
	EXPECT_EQ(watch(kSecond).size(), 1U);
}

TEST_F(EpisodesTest, ALowerLimitTellsAtOnce) {
	holder(table);
	waiter(table);
	EXPECT_TRUE(watch(5 * kSecond).empty());
	watcher.report_after = 2 * kSecond;
	EXPECT_EQ(watch(kSecond).size(), 1U);
}

TEST_F(EpisodesTest, AdvisoryLocksCountForRootsThatCountThem) {
	const Index advisory = server.lock(true);
	const Index counts = server.lock(true);
	holder(advisory);
	const Index counting = holder(counts, {.count_advisory_locks = true});
	waiter(advisory);
	waiter(counts);
	look();
	const std::vector<Told> told = look_in(60 * kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].session, counting);
	EXPECT_EQ(told[0].episode.blocked, 60 * kSecond);
	EXPECT_EQ(told[0].episode.waiting, 60 * kSecond);
	EXPECT_EQ(waited, 0) << "they are meant to wait";
}

TEST_F(EpisodesTest, AdvisoryLocksAddNothingToARootThatDoesNotCountThem) {
	const Index advisory = server.lock(true);
	const Index root = holder(table);
	server.hold(root, advisory);
	waiter(advisory);
	look();
	server.advance(50 * kSecond);
	waiter(table);
	look();
	const std::vector<Told> told = look_in(10 * kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::begins);
	EXPECT_EQ(told[0].episode.blocked, 10 * kSecond);
	EXPECT_EQ(told[0].episode.waiting, 10 * kSecond);
	EXPECT_EQ(waited, 10 * kSecond);
}

TEST_F(EpisodesTest, AStepOfTheWallClockNeitherMakesNorLengthensAnEpisode) {
	for (const Micros step : {kHour, -kHour, 30 * kSecond, -30 * kSecond}) {
		const Index lock = server.lock();
		const Index root = holder(lock);
		const Index blocked = waiter(lock);
		EXPECT_TRUE(watch(5 * kSecond).empty());
		server.step(step);
		EXPECT_TRUE(watch(4'500 * kMilli).empty()) << step;
		std::vector<Told> told = watch(500 * kMilli);
		ASSERT_EQ(told.size(), 1U) << step;
		EXPECT_EQ(told[0].what, What::begins);
		EXPECT_EQ(told[0].episode.blocked, 10 * kSecond);
		EXPECT_EQ(told[0].episode.waiting, 10 * kSecond);
		server.step(step);
		EXPECT_TRUE(watch(5 * kSecond).empty());
		server.step(-step);
		server.commit(root);
		server.stop_waiting(blocked);
		told = watch(kSecond);
		ASSERT_EQ(told.size(), 1U);
		EXPECT_EQ(told[0].what, What::ends);
		EXPECT_EQ(told[0].episode.blocked, 15 * kSecond);
		EXPECT_EQ(told[0].episode.waiting, 15 * kSecond);
	}
}

TEST_F(EpisodesTest, AnEndedEpisodeLastsUntilTheNextLookWithItsRecord) {
	std::vector<Index> roots;
	std::map<std::int32_t, std::uint64_t> records;
	for (int i = 0; i < 50; ++i) {
		const Index lock = server.lock();
		roots.push_back(holder(lock));
		waiter(lock);
	}
	watcher.look(server);
	server.advance(10 * kSecond);
	for (const Episodes::Change& change : watcher.look(server).changes) {
		ASSERT_EQ(change.what, What::begins);
		EXPECT_EQ(change.episode->record, 0U);
		change.episode->record = 7'000 + static_cast<std::uint64_t>(change.episode->pid);
	}
	server.advance(kSecond);
	for (const Episodes::Change& change : watcher.look(server).changes)
		EXPECT_EQ(change.episode->record, 7'000 + static_cast<std::uint64_t>(change.episode->pid));
	for (std::size_t i = 0; i < roots.size(); ++i) {
		server.commit(roots[i]);
		if (i % 2 == 0) { // the next transaction is there at the same look
			const Index lock = server.lock();
			begin(roots[i], lock);
			waiter(lock);
		}
	}
	server.advance(kSecond);
	const Episodes::Look& last = watcher.look(server);
	ASSERT_EQ(last.changes.size(), roots.size());
	for (const Episodes::Change& change : last.changes) {
		EXPECT_EQ(change.what, What::ends);
		EXPECT_EQ(change.episode->record, 7'000 + static_cast<std::uint64_t>(change.episode->pid));
		records[change.episode->pid] = change.episode->record;
	}
	EXPECT_EQ(records.size(), roots.size());
	for (const Told& told : watch(20 * kSecond))
		EXPECT_EQ(told.episode.record, 0U) << "that of an earlier episode is not its own";
}

TEST_F(EpisodesTest, AnEpisodeOfAPreviousLifeGoesOn) {
	const Index root = holder(table);
	const Index lock = server.lock();
	const Index gone = holder(lock);
	const Index freed = waiter(lock);
	waiter(table);
	look();
	std::vector<Told> told = look_in(15 * kSecond);
	ASSERT_EQ(told.size(), 2U);
	watcher = Watcher(10 * kSecond);
	for (Told& change : told) {
		change.episode.record = 7'000 + static_cast<std::uint64_t>(change.episode.pid);
		watcher.episodes.resume(change.episode);
	}
	const Time last_seen = server.wall();
	server.commit(gone);
	server.stop_waiting(freed);
	told = look_in(5 * kSecond);
	ASSERT_EQ(told.size(), 2U);
	std::ranges::sort(told, {}, &Told::what);
	EXPECT_EQ(told[0].what, What::goes_on);
	EXPECT_EQ(told[0].session, root);
	EXPECT_EQ(told[0].episode.record, 7'000 + static_cast<std::uint64_t>(pid(root)));
	EXPECT_EQ(told[0].episode.blocked, 15 * kSecond) << "nobody looked since";
	EXPECT_EQ(told[1].what, What::ends);
	EXPECT_EQ(told[1].episode.record, 7'000 + static_cast<std::uint64_t>(pid(gone)));
	EXPECT_EQ(told[1].episode.end, last_seen);
	told = look_in(kSecond);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].episode.blocked, 16 * kSecond);
	EXPECT_EQ(told[0].episode.waiting, 16 * kSecond);
}

TEST_F(EpisodesTest, AnEndWaitsForWhoeverIsAboutToSayWhatWasDone) {
	const Index root = holder(table);
	const Index blocked = waiter(table);
	watch(12 * kSecond);
	const Session session = server.client(root).session;
	server.leave(root);
	server.stop_waiting(blocked);
	watcher.wait_for_word = true;
	EXPECT_TRUE(look_in(kMilli).empty());
	EXPECT_EQ(sleep, Policy::kShortestSleep);
	watcher.episodes.told(session.pid, session.backend_start, Action::terminate);
	watcher.wait_for_word = false;
	const std::vector<Told> told = look_in(kMilli);
	ASSERT_EQ(told.size(), 1U);
	EXPECT_EQ(told[0].what, What::ends);
	EXPECT_EQ(told[0].episode.told, Action::terminate);
}

TEST_F(EpisodesTest, ACancelExplainsAnEndThatComesSoonAfter) {
	for (const Micros later : {9 * kSecond, 11 * kSecond}) {
		const Index root = holder(table);
		const Index blocked = waiter(table);
		watch(12 * kSecond);
		const Session session = server.client(root).session;
		watcher.episodes.told(session.pid, session.backend_start, Action::cancel);
		watch(later);
		server.commit(root);
		server.stop_waiting(blocked);
		const std::vector<Told> told = look_in(kMilli);
		ASSERT_EQ(told.size(), 1U);
		ASSERT_EQ(told[0].what, What::ends);
		EXPECT_EQ(told[0].episode.told.has_value(), later < 10 * kSecond);
	}
}

TEST_F(EpisodesTest, WhatWasDoneAboutItIsToldAtItsEnd) {
	const Index root = holder(table);
	const Index blocked = waiter(table);
	watch(12 * kSecond);
	const Time start = server.client(root).session.backend_start;
	watcher.episodes.told(pid(root), start + 1, Action::cancel); // the next session with this pid
	watcher.episodes.told(pid(blocked), start, Action::cancel);  // no blocker
	EXPECT_EQ(look_in(kSecond).at(0).episode.told, std::nullopt);
	watcher.episodes.told(pid(root), start, Action::terminate);
	EXPECT_EQ(look_in(kSecond).at(0).episode.told, Action::terminate);
	server.leave(root);
	server.stop_waiting(blocked);
	EXPECT_EQ(look_in(kSecond).at(0).episode.told, Action::terminate);
}

TEST(EpisodesOfPrepared, ThePreparedTransactionIsToldByItsXid) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	const std::vector<SessionRef> prepared = {b.prepared("one"), b.prepared("other")};
	for (std::uint32_t i = 0; i < 2; ++i) {
		prepared[i]->xid = 742 + i;
		b.hold(table, prepared[i], LockMode::row_exclusive);
	}
	b.wait(table, b.session(102), LockMode::share, kNow);
	Episodes episodes;
	const auto look = [&](Time now) -> const Episodes::Look& {
		return episodes.look(WaitGraph(b.snapshot(now)), 10 * kSecond, now);
	};
	look(kNow);
	const Episodes::Look& seen = look(kNow + 10 * kSecond);
	ASSERT_EQ(seen.changes.size(), 2U);
	for (const Episodes::Change& change : seen.changes) {
		EXPECT_EQ(change.what, What::begins);
		EXPECT_EQ(change.episode->pid, 0);
		EXPECT_EQ(change.episode->xid, b.at(change.session).xid);
		EXPECT_EQ(change.episode->blocked, 10 * kSecond);
	}
	// One commits, and the next one takes its place in the array.
	prepared[1]->xid = 750;
	const Episodes::Look& last = look(kNow + 12 * kSecond);
	ASSERT_EQ(last.changes.size(), 2U);
	const auto ended = std::ranges::find(last.changes, What::ends, &Episodes::Change::what);
	ASSERT_NE(ended, last.changes.end());
	EXPECT_EQ(ended->episode->xid, 743U);
	EXPECT_EQ(ended->episode->end, kNow + 12 * kSecond);
}

TEST(EpisodesOfParallelQueries, AQueryIsOneSession) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	const auto row = b.lock("transaction 742");
	const auto leader = b.session(101);
	const auto other = b.session(103);
	const auto other_worker = b.worker_of(other, 104);
	b.hold(table, b.worker_of(leader, 102), LockMode::share).hold(row, leader, LockMode::exclusive);
	b.wait(table, other_worker, LockMode::row_exclusive, kNow).wait(row, other, LockMode::share, kNow);
	Episodes episodes;
	episodes.look(WaitGraph(b.snapshot(kNow)), 10 * kSecond, kNow);
	const Episodes::Look& seen =
	    episodes.look(WaitGraph(b.snapshot(kNow + 10 * kSecond)), 10 * kSecond, kNow + 10 * kSecond);
	ASSERT_EQ(seen.changes.size(), 1U);
	EXPECT_EQ(seen.changes[0].episode->pid, 101);
	EXPECT_EQ(seen.changes[0].episode->waiting, 10 * kSecond);
	EXPECT_EQ(seen.changes[0].episode->peak, 1U);
	EXPECT_EQ(seen.waited, 10 * kSecond);
}

// Clients that take locks as the server would grant them, give up, commit and begin again at random, with
// books of who truly waited for whom.
class World {
public:
	static constexpr int kClients = 8;
	static constexpr int kMostLocks = 4;

	// Which transaction of which session.
	using Key = std::pair<std::int32_t, std::uint32_t>;
	struct Truth {
		// While anybody waited for it, whether it waited itself or not.
		Micros blocked = 0, waiting = 0;
		// While it was a root.
		Micros blocked_as_root = 0, waiting_as_root = 0;
		// How many waits looks may have seen too late or not to the end.
		Micros blocked_changes = 0, waiting_changes = 0;
	};

	explicit World(unsigned seed, bool advisory) : dice(seed) {
		for (int i = dice.from_to(1, kMostLocks); i > 0; --i)
			locks.push_back(server.lock(advisory && dice.chance(30)));
		for (int i = 0; i < kClients; ++i)
			clients.push_back(server.connect({.count_advisory_locks = advisory && dice.chance(50)}));
		read_waits();
	}

	void advance(Micros length) {
		for (const Index client : clients) {
			const Session& session = server.client(client).session;
			const Micros count = std::popcount(waiting_for[client]);
			waited += awaits(client) ? length : 0;
			if (session.xact_start == 0 || count == 0)
				continue;
			Truth& truth = books[key_of(session)];
			truth.blocked += length;
			truth.waiting += count * length;
			if (awaits(client))
				continue;
			truth.blocked_as_root += length;
			truth.waiting_as_root += count * length;
		}
		server.advance(length);
	}

	void something_happens() {
		note_changes();
		const Index client = dice.one_of(clients);
		if (server.client(client).session.xact_start == 0)
			begin(client);
		else if (awaits(client)) {
			if (dice.chance(15))
				give_up(client);
		} else if (dice.chance(25))
			server.commit(client);
		else
			request(client, dice.one_of(locks), dice.one_of(modes));
		grant();
		read_waits();
		note_changes();
	}

	void all_leave() {
		note_changes();
		for (const Index client : clients)
			server.leave(client);
		read_waits();
	}

	static Key key_of(const Session& session) { return {session.pid, session.local_xid}; }

	Dice dice;
	VirtualServer server;
	std::map<Key, Truth> books;
	Micros waited = 0; // all waits together

private:
	bool awaits(Index client) { return server.client(client).awaited != kNone; }

	void begin(Index client) {
		server.work(client);
		server.client(client).session.local_xid = ++transactions_;
		if (dice.chance(50))
			server.write(client);
	}
	void give_up(Index client) {
		server.stop_waiting(client);
		if (dice.chance(70))
			server.commit(client);
	}
	void request(Index client, Index lock, LockMode mode) {
		server.wait(client, lock, mode);
		if (!is_blocked(client))
			take(client);
	}
	void take(Index client) {
		const VirtualServer::Client& self = server.client(client);
		server.hold(client, self.awaited, self.wanted);
		server.stop_waiting(client);
	}
	bool is_blocked(Index client) {
		const VirtualServer::Client& self = server.client(client);
		return std::ranges::any_of(clients, [&](Index other) {
			return other != client && (VirtualServer::holds_against(server.client(other), self) ||
			                           server.is_queued_behind(self, server.client(other)));
		});
	}
	void grant() {
		for (bool again = true; again;) {
			again = false;
			for (const Index client : clients)
				if (awaits(client) && !is_blocked(client)) {
					take(client);
					again = true;
				}
		}
	}

	// For each client, the set of those who wait for it directly or through others.
	void read_waits() {
		waiting_for.fill(0);
		for (const Index client : clients)
			for (const Index other : clients)
				if (other != client && awaits(other) &&
				    (VirtualServer::holds_against(server.client(client), server.client(other)) ||
				     server.is_queued_behind(server.client(other), server.client(client))))
					waiting_for[client] |= 1U << other;
		for (int round = 0; round < kClients; ++round)
			for (const Index client : clients)
				for (const Index other : clients)
					if (waiting_for[client] & 1U << other)
						waiting_for[client] |= waiting_for[other] & ~(1U << client);
	}
	void note_changes() {
		for (const Index client : clients) {
			if (server.client(client).session.xact_start == 0)
				continue;
			Truth& truth = books[key_of(server.client(client).session)];
			truth.blocked_changes += waiting_for[client] != 0;
			truth.waiting_changes += std::popcount(waiting_for[client]);
		}
	}

	std::vector<Index> locks;
	std::vector<Index> clients;
	std::array<unsigned, kClients> waiting_for{};
	std::uint32_t transactions_ = 0;
	std::vector<LockMode> modes = {LockMode::access_share, LockMode::row_exclusive, LockMode::share,
	                               LockMode::access_exclusive};
};

// What all episodes of a transaction said together.
struct Sum {
	Micros blocked = 0, waiting = 0;
};

// Looks at a world, and checks that nothing that it is told exceeds the truth.
class Auditor {
public:
	Auditor(World& world, Micros report_after) : world_(world), watcher_(report_after) {}

	void look() {
		const Episodes::Look& seen = watcher_.look(world_.server);
		waited += seen.waited;
		EXPECT_LE(waited, world_.waited);
		for (const Episodes::Change& change : seen.changes) {
			const Episode& episode = *change.episode;
			const World::Key key = {episode.pid, episode.local_xid};
			EXPECT_EQ(change.what == What::begins, open_.insert({key, {}}).second);
			open_[key] = {episode.blocked, episode.waiting};
			const World::Truth& truth = world_.books[key];
			Sum& ended = ended_[key];
			EXPECT_LE(ended.blocked + episode.blocked, truth.blocked);
			EXPECT_LE(ended.waiting + episode.waiting, truth.waiting);
			EXPECT_EQ(episode.end != 0, change.what == What::ends);
			if (change.what != What::ends)
				continue;
			ended.blocked += episode.blocked;
			ended.waiting += episode.waiting;
			open_.erase(key);
		}
	}
	const std::map<World::Key, Sum>& ended() const { return ended_; }
	bool all_have_ended() const { return open_.empty(); }
	Watcher& watcher() { return watcher_; }

	Micros waited = 0;

private:
	World& world_;
	Watcher watcher_;
	std::map<World::Key, Sum> open_, ended_;
};

// A world with looks at the moments that `interval` says, and steps of the clock if it is to have some.
template <typename Interval>
void live(World& world, Auditor& auditor, Interval interval, bool steps) {
	Micros next_look = 0, next_event = 0;
	for (int events = 0; events < 400 && !testing::Test::HasFailure();) {
		const Micros length = std::min(next_look, next_event);
		world.advance(length);
		next_look -= length;
		next_event -= length;
		if (next_event == 0) {
			++events;
			world.something_happens();
			next_event = world.dice.from_to(1, 250) * kMilli + world.dice.from_to(0, 999);
			if (steps && world.dice.chance(2))
				world.server.step(world.dice.from_to(-3600, 3600) * kSecond);
		}
		if (next_look == 0) {
			auditor.look();
			next_look = interval();
		}
	}
	world.all_leave();
	auditor.look();
	EXPECT_TRUE(auditor.all_have_ended());
	for (int i = 0; i < 3; ++i) {
		world.advance(60 * kSecond);
		const Episodes::Look& nothing = auditor.watcher().look(world.server);
		EXPECT_TRUE(nothing.changes.empty());
		EXPECT_EQ(nothing.waited, 0);
		EXPECT_EQ(nothing.sleep, std::max(auditor.watcher().report_after, Policy::kShortestSleep));
	}
}

TEST(EpisodesRandom, NeverSayMoreThanWasTrue) {
	std::size_t told = 0;
	for (unsigned seed = 1; seed <= 40 && !testing::Test::HasFailure(); ++seed) {
		SCOPED_TRACE("seed " + std::to_string(seed));
		World world(seed, seed % 3 == 0);
		Auditor auditor(world, world.dice.one_of<Micros>({1, 100 * kMilli, 2 * kSecond}));
		const int longest = world.dice.one_of<int>({20, 300, 3000});
		world.advance(kSecond);
		if (world.dice.chance(50)) // the first look finds waits that have lasted already
			for (int i = 0; i < 50; ++i) {
				world.something_happens();
				world.advance(world.dice.from_to(1, 2000) * kMilli);
			}
		live(
		    world, auditor, [&] { return world.dice.from_to(1, longest) * kMilli; }, seed % 2 == 0);
		told += auditor.ended().size();
	}
	EXPECT_GT(told, 200U);
}

TEST(EpisodesRandom, SayWhatWasTrueWhenLooksAreClose) {
	constexpr Micros interval = 10 * kMilli;
	Micros found = 0, true_waiting = 0;
	for (unsigned seed = 1; seed <= 12 && !testing::Test::HasFailure(); ++seed) {
		SCOPED_TRACE("seed " + std::to_string(seed));
		World world(1000 + seed, false);
		Auditor auditor(world, 1);
		live(
		    world, auditor, [] { return interval; }, false);
		EXPECT_GE(auditor.waited, world.waited * 9 / 10);
		for (const auto& [key, truth] : world.books) {
			const auto entry = auditor.ended().find(key);
			const Sum sum = entry != auditor.ended().end() ? entry->second : Sum{};
			EXPECT_LE(sum.blocked, truth.blocked_as_root + truth.blocked_changes * interval);
			EXPECT_GE(sum.blocked, truth.blocked_as_root - truth.blocked_changes * interval);
			EXPECT_LE(sum.waiting, truth.waiting_as_root + truth.waiting_changes * interval);
			EXPECT_GE(sum.waiting, truth.waiting_as_root - truth.waiting_changes * interval);
			found += sum.waiting;
			true_waiting += truth.waiting_as_root;
		}
	}
	EXPECT_GT(found, true_waiting * 9 / 10);
	EXPECT_LT(found, true_waiting * 11 / 10);
}

} // namespace
} // namespace unblock::core::test
