// unblock.incidents_in_memory(): the ring, for unblock.history and for the recorder.

#include "actions.h"
#include "columns.h"
#include "history.h"
#include "memory.h"
#include "names.h"
#include "privileges.h"
#include "shared_state.h"

extern "C" {
#include "utils/json.h"
#include "utils/jsonb.h"
}

namespace unblock::server {

namespace {

// One place of the ring as it was read.
struct Found {
	Incident incident;
	IncidentRing::State state;
};

void add_optional_int8(Rows& rows, bool is_known, int64 value) {
	if (is_known)
		rows.int8(value);
	else
		rows.null();
}

void add_milliseconds(Rows& rows, bool is_known, core::Micros length) {
	add_optional_int8(rows, is_known, length / 1000);
}

// Limits on transactions are numbers, all others lengths of time.
void add_limit(Rows& rows, const Incident& incident, bool is_known, core::Micros value) {
	const bool number = incident.kind == Incident::Kind::fuse ||
	                    (incident.has_rule && core::counts_transactions(incident.rule));
	add_optional_int8(rows, is_known, number ? value : value / 1000);
}

// What tree() draws is UTF-8.
char* fit_chain(const char* text) {
	char* copy = pstrdup(text);
	if (GetDatabaseEncoding() != PG_UTF8)
		keep_ascii(copy);
	return copy;
}

// The name that the session gave itself, else that of the catalog today.
void add_known_name(Rows& rows, const NameData& name, const char* looked_up) {
	if (*NameStr(name) != '\0')
		rows.name(fit_text(NameStr(name)));
	else
		rows.name(view(looked_up));
}

const char* backend_type(core::Kind kind) {
	switch (kind) {
	case core::Kind::client:
		return GetBackendTypeDesc(B_BACKEND);
	case core::Kind::autovacuum:
		return GetBackendTypeDesc(B_AUTOVAC_WORKER);
	case core::Kind::walsender:
		return GetBackendTypeDesc(B_WAL_SENDER);
	case core::Kind::startup:
		return GetBackendTypeDesc(B_STARTUP);
	case core::Kind::worker:
	case core::Kind::background:
		return GetBackendTypeDesc(B_BG_WORKER);
	case core::Kind::prepared:
		return "prepared transaction";
	case core::Kind::unknown:
		break;
	}
	return nullptr;
}

// [{"pid": 4711, "mode": "AccessExclusiveLock", "lock": "relation public.features"}, …]
void add_sample(Rows& rows, const Incident& incident, const Names& names) {
	if (incident.sampled == 0) {
		rows.null();
		return;
	}
	StringInfoData json;
	initStringInfo(&json);
	for (int i = 0; i < incident.sampled; ++i) {
		const Incident::Waiter& waiter = incident.sample[i];
		const auto mode = core::name(waiter.mode);
		appendStringInfo(&json, "%s{\"pid\": %d, \"mode\": \"%.*s\", \"lock\": ", i == 0 ? "[" : ", ",
		                 waiter.pid, static_cast<int>(mode.size()), mode.data());
		escape_json(&json, lock_label(names, waiter.lock));
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	rows.datum(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

// The session, masked as in pg_stat_activity.
void add_session(Rows& rows, const Incident& incident, const Names& names, bool visible) {
	const bool has_session = incident.pid != 0 || incident.backend == core::Kind::prepared;
	if (has_session)
		rows.int4(incident.pid);
	else
		rows.null();
	rows.text(has_session && visible ? backend_type(incident.backend) : nullptr);
	rows.time(visible ? incident.backend_start : 0);
	rows.time(visible ? incident.xact_start : 0);
	rows.oid(incident.database);
	add_known_name(rows, incident.database_name, database_name(names, incident.database));
	rows.oid(incident.role);
	add_known_name(rows, incident.role_name, role_name(names, incident.role));
	rows.text(incident.pid == 0 ? nullptr : fit_text(NameStr(incident.application)));
	if (visible)
		add_address(rows, incident.client);
	else
		rows.null();
	rows.text(visible && incident.pid != 0 ? state_name(incident.state) : nullptr);
	rows.xid(visible ? incident.xid : InvalidTransactionId);
	if (visible && has_session)
		rows.int4(incident.locks_held);
	else
		rows.null();
}

void add_lock_columns(Rows& rows, const Incident& incident, const Names& names, bool visible) {
	if (!incident.has_lock) {
		for (int i = 0; i < 5; ++i)
			rows.null();
		return;
	}
	if (has_database(incident.lock))
		rows.datum(ObjectIdGetDatum(lock_database(incident.lock)));
	else
		rows.null();
	rows.oid(lock_relation(incident.lock));
	rows.text(visible && *incident.relation != '\0' ? fit_text(incident.relation) : nullptr);
	rows.text(lock_label(names, incident.lock));
	add_mode(rows, incident.mode);
}

// query_id, query, locking_query_id, locking_query, locking_query_at.
void add_statements(Rows& rows, const Incident& incident, bool visible) {
	const auto add_text = [&](const char* query) {
		rows.text(*query == '\0' ? nullptr : visible ? fit_text(query) : core::kInsufficientPrivilege.data());
	};
	add_optional_int8(rows, visible && incident.query_id != 0, static_cast<int64>(incident.query_id));
	add_text(incident.query);
	add_optional_int8(rows, visible && incident.locking_query_id != 0,
	                  static_cast<int64>(incident.locking_query_id));
	add_text(incident.locking_query);
	rows.time(visible ? incident.locking_at : 0);
}

void add_incident(Rows& rows, const Found& found, const Names& names, bool all_visible) {
	const Incident& incident = found.incident;
	const bool visible = all_visible || may_see(names, incident.role);
	const bool is_episode = incident.kind == Incident::Kind::episode;
	const bool has_outcome = incident.outcome != Incident::Outcome::unknown;
	const bool has_limit = incident.has_rule || incident.limit != 0;
	const bool blocks = incident.kind <= Incident::Kind::episode;
	rows.text(incident_id(IncidentRing::number(found.state)));
	rows.time(incident.at);
	rows.text(kind_name(incident.kind));
	rows.text(incident.has_rule ? core::setting(incident.rule) : std::string_view());
	add_limit(rows, incident, has_limit, incident.limit);
	add_limit(rows, incident, incident.has_rule || is_episode, incident.measured);
	add_session(rows, incident, names, visible);
	if (incident.preempting != 0)
		rows.int4(incident.preempting);
	else
		rows.null();
	add_lock_columns(rows, incident, names, visible);
	if (blocks)
		rows.int4(static_cast<int32>(incident.blocked));
	else
		rows.null();
	add_milliseconds(rows, incident.sampled > 0, incident.longest_wait);
	add_sample(rows, incident, names);
	rows.text(*incident.chain == '\0' ? nullptr
	          : all_visible           ? fit_chain(incident.chain)
	                                  : core::kInsufficientPrivilege.data());
	rows.time(incident.ended_at);
	add_milliseconds(rows, is_episode || incident.has_rule, incident.waiting);
	add_milliseconds(rows, is_episode || incident.has_rule, incident.idle);
	rows.text(outcome_name(incident.outcome));
	add_milliseconds(rows, has_outcome && incident.kind <= Incident::Kind::episode, incident.took);
	if (*NameStr(incident.by) != '\0') {
		rows.name(fit_text(NameStr(incident.by)));
		rows.text(NameStr(incident.function));
	} else {
		rows.null();
		rows.null();
	}
	add_statements(rows, incident, visible);
	rows.int8(static_cast<int64>(found.state));
	rows.end_row();
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_incidents_in_memory);
PGDLLEXPORT Datum pg_unblock_incidents_in_memory(PG_FUNCTION_ARGS) {
	using namespace unblock::server;
	const bool only_unsaved = boolean_argument(fcinfo, 0, "only_unsaved");
	require_shared_state();
	Rows rows(fcinfo);
	const IncidentRing& ring = *incidents();
	const Names names = open_names();
	const bool all_visible = may_see(names, InvalidOid);
	auto* found = allocate<Found>(1);
	for (uint32 place = 0; place < ring.size(); ++place) {
		found->state = ring.read(place, found->incident);
		if (found->state != 0 && !(only_unsaved && IncidentRing::is_saved(found->state)))
			add_incident(rows, *found, names, all_visible);
	}
	close_names(names);
	return 0;
}
}
