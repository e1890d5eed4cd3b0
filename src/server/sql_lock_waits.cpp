// unblock.lock_waits(): one row for each waiting process.

#include "boundary.h"
#include "collect.h"
#include "columns.h"
#include "names.h"

namespace unblock::server {

namespace {

void add_blocker(Rows& rows, const core::Snapshot& snapshot, const core::Blocker& blocker) {
	if (blocker.node == core::kNone) {
		rows.null();
		rows.null();
		rows.null();
		return;
	}
	rows.int4(snapshot.sessions[blocker.node].pid);
	add_blocker_kind(rows, snapshot, blocker);
	add_mode(rows, blocker.mode);
}

// Those that block most come first. With all of them the report would grow with waiters times roots.
void add_roots(Rows& rows, const core::WaitGraph& graph, core::Index session) {
	constexpr std::size_t kMost = 100;
	const auto roots = graph.roots_of(session);
	const std::size_t count = std::min(roots.size(), kMost);
	int32 pids[kMost];
	for (std::size_t i = 0; i < count; ++i)
		pids[i] = graph.snapshot().sessions[roots[i]].pid;
	rows.int4_array(pids, static_cast<int>(count));
}

void add_row(Rows& rows, const Collected& collected, const core::WaitGraph& graph, core::Index index) {
	const core::Snapshot& snapshot = collected.snapshot;
	const core::Waiter& waiter = snapshot.waiters[index];
	const core::WaiterFacts& facts = graph.waiter(index);
	const core::Session& session = snapshot.sessions[waiter.session];
	const SessionDetails& details = collected.details[waiter.session];
	const LOCKTAG& tag = collected.tags[waiter.lock];
	const core::Time wait_start = waiter.wait_start == 0 ? snapshot.now : waiter.wait_start;

	rows.int4(session.pid);
	if (session.masked || session.leader == waiter.session)
		rows.null();
	else
		rows.int4(snapshot.sessions[session.leader].pid);
	add_who(rows, session, details);
	add_time(rows, session, session.backend_start);
	add_time(rows, session, session.xact_start);
	add_time(rows, session, session.query_start);
	add_lock(rows, tag);
	rows.text(snapshot.locks[waiter.lock].label);
	add_mode(rows, waiter.mode);
	rows.time(waiter.wait_start);
	rows.interval(snapshot.now - wait_start);
	if (session.masked)
		rows.null();
	else
		rows.interval(session.blocked_before + snapshot.now - wait_start);
	rows.int4(static_cast<int32>(facts.queue_position));
	rows.int4(static_cast<int32>(facts.blockers));
	add_blocker(rows, snapshot, facts.primary);
	rows.int4(static_cast<int32>(graph.node(waiter.session).depth));
	add_roots(rows, graph, waiter.session);
	add_query(rows, session, details);
	rows.end_row();
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_lock_waits);
PGDLLEXPORT Datum pg_unblock_lock_waits(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo);
	const server::Collected& collected = *server::collect(server::Purpose::reporting);
	const core::WaitGraph& graph = server::graph_of(collected);
	for (core::Index i = 0; i < collected.snapshot.waiters.size(); ++i)
		server::add_row(rows, collected, graph, i);
	return 0;
}
}
