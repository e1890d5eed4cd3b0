// What sessions wait for each other for: rows and tables, numbered in the
// order in which transactions take them, so that there is no deadlock.
#pragma once

#include "clock.h"

#include <string>

namespace unblock::stress {

inline constexpr int kRows = 50;
inline constexpr int kTables = 20;
inline constexpr int kObjects = kRows + kTables;

struct Want {
	int object;
	bool exclusive;
};

// The first ones are rows. Tables are taken in SHARE mode at times.
inline Want choose(Dice& dice, int first_object = 0) {
	const int object = static_cast<int>(dice.between(first_object, kObjects - 1));
	return {object, object < kRows || dice.chance(0.6)};
}

inline std::string lock_statement(Want want) {
	if (want.object < kRows)
		return "SELECT FROM contended WHERE id = " + std::to_string(want.object) + " FOR UPDATE";
	return "LOCK TABLE contended_" + std::to_string(want.object) + " IN " +
	       (want.exclusive ? "EXCLUSIVE" : "SHARE") + " MODE";
}

// A row that nobody else wants.
inline std::string private_lock_statement(int number) {
	return "SELECT FROM contended WHERE id = " + std::to_string(kObjects + number) + " FOR UPDATE";
}

} // namespace unblock::stress
