// The module's entry point.
//
// Preloaded, it defines its settings, asks for shared memory, and registers
// the enforcer. Loaded later, by the first call of one of its functions, it has
// the reports and the actions; what needs the enforcer or shared memory says so.

#include "enforcer.h"
#include "farewell.h"
#include "settings.h"
#include "shared_state.h"
#include "statement_hooks.h"

extern "C" {
UNBLOCK_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);
}

void _PG_init(void) {
	using namespace unblock::server;
	define_settings();
	if (!process_shared_preload_libraries_in_progress)
		return;
	install_shared_state_hooks();
	install_slot_hooks();
	install_farewell_hook();
	install_statement_hooks();
	if (!IsBinaryUpgrade)
		register_enforcer();
}
