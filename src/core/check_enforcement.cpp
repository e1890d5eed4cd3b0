// Findings about the enforcer: whether it does what it was installed for.
#include "check_parts.h"

#include "rules.h"
#include "text.h"

#include <algorithm>
#include <array>
#include <set>

#include "fence.h"

namespace unblock::core {

namespace {

// As it has to stand in the file: the present list is part of it, lest somebody else's library be dropped.
std::string preload_advice(std::optional<std::string_view> present) {
	if (!present)
		return "-- in postgresql.conf: add pg_unblock to shared_preload_libraries, then restart the server";
	std::string list;
	for (const char c : one_line(*present))
		list.append(c == '\'' ? 2 : 1, c);
	return "-- in postgresql.conf: shared_preload_libraries = '" + list + (list.empty() ? "" : ",") +
	       "pg_unblock', then restart the server";
}

// Comments, because pasting a remedy without a thought should not change how the server treats everybody. One
// statement to a line: ALTER SYSTEM takes no others beside it.
std::string setting_advice(std::string_view purpose, std::string_view assignment) {
	std::string text = "-- ";
	text.append(purpose).append(": ALTER SYSTEM SET ").append(assignment);
	return text + ";\n-- and then: SELECT pg_reload_conf();";
}

// "4711 backup@lab (pg_dump)".
std::string name_of_copy(const CopySession& copy) {
	Session session;
	session.usename = copy.usename;
	session.datname = copy.datname;
	session.application_name = copy.application_name;
	return std::to_string(copy.pid) + " " + who(session);
}

// Sessions that nobody wants to see ended in the middle of their work.
void copies_under_limits(const ServerFacts& facts, Findings& findings) {
	const std::span<const CopySession> copies = facts.copies;
	if (copies.empty())
		return;
	bool enforced = false;
	std::set<std::string_view> settings;
	std::set<std::string_view> roles;
	Names names;
	if (facts.somebody_preempts)
		settings.insert(setting(Rule::preempt_idle_blockers));
	for (const CopySession& copy : copies) {
		enforced = enforced || copy.limits.mode == Mode::enforce;
		roles.insert(copy.role);
		names.add(name_of_copy(copy) + (copy.replication_role ? ", whose role is one for replication" : ""));
		for (const RuleFacts& rule : rules())
			if (own_limit(rule.rule, copy.limits) > 0)
				settings.insert(rule.setting);
	}
	Finding& finding = findings.add(enforced ? Severity::warning : Severity::notice, 0,
	                                counted(copies.size(), "session") +
	                                    (copies.size() == 1 ? " that copies or repairs data is under limits"
	                                                        : " that copy or repair data are under limits"));
	finding.detail =
	    names.text() + ". Such work takes long, and has to begin again when it is ended. In force: ";
	for (const std::string_view each : settings)
		finding.detail.append(each == *settings.begin() ? "" : ", ").append(each);
	finding.detail += '.';
	for (const std::string_view role : roles) {
		const bool exact = !role.empty() && one_line(role) == role;
		finding.remedy.append(finding.remedy.empty() ? "" : "\n")
		    .append("-- to exempt the role from its next session on: ALTER ROLE ")
		    .append(exact ? role : "...")
		    .append(" SET pg_unblock.mode = off;");
	}
}

} // namespace

bool copies_databases(std::string_view application_name) noexcept {
	constexpr std::array<std::string_view, 4> kNames = {"pg_dump", "pg_basebackup", "pg_repack", "pgcopydb"};
	return std::ranges::any_of(kNames,
	                           [&](std::string_view name) { return application_name.starts_with(name); });
}

void tell_enforcement(const Scene& scene, Findings& findings) {
	const ServerFacts& facts = scene.facts;
	if (!facts.preloaded) {
		Finding& finding =
		    findings.add(Severity::notice, 0, "pg_unblock is not preloaded: nothing is enforced");
		finding.detail = "Reports work all the same. Add it to what the setting lists already in "
		                 "postgresql.conf and restart the server.";
		finding.remedy = preload_advice(facts.preload_libraries);
		return;
	}
	if (facts.paused_for > 0) {
		Finding& finding = findings.add(Severity::notice, 0,
		                                "enforcement is paused for another " + duration(facts.paused_for) +
		                                    ": nothing is enforced");
		finding.detail =
		    "Somebody has called unblock.pause(). The enforcer resumes by itself when the time is over.";
		finding.remedy = "SELECT unblock.resume();";
	}
	if (facts.fuse_blown) {
		Finding& finding =
		    findings.add(Severity::warning, 0, "the fuse has blown: the enforcer holds back its actions");
		finding.detail = "More sessions were due within a minute than pg_unblock.max_actions_per_minute "
		                 "allows. The enforcer goes on by itself when the minute has passed.";
		finding.remedy = "-- wait until the minute is over, or raise pg_unblock.max_actions_per_minute";
	}
	if (!facts.enforcer_running) {
		Finding& finding =
		    findings.add(Severity::warning, 0, "the enforcer is not running: nothing is enforced");
		finding.detail = "The server starts it again within seconds; its log says why it ended. If it never "
		                 "started, max_worker_processes may be too small.";
		finding.remedy = "-- if it does not come back: raise max_worker_processes in postgresql.conf, then "
		                 "restart the server";
	}
	// Without an enforcer nobody reads the configuration file again.
	if (!facts.enforcer_running || !facts.settings_known)
		return;
	if (facts.mode != Mode::enforce) {
		const bool off = facts.mode == Mode::off;
		Finding& finding =
		    findings.add(Severity::notice, 0,
		                 off ? "mode is off: nothing is enforced" : "mode is dry_run: nothing is enforced");
		finding.detail = off ? "pg_unblock.mode is off in the configuration: limits count for nobody."
		                     : "Sessions over their limit are recorded and left alone.";
		finding.remedy = setting_advice("to enforce", "pg_unblock.mode = 'enforce'");
	}
	if (facts.mode != Mode::off)
		copies_under_limits(facts, findings);
	if (!facts.any_limit) {
		Finding& finding = findings.add(
		    Severity::notice, 0, "no limit is in force for any present session: none of them is ended");
		finding.detail =
		    "Limits of roles and databases (ALTER ROLE, ALTER DATABASE) are seen while they have "
		    "sessions. Sessions that wait for their client while they block others can be ended by "
		    "the server itself, after a time of your choice.";
		finding.remedy =
		    setting_advice("to end those after a minute", "pg_unblock.idle_blocker_limit = '1min'");
	}
}

} // namespace unblock::core
