// unblock.blocking_edges() and unblock.graph(): who waits for whom, pair by
// pair, as rows and as text for programs that draw graphs.

#include "boundary.h"
#include "columns.h"
#include "names.h"
#include "text_snapshot.h"

namespace unblock::server {

namespace {

// Of more pairs than this only those with primary blockers are drawn: with all of them a picture is of no
// use, and the programs that draw it take minutes.
constexpr std::size_t kMostArrows = 1000;

// How many pairs the caller wants; null: all.
std::size_t most_argument(FunctionCallInfo fcinfo) {
	if (PG_ARGISNULL(0))
		return SIZE_MAX;
	const int32 most = PG_GETARG_INT32(0);
	if (most < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_rows must not be negative")));
	return static_cast<std::size_t>(most);
}

void add_edge(Rows& rows, const Collected& collected, const core::WaitGraph& graph, const core::Edge& edge) {
	const core::Snapshot& snapshot = collected.snapshot;
	const core::Waiter& waiter = snapshot.waiters[edge.waiter];
	rows.int4(snapshot.sessions[graph.node_of(waiter.session)].pid);
	rows.int4(snapshot.sessions[edge.blocker.node].pid);
	add_blocker_kind(rows, snapshot, edge.blocker);
	rows.text(lock_type_name(collected.tags[waiter.lock]));
	rows.text(snapshot.locks[waiter.lock].label);
	add_mode(rows, waiter.mode);
	add_mode(rows, edge.blocker.mode);
	rows.end_row();
}

core::GraphFormat format_argument(FunctionCallInfo fcinfo) {
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("format must not be null")));
	const char* format = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (pg_strcasecmp(format, "dot") == 0)
		return core::GraphFormat::dot;
	if (pg_strcasecmp(format, "mermaid") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unrecognized graph format: \"%s\"", format),
		                errhint("Formats are \"dot\" (Graphviz) and \"mermaid\".")));
	return core::GraphFormat::mermaid;
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_blocking_edges);
PGDLLEXPORT Datum pg_unblock_blocking_edges(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo);
	const std::size_t most = server::most_argument(fcinfo);
	const server::Collected& collected = *server::collect(server::Purpose::reporting);
	const core::WaitGraph& graph = server::graph_of(collected);
	auto* edges = server::Owned<core::Edges>::in(CurrentMemoryContext);
	server::core_phase([edges, &graph, most] { edges->make(core::edges(graph, most)); });
	for (const core::Edge& edge : (*edges)->list)
		server::add_edge(rows, collected, graph, edge);
	if ((*edges)->cut)
		ereport(NOTICE, (errmsg("there are more pairs than the %zu shown", most),
		                 errhint("Pass a larger max_rows, or null for all of them.")));
	return 0;
}

PG_FUNCTION_INFO_V1(pg_unblock_graph);
PGDLLEXPORT Datum pg_unblock_graph(PG_FUNCTION_ARGS) {
	using namespace unblock;
	const core::GraphFormat format = server::format_argument(fcinfo);
	const server::Collected& collected = server::collect_for_texts();
	const core::WaitGraph& graph = server::graph_of(collected);
	auto* drawing = server::Owned<std::string>::in(CurrentMemoryContext);
	server::core_phase([drawing, &graph, format] {
		const core::Edges all = core::edges(graph, server::kMostArrows);
		drawing->make(core::graph_text(graph, all.cut ? core::primary_edges(graph) : all, format));
	});
	PG_RETURN_TEXT_P(cstring_to_text_with_len((*drawing)->data(), static_cast<int>((*drawing)->size())));
}
}
