// One record of the history: what was done to whom and why, or who kept others waiting.
//
// Of fixed size and without pointers, so that it fits into shared memory. OIDs are kept, and the names that
// the sessions gave themselves; other names are looked up when the record is read. Longer texts are cut.
#pragma once

#include "boundary.h"
#include "collect.h"
#include "locking_statement.h"

#include "../core/direct_waiters.h"
#include "../core/episodes.h"

namespace unblock::server {

struct alignas(uint64) Incident {
	enum class Kind : uint8 {
		terminate,
		cancel,
		would_terminate,
		would_cancel,
		manual_terminate,
		manual_cancel,
		episode,
		fuse,
		pause,
	};
	enum class Outcome : uint8 {
		unknown,     // yet
		terminated,  // the session is gone
		canceled,    // the statement is over
		still_there, // after a while
		by_itself,   // its transaction ended without a signal of ours
		resumed,     // a pause
	};
	static constexpr int kSample = 8;
	static constexpr int kQueryBytes = 1024;
	static constexpr int kChainBytes = 3072;

	struct Waiter {
		int pid;
		core::LockMode mode; // wanted
		LOCKTAG lock;
	};

	TimestampTz at; // of an episode: its begin
	Kind kind;
	bool has_rule;
	core::Rule rule;
	Outcome outcome;
	bool has_lock;
	core::LockMode mode;       // held or, by a limit on queues, wanted
	core::Micros limit;        // as in core::Decision; of a pause its length
	core::Micros measured;     // of an episode: how long somebody waited
	core::Micros took;         // until the outcome
	core::Micros signalled_at; // monotonic; 0: nobody was
	int preempting;

	// The one who was ended or canceled, or the root of the episode. No pid: a prepared transaction, or
	// nobody.
	int pid;
	core::Kind backend;
	core::State state;
	TimestampTz backend_start;
	TimestampTz xact_start;
	TimestampTz state_start;
	Oid database;
	Oid role;
	TransactionId xid;
	LocalTransactionId local_xid;
	int locks_held;
	uint64 query_id;
	NameData database_name; // empty: not known
	NameData role_name;
	NameData application;
	SockAddr client;

	// Who waited for it.
	LOCKTAG lock;                            // one that it blocked them through
	char relation[Farewell::kRelationBytes]; // of the lock, qualified and quoted; empty: not known
	TimestampTz locking_at;                  // when the statement came that took the lock; 0: not known
	uint64 locking_query_id;
	uint32 blocked;
	int sampled;
	core::Micros longest_wait;
	Waiter sample[kSample];

	TimestampTz ended_at; // of an episode; 0: goes on
	core::Micros waiting; // session time lost
	core::Micros idle;    // of `measured`, the time that it waited for its client: see blocking_idle_time

	NameData by;       // the role that asked
	NameData function; // … through this

	char query[kQueryBytes];
	char locking_query[kQueryBytes];
	char chain[kChainBytes]; // lines of tree(), in UTF-8
};

constexpr bool terminates(Incident::Kind kind) {
	return kind == Incident::Kind::terminate || kind == Incident::Kind::manual_terminate;
}
constexpr bool cancels(Incident::Kind kind) {
	return kind == Incident::Kind::cancel || kind == Incident::Kind::manual_cancel;
}
constexpr bool is_manual(Incident::Kind kind) {
	return kind == Incident::Kind::manual_terminate || kind == Incident::Kind::manual_cancel;
}
constexpr bool is_dry_run(Incident::Kind kind) {
	return kind == Incident::Kind::would_terminate || kind == Incident::Kind::would_cancel;
}

// "would_terminate".
const char* kind_name(Incident::Kind kind);
// "ended by itself"; nullptr while it is not known.
const char* outcome_name(Incident::Outcome outcome);

// Records of a snapshot for the enforcer or for recording. Plain data: an error may pass over it.
class Drafts {
public:
	Drafts(Collected& collected, const core::WaitGraph& graph)
	    : collected_(collected), graph_(graph), locking_(collected, graph) {}

	// What the snapshot tells of a session and of those who wait for it, and of the lock of one wait (kNone:
	// the longest); texts are read now if no earlier record shows them, and filled in in the snapshot. Zeros
	// elsewhere. Palloc'd.
	Incident* of(core::Index session, core::Index wait = core::kNone);

	// Of a session that has a record: the statement that took the lock which a wait is for, if it holds it.
	LockingStatement locking_statement(core::Index session, core::Index wait);

	// The last statement of a session that has a record, whether or not the history keeps it.
	const char* statement(core::Index session) const;

	// The session of this process; kNone: it is in no transaction and no wait.
	core::Index find(int pid, TimestampTz backend_start) const;

	const core::Session& session(core::Index session) const { return collected_.sessions[session]; }

private:
	using Chain = std::vector<core::ChainRow>;
	void fill_texts(core::Index session);
	void label_lock(core::Index lock, const core::Session& waiter);
	core::Index add_waiters(Incident& incident, core::Index session);
	void add_lock(Incident& incident, core::Index session, core::Index wait);
	void draw_chain(Incident& incident, core::Index session);

	Collected& collected_;
	const core::WaitGraph& graph_;
	LockingStatements locking_;
	Owned<Chain>* chains_ = nullptr; // all of them, made when the first one is drawn
	StatusTexts room_ = {};
};

// The same of a client that is in no transaction and no wait, and so in no snapshot.
Incident* draft_incident(int pid, TimestampTz backend_start);

} // namespace unblock::server
