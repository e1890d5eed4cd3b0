// key=value pairs: a person reads them, a log shipper splits them. Texts are
// quoted as JSON strings.

#include "log_line.h"
#include "names.h"

extern "C" {
#include "utils/json.h"
}

namespace unblock::server {

namespace {

void add_text(StringInfo line, const char* key, const char* value) {
	appendStringInfo(line, " %s=", key);
	escape_json(line, value);
}

// From a minute on it has a space in it: then it is a text.
void add_length(StringInfo line, const char* key, const char* length) {
	if (strchr(length, ' ') != nullptr)
		add_text(line, key, length);
	else
		appendStringInfo(line, " %s=%s", key, length);
}

void add_names(StringInfo line, const Incident& incident) {
	if (incident.pid != 0)
		appendStringInfo(line, " pid=%d", incident.pid);
	else
		appendStringInfo(line, " xid=%u", incident.xid);
	if (*NameStr(incident.role_name) != '\0')
		add_text(line, "user", NameStr(incident.role_name));
	else
		appendStringInfo(line, " user=%u", incident.role);
	if (*NameStr(incident.database_name) != '\0')
		add_text(line, "database", NameStr(incident.database_name));
	else
		appendStringInfo(line, " database=%u", incident.database);
}

// Who it is and what it does.
void add_session(StringInfo line, const Incident& incident) {
	add_names(line, incident);
	add_text(line, "application", NameStr(incident.application));
	if (const char* state = state_name(incident.state))
		add_text(line, "state", state);
	if (incident.xact_start != 0)
		add_text(line, "xact_start", timestamptz_to_str(incident.xact_start));
}

// The lock that it blocks others through.
void add_lock(StringInfo line, const Incident& incident) {
	Names names = only_database(incident.database, NameStr(incident.database_name));
	if (*incident.relation != '\0')
		names.known_relation = {lock_relation(incident.lock), incident.relation};
	add_text(line, "lock", lock_label(names, incident.lock));
	const auto mode = core::name(incident.mode);
	appendStringInfo(line, " mode=%.*s", static_cast<int>(mode.size()), mode.data());
}

// The statement that took it.
void add_locking_statement(StringInfo line, TimestampTz at, const char* query) {
	if (at == 0)
		return;
	add_text(line, "locking_query_at", timestamptz_to_str(at));
	add_text(line, "locking_query", query);
}

} // namespace

const char* action_line(const Incident& incident, const Farewell& farewell, const char* query,
                        const LockingStatement& locking) {
	const auto setting = core::setting(incident.rule);
	StringInfoData line;
	initStringInfo(&line);
	appendStringInfo(&line, "pg_unblock: action=%s rule=%.*s", kind_name(incident.kind),
	                 static_cast<int>(setting.size()), setting.data());
	add_length(&line, "limit", limit_text(incident.rule, incident.limit).text);
	add_length(&line, "measured", measured_text(incident.rule, incident.measured).text);
	add_session(&line, incident);
	appendStringInfo(&line, " blocked=%u", farewell.blocked);
	if (farewell.preempting != 0)
		appendStringInfo(&line, " for=%d", farewell.preempting);
	if (farewell.since_cancel > 0)
		add_length(&line, "canceled_before", duration_text(farewell.since_cancel).text);
	if (farewell.has_lock)
		add_lock(&line, incident);
	add_text(&line, "query", query);
	add_locking_statement(&line, locking.at, locking.text);
	return line.data;
}

void log_action(const char* line, uint64 incident) {
	ereport(LOG_SERVER_ONLY, (incident == 0 ? errmsg_internal("%s", line)
	                                        : errmsg_internal("%s incident=%s", line, incident_id(incident)),
	                          errhidestmt(true)));
}

void log_manual_action(const Farewell& note, int pid, const char* victim_role, uint64 incident) {
	const auto name = core::name(note.action);
	StringInfoData line;
	initStringInfo(&line);
	appendStringInfo(&line, "pg_unblock: action=manual_%.*s function=%s pid=%d",
	                 static_cast<int>(name.size()), name.data(), NameStr(note.function), pid);
	add_text(&line, "user", victim_role);
	add_text(&line, "by", NameStr(note.role));
	log_action(line.data, incident);
}

void log_pause(core::Micros length, uint64 incident) {
	StringInfoData line;
	initStringInfo(&line);
	appendStringInfoString(&line, "pg_unblock: action=pause");
	add_length(&line, "for", duration_text(length).text);
	add_text(&line, "by", current_role_name());
	log_action(line.data, incident);
}

void log_resume(uint64 incident) {
	StringInfoData line;
	initStringInfo(&line);
	appendStringInfoString(&line, "pg_unblock: action=resume");
	add_text(&line, "by", current_role_name());
	log_action(line.data, incident);
}

void log_episode_begin(const Incident& incident, uint64 number) {
	StringInfoData line;
	initStringInfo(&line);
	appendStringInfoString(&line, "pg_unblock: episode=begin");
	add_session(&line, incident);
	appendStringInfo(&line, " blocked=%u", incident.blocked);
	add_length(&line, "lasted", duration_text(incident.measured).text);
	if (incident.has_lock)
		add_lock(&line, incident);
	add_text(&line, "query", incident.query);
	add_locking_statement(&line, incident.locking_at, incident.locking_query);
	log_action(line.data, number);
}

void log_episode_end(const Incident& incident, uint64 number) {
	StringInfoData line;
	initStringInfo(&line);
	appendStringInfoString(&line, "pg_unblock: episode=end");
	add_names(&line, incident);
	add_length(&line, "lasted", duration_text(incident.measured).text);
	appendStringInfo(&line, " peak=%u", incident.blocked);
	add_length(&line, "waiting", duration_text(incident.waiting).text);
	add_text(&line, "outcome", outcome_name(incident.outcome));
	log_action(line.data, number);
}

} // namespace unblock::server
