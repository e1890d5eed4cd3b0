// Watches the statements of this session's transaction blocks for its trail.
#pragma once

namespace unblock::server {

// From _PG_init, while preloading; nothing where pg_unblock.statement_trail is 0.
void install_statement_hooks();

} // namespace unblock::server
