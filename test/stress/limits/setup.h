// What the sessions need on the server.
#pragma once

#include "roles.h"

namespace unblock::stress {

// The role, with its limits as its own settings.
void create(const Role& role);

// What sessions contend for, and a private row for each of so many, and begun(), which says in a notice, at
// once, what the server's clock is.
void create_contended(int sessions);

} // namespace unblock::stress
