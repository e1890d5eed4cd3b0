// The published image: a reader gets one that was published, or none.

#include "core/trail_slice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <thread>
#include <vector>

namespace unblock::core::test {
namespace {

using Words = std::vector<std::uint64_t>;

class TrailSliceTest : public testing::Test {
protected:
	explicit TrailSliceTest(std::size_t most_words = 64)
	    : memory(TrailSlice::bytes(most_words) / sizeof(std::uint64_t)), most(most_words) {
		slice = TrailSlice::make(memory.data());
	}

	void publish(const Words& image, std::size_t from = 0) { slice->publish(image, from); }
	Words read() const {
		Words room(most, stale);
		const std::ptrdiff_t size = slice->read(room);
		EXPECT_GE(size, 0);
		EXPECT_TRUE(std::all_of(room.begin() + size, room.end(), [](std::uint64_t word) {
			return word == stale;
		})) << "nothing is written behind it";
		room.resize(static_cast<std::size_t>(size));
		return room;
	}
	// A writer that dies leaves the version, which is what the slice begins with, as it is.
	std::atomic<std::uint32_t>& version() {
		return *reinterpret_cast<std::atomic<std::uint32_t>*>(memory.data());
	}

	static constexpr std::uint64_t stale = 0xABABABAB;
	Words memory;
	std::size_t most;
	TrailSlice* slice;
};

TEST_F(TrailSliceTest, IsEmptyAtFirst) {
	EXPECT_EQ(read(), Words{});
}

TEST_F(TrailSliceTest, IsReadAsItWasPublished) {
	publish({1, 2, 3});
	EXPECT_EQ(read(), (Words{1, 2, 3}));
	EXPECT_EQ(read(), (Words{1, 2, 3})) << "any number of times";
	publish({4});
	EXPECT_EQ(read(), Words{4});
	publish({});
	EXPECT_EQ(read(), Words{});
}

TEST_F(TrailSliceTest, HoldsAsManyWordsAsItWasMadeFor) {
	const Words full(most, 7);
	publish(full);
	EXPECT_EQ(read(), full);
}

TEST_F(TrailSliceTest, TakesOnlyTheWordsThatHaveChanged) {
	publish({1, 2, 3});
	publish({9, 9, 4, 5}, 2);
	EXPECT_EQ(read(), (Words{1, 2, 4, 5})) << "the first two it has already";
}

TEST_F(TrailSliceTest, CutsOffWithoutAnyWord) {
	publish({1, 2, 3});
	publish({1, 2}, 2);
	EXPECT_EQ(read(), (Words{1, 2}));
	publish({1}, 5);
	EXPECT_EQ(read(), Words{1});
}

TEST_F(TrailSliceTest, RoomThatIsTooSmallGetsTheBeginning) {
	publish({1, 2, 3});
	Words room(3, stale);
	EXPECT_EQ(slice->read(std::span(room).first(2)), 2);
	EXPECT_EQ(room, (Words{1, 2, stale}));
	EXPECT_EQ(slice->read({}), 0);
}

TEST_F(TrailSliceTest, WhileItIsBeingWrittenItIsNotRead) {
	publish({1, 2, 3});
	EXPECT_EQ(version() % 2, 0U);
	++version();
	Words room(most);
	EXPECT_EQ(slice->read(room), -1);
}

TEST_F(TrailSliceTest, AWriterThatDiedIsMadeGoodByTheNext) {
	publish({1, 2, 3});
	++version();
	publish({4, 5});
	EXPECT_EQ(version() % 2, 0U);
	EXPECT_EQ(read(), (Words{4, 5}));
	publish({4, 6}, 1);
	EXPECT_EQ(read(), (Words{4, 6}));
}

TEST_F(TrailSliceTest, EveryImageHasAnotherVersion) {
	const std::uint32_t before = version();
	publish({1});
	publish({1});
	EXPECT_EQ(version(), before + 4);
	++version();
	const std::uint32_t left = version();
	publish({1});
	EXPECT_EQ(version(), left + 1) << "nobody has read the one that was left";
}

TEST_F(TrailSliceTest, VersionsMayWrapAround) {
	version() = UINT32_MAX - 1;
	publish({1, 2});
	EXPECT_EQ(version(), 0U);
	EXPECT_EQ(read(), (Words{1, 2}));
}

// Images with a sequence number in front and a checksum behind.
class SealedImages : public TrailSliceTest {
protected:
	SealedImages() : TrailSliceTest(512) {}

	static std::uint64_t checksum(std::span<const std::uint64_t> words) {
		std::uint64_t sum = words.size();
		for (const std::uint64_t word : words)
			sum = (sum ^ word) * 0x9E3779B97F4A7C15U;
		return sum;
	}
	static bool is_sealed(std::span<const std::uint64_t> image) {
		return image.size() >= 2 && image.back() == checksum(image.first(image.size() - 1));
	}
};

// The words before `from` stay as they are, so the sequence number is not always written: it lies before the
// checksum, at the end.
TEST_F(SealedImages, AreReadWholeWhileTheyAreBeingReplaced) {
	std::atomic<bool> over = false;
	std::atomic<int> readers = 0;
	std::atomic<int> satisfied = 0; // readers that have seen an image being replaced
	publish({0, checksum(Words{0})});
	const auto watch = [&](std::uint64_t& copies, std::uint64_t& images, std::uint64_t& bad) {
		Words room(most);
		std::uint64_t last = 0;
		++readers;
		while (!over) {
			const std::ptrdiff_t size = slice->read(room);
			if (size < 0)
				continue;
			const auto image = std::span(room).first(static_cast<std::size_t>(size));
			if (!is_sealed(image)) {
				++bad;
				continue;
			}
			const std::uint64_t sequence = image[image.size() - 2];
			bad += sequence < last;
			if (sequence != last && ++images == 2)
				++satisfied;
			last = sequence;
			++copies;
		}
	};
	struct Seen {
		std::uint64_t copies = 0, images = 0, bad = 0;
	} seen[2];
	std::vector<std::thread> threads;
	for (Seen& own : seen)
		threads.emplace_back([&watch, &own] { watch(own.copies, own.images, own.bad); });
	while (readers < 2)
		std::this_thread::yield();

	std::mt19937_64 random(1);
	Words image;
	std::uint64_t sequence = 0;
	const auto began = std::chrono::steady_clock::now();
	const auto is_over = [&] {
		const auto passed = std::chrono::steady_clock::now() - began;
		return passed > std::chrono::milliseconds(500) &&
		       (satisfied == 2 || passed > std::chrono::seconds(30));
	};
	while (!is_over()) {
		if (!image.empty())
			image.resize(image.size() - 2);
		std::size_t from = image.size();
		const auto what = random() % 10;
		if (what == 0)
			from = 0; // all of it
		else if (what < 4)
			from = random() % (image.size() + 1); // cut off
		image.resize(from);
		for (auto more = random() % (what == 0 ? 400 : 8); more > 0 && image.size() + 2 < most; --more)
			image.push_back(random());
		image.push_back(++sequence);
		image.push_back(checksum(image));
		if (image.size() + 10 > most) {
			image = {++sequence};
			image.push_back(checksum(image));
			from = 0;
		}
		publish(image, from);
		if (sequence % 64 == 0)
			std::this_thread::yield();
	}
	over = true;
	for (std::thread& thread : threads)
		thread.join();
	EXPECT_EQ(read(), image);
	for (const Seen& own : seen) {
		EXPECT_EQ(own.bad, 0U);
		EXPECT_GT(own.images, 1U);
		EXPECT_GE(own.copies, own.images);
	}
}

} // namespace
} // namespace unblock::core::test
