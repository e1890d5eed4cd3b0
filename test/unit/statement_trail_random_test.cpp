// The statement trail against a plain list of everything, in random transactions: with enough room it tells
// all of it, with little room nothing else.

#include "random_graph.h"
#include "trail_recorder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace unblock::core::test {
namespace {

constexpr int nobody = 0; // or nobody that is known

// All locks that were taken or held and not undone, in order.
class PlainTrail {
public:
	// Of modes, those that were new.
	struct Taken {
		unsigned level;
		int statement;
		Time at;
		std::uint32_t oid;
		ModeMask modes;
		RowUses rows;
	};
	// By statement and relation: the modes that were new, and the ways of which it was the first to lock
	// rows.
	using Added = std::map<std::pair<int, std::uint32_t>, std::pair<ModeMask, RowUses>>;

	void take(Taken lock, bool is_news) {
		lock.modes = static_cast<ModeMask>(lock.modes & ~known_modes(lock.oid));
		if (is_news)
			taken_.push_back(lock);
	}
	// A statement that runs is told of at its level, whatever it locks.
	void run(unsigned level) { taken_.push_back({level, nobody, 0, kTransactionId, 0, 0}); }
	// That is never undone, but it is told no longer than what was taken just before.
	void hold(std::uint32_t oid, ModeMask modes) {
		const auto added = static_cast<ModeMask>(modes & ~known_modes(oid));
		if (added == 0)
			return;
		const unsigned level = top_level();
		unknown_.push_back({level, nobody, 0, oid, added, 0});
		held_[oid] = static_cast<ModeMask>(held_[oid] | added);
		incomplete = incomplete || level > 1;
	}
	void release(unsigned level) {
		for (auto* locks : {&taken_, &unknown_})
			for (Taken& lock : *locks)
				if (lock.level == level)
					--lock.level;
	}
	void roll_back(unsigned level) {
		for (auto* locks : {&taken_, &unknown_})
			std::erase_if(*locks, [level](const Taken& lock) { return lock.level >= level; });
	}

	ModeMask known_modes(std::uint32_t oid) const {
		const auto found = held_.find(oid);
		ModeMask all = found == held_.end() ? ModeMask{0} : found->second;
		for (const Taken& lock : taken_)
			if (lock.oid == oid)
				all = static_cast<ModeMask>(all | lock.modes);
		return all;
	}
	Added added() const {
		Added all;
		std::map<std::uint32_t, RowUses> rows_before;
		for (const Taken& lock : taken_) {
			const auto rows = static_cast<RowUses>(lock.rows & ~rows_before[lock.oid]);
			rows_before[lock.oid] |= rows;
			if (lock.modes == 0 && rows == 0)
				continue;
			auto& [told_modes, told_rows] = all[{lock.statement, lock.oid}];
			told_modes = static_cast<ModeMask>(told_modes | lock.modes);
			told_rows |= rows;
		}
		return all;
	}
	Added unknown() const {
		Added all;
		for (const Taken& lock : unknown_) {
			auto& modes = all[{nobody, lock.oid}].first;
			modes = static_cast<ModeMask>(modes | lock.modes);
		}
		return all;
	}
	const std::vector<Taken>& taken() const { return taken_; }
	// Who added the strongest of the modes that were added by somebody known.
	static int locker(const Added& all, std::uint32_t oid, ModeMask in_the_way) {
		int found = nobody;
		LockMode best = LockMode::none;
		for (const auto& [who, what] : all) {
			const LockMode own = strongest(static_cast<ModeMask>(what.first & in_the_way));
			if (who.second == oid && own > best) {
				found = who.first;
				best = own;
			}
		}
		return found;
	}
	// The second statements that locked rows, by relation and way, and when they came.
	using RowsAgain = std::map<std::pair<std::uint32_t, RowUses>, Time>;
	RowsAgain rows_again() const {
		std::map<std::pair<std::uint32_t, RowUses>, int> first;
		RowsAgain again;
		for (const Taken& lock : taken_)
			for (const RowUses way : {kRowsLocked, kRowsKeyLocked})
				if ((lock.rows & way) != 0 &&
				    first.emplace(std::pair(lock.oid, way), lock.statement).first->second != lock.statement)
					again.emplace(std::pair(lock.oid, way), lock.at);
		return again;
	}
	// The only statement that came before the wait and locked rows in one of these ways.
	int row_locker(std::uint32_t oid, Time wait_start, RowUses ways) const {
		std::set<int> all;
		for (const Taken& lock : taken_)
			if (lock.oid == oid && (lock.rows & ways) != 0 && (wait_start == 0 || lock.at <= wait_start))
				all.insert(lock.statement);
		const bool lost = rows_lost_since != 0 && (wait_start == 0 || rows_lost_since <= wait_start);
		return all.size() == 1 && !lost ? *all.begin() : nobody;
	}

	Time rows_lost_since = 0;
	bool incomplete = false; // though there was room for all

private:
	unsigned top_level() const {
		unsigned top = 1;
		for (const Taken& lock : taken_)
			top = std::max(top, lock.level);
		return top;
	}

	std::vector<Taken> taken_;
	std::vector<Taken> unknown_; // as they are told
	std::map<std::uint32_t, ModeMask> held_;
};

struct Size {
	std::size_t bytes;
	std::size_t statements;
	bool exact; // it has room for all
};

class World {
public:
	World(unsigned seed, const Size& size)
	    : dice_(seed), size_(size), recorder_(size.bytes, size.statements) {
		usual_modes_ = dice_.from_to(1, 3);
		relations_ = dice_.from_to(1, 6);
		facts_ = dice_.chance(30) ? 25 : 3;
		usual_rows_ = dice_.chance(30) ? 60 : 20;
	}

	void live(int steps) {
		begin();
		for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
			step();
			if (dice_.chance(90))
				recorder_.publish();
			else
				continue;
			if (dice_.chance(50))
				ask();
			if (dice_.chance(25))
				compare();
		}
	}

private:
	void begin() {
		end();
		++statement_;
		now_ += dice_.from_to(0, 2);
		at_ = now_;
		texts_.emplace_back(
		    static_cast<std::size_t>(dice_.chance(80) ? dice_.from_to(0, 40) : dice_.from_to(0, 700)),
		    static_cast<char>('a' + statement_ % 26));
		go_on();
		if (dice_.chance(50))
			run();
	}
	void go_on() {
		recorder_.trail.begin(transaction_, {.at = at_,
		                                     .place = statement_,
		                                     .query_id = static_cast<std::uint64_t>(statement_),
		                                     .text = texts_[static_cast<std::size_t>(statement_ - 1)]});
	}
	void run() {
		recorder_.trail.run(level_);
		plain_.run(level_);
		runs_ = true;
		run_level_ = level_;
	}
	void end() {
		recorder_.trail.end();
		runs_ = false;
	}
	void new_transaction() {
		end();
		plain_ = {};
		level_ = 1;
		if (dice_.chance(50))
			recorder_.trail.clear();
		else
			++transaction_;
		begin();
	}

	std::uint32_t some_relation() {
		const int found = dice_.from_to(0, relations_);
		return found == 0 ? kTransactionId : static_cast<std::uint32_t>(1000 + found);
	}
	ModeMask some_modes() {
		ModeMask modes = 0;
		for (int i = dice_.from_to(1, usual_modes_); i > 0; --i)
			modes = static_cast<ModeMask>(modes | 1U << dice_.from_to(1, kLockModes - 1));
		return modes;
	}

	RowUses some_ways() { return dice_.one_of<RowUses>({kRowsLocked, kRowsKeyLocked, kRowsAnyhow}); }

	void add() {
		StatementTrail::Relation relation = {some_relation(), some_modes(),
		                                     dice_.chance(usual_rows_) ? some_ways() : RowUses{0}};
		if (relation.rows != 0 && dice_.chance(50))
			relation.modes = 0;
		const bool is_news = !recorder_.trail.knows(relation);
		recorder_.add_named(level_, relation, "s",
		                    std::string(static_cast<std::size_t>(dice_.from_to(0, 20)), 'n'));
		EXPECT_TRUE(recorder_.trail.knows(relation));
		plain_.take({level_, statement_, at_, relation.oid, relation.modes, relation.rows}, is_news);
	}
	void hold() {
		const std::uint32_t oid = some_relation();
		const ModeMask modes = some_modes();
		recorder_.trail.hold(oid, modes);
		EXPECT_TRUE(recorder_.trail.knows({oid, modes, 0}));
		plain_.hold(oid, modes);
	}
	void release() {
		if (level_ == 1)
			return;
		recorder_.trail.release(level_);
		plain_.release(level_--);
	}
	// Nothing goes on that was undone with its savepoint.
	void roll_back() {
		if (level_ == 1)
			return;
		const auto to = static_cast<unsigned>(dice_.from_to(2, static_cast<int>(level_)));
		const bool ends = runs_ && to <= run_level_;
		const bool ends_before = dice_.chance(50);
		if (ends && ends_before)
			end();
		if (dice_.chance(50))
			for (; level_ > to; --level_)
				recorder_.trail.roll_back(level_);
		recorder_.trail.roll_back(to);
		plain_.roll_back(to);
		level_ = to - (dice_.chance(50) ? 1U : 0U);
		if (ends && !ends_before)
			end();
	}
	void lose_rows() {
		now_ += dice_.from_to(0, 4);
		const Time since = now_ - (dice_.chance(50) ? dice_.from_to(0, 20) : 0);
		recorder_.trail.lose_rows(since);
		if (plain_.rows_lost_since == 0 || since < plain_.rows_lost_since)
			plain_.rows_lost_since = since;
	}

	void step() {
		const int what = dice_.from_to(0, 99);
		if (what < 20)
			begin();
		else if (what < 50)
			add();
		else if (what < 50 + facts_)
			hold();
		else if (what < 83)
			level_ = std::min(level_ + static_cast<unsigned>(dice_.from_to(1, 2)), 6U);
		else if (what < 87)
			release();
		else if (what < 91)
			roll_back();
		else if (what < 92)
			end();
		else if (what < 94)
			go_on();
		else if (what < 95)
			run();
		else if (what < 98)
			lose_rows();
		else if (dice_.chance(30))
			new_transaction();
	}

	void ask() {
		const Trail seen = recorder_.seen();
		const PlainTrail::Added all = plain_.added();
		for (int i = 0; i < 4; ++i) {
			ask_for_lock(seen, all, some_relation(), bit(static_cast<LockMode>(dice_.from_to(1, 8))));
			ask_for_lock(seen, all, some_relation(), dice_.chance(30) ? kAllModes : some_modes());
			ask_for_rows(seen, some_relation(), dice_.chance(30) ? 0 : now_ - dice_.from_to(0, 12),
			             some_ways());
		}
	}
	void ask_for_lock(const Trail& seen, const PlainTrail::Added& all, std::uint32_t oid,
	                  ModeMask in_the_way) {
		const int found = number_of(lock_statement(seen, oid, in_the_way));
		int expected = PlainTrail::locker(all, oid, in_the_way);
		if (expected == nobody && seen.complete && runs_ && (plain_.known_modes(oid) & in_the_way) == 0)
			expected = statement_;
		if (!size_.exact && found == nobody)
			return;
		// Of several locks the strongest may be one that is no longer told.
		const auto own = all.find({found, oid});
		const bool took = own != all.end() && (own->second.first & in_the_way) != 0;
		if (!size_.exact && took && std::popcount(in_the_way) > 1)
			return;
		EXPECT_EQ(found, expected) << oid << ":" << digits(in_the_way) << " of " << recorder_.told();
	}
	void ask_for_rows(const Trail& seen, std::uint32_t oid, Time wait_start, RowUses asked) {
		const int found = number_of(row_statement(seen, oid, wait_start, asked));
		if (!size_.exact && found == nobody)
			return;
		EXPECT_EQ(found, plain_.row_locker(oid, wait_start, asked))
		    << ways(asked) << " of " << oid << " at " << wait_start << " of " << recorder_.told();
	}
	static int number_of(const Trail::Statement* statement) {
		return statement != nullptr ? static_cast<int>(statement->query_id) : nobody;
	}

	void compare() const {
		const Trail seen = recorder_.seen();
		EXPECT_LE(seen.statements.size(), size_.statements);
		EXPECT_LE((seen.rows_again.size() + seen.unknown.size()) * 3, recorder_.most_words / 4);
		EXPECT_TRUE(!recorder_.complete() || !plain_.incomplete);
		if (size_.exact) {
			EXPECT_EQ(recorder_.complete(), !plain_.incomplete);
			EXPECT_EQ(seen.rows_lost_since, plain_.rows_lost_since);
		} else if (plain_.rows_lost_since != 0) {
			EXPECT_NE(seen.rows_lost_since, 0);
			EXPECT_LE(seen.rows_lost_since, plain_.rows_lost_since);
		}
		EXPECT_TRUE(recorder_.mirror.empty() || seen.transaction == transaction_);
		compare_relations(seen);
		compare_facts(seen);
		compare_statements(seen);
		if (testing::Test::HasFailure())
			ADD_FAILURE() << recorder_.told();
	}
	void compare_relations(const Trail& seen) const {
		PlainTrail::Added told;
		for (const Trail::Relation& relation : seen.relations) {
			const int number = number_of(&seen.statements[relation.statement]);
			auto& [modes, rows] = told[{number, relation.oid}];
			EXPECT_EQ(modes & relation.modes, 0) << "told twice";
			EXPECT_EQ(rows & relation.rows, 0);
			modes = static_cast<ModeMask>(modes | relation.modes);
			rows |= relation.rows;
		}
		const PlainTrail::Added expected = plain_.added();
		EXPECT_TRUE((!seen.complete && !size_.exact) || told == expected);
		for (const auto& [who, what] : told) {
			const auto found = expected.find(who);
			ASSERT_NE(found, expected.end());
			EXPECT_EQ(what.first & ~found->second.first, 0);
			EXPECT_EQ(what.second & ~found->second.second, 0);
		}
	}
	void compare_facts(const Trail& seen) const {
		PlainTrail::Added unknown;
		for (const Trail::Unknown& fact : seen.unknown) {
			auto& modes = unknown[{nobody, fact.oid}].first;
			modes = static_cast<ModeMask>(modes | fact.modes);
		}
		const PlainTrail::Added expected = plain_.unknown();
		EXPECT_TRUE((!seen.complete && !size_.exact) || unknown == expected);
		for (const auto& [who, what] : unknown) {
			const auto found = expected.find(who);
			ASSERT_NE(found, expected.end());
			EXPECT_EQ(what.first & ~found->second.first, 0);
		}
		if (size_.exact)
			compare_rows_again(seen);
		for (const RowUses way : {kRowsLocked, kRowsKeyLocked})
			compare_rows(seen, way);
	}
	void compare_rows_again(const Trail& seen) const {
		PlainTrail::RowsAgain again;
		for (const Trail::RowsAgain& fact : seen.rows_again)
			for (const RowUses way : {kRowsLocked, kRowsKeyLocked})
				EXPECT_TRUE((fact.rows & way) == 0 ||
				            again.emplace(std::pair(fact.oid, way), fact.at).second);
		EXPECT_EQ(again, plain_.rows_again());
	}
	// Of every use of rows it is told who it was, or that it was somebody, or that it may have been lost; and
	// of no other.
	void compare_rows(const Trail& seen, RowUses way) const {
		std::map<std::uint32_t, int> told;
		for (const Trail::RowsAgain& fact : seen.rows_again)
			if ((fact.rows & way) != 0) {
				EXPECT_LE(++told[fact.oid], 2) << "the first, and one more";
				EXPECT_TRUE(std::ranges::any_of(plain_.taken(), [&](const PlainTrail::Taken& lock) {
					return lock.oid == fact.oid && (lock.rows & way) != 0 && lock.at == fact.at;
				}));
			}
		for (const PlainTrail::Taken& lock : plain_.taken()) {
			if ((lock.rows & way) == 0 || (seen.rows_lost_since != 0 && seen.rows_lost_since <= lock.at))
				continue;
			const bool is_named = std::ranges::any_of(seen.relations, [&](const Trail::Relation& relation) {
				return relation.oid == lock.oid && (relation.rows & way) != 0 &&
				       number_of(&seen.statements[relation.statement]) == lock.statement;
			});
			EXPECT_TRUE(is_named || std::ranges::any_of(seen.rows_again,
			                                            [&](const Trail::RowsAgain& fact) {
				                                            return fact.oid == lock.oid &&
				                                                   (fact.rows & way) != 0 &&
				                                                   fact.at <= lock.at;
			                                            }))
			    << ways(way) << " of " << lock.oid << " by " << lock.statement;
		}
	}
	void compare_statements(const Trail& seen) const {
		int before = 0;
		std::uint32_t number_before = 0;
		for (const Trail::Statement& statement : seen.statements) {
			const int number = number_of(&statement);
			EXPECT_GT(number, before) << "in the order in which they came";
			EXPECT_GT(statement.number, number_before);
			EXPECT_TRUE(!statement.running || (runs_ && number == statement_));
			before = number;
			number_before = statement.number;
			EXPECT_TRUE(texts_.at(static_cast<std::size_t>(number - 1)).starts_with(statement.text));
		}
	}

	Dice dice_;
	Size size_;
	Recorder recorder_;
	PlainTrail plain_;
	int usual_modes_;
	int relations_;
	int facts_;      // percent of what happens
	int usual_rows_; // percent of what is taken
	std::vector<std::string> texts_;
	std::uint32_t transaction_ = 1;
	unsigned level_ = 1;
	int statement_ = 0;
	Time now_ = 100;
	Time at_ = 0;
	bool runs_ = false;
	unsigned run_level_ = 1;
};

void live(unsigned worlds, int steps, const Size& size) {
	for (unsigned seed = 0; seed < worlds && !testing::Test::HasFailure(); ++seed) {
		SCOPED_TRACE("seed " + std::to_string(seed));
		World(seed, size).live(steps);
	}
}

TEST(StatementTrailRandomTest, WithEnoughRoomItTellsEverything) {
	live(800, 80, {1 << 15, 1000, true});
}

TEST(StatementTrailRandomTest, WithLittleRoomItTellsNothingWrong) {
	live(800, 80, {512, 100, false});
}

TEST(StatementTrailRandomTest, WithSomeRoomItTellsNothingWrong) {
	live(500, 100, {1200, 100, false});
}

TEST(StatementTrailRandomTest, WithFewStatementsItTellsNothingWrong) {
	live(300, 80, {1 << 14, 1, false});
	live(500, 80, {1 << 14, 4, false});
}

} // namespace
} // namespace unblock::core::test
