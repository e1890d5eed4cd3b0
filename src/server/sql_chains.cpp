// unblock.blocking_chains() and unblock.root_blockers(): the forest of waiting
// sessions below their primary blockers, and its roots.

#include "boundary.h"
#include "collect.h"
#include "columns.h"
#include "held_locks.h"
#include "locking_statement.h"
#include "memory.h"

namespace unblock::server {

namespace {

// blocking_chains lists that many blockers beside the primary one; blocker_count in lock_waits has them all.
constexpr std::size_t kMostOtherBlockers = 10;

struct ChainReport {
	std::vector<core::ChainRow> rows;
	std::vector<std::string> remedies;      // of each row
	std::vector<std::vector<int32>> others; // of each row: pids
	std::vector<std::vector<int32>> paths;  // of each row: pids from the top

	ChainReport(const core::WaitGraph& graph, std::span<const core::SessionTimes> times)
	    : rows(core::chains(graph)) {
		for (const core::ChainRow& row : rows) {
			const bool blocks = graph.node(row.node).direct_waiters > 0;
			remedies.push_back(blocks ? core::remedy(graph, row.node, times) : std::string());
			others.push_back(other_blockers(graph, row.node));
			paths.push_back(path_to(graph, row));
		}
	}

private:
	static std::vector<int32> other_blockers(const core::WaitGraph& graph, core::Index node) {
		std::vector<int32> pids;
		const core::Index waiter = graph.node(node).waiter;
		if (waiter == core::kNone)
			return pids;
		// One more than is shown: the primary one is among them or behind them.
		for (const core::Blocker& blocker : graph.blockers_of(waiter, kMostOtherBlockers + 1))
			if (blocker.node != graph.waiter(waiter).primary.node && pids.size() < kMostOtherBlockers)
				pids.push_back(graph.snapshot().sessions[blocker.node].pid);
		return pids;
	}

	std::vector<int32> path_to(const core::WaitGraph& graph, const core::ChainRow& row) const {
		std::vector<int32> pids;
		if (row.parent != core::kNone)
			pids = paths[row.parent];
		pids.push_back(graph.snapshot().sessions[row.node].pid);
		return pids;
	}
};

void add_text_or_null(Rows& rows, std::string_view text) {
	if (text.empty())
		rows.null();
	else
		rows.text(text);
}

void add_pids(Rows& rows, const std::vector<int32>& pids) {
	rows.int4_array(pids.data(), static_cast<int>(pids.size()));
}

// wait_time, lock, mode_wanted, mode_held.
void add_wait(Rows& rows, const core::WaitGraph& graph, core::Index index) {
	const core::Snapshot& snapshot = graph.snapshot();
	if (index == core::kNone) {
		for (int i = 0; i < 4; ++i)
			rows.null();
		return;
	}
	const core::Waiter& waiter = snapshot.waiters[index];
	rows.interval(waiter.wait_start == 0 ? 0 : snapshot.now - waiter.wait_start);
	rows.text(snapshot.locks[waiter.lock].label);
	add_mode(rows, waiter.mode);
	add_mode(rows, graph.waiter(index).primary.mode);
}

// locking_query, locking_query_at: of a session that holds what somebody waits for.
void add_locking_statement(Rows& rows, LockingStatements& statements, const core::WaitGraph& graph,
                           core::Index node) {
	const bool holds = graph.node(node).hard_waiter != core::kNone;
	if (!holds || graph.snapshot().sessions[node].masked) {
		rows.text(holds ? core::kInsufficientPrivilege : std::string_view());
		rows.null();
		return;
	}
	const LockingStatement statement = statements.of(node);
	rows.text(statement.at == 0 ? nullptr : fit_text(statement.text));
	rows.time(statement.at);
}

void add_chain_row(Rows& rows, const Collected& collected, const core::WaitGraph& graph,
                   LockingStatements& statements, const ChainReport& report, std::size_t number) {
	const core::Snapshot& snapshot = collected.snapshot;
	const core::ChainRow& row = report.rows[number];
	const core::Session& session = snapshot.sessions[row.node];
	const SessionDetails& details = collected.details[row.node];
	const core::NodeFacts& facts = graph.node(row.node);

	rows.int4(static_cast<int32>(row.chain));
	rows.int4(static_cast<int32>(row.depth));
	add_pids(rows, report.paths[number]);
	rows.int4(session.pid);
	add_text_or_null(rows, session.gid);
	const core::Index blocker =
	    facts.waiter == core::kNone ? core::kNone : graph.waiter(facts.waiter).primary.node;
	if (blocker == core::kNone)
		rows.null();
	else
		rows.int4(snapshot.sessions[blocker].pid);
	add_pids(rows, report.others[number]);
	rows.int4(static_cast<int32>(facts.direct_waiters));
	rows.int4(static_cast<int32>(facts.blocked_total));
	rows.int4(static_cast<int32>(facts.frees));
	rows.boolean(facts.in_cycle);
	add_who(rows, session, details);
	add_backend_type(rows, session, details);
	add_time(rows, session, session.backend_start);
	add_state(rows, session);
	add_wait_event_type(rows, session, details);
	add_wait_event(rows, session, details);
	add_idle_time(rows, session, snapshot.now);
	add_time(rows, session, session.xact_start);
	add_age(rows, session, session.xact_start, snapshot.now);
	add_wait(rows, graph, facts.waiter);
	add_query(rows, session, details);
	add_locking_statement(rows, statements, graph, row.node);
	add_text_or_null(rows, report.remedies[number]);
	rows.end_row();
}

void add_root_row(Rows& rows, const Collected& collected, const core::WaitGraph& graph,
                  LockingStatements& statements, core::Index node, const HeldLocks& held,
                  const std::string& remedy) {
	const core::Snapshot& snapshot = collected.snapshot;
	const core::Session& session = snapshot.sessions[node];
	const SessionDetails& details = collected.details[node];
	const core::NodeFacts& facts = graph.node(node);

	rows.int4(session.pid);
	add_text_or_null(rows, session.gid);
	add_who(rows, session, details);
	add_time(rows, session, session.backend_start);
	add_state(rows, session);
	add_wait_event(rows, session, details);
	add_idle_time(rows, session, snapshot.now);
	if (session.masked)
		rows.null();
	else
		rows.interval(core::blocking_idle_time(graph, node));
	add_time(rows, session, session.xact_start);
	add_age(rows, session, session.xact_start, snapshot.now);
	rows.int4(static_cast<int32>(facts.direct_waiters));
	rows.int4(static_cast<int32>(facts.blocked_total));
	rows.int4(static_cast<int32>(facts.frees));
	rows.interval(facts.hard_since == 0 ? 0 : snapshot.now - facts.hard_since);
	rows.int4(held.count);
	add_query(rows, session, details);
	add_locking_statement(rows, statements, graph, node);
	add_text_or_null(rows, remedy);
	rows.end_row();
}

bool* only(const core::Snapshot& snapshot, std::span<const core::Index> chosen) {
	auto* wanted = allocate<bool>(snapshot.sessions.size(), MCXT_ALLOC_ZERO);
	for (const core::Index index : chosen)
		wanted[index] = true;
	return wanted;
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_blocking_chains);
PGDLLEXPORT Datum pg_unblock_blocking_chains(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo);
	const server::Collected& collected = *server::collect(server::Purpose::reporting);
	const core::WaitGraph& graph = server::graph_of(collected);
	const auto times = server::session_times(collected.snapshot);
	auto* report = server::Owned<server::ChainReport>::in(CurrentMemoryContext);
	server::core_phase([report, &graph, times] { report->make(graph, times); });
	server::LockingStatements statements(collected, graph);
	for (std::size_t i = 0; i < (*report)->rows.size(); ++i)
		server::add_chain_row(rows, collected, graph, statements, **report, i);
	return 0;
}

PG_FUNCTION_INFO_V1(pg_unblock_root_blockers);
PGDLLEXPORT Datum pg_unblock_root_blockers(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo);
	const server::Collected& collected = *server::collect(server::Purpose::reporting);
	const core::WaitGraph& graph = server::graph_of(collected);
	const auto times = server::session_times(collected.snapshot);
	const server::HeldLocks* held =
	    server::count_held_locks(collected, server::only(collected.snapshot, graph.roots()));
	auto* remedies = server::Owned<std::vector<std::string>>::in(CurrentMemoryContext);
	server::core_phase([remedies, &graph, times] {
		auto& texts = remedies->make();
		for (const core::Index root : graph.roots())
			texts.push_back(core::remedy(graph, root, times));
	});
	server::LockingStatements statements(collected, graph);
	for (std::size_t i = 0; i < graph.roots().size(); ++i) {
		const core::Index root = graph.roots()[i];
		server::add_root_row(rows, collected, graph, statements, root, held[root], (**remedies)[i]);
	}
	return 0;
}
}
