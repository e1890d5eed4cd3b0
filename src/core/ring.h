// The last so many records, in memory that several processes share.
//
// Anybody may add records, one process changes them afterwards, anybody reads them. Nobody waits for anybody:
// a writer or a reader that was stopped in the middle holds up nobody. Each place has one word of state
// (number of its record, revision, flags), which is claimed by compare-and-swap, and checked again
// after reading. A record that makes way for another before it was saved elsewhere counts as lost, exactly.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <new>
#include <type_traits>

namespace unblock::core {

// Lives in memory of bytes(size) that is all zeros and suitably aligned; make() comes first.
template <class Record>
class Ring {
	static_assert(std::is_trivially_copyable_v<Record>);
	static_assert(sizeof(Record) % sizeof(std::uint64_t) == 0 && alignof(Record) >= alignof(std::uint64_t));
	static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

public:
	// The state of a place: which record, in which revision. Records are numbered from 1.
	using State = std::uint64_t;
	static constexpr std::uint64_t number(State state) noexcept { return state >> kNumberShift; }

	static constexpr std::size_t bytes(std::uint32_t size) noexcept {
		return sizeof(Ring) + sizeof(Place) * size;
	}
	static Ring* make(void* memory, std::uint32_t size) noexcept {
		Ring* ring = new (memory) Ring;
		ring->size_ = size;
		for (std::uint32_t i = 0; i < size; ++i)
			new (ring->places() + i) Place;
		return ring;
	}

	std::uint32_t size() const noexcept { return size_; }

	// The highest number that was given out, 0 if there is none yet. Its record may still be being written,
	// or have found that place taken and gone to another one.
	std::uint64_t newest() const noexcept { return next_.load(std::memory_order_acquire); }

	// Records that somebody wanted to add.
	std::uint64_t added() const noexcept { return added_.load(std::memory_order_relaxed); }

	// Those of them that made way for newer ones before they were saved, or found no place at all.
	std::uint64_t lost() const noexcept {
		// One may have been taken off before it was counted: see mark_saved().
		const auto lost = static_cast<std::int64_t>(lost_.load(std::memory_order_relaxed));
		return lost > 0 ? static_cast<std::uint64_t>(lost) : 0;
	}

	// Grows with each record added and each change worth saving.
	std::uint64_t changes() const noexcept { return changes_.load(std::memory_order_acquire); }

	// Returns the record's number; 0: there was no place for it, and it is lost. A place where a writer was
	// stopped is passed over, and so is its number.
	std::uint64_t add(const Record& record) noexcept {
		constexpr int most_tries = 16;
		added_.fetch_add(1, std::memory_order_relaxed);
		for (int i = 0; i < most_tries; ++i) {
			const std::uint64_t own = next_.fetch_add(1, std::memory_order_acq_rel) + 1;
			Place& place = place_of(own);
			State before = place.state.load(std::memory_order_relaxed);
			// A whole round may have passed since the number was taken.
			while ((before & kWriting) == 0 && number(before) < own) {
				if (!place.state.compare_exchange_weak(before, state_of(own) | kWriting,
				                                       std::memory_order_acq_rel))
					continue;
				if (before != 0 && (before & (kSaved | kChanged)) == 0)
					lost_.fetch_add(1, std::memory_order_relaxed);
				write(place, record);
				place.state.store(state_of(own), std::memory_order_release);
				changes_.fetch_add(1, std::memory_order_acq_rel);
				return own;
			}
		}
		lost_.fetch_add(1, std::memory_order_relaxed);
		return 0;
	}

	// From one process only: replaces a record's contents by what `change(Record&)` makes of them. It is to
	// be saved again, unless `quiet`. False: it is not there any more.
	template <class Change>
	bool change(std::uint64_t own, bool quiet, Change change) noexcept {
		Place& place = place_of(own);
		State before = place.state.load(std::memory_order_acquire);
		do
			if (number(before) != own || (before & kWriting) != 0)
				return false;
		while (!place.state.compare_exchange_weak(before, before | kWriting, std::memory_order_acq_rel));
		Record record{};
		read(place, record);
		change(record);
		write(place, record);
		// Meanwhile it may have been marked as saved.
		State now = place.state.load(std::memory_order_relaxed);
		State after;
		do {
			after = (now & ~(kRevision | kWriting)) | ((now + kOneRevision) & kRevision);
			if (!quiet && (now & kSaved) != 0)
				after = (after & ~kSaved) | kChanged;
		} while (!place.state.compare_exchange_weak(now, after, std::memory_order_acq_rel));
		// Whoever has looked meanwhile has not seen it, and may take all for saved.
		if ((after & kSaved) == 0)
			changes_.fetch_add(1, std::memory_order_acq_rel);
		return true;
	}

	// Copies the record in a place (0 … size - 1). Returns its state; 0: there is none, or it is being
	// written all the time.
	State read(std::uint32_t index, Record& record) const noexcept {
		constexpr int most_tries = 100;
		const Place& place = places()[index];
		for (int i = 0; i < most_tries; ++i) {
			const State before = place.state.load(std::memory_order_acquire);
			if (before == 0)
				return 0;
			if ((before & kWriting) != 0)
				continue;
			read(place, record);
			std::atomic_thread_fence(std::memory_order_acquire);
			if (place.state.load(std::memory_order_relaxed) == before)
				return before;
		}
		return 0;
	}

	// Looks at every page of the ring once, so that this process has them all at hand: to get to know a page
	// takes longer than to fill it.
	void warm_up() const noexcept {
		for (std::uint32_t i = 0; i < size_; ++i) {
			static_cast<void>(places()[i].state.load(std::memory_order_relaxed));
			std::uint64_t& last =
			    const_cast<std::uint64_t&>(places()[i].words[std::size(places()[i].words) - 1]);
			static_cast<void>(*static_cast<volatile std::uint64_t*>(&last));
		}
	}

	// The place of a record, if it is still there.
	std::uint32_t index_of(std::uint64_t own) const noexcept {
		return static_cast<std::uint32_t>(own % size_);
	}

	static constexpr bool is_saved(State state) noexcept { return (state & kSaved) != 0; }

	// From one process only: what was read in this state has been saved. If it has changed since, it is to be
	// saved again; if it has made way for another since, it was counted as lost, and is not any more.
	void mark_saved(State read_as) noexcept {
		Place& place = place_of(number(read_as));
		State before = place.state.load(std::memory_order_acquire);
		for (;;) {
			if (number(before) != number(read_as)) {
				if ((read_as & (kSaved | kChanged)) == 0)
					lost_.fetch_sub(1, std::memory_order_relaxed);
				return;
			}
			const bool same = (before & kRevision) == (read_as & kRevision);
			const State flag = same ? kSaved : kChanged;
			if ((before & flag) != 0)
				return;
			const State after = same ? (before & ~kChanged) | kSaved : before | kChanged;
			if (place.state.compare_exchange_weak(before, after, std::memory_order_acq_rel))
				return;
		}
	}

private:
	static constexpr State kWriting = 1;
	static constexpr State kSaved = 2;   // as it is
	static constexpr State kChanged = 4; // was saved, and has changed since
	static constexpr State kOneRevision = 8;
	static constexpr int kNumberShift = 19;
	static constexpr State kRevision = (State{1} << kNumberShift) - kOneRevision;

	struct Place {
		std::atomic<State> state{0};
		alignas(Record) std::uint64_t words[sizeof(Record) / sizeof(std::uint64_t)] = {};
	};

	static constexpr State state_of(std::uint64_t number) noexcept { return number << kNumberShift; }
	Place* places() noexcept { return reinterpret_cast<Place*>(this + 1); }
	const Place* places() const noexcept { return reinterpret_cast<const Place*>(this + 1); }
	Place& place_of(std::uint64_t own) noexcept { return places()[index_of(own)]; }

	// Word by word, since a reader may be at it at the same time.
	static void write(Place& place, const Record& record) noexcept {
		std::atomic_thread_fence(std::memory_order_release);
		const auto* from = reinterpret_cast<const char*>(&record);
		for (std::uint64_t& word : place.words) {
			std::uint64_t value;
			std::memcpy(&value, from, sizeof(value));
			std::atomic_ref(word).store(value, std::memory_order_relaxed);
			from += sizeof(value);
		}
	}
	static void read(const Place& place, Record& record) noexcept {
		auto* to = reinterpret_cast<char*>(&record);
		for (const std::uint64_t& word : place.words) {
			const std::uint64_t value =
			    std::atomic_ref(const_cast<std::uint64_t&>(word)).load(std::memory_order_relaxed);
			std::memcpy(to, &value, sizeof(value));
			to += sizeof(value);
		}
	}

	std::atomic<std::uint64_t> next_{0};
	std::atomic<std::uint64_t> added_{0};
	std::atomic<std::uint64_t> changes_{0};
	std::atomic<std::uint64_t> lost_{0};
	std::uint32_t size_ = 0;
};

} // namespace unblock::core
