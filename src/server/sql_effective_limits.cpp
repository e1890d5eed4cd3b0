// unblock.effective_limits(): what is in force for each session, and where it comes from.

#include "collect.h"
#include "privileges.h"
#include "role_settings.h"
#include "rows.h"
#include "shared_state.h"

extern "C" {
#include "utils/guc_tables.h"
}

namespace unblock::server {

namespace {

// What is the same for all sessions.
struct Scene {
	Names names;
	InForce file;
	const RoleSettings* role_settings; // nullptr: cannot be read at once
	bool enforced;                     // there is an enforcer, and it is not paused
};

// Whether ALTER ROLE, ALTER DATABASE or the like have changed what a session began with. A SET stands by
// itself.
void add_stale(Rows& rows, const Scene& scene, const Status& status, const InForce& own,
               SessionSetting setting) {
	if (own.sources[setting] > PGC_S_DATABASE_USER)
		rows.boolean(false);
	else if (scene.role_settings == nullptr)
		rows.null();
	else
		rows.boolean(next_value(*scene.role_settings, status.database, status.role, setting,
		                        scene.file.values[setting]) != own.values[setting]);
}

void add_session(Rows& rows, const Scene& scene, PGPROC* proc, const Status& status) {
	SessionSlot* slot = slot_of(compat::number_of(proc), status.pid);
	InForce own;
	effective_values(slot, status.pid, scene.file, own);
	const core::Limits limits =
	    limits_from(own.values, static_cast<core::Mode>(scene.file.values[kSettingMode]));
	const bool enforceable =
	    scene.enforced && limits.mode == core::Mode::enforce && status.state != STATE_DISABLED;
	const SessionNames who = session_names(scene.names, slot, status.pid, status.database, status.role);
	const bool visible = may_see(scene.names, status.role);
	for (int i = 0; i < kSessionSettings; ++i) {
		const auto setting = static_cast<SessionSetting>(i);
		rows.int4(status.pid);
		rows.name(view(who.role));
		rows.name(view(who.database));
		rows.text(setting_name(setting));
		if (visible) {
			rows.text(setting_value_text(setting, own.values[setting]));
			rows.text(GucSource_Names[own.sources[setting]]);
			add_stale(rows, scene, status, own, setting);
			rows.boolean(enforceable);
		} else {
			for (int column = 0; column < 4; ++column)
				rows.null();
		}
		rows.end_row();
	}
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_effective_limits);
PGDLLEXPORT Datum pg_unblock_effective_limits(PG_FUNCTION_ARGS) {
	using namespace unblock::server;
	Rows rows(fcinfo);
	require_shared_state();
	Scene scene;
	file_values(scene.file);
	scene.enforced = enforcer_is_running() && enforcement_paused_for() == 0;
	scene.names = open_names();
	scene.role_settings = read_role_settings(scene.names);
	each_client(nullptr, [&](PGPROC* proc, const Status& status) { add_session(rows, scene, proc, status); });
	close_names(scene.names);
	return 0;
}
}
