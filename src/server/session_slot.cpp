// Claiming, publishing and reading of slots.

#include "session_slot.h"
#include "shared_state.h"

namespace unblock::server {

namespace {

SessionSlot* own_slot = nullptr;
ClientAuthentication_hook_type previous_authentication_hook = nullptr;

void release_slot(int, Datum) {
	SessionSlot* slot = own_slot;
	own_slot = nullptr;
	const bool was_told_to_go = pg_atomic_read_u32(&slot->farewell.state) != Farewell::none;
	pg_atomic_write_u32(&slot->published, 0);
	pg_write_barrier();
	pg_atomic_write_u32(&slot->pid, 0);
	if (was_told_to_go)
		wake_enforcer();
}

void claim_slot(const Port* port) {
	SessionSlot* slot = &shared_state()->slots[compat::my_number()];
	pg_atomic_write_u32(&slot->published, 0);
	pg_atomic_write_u32(&slot->farewell.state, Farewell::none);
	namestrcpy(&slot->role, port->user_name ? port->user_name : "");
	namestrcpy(&slot->database, port->database_name ? port->database_name : "");
	pg_write_barrier();
	pg_atomic_write_u32(&slot->pid, static_cast<uint32>(MyProcPid));
	own_slot = slot;
	on_shmem_exit(release_slot, 0);
}

// Called by ClientAuthentication() (libpq/auth.c) for client backends and walsenders only, once they have
// a PGPROC and before the settings of role and database are applied, so that those get published.
void on_authentication(Port* port, int status) {
	if (previous_authentication_hook)
		previous_authentication_hook(port, status);
	if (status == STATUS_OK && own_slot == nullptr && shared_state() != nullptr)
		claim_slot(port);
}

} // namespace

void initialize_slot(SessionSlot& slot) {
	pg_atomic_init_u32(&slot.pid, 0);
	pg_atomic_init_u32(&slot.published, 0);
	for (int setting = 0; setting < kSessionSettings; ++setting) {
		pg_atomic_init_u32(&slot.value[setting], 0);
		pg_atomic_init_u32(&slot.source[setting], 0);
	}
	pg_atomic_init_u32(&slot.account_version, 0);
	pg_atomic_init_u32(&slot.farewell.state, Farewell::none);
}

void install_slot_hooks() {
	previous_authentication_hook = ClientAuthentication_hook;
	ClientAuthentication_hook = on_authentication;
}

SessionSlot* my_slot() {
	return own_slot;
}

SessionSlot* slot_of(int process_number, int pid) {
	SharedState* shared = shared_state();
	if (shared == nullptr || pid == 0 || process_number >= shared->slot_count)
		return nullptr;
	SessionSlot* slot = &shared->slots[process_number];
	if (pg_atomic_read_u32(&slot->pid) != static_cast<uint32>(pid))
		return nullptr;
	pg_read_barrier();
	return slot;
}

void publish_setting(SessionSetting setting, int32 value, GucSource source) {
	if (own_slot == nullptr)
		return;
	const uint32 bit = 1U << setting;
	const bool was_published = (pg_atomic_read_u32(&own_slot->published) & bit) != 0;
	const auto before = static_cast<int32>(pg_atomic_read_u32(&own_slot->value[setting]));
	pg_atomic_write_u32(&own_slot->value[setting], static_cast<uint32>(value));
	pg_atomic_write_u32(&own_slot->source[setting], static_cast<uint32>(source));
	pg_write_barrier();
	pg_atomic_fetch_or_u32(&own_slot->published, bit);
	pg_memory_barrier(); // publish first, then compare with the enforcer's plan
	// A transaction may have collected time against its limit already, so that a SET, or its end, may make it
	// due sooner than any session that begins now.
	const uint32 soonest = soonest_breach(setting, value);
	if (source >= PGC_S_INTERACTIVE || (was_published && value != before) ||
	    (soonest > 0 && soonest < enforcer_plan()))
		wake_enforcer();
}

void withdraw_setting(SessionSetting setting) {
	if (own_slot == nullptr)
		return;
	const uint32 bit = 1U << setting;
	if ((pg_atomic_fetch_and_u32(&own_slot->published, ~bit) & bit) != 0)
		wake_enforcer(); // the file's value may be the lower one
}

void effective_values(SessionSlot* slot, int pid, const InForce& file, InForce& in_force) {
	const uint32 published = slot == nullptr ? 0 : pg_atomic_read_u32(&slot->published);
	in_force = file;
	if (published == 0)
		return;
	pg_read_barrier();
	for (int setting = 0; setting < kSessionSettings; ++setting)
		if (published & (1U << setting)) {
			in_force.values[setting] = static_cast<int32>(pg_atomic_read_u32(&slot->value[setting]));
			in_force.sources[setting] = static_cast<GucSource>(pg_atomic_read_u32(&slot->source[setting]));
		}
	pg_read_barrier();
	if (pg_atomic_read_u32(&slot->pid) != static_cast<uint32>(pid))
		in_force = file; // the session has gone
}

bool copy_names(SessionSlot* slot, int pid, NameData* role, NameData* database) {
	*role = slot->role;
	*database = slot->database;
	pg_read_barrier();
	return pg_atomic_read_u32(&slot->pid) == static_cast<uint32>(pid);
}

void write_account(SessionSlot* slot, const Account& account) {
	const uint32 version = pg_atomic_read_u32(&slot->account_version) | 1U;
	pg_atomic_write_u32(&slot->account_version, version);
	pg_write_barrier();
	slot->account = account;
	pg_write_barrier();
	pg_atomic_write_u32(&slot->account_version, version + 1U);
}

bool read_account(SessionSlot* slot, Account* account) {
	constexpr int most_tries = 100;
	for (int i = 0; i < most_tries; ++i) {
		const uint32 version = pg_atomic_read_u32(&slot->account_version);
		pg_read_barrier();
		*account = slot->account;
		pg_read_barrier();
		if ((version & 1U) == 0 && pg_atomic_read_u32(&slot->account_version) == version)
			return true;
	}
	return false;
}

} // namespace unblock::server
