// Blocking episodes: for each transaction that keeps others waiting, from the first waiter to the last.
//
// Reports show a moment. This remembers from look to look who has been a root blocker, for how long, and what
// it cost, so that each episode is told once, with a beginning and an end, however many looks saw it.
#pragma once

#include "rules.h"
#include "wait_graph.h"

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

namespace unblock::core {

struct Episode {
	// Of whom: the transaction of a session. A session's next transaction makes an episode of its own.
	std::int32_t pid = 0; // 0: a prepared transaction, told by its xid
	Time backend_start = 0;
	Time transaction = 0; // see transaction_of()
	std::uint32_t local_xid = 0;
	std::uint32_t xid = 0;

	Time begin = 0;     // of its first wait as a root, on the clock of the look that saw it first
	Time end = 0;       // 0: goes on
	Micros blocked = 0; // for how long somebody waited for it
	Micros waiting = 0; // the waits of all whom it blocked, directly or through others, added up
	Index peak = 0;     // the most sessions that it blocked at once, of the looks since it was reported
	bool reported = false;
	std::uint64_t record = 0;   // where its reader has written it down
	std::optional<Action> told; // what was done about it last; a cancel only if it ended soon after

private:
	friend class Episodes;
	Micros told_at = 0;        // monotonic: the last look before
	Time seen_at = 0;          // the last look that saw it block somebody
	Micros seen = 0;           // the same, monotonic
	std::uint64_t look = 0;    // the same
	Micros counts = 0;         // the time up to this look that is new
	std::uint64_t present = 0; // the last look that saw its transaction
};

class Episodes {
public:
	enum class What : std::uint8_t {
		begins,  // it has lasted for as long as is worth a report
		grows,   // it blocks more sessions than ever since
		goes_on, // it is seen again
		ends,    // its transaction is over, or has blocked nobody for a while
	};
	struct Change {
		Episode* episode = nullptr; // until the next look
		Index session = kNone;      // where it is in the snapshot; kNone: it blocks nobody there
		What what = What::begins;
	};
	struct Look {
		std::vector<Change> changes;
		std::optional<Micros> sleep; // until there may be something to tell; none: never
		Micros waited = 0;           // what all waits took up since the last look
	};

	// While an episode is reported it is looked at so often, that its end and its peak be seen.
	static constexpr Micros kWatchful = kSecond;

	// Takes in one look (stamps corrected, see clock.h) at `monotonic`. An episode that has blocked somebody
	// for `report_after` begins; 0: none does, and all that were reported end. One whose transaction goes on
	// without blocking anybody ends when that has lasted for `report_after`, so that a waiter who gives up
	// and tries again does not make many of one. Waits for advisory locks count for roots that count them.
	// What lies between two looks is a lower bound. Linear in the snapshot, for each of a few passes (see
	// stood_for()), and in the sum of the sets of roots that nodes wait for. The result lives until the next
	// call. Throws std::bad_alloc.
	//
	// `wait_for_word`: somebody is about to tell what was done to a session, see told(); the ends of those
	// whose transaction is not there any more are left to the next look, which is to come soon.
	const Look& look(const WaitGraph& graph, Micros report_after, Micros monotonic,
	                 bool wait_for_word = false);

	// Whether an episode was reported whose end is still to be told.
	bool has_open() const noexcept;

	// That of the session's present transaction, reported or not, as of the last look. nullptr: it has
	// blocked nobody. O(1).
	const Episode* of(const Session& session) const noexcept;

	// That a session was told to end, or to stop its statement. O(1).
	void told(std::int32_t pid, Time backend_start, Action action) noexcept;

	// Before the first look: goes on with an episode that was reported in a previous life of the enforcer.
	// Throws std::bad_alloc.
	void resume(const Episode& episode);

private:
	Episode& find(const Session& session);
	void see(const WaitGraph& graph, Index root);
	void add_waits(const WaitGraph& graph);
	void tell(const WaitGraph& graph, Index root, Micros report_after);
	void end_the_gone(const Snapshot& snapshot, Micros report_after, bool wait_for_word);
	void end(Episode& episode, bool transaction_is_over);
	void wake_in(Micros length) noexcept;

	Look look_;
	std::unordered_map<std::uint64_t, Episode> episodes_; // see key_of()
	std::deque<Episode> ended_;                           // at this look
	std::unordered_map<Index, Episode*> of_root_;         // of this look
	std::uint64_t looks_ = 0;
	Time now_ = 0;
	Micros monotonic_ = 0;
	Micros since_last_look_ = 0; // 0: this is the first one
};

} // namespace unblock::core
