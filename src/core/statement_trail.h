// The statements of a transaction that took its locks, remembered by the session that runs them.
//
// Of each: when it came, its query id, its text, and for each relation the
// lock modes that it added to those which the transaction held already. They
// lie in an image of fixed size, which is published (trail_slice.h) and read
// (trail.h). What each savepoint's level adds is the end of the image: to roll
// it back is to cut that off.
#pragma once

#include "known_relations.h"
#include "trail.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace unblock::core {

class StatementTrail {
public:
	// What the client sent. Two are the same if they have the same time and place.
	struct Statement {
		Time at = 0;
		int place = -1; // in the message; -1: all of it
		std::uint64_t query_id = 0;
		// Must live until end(); cut where room is short, perhaps inside a character. It can be left out of
		// begin() and given when it is wanted.
		std::string_view text;
	};
	struct Relation {
		std::uint32_t oid = 0;
		ModeMask modes = 0;
		RowUses rows = 0;
	};

	// Of so many bytes (kLeastBytes at least) and statements (1 at least). Throws std::bad_alloc.
	static constexpr std::size_t kLeastBytes = 512;
	StatementTrail(std::size_t bytes, std::size_t statements);

	// What follows belongs to this transaction, and what was there before to none; this comes before all
	// else. O(1).
	void belong_to(std::uint32_t transaction) noexcept;

	// A statement begins, or goes on. O(1).
	void begin(std::uint32_t transaction, const Statement& statement) noexcept;

	// It runs now, and which locks it takes will be known at its end: the image says so. Throws
	// std::bad_alloc.
	void run(unsigned level);

	// It is over, or goes on later. O(1).
	void end() noexcept;

	// Whether the image lacks the present statement, and so its text will be wanted. O(1).
	bool wants_text() const noexcept { return present_.record == kNowhere; }
	void set_text(std::string_view text) noexcept { present_.statement.text = text; }

	// Names of relations are kept until they are forgotten. Of those longer than 255 bytes nothing is
	// recorded. O(1), but for forget_all_names(). set_name() throws std::bad_alloc.
	bool has_name(std::uint32_t oid) const noexcept;
	void set_name(std::uint32_t oid, std::string_view schema, std::string_view name);
	void forget_name(std::uint32_t oid) noexcept { known_.forget_names(oid); }
	void forget_all_names() noexcept { known_.forget_all_names(); }

	// Whether add() would change nothing. O(1).
	bool knows(const Relation& relation) const noexcept;

	// The present statement locks a relation, at a nesting level of the transaction (1: no savepoint). Only
	// what is new is recorded. Where room is short, statements go that are neither the first nor the
	// strongest on any relation; then, weakest locks first, those whose locks are weaker; the most recent one
	// stays. O(1), and O(image^2) where room is short. Throws std::bad_alloc; the level must be rolled back
	// then, or the transaction.
	void add(unsigned level, const Relation& relation);

	// The transaction holds this lock, and nobody knows which statement took it, nor at which level. Throws
	// as above.
	void hold(std::uint32_t oid, ModeMask modes);

	// Since then rows of any relation may have been locked by statements that are not told of.
	void lose_rows(Time since) noexcept;

	// A savepoint's level ends: what it added belongs to the one below, or is undone. O(what it added).
	void release(unsigned level) noexcept;
	void roll_back(unsigned level) noexcept;

	// The transaction is over. O(1).
	void clear() noexcept;

	// What is to be published: the whole image, and the first of its words that has changed since the last
	// call. Nothing has changed if that is behind its end.
	struct Change {
		std::span<const std::uint64_t> image;
		std::size_t from;
	};
	bool has_changed() const noexcept { return changed_ != kNowhere; }
	Change take_change() noexcept;

private:
	static constexpr unsigned kWays = 2; // to lock rows: the bits of RowUses

	// What is known of a relation that the transaction has locked, whether or not the image tells of it.
	struct Known {
		ModeMask modes = 0;
		ModeMask unexplained = 0;              // held, not undone with the level
		RowUses rows_again = 0;                // by more than one statement
		std::uint32_t rows_by[kWays] = {0, 0}; // the first of them, for each way; 0: none
	};
	struct Undo {
		std::uint32_t oid;
		Known before;
	};
	// Where a savepoint's level begins, if it has added anything.
	struct Mark {
		unsigned level;
		std::size_t image;
		std::size_t undo;
	};
	struct Present {
		Statement statement;
		std::uint32_t number = 0; // of the statements that the transaction has begun; 0: none
		std::size_t record;       // its place in the image; kNowhere: it has none
	};
	static constexpr std::size_t kNowhere = SIZE_MAX;

	void enter(unsigned level);
	RowUses rows_without_first(const Known& known, RowUses rows) const noexcept;
	RowUses rows_of_others(const Known& known, RowUses rows) const noexcept;
	void undo(const Undo& change) noexcept;
	bool record_statement(bool running);
	bool record_relation(const Relation& relation, const KnownRelations<Known>::Relation& known);
	bool record_fact(std::uint16_t kind, std::uint32_t oid, std::uint16_t what);
	bool has_room_for_fact() const noexcept;
	void forget(std::size_t place, Time at) noexcept;
	template <class Record>
	void append(Record record, std::string_view first, std::string_view second);
	bool make_room(std::size_t words, int strength);
	bool drop_statement(int strength);
	bool drop_relation(int strength);
	void erase(std::size_t begin, std::size_t end) noexcept;
	void open_image() noexcept;
	void set_incomplete() noexcept;
	void touch(std::size_t word) noexcept;
	void resize(std::size_t words) noexcept { image_ = {memory_.data(), words}; }
	std::size_t free_words() const noexcept { return memory_.size() - image_.size(); }

	std::size_t most_statements_;
	std::vector<std::uint64_t> memory_; // all that the image may take
	std::span<std::uint64_t> image_;    // empty: nothing to tell
	std::size_t changed_ = kNowhere;
	KnownRelations<Known> known_;
	std::vector<Undo> undo_;
	std::vector<Mark> marks_; // one above the other
	std::uint32_t transaction_ = 0;
	Time latest_ = 0; // that a statement began at
	Present present_;
	std::size_t statements_ = 0; // in the image
	std::size_t facts_ = 0;      // in the image
	std::uint32_t recorded_ = 0; // in the transaction so far
};

} // namespace unblock::core
