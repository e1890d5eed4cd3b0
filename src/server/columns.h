// Columns that several reports share, masked as pg_stat_activity masks them.
#pragma once

#include "collect.h"
#include "rows.h"

namespace unblock::server {

// datname, usename, application_name, client_addr, client_port.
void add_who(Rows& rows, const core::Session& session, const SessionDetails& details);

// client_addr alone.
void add_address(Rows& rows, const SockAddr& client);

// query_id, query.
void add_query(Rows& rows, const core::Session& session, const SessionDetails& details);

// A time stamp of the session's, and the time since then; null where masked.
void add_time(Rows& rows, const core::Session& session, TimestampTz time);
void add_age(Rows& rows, const core::Session& session, TimestampTz since, core::Time now);

void add_state(Rows& rows, const core::Session& session);
void add_backend_type(Rows& rows, const core::Session& session, const SessionDetails& details);
void add_wait_event_type(Rows& rows, const core::Session& session, const SessionDetails& details);
void add_wait_event(Rows& rows, const core::Session& session, const SessionDetails& details);

// How long the session has waited for its client in a transaction; null for others.
void add_idle_time(Rows& rows, const core::Session& session, core::Time now);

// A lock mode's name; null for none.
void add_mode(Rows& rows, core::LockMode mode);

// locktype, database, relation: as in pg_locks, with 0 for the database of a shared object.
void add_lock(Rows& rows, const LOCKTAG& tag);

// "holds", "queued", or "prepared": a prepared transaction holds it.
void add_blocker_kind(Rows& rows, const core::Snapshot& snapshot, const core::Blocker& blocker);

// What remedies tell sessions apart by: xact_start, or where there is none the other two. Palloc'd, all
// sessions long.
std::span<const core::SessionTimes> session_times(const core::Snapshot& snapshot);

} // namespace unblock::server
