#include "core/lock_modes.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace unblock::core {
namespace {

constexpr LockMode mode(int number) {
	return static_cast<LockMode>(number);
}

TEST(LockModes, ConflictAsInTheManual) {
	// The manual's table "Conflicting Lock Modes": rows are requested modes, columns are held modes, both
	// from ACCESS SHARE to ACCESS EXCLUSIVE.
	constexpr std::string_view manual[] = {
	    ".......X", // ACCESS SHARE
	    "......XX", // ROW SHARE
	    "....XXXX", // ROW EXCLUSIVE
	    "...XXXXX", // SHARE UPDATE EXCLUSIVE
	    "..XX.XXX", // SHARE
	    "..XXXXXX", // SHARE ROW EXCLUSIVE
	    ".XXXXXXX", // EXCLUSIVE
	    "XXXXXXXX", // ACCESS EXCLUSIVE
	};
	for (int wanted = 1; wanted < kLockModes; ++wanted)
		for (int held = 1; held < kLockModes; ++held)
			EXPECT_EQ(conflict(mode(wanted), bit(mode(held))),
			          manual[wanted - 1][static_cast<std::size_t>(held - 1)] == 'X')
			    << name(mode(wanted)) << " against " << name(mode(held));
}

TEST(LockModes, NoneConflictsWithNothing) {
	for (int held = 0; held < kLockModes; ++held) {
		EXPECT_FALSE(conflict(LockMode::none, bit(mode(held))));
		EXPECT_FALSE(conflict(mode(held), bit(LockMode::none)));
	}
	EXPECT_EQ(conflicts_of(ModeMask{0}), 0);
}

TEST(LockModes, ASetConflictsWithWhatAnyOfItsModesConflictsWith) {
	for (unsigned set = 0; set < 1U << kLockModes; set += 2)
		for (int wanted = 1; wanted < kLockModes; ++wanted) {
			const ModeMask modes = static_cast<ModeMask>(set);
			bool any = false;
			for_each_mode(modes, [&](std::size_t held) {
				any = any || conflict(mode(wanted), bit(mode(static_cast<int>(held))));
			});
			EXPECT_EQ(conflict(mode(wanted), modes), any);
			EXPECT_EQ((conflicts_of(modes) & bit(mode(wanted))) != 0, any);
		}
}

TEST(LockModes, ModesOfASetComeWeakestFirst) {
	std::vector<std::size_t> seen;
	for_each_mode(static_cast<ModeMask>(bit(LockMode::share) | bit(LockMode::access_share) |
	                                    bit(LockMode::access_exclusive)),
	              [&](std::size_t m) { seen.push_back(m); });
	EXPECT_EQ(seen, (std::vector<std::size_t>{1, 5, 8}));
}

TEST(LockModes, StrongestIsTheHighest) {
	EXPECT_EQ(strongest(0), LockMode::none);
	EXPECT_EQ(strongest(bit(LockMode::access_share)), LockMode::access_share);
	EXPECT_EQ(strongest(static_cast<ModeMask>(bit(LockMode::share) | bit(LockMode::row_exclusive))),
	          LockMode::share);
	EXPECT_EQ(strongest(bit(LockMode::access_exclusive)), LockMode::access_exclusive);
}

TEST(LockModes, NamesAreThoseOfPgLocks) {
	EXPECT_EQ(name(LockMode::none), "");
	EXPECT_EQ(name(LockMode::access_share), "AccessShareLock");
	EXPECT_EQ(name(LockMode::row_share), "RowShareLock");
	EXPECT_EQ(name(LockMode::row_exclusive), "RowExclusiveLock");
	EXPECT_EQ(name(LockMode::share_update_exclusive), "ShareUpdateExclusiveLock");
	EXPECT_EQ(name(LockMode::share), "ShareLock");
	EXPECT_EQ(name(LockMode::share_row_exclusive), "ShareRowExclusiveLock");
	EXPECT_EQ(name(LockMode::exclusive), "ExclusiveLock");
	EXPECT_EQ(name(LockMode::access_exclusive), "AccessExclusiveLock");
}

TEST(LockModes, ModesOfNames) {
	for (int m = 1; m < kLockModes; ++m)
		EXPECT_EQ(lock_mode(name(mode(m))), mode(m));
	EXPECT_EQ(lock_mode("accessexclusivelock"), LockMode::access_exclusive);
	EXPECT_EQ(lock_mode("ACCESS SHARE"), LockMode::access_share);
	EXPECT_EQ(lock_mode("row share"), LockMode::row_share);
	EXPECT_EQ(lock_mode("Row Exclusive"), LockMode::row_exclusive);
	EXPECT_EQ(lock_mode("SHARE UPDATE EXCLUSIVE"), LockMode::share_update_exclusive);
	EXPECT_EQ(lock_mode("SHARE"), LockMode::share);
	EXPECT_EQ(lock_mode("SHARE ROW EXCLUSIVE"), LockMode::share_row_exclusive);
	EXPECT_EQ(lock_mode("EXCLUSIVE"), LockMode::exclusive);
	EXPECT_EQ(lock_mode("access Exclusive"), LockMode::access_exclusive);
}

TEST(LockModes, OtherTextsAreNoNames) {
	for (const std::string_view text : {"", " ", "lock", "none", "AccessExclusive", "ACCESS EXCLUSIVE MODE",
	                                    "ACCESS  EXCLUSIVE", " SHARE", "SHARE ", "SHAR", "SIReadLock", "8"})
		EXPECT_EQ(lock_mode(text), std::nullopt) << text;
	EXPECT_EQ(lock_mode(std::string_view("SHARE\0", 6)), std::nullopt);
}

} // namespace
} // namespace unblock::core
