// The chains as text for a terminal.
#pragma once

#include "wait_graph.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core {

struct RenderOptions {
	bool unicode = true; // box-drawing characters; otherwise plain ASCII
	int width = 80;      // columns; longer texts are cut with an ellipsis
};

// One string per line, chains apart by an empty line; nothing for an empty forest. Each session shows
// pid, who it is, what it does and for how long, whom it blocks, through which lock it waits in which
// mode for which held mode, and its statement. More than a handful of siblings that look alike (same lock,
// same mode, blocking nobody) become one line that counts them. The order is stable. Texts are shown on one
// line: control characters become spaces. O(rows). Throws std::bad_alloc.
std::vector<std::string> tree(const WaitGraph& graph, std::span<const ChainRow> rows,
                              const RenderOptions& options);

// A length of time for people: "250ms", "12.3s", "4min 05s", "3h 02min", "2d 04h". Negative reads as 0.
std::string duration(Micros length);

// What a person should paste to be rid of this session, or empty where there is nothing safe to do:
// SELECT unblock.terminate(pid, 'xact_start') for a client in a transaction (the pid alone where it is in
// none), ROLLBACK PREPARED for a prepared transaction, SELECT unblock.cancel(…) for a client that runs a
// statement. `xact_start_text` is the session's xact_start as the server prints it in full (ISO, with zone).
std::string remedy(const Session& session, std::string_view xact_start_text);

} // namespace unblock::core
