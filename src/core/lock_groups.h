// The awaited locks of a snapshot with the processes of each lock group drawn together.
//
// Says for every holder and every waiter which wanted modes wait for it, each
// node once: this is the rule of pg_blocking_pids(), and all that the graph
// counts, searches and lists is derived from it.
#pragma once

#include "snapshot.h"

#include <array>
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

namespace unblock::core {

// One value per lock mode, `none` included.
template <typename T>
using PerMode = std::array<T, kLockModes>;

struct GroupHolder {
	Index node = kNone;
	ModeMask modes = 0;  // held by all its processes together
	ModeMask blocks = 0; // of the modes wanted here, those that conflict: all who want one wait for this node
};

struct GroupWaiter {
	Index node = kNone;
	LockMode mode = LockMode::none;
	// Of the modes wanted here, those for which all behind it wait for this node because of this entry:
	// it conflicts, and nothing that the node holds, and no entry of the node further ahead, does so.
	ModeMask blocks = 0;
	// The node's own processes would be in the way, as holders or ahead in the queue, if processes of
	// one group could block each other.
	bool holds_against_itself = false;
	bool queued_against_itself = false;
};

class LockGroups {
public:
	// The arrays behind the snapshot must outlive it. O(sessions + holders + waiters). Throws std::bad_alloc.
	explicit LockGroups(const Snapshot& snapshot);

	const Snapshot& snapshot() const noexcept { return snapshot_; }
	Index node_of(Index session) const noexcept { return node_of_[session]; }

	// Distinct nodes that hold an awaited lock or await one.
	std::span<const Index> nodes() const noexcept { return nodes_; }

	// Each node once.
	std::span<const GroupHolder> holders_of(Index lock) const noexcept {
		return {holders_.data() + first_holder_[lock], holders_.data() + first_holder_[lock + 1]};
	}

	// First in line first.
	std::span<const GroupWaiter> queue_of(Index lock) const noexcept {
		return {waiters_.data() + snapshot_.locks[lock].first_waiter, snapshot_.locks[lock].waiters};
	}

	// Same index as in Snapshot::waiters.
	const GroupWaiter& waiter(Index waiter) const noexcept { return waiters_[waiter]; }

	// When a wait began; one without a start has begun just now.
	Time wait_start(Index waiter) const noexcept {
		const Time start = snapshot_.waiters[waiter].wait_start;
		return start == 0 ? snapshot_.now : start;
	}

	// Entries of a node in queues, and awaited locks that it holds.
	Index waits(Index node) const noexcept { return waits_[node]; }
	Index holds(Index node) const noexcept { return holds_[node]; }

private:
	// What a node does to the lock at hand while its entries are gone through.
	struct AtLock {
		Index holder = kNone;   // index into holders_, of the lock at hand or an earlier one
		ModeMask queued = 0;    // wanted modes that its entries so far conflict with
		Index queue_of = kNone; // the lock that `queued` is about
	};

	void add_holders(const Lock& lock, ModeMask wanted, std::span<AtLock> at_lock);
	void add_queue(const Lock& lock, ModeMask wanted, std::span<AtLock> at_lock);
	void add_node(Index node);

	Snapshot snapshot_;
	std::vector<Index> node_of_;
	std::vector<Index> nodes_;
	std::vector<GroupHolder> holders_;
	std::vector<Index> first_holder_; // of a lock; one more than there are locks
	std::vector<GroupWaiter> waiters_;
	std::vector<Index> waits_;
	std::vector<Index> holds_;
};

// Order among nodes that are otherwise equal: the oldest transaction, then the lower pid.
inline std::tuple<Time, std::int32_t, Index> seniority(const Snapshot& snapshot, Index node) noexcept {
	const Session& session = snapshot.sessions[node];
	return {session.xact_start == 0 ? INT64_MAX : session.xact_start, session.pid, node};
}

} // namespace unblock::core
