// unblock.tree() and unblock.stats(): the situation as a picture, and the
// enforcer's own figures.

#include "boundary.h"
#include "collect.h"
#include "columns.h"
#include "shared_state.h"
#include "text_snapshot.h"

namespace unblock::server {

namespace {

using Lines = std::vector<std::string>;

void add_measure(Rows& rows, const char* name, Measure& measure, uint64 times) {
	const auto last = static_cast<double>(pg_atomic_read_u64(&measure.last));
	const auto sum = static_cast<double>(pg_atomic_read_u64(&measure.sum));
	const auto max = static_cast<double>(pg_atomic_read_u64(&measure.max));
	const struct {
		const char* what;
		double value;
	} figures[] = {{"last", last}, {"mean", times == 0 ? 0 : sum / static_cast<double>(times)}, {"max", max}};
	for (const auto& figure : figures) {
		rows.text(psprintf("%s_%s", name, figure.what));
		rows.float8(figure.value);
		rows.text("us");
		rows.end_row();
	}
}

void add_count(Rows& rows, const char* name, uint64 value) {
	rows.text(name);
	rows.float8(static_cast<double>(value));
	rows.text("count");
	rows.end_row();
}

constexpr struct {
	Counter counter;
	const char* name;
} kCounterNames[] = {
    {kTurns, "turns"},
    {kLooks, "looks"},
    {kTerminated, "terminated"},
    {kCancelled, "canceled"},
    {kWouldTerminate, "would_terminate"},
    {kWouldCancel, "would_cancel"},
    {kChangedInTime, "changed_in_time"},
    {kEndsSeen, "ends_seen"},
    {kFuseBlown, "fuse_blown"},
    {kClockSteps, "clock_steps"},
    {kManualTerminated, "manual_terminated"},
    {kManualCancelled, "manual_canceled"},
    {kRecorded, "recorded"},
    {kEpisodes, "episodes"},
};
static_assert(lengthof(kCounterNames) == kCounters);

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_tree);
PGDLLEXPORT Datum pg_unblock_tree(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo, server::Rows::Shape::scalar);
	const server::Collected& collected = server::collect_for_texts();
	const core::WaitGraph& graph = server::graph_of(collected);
	core::RenderOptions options;
	options.unicode = pg_get_client_encoding() == PG_UTF8 && GetDatabaseEncoding() == PG_UTF8;
	auto* lines = server::Owned<server::Lines>::in(CurrentMemoryContext);
	server::core_phase([lines, &graph, &options] {
		const auto chains = core::chains(graph);
		lines->make(core::tree(graph, chains, options));
	});
	for (const std::string& line : **lines) {
		rows.text(std::string_view(line));
		rows.end_row();
	}
	return 0;
}

PG_FUNCTION_INFO_V1(pg_unblock_stats);
PGDLLEXPORT Datum pg_unblock_stats(PG_FUNCTION_ARGS) {
	using namespace unblock::server;
	SharedState* shared = require_shared_state();
	Rows rows(fcinfo);
	for (const auto& entry : kCounterNames)
		add_count(rows, entry.name, counter_value(entry.counter));
	add_count(rows, "incidents", incidents()->added());
	add_count(rows, "incidents_lost", incidents()->lost());
	const uint64 looks = counter_value(kLooks);
	add_measure(rows, "look_time", shared->statistics.look_time, looks);
	add_measure(rows, "snapshot_time", shared->statistics.snapshot_time, looks);
	add_measure(rows, "partition_lock_time", shared->statistics.partition_time, looks);
	add_measure(rows, "graph_time", shared->statistics.graph_time, looks);
	add_measure(rows, "end_time", shared->statistics.end_time, counter_value(kEndsSeen));
	add_measure(rows, "record_time", shared->statistics.record_time, counter_value(kRecorded));
	return 0;
}
}
