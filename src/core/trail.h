// A statement trail as its readers see it, and what it says of one lock.
#pragma once

#include "lock_modes.h"
#include "snapshot.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace unblock::core {

// Stands for the transaction id, which a transaction takes an exclusive lock on when it first writes.
inline constexpr std::uint32_t kTransactionId = 0;

// How a statement may lock rows of a relation that others see: each stands for one bit.
using RowUses = std::uint8_t;
inline constexpr RowUses kRowsLocked = 1;    // as UPDATE, DELETE and SELECT FOR UPDATE do, or FOR SHARE
inline constexpr RowUses kRowsKeyLocked = 2; // FOR KEY SHARE, as checks of foreign keys do
inline constexpr RowUses kRowsAnyhow = kRowsLocked | kRowsKeyLocked;

// A copy of an image (statement_trail.h) read.
struct Trail {
	struct Statement {
		std::uint32_t number = 0; // of those that were recorded in the transaction, from 1
		bool running = false;     // nobody knows yet which locks it takes
		Time at = 0;
		std::uint64_t query_id = 0;
		std::string_view text; // may end inside a character
	};
	struct Relation {
		Index statement = kNone;
		std::uint32_t oid = 0;
		ModeMask modes = 0;      // that the statement added; 0: it has used rows only
		RowUses rows = 0;        // it is the first one that may have locked rows of the relation so
		std::string_view schema; // both empty: not known
		std::string_view name;
	};
	// Another statement may have locked rows so: a second one, or one that has had to make way.
	struct RowsAgain {
		std::uint32_t oid = 0;
		RowUses rows = 0;
		Time at = 0;
	};
	// A lock that the transaction holds, and no statement is known that took it.
	struct Unknown {
		std::uint32_t oid = 0;
		ModeMask modes = 0;
	};

	std::uint32_t transaction = 0; // local id; 0: there is none
	bool complete = true;          // no lock that a statement was seen to take has been left out
	Time rows_lost_since = 0;      // since then uses of rows may have been left out; 0: none has been
	std::vector<Statement> statements;
	std::vector<Relation> relations; // in the order of their statements
	std::vector<RowsAgain> rows_again;
	std::vector<Unknown> unknown;

	Trail() = default;

	// Texts are views into the image. What makes no sense ends it. O(image). Throws std::bad_alloc.
	explicit Trail(std::span<const std::uint64_t> image);
};

// The statement that took the strongest of these locks on a relation, of those that are told of; or the one
// that still runs, if no other can have taken one. nullptr: not known. O(trail).
const Trail::Statement* lock_statement(const Trail& trail, std::uint32_t oid, ModeMask modes) noexcept;

// The statement that locked a row of a relation for which somebody has been waiting since `wait_start` (0: a
// moment), in one of the ways that are in the waiter's way. nullptr: not known, or several may have.
// O(trail).
const Trail::Statement* row_statement(const Trail& trail, std::uint32_t oid, Time wait_start,
                                      RowUses rows = kRowsAnyhow) noexcept;

// What the trail knows of a relation's name; nullptr: nothing. O(trail).
const Trail::Relation* named_relation(const Trail& trail, std::uint32_t oid) noexcept;

} // namespace unblock::core
