// The ring of records: what is kept, what is lost, and that nobody waits for anybody.

#include "core/ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace unblock::core::test {
namespace {

// All words are the same, or it was torn.
struct Record {
	std::array<std::uint64_t, 64> words;

	static Record of(std::uint64_t value) {
		Record record;
		record.words.fill(value);
		return record;
	}
	std::uint64_t value() const { return words.front(); }
	bool whole() const {
		return std::ranges::all_of(words, [this](std::uint64_t word) { return word == value(); });
	}
};

using Records = Ring<Record>;

class RingTest : public testing::Test {
protected:
	explicit RingTest(std::uint32_t size = 4) : memory(Records::bytes(size) / sizeof(std::uint64_t) + 1) {
		ring = Records::make(memory.data(), size);
	}

	// Values and states, by place.
	std::vector<std::pair<std::uint64_t, Records::State>> all(bool only_unsaved = false) const {
		std::vector<std::pair<std::uint64_t, Records::State>> found;
		for (std::uint32_t place = 0; place < ring->size(); ++place) {
			Record record;
			const Records::State state = ring->read(place, record);
			if (state == 0 || (only_unsaved && Records::is_saved(state)))
				continue;
			EXPECT_TRUE(record.whole());
			found.emplace_back(record.value(), state);
		}
		std::ranges::sort(found);
		return found;
	}
	std::vector<std::uint64_t> values(bool only_unsaved = false) const {
		std::vector<std::uint64_t> found;
		for (const auto& [value, state] : all(only_unsaved))
			found.push_back(value);
		return found;
	}
	void save_all() {
		for (const auto& [value, state] : all())
			ring->mark_saved(state);
	}
	std::uint64_t add(std::uint64_t value) { return ring->add(Record::of(value)); }

	std::vector<std::uint64_t> memory;
	Records* ring;
};

using Values = std::vector<std::uint64_t>;

TEST_F(RingTest, IsEmptyAtFirst) {
	EXPECT_EQ(values(), Values{});
	EXPECT_EQ(ring->newest(), 0U);
	EXPECT_EQ(ring->lost(), 0U);
	EXPECT_EQ(ring->changes(), 0U);
}

TEST_F(RingTest, NumbersRecordsFromOneOn) {
	EXPECT_EQ(add(10), 1U);
	EXPECT_EQ(add(20), 2U);
	EXPECT_EQ(ring->newest(), 2U);
	EXPECT_EQ(ring->added(), 2U);
	EXPECT_EQ(ring->changes(), 2U);
	for (const auto& [value, state] : all())
		EXPECT_EQ(Records::number(state), value / 10);
}

TEST_F(RingTest, KeepsTheLastOnes) {
	for (std::uint64_t value = 1; value <= 10; ++value)
		add(value);
	EXPECT_EQ(values(), (Values{7, 8, 9, 10}));
}

TEST_F(RingTest, WhatMadeWayUnsavedIsLost) {
	for (std::uint64_t value = 1; value <= 6; ++value)
		add(value);
	EXPECT_EQ(ring->lost(), 2U);
}

TEST_F(RingTest, WhatWasSavedIsNot) {
	add(1);
	add(2);
	save_all();
	EXPECT_EQ(values(true), Values{});
	EXPECT_EQ(values(), (Values{1, 2})) << "it can still be read";
	for (std::uint64_t value = 3; value <= 7; ++value)
		add(value);
	EXPECT_EQ(ring->lost(), 1U) << "of five that followed only the first of them made way";
}

TEST_F(RingTest, WhatMadeWayWhileItWasBeingSavedIsNotLost) {
	add(1);
	const auto read = all();
	for (std::uint64_t value = 2; value <= 5; ++value)
		add(value);
	EXPECT_EQ(ring->lost(), 1U);
	ring->mark_saved(read.front().second);
	EXPECT_EQ(ring->lost(), 0U);
	EXPECT_EQ(values(true), (Values{2, 3, 4, 5}));
}

TEST_F(RingTest, AChangeIsToBeSavedAgain) {
	const std::uint64_t number = add(1);
	save_all();
	EXPECT_TRUE(ring->change(number, false, [](Record& record) { record = Record::of(2); }));
	EXPECT_EQ(values(true), Values{2});
	EXPECT_EQ(ring->changes(), 2U);
	for (std::uint64_t value = 3; value <= 6; ++value)
		add(value);
	EXPECT_EQ(ring->lost(), 0U) << "the record was saved, if not its last change";
}

TEST_F(RingTest, AQuietChangeIsNot) {
	const std::uint64_t number = add(1);
	save_all();
	EXPECT_TRUE(ring->change(number, true, [](Record& record) { record = Record::of(2); }));
	EXPECT_EQ(values(), Values{2});
	EXPECT_EQ(values(true), Values{});
	EXPECT_EQ(ring->changes(), 1U);
}

TEST_F(RingTest, AQuietChangeOfWhatIsNotSavedYetIsSavedWithIt) {
	const std::uint64_t number = add(1);
	EXPECT_TRUE(ring->change(number, true, [](Record& record) { record = Record::of(2); }));
	EXPECT_EQ(values(true), Values{2});
}

TEST_F(RingTest, AChangeWhileItIsBeingSavedIsToBeSavedAgain) {
	const std::uint64_t number = add(1);
	const auto read = all();
	ring->change(number, false, [](Record& record) { record = Record::of(2); });
	ring->mark_saved(read.front().second);
	EXPECT_EQ(values(true), Values{2});
	for (std::uint64_t value = 3; value <= 6; ++value)
		add(value);
	EXPECT_EQ(ring->lost(), 0U);
}

TEST_F(RingTest, IsMarkedWhileItIsBeingChanged) {
	const std::uint64_t number = add(1);
	const auto read = all();
	ring->change(number, false, [&](Record& record) {
		ring->mark_saved(read.front().second);
		record = Record::of(2);
	});
	EXPECT_EQ(values(true), Values{2});
	for (std::uint64_t value = 3; value <= 6; ++value)
		add(value);
	EXPECT_EQ(ring->lost(), 0U);
}

TEST_F(RingTest, MarkingTwiceIsMarkingOnce) {
	add(1);
	const auto read = all();
	ring->mark_saved(read.front().second);
	ring->mark_saved(read.front().second);
	EXPECT_EQ(ring->lost(), 0U);
	EXPECT_EQ(values(true), Values{});
}

TEST_F(RingTest, WhatHasMadeWayCannotBeChanged) {
	const std::uint64_t number = add(1);
	for (std::uint64_t value = 2; value <= 5; ++value)
		add(value);
	EXPECT_FALSE(ring->change(number, false, [](Record& record) { record = Record::of(9); }));
	EXPECT_FALSE(ring->change(100, false, [](Record& record) { record = Record::of(9); }));
	EXPECT_EQ(values(), (Values{2, 3, 4, 5}));
}

// Inside of change() its place is as one whose writer was stopped.
TEST_F(RingTest, AStoppedWriterHoldsUpNobody) {
	const std::uint64_t number = add(1);
	ring->change(number, false, [&](Record& record) {
		Record other;
		EXPECT_EQ(ring->read(ring->index_of(number), other), 0U) << "a reader passes over it";
		EXPECT_FALSE(ring->change(number, false, [](Record&) {}));
		for (std::uint64_t value = 2; value <= 9; ++value)
			EXPECT_NE(add(value), 0U);
		EXPECT_EQ(values(), (Values{7, 8, 9})) << "writers too";
		record = Record::of(10);
	});
	EXPECT_EQ(values(), (Values{7, 8, 9, 10})) << "it goes on";
	EXPECT_EQ(ring->lost(), 5U);
}

class RingOfOne : public RingTest {
protected:
	RingOfOne() : RingTest(1) {}
};

TEST_F(RingOfOne, WithoutAPlaceARecordIsLost) {
	const std::uint64_t number = add(1);
	ring->change(number, false, [&](Record&) {
		EXPECT_EQ(add(2), 0U);
		EXPECT_EQ(ring->lost(), 1U);
	});
	EXPECT_EQ(values(), Values{1});
}

class RingOfSixteen : public RingTest {
protected:
	RingOfSixteen() : RingTest(16) {}
};

// Writers, one who changes, one who saves, and readers at the same time: what was saved and what was lost add
// up to what was added.
TEST_F(RingOfSixteen, LosesNothingUncounted) {
	constexpr std::uint64_t writers = 4, records = 20'000;
	std::atomic<std::uint64_t> refused = 0;
	std::atomic<bool> over = false;
	std::set<std::uint64_t> saved;
	const auto save = [&] {
		for (std::uint32_t place = 0; place < ring->size(); ++place) {
			Record record;
			const Records::State state = ring->read(place, record);
			if (state == 0 || Records::is_saved(state))
				continue;
			EXPECT_TRUE(record.whole());
			std::this_thread::yield();
			saved.insert(Records::number(state));
			ring->mark_saved(state);
		}
	};
	std::vector<std::thread> threads;
	for (std::uint64_t writer = 0; writer < writers; ++writer)
		threads.emplace_back([&, writer] {
			for (std::uint64_t i = 0; i < records; ++i)
				if (add(writer * records + i) == 0)
					++refused;
		});
	std::thread changer([&] {
		for (std::uint64_t i = 0; !over; ++i)
			ring->change(ring->newest() - i % 16, i % 2 == 0,
			             [i](Record& record) { record = Record::of(1'000'000'000 + i); });
	});
	std::thread saver([&] {
		while (!over)
			save();
	});
	std::thread reader([&] {
		while (!over)
			all();
	});
	for (std::thread& thread : threads)
		thread.join();
	over = true;
	for (std::thread* thread : {&changer, &saver, &reader})
		thread->join();
	save();
	EXPECT_EQ(ring->added(), writers * records);
	EXPECT_EQ(saved.size() + ring->lost(), ring->added());
	EXPECT_GE(ring->lost(), refused);
	EXPECT_EQ(values(true), Values{});
}

} // namespace
} // namespace unblock::core::test
