// Slices, and the reading of them.

#include "trails.h"
#include "boundary.h"
#include "memory.h"
#include "session_slot.h"
#include "settings.h"
#include "shared_state.h"

namespace unblock::server {

namespace {

// More would be of use to nobody.
constexpr std::size_t kMostBytes = 64 * 1024;

char* slices = nullptr;

Size slice_bytes() {
	return core::TrailSlice::bytes(trail_words());
}

} // namespace

std::size_t trail_words() {
	constexpr std::size_t kilobyte = 1024;
	const std::size_t share = static_cast<std::size_t>(settings.statement_trail_memory) * kilobyte /
	                          static_cast<std::size_t>(compat::backend_count());
	return std::clamp(share, core::StatementTrail::kLeastBytes, kMostBytes) / sizeof(uint64);
}

Size trails_bytes() {
	if (settings.statement_trail == 0)
		return 0;
	return mul_size(slice_bytes(), static_cast<Size>(compat::backend_count()));
}

void make_trails() {
	if (settings.statement_trail == 0)
		return;
	bool found = false;
	slices = static_cast<char*>(ShmemInitStruct("pg_unblock trails", trails_bytes(), &found));
	if (!found)
		for (int i = 0; i < compat::backend_count(); ++i)
			core::TrailSlice::make(slices + slice_bytes() * static_cast<Size>(i));
}

bool has_trails() {
	return slices != nullptr;
}

core::TrailSlice* trail_slice(int process_number) {
	if (slices == nullptr || process_number >= compat::backend_count())
		return nullptr;
	return reinterpret_cast<core::TrailSlice*>(slices + slice_bytes() * static_cast<Size>(process_number));
}

const core::Trail* read_trail(int process_number, int pid, LocalTransactionId transaction) {
	const core::TrailSlice* slice = trail_slice(process_number);
	if (slice == nullptr || transaction == InvalidLocalTransactionId ||
	    slot_of(process_number, pid) == nullptr)
		return nullptr;
	const std::size_t words = trail_words();
	auto* room = static_cast<uint64*>(palloc_extended(words * sizeof(uint64), MCXT_ALLOC_NO_OOM));
	if (room == nullptr)
		return nullptr;
	const std::ptrdiff_t used = slice->read({room, words});
	pg_read_barrier();
	if (used <= 0 || slot_of(process_number, pid) == nullptr)
		return nullptr;
	auto* trail = Owned<core::Trail>::in(CurrentMemoryContext);
	const auto read = [trail, room, used] { trail->make(std::span(room, static_cast<std::size_t>(used))); };
	if (run_guarded(read).status != CoreStatus::ok || (*trail)->transaction != transaction)
		return nullptr;
	return &**trail;
}

void require_trails() {
	require_shared_state();
	if (!has_trails())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		                errmsg("statements are not remembered while pg_unblock.statement_trail is 0"),
		                errhint("Set pg_unblock.statement_trail and restart the server.")));
}

} // namespace unblock::server
