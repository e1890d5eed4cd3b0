// The settings (GUCs) of pg_unblock and what each session makes of them.
//
// Limits are PGC_SUSET: ALTER ROLE, ALTER DATABASE and a superuser's SET work,
// an ordinary client cannot lift its own limit. A value that is stronger than
// the configuration file is published in the session's slot, because the
// enforcer cannot read another process's settings.
#pragma once

#include "compat.h"

namespace unblock::server {

// Settings whose value can differ from session to session, and that are published in slots.
// A value is an int32: milliseconds, an enum's number, or 0 and 1.
enum SessionSetting : int {
	kSettingMode,
	kSettingIdleInTransactionLimit,
	kSettingIdleBlockerLimit,
	kSettingCountAdvisoryLocks,
	kSessionSettings,
};

using SettingValues = int32[kSessionSettings];

// True for settings that are a length of time after which something happens.
constexpr bool is_limit(int setting) {
	return setting == kSettingIdleInTransactionLimit || setting == kSettingIdleBlockerLimit;
}

// This process's settings. In the enforcer, which belongs to no role and no
// database, they are those of the configuration file.
struct Settings {
	int mode;
	int idle_in_transaction_limit; // ms
	int idle_blocker_limit;        // ms
	bool count_advisory_locks;
	int max_actions_per_minute;
	bool explain_actions;
};
extern Settings settings;

// From _PG_init: defines the settings and reserves their prefix.
void define_settings();

// This process's values of the session settings.
void current_values(SettingValues& values);

// The limits of a session that has these values, where the file says `file_mode`.
core::Limits limits_from(const SettingValues& values, core::Mode file_mode);

// The values from the configuration file that count where no process of ours has published any (the
// module is not preloaded): no limits.
void default_values(SettingValues& values);

} // namespace unblock::server
