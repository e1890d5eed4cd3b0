// One walk along each queue, from its end.

#include "queue_jams.h"

#include "lock_groups.h"

#include <algorithm>
#include <optional>

#include "fence.h"

namespace unblock::core {

namespace {

// The sessions jammed longest, so many as anybody asks for.
class Longest {
public:
	struct Jammed {
		Micros length = 0;
		Index waiter = kNone;
	};

	void ask_for(std::size_t most) { most_ = std::max(most_, most); }
	bool is_asked() const noexcept { return most_ > 0; }

	void add(Jammed jammed) {
		const auto place = std::ranges::lower_bound(longest_, jammed.length, std::greater{}, &Jammed::length);
		if (static_cast<std::size_t>(place - longest_.begin()) >= most_)
			return;
		longest_.insert(place, jammed);
		if (longest_.size() > most_)
			longest_.pop_back();
	}

	// The one jammed longest, and the n-th.
	const Jammed* first() const noexcept { return longest_.empty() ? nullptr : &longest_.front(); }
	const Jammed* at(std::size_t n) const noexcept {
		return longest_.size() < n ? nullptr : &longest_[n - 1];
	}

private:
	std::size_t most_ = 0;
	std::vector<Jammed> longest_; // longest first
};

bool is_limited(const Session& session, bool advisory) noexcept {
	return session.limits.queued_blocker > 0 && (!advisory || session.limits.count_advisory_locks);
}

bool stands_for_itself(const Session& session, Index index) noexcept {
	return session.leader == index && session.kind != Kind::worker;
}

std::size_t waiters_asked_for(const Session& session) noexcept {
	return std::max<Index>(session.limits.queued_blocker_waiters, 1);
}

} // namespace

void QueueJams::look(const WaitGraph& graph, Micros monotonic) {
	const Snapshot& snapshot = graph.snapshot();
	monotonic_ = monotonic;
	++looks_;
	jams_.clear();
	for (const Lock& lock : snapshot.locks) {
		const auto queue = snapshot.queue_of(lock);
		if (std::ranges::any_of(queue, [&](const Waiter& waiter) {
			    return is_limited(snapshot.sessions[waiter.session], lock.advisory);
		    }))
			look_at(graph, lock);
	}
	std::erase_if(memory_, [this](const auto& entry) { return entry.second.look != looks_; });
}

void QueueJams::look_at(const WaitGraph& graph, const Lock& lock) {
	const Snapshot& snapshot = graph.snapshot();
	const auto is_limited_here = [&](Index session) {
		return is_limited(snapshot.sessions[session], lock.advisory) &&
		       stands_for_itself(snapshot.sessions[session], session);
	};
	PerMode<Longest> behind; // by the mode of somebody ahead whom they wait for
	for (const Waiter& waiter : snapshot.queue_of(lock))
		if (is_limited_here(waiter.session))
			behind[static_cast<std::size_t>(waiter.mode)].ask_for(
			    waiters_asked_for(snapshot.sessions[waiter.session]));

	for (Index i = lock.first_waiter + lock.waiters; i-- > lock.first_waiter;) {
		const Waiter& waiter = snapshot.waiters[i];
		const Session& session = snapshot.sessions[waiter.session];
		if (is_limited_here(waiter.session)) {
			const Longest& jammed = behind[static_cast<std::size_t>(waiter.mode)];
			Jam jam{.wait = i};
			if (const Longest::Jammed* enough = jammed.at(waiters_asked_for(session))) {
				jam.enough = true;
				// One that holds the lock already gets ahead of those who have waited longer.
				jam.length = std::min(enough->length, snapshot.waited(waiter));
				jam.waiter = jammed.first()->waiter;
			}
			jams_.insert_or_assign(waiter.session, jam);
		}
		if (!stands_for_itself(session, waiter.session) || session.kind == Kind::autovacuum)
			continue;
		const Micros length = jammed_for(graph, i);
		if (graph.waiter(i).hard_blockers > 0)
			continue;
		for_each_mode(conflicts_of(waiter.mode), [&](std::size_t mode) {
			if (behind[mode].is_asked())
				behind[mode].add({length, i});
		});
	}
}

// For how long a waiter, if it is jammed, can have been so. Remembers that it is not.
Micros QueueJams::jammed_for(const WaitGraph& graph, Index waiter) {
	const Snapshot& snapshot = graph.snapshot();
	const Waiter& wait = snapshot.waiters[waiter];
	const Session& session = snapshot.sessions[wait.session];
	if (graph.waiter(waiter).hard_blockers > 0) {
		memory_.insert_or_assign(session.pid, Memory{session.backend_start, monotonic_, looks_});
		return 0;
	}
	const auto known = memory_.find(session.pid);
	if (known == memory_.end() || known->second.backend_start != session.backend_start)
		return snapshot.waited(wait);
	known->second.look = looks_;
	return std::min(snapshot.waited(wait), monotonic_ - known->second.held_until);
}

const Jam* QueueJams::of(Index session) const noexcept {
	const auto found = jams_.find(session);
	return found == jams_.end() ? nullptr : &found->second;
}

} // namespace unblock::core
