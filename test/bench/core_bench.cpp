// What the graph costs as it grows, for the shapes that real incidents have.
#include "core/edges.h"
#include "core/wait_graph.h"
#include "../unit/graph_builder.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include <malloc.h>

namespace {

// Of all that operator new has handed out and not got back.
std::size_t bytes_now = 0;
std::size_t bytes_at_peak = 0;

} // namespace

// Not inlined: else g++ sees malloc() and free() where it expects new and delete.
[[gnu::noinline]] void* operator new(std::size_t size) {
	void* memory = std::malloc(size);
	if (memory == nullptr)
		throw std::bad_alloc();
	bytes_now += malloc_usable_size(memory);
	bytes_at_peak = std::max(bytes_at_peak, bytes_now);
	return memory;
}

[[gnu::noinline]] void operator delete(void* memory) noexcept {
	bytes_now -= malloc_usable_size(memory);
	std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
	operator delete(memory);
}

namespace unblock::core::test {
namespace {

// What one call of `measured` takes: time, and at its peak memory.
template <class Measured>
void measure(benchmark::State& state, Measured measured) {
	const std::size_t before = bytes_at_peak = bytes_now;
	measured();
	state.counters["peak_bytes"] = static_cast<double>(bytes_at_peak - before);
	for (auto _ : state)
		measured();
}

using Shape = void (*)(GraphBuilder& b, int size);

// Updates of one row, all behind one idle writer.
void row_lock_pile(GraphBuilder& b, int updates) {
	const auto transaction = b.lock("transaction 742");
	const auto tuple = b.lock("tuple (0,1) of relation public.t");
	const auto first = b.session(2);
	b.hold(transaction, b.session(1), LockMode::exclusive).wait(transaction, first, LockMode::share);
	b.hold(tuple, first, LockMode::exclusive);
	for (int i = 1; i < updates; ++i)
		b.wait(tuple, b.session(2 + i), LockMode::exclusive);
}

// Updates of one row, all behind one idle writer, and the locks that they all hold on the table.
void add_row_pile(GraphBuilder& b, Index table, int updates, std::int32_t pid) {
	const auto transaction = b.lock("transaction");
	const auto tuple = b.lock("tuple of relation public.t");
	const auto writer = b.session(pid);
	const auto first = b.session(pid + 1);
	b.hold(table, writer, LockMode::row_exclusive).hold(transaction, writer, LockMode::exclusive);
	b.hold(table, first, LockMode::row_exclusive).hold(tuple, first, LockMode::exclusive);
	b.wait(transaction, first, LockMode::share);
	for (int i = 1; i < updates; ++i) {
		const auto update = b.session(pid + 1 + i);
		b.hold(table, update, LockMode::row_exclusive).wait(tuple, update, LockMode::exclusive);
	}
}

void add_alter(GraphBuilder& b, Index table, int readers, std::int32_t pid) {
	b.wait(table, b.session(pid), LockMode::access_exclusive);
	for (int i = 0; i < readers; ++i)
		b.wait(table, b.session(pid + 1 + i), LockMode::access_share);
}

// The same while an ALTER TABLE waits for all of them, and readers behind it.
void row_pile_with_alter(GraphBuilder& b, int updates) {
	const auto table = b.lock("relation public.t");
	add_row_pile(b, table, updates, 1);
	add_alter(b, table, updates / 10, 100'000);
}

// Two tables with ten hot rows each, and an ALTER TABLE of each.
void many_hot_rows_with_alter(GraphBuilder& b, int updates) {
	for (int t = 0; t < 2; ++t) {
		const auto table = b.lock("relation public.t");
		for (int row = 0; row < 10; ++row)
			add_row_pile(b, table, updates / 20, (10 * t + row + 1) * 100'000);
		add_alter(b, table, updates / 20, (t + 100) * 100'000);
	}
}

// Three migrations behind an open SELECT, everyone else behind the migrations.
void readers_behind_exclusive(GraphBuilder& b, int readers) {
	const auto table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_share);
	for (int i = 0; i < 3; ++i)
		b.wait(table, b.session(2 + i), LockMode::access_exclusive);
	for (int i = 0; i < readers; ++i)
		b.wait(table, b.session(10 + i), LockMode::access_share);
}

// Indexes wait for a writer, a migration behind them, and readers for the migration alone.
void readers_behind_the_last(GraphBuilder& b, int waiters) {
	const auto table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::row_exclusive);
	for (int i = 0; i < waiters / 2; ++i)
		b.wait(table, b.session(10 + i), LockMode::share);
	b.wait(table, b.session(2), LockMode::access_exclusive);
	for (int i = 0; i < waiters / 2; ++i)
		b.wait(table, b.session(100'000 + i), LockMode::access_share);
}

// Waits in every mode behind holders of several.
void mixed_modes(GraphBuilder& b, int waiters) {
	const auto table = b.lock("relation public.t");
	for (int i = 0; i < waiters / 10; ++i)
		b.hold(table, b.session(1 + i), static_cast<LockMode>(1 + i % 3));
	for (int i = 0; i < waiters; ++i)
		b.wait(table, b.session(100'000 + i), static_cast<LockMode>(1 + i * 5 % 8));
}

void chain(GraphBuilder& b, int length) {
	Index above = b.session(1);
	for (int i = 0; i < length; ++i) {
		const auto transaction = b.lock("transaction");
		b.hold(transaction, above, LockMode::exclusive);
		above = b.session(2 + i);
		b.wait(transaction, above, LockMode::share);
	}
}

// One queue in which everyone holds something that somebody else awaits: no shortcut counts here.
void web(GraphBuilder& b, int size) {
	const auto table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::share).hold(table, b.session(2), LockMode::share);
	for (int i = 0; i < size / 2; ++i) {
		const auto waiter = b.session(3 + i);
		const auto transaction = b.lock("transaction");
		b.wait(table, waiter, LockMode::exclusive);
		b.hold(transaction, waiter, LockMode::exclusive);
		b.wait(transaction, b.session(100'000 + i), LockMode::share);
	}
}

// A chain in which each step is blocked by one more root: every waiter has roots of its own.
void staircase(GraphBuilder& b, int steps) {
	Index above = b.session(1);
	for (int i = 0; i < steps; ++i) {
		const auto table = b.lock("relation");
		b.hold(table, above, LockMode::share).hold(table, b.session(100'000 + i), LockMode::share);
		above = b.session(2 + i);
		b.wait(table, above, LockMode::row_exclusive);
	}
}

template <class Use>
void build(benchmark::State& state, Shape shape, Use use) {
	GraphBuilder b;
	shape(b, static_cast<int>(state.range(0)));
	const Snapshot snapshot = b.snapshot();
	measure(state, [&] { use(WaitGraph(snapshot)); });
}

void graph_of(benchmark::State& state, Shape shape) {
	build(state, shape, [](const WaitGraph& graph) { benchmark::DoNotOptimize(graph.roots().data()); });
}

// With the first few blockers of each, as blocking_chains lists them.
void chains_of(benchmark::State& state, Shape shape) {
	build(state, shape, [](const WaitGraph& graph) {
		for (const ChainRow& row : chains(graph))
			if (const Index waiter = graph.node(row.node).waiter; waiter != kNone)
				benchmark::DoNotOptimize(graph.blockers_of(waiter, 11).data());
	});
}

void edges_of(benchmark::State& state, Shape shape) {
	build(state, shape,
	      [](const WaitGraph& graph) { benchmark::DoNotOptimize(edges(graph, SIZE_MAX).list.data()); });
}

void sizes(benchmark::internal::Benchmark* bench) {
	for (const int size : {100, 300, 1000, 3000, 10'000})
		bench->Arg(size);
	bench->Unit(benchmark::kMillisecond);
}

#define BENCHMARK_SHAPE(what, shape) BENCHMARK_CAPTURE(what, shape, shape)->Apply(sizes)

BENCHMARK_SHAPE(graph_of, row_lock_pile);
BENCHMARK_SHAPE(graph_of, row_pile_with_alter);
BENCHMARK_SHAPE(graph_of, many_hot_rows_with_alter);
BENCHMARK_SHAPE(graph_of, readers_behind_exclusive);
BENCHMARK_SHAPE(graph_of, mixed_modes);
BENCHMARK_SHAPE(graph_of, chain);
BENCHMARK_SHAPE(graph_of, web);
BENCHMARK_SHAPE(graph_of, staircase);
BENCHMARK_SHAPE(chains_of, row_lock_pile);
BENCHMARK_SHAPE(chains_of, readers_behind_exclusive);
BENCHMARK_SHAPE(chains_of, readers_behind_the_last);
BENCHMARK_SHAPE(chains_of, mixed_modes);
// Of the other shapes the pairs themselves are n * n.
BENCHMARK_SHAPE(edges_of, readers_behind_exclusive);
BENCHMARK_SHAPE(edges_of, readers_behind_the_last);

} // namespace
} // namespace unblock::core::test
