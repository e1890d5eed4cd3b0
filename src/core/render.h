// The chains as text for a terminal.
#pragma once

#include "text.h"
#include "wait_graph.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core {

struct RenderOptions {
	bool unicode = true;          // box-drawing characters; otherwise plain ASCII
	int width = 80;               // columns, 40 at least; longer texts are cut with an ellipsis
	bool statements = true;       // shows the sessions' statements
	std::size_t bytes = SIZE_MAX; // drawing stops when all lines together have more
};

// One string per line, chains apart by an empty line; nothing for an empty forest. Each session shows
// pid, who it is, what it does and for how long, whom it blocks, through which lock it waits in which
// mode for which held mode, and its statement. Of more than four siblings that look alike (same lock, same
// mode, none drawn below them) the first two are drawn and one line counts the rest. What is too deep for
// the width is drawn at the deepest level that fits, with its level in front. Of masked sessions only pid,
// user, database and the facts of the lock are told. The order is that of the rows. Texts are shown on one
// line: control characters become spaces. O(rows log rows) and the length of the texts. Throws
// std::bad_alloc.
std::vector<std::string> tree(const WaitGraph& graph, std::span<const ChainRow> rows,
                              const RenderOptions& options);

// Of the same rows those that are drawn one by one, not counted together, in order: of their sessions
// alone tree() shows texts and the label of a lock. O(rows log rows). Throws std::bad_alloc.
std::vector<Index> rows_drawn(const WaitGraph& graph, std::span<const ChainRow> rows);

// Whom a node holds up: "root blocker: blocks 6, frees 5", "deadlock: blocks 1, frees 0", "blocks 2, frees
// 1"; empty if nobody.
std::string blocks(const NodeFacts& facts);

// Stands for the statement of a masked session, as in pg_stat_activity.
inline constexpr std::string_view kInsufficientPrivilege = "<insufficient privilege>";

} // namespace unblock::core
