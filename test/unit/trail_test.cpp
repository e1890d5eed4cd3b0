// Reading of an image that need not make sense: nothing is read beyond it, and what was lost is told.

#include "core/trail_image.h"
#include "random_graph.h"
#include "trail_recorder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core::test {
namespace {

namespace image = trail_image;

using Words = std::vector<std::uint64_t>;

constexpr std::uint32_t a = 101, b = 102;
constexpr ModeMask share = bit(LockMode::share);

// An image put together by hand. A size of 0 is the right one.
class ImageBuilder {
public:
	ImageBuilder() { add(image::Header{.transaction = 5, .incomplete = 0, .rows_lost_since = 0}); }

	ImageBuilder& statement(std::uint64_t query_id, std::string_view text = "", std::uint32_t told_size = 0) {
		image::Statement record{};
		record.head.kind = image::kStatement;
		record.query_id = query_id;
		record.text = told_size != 0 ? told_size : static_cast<std::uint32_t>(text.size());
		return add(record, text);
	}
	ImageBuilder& relation(std::uint32_t oid, std::string_view names = "", std::uint8_t schema = 0,
	                       std::uint8_t name = 0) {
		image::Relation record{};
		record.head = {.kind = image::kRelation, .what = share, .words = 0};
		record.oid = oid;
		record.schema = schema;
		record.name = name;
		return add(record, names);
	}
	ImageBuilder& fact(image::Kind kind, std::uint32_t oid) {
		image::Fact record{};
		record.head = {.kind = kind, .what = share, .words = 0};
		record.oid = oid;
		return add(record);
	}
	// Only the head, whatever kind and size it tells of.
	ImageBuilder& head(unsigned kind, std::uint32_t told_words, std::size_t words = 1) {
		const image::Head record = {
		    .kind = static_cast<std::uint16_t>(kind), .what = share, .words = told_words};
		words_.resize(words_.size() + words);
		std::memcpy(&words_[words_.size() - words], &record, sizeof(record));
		return *this;
	}
	const Words& words() const { return words_; }

private:
	template <class Record>
	ImageBuilder& add(Record record, std::string_view text = "") {
		const std::size_t place = words_.size();
		words_.resize(place + image::words(sizeof(record) + text.size()));
		if constexpr (requires { record.head; })
			record.head.words = static_cast<std::uint32_t>(words_.size() - place);
		std::memcpy(&words_[place], &record, sizeof(record));
		std::copy(text.begin(), text.end(), reinterpret_cast<char*>(&words_[place]) + sizeof(record));
		return *this;
	}

	Words words_;
};

// Memory of just this size, so that a sanitizer sees what reads beyond it.
struct Tight {
	explicit Tight(std::span<const std::uint64_t> image)
	    : memory(std::make_unique<std::uint64_t[]>(image.size())), words(memory.get(), image.size()) {
		std::ranges::copy(image, memory.get());
	}
	std::unique_ptr<std::uint64_t[]> memory;
	std::span<const std::uint64_t> words;
};
// A trail together with the image that its texts lie in.
struct Reading : Tight, Trail {
	explicit Reading(std::span<const std::uint64_t> image) : Tight(image), Trail(words) {}
};

std::size_t bytes_of(std::string_view text) {
	return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char) { return true; }));
}

// Reads every byte that the trail tells of and asks it everything; all of it lies inside the image.
Reading read_all(std::span<const std::uint64_t> image) {
	Reading trail(image);
	const auto* const begin = reinterpret_cast<const char*>(trail.words.data());
	const auto is_inside = [&](std::string_view text) {
		return text.empty() ||
		       (std::less_equal<>()(begin, text.data()) &&
		        std::less_equal<>()(text.data() + text.size(), begin + trail.words.size_bytes()));
	};
	std::size_t bytes = 0;
	for (const Trail::Statement& statement : trail.statements) {
		EXPECT_TRUE(is_inside(statement.text));
		bytes += bytes_of(statement.text);
	}
	for (const Trail::Relation& relation : trail.relations) {
		EXPECT_LT(relation.statement, trail.statements.size());
		EXPECT_TRUE(is_inside(relation.schema));
		EXPECT_TRUE(is_inside(relation.name));
		bytes += bytes_of(relation.schema) + bytes_of(relation.name);
	}
	EXPECT_LE(bytes, trail.words.size_bytes());
	const auto is_own = [&](const Trail::Statement* found) {
		return found == nullptr || (found >= trail.statements.data() &&
		                            found < trail.statements.data() + trail.statements.size());
	};
	for (const std::uint32_t oid : {a, b, kTransactionId}) {
		EXPECT_TRUE(is_own(lock_statement(trail, oid, kAllModes)));
		EXPECT_TRUE(is_own(lock_statement(trail, oid, share)));
		EXPECT_TRUE(is_own(row_statement(trail, oid, 0)));
		EXPECT_TRUE(is_own(row_statement(trail, oid, 15)));
		EXPECT_TRUE(is_own(row_statement(trail, oid, 0, kRowsKeyLocked)));
		const Trail::Relation* named = named_relation(trail, oid);
		EXPECT_TRUE(named == nullptr || named->oid == oid);
	}
	return trail;
}
Reading read_all(const ImageBuilder& image) {
	return read_all(image.words());
}

// One with all kinds of records.
Words valid_image() {
	Recorder recorder;
	recorder.begin(1, "select from t101");
	recorder.add(1, {a, modes(1, 3), kRowsLocked});
	recorder.add(b, modes(8));
	recorder.end();
	recorder.lock_rows(2, a);
	recorder.hold(103, share);
	recorder.begin(3, std::string(77, 'x'));
	recorder.run();
	recorder.add(kTransactionId, modes(7));
	return recorder.mirror;
}

TEST(TrailTest, NothingIsAnImageOfNoTransaction) {
	const Reading trail = read_all(Words());
	EXPECT_EQ(trail.transaction, 0U);
	EXPECT_EQ(trail.rows_lost_since, 0);
	EXPECT_FALSE(trail.complete);
	EXPECT_TRUE(trail.statements.empty());
}

TEST(TrailTest, HalfAHeaderToo) {
	const Words half(1, ~std::uint64_t{0});
	const Reading trail = read_all(half);
	EXPECT_EQ(trail.transaction, 0U);
	EXPECT_EQ(trail.rows_lost_since, 0);
	EXPECT_FALSE(trail.complete);
	EXPECT_TRUE(trail.statements.empty());
}

TEST(TrailTest, AHeaderAloneIsATransactionWithoutStatements) {
	const Reading trail = read_all(ImageBuilder());
	EXPECT_EQ(trail.transaction, 5U);
	EXPECT_TRUE(trail.complete);
	EXPECT_TRUE(trail.statements.empty());
}

TEST(TrailTest, ReadsWhatMakesSense) {
	const Reading trail = read_all(ImageBuilder()
	                                   .statement(1, "text")
	                                   .relation(a, "schemaname", 6, 4)
	                                   .fact(image::kRowsAgain, a)
	                                   .relation(b, "name", 0, 4)
	                                   .fact(image::kUnknown, 7)
	                                   .statement(2));
	EXPECT_TRUE(trail.complete);
	ASSERT_EQ(trail.statements.size(), 2U);
	EXPECT_EQ(trail.statements[0].text, "text");
	EXPECT_EQ(trail.statements[1].text, "");
	ASSERT_EQ(trail.relations.size(), 2U);
	EXPECT_EQ(trail.relations[0].schema, "schema");
	EXPECT_EQ(trail.relations[0].name, "name");
	EXPECT_EQ(trail.relations[1].statement, 0U);
	EXPECT_EQ(trail.relations[1].schema, "");
	EXPECT_EQ(trail.relations[1].name, "name");
	EXPECT_EQ(trail.rows_again.size(), 1U);
	EXPECT_EQ(trail.unknown.size(), 1U);
}

TEST(TrailTest, FactsNeedNoStatement) {
	const Reading trail = read_all(ImageBuilder().fact(image::kUnknown, a).fact(image::kRowsAgain, b));
	EXPECT_TRUE(trail.complete);
	EXPECT_EQ(trail.unknown.size(), 1U);
	EXPECT_EQ(trail.rows_again.size(), 1U);
}

TEST(TrailTest, WhatMakesNoSenseEndsIt) {
	const auto expect_the_end = [](const char* what, ImageBuilder image) {
		SCOPED_TRACE(what);
		const Reading trail = read_all(image.statement(9).relation(b));
		EXPECT_FALSE(trail.complete);
		EXPECT_EQ(trail.transaction, 5U);
		ASSERT_EQ(trail.statements.size(), 1U);
		EXPECT_EQ(trail.statements[0].query_id, 1U);
		EXPECT_EQ(trail.relations.size(), 1U);
		EXPECT_TRUE(trail.unknown.empty());
		EXPECT_TRUE(trail.rows_again.empty());
	};
	const ImageBuilder good = ImageBuilder().statement(1).relation(a);
	const auto with = [&good](unsigned kind, std::uint32_t told_words, std::size_t words = 1) {
		return ImageBuilder(good).head(kind, told_words, words);
	};
	expect_the_end("no kind", with(0, 1));
	expect_the_end("unknown kind", with(5, 1));
	expect_the_end("unknown kind of many words", with(UINT16_MAX, 3, 3));
	for (const unsigned kind : {image::kStatement, image::kRelation, image::kRowsAgain, image::kUnknown}) {
		SCOPED_TRACE(kind);
		expect_the_end("no size", with(kind, 0));
		expect_the_end("larger than the image", with(kind, 1000));
		expect_the_end("as large as can be", with(kind, UINT32_MAX));
		expect_the_end("smaller than its fixed part", with(kind, 1));
	}
	expect_the_end("a statement that lacks a word", with(image::kStatement, 4, 4));
	expect_the_end("a fact that lacks a word", with(image::kRowsAgain, 2, 2));
}

TEST(TrailTest, ARecordThatIsTooLargeByOneWordEndsIt) {
	const Reading trail = read_all(ImageBuilder().statement(1).head(image::kRelation, 3, 2));
	EXPECT_FALSE(trail.complete);
	EXPECT_TRUE(trail.relations.empty());
	EXPECT_TRUE(read_all(ImageBuilder().statement(1).head(image::kRelation, 2, 2)).complete);
}

TEST(TrailTest, ARelationOfNoStatementEndsIt) {
	const Reading trail = read_all(ImageBuilder().relation(a).statement(1));
	EXPECT_FALSE(trail.complete);
	EXPECT_TRUE(trail.relations.empty());
	EXPECT_TRUE(trail.statements.empty());
}

TEST(TrailTest, TextsEndWithTheirRecord) {
	const Reading trail = read_all(ImageBuilder()
	                                   .statement(1, "12345678", 9)
	                                   .relation(a, "12345678", 200, 200)
	                                   .relation(a, "12345678", 5, 200)
	                                   .statement(2, "", UINT32_MAX)
	                                   .statement(3, "last", UINT32_MAX));
	ASSERT_EQ(trail.statements.size(), 3U);
	EXPECT_EQ(trail.statements[0].text, "12345678");
	EXPECT_EQ(trail.statements[1].text, "");
	EXPECT_EQ(trail.statements[2].text, std::string_view("last\0\0\0\0", 8));
	ASSERT_EQ(trail.relations.size(), 2U);
	EXPECT_EQ(trail.relations[0].schema, "12345678");
	EXPECT_EQ(trail.relations[0].name, "");
	EXPECT_EQ(trail.relations[1].schema, "12345");
	EXPECT_EQ(trail.relations[1].name, "678");
}

TEST(TrailTest, OfATruncatedImageItReadsTheBeginning) {
	const Words whole = valid_image();
	const Reading all = read_all(whole);
	ASSERT_TRUE(all.complete);
	std::size_t ends = 0;
	for (std::size_t size = image::kHeaderWords; size < whole.size(); ++size) {
		const Reading part = read_all(std::span(whole).first(size));
		ASSERT_LE(part.statements.size(), all.statements.size());
		ASSERT_LE(part.relations.size(), all.relations.size());
		for (std::size_t i = 0; i < part.statements.size(); ++i)
			EXPECT_EQ(part.statements[i].text.size(), all.statements[i].text.size());
		ends += part.complete;
	}
	EXPECT_EQ(ends, 7U) << "the ends of the header and of each record before the last";
}

TEST(TrailTest, NamesNoOneWhoRunsIfSomethingMakesNoSense) {
	Recorder recorder;
	recorder.begin(1);
	recorder.run();
	Words words = recorder.mirror;
	EXPECT_NE(lock_statement(Trail(words), a, share), nullptr);
	words.push_back(0);
	EXPECT_EQ(lock_statement(Trail(words), a, share), nullptr);
}

TEST(TrailTest, OnlyTheLastStatementCanBeTheOneThatRuns) {
	Recorder recorder;
	recorder.begin(1);
	recorder.run();
	recorder.lock(2, b, share);
	EXPECT_EQ(recorder.who_locked(a), 0U);
}

TEST(TrailTest, SurvivesRandomWords) {
	std::mt19937_64 random(1);
	for (int i = 0; i < 3000; ++i) {
		Words words(random() % 40);
		for (std::uint64_t& word : words) {
			word = random();
			if (random() % 2 == 0) // as a head may look
				word = (random() % 8) << 32 | (random() & 0xFFFF0000U) | random() % 6;
		}
		read_all(words);
	}
}

TEST(TrailTest, SurvivesRandomChanges) {
	const Words whole = valid_image();
	std::mt19937_64 random(2);
	for (int i = 0; i < 6000; ++i) {
		Words words = whole;
		words.resize(words.size() - random() % 4);
		for (auto changes = random() % 3 + 1; changes > 0; --changes) {
			const std::size_t byte = random() % (words.size() * image::kWord);
			reinterpret_cast<unsigned char*>(words.data())[byte] = static_cast<unsigned char>(random());
		}
		read_all(words);
	}
}

} // namespace
} // namespace unblock::core::test
