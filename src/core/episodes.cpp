// The ledger of root blockers.

#include "episodes.h"
#include "policy.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "fence.h"

namespace unblock::core {

namespace {

// An episode that ends so long after a cancel did not end because of it.
constexpr Micros kCancelHelps = 10 * kSecond;

// A session has one transaction at a time; prepared ones have no session.
std::uint64_t key_of(std::int32_t pid, std::uint32_t xid) noexcept {
	constexpr std::uint64_t prepared = std::uint64_t{1} << 32;
	return pid != 0 ? static_cast<std::uint32_t>(pid) : prepared | xid;
}

bool is_of(const Episode& episode, const Session& session) noexcept {
	return episode.backend_start == session.backend_start &&
	       (session.pid == 0 ||
	        (episode.transaction == transaction_of(session) && episode.local_xid == session.local_xid));
}

// Since when somebody has waited for the root now, of those who count; 0: nobody.
Time blocks_since(const WaitGraph& graph, Index root) noexcept {
	const NodeFacts& node = graph.node(root);
	return graph.snapshot().sessions[root].limits.count_advisory_locks ? node.hard_since
	                                                                   : node.hard_since_no_advisory;
}

// The beginning of what transaction_of() tells, on today's clock; 0: not known.
Time transaction_since(const Session& session) noexcept {
	return session.xact_start != 0 ? session.xact_since : session.idle_since;
}

// Brings one lock's holders and waiters to bear on its waiters. Whether that changed anything.
bool take_in(const WaitGraph& graph, const Lock& lock, std::vector<Micros>& stood) {
	const Snapshot& snapshot = graph.snapshot();
	std::array<Micros, kLockModes> ahead; // by mode
	ahead.fill(std::numeric_limits<Micros>::max());
	for (const Holder& holder : snapshot.holders_of(lock))
		for_each_mode(holder.modes, [&](std::size_t mode) {
			ahead[mode] = std::min(ahead[mode], stood[graph.node_of(holder.session)]);
		});
	bool changed = false;
	for (const Waiter& waiter : snapshot.queue_of(lock)) {
		Micros& self = stood[graph.node_of(waiter.session)];
		Micros least = self;
		for_each_mode(conflicts_of(waiter.mode),
		              [&](std::size_t mode) { least = std::min(least, ahead[mode]); });
		changed |= least < self;
		self = least;
		Micros& same_mode = ahead[static_cast<std::size_t>(waiter.mode)];
		same_mode = std::min(same_mode, least);
	}
	return changed;
}

// By node: for how long it and all that it waits for, directly or through others, have waited as they do now.
// Whoever waits for somebody who began to wait only later has waited for the root behind no longer than that.
// Locks nearest to the roots go first, so that two passes do but for tangled graphs; there are never more
// than nodes that stand one behind another, each linear.
std::vector<Micros> stood_for(const WaitGraph& graph) {
	const Snapshot& snapshot = graph.snapshot();
	std::vector<Micros> stood(snapshot.sessions.size(), std::numeric_limits<Micros>::max());
	for (const Waiter& waiter : snapshot.waiters) {
		Micros& self = stood[graph.node_of(waiter.session)];
		self = std::min(self, snapshot.waited(waiter));
	}
	std::vector<std::pair<Index, const Lock*>> order; // by depth
	for (const Lock& lock : snapshot.locks)
		if (lock.waiters > 0)
			order.emplace_back(graph.node(snapshot.waiters[lock.first_waiter].session).depth, &lock);
	std::ranges::sort(order);
	for (bool changed = true; changed;) {
		changed = false;
		for (const auto& [depth, lock] : order)
			changed |= take_in(graph, *lock, stood);
	}
	return stood;
}

// The waits of nodes that wait for the same roots.
struct Group {
	struct Wait {
		Micros length = 0;
		bool advisory = false;
	};
	std::span<const Index> roots;
	std::vector<Wait> waits;
};

} // namespace

const Episodes::Look& Episodes::look(const WaitGraph& graph, Micros report_after, Micros monotonic,
                                     bool wait_for_word) {
	const Snapshot& snapshot = graph.snapshot();
	since_last_look_ = looks_ == 0 ? 0 : monotonic - monotonic_;
	++looks_;
	now_ = snapshot.now;
	monotonic_ = monotonic;
	look_.changes.clear();
	look_.sleep.reset();
	look_.waited = 0;
	ended_.clear();
	of_root_.clear();

	for (const Index root : graph.roots())
		if (blocks_since(graph, root) != 0)
			see(graph, root);
	add_waits(graph);
	for (const Index root : graph.roots())
		if (of_root_.contains(root))
			tell(graph, root, report_after);
	end_the_gone(snapshot, report_after, wait_for_word);
	if (report_after > 0)
		wake_in(report_after); // whoever begins meanwhile
	return look_;
}

// The episode of the session's transaction, made if there is none. That of an earlier one ends.
Episode& Episodes::find(const Session& session) {
	const std::uint64_t key = key_of(session.pid, session.xid);
	if (const auto entry = episodes_.find(key); entry != episodes_.end() && !is_of(entry->second, session)) {
		end(entry->second, true);
		episodes_.erase(entry);
	}
	return episodes_[key];
}

void Episodes::see(const WaitGraph& graph, Index root) {
	const Session& session = graph.snapshot().sessions[root];
	Micros spell = std::max<Micros>(now_ - blocks_since(graph, root), 0);
	Episode& episode = find(session);
	if (episode.look == 0) {
		// Its waiters may have waited for others before: for whoever it waited for itself, and for the
		// transaction before this one, where a lock belongs to the session. It was no root at the last look.
		spell = std::min(spell, std::max<Micros>(now_ - transaction_since(session), 0));
		if (looks_ > 1)
			spell = std::min(spell, since_last_look_);
		episode.pid = session.pid;
		episode.backend_start = session.backend_start;
		episode.transaction = transaction_of(session);
		episode.local_xid = session.local_xid;
		episode.xid = session.xid;
		episode.begin = now_ - spell;
		episode.counts = spell;
	} else
		episode.counts = since_last_look_;
	if (session.xid != 0)
		episode.xid = session.xid;
	episode.blocked += std::min(spell, episode.counts);
	episode.seen_at = now_;
	episode.seen = monotonic_;
	episode.look = looks_;
	of_root_[root] = &episode;
}

// Most nodes wait for the same few roots: what they waited is added up once for each set of roots, which
// roots_of() keeps once.
void Episodes::add_waits(const WaitGraph& graph) {
	const Snapshot& snapshot = graph.snapshot();
	const std::vector<Micros> stood = stood_for(graph);

	std::unordered_map<const Index*, Group> groups;
	for (Index index = 0; index < snapshot.sessions.size(); ++index) {
		const NodeFacts& node = graph.node(index);
		if (graph.node_of(index) != index || !node.waits || node.waiter == kNone)
			continue;
		const Waiter& waiter = snapshot.waiters[node.waiter];
		const bool advisory = snapshot.locks[waiter.lock].advisory;
		if (!advisory)
			look_.waited += std::min(snapshot.waited(waiter), since_last_look_);
		const std::span<const Index> roots = graph.roots_of(index);
		if (roots.empty())
			continue;
		Group& group = groups[roots.data()];
		group.roots = roots;
		group.waits.push_back({stood[index], advisory});
	}
	for (const auto& [unused, group] : groups) {
		const auto sum = [&, waits = std::span(group.waits)](Micros most, bool advisory) {
			Micros waited = 0;
			for (const Group::Wait& wait : waits)
				if (advisory || !wait.advisory)
					waited += std::min(wait.length, most);
			return waited;
		};
		const Micros usual[] = {sum(since_last_look_, false), sum(since_last_look_, true)};
		for (const Index root : group.roots) {
			const auto found = of_root_.find(root);
			if (found == of_root_.end())
				continue;
			Episode& episode = *found->second;
			const bool advisory = snapshot.sessions[root].limits.count_advisory_locks;
			episode.waiting +=
			    episode.counts == since_last_look_ ? usual[advisory] : sum(episode.counts, advisory);
		}
	}
}

void Episodes::tell(const WaitGraph& graph, Index root, Micros report_after) {
	if (report_after == 0)
		return;
	Episode& episode = *of_root_.find(root)->second;
	What what = What::goes_on;
	if (!episode.reported) {
		if (episode.blocked < report_after) {
			wake_in(report_after - episode.blocked);
			return;
		}
		episode.reported = true;
		what = What::begins;
	}
	if (const Index blocked = graph.node(root).blocked_total; blocked > episode.peak) {
		episode.peak = blocked;
		if (what == What::goes_on)
			what = What::grows;
	}
	look_.changes.push_back({&episode, root, what});
	wake_in(kWatchful);
}

void Episodes::end_the_gone(const Snapshot& snapshot, Micros report_after, bool wait_for_word) {
	if (report_after != 0 && of_root_.size() == episodes_.size())
		return; // all were seen to block somebody
	for (const Session& session : snapshot.sessions) {
		const auto entry = episodes_.find(key_of(session.pid, session.xid));
		if (entry != episodes_.end() && is_of(entry->second, session))
			entry->second.present = looks_;
	}
	for (auto entry = episodes_.begin(); entry != episodes_.end();) {
		Episode& episode = entry->second;
		const bool present = episode.present == looks_;
		const bool blocks = episode.look == looks_;
		const bool over = blocks ? report_after == 0 && episode.reported
		                         : !present || monotonic_ - episode.seen >= report_after;
		const bool waits = wait_for_word && !present && episode.reported;
		if (!over || waits) {
			if (waits)
				wake_in(0);
			else if (episode.reported)
				wake_in(kWatchful);
			++entry;
			continue;
		}
		end(episode, !present);
		entry = episodes_.erase(entry);
	}
}

// One whose transaction is over is taken to have blocked until now, if the last look saw it block.
void Episodes::end(Episode& episode, bool transaction_is_over) {
	if (!episode.reported)
		return;
	Episode& ended = ended_.emplace_back(episode);
	if (ended.told == Action::cancel && monotonic_ - ended.told_at > kCancelHelps)
		ended.told.reset();
	ended.end = transaction_is_over && episode.look + 1 == looks_ ? now_ : episode.seen_at;
	look_.changes.push_back({&ended, kNone, What::ends});
}

bool Episodes::has_open() const noexcept {
	return std::ranges::any_of(episodes_, [](const auto& entry) { return entry.second.reported; });
}

const Episode* Episodes::of(const Session& session) const noexcept {
	const auto entry = episodes_.find(key_of(session.pid, session.xid));
	return entry != episodes_.end() && is_of(entry->second, session) ? &entry->second : nullptr;
}

void Episodes::told(std::int32_t pid, Time backend_start, Action action) noexcept {
	const auto entry = episodes_.find(key_of(pid, 0));
	if (entry == episodes_.end() || entry->second.backend_start != backend_start)
		return;
	entry->second.told = action;
	entry->second.told_at = monotonic_;
}

void Episodes::resume(const Episode& episode) {
	Episode& resumed = episodes_[key_of(episode.pid, episode.xid)] = episode;
	resumed.reported = true;
	resumed.seen_at = resumed.begin + resumed.blocked;
	resumed.look = UINT64_MAX; // it is not new, and was not seen at any look of this life
}

void Episodes::wake_in(Micros length) noexcept {
	length = std::max(length, Policy::kShortestSleep);
	look_.sleep = std::min(look_.sleep.value_or(length), length);
}

} // namespace unblock::core
