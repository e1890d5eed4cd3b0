// A snapshot for core's texts, which are read and cut as UTF-8.
#pragma once

#include "collect.h"

namespace unblock::server {

// As collect() for reports. In a database with another encoding only ASCII is safe to cut: all else is '?'.
const Collected& collect_for_texts();

// The two parts of that, for a snapshot of which a graph may have been made. Remedies are made in between:
// core does not cut the gids in them, and needs them as they are.
void fit_for_core(Collected& collected);
void fit_gids_for_core(Collected& collected);

// One such text. Palloc'd where it differs.
std::string_view text_for_core(std::string_view text);

} // namespace unblock::server
