// How a statement trail lies in memory: 64-bit words, a header and then records, each of whole words.
//
// A relation belongs to the last statement before it; facts stand for themselves.
#pragma once

#include "lock_modes.h"
#include "snapshot.h"

#include <cstddef>
#include <cstdint>

namespace unblock::core::trail_image {

inline constexpr std::size_t kWord = sizeof(std::uint64_t);

struct Header {
	std::uint32_t transaction;
	std::uint32_t incomplete;
	Time rows_lost_since;
};

enum Kind : std::uint16_t { kStatement = 1, kRelation, kRowsAgain, kUnknown };

// What every record begins with.
struct Head {
	std::uint16_t kind;
	std::uint16_t what;  // lock modes; of rows that are used again, the ways
	std::uint32_t words; // of the whole record
};

struct Statement {
	Head head;
	Time at;
	std::uint64_t query_id;
	std::uint32_t number;
	std::uint32_t text; // bytes, which follow
	std::uint64_t running;
};

struct Relation {
	Head head;
	std::uint32_t oid;
	std::uint16_t rows;  // ways
	std::uint8_t schema; // bytes, which follow
	std::uint8_t name;   // bytes, which follow those
};

struct Fact {
	Head head;
	std::uint32_t oid;
	std::uint32_t unused;
	Time at;
};

constexpr std::size_t words(std::size_t bytes) noexcept {
	return (bytes + kWord - 1) / kWord;
}
inline constexpr std::size_t kHeaderWords = sizeof(Header) / kWord;

static_assert(sizeof(Header) % kWord == 0 && sizeof(Statement) % kWord == 0 &&
              sizeof(Relation) % kWord == 0 && sizeof(Fact) % kWord == 0);

} // namespace unblock::core::trail_image
