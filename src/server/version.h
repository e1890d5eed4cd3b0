// Whether the SQL objects of a database fit this library. Both are installed as files, but a database keeps
// its objects until ALTER EXTENSION UPDATE, and a running server its library until it is restarted.
#pragma once

#include "compat.h"

namespace unblock::server {

// Raises the error that a function's SQL declaration is of another version than the library.
[[noreturn]] void objects_do_not_fit();

} // namespace unblock::server
