// Reading a lock mode's name.
#include "lock_modes.h"

#include "text.h"

#include <algorithm>

#include "fence.h"

namespace unblock::core {

namespace {

constexpr std::array<std::string_view, kLockModes> kStatementNames = {
    "",      "ACCESS SHARE",        "ROW SHARE", "ROW EXCLUSIVE",    "SHARE UPDATE EXCLUSIVE",
    "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
};

bool same(std::string_view a, std::string_view b) noexcept {
	return std::equal(a.begin(), a.end(), b.begin(), b.end(),
	                  [](char x, char y) { return lower(x) == lower(y); });
}

} // namespace

std::optional<LockMode> lock_mode(std::string_view name) noexcept {
	for (std::size_t m = 1; m < kLockModes; ++m)
		if (same(name, detail::kModeNames[m]) || same(name, kStatementNames[m]))
			return static_cast<LockMode>(m);
	return std::nullopt;
}

} // namespace unblock::core
