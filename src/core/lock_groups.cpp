// Draws the processes of each lock group together, lock by lock.
#include "lock_groups.h"

#include "fence.h"

namespace unblock::core {

namespace {

Index leader_of(const Snapshot& snapshot, Index session) noexcept {
	const Index leader = snapshot.sessions[session].leader;
	return leader < snapshot.sessions.size() ? leader : session;
}

} // namespace

LockGroups::LockGroups(const Snapshot& snapshot)
    : snapshot_(snapshot), node_of_(snapshot.sessions.size()), waiters_(snapshot.waiters.size()),
      waits_(snapshot.sessions.size()), holds_(snapshot.sessions.size()) {
	for (Index session = 0; session < node_of_.size(); ++session)
		node_of_[session] = leader_of(snapshot, session);
	std::vector<AtLock> at_lock(snapshot.sessions.size()); // by node
	nodes_.reserve(snapshot.sessions.size());
	holders_.reserve(snapshot.holders.size());
	first_holder_.reserve(snapshot.locks.size() + 1);
	for (const Lock& lock : snapshot.locks) {
		first_holder_.push_back(static_cast<Index>(holders_.size()));
		ModeMask wanted = 0;
		for (const Waiter& waiter : snapshot.queue_of(lock))
			wanted = static_cast<ModeMask>(wanted | bit(waiter.mode));
		add_holders(lock, wanted, at_lock);
		add_queue(lock, wanted, at_lock);
	}
	first_holder_.push_back(static_cast<Index>(holders_.size()));
}

void LockGroups::add_holders(const Lock& lock, ModeMask wanted, std::span<AtLock> at_lock) {
	const Index first = first_holder_.back();
	for (const Holder& holder : snapshot_.holders_of(lock)) {
		const Index node = node_of_[holder.session];
		Index& known = at_lock[node].holder;
		if (known == kNone || known < first) {
			known = static_cast<Index>(holders_.size());
			add_node(node);
			++holds_[node];
			holders_.push_back({node, 0, 0});
		}
		GroupHolder& group = holders_[known];
		group.modes = static_cast<ModeMask>(group.modes | holder.modes);
		group.blocks = conflicts_of(group.modes) & wanted;
	}
}

void LockGroups::add_queue(const Lock& lock, ModeMask wanted, std::span<AtLock> at_lock) {
	const Index this_lock = static_cast<Index>(first_holder_.size() - 1);
	const Index first = first_holder_.back();
	for (Index i = lock.first_waiter; i < lock.first_waiter + lock.waiters; ++i) {
		const LockMode mode = snapshot_.waiters[i].mode;
		const Index node = node_of_[snapshot_.waiters[i].session];
		AtLock& own = at_lock[node];
		if (own.queue_of != this_lock) {
			own.queue_of = this_lock;
			own.queued = 0;
		}
		const bool holds = own.holder != kNone && own.holder >= first;
		const ModeMask held_against = holds ? holders_[own.holder].blocks : ModeMask{0};
		const unsigned already = held_against | own.queued;

		GroupWaiter& waiter = waiters_[i];
		waiter.node = node;
		waiter.mode = mode;
		waiter.blocks = static_cast<ModeMask>(conflicts_of(mode) & wanted & ~already);
		waiter.holds_against_itself = (held_against & bit(mode)) != 0;
		waiter.queued_against_itself = (own.queued & bit(mode)) != 0;

		own.queued = static_cast<ModeMask>(own.queued | waiter.blocks);
		add_node(node);
		++waits_[node];
	}
}

void LockGroups::add_node(Index node) {
	if (waits_[node] == 0 && holds_[node] == 0)
		nodes_.push_back(node);
}

} // namespace unblock::core
