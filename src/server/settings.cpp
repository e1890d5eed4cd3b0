// Definitions of the settings, their checks, and their publication.

#include "settings.h"
#include "session_slot.h"

namespace unblock::server {

Settings settings = {
    .mode = static_cast<int>(core::Mode::enforce),
    .idle_in_transaction_limit = 0,
    .idle_blocker_limit = 0,
    .count_advisory_locks = false,
    .max_actions_per_minute = 30,
    .explain_actions = true,
};

namespace {

constexpr int kSmallestLimit = 100; // ms

const config_enum_entry kModes[] = {
    {"enforce", static_cast<int>(core::Mode::enforce), false},
    {"dry_run", static_cast<int>(core::Mode::dry_run), false},
    {"off", static_cast<int>(core::Mode::off), false},
    {nullptr, 0, false},
};

// Hands the value's source from the check hook, which is told it, to the assign hook, which is not.
bool remember_source(void** extra, GucSource source) {
	auto* copy = static_cast<GucSource*>(compat::guc_extra(sizeof(GucSource)));
	if (copy == nullptr)
		return false;
	*copy = source;
	*extra = copy;
	return true;
}

// The file's values are not published: an idle session does not re-read the file, the enforcer does.
void publish(SessionSetting setting, int32 value, const void* extra) {
	const bool stronger_than_file = extra != nullptr && *static_cast<const GucSource*>(extra) > PGC_S_FILE;
	if (stronger_than_file)
		publish_setting(setting, value);
	else
		withdraw_setting(setting);
}

template <class Value>
bool check_any(Value*, void** extra, GucSource source) {
	return remember_source(extra, source);
}

bool check_limit(int* value, void** extra, GucSource source) {
	if (*value > 0 && *value < kSmallestLimit) {
		GUC_check_errdetail("A limit is 0 (none) or at least %d ms.", kSmallestLimit);
		GUC_check_errhint("A number without a unit counts milliseconds; write \"5s\" or \"5min\".");
		return false;
	}
	return remember_source(extra, source);
}

template <SessionSetting setting, class Value>
void assign(Value value, void* extra) {
	publish(setting, static_cast<int32>(value), extra);
}

template <SessionSetting setting>
void define_limit(const char* name, const char* meaning, int* variable) {
	DefineCustomIntVariable(name, meaning, "0 means no limit.", variable, 0, 0, INT_MAX, PGC_SUSET,
	                        GUC_UNIT_MS, check_limit, assign<setting, int>, nullptr);
}

} // namespace

void define_settings() {
	DefineCustomEnumVariable("pg_unblock.mode", "Whether limits are enforced.",
	                         "dry_run decides and logs only; off exempts a session, or stops everything "
	                         "when set in the configuration file.",
	                         &settings.mode, settings.mode, kModes, PGC_SUSET, 0, check_any<int>,
	                         assign<kSettingMode, int>, nullptr);
	define_limit<kSettingIdleInTransactionLimit>(
	    "pg_unblock.idle_in_transaction_limit",
	    "Ends a session that has waited for its client in a transaction for this long.",
	    &settings.idle_in_transaction_limit);
	define_limit<kSettingIdleBlockerLimit>(
	    "pg_unblock.idle_blocker_limit",
	    "Ends a session that has blocked others for this long while waiting for its client.",
	    &settings.idle_blocker_limit);
	DefineCustomBoolVariable("pg_unblock.count_advisory_locks",
	                         "Whether waits for advisory locks count towards limits.", nullptr,
	                         &settings.count_advisory_locks, settings.count_advisory_locks, PGC_SUSET, 0,
	                         check_any<bool>, assign<kSettingCountAdvisoryLocks, bool>, nullptr);
	DefineCustomIntVariable("pg_unblock.max_actions_per_minute",
	                        "Fuse: the most sessions that the enforcer ends or cancels in a minute.",
	                        "0 means no fuse.", &settings.max_actions_per_minute,
	                        settings.max_actions_per_minute, 0, INT_MAX, PGC_SIGHUP, 0, nullptr, nullptr,
	                        nullptr);
	DefineCustomBoolVariable("pg_unblock.explain_actions", "Whether ended or cancelled clients are told why.",
	                         nullptr, &settings.explain_actions, settings.explain_actions, PGC_SIGHUP, 0,
	                         nullptr, nullptr, nullptr);
	MarkGUCPrefixReserved("pg_unblock");
}

void current_values(SettingValues& values) {
	values[kSettingMode] = settings.mode;
	values[kSettingIdleInTransactionLimit] = settings.idle_in_transaction_limit;
	values[kSettingIdleBlockerLimit] = settings.idle_blocker_limit;
	values[kSettingCountAdvisoryLocks] = settings.count_advisory_locks ? 1 : 0;
}

void default_values(SettingValues& values) {
	values[kSettingMode] = static_cast<int32>(core::Mode::off);
	values[kSettingIdleInTransactionLimit] = 0;
	values[kSettingIdleBlockerLimit] = 0;
	values[kSettingCountAdvisoryLocks] = 0;
}

core::Limits limits_from(const SettingValues& values, core::Mode file_mode) {
	constexpr core::Micros per_millisecond = 1000;
	core::Limits limits;
	limits.mode = std::max(file_mode, static_cast<core::Mode>(values[kSettingMode]));
	limits.idle_in_transaction = values[kSettingIdleInTransactionLimit] * per_millisecond;
	limits.idle_blocker = values[kSettingIdleBlockerLimit] * per_millisecond;
	limits.count_advisory_locks = values[kSettingCountAdvisoryLocks] != 0;
	return limits;
}

} // namespace unblock::server
