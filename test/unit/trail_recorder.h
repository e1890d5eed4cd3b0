// A statement trail with a reader beside it, which sees only what is published.
#pragma once

#include "core/statement_trail.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core::test {

inline constexpr ModeMask kAllModes = detail::range(LockMode::access_share, LockMode::access_exclusive);

// A set of modes by their numbers: modes(1, 8).
template <class... Number>
constexpr ModeMask modes(Number... numbers) {
	return static_cast<ModeMask>((0U | ... | (1U << static_cast<unsigned>(numbers))));
}

// The digits of a set of modes, "18".
inline std::string digits(ModeMask set) {
	std::string text;
	for_each_mode(set, [&](std::size_t mode) { text += std::to_string(mode); });
	return text;
}

inline std::string ways(RowUses rows) {
	return std::string((rows & kRowsLocked) != 0 ? "r" : "") + ((rows & kRowsKeyLocked) != 0 ? "k" : "");
}

class Recorder {
public:
	explicit Recorder(std::size_t bytes = 1 << 16, std::size_t statements = 1000)
	    : most_words(std::max(bytes, StatementTrail::kLeastBytes) / sizeof(std::uint64_t)),
	      trail(bytes, statements) {}

	// Statement number n comes at time 10 n, with n as its query id.
	static StatementTrail::Statement statement(int number, std::string_view text = "select") {
		return {.at = 10 * number, .place = -1, .query_id = static_cast<std::uint64_t>(number), .text = text};
	}
	void begin(int number, std::string_view text = "select") {
		present_text = text;
		trail.begin(transaction, statement(number, present_text));
		publish();
	}
	void run(unsigned level = 1) {
		trail.run(level);
		publish();
	}
	void end() {
		trail.end();
		publish();
	}
	// A statement from its beginning to its end that takes one lock.
	void lock(int number, std::uint32_t oid, ModeMask taken, unsigned level = 1) {
		begin(number);
		add(oid, taken, level);
		end();
	}
	// The same with rows of a relation.
	void lock_rows(int number, std::uint32_t oid, unsigned level = 1, RowUses ways = kRowsLocked) {
		begin(number);
		rows(oid, level, ways);
		end();
	}
	void lock_keys(int number, std::uint32_t oid, unsigned level = 1) {
		lock_rows(number, oid, level, kRowsKeyLocked);
	}
	void add(std::uint32_t oid, ModeMask taken, unsigned level = 1) { add(level, {oid, taken, 0}); }
	void rows(std::uint32_t oid, unsigned level = 1, RowUses ways = kRowsLocked) {
		add(level, {oid, 0, ways});
	}
	void add_named(unsigned level, const StatementTrail::Relation& relation, std::string_view schema,
	               std::string_view name) {
		trail.set_name(relation.oid, schema, name);
		trail.add(level, relation);
	}
	void add(unsigned level, const StatementTrail::Relation& relation) {
		add_named(level, relation, "s", "t" + std::to_string(relation.oid));
		EXPECT_TRUE(trail.knows(relation));
		publish();
	}
	void hold(std::uint32_t oid, ModeMask held) {
		trail.hold(oid, held);
		EXPECT_TRUE(trail.knows({oid, held, 0}));
		publish();
	}
	void lose_rows(Time since) {
		trail.lose_rows(since);
		publish();
	}
	void release(unsigned level) {
		trail.release(level);
		publish();
	}
	void roll_back(unsigned level) {
		trail.roll_back(level);
		publish();
	}
	void clear() {
		trail.clear();
		publish();
	}

	// A mirror that gets only what is said to have changed is the image.
	void publish() {
		const bool has_changed = trail.has_changed();
		const auto [image, from] = trail.take_change();
		EXPECT_FALSE(trail.has_changed());
		EXPECT_LE(image.size(), most_words);
		if (has_changed) {
			mirror.resize(image.size(), ~std::uint64_t{0});
			std::copy(image.begin() + static_cast<std::ptrdiff_t>(from), image.end(),
			          mirror.begin() + static_cast<std::ptrdiff_t>(from));
			last_from = from;
		}
		EXPECT_TRUE(std::ranges::equal(mirror, image));
	}

	Trail seen() const { return Trail(mirror); }
	// Of no image nothing has been left out.
	bool complete() const { return mirror.empty() || seen().complete; }
	std::size_t free_bytes() const { return (most_words - mirror.size()) * sizeof(std::uint64_t); }

	// The number of the statement; 0: not known.
	std::uint64_t who_locked(std::uint32_t oid, ModeMask in_the_way = kAllModes) const {
		const Trail trail_seen = seen();
		const Trail::Statement* found = lock_statement(trail_seen, oid, in_the_way);
		return found != nullptr ? found->query_id : 0;
	}
	std::uint64_t who_locked_rows(std::uint32_t oid, Time wait_start = 0, RowUses ways = kRowsAnyhow) const {
		const Trail trail_seen = seen();
		const Trail::Statement* found = row_statement(trail_seen, oid, wait_start, ways);
		return found != nullptr ? found->query_id : 0;
	}

	// All that is told: "1 7:18, 2* 8:3r; again 8r at 20; unknown 7:8; incomplete; lost since 40" are two
	// statements, the first with modes 1 and 8 on relation 7, the second, which runs, with mode 3 and rows
	// (r: locked, k: key locked).
	std::string told() const {
		const Trail all = seen();
		std::string text;
		for (Index i = 0; i < all.statements.size(); ++i) {
			text += (i > 0 ? ", " : "") + std::to_string(all.statements[i].query_id);
			text += all.statements[i].running ? "*" : "";
			for (const Trail::Relation& relation : all.relations)
				if (relation.statement == i)
					text += " " + std::to_string(relation.oid) + ":" + digits(relation.modes) +
					        ways(relation.rows);
		}
		for (const Trail::RowsAgain& again : all.rows_again)
			text +=
			    "; again " + std::to_string(again.oid) + ways(again.rows) + " at " + std::to_string(again.at);
		for (const Trail::Unknown& unknown : all.unknown)
			text += "; unknown " + std::to_string(unknown.oid) + ":" + digits(unknown.modes);
		text += complete() ? "" : "; incomplete";
		if (all.rows_lost_since != 0)
			text += "; lost since " + std::to_string(all.rows_lost_since);
		return text;
	}

	std::size_t most_words;
	StatementTrail trail;
	std::uint32_t transaction = 5;
	std::vector<std::uint64_t> mirror;
	std::size_t last_from = 0;
	std::string present_text;
};

} // namespace unblock::core::test
