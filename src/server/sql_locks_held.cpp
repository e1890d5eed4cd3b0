// unblock.locks_held(): each lock and mode that one process holds or awaits.

#include "columns.h"
#include "held_locks.h"
#include "memory.h"
#include "names.h"

namespace unblock::server {

namespace {

struct LockRow {
	LockEntry entry;
	const char* label;
};

// Strongest first; the rest makes the order the same each time.
bool before(const LockRow& a, const LockRow& b) {
	if (a.entry.mode != b.entry.mode)
		return a.entry.mode > b.entry.mode;
	if (const int order = strcmp(a.label, b.label); order != 0)
		return order < 0;
	return a.entry.granted && !b.entry.granted;
}

LockRow* make_rows(const LockEntries& locks) {
	auto* made = allocate<LockRow>(locks.count);
	const Names names = open_names();
	for (int i = 0; i < locks.count; ++i) {
		CHECK_FOR_INTERRUPTS();
		made[i] = {locks.entries[i], lock_label(names, locks.entries[i].tag)};
	}
	close_names(names);
	std::sort(made, made + locks.count, before);
	return made;
}

void add_row(Rows& rows, const LockRow& row) {
	const LockEntry& entry = row.entry;
	add_lock(rows, entry.tag);
	rows.text(row.label);
	add_mode(rows, entry.mode);
	rows.boolean(entry.granted);
	rows.boolean(entry.fastpath);
	rows.int4(entry.waiters);
	rows.end_row();
}

} // namespace

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_locks_held);
PGDLLEXPORT Datum pg_unblock_locks_held(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo);
	// Before names are looked up: the catalogs' locks would be the caller's own.
	const server::LockEntries locks = server::read_locks(PG_GETARG_INT32(0));
	const server::LockRow* found = server::make_rows(locks);
	for (int i = 0; i < locks.count; ++i)
		server::add_row(rows, found[i]);
	return 0;
}
}
