// What the server saw at one moment, as plain data: sessions, and the awaited
// locks with their holders and their queues.
//
// The server fills arrays of its own and hands them over as spans; core reads
// them. Nothing here owns memory or has a destructor, so that an error of the
// server can pass over it. Session and lock texts are there for reports alone;
// the enforcer has those of the sessions that it records.
#pragma once

#include "lock_modes.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace unblock::core {

// Microseconds since 2000-01-01 00:00 UTC on the server's wall clock (the
// server's TimestampTz). 0 stands for "not known".
using Time = std::int64_t;

// A length of time in microseconds.
using Micros = std::int64_t;

inline constexpr Micros kSecond = 1'000'000;

// An index into one of the snapshot's arrays.
using Index = std::uint32_t;
inline constexpr Index kNone = UINT32_MAX;

// What kind of process stands behind a session. Only clients are ever acted upon.
enum class Kind : std::uint8_t {
	client,     // a client backend
	worker,     // a parallel worker: its leader stands for it
	autovacuum, // an autovacuum worker
	walsender,
	startup,    // replays WAL on a standby
	background, // any other process of the server
	prepared,   // a prepared transaction: no process at all, pid 0
	unknown,    // no status entry: still authenticating, or gone in between
};

// pg_stat_activity.state; `disabled` with track_activities off, `unknown` before the first one is told.
enum class State : std::uint8_t {
	unknown,
	idle,
	active,
	idle_in_transaction,
	idle_in_transaction_aborted,
	fastpath,
	disabled,
};

// What the session's process waits for inside the server, as far as rules care.
enum class Wait : std::uint8_t {
	other,
	client_read,  // wants the next message of its client
	client_write, // its client does not read
	sync_rep,     // its transaction is committed here and waits for a standby
};

// Whether decisions are carried out. Ordered from strict to mild: where the
// file and the session disagree, the milder counts.
enum class Mode : std::uint8_t { enforce, dry_run, off };

// The limits in force for one session, all set and resolved by the server.
// Lengths of time but for horizon_age; 0 means no limit.
struct Limits {
	Mode mode = Mode::enforce;
	Micros idle_in_transaction = 0;
	Micros idle_write_transaction = 0;
	Micros idle_blocker = 0;
	Micros active_blocker = 0;
	Micros cancel_grace = 0;
	Micros queued_blocker = 0;
	Index queued_blocker_waiters = 1;
	Micros preempt_idle_blockers_after = 0;
	Micros transaction = 0;
	std::uint32_t horizon_age = 0; // transactions
	bool count_advisory_locks = false;
};

// One process of the lock table, a prepared transaction, or another session of interest.
struct Session {
	std::int32_t pid = 0; // 0 for a prepared transaction
	Index leader = kNone; // the session that leads its lock group; its own index when alone
	Kind kind = Kind::unknown;
	State state = State::unknown;
	Wait wait = Wait::other;

	Time backend_start = 0;
	Time xact_start = 0; // 0: in no transaction, or in an aborted one
	Time query_start = 0;
	Time state_start = 0; // as published by the session: part of its identity
	// What limits count from: state_start and xact_start on today's clock (see clock.h).
	Time idle_since = 0;
	Time xact_since = 0;

	std::uint32_t database = 0; // OID
	std::uint32_t role = 0;     // OID
	std::uint32_t xid = 0;      // 0: has not written
	std::uint32_t xmin = 0;
	std::uint32_t local_xid = 0; // the local part of the virtual transaction id

	// How often the process was put on a processor, ever; 0 where that is not
	// known. Read only for `active` sessions that wait for their client.
	std::uint64_t runs = 0;

	Limits limits;

	// What the enforcer had counted of this transaction's blocking idle time
	// when it last looked, and up to when. For reports.
	Micros blocking_idle_counted = 0;
	Time blocking_idle_until = 0;

	// How long the present statement had been blocked by locks before the one that it waits for now, as far
	// as the enforcer has seen (statement_waits.h): by all, and by those that count towards its limits.
	Micros blocked_before = 0;
	Micros counted_blocked_before = 0;

	// For reports; views into memory of the server. Empty: not known or not to be shown.
	std::string_view datname;
	std::string_view usename;
	std::string_view application_name;
	std::string_view query;
	std::string_view gid;  // of a prepared transaction
	bool gid_exact = true; // false: only what can be shown of the gid here, not fit for a remedy
	bool masked = false;   // the reader may not see this session's details
};

// A process in a lock's queue.
struct Waiter {
	Index session = kNone;
	Index lock = kNone;
	LockMode mode = LockMode::none;
	Time wait_start = 0; // 0 for a moment after the wait began: to be read as "now"
};

// A process that holds an awaited lock; once for each process and lock.
struct Holder {
	Index session = kNone;
	ModeMask modes = 0;
};

// An awaited lock. Its holders and its queue are runs of the snapshot's arrays.
struct Lock {
	Index first_holder = 0;
	Index holders = 0;
	Index first_waiter = 0; // the queue, first in line first
	Index waiters = 0;
	bool advisory = false;
	std::uint32_t database = 0; // OID, 0 where the lock belongs to none
	std::uint32_t relation = 0; // OID, 0 where it is not one of a relation, page or tuple

	// For texts: "relation public.features", "transaction 742". Never empty.
	std::string_view label;
};

struct Snapshot {
	Time now = 0; // the wall clock when the lock table was read
	std::span<const Session> sessions;
	std::span<const Lock> locks;
	std::span<const Holder> holders;
	std::span<const Waiter> waiters;
	std::uint32_t next_xid = 0; // the next transaction id to be given out; 0: not known

	std::span<const Holder> holders_of(const Lock& lock) const noexcept {
		return holders.subspan(lock.first_holder, lock.holders);
	}
	std::span<const Waiter> queue_of(const Lock& lock) const noexcept {
		return waiters.subspan(lock.first_waiter, lock.waiters);
	}
	// How long a wait has lasted; one without a start has begun just now.
	Micros waited(const Waiter& waiter) const noexcept {
		return waiter.wait_start == 0 || waiter.wait_start > now ? 0 : now - waiter.wait_start;
	}
};

} // namespace unblock::core
