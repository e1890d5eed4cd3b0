// A snapshot for core's texts, which are read and cut as UTF-8.
#pragma once

#include "collect.h"

namespace unblock::server {

// As collect() for reports. In a database with another encoding only ASCII is safe to cut: all else is '?'.
const Collected& collect_for_texts();

// One such text. Palloc'd where it differs.
std::string_view text_for_core(std::string_view text);

} // namespace unblock::server
