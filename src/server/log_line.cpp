// key=value pairs: a person reads them, a log shipper splits them. Texts are
// quoted as JSON strings.

#include "log_line.h"
#include "names.h"
#include "shared_state.h"

extern "C" {
#include "utils/json.h"
}

namespace unblock::server {

namespace {

void add_text(StringInfo line, const char* key, const char* value) {
	appendStringInfo(line, " %s=", key);
	escape_json(line, value);
}

// The names as the session gave them at its start; the enforcer reads no catalog.
struct NamesInSlot {
	bool known;
	NameData role;
	NameData database;
};

NamesInSlot names_of(int process_number, const core::Session& session) {
	NamesInSlot names;
	SessionSlot* slot = slot_of(process_number, session.pid);
	names.known = slot != nullptr && copy_names(slot, session.pid, &names.role, &names.database);
	return names;
}

void add_names(StringInfo line, const NamesInSlot& names, const core::Session& session) {
	if (names.known) {
		add_text(line, "user", NameStr(names.role));
		add_text(line, "database", NameStr(names.database));
	} else
		appendStringInfo(line, " user=%u database=%u", session.role, session.database);
}

// Whose episode it is.
void add_root(StringInfo line, const Incident& incident) {
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

} // namespace

const char* action_line(const Collected& collected, const core::Decision& decision,
                        const Farewell& farewell) {
	const core::Session& session = collected.sessions[decision.session];
	const int process_number = collected.details[decision.session].process_number;
	const auto action = core::name(decision.action);
	const auto setting = core::setting(decision.rule);
	StringInfoData line;
	initStringInfo(&line);
	appendStringInfo(&line, "pg_unblock: action=%s%.*s rule=%.*s limit=%s measured=%s pid=%d",
	                 decision.dry_run ? "would_" : "", static_cast<int>(action.size()), action.data(),
	                 static_cast<int>(setting.size()), setting.data(),
	                 limit_text(decision.rule, decision.limit).text,
	                 measured_text(decision.rule, decision.measured).text, session.pid);
	const NamesInSlot names = names_of(process_number, session);
	add_names(&line, names, session);
	Status status;
	const StatusTexts texts = make_status_texts();
	const bool has_texts = read_status(compat::proc_at(process_number), session.pid, &status, &texts) &&
	                       status.backend_start == session.backend_start;
	add_text(&line, "application", has_texts ? texts.application_name : "");
	const char* state = state_name(session.state);
	add_text(&line, "state", state == nullptr ? "unknown" : state);
	if (session.xact_start != 0)
		add_text(&line, "xact_start", timestamptz_to_str(session.xact_start));
	appendStringInfo(&line, " blocked=%u", decision.blocked);
	if (farewell.preempting != 0)
		appendStringInfo(&line, " for=%d", farewell.preempting);
	if (decision.since_cancel > 0)
		appendStringInfo(&line, " canceled_before=%s", duration_text(decision.since_cancel).text);
	if (farewell.has_lock) {
		add_text(&line, "lock",
		         lock_label(only_database(session.database, names.known ? NameStr(names.database) : nullptr),
		                    farewell.lock));
		const auto mode = core::name(farewell.mode);
		appendStringInfo(&line, " mode=%.*s", static_cast<int>(mode.size()), mode.data());
	}
	add_text(&line, "query", has_texts ? pgstat_clip_activity(texts.query) : "");
	return line.data;
}

void log_action(const char* line, uint64 incident) {
	ereport(LOG, (incident == 0 ? errmsg_internal("%s", line)
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
	add_text(&line, "for", duration_text(length).text);
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
	add_root(&line, incident);
	add_text(&line, "application", NameStr(incident.application));
	if (const char* state = state_name(incident.state))
		add_text(&line, "state", state);
	if (incident.xact_start != 0)
		add_text(&line, "xact_start", timestamptz_to_str(incident.xact_start));
	appendStringInfo(&line, " blocked=%u lasted=%s", incident.blocked, duration_text(incident.measured).text);
	if (incident.has_lock) {
		const char* database = NameStr(incident.database_name);
		add_text(&line, "lock",
		         lock_label(only_database(incident.database, *database == '\0' ? nullptr : database),
		                    incident.lock));
		const auto mode = core::name(incident.mode);
		appendStringInfo(&line, " mode=%.*s", static_cast<int>(mode.size()), mode.data());
	}
	add_text(&line, "query", incident.query);
	log_action(line.data, number);
}

void log_episode_end(const Incident& incident, uint64 number) {
	StringInfoData line;
	initStringInfo(&line);
	appendStringInfoString(&line, "pg_unblock: episode=end");
	add_root(&line, incident);
	appendStringInfo(&line, " lasted=%s peak=%u waiting=%s", duration_text(incident.measured).text,
	                 incident.blocked, duration_text(incident.waiting).text);
	add_text(&line, "outcome", outcome_name(incident.outcome));
	log_action(line.data, number);
}

} // namespace unblock::server
