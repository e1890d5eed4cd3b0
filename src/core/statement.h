// What a statement is, by its text: told apart by first words, without a parser.
#pragma once

#include "snapshot.h"

namespace unblock::core {

// Whether the session's query holds a statement of DDL, or another one that takes strong locks on tables and
// is run to change them or to keep them up. Each statement of a string with several of them is looked at,
// because a session shows the whole string while any of them runs; what stands in quotes, dollar quotes or
// comments is no statement (scan.l). LOCK counts without a mode, or with SHARE or a stronger one. The server
// cuts long texts off (track_activity_query_size), and a list of tables can hide the mode: then the one that
// the session `awaited` tells; none: not known. False where masked. O(length of the query), of which no more
// than 16 kB are read.
bool is_migration(const Session& session, LockMode awaited = LockMode::none) noexcept;

} // namespace unblock::core
