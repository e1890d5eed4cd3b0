#include "core/horizon.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace unblock::core::test {
namespace {

HorizonHolder holder(std::uint32_t xmin, HorizonKind kind = HorizonKind::session, std::int32_t pid = 1,
                     std::string_view name = "") {
	HorizonHolder made;
	made.kind = kind;
	made.pid = pid;
	made.xmin = xmin;
	made.name = name;
	return made;
}

// "xmin:age" in order, the oldest with a star.
std::vector<std::string> ranked(std::vector<HorizonHolder> holders, std::uint32_t next_xid) {
	rank_horizon(holders, next_xid);
	std::vector<std::string> lines;
	for (const HorizonHolder& each : holders)
		lines.push_back(std::to_string(each.xmin) + ":" + std::to_string(each.age) +
		                (each.oldest ? "*" : ""));
	return lines;
}

using Lines = std::vector<std::string>;

TEST(Horizon, OfNobodyIsEmpty) {
	EXPECT_TRUE(ranked({}, 1000).empty());
}

TEST(Horizon, OldestComesFirst) {
	EXPECT_EQ(ranked({holder(995), holder(700), holder(990)}, 1000), (Lines{"700:300*", "990:10", "995:5"}));
}

TEST(Horizon, EveryOldestIsMarked) {
	EXPECT_EQ(ranked({holder(990), holder(700), holder(700)}, 1000),
	          (Lines{"700:300*", "700:300*", "990:10"}));
}

TEST(Horizon, ComparesAcrossTheWraparound) {
	EXPECT_EQ(ranked({holder(3), holder(4'294'967'290), holder(4'000'000'000)}, 10),
	          (Lines{"4000000000:294967306*", "4294967290:16", "3:7"}));
}

// The server keeps all ids in use within half of the circle.
TEST(Horizon, ReachesBackHalfTheCircle) {
	EXPECT_EQ(ranked({holder(1001 + 0x8000'0000U), holder(999)}, 1000),
	          (Lines{"2147484649:2147483647*", "999:1"}));
}

TEST(Horizon, WhoBeganAfterTheLookIsNotOld) {
	EXPECT_EQ(ranked({holder(1005), holder(999), holder(1000)}, 1000), (Lines{"999:1*", "1005:0", "1000:0"}));
	EXPECT_EQ(ranked({holder(1)}, 0xFFFF'FFFF), (Lines{"1:0*"})); // begun beyond the wraparound
	EXPECT_EQ(ranked({holder(1005, HorizonKind::session, 2), holder(1000, HorizonKind::session, 1)}, 1000),
	          (Lines{"1000:0*", "1005:0*"}));
}

TEST(Horizon, OrdersEquallyOldOnesByKindPidAndName) {
	std::vector<HorizonHolder> holders = {
	    holder(7, HorizonKind::session, 4),       holder(7, HorizonKind::session, 9),
	    holder(7, HorizonKind::prepared, 0, "a"), holder(7, HorizonKind::prepared, 0, "b"),
	    holder(7, HorizonKind::slot, 0, "c"),     holder(7, HorizonKind::slot, 2, "a"),
	    holder(7, HorizonKind::standby, 1, "a")};
	const auto told = [&] {
		rank_horizon(holders, 1000);
		Lines lines;
		for (const HorizonHolder& each : holders)
			lines.push_back(std::string(name(each.kind)) + " " + std::to_string(each.pid) + " " +
			                std::string(each.name));
		return lines;
	};
	const Lines expected = {"session 4 ",
	                        "session 9 ",
	                        "prepared transaction 0 a",
	                        "prepared transaction 0 b",
	                        "replication slot 0 c",
	                        "replication slot 2 a",
	                        "standby 1 a"};
	EXPECT_EQ(told(), expected);
	std::reverse(holders.begin(), holders.end());
	EXPECT_EQ(told(), expected);
}

TEST(Horizon, HasAnAgeOfTablesOfItsOwn) {
	std::vector<HorizonHolder> holders = {holder(700), holder(690), holder(695)};
	holders[1].data_xmin = 900;
	holders[2].data_xmin = 1005;
	rank_horizon(holders, 1000);
	EXPECT_EQ(holders[0].xmin, 690U);
	EXPECT_EQ(holders[0].data_age, 100U);
	EXPECT_EQ(holders[1].data_age, 0U);
	EXPECT_EQ(holders[2].data_age, 0U); // has none
}

TEST(Horizon, ForgetsAnEarlierRanking) {
	std::vector<HorizonHolder> holders = {holder(700), holder(900)};
	rank_horizon(holders, 1000);
	ASSERT_TRUE(holders[0].oldest);
	holders[0].xmin = 990;
	rank_horizon(holders, 1000);
	EXPECT_EQ(holders[0].xmin, 900U);
	EXPECT_TRUE(holders[0].oldest);
	EXPECT_FALSE(holders[1].oldest);
}

} // namespace
} // namespace unblock::core::test
