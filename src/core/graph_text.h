// The wait graph for programs that draw graphs: Graphviz and Mermaid.
#pragma once

#include "edges.h"

#include <string>

namespace unblock::core {

enum class GraphFormat { dot, mermaid };

// The sessions that wait or block, and the pairs in `edges` (of the same graph), as text. Arrows lead from a
// waiter up to its blocker. A node tells pid, who it is, what it does and for how long, whom it blocks, and
// its statement, cut; roots are marked, and so are members of a deadlock. An arrow tells lock, wanted mode,
// wait time and the mode that it waits for or is behind; one to a queued blocker is dashed, one to the
// primary blocker is bold. In Graphviz, arrows to queued blockers that are not primary have this as a tooltip
// (shown by SVG) instead of a label. Of masked sessions only pid, user, database and the facts of the lock
// are told. If edges were cut, the graph says so. An empty graph is a valid one.
//
// Graphviz' names of nodes are the pids; a prepared transaction's is "prepared <gid>" on one line, with
// backslashes doubled, which DOT's quoted names cannot undo; names that came out alike are numbered. Nothing
// in a text of a client can end a label or begin markup: quotes, backslashes, line breaks, angle brackets,
// entities, control characters, bytes that are no UTF-8. (Mermaid draws no more than 500 arrows unless the
// page that shows it sets maxEdges.)
//
// O(sessions log sessions + edges) and the length of the texts. Throws std::bad_alloc.
std::string graph_text(const WaitGraph& graph, const Edges& edges, GraphFormat format);

} // namespace unblock::core
