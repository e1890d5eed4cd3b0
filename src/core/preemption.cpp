// A search from waiters to blockers, lock by lock: pairs are never listed.

#include "preemption.h"

#include "lock_groups.h"

#include <algorithm>
#include <tuple>

#include "fence.h"

namespace unblock::core {

namespace {

class Search {
public:
	explicit Search(const WaitGraph& graph)
	    : graph_(graph), snapshot_(graph.snapshot()), waits_(snapshot_.sessions.size()),
	      at_lock_(snapshot_.locks.size()), seen_(snapshot_.sessions.size(), false) {
		for (Index i = 0; i < snapshot_.waiters.size(); ++i)
			waits_[graph.node_of(snapshot_.waiters[i].session)].push_back(i);
	}

	// Calls visit(node) for all whom this node waits for in the end, but for those visited earlier.
	template <typename Visit>
	void from(Index node, Visit visit) {
		to_visit_.push_back(node);
		while (!to_visit_.empty()) {
			const Index next = to_visit_.back();
			to_visit_.pop_back();
			for (const Index wait : waits_[next])
				blockers_of(wait, [&](Index blocker) {
					if (seen_[blocker] || blocker == node)
						return;
					seen_[blocker] = true;
					visit(blocker);
					to_visit_.push_back(blocker);
				});
		}
	}

private:
	// What has been gone through for those who want one mode of one lock.
	struct AtLock {
		PerMode<bool> holders{};
		PerMode<Index> queue{}; // so many entries from the head of it
	};

	template <typename Visit>
	void blockers_of(Index wait, Visit visit) {
		const Waiter& waiter = snapshot_.waiters[wait];
		const Lock& lock = snapshot_.locks[waiter.lock];
		AtLock& at = at_lock_[waiter.lock];
		const auto mode = static_cast<std::size_t>(waiter.mode);
		const auto visit_if = [&](Index session, ModeMask modes) {
			const Index blocker = graph_.node_of(session);
			const bool counts = !lock.advisory || snapshot_.sessions[blocker].limits.count_advisory_locks;
			if (counts && conflict(waiter.mode, modes))
				visit(blocker);
		};
		if (!at.holders[mode])
			for (const Holder& holder : snapshot_.holders_of(lock))
				visit_if(holder.session, holder.modes);
		at.holders[mode] = true;
		const auto queue = snapshot_.queue_of(lock);
		for (; at.queue[mode] < wait - lock.first_waiter; ++at.queue[mode])
			visit_if(queue[at.queue[mode]].session, bit(queue[at.queue[mode]].mode));
	}

	const WaitGraph& graph_;
	const Snapshot& snapshot_;
	std::vector<std::vector<Index>> waits_; // by node
	std::vector<AtLock> at_lock_;
	std::vector<bool> seen_;
	std::vector<Index> to_visit_;
};

} // namespace

Preemptions::Preemptions(const WaitGraph& graph) {
	const Snapshot& snapshot = graph.snapshot();
	const auto preempts = [&](Index index) {
		const Session& session = snapshot.sessions[index];
		return session.limits.preempt_idle_blockers_after > 0 && session.limits.mode != Mode::off &&
		       session.kind == Kind::client && session.leader == index;
	};
	const auto note = [&](const Session& session, Micros blocked) {
		const Micros in = std::max<Micros>(session.limits.preempt_idle_blockers_after - blocked, 0);
		soonest_ = std::min(soonest_.value_or(in), in);
	};
	for (Index i = 0; i < snapshot.sessions.size(); ++i) {
		const Session& session = snapshot.sessions[i];
		const bool may_wait_again = session.state == State::active || session.state == State::fastpath;
		if (session.counted_blocked_before > 0 && may_wait_again && preempts(i))
			note(session, session.counted_blocked_before);
	}

	std::vector<Preemption> preempting;
	for (Index i = 0; i < snapshot.waiters.size(); ++i) {
		const Waiter& waiter = snapshot.waiters[i];
		const Session& session = snapshot.sessions[waiter.session];
		if (!preempts(waiter.session) ||
		    (snapshot.locks[waiter.lock].advisory && !session.limits.count_advisory_locks))
			continue;
		const Micros wait = snapshot.waited(waiter);
		const Micros blocked = session.counted_blocked_before + wait;
		note(session, blocked);
		preempting.push_back(
		    {i, session.limits.mode, session.limits.preempt_idle_blockers_after, blocked, wait});
	}
	if (preempting.empty())
		return;
	std::ranges::sort(preempting, {}, [](const Preemption& preemption) {
		return std::tuple(preemption.mode, preemption.limit - preemption.blocked, preemption.waiter);
	});
	Search search(graph);
	for (const Preemption& preemption : preempting)
		search.from(graph.node_of(snapshot.waiters[preemption.waiter].session),
		            [&](Index node) { found_.emplace(node, preemption); });
}

const Preemption* Preemptions::on(Index session) const noexcept {
	const auto found = found_.find(session);
	return found == found_.end() ? nullptr : &found->second;
}

} // namespace unblock::core
