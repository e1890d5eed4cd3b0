// Draws the wait graph for Graphviz and for Mermaid. What a node and an arrow tell is the same in both; a
// format knows how to write it down and how to keep foreign text inside its label.
#include "graph_text.h"

#include "render.h"
#include "text.h"

#include <map>
#include <string_view>
#include <vector>

#include "fence.h"

namespace unblock::core {

namespace {

// Columns of a label. A name is cut, a statement goes over a few lines.
constexpr std::size_t kNameColumns = 60;
constexpr std::size_t kStatementColumns = 44;
constexpr std::size_t kStatementLines = 3;

using Lines = std::vector<std::string>;

void add(Lines& lines, std::string line) {
	if (!line.empty())
		lines.push_back(std::move(line));
}

// Where a line of one_line()'s text that begins the statement should end: at a space if there is one.
std::size_t line_end(std::string_view rest) {
	const std::size_t fits = one_line(rest, kStatementColumns, "").size();
	if (fits == rest.size() || rest[fits] == ' ')
		return fits;
	const std::size_t space = rest.rfind(' ', fits - 1);
	return space == std::string_view::npos ? fits : space;
}

void add_statement(Lines& lines, std::string_view statement) {
	const std::string text = one_line(statement, kStatementColumns * kStatementLines);
	std::string_view rest = text;
	for (std::size_t line = 1; !rest.empty(); ++line) {
		if (line == kStatementLines) {
			lines.push_back(one_line(rest, kStatementColumns));
			return;
		}
		const std::size_t end = line_end(rest);
		lines.emplace_back(rest.substr(0, end));
		rest.remove_prefix(end < rest.size() && rest[end] == ' ' ? end + 1 : end);
	}
}

// What there is to draw, in words.
class Picture {
public:
	Picture(const WaitGraph& graph, const Edges& edges)
	    : graph_(graph), snapshot_(graph.snapshot()), edges_(edges) {
		for (const ChainRow& row : chains(graph))
			nodes_.push_back(row.node);
	}

	// Nodes in the order of the chains: worst first, waiters in the order in which they began to wait.
	const std::vector<Index>& nodes() const { return nodes_; }
	const std::vector<Edge>& edges() const { return edges_.list; }
	const Session& session(Index node) const { return snapshot_.sessions[node]; }
	const NodeFacts& facts(Index node) const { return graph_.node(node); }
	std::size_t sessions() const { return snapshot_.sessions.size(); }
	Index waiting_node(const Edge& edge) const { return graph_.node_of(wait(edge).session); }

	bool is_primary(const Edge& edge) const {
		return graph_.waiter(edge.waiter).primary.node == edge.blocker.node;
	}

	Lines tell(Index node) const;
	Lines tell(const Edge& edge) const;

	// Empty if all is drawn.
	std::string tell_cut() const {
		if (!edges_.cut)
			return {};
		return "Not complete: only " + std::to_string(edges_.list.size()) + " arrows are drawn.";
	}

private:
	const Waiter& wait(const Edge& edge) const { return snapshot_.waiters[edge.waiter]; }

	std::string doing(Index node) const;

	const WaitGraph& graph_;
	const Snapshot& snapshot_;
	const Edges& edges_;
	std::vector<Index> nodes_;
};

Lines Picture::tell(Index node) const {
	const Session& self = session(node);
	std::string name = self.pid == 0 ? "" : std::to_string(self.pid) + " ";
	Lines lines;
	add(lines, one_line(name + who(self), kNameColumns));
	add(lines, doing(node));
	add(lines, blocks(facts(node)));
	add_statement(lines, self.masked ? kInsufficientPrivilege : self.query);
	return lines;
}

std::string Picture::doing(Index node) const {
	const Session& self = session(node);
	if (!facts(node).waits)
		return activity(self, snapshot_.now);
	std::string text;
	if (!self.masked && self.kind != Kind::client)
		text = std::string(kind_in_words(self.kind)) + ", ";
	text += "waits" + wait_time(self, snapshot_.waiters[facts(node).waiter], snapshot_.now);
	return text;
}

Lines Picture::tell(const Edge& edge) const {
	const Waiter& waiter = wait(edge);
	Lines lines;
	const Index waiting = waiting_node(edge);
	if (waiter.session != waiting)
		lines.push_back("parallel worker " + std::to_string(session(waiter.session).pid));
	lines.push_back(one_line(snapshot_.locks[waiter.lock].label, kNameColumns));
	lines.push_back(std::string(name(waiter.mode)) + " waits" +
	                wait_time(session(waiting), waiter, snapshot_.now));
	lines.push_back((edge.blocker.kind == Blocks::hard ? "for " : "behind ") +
	                std::string(name(edge.blocker.mode)));
	return lines;
}

// --- Graphviz ----------------------------------------------------------------------------------------

// Names are quoted strings, in which a backslash escapes a quote only. All others are doubled, so that none
// meets the closing quote: in the name as Graphviz sees it they stay so.
std::string dot_quoted(std::string_view text) {
	std::string quoted = "\"";
	for (const char c : text) {
		if (c == '"' || c == '\\')
			quoted += '\\';
		quoted += c;
	}
	return quoted += '"';
}

// In a label, besides, a backslash begins a sequence and an ampersand an entity of HTML.
void add_dot_text(std::string& out, const Lines& lines, std::string_view margin = "") {
	out += '"';
	for (const std::string& line : lines) {
		out += margin;
		for (const char c : line) {
			if (c == '"' || c == '\\')
				out += '\\';
			out += c;
			if (c == '&')
				out += "amp;";
		}
		out += "\\l"; // ends a line that is set to the left
	}
	out += '"';
}

// The names of Graphviz' nodes.
class DotNames {
public:
	explicit DotNames(const Picture& picture) : names_(picture.sessions()) {
		for (const Index node : picture.nodes())
			names_[node] = dot_quoted(name_of(picture.session(node)));
	}
	const std::string& operator[](Index node) const { return names_[node]; }

private:
	std::string name_of(const Session& session) {
		if (session.pid != 0)
			return std::to_string(session.pid);
		std::string name = "prepared ";
		name += session.masked || session.gid.empty() ? "transaction" : one_line(session.gid);
		// Two names may look alike on one line.
		const auto [at, is_new] = taken_.try_emplace(name, 1);
		if (is_new)
			return name;
		std::string numbered;
		do
			numbered = name + " #" + std::to_string(++at->second);
		while (!taken_.try_emplace(numbered, 1).second);
		return numbered;
	}

	std::vector<std::string> names_;   // by node
	std::map<std::string, int> taken_; // how often
};

constexpr std::string_view kDotHead = R"(digraph pg_unblock {
	rankdir=BT;
	nodesep=0.3;
	ranksep=0.4;
	fontname="Helvetica";
	fontsize=10;
	node [shape=box, style="rounded,filled", fillcolor="white", fontname="Helvetica", fontsize=11];
	edge [fontname="Helvetica", fontsize=9];
)";

// Of n sessions that wait for one lock each is behind all before it. Were these n*n/2 arrows laid out and
// labelled like the others, dot would take minutes for thirty sessions and nobody could read the labels; they
// would say no more than the wait's other arrows do, but for the mode.
void add_dot_arrow(std::string& out, const Picture& picture, const Edge& edge) {
	const bool queued = edge.blocker.kind == Blocks::queued;
	const bool primary = picture.is_primary(edge);
	const bool aside = queued && !primary;
	out += aside ? "tooltip=" : "label=";
	add_dot_text(out, picture.tell(edge), aside ? "" : " "); // a label begins right at its arrow
	if (queued)
		out += ", style=dashed";
	if (primary)
		out += ", penwidth=2.5, weight=8";
	else
		out += ", color=\"#777777\", fontcolor=\"#777777\"";
	if (aside)
		out += ", constraint=false";
}

std::string dot(const Picture& picture) {
	std::string out(kDotHead);
	Lines legend;
	add(legend, picture.tell_cut());
	legend.emplace_back(picture.nodes().empty()
	                        ? "No session waits for a lock."
	                        : "An arrow leads from a waiter to its blocker, which holds the lock (solid) or "
	                          "is ahead in its queue (dashed); bold: the primary blocker.");
	out += "\tlabel=";
	add_dot_text(out, legend);
	out += ";\n";

	const DotNames names(picture);
	for (const Index node : picture.nodes()) {
		out.append("\t").append(names[node]).append(" [label=");
		add_dot_text(out, picture.tell(node));
		const NodeFacts& facts = picture.facts(node);
		if (facts.in_cycle)
			out += ", fillcolor=\"#fff2cc\", color=\"#b45f06\", penwidth=2, peripheries=2";
		else if (facts.root)
			out += ", fillcolor=\"#f4cccc\", color=\"#990000\", penwidth=3";
		out += "];\n";
	}
	for (const Edge& edge : picture.edges()) {
		out.append("\t").append(names[picture.waiting_node(edge)]);
		out.append(" -> ").append(names[edge.blocker.node]).append(" [");
		add_dot_arrow(out, picture, edge);
		out += "];\n";
	}
	return out += "}\n";
}

// --- Mermaid -----------------------------------------------------------------------------------------

// Mermaid looks for quotes, entities, Markdown, comments and directives in several passes, which versions do
// differently. So all of ASCII but letters, digits and spaces is written as an entity.
void add_mermaid_label(std::string& out, const Lines& lines) {
	out += '"';
	for (const std::string& line : lines) {
		if (&line != &lines.front())
			out += "<br/>";
		for (const char c : line) {
			const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
			const auto code = static_cast<unsigned char>(c);
			if (plain || c == ' ' || code >= 0x80)
				out += c;
			else
				out.append("#").append(std::to_string(code)).append(";");
		}
	}
	out += '"';
}

// The ids of Mermaid's nodes.
std::vector<std::string> mermaid_ids(const Picture& picture) {
	std::vector<std::string> ids(picture.sessions());
	int prepared = 0;
	for (const Index node : picture.nodes()) {
		const auto pid = picture.session(node).pid;
		ids[node] = pid != 0 ? "s" + std::to_string(pid) : "p" + std::to_string(++prepared);
	}
	return ids;
}

constexpr std::string_view kMermaidHead = R"(flowchart BT
    classDef root fill:#f4cccc,stroke:#990000,stroke-width:3px,color:#000000
    classDef deadlock fill:#fff2cc,stroke:#b45f06,stroke-width:3px,color:#000000
)";

std::string mermaid(const Picture& picture) {
	std::string out(kMermaidHead);
	const std::vector<std::string> ids = mermaid_ids(picture);
	for (const Index node : picture.nodes()) {
		out.append("    ").append(ids[node]).append("[");
		add_mermaid_label(out, picture.tell(node));
		out += "]";
		const NodeFacts& facts = picture.facts(node);
		out += facts.in_cycle ? ":::deadlock" : facts.root ? ":::root" : "";
		out += "\n";
	}
	if (const std::string cut = picture.tell_cut(); !cut.empty()) {
		out += "    cut[";
		add_mermaid_label(out, {cut});
		out += "]\n";
	}
	std::string bold;
	std::size_t number = 0;
	for (const Edge& edge : picture.edges()) {
		out.append("    ").append(ids[picture.waiting_node(edge)]);
		out += edge.blocker.kind == Blocks::hard ? " -->|" : " -.->|";
		add_mermaid_label(out, picture.tell(edge));
		out.append("| ").append(ids[edge.blocker.node]).append("\n");
		if (picture.is_primary(edge))
			bold.append(bold.empty() ? "" : ",").append(std::to_string(number));
		++number;
	}
	if (!bold.empty())
		out.append("    linkStyle ").append(bold).append(" stroke-width:4px\n");
	return out;
}

} // namespace

std::string graph_text(const WaitGraph& graph, const Edges& edges, GraphFormat format) {
	const Picture picture(graph, edges);
	return format == GraphFormat::dot ? dot(picture) : mermaid(picture);
}

} // namespace unblock::core
