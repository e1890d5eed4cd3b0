// One session's part of the memory for statement trails: words that one process writes and any reads.
//
// Nobody waits for anybody. A version is odd while words are being written; a
// reader copies them, and takes its copy only if the version was even and is
// still the same. So a copy is of one moment, whatever the writer does.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

namespace unblock::core {

// Lives in memory of bytes(words), aligned for words; make() comes first.
class TrailSlice {
	static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

public:
	static constexpr std::size_t bytes(std::size_t words) noexcept {
		return sizeof(TrailSlice) + sizeof(std::uint64_t) * words;
	}
	static TrailSlice* make(void* memory) noexcept { return new (memory) TrailSlice; }

	// From one process only: replaces the words from `from` on by the image's; those before are its already.
	void publish(std::span<const std::uint64_t> image, std::size_t from) noexcept {
		const std::uint32_t version = version_.load(std::memory_order_relaxed) | 1U; // a writer may have died
		version_.store(version, std::memory_order_relaxed);
		std::atomic_thread_fence(std::memory_order_release);
		for (std::size_t i = from; i < image.size(); ++i)
			std::atomic_ref(words()[i]).store(image[i], std::memory_order_relaxed);
		used_.store(static_cast<std::uint32_t>(image.size()), std::memory_order_relaxed);
		version_.store(version + 1U, std::memory_order_release);
	}

	// Copies the image into `room`, which must hold all words there can be. Returns its size in words; -1: it
	// is being written all the time.
	std::ptrdiff_t read(std::span<std::uint64_t> room) const noexcept {
		constexpr int most_tries = 100;
		for (int i = 0; i < most_tries; ++i) {
			const std::uint32_t before = version_.load(std::memory_order_acquire);
			if ((before & 1U) != 0)
				continue;
			const std::size_t used = used_.load(std::memory_order_relaxed);
			for (std::size_t word = 0; word < used && word < room.size(); ++word)
				room[word] = std::atomic_ref(const_cast<std::uint64_t&>(words()[word]))
				                 .load(std::memory_order_relaxed);
			std::atomic_thread_fence(std::memory_order_acquire);
			if (version_.load(std::memory_order_relaxed) == before)
				return static_cast<std::ptrdiff_t>(used < room.size() ? used : room.size());
		}
		return -1;
	}

private:
	std::uint64_t* words() noexcept { return reinterpret_cast<std::uint64_t*>(this + 1); }
	const std::uint64_t* words() const noexcept { return reinterpret_cast<const std::uint64_t*>(this + 1); }

	std::atomic<std::uint32_t> version_{0};
	std::atomic<std::uint32_t> used_{0};
};

} // namespace unblock::core
