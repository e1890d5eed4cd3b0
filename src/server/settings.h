// The settings (GUCs) of pg_unblock and what each session makes of them.
//
// Limits are PGC_SUSET: ALTER ROLE, ALTER DATABASE and a superuser's SET work,
// an ordinary client cannot lift its own limit. A value that is stronger than
// the configuration file is published in the session's slot, because the
// enforcer cannot read another process's settings.
#pragma once

#include "compat.h"

namespace unblock::server {

// Settings whose value can differ from session to session, and that are published in slots; in the
// order in which reports list them.
// A value is an int32: milliseconds, a number, an enum's number, or 0 and 1.
enum SessionSetting : int {
	kSettingMode,
	kSettingIdleInTransactionLimit,
	kSettingIdleWriteTransactionLimit,
	kSettingIdleBlockerLimit,
	kSettingActiveBlockerLimit,
	kSettingCancelGrace,
	kSettingQueuedBlockerLimit,
	kSettingQueuedBlockerWaiters,
	kSettingPreemptIdleBlockersAfter,
	kSettingTransactionLimit,
	kSettingHorizonAgeLimit,
	kSettingCountAdvisoryLocks,
	kSessionSettings,
};

using SettingValues = int32[kSessionSettings];

// The values in force for a session, and where they come from.
struct InForce {
	SettingValues values;
	GucSource sources[kSessionSettings];
};

// This process's settings that are the same for all sessions.
struct Settings {
	int max_actions_per_minute;
	bool explain_actions;
	int report_after; // ms; 0: never
	bool history_query_text;
	int history_retention; // minutes; 0: for ever
	// Only where the module is preloaded.
	int history_size;           // incidents
	char* history_database;     // empty: none
	int statement_trail;        // statements of each session; 0: none
	int statement_trail_memory; // kB of all sessions
};
extern Settings settings;

// From _PG_init: defines the settings and reserves their prefix.
void define_settings();

// This process's values of the session settings, and where they come from. In the enforcer, which belongs to
// no role and no database, they are those of the configuration file.
void current_values(InForce& values);

// "pg_unblock.mode".
const char* setting_name(SessionSetting setting);

// Within how many ms a session that this setting has just begun to count for can be in breach of it, at the
// earliest; 0: never. (Transactions are counted each second.)
uint32 soonest_breach(int setting, int32 value);

// A value as SHOW has it, "5min". A constant or palloc'd.
const char* setting_value_text(SessionSetting setting, int32 value);

// The value of a text as ALTER ROLE and ALTER DATABASE keep it; false if it is none.
bool parse_setting_value(SessionSetting setting, const char* text, int32* value);

// The limits of a session that has these values, where the file says `file_mode`.
core::Limits limits_from(const SettingValues& values, core::Mode file_mode);

// The values from the configuration file that count where no process of ours has published any (the
// module is not preloaded): no limits.
void default_values(SettingValues& values);

} // namespace unblock::server
