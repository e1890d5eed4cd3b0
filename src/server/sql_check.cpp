// unblock.check(): the situation in words, with what to do about it.

#include "boundary.h"
#include "columns.h"
#include "horizon.h"
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
	for (int number = 0; number < compat::backend_count(); ++number) {
		PGPROC* proc = compat::proc_at(number);
		const int pid = proc->pid;
		Status status;
		if (pid != 0 && read_status(proc, pid, &status, nullptr) && status.type == B_BACKEND)
			++clients;
	}
	return clients;
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
