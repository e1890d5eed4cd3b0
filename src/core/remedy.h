// What a person should paste to be rid of a session that stands in the way.
#pragma once

#include "snapshot.h"
#include "wait_graph.h"

#include <span>
#include <string>
#include <string_view>

namespace unblock::core {

// A session's times as the server prints them in full (ISO, with zone). Empty: not known.
struct SessionTimes {
	std::string_view xact_start;
	std::string_view backend_start;
	std::string_view state_start;
};

// One statement that is safe to paste, late too, or advice as a comment of SQL, which does nothing when
// pasted:
//
//   - for a client in a transaction unblock.terminate(pid, 'xact_start') if it waits for its client, else
//     unblock.cancel(…): behind a connection pool a pid alone may hit a stranger;
//   - for a client that is in no transaction or in an aborted one, the same pinned to this very spell by
//     backend_start and state_change, which moves with anything that the session does;
//   - ROLLBACK PREPARED for a prepared transaction, on one line whatever its name is;
//   - advice for all other processes, and for one that has committed and waits for a standby.
//
// Empty for a session that is masked or in an unknown state, and where the times are missing. `waiting` is
// the remedy of the session that waits for this one; empty: not known. O(length of the texts). Throws
// std::bad_alloc.
std::string remedy(const Session& session, const SessionTimes& times, std::string_view waiting = {});

// The same for a node of a graph, told whose statement waits for it longest. `times` are by index into
// Snapshot::sessions.
std::string remedy(const WaitGraph& graph, Index node, std::span<const SessionTimes> times);

} // namespace unblock::core
