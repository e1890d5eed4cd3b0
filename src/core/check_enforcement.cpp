// Findings about the enforcer: whether it does what it was installed for.
#include "check_parts.h"

#include "text.h"

#include "fence.h"

namespace unblock::core {

void tell_enforcement(const Scene& scene, Findings& findings) {
	const ServerFacts& facts = scene.facts;
	if (!facts.preloaded) {
		Finding& finding =
		    findings.add(Severity::notice, 0, "pg_unblock is not preloaded: nothing is enforced");
		finding.detail = "Reports work all the same. Add it to what the setting lists already in "
		                 "postgresql.conf and restart the server.";
		finding.remedy = "shared_preload_libraries = 'pg_unblock'";
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
	}
	if (!facts.enforcer_running) {
		Finding& finding =
		    findings.add(Severity::notice, 0, "the enforcer is not running: nothing is enforced");
		finding.detail = "The server starts it again within seconds; its log says why it ended. If it never "
		                 "started, max_worker_processes may be too small.";
	}
	if (!facts.settings_known)
		return;
	if (facts.mode != Mode::enforce) {
		const bool off = facts.mode == Mode::off;
		Finding& finding =
		    findings.add(Severity::notice, 0,
		                 off ? "mode is off: nothing is enforced" : "mode is dry_run: nothing is enforced");
		finding.detail = off ? "pg_unblock.mode is off in the configuration: limits count for nobody."
		                     : "Sessions over their limit are recorded and left alone.";
		finding.remedy = "ALTER SYSTEM SET pg_unblock.mode = 'enforce'; SELECT pg_reload_conf();";
	}
	if (!facts.any_limit) {
		Finding& finding = findings.add(Severity::notice, 0, "no limit is set: nobody is ever ended");
		finding.detail = "Sessions that wait for their client while they block others can be ended by the "
		                 "server itself, after a time of your choice.";
		finding.remedy = "ALTER SYSTEM SET pg_unblock.idle_blocker_limit = '1min'; SELECT pg_reload_conf();";
	}
}

} // namespace unblock::core
