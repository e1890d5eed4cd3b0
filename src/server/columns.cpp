// Session columns, in the types of pg_stat_activity.

#include "columns.h"
#include "memory.h"
#include "names.h"

namespace unblock::server {

namespace {

// As pg_stat_get_activity() shows addresses: none for Unix sockets, whose port is -1.
void add_client(Rows& rows, const core::Session& session, const SessionDetails& details) {
	const auto family = details.has_status ? details.status.client.addr.ss_family : sa_family_t{AF_UNSPEC};
	if (session.masked || (family != AF_INET && family != AF_INET6 && family != AF_UNIX)) {
		rows.null();
		rows.null();
		return;
	}
	char host[NI_MAXHOST] = "";
	char port[NI_MAXSERV] = "";
	const bool is_network = family != AF_UNIX;
	if (!is_network ||
	    pg_getnameinfo_all(&details.status.client.addr, details.status.client.salen, host, sizeof(host), port,
	                       sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		rows.null();
		if (is_network)
			rows.null();
		else
			rows.int4(-1);
		return;
	}
	clean_ipv6_addr(family, host);
	rows.datum(DirectFunctionCall1(inet_in, CStringGetDatum(host)));
	rows.int4(atoi(port));
}

} // namespace

void add_who(Rows& rows, const core::Session& session, const SessionDetails& details) {
	rows.name(session.datname);
	rows.name(session.usename);
	rows.text(session.application_name);
	add_client(rows, session, details);
}

void add_query(Rows& rows, const core::Session& session, const SessionDetails& details) {
	if (session.masked || !details.has_status || details.status.query_id == 0)
		rows.null();
	else
		rows.int8(static_cast<int64>(details.status.query_id));
	rows.text(session.query);
}

void add_time(Rows& rows, const core::Session& session, TimestampTz time) {
	rows.time(session.masked ? 0 : time);
}

void add_age(Rows& rows, const core::Session& session, TimestampTz since, core::Time now) {
	if (session.masked || since == 0)
		rows.null();
	else
		rows.interval(now - since);
}

void add_state(Rows& rows, const core::Session& session) {
	rows.text(session.masked ? nullptr : state_name(session.state));
}

namespace {

// Background workers name their own type.
const char* backend_type(const core::Session& session, const SessionDetails& details) {
	const char* own =
	    details.status.type == B_BG_WORKER ? GetBackgroundWorkerTypeByPid(session.pid) : nullptr;
	return own != nullptr ? own : GetBackendTypeDesc(details.status.type);
}

} // namespace

void add_backend_type(Rows& rows, const core::Session& session, const SessionDetails& details) {
	if (session.masked || !details.has_status)
		rows.null();
	else
		rows.text(backend_type(session, details));
}

void add_wait_event_type(Rows& rows, const core::Session& session, const SessionDetails& details) {
	rows.text(session.masked ? nullptr : pgstat_get_wait_event_type(details.wait_event));
}

void add_wait_event(Rows& rows, const core::Session& session, const SessionDetails& details) {
	rows.text(session.masked ? nullptr : pgstat_get_wait_event(details.wait_event));
}

void add_idle_time(Rows& rows, const core::Session& session, core::Time now) {
	add_age(rows, session, core::idle_in_transaction(session) ? session.state_start : 0, now);
}

void add_mode(Rows& rows, core::LockMode mode) {
	if (mode == core::LockMode::none)
		rows.null();
	else
		rows.text(core::name(mode));
}

void add_lock(Rows& rows, const LOCKTAG& tag) {
	rows.text(lock_type_name(tag));
	if (has_database(tag))
		rows.datum(ObjectIdGetDatum(lock_database(tag)));
	else
		rows.null();
	rows.oid(lock_relation(tag));
}

void add_blocker_kind(Rows& rows, const core::Snapshot& snapshot, const core::Blocker& blocker) {
	if (blocker.kind == core::Blocks::queued)
		rows.text("queued");
	else
		rows.text(snapshot.sessions[blocker.node].kind == core::Kind::prepared ? "prepared" : "holds");
}

std::span<const core::SessionTimes> session_times(const core::Snapshot& snapshot) {
	const std::size_t sessions = snapshot.sessions.size();
	auto* times = allocate<core::SessionTimes>(sessions);
	for (std::size_t i = 0; i < sessions; ++i) {
		const core::Session& session = snapshot.sessions[i];
		auto* entry = new (&times[i]) core::SessionTimes;
		if (session.xact_start != 0)
			entry->xact_start = time_text(session.xact_start);
		else if (session.backend_start != 0 && session.state_start != 0) {
			entry->backend_start = time_text(session.backend_start);
			entry->state_start = time_text(session.state_start);
		}
	}
	return {times, sessions};
}

} // namespace unblock::server
