// A snapshot for core's texts, which are read and cut as UTF-8.
#pragma once

#include "collect.h"

namespace unblock::server {

// As collect() for reports. In a database with another encoding only ASCII is safe to cut: all else is '?'.
const Collected& collect_for_texts();

} // namespace unblock::server
