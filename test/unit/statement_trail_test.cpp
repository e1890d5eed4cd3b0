// The statement trail: what of a transaction's statements is recorded, undone, and given up for room.

#include "core/trail_image.h"
#include "trail_recorder.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace unblock::core::test {
namespace {

constexpr std::uint32_t a = 101, b = 102, c = 103;
constexpr ModeMask access_share = bit(LockMode::access_share), row_share = bit(LockMode::row_share),
                   row_exclusive = bit(LockMode::row_exclusive), share = bit(LockMode::share),
                   exclusive = bit(LockMode::exclusive), access_exclusive = bit(LockMode::access_exclusive);

class StatementTrailTest : public testing::Test, protected Recorder {
protected:
	explicit StatementTrailTest(std::size_t bytes = 1 << 16, std::size_t statements = 1000)
	    : Recorder(bytes, statements) {}

	static StatementTrail::Relation of(std::uint32_t oid, ModeMask taken, RowUses ways = 0) {
		return {oid, taken, ways};
	}
	std::string text(Index statement) const { return std::string(seen().statements.at(statement).text); }
	std::size_t facts() const { return seen().unknown.size() + seen().rows_again.size(); }
	// Fills the part of the image that facts may take.
	void fill_facts() {
		for (std::uint32_t oid = 9000; oid < 9000 + most_words && complete(); ++oid)
			hold(oid, share);
		ASSERT_FALSE(complete());
	}
};

// Statements and what they add.

TEST_F(StatementTrailTest, TellsNothingAtFirst) {
	EXPECT_FALSE(trail.has_changed());
	EXPECT_TRUE(mirror.empty());
	EXPECT_EQ(seen().transaction, 0U);
	EXPECT_EQ(who_locked(a), 0U);
	EXPECT_EQ(who_locked_rows(a), 0U);
}

TEST_F(StatementTrailTest, AStatementThatTakesNoLockIsNotTold) {
	begin(1);
	end();
	EXPECT_FALSE(trail.has_changed());
	EXPECT_TRUE(mirror.empty());
}

TEST_F(StatementTrailTest, TellsWhoTookALock) {
	transaction = 77;
	trail.begin(transaction, {.at = 1234, .place = 2, .query_id = 99, .text = "lock table t101"});
	add(a, share);
	const Trail all = seen();
	EXPECT_EQ(all.transaction, 77U);
	EXPECT_TRUE(all.complete);
	EXPECT_EQ(all.rows_lost_since, 0);
	ASSERT_EQ(all.statements.size(), 1U);
	EXPECT_EQ(all.statements[0].number, 1U);
	EXPECT_FALSE(all.statements[0].running);
	EXPECT_EQ(all.statements[0].at, 1234);
	EXPECT_EQ(all.statements[0].query_id, 99U);
	EXPECT_EQ(all.statements[0].text, "lock table t101");
	ASSERT_EQ(all.relations.size(), 1U);
	EXPECT_EQ(all.relations[0].statement, 0U);
	EXPECT_EQ(all.relations[0].oid, a);
	EXPECT_EQ(all.relations[0].modes, share);
	EXPECT_FALSE(all.relations[0].rows);
	EXPECT_EQ(all.relations[0].schema, "s");
	EXPECT_EQ(all.relations[0].name, "t101");
}

TEST_F(StatementTrailTest, TheFirstStatementOfAModeIsRecorded) {
	lock(1, a, access_share);
	lock(2, a, access_share);
	EXPECT_EQ(told(), "1 101:1");
	EXPECT_EQ(who_locked(a), 1U);
}

TEST_F(StatementTrailTest, ALaterOneWithAnotherModeToo) {
	lock(1, a, access_share);
	lock(2, a, access_exclusive);
	lock(3, a, row_share);
	EXPECT_EQ(told(), "1 101:1, 2 101:8, 3 101:2");
}

TEST_F(StatementTrailTest, OfSeveralModesOnlyTheNewOnesAreRecorded) {
	lock(1, a, modes(1, 3));
	lock(2, a, modes(1, 3, 4, 8));
	EXPECT_EQ(told(), "1 101:13, 2 101:48");
}

TEST_F(StatementTrailTest, RelationsAreApart) {
	begin(1);
	add(a, share);
	add(b, share);
	end();
	lock(2, c, share);
	EXPECT_EQ(told(), "1 101:5 102:5, 2 103:5");
	EXPECT_EQ(who_locked(a), 1U);
	EXPECT_EQ(who_locked(b), 1U);
	EXPECT_EQ(who_locked(c), 2U);
	EXPECT_EQ(who_locked(104), 0U);
}

TEST_F(StatementTrailTest, StatementsAreNumberedAsTheyAreRecorded) {
	lock(1, a, share);
	lock(2, a, share);
	lock(3, b, share);
	EXPECT_EQ(seen().statements[0].number, 1U);
	EXPECT_EQ(seen().statements[1].number, 2U) << "the second one was not recorded";
}

TEST_F(StatementTrailTest, KnowsWhatWouldAddNothing) {
	begin(1);
	EXPECT_TRUE(trail.knows(of(a, 0)));
	EXPECT_FALSE(trail.knows(of(a, share)));
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsLocked)));
	add(a, modes(1, 5));
	EXPECT_TRUE(trail.knows(of(a, 0)));
	EXPECT_TRUE(trail.knows(of(a, share)));
	EXPECT_FALSE(trail.knows(of(a, modes(5, 8))));
	EXPECT_FALSE(trail.knows(of(a, share, kRowsLocked)));
	EXPECT_FALSE(trail.knows(of(b, share)));
}

TEST_F(StatementTrailTest, WhatItKnowsChangesNothing) {
	lock(1, a, share);
	begin(2);
	add_named(1, of(a, share), "s", "t101");
	trail.hold(a, share);
	EXPECT_FALSE(trail.has_changed());
}

TEST_F(StatementTrailTest, TheSameTextAtAnotherTimeIsAnotherStatement) {
	trail.begin(5, {.at = 10, .place = 1, .query_id = 1, .text = ""});
	add(a, share);
	trail.begin(5, {.at = 11, .place = 1, .query_id = 2, .text = ""});
	add(b, share);
	trail.begin(5, {.at = 11, .place = 2, .query_id = 3, .text = ""});
	add(c, share);
	EXPECT_EQ(told(), "1 101:5, 2 102:5, 3 103:5");
}

TEST_F(StatementTrailTest, AStatementThatGoesOnIsTheSame) {
	lock(1, a, share);
	begin(1);
	add(b, share);
	end();
	begin(1);
	add(c, share);
	EXPECT_EQ(told(), "1 101:5 102:5 103:5");
}

TEST_F(StatementTrailTest, OneThatGoesOnAfterAnotherIsRecordedAgain) {
	lock_rows(1, a);
	lock(2, b, share);
	begin(1);
	add(c, share);
	rows(a);
	EXPECT_EQ(told(), "1 101:r, 2 102:5, 1 103:5; again 101r at 10; lost since 1") << "the clock went back";
}

// Names.

TEST_F(StatementTrailTest, NamesOf255BytesAreRecorded) {
	begin(1);
	add_named(1, of(a, share), std::string(255, 's'), std::string(255, 'n'));
	publish();
	EXPECT_EQ(seen().relations[0].schema, std::string(255, 's'));
	EXPECT_EQ(seen().relations[0].name, std::string(255, 'n'));
}

TEST_F(StatementTrailTest, OfLongerNamesNothingIs) {
	begin(1);
	add_named(1, of(a, share), std::string(256, 's'), "n");
	add_named(1, of(b, share), "s", std::string(256, 'n'));
	publish();
	for (const Trail::Relation& relation : seen().relations) {
		EXPECT_EQ(relation.schema, "");
		EXPECT_EQ(relation.name, "");
	}
	EXPECT_EQ(told(), "1 101:5 102:5") << "but the lock";
}

TEST_F(StatementTrailTest, ARelationIsNamedByAnyRecordThatHasItsName) {
	begin(1);
	add_named(1, of(a, access_share), "", "");
	add_named(1, of(a, share), "s", "name");
	publish();
	const Trail all = seen();
	ASSERT_NE(named_relation(all, a), nullptr);
	EXPECT_EQ(named_relation(all, a)->name, "name");
	EXPECT_EQ(named_relation(all, b), nullptr);
}

// Who took a lock.

TEST_F(StatementTrailTest, TheStrongestLockInTheWayIsNamed) {
	lock(1, a, access_share);
	lock(2, a, access_exclusive);
	lock(3, a, share);
	EXPECT_EQ(who_locked(a), 2U);
	EXPECT_EQ(who_locked(a, modes(1, 5)), 3U);
	EXPECT_EQ(who_locked(a, modes(1, 2, 3)), 1U);
	EXPECT_EQ(who_locked(a, modes(2, 3)), 0U);
}

TEST_F(StatementTrailTest, OfSeveralModesThatAStatementTookOnlyThoseInTheWayCount) {
	lock(1, a, modes(1, 8));
	lock(2, a, modes(2, 5));
	EXPECT_EQ(who_locked(a, modes(1, 2)), 2U);
	EXPECT_EQ(who_locked(a, modes(1, 3)), 1U);
	EXPECT_EQ(who_locked(a, modes(5, 8)), 1U);
}

TEST_F(StatementTrailTest, TheFirstWriteIsALockOnTheTransactionId) {
	begin(1);
	add(a, access_share);
	begin(2);
	add(kTransactionId, exclusive);
	add(a, row_exclusive);
	begin(3);
	add(kTransactionId, exclusive);
	EXPECT_EQ(told(), "1 101:1, 2 0:7 101:3");
	EXPECT_EQ(who_locked(kTransactionId, exclusive), 2U);
	roll_back(2);
	EXPECT_EQ(who_locked(kTransactionId, exclusive), 2U);
}

TEST_F(StatementTrailTest, AFirstWriteInASavepointIsUndoneWithIt) {
	lock(1, kTransactionId, exclusive, 2);
	roll_back(2);
	EXPECT_EQ(who_locked(kTransactionId), 0U);
	lock(2, kTransactionId, exclusive);
	EXPECT_EQ(who_locked(kTransactionId), 2U);
}

// Who locked a row.

TEST_F(StatementTrailTest, TellsWhoLockedRows) {
	begin(1);
	add(1, of(a, row_exclusive, kRowsLocked));
	EXPECT_EQ(told(), "1 101:3r");
	EXPECT_EQ(who_locked_rows(a), 1U);
	EXPECT_EQ(who_locked_rows(b), 0U);
}

TEST_F(StatementTrailTest, RowsOfARelationThatWasLockedBefore) {
	lock(1, a, row_exclusive);
	EXPECT_EQ(who_locked_rows(a), 0U) << "none of them";
	lock_rows(2, a);
	EXPECT_EQ(told(), "1 101:3, 2 101:r");
	EXPECT_EQ(who_locked_rows(a), 2U);
	EXPECT_EQ(who_locked(a), 1U);
}

TEST_F(StatementTrailTest, OfTwoStatementsThatLockedRowsNeitherIsNamed) {
	lock_rows(1, a);
	lock_rows(2, b);
	lock_rows(3, a);
	EXPECT_EQ(told(), "1 101:r, 2 102:r; again 101r at 30");
	EXPECT_EQ(who_locked_rows(a), 0U);
	EXPECT_EQ(who_locked_rows(b), 2U);
}

TEST_F(StatementTrailTest, RowsOnceMoreByTheSameStatementAreNothingNew) {
	lock_rows(1, a);
	begin(1);
	EXPECT_TRUE(trail.knows(of(a, 0, kRowsLocked)));
	rows(a);
	EXPECT_EQ(told(), "1 101:r");
}

TEST_F(StatementTrailTest, ThatRowsWereLockedAgainIsToldOnce) {
	lock_rows(1, a);
	lock_rows(2, a);
	const std::string before = told();
	lock_rows(3, a);
	lock_rows(4, a);
	EXPECT_EQ(told(), before);
}

TEST_F(StatementTrailTest, WhoLockedRowsAgainMayAddALock) {
	lock_rows(1, a);
	begin(2);
	add(1, of(a, share, kRowsLocked));
	EXPECT_EQ(told(), "1 101:r, 2 101:5; again 101r at 20");
}

TEST_F(StatementTrailTest, WhoLockedRowsAfterTheWaitBeganIsNotAwaited) {
	lock_rows(2, a);
	EXPECT_EQ(who_locked_rows(a, 19), 0U);
	EXPECT_EQ(who_locked_rows(a, 20), 2U);
	EXPECT_EQ(who_locked_rows(a, 21), 2U);
	lock_rows(3, a);
	EXPECT_EQ(who_locked_rows(a, 19), 0U);
	EXPECT_EQ(who_locked_rows(a, 20), 2U);
	EXPECT_EQ(who_locked_rows(a, 29), 2U) << "the second statement came when somebody waited already";
	EXPECT_EQ(who_locked_rows(a, 30), 0U);
	EXPECT_EQ(who_locked_rows(a, 0), 0U);
}

TEST_F(StatementTrailTest, EachWayToLockRowsHasItsOwnStatements) {
	lock_keys(1, a);
	lock_rows(2, a);
	EXPECT_EQ(told(), "1 101:k, 2 101:r");
	EXPECT_EQ(who_locked_rows(a, 0, kRowsKeyLocked), 1U);
	EXPECT_EQ(who_locked_rows(a, 0, kRowsLocked), 2U);
	EXPECT_EQ(who_locked_rows(a, 0, kRowsAnyhow), 0U) << "either may be it";
	EXPECT_EQ(who_locked_rows(a, 19, kRowsAnyhow), 1U);
	EXPECT_EQ(who_locked_rows(a, 19, kRowsLocked), 0U);
}

TEST_F(StatementTrailTest, AStatementMayLockRowsInBothWays) {
	lock_rows(1, a, 1, kRowsAnyhow);
	begin(2);
	rows(b, 1, kRowsKeyLocked);
	rows(b, 1, kRowsLocked);
	EXPECT_EQ(told(), "1 101:rk, 2 102:k 102:r");
	for (const RowUses way : {kRowsLocked, kRowsKeyLocked, kRowsAnyhow}) {
		EXPECT_EQ(who_locked_rows(a, 0, way), 1U);
		EXPECT_EQ(who_locked_rows(b, 0, way), 2U);
	}
}

TEST_F(StatementTrailTest, RowsAreLockedAgainInOneWayOrBoth) {
	lock_rows(1, a, 1, kRowsAnyhow);
	lock_keys(2, a);
	EXPECT_EQ(told(), "1 101:rk; again 101k at 20");
	EXPECT_EQ(who_locked_rows(a, 0, kRowsLocked), 1U);
	EXPECT_EQ(who_locked_rows(a, 0, kRowsKeyLocked), 0U);
	EXPECT_EQ(who_locked_rows(a, 0, kRowsAnyhow), 0U);
	EXPECT_EQ(who_locked_rows(a, 19, kRowsAnyhow), 1U);
	lock_rows(3, a, 1, kRowsAnyhow);
	EXPECT_EQ(told(), "1 101:rk; again 101k at 20; again 101r at 30");
}

TEST_F(StatementTrailTest, WhatIsNewInOneWayAndLockedAgainInTheOther) {
	lock_keys(1, a);
	begin(2);
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsKeyLocked)));
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsLocked)));
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsAnyhow)));
	rows(a, 1, kRowsAnyhow);
	EXPECT_EQ(told(), "1 101:k, 2 101:r; again 101k at 20");
	EXPECT_TRUE(trail.knows(of(a, 0, kRowsKeyLocked)));
	EXPECT_TRUE(trail.knows(of(a, 0, kRowsLocked)));
	begin(3);
	EXPECT_TRUE(trail.knows(of(a, 0, kRowsKeyLocked)));
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsLocked)));
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsAnyhow)));
}

TEST_F(StatementTrailTest, WaysAreUndoneEachByItself) {
	lock_keys(1, a);
	lock_rows(2, a, 2);
	lock_keys(3, a, 2);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:k");
	lock_rows(4, a);
	EXPECT_EQ(told(), "1 101:k, 4 101:r");
}

TEST_F(StatementTrailTest, LostRowsAreToldSinceWhen) {
	lock_rows(1, a);
	lose_rows(35);
	EXPECT_EQ(told(), "1 101:r; lost since 35");
	EXPECT_EQ(who_locked_rows(a, 34), 1U);
	EXPECT_EQ(who_locked_rows(a, 35), 0U);
	EXPECT_EQ(who_locked_rows(a, 0), 0U);
	lose_rows(40);
	EXPECT_EQ(who_locked_rows(a, 35), 0U) << "since the first time";
	EXPECT_TRUE(complete()) << "locks have not been lost";
}

TEST_F(StatementTrailTest, RowsCanBeLostBeforeAnythingElse) {
	begin(1);
	lose_rows(15);
	EXPECT_EQ(told(), "; lost since 15");
	EXPECT_EQ(seen().transaction, 5U);
	lock_rows(2, a, 2);
	roll_back(2);
	EXPECT_EQ(told(), "; lost since 15") << "no savepoint undoes it";
}

TEST_F(StatementTrailTest, RowsLostAgainChangeNothing) {
	begin(1);
	lose_rows(15);
	trail.lose_rows(15);
	trail.lose_rows(16);
	EXPECT_FALSE(trail.has_changed());
}

TEST_F(StatementTrailTest, RowsLostEarlierAreToldSinceThen) {
	lock_rows(1, a);
	lose_rows(35);
	lock(2, b, share, 2);
	lose_rows(20);
	EXPECT_EQ(last_from, 0U);
	EXPECT_EQ(told(), "1 101:r, 2 102:5; lost since 20");
	EXPECT_EQ(who_locked_rows(a, 19), 1U);
	EXPECT_EQ(who_locked_rows(a, 20), 0U);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:r; lost since 20") << "no savepoint undoes it";
}

// Rows of a second statement for which there is no room have been lost since it came, whenever else.
TEST_F(StatementTrailTest, RowsHaveBeenLostSinceTheEarliestTime) {
	lock_rows(1, a);
	fill_facts();
	begin(2);
	lose_rows(50);
	EXPECT_EQ(who_locked_rows(a, 30, kRowsLocked), 1U);
	rows(a);
	EXPECT_EQ(who_locked_rows(a, 30, kRowsLocked), 0U);
}

// Savepoints.

TEST_F(StatementTrailTest, WhatASavepointAddedIsUndoneWithIt) {
	lock(1, a, access_share);
	lock(2, a, share, 2);
	lock(3, b, share, 2);
	EXPECT_EQ(told(), "1 101:1, 2 101:5, 3 102:5");
	roll_back(2);
	EXPECT_EQ(told(), "1 101:1");
	EXPECT_TRUE(trail.knows(of(a, access_share)));
	EXPECT_FALSE(trail.knows(of(a, share)));
	EXPECT_FALSE(trail.knows(of(b, share)));
	lock(4, a, share);
	EXPECT_EQ(told(), "1 101:1, 4 101:5");
}

TEST_F(StatementTrailTest, RowsAreUndoneToo) {
	lock_rows(1, a, 2);
	roll_back(2);
	EXPECT_EQ(who_locked_rows(a), 0U);
	lock_rows(2, a);
	EXPECT_EQ(who_locked_rows(a), 2U);
	lock_rows(3, a, 2);
	EXPECT_EQ(who_locked_rows(a), 0U);
	roll_back(2);
	EXPECT_EQ(who_locked_rows(a), 2U);
	lock_rows(4, a);
	EXPECT_EQ(told(), "2 101:r; again 101r at 40");
}

TEST_F(StatementTrailTest, WhatAReleasedSavepointAddedStays) {
	lock(1, a, share, 2);
	lock(2, b, share, 2);
	trail.release(2);
	EXPECT_FALSE(trail.has_changed());
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5, 2 102:5");
	EXPECT_TRUE(trail.knows(of(a, share)));
}

TEST_F(StatementTrailTest, ReleasedIntoASavepointItIsUndoneWithThat) {
	lock(1, a, share, 2);
	lock(2, b, share, 3);
	release(3);
	lock(3, c, share, 2);
	EXPECT_EQ(told(), "1 101:5, 2 102:5, 3 103:5");
	roll_back(2);
	EXPECT_EQ(told(), "");
	EXPECT_FALSE(trail.knows(of(b, share)));
}

TEST_F(StatementTrailTest, AlsoIfThatHadAddedNothing) {
	lock(1, a, share);
	lock(2, b, share, 3);
	release(3);
	lock(3, c, share, 2);
	roll_back(3);
	EXPECT_EQ(told(), "1 101:5, 2 102:5, 3 103:5");
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5");
	EXPECT_FALSE(trail.knows(of(b, share)));
}

TEST_F(StatementTrailTest, OnlyTheInnerSavepointIsUndone) {
	lock(1, a, share, 2);
	lock(2, b, share, 3);
	roll_back(3);
	EXPECT_EQ(told(), "1 101:5");
	lock(3, b, share, 3);
	roll_back(3);
	lock(4, c, share, 2);
	EXPECT_EQ(told(), "1 101:5, 4 103:5");
	roll_back(2);
	EXPECT_EQ(told(), "");
}

TEST_F(StatementTrailTest, TheOuterSavepointUndoesTheInnerOnes) {
	lock(1, a, access_share);
	lock(2, a, share, 2);
	lock(3, a, exclusive, 3);
	lock(4, a, access_exclusive, 4);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:1");
	EXPECT_FALSE(trail.knows(of(a, share)));
	EXPECT_FALSE(trail.knows(of(a, exclusive)));
	EXPECT_FALSE(trail.knows(of(a, access_exclusive)));
}

TEST_F(StatementTrailTest, LevelsMayBeSkipped) {
	lock(1, a, share);
	lock(2, b, share, 5);
	release(5);
	release(4);
	roll_back(4);
	EXPECT_EQ(told(), "1 101:5, 2 102:5") << "it belongs to level 3 now";
	lock(3, c, share, 5);
	roll_back(4);
	EXPECT_EQ(told(), "1 101:5, 2 102:5");
	roll_back(3);
	EXPECT_EQ(told(), "1 101:5");
}

TEST_F(StatementTrailTest, LevelsThatAddedNothingEndUnnoticed) {
	lock(1, a, share, 2);
	release(4);
	roll_back(3);
	release(3);
	EXPECT_EQ(told(), "1 101:5");
	roll_back(2);
	EXPECT_EQ(told(), "");
}

// An inner level was released, then a further one begins and is rolled back: only what that added goes.
TEST_F(StatementTrailTest, RollsBackAfterTheReleaseOfAnInnerSavepoint) {
	lock(1, a, access_share, 2);
	lock(2, a, share, 3);
	release(3);
	lock(3, a, exclusive, 3);
	roll_back(3);
	EXPECT_EQ(told(), "1 101:1, 2 101:5");
	EXPECT_TRUE(trail.knows(of(a, share)));
	EXPECT_FALSE(trail.knows(of(a, exclusive)));
}

TEST_F(StatementTrailTest, LevelsAreReleasedOneAfterTheOther) {
	lock(1, a, share, 2);
	lock(2, b, share, 3);
	release(3);
	release(2);
	lock(3, c, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5, 2 102:5");
}

TEST_F(StatementTrailTest, WhatIsReleasedToTheTopIsNeverUndone) {
	lock(1, a, share, 2);
	release(2);
	lock(2, b, share);
	lock(3, c, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5, 2 102:5");
}

TEST_F(StatementTrailTest, AStatementThatBeganBeforeASavepointOfItsOwnGoesOn) {
	begin(1);
	add(a, share);
	add(b, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5");
	add(c, share);
	EXPECT_EQ(told(), "1 101:5 103:5");
	EXPECT_EQ(seen().statements[0].number, 1U);
}

TEST_F(StatementTrailTest, AStatementWhoseRecordIsUndoneIsRecordedAnew) {
	begin(1);
	add(a, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "");
	add(b, share);
	EXPECT_EQ(told(), "1 102:5");
}

// Nobody knows whether a lock of unknown origin is older than the savepoint.
TEST_F(StatementTrailTest, ThatALockIsHeldIsNotUndone) {
	begin(1);
	hold(a, access_share);
	EXPECT_TRUE(complete());
	add(b, share, 2);
	hold(a, share);
	EXPECT_EQ(told(), "1 102:5; unknown 101:1; unknown 101:5; incomplete");
	roll_back(2);
	EXPECT_EQ(told(), "; unknown 101:1; incomplete") << "the rest is not told any more";
	EXPECT_TRUE(trail.knows(of(a, modes(1, 5)))) << "but known";
	EXPECT_FALSE(trail.knows(of(b, share)));
	lock(2, a, share);
	EXPECT_EQ(who_locked(a), 0U) << "the second did not take it";
	lock(3, a, modes(5, 8));
	EXPECT_EQ(told(), "3 101:8; unknown 101:1; incomplete");
}

TEST_F(StatementTrailTest, ALockThatIsHeldInASavepointIsTakenByNobodyWhoRunsLater) {
	lock(1, b, share, 2);
	hold(a, share);
	begin(2);
	run();
	EXPECT_EQ(who_locked(a), 0U);
	roll_back(2);
	begin(3);
	run();
	EXPECT_EQ(told(), "3*; incomplete");
	EXPECT_EQ(who_locked(a), 0U);
	EXPECT_EQ(who_locked(a, access_exclusive), 0U);
}

TEST_F(StatementTrailTest, WhatIsHeldWithoutASavepointIsToldInFull) {
	lock(1, b, share, 2);
	release(2);
	hold(a, share);
	lock(2, c, share, 2);
	roll_back(2);
	hold(a, exclusive);
	EXPECT_EQ(told(), "1 102:5; unknown 101:5; unknown 101:7");
	lock(3, c, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "1 102:5; unknown 101:5; unknown 101:7");
}

// Of a savepoint that has added nothing there is nothing to be cut off.
TEST_F(StatementTrailTest, WhatIsHeldBeforeTheFirstLockOfASavepointStays) {
	begin(1);
	hold(a, share);
	add(b, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "; unknown 101:5");
}

TEST_F(StatementTrailTest, WhatIsKnownAlreadyInASavepointLeavesNothingOut) {
	begin(1);
	hold(a, share);
	add(b, share, 2);
	trail.hold(a, share);
	trail.hold(b, share);
	trail.hold(c, 0);
	EXPECT_FALSE(trail.has_changed());
	EXPECT_TRUE(complete());
}

// What a savepoint takes of the relation before and after the lock of unknown origin is undone all the same.
TEST_F(StatementTrailTest, AroundALockThatIsHeldTheSavepointIsUndone) {
	lock_rows(1, a);
	begin(2);
	add(2, of(a, modes(1, 3), kRowsLocked));
	hold(a, share);
	begin(3);
	add(2, of(a, modes(5, 8), kRowsKeyLocked));
	EXPECT_EQ(told(), "1 101:r, 2 101:13, 3 101:8k; again 101r at 20; unknown 101:5; incomplete");
	roll_back(2);
	EXPECT_EQ(told(), "1 101:r; incomplete");
	for (const ModeMask undone : {access_share, row_exclusive, access_exclusive})
		EXPECT_FALSE(trail.knows(of(a, undone)));
	EXPECT_TRUE(trail.knows(of(a, share)));
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsLocked)));
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsKeyLocked)));
	lock(4, a, modes(1, 5));
	EXPECT_EQ(told(), "1 101:r, 4 101:1; incomplete");
}

TEST_F(StatementTrailTest, WhatASavepointTookIsNotHeldWithTheRest) {
	lock(1, a, access_share, 2);
	hold(a, modes(1, 5));
	EXPECT_EQ(told(), "1 101:1; unknown 101:5; incomplete");
	roll_back(2);
	EXPECT_TRUE(trail.knows(of(a, share)));
	EXPECT_FALSE(trail.knows(of(a, access_share)));
	lock(2, a, modes(1, 5));
	EXPECT_EQ(told(), "2 101:1; incomplete");
}

TEST_F(StatementTrailTest, WhatASavepointTookAndLostCanBeHeldLater) {
	lock(1, a, share, 2);
	hold(a, share);
	EXPECT_EQ(told(), "1 101:5") << "it is known who took it";
	roll_back(2);
	EXPECT_FALSE(trail.knows(of(a, share)));
	hold(a, share);
	EXPECT_EQ(told(), "; unknown 101:5");
}

// The running statement.

TEST_F(StatementTrailTest, ARunningStatementIsToldBeforeItsLocks) {
	begin(1, "vacuum");
	EXPECT_EQ(told(), "");
	run();
	EXPECT_EQ(told(), "1*");
	EXPECT_EQ(text(0), "vacuum");
	EXPECT_EQ(who_locked(a), 1U);
	EXPECT_EQ(who_locked_rows(a), 0U) << "of rows nothing is known";
}

TEST_F(StatementTrailTest, ItTookWhatNoOtherCanHaveTaken) {
	lock(1, a, access_share);
	begin(2);
	run();
	EXPECT_EQ(who_locked(a, share), 2U);
	EXPECT_EQ(who_locked(a), 1U);
	EXPECT_EQ(who_locked(b), 2U);
}

TEST_F(StatementTrailTest, ItIsNotNamedForALockOfUnknownOrigin) {
	begin(1);
	hold(a, share);
	run();
	EXPECT_EQ(who_locked(a, modes(1, 5)), 0U);
	EXPECT_EQ(who_locked(a, access_share), 1U);
	EXPECT_EQ(who_locked(b, share), 1U);
}

TEST_F(StatementTrailTest, NorWhenSomethingIsLeftOut) {
	begin(1);
	fill_facts();
	run();
	EXPECT_EQ(who_locked(a), 0U);
	add(a, share);
	EXPECT_EQ(who_locked(a), 1U) << "now it is known";
}

TEST_F(StatementTrailTest, AtItsEndItNoLongerRuns) {
	begin(1);
	run();
	add(a, share);
	EXPECT_EQ(told(), "1* 101:5");
	end();
	EXPECT_EQ(told(), "1 101:5");
	EXPECT_EQ(who_locked(b), 0U);
	trail.end();
	EXPECT_FALSE(trail.has_changed()) << "once is enough";
}

TEST_F(StatementTrailTest, IfItAddedNothingItIsGone) {
	lock(1, a, share);
	const auto before = mirror;
	begin(2);
	run();
	add(a, share);
	end();
	EXPECT_EQ(mirror, before);
	lock(3, b, share);
	EXPECT_EQ(told(), "1 101:5, 3 102:5");
	EXPECT_EQ(seen().statements[1].number, 2U) << "nor is its number missing";
}

TEST_F(StatementTrailTest, FactsStayWhenItGoes) {
	lock_rows(1, a);
	begin(2);
	run();
	rows(a);
	hold(b, share);
	EXPECT_EQ(told(), "1 101:r, 2*; again 101r at 20; unknown 102:5");
	end();
	EXPECT_EQ(told(), "1 101:r; again 101r at 20; unknown 102:5");
	lock(3, c, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:r; again 101r at 20; unknown 102:5");
}

TEST_F(StatementTrailTest, RunningTwiceIsRunningOnce) {
	begin(1);
	run();
	run();
	EXPECT_EQ(told(), "1*");
	EXPECT_EQ(seen().statements[0].number, 1U);
}

TEST_F(StatementTrailTest, OneThatHasARecordRunsToo) {
	begin(1, "text");
	add(a, share);
	EXPECT_EQ(told(), "1 101:5");
	EXPECT_EQ(who_locked(b), 0U);
	trail.run(1);
	EXPECT_TRUE(trail.has_changed());
	publish();
	EXPECT_EQ(told(), "1* 101:5");
	EXPECT_EQ(text(0), "text");
	EXPECT_EQ(who_locked(a, share), 1U);
	EXPECT_EQ(who_locked(b), 1U);
	trail.end();
	EXPECT_TRUE(trail.has_changed());
	publish();
	EXPECT_EQ(told(), "1 101:5");
	EXPECT_EQ(who_locked(b), 0U);
}

TEST_F(StatementTrailTest, OneThatGoesOnMayRunThen) {
	lock(1, c, share);
	lock(2, a, share);
	begin(2);
	run();
	EXPECT_EQ(told(), "1 103:5, 2* 101:5");
	EXPECT_EQ(who_locked(b), 2U);
	end();
	EXPECT_EQ(told(), "1 103:5, 2 101:5");
	begin(2);
	run();
	end();
	EXPECT_EQ(told(), "1 103:5, 2 101:5");
	EXPECT_EQ(seen().statements[1].number, 2U);
}

TEST_F(StatementTrailTest, RolledBackItsRecordIsGoneThoughItHadOneBeforeItRan) {
	lock(1, a, share);
	begin(2);
	add(b, share, 2);
	run();
	EXPECT_EQ(told(), "1 101:5, 2* 102:5");
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5");
	EXPECT_EQ(who_locked(b), 0U);
	trail.end();
	EXPECT_FALSE(trail.has_changed());
}

TEST_F(StatementTrailTest, ARecordFromBeforeTheSavepointGoesOnRunning) {
	begin(1);
	add(a, share);
	add(b, share, 2);
	run();
	roll_back(2);
	EXPECT_EQ(told(), "1* 101:5");
	EXPECT_EQ(who_locked(b), 1U) << "it may have taken it again";
	end();
	EXPECT_EQ(told(), "1 101:5");
	EXPECT_EQ(who_locked(b), 0U);
}

TEST_F(StatementTrailTest, RolledBackWithItsLocksItIsGoneAtTheEndOfItsRun) {
	begin(1);
	run();
	add(a, share, 2);
	end();
	begin(1);
	run();
	roll_back(2);
	EXPECT_EQ(told(), "1*");
	end();
	EXPECT_EQ(told(), "");
}

TEST_F(StatementTrailTest, ItsOwnSavepointLeavesItRunning) {
	begin(1);
	run();
	add(a, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "1*");
	add(b, share);
	end();
	EXPECT_EQ(told(), "1 102:5");
}

TEST_F(StatementTrailTest, RolledBackItsRecordIsGoneAndItsEndChangesNothing) {
	lock(1, a, share);
	lock(2, b, share, 2);
	begin(3);
	run();
	EXPECT_EQ(told(), "1 101:5, 2 102:5, 3*");
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5");
	trail.end();
	EXPECT_FALSE(trail.has_changed());
}

TEST_F(StatementTrailTest, RolledBackItMayGoOn) {
	lock(1, b, share, 2);
	begin(2);
	run();
	roll_back(2);
	add(a, share);
	EXPECT_EQ(told(), "2 101:5");
	end();
	EXPECT_EQ(told(), "2 101:5");
}

// It was put into the image before the first lock of its savepoint.
TEST_F(StatementTrailTest, RolledBackWithAllItAddedItIsGoneAtItsEnd) {
	begin(1);
	run();
	add(a, share, 2);
	roll_back(2);
	end();
	EXPECT_EQ(told(), "");
}

TEST_F(StatementTrailTest, WhatEndedBeforeASavepointIsNotUndoneWithIt) {
	begin(1);
	run();
	lock(1, a, share);
	begin(2);
	run();
	end();
	lock(3, b, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5");
}

// The record of a statement that goes moves the place where a savepoint begins.
TEST_F(StatementTrailTest, AStatementThatGoesLeavesSavepointsInPlace) {
	lock(1, a, share);
	lock_rows(2, b, 1, kRowsAnyhow);
	begin(3);
	run();
	rows(b, 2, kRowsLocked);
	rows(b, 3, kRowsKeyLocked);
	end();
	EXPECT_EQ(told(), "1 101:5, 2 102:rk; again 102r at 30; again 102k at 30");
	roll_back(3);
	EXPECT_EQ(told(), "1 101:5, 2 102:rk; again 102r at 30");
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5, 2 102:rk");
}

TEST_F(StatementTrailTest, AStatementThatGoesOnIsNeverTwiceInTheImage) {
	lock(1, a, share);
	begin(1);
	run();
	add(b, share);
	end();
	EXPECT_EQ(told(), "1 101:5 102:5");
	EXPECT_EQ(seen().statements.size(), 1U);
}

TEST_F(StatementTrailTest, OneThatHadAddedNothingMayRunOnceMore) {
	begin(1);
	run();
	end();
	begin(1);
	run();
	EXPECT_EQ(told(), "1*");
	EXPECT_EQ(who_locked(a), 1U);
}

// Locks of unknown origin.

TEST_F(StatementTrailTest, ALockThatIsHeldIsNobodys) {
	begin(1);
	hold(a, share);
	EXPECT_EQ(told(), "; unknown 101:5");
	EXPECT_EQ(who_locked(a), 0U);
	lock(1, a, share);
	EXPECT_EQ(told(), "; unknown 101:5") << "who takes it later adds nothing";
	lock(2, a, modes(5, 8));
	EXPECT_EQ(who_locked(a), 2U);
}

TEST_F(StatementTrailTest, OnlyWhatIsNewIsHeld) {
	lock(1, a, access_share);
	hold(a, modes(1, 5));
	EXPECT_EQ(told(), "1 101:1; unknown 101:5");
	hold(a, modes(1, 5));
	EXPECT_EQ(told(), "1 101:1; unknown 101:5");
	EXPECT_EQ(who_locked(a, access_share), 1U);
}

TEST_F(StatementTrailTest, FactsTakeAQuarterAtMost) {
	begin(1);
	fill_facts();
	constexpr std::size_t words = sizeof(trail_image::Fact) / trail_image::kWord;
	EXPECT_EQ(facts(), most_words / 4 / words);
	lock(1, a, access_exclusive);
	EXPECT_EQ(who_locked(a), 1U);
}

TEST_F(StatementTrailTest, WithoutRoomForTheFactRowsAreLost) {
	lock_rows(1, a);
	fill_facts();
	EXPECT_EQ(who_locked_rows(a, 0, kRowsLocked), 1U);
	lock_rows(2, a);
	EXPECT_EQ(seen().rows_lost_since, 20);
	EXPECT_EQ(who_locked_rows(a, 19, kRowsLocked), 1U);
	EXPECT_EQ(who_locked_rows(a, 20, kRowsLocked), 0U);
}

TEST_F(StatementTrailTest, FactsThatAreUndoneMakeRoomForOthers) {
	lock(1, a, share, 2);
	for (std::uint32_t oid = 9000; oid < 9000 + most_words; ++oid)
		hold(oid, share);
	const std::size_t before = facts();
	EXPECT_LT(before, most_words);
	roll_back(2);
	EXPECT_EQ(facts(), 0U);
	EXPECT_FALSE(complete()) << "that something was left out is not undone";
	for (std::uint32_t oid = 9000; oid < 9000 + most_words; ++oid)
		hold(oid, share);
	EXPECT_EQ(facts(), 0U) << "they are known";
	for (std::uint32_t oid = 9000; oid < 9000 + most_words; ++oid)
		hold(oid, exclusive);
	EXPECT_EQ(facts(), before);
}

TEST_F(StatementTrailTest, FactsThatAreNotUndoneStillTakeTheirRoom) {
	const std::size_t most = most_words / 12;
	begin(1);
	for (std::uint32_t oid = 9000; oid < 9000 + most / 3; ++oid)
		hold(oid, share);
	for (std::uint32_t oid = 1; oid <= most / 3; ++oid)
		rows(oid);
	begin(2);
	for (std::uint32_t oid = 1; oid <= most / 3; ++oid)
		rows(oid);
	add(a, share, 2);
	roll_back(2);
	EXPECT_EQ(facts(), most / 3 * 2);
	for (std::uint32_t oid = 20000; oid < 20000 + most; ++oid)
		hold(oid, share);
	EXPECT_EQ(facts(), most);
	EXPECT_FALSE(complete());
}

// A quarter of it is of so many facts.
class RoomForSixteenFacts : public StatementTrailTest {
protected:
	RoomForSixteenFacts() : StatementTrailTest(16 * 4 * sizeof(trail_image::Fact), 1) {}
};

TEST_F(RoomForSixteenFacts, TheyMayTakeAllOfTheirPart) {
	begin(1);
	for (std::uint32_t oid = 1; oid <= 16; ++oid)
		hold(oid, share);
	EXPECT_TRUE(complete());
	EXPECT_EQ(facts(), 16U);
	hold(17, share);
	EXPECT_FALSE(complete());
	EXPECT_EQ(facts(), 16U);
}

TEST_F(RoomForSixteenFacts, InPlaceOfRelationsToo) {
	begin(1);
	for (std::uint32_t oid = 1; oid <= 15; ++oid)
		hold(oid, share);
	lock_rows(2, a);
	lock_rows(3, b);
	EXPECT_EQ(facts(), 16U);
	EXPECT_EQ(seen().rows_lost_since, 0);
	lock(4, c, share);
	EXPECT_EQ(facts(), 16U);
	EXPECT_EQ(seen().rows_lost_since, 30);
}

// The end of a transaction.

TEST_F(StatementTrailTest, ClearedItTellsNothing) {
	lock(1, a, share);
	lock(1, c, share, 2);
	hold(b, share);
	lose_rows(20);
	trail.clear();
	EXPECT_TRUE(trail.has_changed());
	publish();
	EXPECT_TRUE(mirror.empty());
	EXPECT_FALSE(trail.knows(of(a, share)));
	EXPECT_FALSE(trail.knows(of(b, share)));
	trail.clear();
	EXPECT_FALSE(trail.has_changed());
}

TEST_F(StatementTrailTest, ATransactionThatLockedNothingEndsUnnoticed) {
	begin(1);
	trail.clear();
	EXPECT_FALSE(trail.has_changed());
}

TEST_F(StatementTrailTest, ANewTransactionBeginsANewTrail) {
	lock(1, a, share, 2);
	lose_rows(15);
	fill_facts();
	transaction = 6;
	begin(2);
	EXPECT_TRUE(mirror.empty());
	add(a, share);
	EXPECT_EQ(told(), "2 101:5");
	EXPECT_EQ(seen().transaction, 6U);
	EXPECT_EQ(seen().statements[0].number, 1U);
	roll_back(2);
	EXPECT_EQ(told(), "2 101:5");
	for (std::uint32_t oid = 9000; oid < 9010; ++oid)
		hold(oid, share);
	EXPECT_TRUE(complete());
}

TEST_F(StatementTrailTest, FactsOfAnEarlierTransactionTakeNoRoom) {
	begin(1);
	fill_facts();
	transaction = 6;
	begin(2);
	hold(a, share);
	EXPECT_EQ(told(), "; unknown 101:5");
}

TEST_F(StatementTrailTest, TheSameStatementInANewTransactionIsNew) {
	lock_rows(1, a);
	transaction = 6;
	lock_rows(1, a);
	lock_rows(2, a);
	EXPECT_EQ(told(), "1 101:r; again 101r at 20");
}

TEST_F(StatementTrailTest, ManyRelationsOfOneTransactionAreForgottenInTheNext) {
	begin(1);
	for (std::uint32_t oid = 1; oid <= 5000; ++oid)
		add(oid, share, 2);
	clear();
	lock(2, a, share);
	EXPECT_EQ(told(), "2 101:5");
}

// What is to be published.

TEST_F(StatementTrailTest, OnlyTheEndOfTheImageIsPublishedWhenSomethingIsAdded) {
	lock(1, a, share);
	const std::size_t before = mirror.size();
	lock(2, b, share);
	EXPECT_EQ(last_from, before);
}

TEST_F(StatementTrailTest, WhatIsCutOffIsAChange) {
	lock(1, a, share);
	const std::size_t before = mirror.size();
	lock(2, b, share, 2);
	trail.roll_back(2);
	EXPECT_TRUE(trail.has_changed());
	publish();
	EXPECT_EQ(last_from, before);
	EXPECT_EQ(mirror.size(), before);
}

TEST_F(StatementTrailTest, ChangesAddUpUntilTheyAreTaken) {
	lock(1, a, share);
	trail.begin(5, statement(2));
	trail.run(1);
	add_named(2, of(b, share), "s", "t102");
	trail.roll_back(2);
	trail.end();
	trail.begin(5, statement(3));
	add_named(1, of(c, share), "s", "t103");
	trail.end();
	publish();
	EXPECT_EQ(told(), "1 101:5, 3 103:5");
	trail.lose_rows(50);
	add_named(1, of(b, share), "s", "t102");
	publish();
	EXPECT_EQ(last_from, 0U);
}

TEST_F(StatementTrailTest, WithoutAChangeNothingIsToBePublished) {
	lock(1, a, share);
	const auto change = trail.take_change();
	EXPECT_EQ(change.from, change.image.size());
}

// Texts.

class ShortTrail : public StatementTrailTest {
protected:
	ShortTrail() : StatementTrailTest(4096) {}
};

TEST_F(ShortTrail, ATextGetsHalfOfWhatIsFree) {
	const std::string long_text = [] {
		std::string all;
		for (int i = 0; all.size() < 5000; ++i)
			all += std::to_string(i);
		return all;
	}();
	lock(1, a, share);
	std::size_t free = free_bytes();
	for (int number = 2; number < 6; ++number) {
		begin(number, long_text);
		add(b, modes(number));
		end();
		EXPECT_EQ(text(static_cast<Index>(number - 1)),
		          long_text.substr(0, std::max<std::size_t>(free / 2, 128)));
		free = free_bytes();
	}
	EXPECT_TRUE(complete());
}

TEST_F(ShortTrail, TextsThatFitAreWhole) {
	const std::string long_text(1000, 'x');
	begin(1, long_text);
	add(a, share);
	EXPECT_EQ(text(0), long_text);
	lock(2, b, share);
	EXPECT_EQ(text(1), "select");
}

TEST_F(ShortTrail, OfEveryTextThereIsRoomFor128Bytes) {
	const std::string long_text(5000, 'x');
	for (int number = 1; number < 60; ++number) {
		begin(number, long_text);
		add(1000 + static_cast<std::uint32_t>(number), access_share);
		end();
		EXPECT_GE(seen().statements.back().text.size(), 128U);
		EXPECT_EQ(seen().statements.back().query_id, static_cast<std::uint64_t>(number));
	}
	EXPECT_FALSE(complete());
	EXPECT_EQ(seen().statements.back().text.size(), 128U);
}

TEST_F(StatementTrailTest, ATextOfAnyLengthIsFramed) {
	std::uint32_t oid = 1;
	for (int number = 1; number <= 20; ++number) {
		const std::string own(static_cast<std::size_t>(number), static_cast<char>('a' + number));
		begin(number, own);
		add(oid++, share);
		add(oid++, share);
		end();
		EXPECT_EQ(seen().statements.back().text, own);
	}
	EXPECT_EQ(seen().relations.size(), 40U);
	EXPECT_TRUE(complete());
}

// Room.

class ThreeStatements : public StatementTrailTest {
protected:
	ThreeStatements() : StatementTrailTest(1 << 16, 3) {}
};

TEST_F(ThreeStatements, TheFirstTheStrongestAndTheMostRecentOneOfARelationStay) {
	lock(1, a, access_share);
	lock(2, a, row_share);
	lock(3, a, access_exclusive);
	EXPECT_TRUE(complete());
	lock(4, a, share);
	EXPECT_EQ(told(), "1 101:1, 3 101:8, 4 101:5; incomplete");
	lock(5, a, row_exclusive);
	EXPECT_EQ(told(), "1 101:1, 3 101:8, 5 101:3; incomplete");
}

TEST_F(ThreeStatements, OfThoseThatNobodyMissesTheOldestGoes) {
	lock(1, a, modes(1, 8));
	lock(2, a, row_share);
	lock(3, a, row_exclusive);
	lock(4, b, share);
	EXPECT_EQ(told(), "1 101:18, 3 101:3, 4 102:5; incomplete");
}

TEST_F(ThreeStatements, TheOnlyOneOfAnotherRelationIsMissed) {
	lock(1, a, modes(1, 8));
	begin(2);
	add(a, row_share);
	add(b, row_share);
	end();
	lock(3, a, row_exclusive);
	lock(4, c, share);
	EXPECT_EQ(told(), "1 101:18, 2 101:2 102:2, 4 103:5; incomplete");
}

TEST_F(ThreeStatements, ThenTheWeakestGo) {
	lock(1, a, share);
	lock(2, b, access_share);
	lock(3, c, exclusive);
	lock(4, 104, row_share);
	EXPECT_EQ(told(), "1 101:5, 3 103:7, 4 104:2; incomplete");
}

TEST_F(ThreeStatements, AmongEqualsTheLatest) {
	lock(1, a, share);
	lock(2, b, share);
	lock(3, c, share);
	lock(4, 104, share);
	EXPECT_EQ(told(), "1 101:5, 2 102:5, 4 104:5; incomplete");
}

TEST_F(ThreeStatements, RowsCountAsTheWeakestLockOnThem) {
	lock(1, a, access_share);
	lock_rows(2, b);
	lock(3, c, row_exclusive);
	lock(4, 104, access_share);
	EXPECT_EQ(told(), "2 102:r, 3 103:3, 4 104:1; incomplete");
	lock(5, 105, access_share);
	EXPECT_EQ(told(), "2 102:r, 3 103:3, 5 105:1; incomplete");
	lock(6, 106, share);
	lock(7, 107, share);
	EXPECT_EQ(told(), "3 103:3, 6 106:5, 7 107:5; again 102r at 20; incomplete");
}

TEST_F(ThreeStatements, OneOfTheSameStrengthIsNotStronger) {
	lock(1, a, access_share);
	lock(2, a, row_share);
	lock_rows(3, a);
	lock(4, b, share);
	EXPECT_EQ(told(), "2 101:2, 3 101:r, 4 102:5; incomplete");
}

TEST_F(ThreeStatements, WhoFirstLockedRowsIsMissed) {
	lock(1, a, modes(1, 8));
	begin(2);
	add(1, of(a, row_share, kRowsLocked));
	end();
	lock(3, b, access_share);
	lock(4, c, share);
	EXPECT_EQ(told(), "1 101:18, 2 101:2r, 4 103:5; incomplete");
}

TEST_F(ThreeStatements, TheFirstWriteCountsAsTheLockOfWriters) {
	lock(1, kTransactionId, exclusive);
	lock(2, a, row_share);
	lock(3, b, share);
	lock(4, c, access_share);
	EXPECT_EQ(told(), "1 0:7, 3 102:5, 4 103:1; incomplete");
	lock(5, 104, share);
	lock(6, 105, share);
	EXPECT_EQ(told(), "3 102:5, 5 104:5, 6 105:5; incomplete");
}

TEST_F(ThreeStatements, WhatMadeWayIsStillKnown) {
	lock(1, a, access_share);
	lock(2, b, share);
	lock(3, c, share);
	lock(4, 104, share);
	EXPECT_EQ(told(), "2 102:5, 3 103:5, 4 104:5; incomplete");
	lock(5, a, access_share);
	EXPECT_EQ(who_locked(a), 0U) << "the fifth was not the first";
	EXPECT_EQ(told(), "2 102:5, 3 103:5, 4 104:5; incomplete");
}

TEST_F(ThreeStatements, WhoLockedRowsAndMadeWayIsNotForgotten) {
	lock_rows(1, a);
	lock(2, b, share);
	lock(3, c, share);
	lock(4, 104, share);
	EXPECT_EQ(told(), "2 102:5, 3 103:5, 4 104:5; again 101r at 10; incomplete");
	EXPECT_EQ(who_locked_rows(a), 0U);
	EXPECT_EQ(seen().rows_lost_since, 0) << "of other relations nothing is lost";
	lock_rows(5, a);
	EXPECT_EQ(told(), "2 102:5, 3 103:5, 4 104:5; again 101r at 10; again 101r at 50; incomplete");
	EXPECT_EQ(who_locked_rows(a), 0U);
	lock_rows(6, a);
	EXPECT_EQ(facts(), 2U);
}

TEST_F(ThreeStatements, RowsThatWereLockedTwiceStayUnnamed) {
	lock_rows(1, a);
	lock_rows(2, a);
	lock(3, b, share);
	lock(4, c, share);
	lock(5, 104, share);
	EXPECT_EQ(told(), "3 102:5, 4 103:5, 5 104:5; again 101r at 10; again 101r at 20; incomplete");
	EXPECT_EQ(who_locked_rows(a, 15), 0U);
	EXPECT_EQ(who_locked_rows(a, 25), 0U);
}

// Who locked rows in the other way is not told any more.
TEST_F(ThreeStatements, OneThatMadeWayMayHaveLockedTheRow) {
	lock_keys(1, a);
	lock(2, b, share);
	lock(3, c, share);
	lock_rows(4, a);
	EXPECT_EQ(told(), "2 102:5, 3 103:5, 4 101:r; again 101k at 10; incomplete");
	EXPECT_EQ(who_locked_rows(a, 0, kRowsLocked), 4U);
	EXPECT_EQ(who_locked_rows(a, 0, kRowsAnyhow), 0U);
	EXPECT_EQ(who_locked_rows(a, 0, kRowsKeyLocked), 0U);
}

TEST_F(ThreeStatements, OfOneThatMakesWayAllRelationsWithRowsAreToldOf) {
	begin(1);
	add(a, access_share);
	add(1, of(b, row_share, kRowsKeyLocked));
	add_named(1, of(c, access_share, kRowsAnyhow), "schema of some length", "name of some length");
	add(104, row_share);
	add_named(1, of(105, 0, kRowsLocked), "schema of some length", "name of some length");
	end();
	lock_rows(2, 106);
	lock(3, 107, share);
	lock(4, 108, share);
	lock(5, 109, share);
	EXPECT_EQ(told(), "3 107:5, 4 108:5, 5 109:5; again 102k at 10; again 103rk at 10; again 105r at 10; "
	                  "again 106r at 20; incomplete");
	EXPECT_EQ(named_relation(seen(), c), nullptr);
}

TEST_F(ThreeStatements, WhatIsToldInPlaceOfARelationTakesNoMoreRoomThanItNeeds) {
	begin(1);
	add(a, access_share);
	add_named(1, of(b, 0, kRowsLocked), "schema of some length", "name of some length");
	add_named(1, of(c, 0, kRowsLocked), "schema of some length", "name of some length");
	end();
	const std::size_t before = mirror.size();
	lock(2, 104, share);
	const std::size_t each = mirror.size() - before;
	lock(3, 105, share);
	lock(4, 106, share);
	EXPECT_EQ(told(), "2 104:5, 3 105:5, 4 106:5; again 102r at 10; again 103r at 10; incomplete");
	EXPECT_EQ(mirror.size(),
	          trail_image::kHeaderWords + 2 * trail_image::words(sizeof(trail_image::Fact)) + 3 * each);
}

// That is smaller than what would be told in its place.
TEST_F(ThreeStatements, OfARelationWithoutANameRowsAreLost) {
	begin(1);
	add_named(1, of(a, 0, kRowsLocked), "", "");
	end();
	lock(2, b, share);
	lock(3, c, share);
	lock(4, 104, share);
	EXPECT_EQ(told(), "2 102:5, 3 103:5, 4 104:5; incomplete; lost since 10");
}

TEST_F(ThreeStatements, WithoutRoomForTheFactRowsAreLostSinceTheStatementThatMakesWay) {
	lock_rows(1, a);
	lock_rows(2, b);
	lock(3, c, share);
	lock_rows(3, 104);
	fill_facts();
	const std::size_t before = facts();
	lock(4, 105, access_exclusive);
	EXPECT_EQ(seen().rows_lost_since, 20) << "the latest of equals goes first";
	lock(5, 106, access_exclusive);
	EXPECT_EQ(seen().rows_lost_since, 10);
	EXPECT_EQ(facts(), before);
	EXPECT_EQ(who_locked_rows(104), 0U);
	EXPECT_EQ(who_locked_rows(104, 9), 0U);
	EXPECT_EQ(told().substr(0, 28), "3 103:5 104:r, 4 105:8, 5 10");
}

TEST_F(ThreeStatements, FactsInPlaceOfRelationsTakeAQuarterAtMost) {
	begin(1);
	for (std::uint32_t oid = 1000; oid < 1000 + most_words / 12; ++oid)
		rows(oid);
	rows(a);
	end();
	lock(2, b, share);
	lock(3, c, share);
	lock(4, 104, share);
	EXPECT_EQ(seen().rows_lost_since, 10);
	EXPECT_EQ(facts(), most_words / 12);
	begin(5);
	hold(105, share);
	EXPECT_EQ(facts(), most_words / 12);
}

TEST_F(ThreeStatements, ExactlyAQuarterOfFactsInPlaceOfRelationsLosesNothing) {
	begin(1);
	for (std::uint32_t oid = 1000; oid < 1000 + most_words / 12; ++oid)
		rows(oid);
	end();
	lock(2, b, share);
	lock(3, c, share);
	lock(4, 104, share);
	EXPECT_EQ(seen().rows_lost_since, 0);
	EXPECT_EQ(facts(), most_words / 12);
}

// It is in the place of what was added before the savepoint.
TEST_F(ThreeStatements, ThatRowsWereLockedBeforeASavepointIsNotUndoneWithIt) {
	begin(1);
	add_named(1, of(a, 0, kRowsLocked), "schema of some length", "name of some length");
	end();
	lock(2, b, share);
	lock(3, c, share, 2);
	lock(4, 104, share, 2);
	EXPECT_EQ(told(), "2 102:5, 3 103:5, 4 104:5; again 101r at 10; incomplete");
	roll_back(2);
	EXPECT_EQ(told(), "2 102:5; again 101r at 10; incomplete");
	EXPECT_TRUE(trail.knows(of(b, share)));
	EXPECT_FALSE(trail.knows(of(c, share)));
	lock_rows(5, a);
	EXPECT_EQ(told(), "2 102:5; again 101r at 10; again 101r at 50; incomplete");
	EXPECT_EQ(who_locked_rows(a), 0U);
}

// The record that goes is the last before the savepoint.
TEST_F(ThreeStatements, WhatMakesWayRightBeforeASavepointLeavesItInPlace) {
	lock(1, b, share);
	begin(2);
	add_named(1, of(a, 0, kRowsLocked), "schema of some length", "name of some length");
	end();
	lock(3, c, share, 2);
	lock(4, 104, share, 3);
	EXPECT_EQ(told(), "1 102:5, 3 103:5, 4 104:5; again 101r at 20; incomplete");
	roll_back(3);
	EXPECT_EQ(told(), "1 102:5, 3 103:5; again 101r at 20; incomplete");
	roll_back(2);
	EXPECT_EQ(told(), "1 102:5; again 101r at 20; incomplete");
}

TEST_F(ThreeStatements, ThatRowsWereLockedInASavepointIsUndoneWithIt) {
	lock(1, b, share);
	begin(2);
	add_named(2, of(a, 0, kRowsLocked), "schema of some length", "name of some length");
	end();
	lock(3, c, share, 2);
	lock(4, 104, share, 3);
	EXPECT_EQ(told(), "1 102:5, 3 103:5, 4 104:5; again 101r at 20; incomplete");
	roll_back(3);
	EXPECT_EQ(told(), "1 102:5, 3 103:5; again 101r at 20; incomplete");
	roll_back(2);
	EXPECT_EQ(told(), "1 102:5; incomplete");
	EXPECT_FALSE(trail.knows(of(a, 0, kRowsLocked)));
	lock_rows(5, a);
	EXPECT_EQ(told(), "1 102:5, 5 101:r; incomplete");
	EXPECT_EQ(who_locked_rows(a), 5U);
}

TEST_F(ThreeStatements, OfAStatementAcrossASavepointHalfIsUndone) {
	begin(1);
	rows(a);
	add_named(2, of(b, 0, kRowsLocked), "schema of some length", "name of some length");
	end();
	lock(2, c, share, 2);
	lock(3, 104, share, 2);
	lock(4, 105, share, 2);
	EXPECT_EQ(told(), "2 103:5, 3 104:5, 4 105:5; again 101r at 10; again 102r at 10; incomplete");
	roll_back(2);
	EXPECT_EQ(told(), "; again 101r at 10; incomplete");
	lock_rows(5, b);
	EXPECT_EQ(who_locked_rows(b), 5U);
	EXPECT_EQ(who_locked_rows(a), 0U);
}

TEST_F(ThreeStatements, FactsInPlaceOfRelationsThatAreUndoneMakeRoomForOthers) {
	begin(1);
	for (std::uint32_t oid = 1000; oid < 1000 + most_words / 12; ++oid)
		rows(oid, 2);
	end();
	for (int number = 2; number < 5; ++number)
		lock(number, 100 + static_cast<std::uint32_t>(number), share, 2);
	EXPECT_EQ(facts(), most_words / 12);
	roll_back(2);
	EXPECT_EQ(facts(), 0U);
	lock_rows(5, a);
	lock_rows(6, a);
	EXPECT_EQ(told(), "5 101:r; again 101r at 60; incomplete");
}

TEST_F(ThreeStatements, FactsOfStatementsThatMakeWayStay) {
	begin(1);
	add(a, access_share);
	hold(b, share);
	add(c, access_share);
	hold(104, share);
	end();
	lock(2, 105, share);
	lock(3, 106, share);
	lock(4, 107, share);
	EXPECT_EQ(told(), "2 105:5, 3 106:5, 4 107:5; unknown 102:5; unknown 104:5; incomplete");
}

TEST_F(ThreeStatements, OneThatOnlyRunsMakesWayForNone) {
	lock(1, a, share);
	lock(2, b, share);
	lock(3, c, share);
	begin(4);
	run();
	EXPECT_EQ(told(), "1 101:5, 2 102:5, 4*; incomplete");
	end();
	lock(5, 104, share);
	EXPECT_EQ(told(), "1 101:5, 2 102:5, 5 104:5; incomplete");
}

TEST_F(ThreeStatements, StatementsThatAreUndoneMakeRoom) {
	lock(1, a, share);
	lock(2, b, share, 2);
	lock(3, c, share, 2);
	roll_back(2);
	lock(4, b, share);
	lock(5, c, share);
	EXPECT_EQ(told(), "1 101:5, 4 102:5, 5 103:5");
}

// What has gone from below a savepoint moves the place where it begins.
TEST_F(ThreeStatements, WhatMakesWayLeavesSavepointsInPlace) {
	lock(1, a, access_share);
	lock(2, b, share);
	lock(3, c, share, 2);
	lock(4, 104, share, 3);
	EXPECT_EQ(told(), "2 102:5, 3 103:5, 4 104:5; incomplete");
	roll_back(3);
	EXPECT_EQ(told(), "2 102:5, 3 103:5; incomplete");
	roll_back(2);
	EXPECT_EQ(told(), "2 102:5; incomplete");
	EXPECT_TRUE(trail.knows(of(a, access_share)));
}

TEST_F(ThreeStatements, WhatMakesWayAboveASavepointLeavesItInPlace) {
	lock(1, a, share);
	lock(2, b, access_share, 2);
	lock(3, c, share, 3);
	lock(4, 104, share, 4);
	EXPECT_EQ(told(), "1 101:5, 3 103:5, 4 104:5; incomplete");
	roll_back(4);
	EXPECT_EQ(told(), "1 101:5, 3 103:5; incomplete");
	roll_back(3);
	EXPECT_EQ(told(), "1 101:5; incomplete");
	lock(5, 105, share, 3);
	roll_back(2);
	EXPECT_EQ(told(), "1 101:5; incomplete");
	EXPECT_FALSE(trail.knows(of(b, access_share)));
}

TEST_F(ThreeStatements, InANewTransactionThereIsRoomForAsMany) {
	for (const std::uint32_t next : {6U, 7U}) {
		lock(1, a, share);
		lock(2, b, share);
		lock(3, c, share);
		EXPECT_EQ(told(), "1 101:5, 2 102:5, 3 103:5");
		transaction = next;
	}
}

class OneStatement : public StatementTrailTest {
protected:
	OneStatement() : StatementTrailTest(1 << 16, 0) {}
};

TEST_F(OneStatement, TheMostRecentOneStays) {
	lock(1, a, access_exclusive);
	lock(2, b, access_share);
	EXPECT_EQ(told(), "2 102:1; incomplete");
	lock(3, b, access_share);
	EXPECT_EQ(told(), "2 102:1; incomplete") << "it adds nothing";
	EXPECT_EQ(who_locked(a), 0U);
}

class TinyTrail : public StatementTrailTest {
protected:
	TinyTrail() : StatementTrailTest(1) {}
};

TEST_F(TinyTrail, HasTheLeastSize) {
	EXPECT_EQ(most_words * sizeof(std::uint64_t), StatementTrail::kLeastBytes);
	const std::string long_text(1000, 'x');
	begin(1, long_text);
	add(a, share);
	EXPECT_EQ(told(), "1 101:5");
	EXPECT_EQ(text(0).size(), (StatementTrail::kLeastBytes - sizeof(trail_image::Header)) / 2);
}

TEST_F(TinyTrail, EvenWithAllFactsAStatementFitsWithARelationOfLongName) {
	begin(1);
	fill_facts();
	begin(1, std::string(1000, 'x'));
	run();
	add_named(1, of(a, share), std::string(40, 's'), std::string(8, 'n'));
	publish();
	EXPECT_EQ(who_locked(a), 1U);
	EXPECT_GE(text(static_cast<Index>(seen().statements.size() - 1)).size(), 128U);
}

TEST_F(TinyTrail, WeakerStatementsMakeRoomForStrongerLocks) {
	std::uint32_t oid = 1000;
	int number = 1;
	while (complete() && oid < 2000)
		lock(number++, oid++, access_share);
	lock(number, a, access_exclusive);
	EXPECT_EQ(who_locked(a), static_cast<std::uint64_t>(number));
}

TEST_F(TinyTrail, StrongerStatementsMakeNoRoomForWeakerLocks) {
	lock(1, a, access_exclusive);
	lock(2, b, exclusive);
	begin(3);
	for (std::uint32_t oid = 1000; oid < 1100; ++oid)
		add(oid, access_share);
	EXPECT_EQ(who_locked(a), 1U);
	EXPECT_EQ(who_locked(b), 2U);
	EXPECT_EQ(who_locked(1000), 3U) << "the first ones that it took stay";
	EXPECT_EQ(who_locked(1099), 0U);
	EXPECT_FALSE(complete());
}

TEST_F(TinyTrail, AmongTheRelationsOfAStatementTheWeakestGoes) {
	begin(1);
	for (std::uint32_t oid = 1000; complete() && oid < 2000; ++oid)
		add(oid, share);
	for (std::uint32_t oid = 2000; oid < 2003; ++oid)
		add(oid, access_exclusive);
	add(3000, access_share);
	EXPECT_EQ(who_locked(1000), 1U);
	for (std::uint32_t oid = 2000; oid < 2003; ++oid)
		EXPECT_EQ(who_locked(oid), 1U);
	EXPECT_EQ(who_locked(3000), 0U);
	begin(2);
	add(3000, access_share);
	EXPECT_EQ(who_locked(3000), 0U) << "the second was not the first";
}

TEST_F(TinyTrail, ThatARelationMadeWayIsTold) {
	begin(1);
	for (std::uint32_t oid = 1000; free_bytes() >= 24 && oid < 2000; ++oid)
		add(oid, share);
	EXPECT_TRUE(complete());
	add(a, access_exclusive);
	EXPECT_EQ(who_locked(a), 1U);
	EXPECT_FALSE(complete());
}

TEST_F(TinyTrail, RowsOfARelationThatMadeWayAreToldOf) {
	begin(1);
	rows(a);
	for (std::uint32_t oid = 1000; complete() && oid < 2000; ++oid)
		add(oid, share);
	EXPECT_EQ(told().substr(0, 8), "1 1000:5");
	EXPECT_EQ(seen().rows_again.size(), 1U);
	EXPECT_EQ(seen().rows_again[0].at, 10);
	EXPECT_EQ(who_locked_rows(a), 0U);
	lock_rows(2, a);
	EXPECT_EQ(who_locked_rows(a), 0U);
}

TEST_F(TinyTrail, RowsForWhichThereIsNoRoomAreLost) {
	lock_rows(1, b);
	begin(2);
	for (std::uint32_t oid = 1000; complete() && oid < 2000; ++oid)
		add(oid, share);
	ASSERT_EQ(who_locked_rows(b), 0U);
	EXPECT_EQ(seen().rows_lost_since, 0);
	for (std::uint32_t oid = 2000; oid < 2003; ++oid)
		add(oid, share);
	EXPECT_EQ(seen().rows_lost_since, 0) << "no rows";
	rows(a, 2);
	EXPECT_EQ(seen().rows_lost_since, 20);
	EXPECT_EQ(who_locked_rows(a), 0U);
	roll_back(2);
	EXPECT_EQ(seen().rows_lost_since, 20) << "that is not undone";
}

TEST_F(TinyTrail, ARelationThatMakesWayLeavesSavepointsInPlace) {
	begin(1, "");
	std::uint32_t oid = 1000;
	for (; complete() && oid < 2000; ++oid)
		add(oid, share);
	const std::string before = told();
	add(a, access_exclusive, 2);
	add(b, access_exclusive, 3);
	EXPECT_EQ(who_locked(a), 1U);
	EXPECT_EQ(who_locked(b), 1U);
	roll_back(3);
	EXPECT_EQ(who_locked(a), 1U);
	EXPECT_EQ(who_locked(b), 0U);
	roll_back(2);
	EXPECT_EQ(who_locked(a), 0U);
	EXPECT_EQ(who_locked(1000), 1U);
	EXPECT_LT(told().size(), before.size());
	add(c, access_exclusive);
	EXPECT_EQ(who_locked(c), 1U);
}

TEST_F(ShortTrail, OfThousandsOfRelationsTheStrongestAreKept) {
	begin(1);
	run();
	for (std::uint32_t oid = 1; oid <= 3000; ++oid)
		add(oid, oid % 500 == 0 ? access_exclusive : access_share);
	EXPECT_FALSE(complete());
	for (std::uint32_t oid = 500; oid <= 3000; oid += 500)
		EXPECT_EQ(who_locked(oid), 1U);
	EXPECT_EQ(who_locked(1), 1U);
	EXPECT_EQ(who_locked(2999), 0U);
	EXPECT_EQ(who_locked(3001), 0U) << "it runs, but something was left out";
	EXPECT_LE(mirror.size(), most_words);
	end();
	EXPECT_EQ(seen().statements.size(), 1U);
	EXPECT_TRUE(trail.knows(of(2999, access_share)));
}

TEST_F(StatementTrailTest, AStatementThatRunsInALevelGoesWithIt) {
	begin(1);
	run(2);
	add(a, share, 2);
	roll_back(2);
	EXPECT_EQ(told(), "");
	EXPECT_TRUE(complete());
	end();
	EXPECT_EQ(told(), "");
}

TEST_F(StatementTrailTest, AClockSetBackLosesRows) {
	trail.begin(1, {.at = 200, .text = "first"});
	add(1, {a, row_exclusive, kRowsLocked});
	trail.begin(1, {.at = 150, .text = "second"});
	publish();
	EXPECT_EQ(row_statement(seen(), a, 250), nullptr);
	EXPECT_EQ(row_statement(seen(), a, 0), nullptr);
}

// Names of relations.

TEST_F(StatementTrailTest, NamesOutliveTransactions) {
	begin(1);
	EXPECT_FALSE(trail.has_name(a));
	add_named(1, of(a, share), "s", "first");
	trail.clear();
	EXPECT_TRUE(trail.has_name(a));
	transaction = 2;
	begin(2);
	trail.add(1, of(a, share));
	publish();
	EXPECT_EQ(seen().relations.at(0).name, "first");
}

TEST_F(StatementTrailTest, NamesAreForgotten) {
	begin(1);
	trail.set_name(a, "s", "x");
	trail.set_name(b, "s", "y");
	trail.forget_name(a);
	trail.forget_name(c);
	EXPECT_FALSE(trail.has_name(a));
	EXPECT_TRUE(trail.has_name(b));
	trail.add(1, of(a, share));
	publish();
	EXPECT_EQ(seen().relations.at(0).name, "");
	trail.forget_all_names();
	EXPECT_FALSE(trail.has_name(b));
}

TEST_F(StatementTrailTest, ThousandsOfRelationsAreNotKeptForLong) {
	for (std::uint32_t transaction_number = 1; transaction_number <= 3; ++transaction_number) {
		transaction = transaction_number;
		begin(transaction_number);
		for (std::uint32_t oid = 1000; oid < 6000; ++oid) {
			EXPECT_FALSE(trail.knows(of(oid, share)));
			trail.set_name(oid, "s", "n");
			trail.add(1, of(oid, share));
			EXPECT_TRUE(trail.knows(of(oid, share)));
		}
		trail.clear();
		EXPECT_FALSE(trail.has_name(1000));
		EXPECT_FALSE(trail.knows(of(1000, share)));
	}
}

// The end of a name that is cut off has the bytes that a statement's record begins with.
TEST(StatementTrailNames, ThatLookLikeRecordsAreNone) {
	for (const std::size_t most : {1, 2}) {
		Recorder recorder(1 << 14, most);
		recorder.begin(1);
		recorder.add_named(1, {a, 0, kRowsLocked}, "schema", "12\x01");
		recorder.end();
		for (std::uint32_t statement = 2; statement <= 5; ++statement) {
			recorder.lock(statement, 100 + statement, share);
			EXPECT_EQ(recorder.who_locked(100 + statement), statement) << recorder.told();
			EXPECT_LE(recorder.seen().statements.size(), most) << recorder.told();
		}
	}
}

} // namespace
} // namespace unblock::core::test
