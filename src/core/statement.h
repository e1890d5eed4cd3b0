// What a statement is, by its text: told apart by first words, without a parser.
#pragma once

#include "snapshot.h"

namespace unblock::core {

// Whether the session's query holds a statement of DDL, or another one that takes strong locks on tables and
// is run to change them or to keep them up. Each statement of a string with several of them is looked at,
// because a session shows the whole string while any of them runs; what stands in quotes, dollar quotes or
// comments is no statement (scan.l). False where masked. O(length of the query), of which no more than 16 kB
// are read.
bool is_migration(const Session& session) noexcept;

} // namespace unblock::core
