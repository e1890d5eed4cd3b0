// The statement that took the lock for which somebody waits, where the holder's trail tells.
#pragma once

#include "collect.h"

namespace unblock::server {

struct LockingStatement {
	TimestampTz at; // 0: not known, and so the rest
	uint64 query_id;
	const char* text; // as the session sent it; may end inside a character
	uint32 number;    // in the session's trail; 0: it is in none
	Oid relation;     // through which the wait is; InvalidOid: not known
};

// Of one snapshot; a trail is read when it is asked for first. Plain data: an error may pass over it.
class LockingStatements {
public:
	LockingStatements(const Collected& collected, const core::WaitGraph& graph)
	    : collected_(collected), graph_(graph) {}

	// That which keeps a wait (an index into Snapshot::waiters) waiting for a session, which holds the lock.
	// Of a row's lock the server remembers only whose transaction has it; the waiter's lock on the row tells
	// the relation. The session's own text must have been read, if it is to be told of a statement that is
	// its transaction's first. Palloc'd.
	LockingStatement of(core::Index session, core::Index wait);

	// The same for the wait that shows for how long the session has blocked others.
	LockingStatement of(core::Index session);

	// Qualified and quoted, from the trails of those who hold the lock; nullptr: not known. Palloc'd.
	const char* relation_name(core::Index lock);

private:
	const core::Trail* trail_of(core::Index session);
	const core::Trail::Statement* find(core::Index session, core::Index wait, Oid& relation);

	const Collected& collected_;
	const core::WaitGraph& graph_;
	struct Read {
		bool done;
		const core::Trail* trail;
	};
	Read* read_ = nullptr; // by session
};

} // namespace unblock::server
