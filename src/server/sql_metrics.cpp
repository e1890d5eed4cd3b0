// unblock.metrics(): the figures that monitoring wants, from one snapshot and the enforcer's counters.

#include "boundary.h"
#include "collect.h"
#include "enforcer.h"
#include "horizon.h"
#include "rows.h"
#include "settings.h"
#include "shared_state.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace unblock::server {

namespace {

enum class Type { gauge, counter };

constexpr double kMicrosPerSecond = 1e6;

// `labels` is JSON.
void add_metric(Rows& rows, const char* name, const char* labels, double value, const char* help, Type type) {
	rows.text(psprintf("pg_unblock_%s", name));
	rows.datum(DirectFunctionCall1(jsonb_in, CStringGetDatum(labels)));
	rows.float8(value);
	rows.text(help);
	rows.text(type == Type::gauge ? "gauge" : "counter");
	rows.end_row();
}

void add_gauge(Rows& rows, const char* name, double value, const char* help) {
	add_metric(rows, name, "{}", value, help, Type::gauge);
}

void add_counter(Rows& rows, const char* name, uint64 value, const char* help) {
	add_metric(rows, name, "{}", static_cast<double>(value), help, Type::counter);
}

// Who waits and who idles now. Waits for advisory locks are told apart: applications elect leaders with them,
// who keep others waiting for ever by design.
void add_present(Rows& rows) {
	const Collected& collected = *collect(Purpose::recording);
	const core::Snapshot& snapshot = collected.snapshot;
	const core::WaitGraph& graph = graph_of(collected);
	uint64 blocked = 0, advisory = 0, roots = 0, idle_transactions = 0;
	core::Micros longest_wait = 0, longest_idle = 0;
	for (core::Index i = 0; i < snapshot.sessions.size(); ++i) {
		const core::Session& session = snapshot.sessions[i];
		const core::NodeFacts& node = graph.node(i);
		if (graph.node_of(i) == i && node.waiter != core::kNone) {
			if (snapshot.locks[snapshot.waiters[node.waiter].lock].advisory)
				++advisory;
			else
				++blocked;
		}
		if (session.kind != core::Kind::client || !core::idle_in_transaction(session))
			continue;
		++idle_transactions;
		longest_idle = std::max(longest_idle, snapshot.now - session.state_start);
	}
	for (const core::Index root : graph.roots())
		if (graph.node(root).hard_waiter_no_advisory != core::kNone)
			++roots;
	for (const core::Waiter& waiter : snapshot.waiters)
		if (!snapshot.locks[waiter.lock].advisory)
			longest_wait = std::max(longest_wait, snapshot.waited(waiter));
	add_gauge(rows, "blocked_sessions", static_cast<double>(blocked),
	          "Sessions that wait for a lock, other than an advisory one.");
	add_gauge(rows, "root_blockers", static_cast<double>(roots),
	          "Sessions that hold locks, other than advisory ones, which others wait for, and wait for none "
	          "themselves.");
	add_gauge(rows, "longest_wait_seconds", static_cast<double>(longest_wait) / kMicrosPerSecond,
	          "The longest present wait for a lock, other than an advisory one.");
	add_gauge(rows, "advisory_waiters", static_cast<double>(advisory),
	          "Sessions that wait for an advisory lock.");
	add_gauge(rows, "idle_transactions", static_cast<double>(idle_transactions),
	          "Sessions that wait for their client in a transaction.");
	add_gauge(rows, "longest_idle_transaction_seconds", static_cast<double>(longest_idle) / kMicrosPerSecond,
	          "The longest time that a session in a transaction has been waiting for its client.");
}

void add_horizon(Rows& rows) {
	const Horizon horizon = collect_horizon();
	const uint32 age = horizon.count == 0 ? 0 : horizon.holders[0].age;
	add_gauge(rows, "xmin_age_transactions", age,
	          "Age of the oldest transaction for which vacuum keeps dead rows.");
}

void add_enforcer(Rows& rows) {
	SharedState* shared = shared_state();
	add_gauge(rows, "enforcer_up", enforcer_is_running() ? 1 : 0, "Whether the enforcer runs.");
	InForce file;
	file_values(file);
	const auto mode = static_cast<core::Mode>(file.values[kSettingMode]);
	add_gauge(rows, "enforcer_off", mode == core::Mode::off ? 1 : 0,
	          "Whether pg_unblock.mode is off in the configuration file.");
	add_gauge(rows, "enforcer_dry_run", mode == core::Mode::dry_run ? 1 : 0,
	          "Whether pg_unblock.mode is dry_run in the configuration file.");
	add_gauge(rows, "enforcer_paused", enforcement_paused_for() > 0 ? 1 : 0,
	          "Whether unblock.pause() holds back the enforcer.");
	add_gauge(rows, "fuse_blown", pg_atomic_read_u32(&shared->fuse_is_blown),
	          "Whether the enforcer holds back because of max_actions_per_minute.");
	// Not fuse_blown_total: OpenMetrics has that name for the same metric as fuse_blown.
	add_counter(rows, "fuse_blows_total", counter_value(kFuseBlown),
	            "How often the enforcer held back because of max_actions_per_minute.");
	add_metric(rows, "session_seconds_lost_total", "{}",
	           static_cast<double>(pg_atomic_read_u64(&shared->statistics.waited)) / kMicrosPerSecond,
	           "Time that sessions have waited for locks, other than advisory ones, as far as the enforcer "
	           "has seen.",
	           Type::counter);
}

void add_actions(Rows& rows) {
	static constexpr const char* names[] = {"terminate", "cancel", "would_terminate", "would_cancel"};
	static_assert(std::size(names) == kRuleActions);
	Statistics& statistics = shared_state()->statistics;
	for (const core::RuleFacts& rule : core::rules())
		for (int action = 0; action < kRuleActions; ++action) {
			const auto value =
			    pg_atomic_read_u64(&statistics.by_rule[static_cast<std::size_t>(rule.rule)][action]);
			const char* labels = psprintf(R"({"action": "%s", "rule": "%.*s"})", names[action],
			                              static_cast<int>(rule.setting.size()), rule.setting.data());
			add_metric(rows, "actions_total", labels, static_cast<double>(value),
			           "What the enforcer did, or in dry run would have done, by rule.", Type::counter);
		}
	const struct {
		const char* labels;
		Counter counter;
	} manual[] = {{R"({"action": "terminate"})", kManualTerminated},
	              {R"({"action": "cancel"})", kManualCancelled}};
	for (const auto& entry : manual)
		add_metric(rows, "manual_actions_total", entry.labels,
		           static_cast<double>(counter_value(entry.counter)),
		           "Sessions ended and statements canceled by roles, with unblock.terminate() and the like.",
		           Type::counter);
}

void add_history(Rows& rows) {
	const IncidentRing& ring = *incidents();
	// In this order: what is saved is never ahead.
	const uint64 recorded = pg_atomic_read_u64(&shared_state()->recorded);
	const uint64 changes = ring.changes();
	const uint64 saved = recorded == UINT64_MAX ? 0 : recorded; // nobody has looked for the table yet
	add_counter(rows, "episodes_total", counter_value(kEpisodes),
	            "Blocking episodes that lasted longer than report_after.");
	add_counter(rows, "incidents_total", ring.added(), "Incidents recorded.");
	add_counter(rows, "incidents_lost_total", ring.lost(),
	            "Incidents that made way in memory before they were in the table.");
	add_gauge(rows, "history_enabled", *settings.history_database != '\0' && !RecoveryInProgress() ? 1 : 0,
	          "Whether there is a table to save incidents in: not without history_database or on a standby.");
	add_gauge(rows, "history_is_saved", changes == saved ? 1 : 0,
	          "Whether the table has all that was recorded.");
	add_counter(rows, "history_changes_total", changes, "Incidents recorded, and changes to them.");
	add_counter(rows, "history_changes_saved_total", saved,
	            "Incidents recorded, and changes to them, that the table has.");
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_metrics);
PGDLLEXPORT Datum pg_unblock_metrics(PG_FUNCTION_ARGS) {
	using namespace unblock::server;
	require_shared_state();
	Rows rows(fcinfo);
	add_present(rows);
	add_horizon(rows);
	add_enforcer(rows);
	add_actions(rows);
	add_history(rows);
	return 0;
}
}
