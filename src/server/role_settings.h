// What ALTER ROLE and ALTER DATABASE say of our settings now: what the next
// session will get. Reads a catalog, and so only for reports.
#pragma once

#include "names.h"
#include "settings.h"

namespace unblock::server {

struct RoleSettings; // palloc'd

// nullptr if the catalog cannot be read at once.
const RoleSettings* read_role_settings(const Names& names);

// The value that a session of this role in this database would begin with, where the file has `file_value`
// (postinit.c, process_settings()).
int32 next_value(const RoleSettings& list, Oid database, Oid role, SessionSetting setting, int32 file_value);

} // namespace unblock::server
