// What the graph costs as it grows, for the shapes that real incidents have.
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

void build(benchmark::State& state, GraphBuilder& b) {
	const Snapshot snapshot = b.snapshot();
	measure(state, [&snapshot] {
		const WaitGraph graph(snapshot);
		benchmark::DoNotOptimize(graph.roots().data());
	});
}

// Updates of one row, all behind one idle writer.
void row_lock_pile(benchmark::State& state) {
	GraphBuilder b;
	const auto transaction = b.lock("transaction 742");
	const auto tuple = b.lock("tuple (0,1) of relation public.t");
	const auto first = b.session(2);
	b.hold(transaction, b.session(1), LockMode::exclusive).wait(transaction, first, LockMode::share);
	b.hold(tuple, first, LockMode::exclusive);
	for (int i = 1; i < state.range(0); ++i)
		b.wait(tuple, b.session(2 + i), LockMode::exclusive);
	build(state, b);
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
void row_pile_with_alter(benchmark::State& state) {
	const int updates = static_cast<int>(state.range(0));
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	add_row_pile(b, table, updates, 1);
	add_alter(b, table, updates / 10, 100'000);
	build(state, b);
}

// Two tables with ten hot rows each, and an ALTER TABLE of each.
void many_hot_rows_with_alter(benchmark::State& state) {
	const int updates = static_cast<int>(state.range(0));
	GraphBuilder b;
	for (int t = 0; t < 2; ++t) {
		const auto table = b.lock("relation public.t");
		for (int row = 0; row < 10; ++row)
			add_row_pile(b, table, updates / 20, (10 * t + row + 1) * 100'000);
		add_alter(b, table, updates / 20, (t + 100) * 100'000);
	}
	build(state, b);
}

// Three migrations behind an open SELECT, everyone else behind the migrations.
void readers_behind_exclusive(benchmark::State& state) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::access_share);
	for (int i = 0; i < 3; ++i)
		b.wait(table, b.session(2 + i), LockMode::access_exclusive);
	for (int i = 0; i < state.range(0); ++i)
		b.wait(table, b.session(10 + i), LockMode::access_share);
	build(state, b);
}

// Half of them hold, half of them wait, in every mode.
void mixed_modes(benchmark::State& state) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	for (int i = 0; i < state.range(0) / 2; ++i)
		b.hold(table, b.session(1 + i), static_cast<LockMode>(1 + i % 3));
	for (int i = 0; i < state.range(0) / 2; ++i)
		b.wait(table, b.session(100'000 + i), static_cast<LockMode>(1 + i * 5 % 8));
	build(state, b);
}

void chain(benchmark::State& state) {
	GraphBuilder b;
	Index above = b.session(1);
	for (int i = 0; i < state.range(0); ++i) {
		const auto transaction = b.lock("transaction");
		b.hold(transaction, above, LockMode::exclusive);
		above = b.session(2 + i);
		b.wait(transaction, above, LockMode::share);
	}
	build(state, b);
}

// One queue in which everyone holds something that somebody else awaits: no shortcut counts here.
void web(benchmark::State& state) {
	GraphBuilder b;
	const auto table = b.lock("relation public.t");
	b.hold(table, b.session(1), LockMode::share).hold(table, b.session(2), LockMode::share);
	for (int i = 0; i < state.range(0) / 2; ++i) {
		const auto waiter = b.session(3 + i);
		const auto transaction = b.lock("transaction");
		b.wait(table, waiter, LockMode::exclusive);
		b.hold(transaction, waiter, LockMode::exclusive);
		b.wait(transaction, b.session(100'000 + i), LockMode::share);
	}
	build(state, b);
}

void chains_of_the_pile(benchmark::State& state) {
	GraphBuilder b;
	const auto tuple = b.lock("tuple (0,1) of relation public.t");
	b.hold(tuple, b.session(1), LockMode::exclusive);
	for (int i = 0; i < state.range(0); ++i)
		b.wait(tuple, b.session(2 + i), LockMode::exclusive, ago(0.001 * i));
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	measure(state, [&graph] { benchmark::DoNotOptimize(chains(graph).data()); });
}

void sizes(benchmark::internal::Benchmark* bench) {
	for (const int waiters_and_holders : {100, 300, 1000, 3000, 10'000})
		bench->Arg(waiters_and_holders);
	bench->Unit(benchmark::kMillisecond);
}

BENCHMARK(row_lock_pile)->Apply(sizes);
BENCHMARK(row_pile_with_alter)->Apply(sizes);
BENCHMARK(many_hot_rows_with_alter)->Apply(sizes);
BENCHMARK(readers_behind_exclusive)->Apply(sizes);
BENCHMARK(mixed_modes)->Apply(sizes);
BENCHMARK(chain)->Apply(sizes);
BENCHMARK(web)->Apply(sizes);
BENCHMARK(chains_of_the_pile)->Apply(sizes);

} // namespace
} // namespace unblock::core::test
