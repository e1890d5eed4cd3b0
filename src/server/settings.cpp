// Definitions of the settings, their checks, and their publication.

#include "settings.h"
#include "farewell.h"
#include "session_slot.h"

namespace unblock::server {

Settings settings = {
    .max_actions_per_minute = 30,
    .explain_actions = true,
    .report_after = 10'000,
    .history_query_text = true,
    .history_retention = 30 * 24 * 60,
    .history_size = 1024,
    .history_database = nullptr,
    .statement_trail = 16,
    .statement_trail_memory = 4096,
};

namespace {

constexpr int kSmallestLimit = 100;  // ms
constexpr int kSmallestHistory = 16; // incidents
constexpr int kLargestHistory = 100'000;
constexpr int kLongestTrail = 1000;              // statements
constexpr int kLeastTrailMemory = 64;            // kB
constexpr int kMostTrailMemory = 1024 * 1024;    // kB
constexpr int kCountTransactions = 1000;         // ms between two looks
constexpr int kMostTransactions = 2'000'000'000; // as autovacuum_freeze_max_age: ids are compared modulo 2^32

const config_enum_entry kModes[] = {
    {"enforce", static_cast<int>(core::Mode::enforce), false},
    {"dry_run", static_cast<int>(core::Mode::dry_run), false},
    {"off", static_cast<int>(core::Mode::off), false},
    {nullptr, 0, false},
};

enum class Type { mode, limit, grace, number, transactions, flag };

struct Facts {
	SessionSetting setting;
	const char* name;
	Type type;
	int initial;
	const char* meaning;
	const char* more;
};

constexpr Facts kFacts[] = {
    {kSettingMode, "pg_unblock.mode", Type::mode, static_cast<int>(core::Mode::enforce),
     "Whether limits are enforced.",
     "dry_run decides and logs only; off exempts a session, or stops everything when set in the "
     "configuration file."},
    {kSettingIdleInTransactionLimit, "pg_unblock.idle_in_transaction_limit", Type::limit, 0,
     "Ends a session that has waited for its client in a transaction for this long.", "0 means no limit."},
    {kSettingIdleWriteTransactionLimit, "pg_unblock.idle_write_transaction_limit", Type::limit, 0,
     "Ends a session that has waited for its client for this long in a transaction that has written.",
     "0 means no limit."},
    {kSettingIdleBlockerLimit, "pg_unblock.idle_blocker_limit", Type::limit, 0,
     "Ends a session that has blocked others for this long while waiting for its client.",
     "0 means no limit."},
    {kSettingActiveBlockerLimit, "pg_unblock.active_blocker_limit", Type::limit, 0,
     "Cancels the statement of a working session that has blocked others for this long.",
     "If it still blocks them after pg_unblock.cancel_grace, the session is ended. 0 means no limit."},
    {kSettingCancelGrace, "pg_unblock.cancel_grace", Type::grace, 10'000,
     "Ends a session that still blocks others so long after its statement was canceled.",
     "See pg_unblock.active_blocker_limit. 0 means that it is not ended."},
    {kSettingQueuedBlockerLimit, "pg_unblock.queued_blocker_limit", Type::limit, 0,
     "Cancels a statement that has kept others waiting behind it in the queue of a lock for this long.",
     "Those count who wait for nobody that holds the lock. 0 means no limit."},
    {kSettingQueuedBlockerWaiters, "pg_unblock.queued_blocker_waiters", Type::number, 1,
     "How many have to wait behind a queued statement before pg_unblock.queued_blocker_limit counts.",
     nullptr},
    {kSettingPreemptIdleBlockersAfter, "pg_unblock.preempt_idle_blockers_after", Type::limit, 0,
     "Ends sessions that wait for their client and are in the way of a statement of this session when it has "
     "been blocked for this long.",
     "Meant for roles that run migrations. 0 means never."},
    {kSettingTransactionLimit, "pg_unblock.transaction_limit", Type::limit, 0,
     "Ends a session whose transaction is older than this, whatever it does.", "0 means no limit."},
    {kSettingHorizonAgeLimit, "pg_unblock.horizon_age_limit", Type::transactions, 0,
     "Ends a session that waits for its client in a transaction and has held back vacuum for so many "
     "transactions.",
     "Counted from its xmin or its transaction id, whichever is older. 0 means no limit."},
    {kSettingCountAdvisoryLocks, "pg_unblock.count_advisory_locks", Type::flag, 0,
     "Whether waits for advisory locks count towards limits.", nullptr},
};
static_assert(std::size(kFacts) == kSessionSettings);

// This process's values, and where they come from. The server wants a bool for what is on or off.
int values_here[kSessionSettings];
bool count_advisory_locks = false;
GucSource sources_here[kSessionSettings];

// Hands the value's source from the check hook, which is told it, to the assign hook, which is not.
bool remember_source(void** extra, GucSource source) {
	auto* copy = static_cast<GucSource*>(compat::guc_extra(sizeof(GucSource)));
	if (copy == nullptr)
		return false;
	*copy = source;
	*extra = copy;
	return true;
}

template <class Value>
bool check_any(Value*, void** extra, GucSource source) {
	return remember_source(extra, source);
}

bool is_length(int32 value) {
	return value == 0 || value >= kSmallestLimit;
}

bool check_length(int* value, void**, GucSource) {
	if (is_length(*value))
		return true;
	GUC_check_errdetail("A limit is 0 (none) or at least %d ms.", kSmallestLimit);
	GUC_check_errhint("A number without a unit counts milliseconds; write \"5s\" or \"5min\".");
	return false;
}

bool check_limit(int* value, void** extra, GucSource source) {
	return check_length(value, extra, source) && remember_source(extra, source);
}

// The file's values are not published: an idle session does not re-read the file, the enforcer does.
template <SessionSetting setting, class Value>
void assign(Value value, void* extra) {
	const GucSource source = extra == nullptr ? PGC_S_DEFAULT : *static_cast<const GucSource*>(extra);
	sources_here[setting] = source;
	if (source > PGC_S_FILE)
		publish_setting(setting, static_cast<int32>(value), source);
	else
		withdraw_setting(setting);
}

void define_number(const Facts& facts, int least, int most, int flags, GucIntCheckHook check,
                   GucIntAssignHook assign_hook) {
	DefineCustomIntVariable(facts.name, facts.meaning, facts.more, &values_here[facts.setting], facts.initial,
	                        least, most, PGC_SUSET, flags, check, assign_hook, nullptr);
}

template <int number>
void define_session_setting() {
	constexpr auto setting = static_cast<SessionSetting>(number);
	constexpr const Facts& facts = kFacts[number];
	static_assert(facts.setting == setting);
	switch (facts.type) {
	case Type::mode:
		DefineCustomEnumVariable(facts.name, facts.meaning, facts.more, &values_here[setting], facts.initial,
		                         kModes, PGC_SUSET, 0, check_any<int>, assign<setting, int>, nullptr);
		break;
	case Type::limit:
	case Type::grace:
		define_number(facts, 0, INT_MAX, GUC_UNIT_MS, check_limit, assign<setting, int>);
		break;
	case Type::number:
		define_number(facts, 1, INT_MAX, 0, check_any<int>, assign<setting, int>);
		break;
	case Type::transactions:
		define_number(facts, 0, kMostTransactions, 0, check_any<int>, assign<setting, int>);
		break;
	case Type::flag:
		DefineCustomBoolVariable(facts.name, facts.meaning, facts.more, &count_advisory_locks,
		                         facts.initial != 0, PGC_SUSET, 0, check_any<bool>, assign<setting, bool>,
		                         nullptr);
		break;
	}
}

template <int... numbers>
void define_session_settings(std::integer_sequence<int, numbers...>) {
	(define_session_setting<numbers>(), ...);
}

void define_history_settings() {
	DefineCustomIntVariable("pg_unblock.report_after",
	                        "Records and logs a blocking episode that lasts longer than this.",
	                        "0 means none.", &settings.report_after, settings.report_after, 0, INT_MAX,
	                        PGC_SIGHUP, GUC_UNIT_MS, check_length, nullptr, nullptr);
	DefineCustomBoolVariable("pg_unblock.history_query_text",
	                         "Whether the history has the texts of statements; if not, only query ids.",
	                         nullptr, &settings.history_query_text, settings.history_query_text, PGC_SIGHUP,
	                         0, nullptr, nullptr, nullptr);
	DefineCustomIntVariable("pg_unblock.history_retention",
	                        "For how long incidents are kept in the table unblock.incident.",
	                        "0 means for ever.", &settings.history_retention, settings.history_retention, 0,
	                        INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN, nullptr, nullptr, nullptr);
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("pg_unblock.history_size", "Incidents kept in shared memory.", nullptr,
	                        &settings.history_size, settings.history_size, kSmallestHistory, kLargestHistory,
	                        PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
	DefineCustomStringVariable(
	    "pg_unblock.history_database",
	    "Database whose table unblock.incident keeps the history, if it has the extension.",
	    "Empty: the history is kept in shared memory only.", &settings.history_database, "postgres",
	    PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
	DefineCustomIntVariable(
	    "pg_unblock.statement_trail",
	    "Statements of its transaction that each session remembers: those that took locks.", "0 means none.",
	    &settings.statement_trail, settings.statement_trail, 0, kLongestTrail, PGC_POSTMASTER, 0, nullptr,
	    nullptr, nullptr);
	DefineCustomIntVariable("pg_unblock.statement_trail_memory",
	                        "Shared memory for the statements that all sessions together remember.",
	                        "Each session that can be connected has an equal part of it, 512 bytes at least.",
	                        &settings.statement_trail_memory, settings.statement_trail_memory,
	                        kLeastTrailMemory, kMostTrailMemory, PGC_POSTMASTER, GUC_UNIT_KB, nullptr,
	                        nullptr, nullptr);
}

} // namespace

void define_settings() {
	define_session_settings(std::make_integer_sequence<int, kSessionSettings>());
	DefineCustomIntVariable("pg_unblock.max_actions_per_minute",
	                        "Fuse: the most sessions that the enforcer ends or cancels in a minute.",
	                        "0 means no fuse.", &settings.max_actions_per_minute,
	                        settings.max_actions_per_minute, 0, INT_MAX, PGC_SIGHUP, 0, nullptr, nullptr,
	                        nullptr);
	DefineCustomBoolVariable("pg_unblock.explain_actions", "Whether ended or canceled clients are told why.",
	                         nullptr, &settings.explain_actions, settings.explain_actions, PGC_SIGHUP, 0,
	                         nullptr, nullptr, nullptr);
	define_history_settings();
	MarkGUCPrefixReserved("pg_unblock");
}

void current_values(InForce& in_force) {
	std::copy(std::begin(values_here), std::end(values_here), in_force.values);
	std::copy(std::begin(sources_here), std::end(sources_here), in_force.sources);
	in_force.values[kSettingCountAdvisoryLocks] = count_advisory_locks ? 1 : 0;
}

void default_values(SettingValues& values) {
	for (const Facts& facts : kFacts)
		values[facts.setting] = facts.initial;
	values[kSettingMode] = static_cast<int32>(core::Mode::off);
}

const char* setting_name(SessionSetting setting) {
	return kFacts[setting].name;
}

uint32 soonest_breach(int setting, int32 value) {
	if (value <= 0)
		return 0;
	switch (kFacts[setting].type) {
	case Type::limit:
		return static_cast<uint32>(value);
	case Type::transactions:
		return kCountTransactions;
	default:
		return 0;
	}
}

const char* setting_value_text(SessionSetting setting, int32 value) {
	constexpr core::Micros per_millisecond = 1000;
	switch (kFacts[setting].type) {
	case Type::mode:
		return kModes[value].name;
	case Type::limit:
	case Type::grace:
		return value == 0 ? "0" : pstrdup(setting_text(value * per_millisecond).text);
	case Type::flag:
		return value != 0 ? "on" : "off";
	default:
		return psprintf("%d", value);
	}
}

bool parse_setting_value(SessionSetting setting, const char* text, int32* value) {
	bool flag = false;
	switch (kFacts[setting].type) {
	case Type::mode:
		for (const config_enum_entry* mode = kModes; mode->name != nullptr; ++mode)
			if (pg_strcasecmp(mode->name, text) == 0) {
				*value = mode->val;
				return true;
			}
		return false;
	case Type::limit:
	case Type::grace:
		return parse_int(text, value, GUC_UNIT_MS, nullptr) && is_length(*value);
	case Type::number:
		return parse_int(text, value, 0, nullptr) && *value >= 1;
	case Type::transactions:
		return parse_int(text, value, 0, nullptr) && *value >= 0 && *value <= kMostTransactions;
	case Type::flag:
		if (!parse_bool(text, &flag))
			return false;
		*value = flag ? 1 : 0;
		return true;
	}
	return false;
}

core::Limits limits_from(const SettingValues& values, core::Mode file_mode) {
	const auto length = [&values](SessionSetting setting) {
		constexpr core::Micros per_millisecond = 1000;
		return values[setting] * per_millisecond;
	};
	return {
	    .mode = std::max(file_mode, static_cast<core::Mode>(values[kSettingMode])),
	    .idle_in_transaction = length(kSettingIdleInTransactionLimit),
	    .idle_write_transaction = length(kSettingIdleWriteTransactionLimit),
	    .idle_blocker = length(kSettingIdleBlockerLimit),
	    .active_blocker = length(kSettingActiveBlockerLimit),
	    .cancel_grace = length(kSettingCancelGrace),
	    .queued_blocker = length(kSettingQueuedBlockerLimit),
	    .queued_blocker_waiters = static_cast<core::Index>(values[kSettingQueuedBlockerWaiters]),
	    .preempt_idle_blockers_after = length(kSettingPreemptIdleBlockersAfter),
	    .transaction = length(kSettingTransactionLimit),
	    .horizon_age = static_cast<uint32>(values[kSettingHorizonAgeLimit]),
	    .count_advisory_locks = values[kSettingCountAdvisoryLocks] != 0,
	};
}

} // namespace unblock::server
