// unblock.check(): the situation in words, with what to do about it.

#include "boundary.h"
#include "columns.h"
#include "horizon.h"
#include "memory.h"
#include "privileges.h"
#include "shared_state.h"
#include "text_snapshot.h"

extern "C" {
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "utils/guc.h"
}

namespace unblock::server {

namespace {

int count_clients() {
	int clients = 0;
	each_client(nullptr, [&clients](PGPROC*, const Status&) { ++clients; });
	return clients;
}

bool has_any_limit(const core::Limits& limits) {
	for (const core::RuleFacts& rule : core::rules())
		if (core::own_limit(rule.rule, limits) > 0)
			return true;
	return false;
}

bool is_for_replication(const Names& names, Oid role) {
	return names.shared && has_rolreplication(role) && !superuser_arg(role); // superusers may replicate, too
}

core::CopySession copy_session(const Names& names, SessionSlot* slot, const Status& status,
                               const char* application_name) {
	const SessionNames who = session_names(names, slot, status.pid, status.database, status.role);
	const std::string_view role = who.role == nullptr ? "" : quote_identifier(who.role);
	core::CopySession copy;
	copy.pid = status.pid;
	copy.application_name = text_for_core(pstrdup(application_name));
	copy.datname = text_for_core(view(who.database));
	copy.usename = text_for_core(view(who.role));
	copy.role = text_for_core(role) == role ? role : "";
	return copy;
}

// Whether sessions that idle can be ended for somebody else's sake.
bool somebody_preempts(const InForce& file) {
	bool found = file.values[kSettingPreemptIdleBlockersAfter] > 0;
	each_client(nullptr, [&](PGPROC* proc, const Status& status) {
		InForce own;
		effective_values(slot_of(compat::number_of(proc), status.pid), status.pid, file, own);
		found = found || own.values[kSettingPreemptIdleBlockersAfter] > 0;
	});
	return found;
}

// Those that the caller may see, under limits.
std::span<const core::CopySession> copies_under_limits(const InForce& file, bool preempted) {
	auto* copies = allocate<core::CopySession>(compat::backend_count());
	std::size_t count = 0;
	const StatusTexts texts = make_status_texts();
	const Names names = open_names();
	each_client(&texts, [&](PGPROC* proc, const Status& status) {
		const bool for_replication = is_for_replication(names, status.role);
		if ((!for_replication && !core::copies_databases(texts.application_name)) ||
		    !may_see(names, status.role))
			return;
		SessionSlot* slot = slot_of(compat::number_of(proc), status.pid);
		InForce own;
		effective_values(slot, status.pid, file, own);
		const auto limits = limits_from(own.values, static_cast<core::Mode>(file.values[kSettingMode]));
		if (limits.mode == core::Mode::off || !(preempted || has_any_limit(limits)))
			return;
		core::CopySession& copy = *new (&copies[count++]) core::CopySession(
		    copy_session(names, slot, status, texts.application_name));
		copy.replication_role = for_replication;
		copy.limits = limits;
	});
	close_names(names);
	return {copies, count};
}

std::span<const core::HorizonHolder> horizon_for_texts() {
	const Horizon horizon = collect_horizon();
	for (std::size_t i = 0; i < horizon.count; ++i) {
		core::HorizonHolder& holder = horizon.holders[i];
		const std::string_view name = text_for_core(holder.name);
		holder.name_exact = holder.name_exact && name == holder.name;
		holder.name = name;
		holder.datname = text_for_core(holder.datname);
		holder.usename = text_for_core(holder.usename);
	}
	return {horizon.holders, horizon.count};
}

void add_enforcement(core::ServerFacts& facts) {
	SharedState* shared = shared_state();
	facts.preloaded = shared != nullptr;
	const Names names = open_names();
	const bool may_read = may_read_settings(names);
	close_names(names);
	if (may_read)
		if (const char* libraries = GetConfigOption("shared_preload_libraries", true, false))
			facts.preload_libraries = text_for_core(libraries);
	if (shared == nullptr)
		return;
	InForce file;
	file_values(file);
	facts.enforcer_running = enforcer_is_running();
	facts.settings_known = pg_atomic_read_u32(&shared->file_values_known) != 0;
	facts.mode = static_cast<core::Mode>(file.values[kSettingMode]);
	facts.any_limit = smallest_limit(file) != 0;
	facts.somebody_preempts = somebody_preempts(file);
	facts.copies = copies_under_limits(file, facts.somebody_preempts);
	facts.fuse_blown = pg_atomic_read_u32(&shared->fuse_is_blown) != 0;
	facts.paused_for = enforcement_paused_for();
}

core::ServerFacts server_facts() {
	core::ServerFacts facts;
	add_enforcement(facts);
	facts.max_connections = MaxConnections;
	facts.client_sessions = count_clients();
	facts.freeze_max_age = static_cast<uint32>(autovacuum_freeze_max_age);
	facts.horizon = horizon_for_texts();
	return facts;
}

// Of each session.
struct Remedies {
	std::vector<std::string> texts;
	std::vector<std::string_view> views;

	Remedies(const core::WaitGraph& graph, std::span<const core::SessionTimes> times) {
		for (std::size_t i = 0; i < times.size(); ++i)
			texts.push_back(core::remedy(graph, static_cast<core::Index>(i), times));
		views.assign(texts.begin(), texts.end());
	}
};

using Findings = std::vector<core::Finding>;

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_check);
PGDLLEXPORT Datum pg_unblock_check(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo);
	server::Collected& collected = *server::collect(server::Purpose::reporting);
	server::fit_for_core(collected);
	const core::WaitGraph& graph = server::graph_of(collected);
	const auto times = server::session_times(collected.snapshot);
	auto* remedies = server::Owned<server::Remedies>::in(CurrentMemoryContext);
	server::core_phase([remedies, &graph, times] { remedies->make(graph, times); });
	server::fit_gids_for_core(collected);
	core::ServerFacts facts = server::server_facts();
	facts.remedies = (*remedies)->views;
	auto* findings = server::Owned<server::Findings>::in(CurrentMemoryContext);
	server::core_phase(
	    [findings, &graph, &facts] { findings->make(core::check(graph, core::chains(graph), facts)); });
	for (const core::Finding& finding : **findings) {
		rows.text(core::name(finding.severity));
		rows.text(std::string_view(finding.finding));
		rows.text(std::string_view(finding.detail));
		if (finding.remedy.empty())
			rows.null();
		else
			rows.text(std::string_view(finding.remedy));
		rows.end_row();
	}
	return 0;
}
}
