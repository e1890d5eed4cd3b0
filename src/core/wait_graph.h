// Who waits for whom, from one snapshot.
//
// A node is a lock group, named by the index of its leader's session: parallel
// workers count as their leader. A prepared transaction is a node too. An edge
// goes from a waiter to each session that it waits for, as in
// pg_blocking_pids(): to the holders of the awaited lock whose mode conflicts
// (hard), and to those ahead in its queue who want a conflicting mode (queued).
// Source of the rule: the server's src/backend/utils/adt/lockfuncs.c,
// pg_blocking_pids(), and lock.c, GetBlockerStatusData().
//
// n sessions on one lock have n*n/2 edges. Nothing here lists them, but for
// blockers_of(), which lists those of one waiter.
#pragma once

#include "snapshot.h"

#include <memory>
#include <span>
#include <vector>

namespace unblock::core {

enum class Blocks : std::uint8_t {
	hard,   // holds the lock in a conflicting mode
	queued, // stands ahead in the queue and wants a conflicting mode
};

// One edge, seen from its waiter.
struct Blocker {
	Index node = kNone;
	Blocks kind = Blocks::hard;
	LockMode mode = LockMode::none; // held (the strongest that conflicts) or, queued, wanted

	bool operator==(const Blocker&) const = default;
};

// What is known of one node. Counts are of distinct nodes and exact.
struct NodeFacts {
	bool waits = false;       // a process of it awaits a lock
	bool root = false;        // blocks somebody and awaits nothing
	bool in_cycle = false;    // waits for itself through others: a deadlock
	Index direct_waiters = 0; // nodes that wait for it directly
	Index blocked_total = 0;  // nodes that wait for it directly or through others
	Index frees = 0;          // nodes that wait for nobody else in the end: see frees below
	Index depth = 0;          // steps along primary blockers to the top of its chain
	// Its wait that a chain shows, an index into Snapshot::waiters. Of several, one with a hard blocker
	// before one with queued blockers only before one that nobody blocks; then the longest.
	Index waiter = kNone;
	Time hard_since = 0;             // earliest wait_start of its direct hard waiters; 0: none
	Time hard_since_no_advisory = 0; // the same without waits for advisory locks
	Index hard_waiter = kNone;       // that waiter (into Snapshot::waiters), advisory locks included
	Index hard_waiter_no_advisory = kNone;
};

// What is known of one wait (same index as in Snapshot::waiters).
struct WaiterFacts {
	Index queue_position = 0; // 1 = first in line
	Index blockers = 0;       // distinct nodes that it waits for directly
	Index hard_blockers = 0;  // those of them that hold the lock; 0: the waiter is jammed
	// The one that draws the tree: a hard blocker if there is one, else the first conflicting one in the
	// queue. Among several hard ones it is the one that frees most, then the one with the oldest transaction,
	// then the lower pid. Node kNone: nobody (the lock is about to be granted).
	Blocker primary;
};

class WaitGraph {
public:
	// Builds the whole graph. The arrays behind the snapshot must outlive it.
	//
	// Time and memory are linear in sessions, waiters and holders (dominators add a logarithm) for all but
	// three things: each wait of a lock group with several waits costs the number of its blockers;
	// blocked_total of sessions that neither free all they reach nor stand in a queue is counted by one walk
	// over the graph for each 64 different sets of nodes that lead out of what they free (those of all
	// holders of one mode of one lock are the same set); and where different sets of roots meet, each
	// different union costs its size. Throws std::bad_alloc only.
	explicit WaitGraph(const Snapshot& snapshot);

	const Snapshot& snapshot() const noexcept;

	// The node of a session: the index of its group's leader.
	Index node_of(Index session) const noexcept;

	// Facts of the node that `session` belongs to. Sessions in no wait at all have all zeros.
	//
	// frees is the number of nodes all of whose paths to a root lead through
	// this one (its proper descendants in the dominator tree of the graph,
	// read from roots to waiters). The members of a cycle that waits for
	// nobody outside count as roots here: the deadlock detector will end one
	// of them.
	const NodeFacts& node(Index session) const noexcept;

	const WaiterFacts& waiter(Index waiter) const noexcept;

	// How often the node of a session waits: several times if several processes of a parallel query do.
	Index waits_of(Index session) const noexcept;

	// Roots (sessions that block somebody and await nothing), most blocked_total first, then most
	// frees, then the oldest transaction, then the lower pid.
	std::span<const Index> roots() const noexcept;

	// The roots that a node waits for in the end, in the order of roots(); for a root itself, nothing.
	std::span<const Index> roots_of(Index session) const noexcept;

	// The deadlock that a node is in, by a number: the same for all who wait for one another, directly or
	// through others. kNone for a node that is in none.
	Index cycle_of(Index session) const noexcept;

	// The direct blockers of one wait, at most `most` of them, hard ones first (a session that holds and is
	// queued counts as hard), each node once. O(1) for each; the first call of a graph, which draws up lists
	// for all waits, O(waiters + holders). Throws std::bad_alloc.
	std::vector<Blocker> blockers_of(Index waiter, std::size_t most = SIZE_MAX) const;

	// The nodes of these sessions and all that they wait for, directly or through others; ascending by
	// index, each once. Linear in the graph, however many sessions are asked for. Throws std::bad_alloc.
	std::vector<Index> with_all_ahead(std::span<const Index> sessions) const;

private:
	struct Impl;
	struct Delete {
		void operator()(Impl*) const noexcept;
	};
	std::unique_ptr<Impl, Delete> impl_;
};

// One line of the chains: a session below its primary blocker.
struct ChainRow {
	Index node = kNone;
	Index chain = 0;      // 1, 2, …: the worst chain (most blocked at its top) first
	Index depth = 0;      // 0 = top
	Index parent = kNone; // row of its primary blocker; kNone at the top
	bool last = false;    // no sibling follows
};

// The whole forest in tree order, each node of a chain exactly once. Children are in order of their
// wait's start, then pid; chains by blocked_total of their top, then its transaction's age, then pid.
// A cycle that no root holds is drawn from its member that frees most. O(n log n). Throws std::bad_alloc.
std::vector<ChainRow> chains(const WaitGraph& graph);

// Of these rows those of the one chain that a node is in, as a forest of their own; none if it is in none.
// O(rows). Throws std::bad_alloc.
std::vector<ChainRow> chain_of(std::span<const ChainRow> rows, Index node);

} // namespace unblock::core
