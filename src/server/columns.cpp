// Session columns, in the types of pg_stat_activity.

#include "columns.h"
#include "memory.h"
#include "names.h"

namespace unblock::server {

namespace {

// As pg_stat_get_activity() shows addresses: none for Unix sockets, whose port is -1.
struct Address {
	bool has_host;
	bool has_port;
	char host[NI_MAXHOST];
	int port;
};

Address address_of(const SockAddr& client) {
	Address address = {};
	const auto family = client.addr.ss_family;
	if (family == AF_UNIX) {
		address.has_port = true;
		address.port = -1;
	}
	char port[NI_MAXSERV] = "";
	if ((family != AF_INET && family != AF_INET6) ||
	    pg_getnameinfo_all(&client.addr, client.salen, address.host, sizeof(address.host), port, sizeof(port),
	                       NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return address;
	clean_ipv6_addr(family, address.host);
	address.has_host = address.has_port = true;
	address.port = atoi(port);
	return address;
}

void add_host(Rows& rows, const Address& address) {
	if (address.has_host)
		rows.datum(DirectFunctionCall1(inet_in, CStringGetDatum(address.host)));
	else
		rows.null();
}

void add_client(Rows& rows, const core::Session& session, const SessionDetails& details) {
	const bool is_known = !session.masked && details.has_status;
	const Address address = is_known ? address_of(details.status.client) : Address{};
	add_host(rows, address);
	if (address.has_port)
		rows.int4(address.port);
	else
		rows.null();
}

} // namespace

void add_address(Rows& rows, const SockAddr& client) {
	add_host(rows, address_of(client));
}

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
