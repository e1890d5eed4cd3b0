// The eight modes of a heavyweight lock and which of them conflict.
//
// The same table serves advisory locks: the server's two lock methods share it
// (src/backend/storage/lmgr/lock.c, LockConflicts; manual, "Table-Level Lock Modes").
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace unblock::core {

// Numbered as in the server's storage/lockdefs.h.
enum class LockMode : std::uint8_t {
	none = 0,
	access_share = 1,
	row_share = 2,
	row_exclusive = 3,
	share_update_exclusive = 4,
	share = 5,
	share_row_exclusive = 6,
	exclusive = 7,
	access_exclusive = 8,
};

inline constexpr int kLockModes = 9; // with `none`, so that a mode is an index

// A set of modes: bit n stands for mode n, as in the server's LOCKMASK.
using ModeMask = std::uint16_t;

constexpr ModeMask bit(LockMode mode) noexcept {
	return mode == LockMode::none ? ModeMask{0} : static_cast<ModeMask>(1U << static_cast<unsigned>(mode));
}

namespace detail {
constexpr ModeMask range(LockMode first, LockMode last) noexcept {
	ModeMask modes = 0;
	for (unsigned m = static_cast<unsigned>(first); m <= static_cast<unsigned>(last); ++m)
		modes = static_cast<ModeMask>(modes | (1U << m));
	return modes;
}

inline constexpr std::array<ModeMask, kLockModes> kConflicts = {
    ModeMask{0},
    /* access share           */ range(LockMode::access_exclusive, LockMode::access_exclusive),
    /* row share              */ range(LockMode::exclusive, LockMode::access_exclusive),
    /* row exclusive          */ range(LockMode::share, LockMode::access_exclusive),
    /* share update exclusive */ range(LockMode::share_update_exclusive, LockMode::access_exclusive),
    /* share                  */
    static_cast<ModeMask>(bit(LockMode::row_exclusive) | bit(LockMode::share_update_exclusive) |
                          range(LockMode::share_row_exclusive, LockMode::access_exclusive)),
    /* share row exclusive    */ range(LockMode::row_exclusive, LockMode::access_exclusive),
    /* exclusive              */ range(LockMode::row_share, LockMode::access_exclusive),
    /* access exclusive       */ range(LockMode::access_share, LockMode::access_exclusive),
};

inline constexpr std::array<std::string_view, kLockModes> kModeNames = {
    "",          "AccessShareLock",       "RowShareLock",  "RowExclusiveLock",    "ShareUpdateExclusiveLock",
    "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock",
};
} // namespace detail

// The modes that `mode` conflicts with. O(1).
constexpr ModeMask conflicts_of(LockMode mode) noexcept {
	return detail::kConflicts[static_cast<std::size_t>(mode)];
}

// The modes that any of `modes` conflicts with. O(1).
constexpr ModeMask conflicts_of(ModeMask modes) noexcept {
	ModeMask conflicts = 0;
	for (unsigned m = 1; m < kLockModes; ++m)
		if (modes & (1U << m))
			conflicts = static_cast<ModeMask>(conflicts | detail::kConflicts[m]);
	return conflicts;
}

// Calls visit(m) for the number of each mode in a set, weakest first.
template <typename Visit>
constexpr void for_each_mode(ModeMask modes, Visit visit) {
	for (unsigned rest = modes; rest != 0; rest &= rest - 1)
		visit(static_cast<std::size_t>(std::countr_zero(rest)));
}

// Whether a request for `wanted` has to wait for a holder (or a waiter ahead) of `modes`. O(1).
constexpr bool conflict(LockMode wanted, ModeMask modes) noexcept {
	return (conflicts_of(wanted) & modes) != 0;
}

// The strongest mode in a set (the highest number, as the server's own displays order them).
constexpr LockMode strongest(ModeMask modes) noexcept {
	for (int m = kLockModes - 1; m > 0; --m)
		if (modes & (1U << m))
			return static_cast<LockMode>(m);
	return LockMode::none;
}

// The name that pg_locks shows, "AccessShareLock"; empty for `none`.
constexpr std::string_view name(LockMode mode) noexcept {
	return detail::kModeNames[static_cast<std::size_t>(mode)];
}

// The mode of a name in any case (of ASCII): as pg_locks shows it, "AccessShareLock", or as LOCK TABLE takes
// it, "ACCESS SHARE". Nothing for any other text.
std::optional<LockMode> lock_mode(std::string_view name) noexcept;

} // namespace unblock::core
