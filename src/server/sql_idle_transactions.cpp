// unblock.idle_transactions(): sessions that wait for their client inside a
// transaction, longest first.

#include "boundary.h"
#include "collect.h"
#include "columns.h"
#include "held_locks.h"
#include "memory.h"
#include "names.h"

namespace unblock::server {

namespace {

// Whoever may not see a session's state is not told that it is idle either.
bool belongs(const core::Session& session) {
	return session.kind == core::Kind::client && core::idle_in_transaction(session) && !session.masked;
}

// "AccessShareLock on relation public.features".
void add_strongest(Rows& rows, const Names& names, const HeldLocks& held) {
	if (held.strongest == core::LockMode::none) {
		rows.null();
		return;
	}
	const auto mode = core::name(held.strongest);
	rows.text(
	    psprintf("%.*s on %s", static_cast<int>(mode.size()), mode.data(), lock_label(names, held.tag)));
}

void add_next_limit(Rows& rows, const core::NextLimits& limits, core::Index index) {
	const auto next = limits.of(index);
	if (!next) {
		rows.null();
		rows.null();
		rows.null();
		return;
	}
	const auto setting = core::setting(next->rule);
	const auto action = core::name(next->action);
	rows.text(psprintf("pg_unblock.%.*s", static_cast<int>(setting.size()), setting.data()));
	rows.text(next->dry_run ? psprintf("would %.*s", static_cast<int>(action.size()), action.data())
	                        : pnstrdup(action.data(), action.size()));
	if (next->in)
		rows.interval(*next->in);
	else
		rows.null();
}

void add_row(Rows& rows, const Collected& collected, const core::WaitGraph& graph,
             const core::NextLimits& limits, core::Index index, const HeldLocks& held, const Names& names) {
	const core::Snapshot& snapshot = collected.snapshot;
	const core::Session& session = snapshot.sessions[index];
	const SessionDetails& details = collected.details[index];
	rows.int4(session.pid);
	add_who(rows, session, details);
	add_time(rows, session, session.backend_start);
	add_state(rows, session);
	add_idle_time(rows, session, snapshot.now);
	add_time(rows, session, session.xact_start);
	add_age(rows, session, session.xact_start, snapshot.now);
	rows.xid(session.xid);
	if (TransactionIdIsNormal(session.xmin))
		rows.int4(static_cast<int32>(snapshot.next_xid - session.xmin));
	else
		rows.null();
	rows.int4(held.count);
	add_strongest(rows, names, held);
	rows.int4(static_cast<int32>(graph.node(index).blocked_total));
	add_next_limit(rows, limits, index);
	add_query(rows, session, details);
	rows.end_row();
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_idle_transactions);
PGDLLEXPORT Datum pg_unblock_idle_transactions(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo);
	const server::Collected& collected = *server::collect(server::Purpose::reporting);
	const core::WaitGraph& graph = server::graph_of(collected);
	auto* limits = server::Owned<core::NextLimits>::in(CurrentMemoryContext);
	server::core_phase([limits, &graph] { limits->make(graph); });
	const auto sessions = collected.snapshot.sessions;
	auto* wanted = server::allocate<bool>(sessions.size(), MCXT_ALLOC_ZERO);
	auto* order = server::allocate<core::Index>(sessions.size());
	core::Index count = 0;
	for (core::Index i = 0; i < sessions.size(); ++i) {
		wanted[i] = server::belongs(sessions[i]);
		if (wanted[i])
			order[count++] = i;
	}
	std::sort(order, order + count, [sessions](core::Index a, core::Index b) {
		return sessions[a].state_start != sessions[b].state_start
		           ? sessions[a].state_start < sessions[b].state_start
		           : sessions[a].pid < sessions[b].pid;
	});
	const server::HeldLocks* held = server::count_held_locks(collected, wanted);
	const server::Names names = server::open_names();
	for (core::Index i = 0; i < count; ++i)
		server::add_row(rows, collected, graph, **limits, order[i], held[order[i]], names);
	server::close_names(names);
	return 0;
}
}
