#include "core/graph_text.h"
#include "core/text.h"
#include "graph_builder.h"
#include "random_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core::test {
namespace {

constexpr std::size_t kAll = SIZE_MAX;

std::string drawn(GraphBuilder& b, GraphFormat format, std::size_t most = kAll) {
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	return graph_text(graph, edges(graph, most), format);
}

std::string dot(GraphBuilder& b, std::size_t most = kAll) {
	return drawn(b, GraphFormat::dot, most);
}

std::string mermaid(GraphBuilder& b, std::size_t most = kAll) {
	return drawn(b, GraphFormat::mermaid, most);
}

// The part of the text that differs from graph to graph.
std::string after_head(const std::string& text, std::string_view last_of_head) {
	const std::size_t end = text.find('\n', text.find(last_of_head));
	return end == std::string::npos ? text : text.substr(end + 1);
}

std::string dot_body(GraphBuilder& b) {
	return after_head(dot(b), "\tlabel=");
}

std::string mermaid_body(GraphBuilder& b) {
	return after_head(mermaid(b), "classDef deadlock");
}

// The one line that begins so, without its indent.
std::string line_of(const std::string& text, const std::string& begin) {
	std::string found;
	std::size_t lines = 0;
	for (std::size_t at = 0; at < text.size();) {
		const std::size_t end = std::min(text.find('\n', at), text.size());
		const std::size_t first = text.find_first_not_of(" \t", at);
		if (text.compare(first, begin.size(), begin) == 0) {
			found = text.substr(first, end - first);
			++lines;
		}
		at = end + 1;
	}
	EXPECT_EQ(lines, 1U) << "lines that begin with " << begin << " in\n" << text;
	return found;
}

bool contains(const std::string& text, std::string_view part) {
	return text.find(part) != std::string::npos;
}

// A leaked transaction, two migrations, and a reader behind them.
struct Incident : GraphBuilder {
	SessionRef idle, alter1, alter2, reader;
	LockRef features;

	Incident()
	    : idle(session(4711).idle_in_transaction(ago(3 * 3600 + 2 * 60 + 11))), alter1(session(4802)),
	      alter2(session(4806)), reader(session(4900)), features(lock("relation public.features")) {
		idle.user("app").database("lab").application("api").query("SELECT id FROM features");
		alter1.user("migrator")
		    .database("lab")
		    .query("ALTER TABLE features ADD COLUMN methods TEXT,\n"
		           "    ADD COLUMN summary TEXT,\n"
		           "    ADD COLUMN results TEXT");
		alter2.user("migrator").database("lab").query("ALTER TABLE features ADD COLUMN \"x\" INT");
		reader.user("web").database("lab").query("SELECT * FROM features WHERE a < b & 3");
		hold(features, idle, LockMode::access_share);
		wait(features, alter1, LockMode::access_exclusive, ago(252));
		wait(features, alter2, LockMode::access_exclusive, ago(95));
		wait(features, reader, LockMode::access_share, ago(40.5));
	}
};

TEST(Dot, DrawsTheIncident) {
	Incident b;
	EXPECT_EQ(
	    dot_body(b),
	    R"(	"4711" [label="4711 app@lab (api)\lidle in transaction for 3h 02min\lroot blocker: blocks 3, frees 3\lSELECT id FROM features\l", fillcolor="#f4cccc", color="#990000", penwidth=3];
	"4802" [label="4802 migrator@lab\lwaits 4min 12s\lblocks 2, frees 0\lALTER TABLE features ADD COLUMN methods\lTEXT, ADD COLUMN summary TEXT, ADD COLUMN\lresults TEXT\l"];
	"4900" [label="4900 web@lab\lwaits 40.5s\lSELECT * FROM features WHERE a < b &amp; 3\l"];
	"4806" [label="4806 migrator@lab\lwaits 1min 35s\lblocks 1, frees 0\lALTER TABLE features ADD COLUMN \"x\" INT\l"];
	"4802" -> "4711" [label=" relation public.features\l AccessExclusiveLock waits 4min 12s\l for AccessShareLock\l", penwidth=2.5, weight=8];
	"4806" -> "4711" [label=" relation public.features\l AccessExclusiveLock waits 1min 35s\l for AccessShareLock\l", penwidth=2.5, weight=8];
	"4806" -> "4802" [tooltip="relation public.features\lAccessExclusiveLock waits 1min 35s\lbehind AccessExclusiveLock\l", style=dashed, color="#777777", fontcolor="#777777", constraint=false];
	"4900" -> "4802" [label=" relation public.features\l AccessShareLock waits 40.5s\l behind AccessExclusiveLock\l", style=dashed, penwidth=2.5, weight=8];
	"4900" -> "4806" [tooltip="relation public.features\lAccessShareLock waits 40.5s\lbehind AccessExclusiveLock\l", style=dashed, color="#777777", fontcolor="#777777", constraint=false];
}
)");
}

TEST(Mermaid, DrawsTheIncident) {
	Incident b;
	EXPECT_EQ(
	    mermaid_body(b),
	    R"(    s4711["4711 app#64;lab #40;api#41;<br/>idle in transaction for 3h 02min<br/>root blocker#58; blocks 3#44; frees 3<br/>SELECT id FROM features"]:::root
    s4802["4802 migrator#64;lab<br/>waits 4min 12s<br/>blocks 2#44; frees 0<br/>ALTER TABLE features ADD COLUMN methods<br/>TEXT#44; ADD COLUMN summary TEXT#44; ADD COLUMN<br/>results TEXT"]
    s4900["4900 web#64;lab<br/>waits 40#46;5s<br/>SELECT #42; FROM features WHERE a #60; b #38; 3"]
    s4806["4806 migrator#64;lab<br/>waits 1min 35s<br/>blocks 1#44; frees 0<br/>ALTER TABLE features ADD COLUMN #34;x#34; INT"]
    s4802 -->|"relation public#46;features<br/>AccessExclusiveLock waits 4min 12s<br/>for AccessShareLock"| s4711
    s4806 -->|"relation public#46;features<br/>AccessExclusiveLock waits 1min 35s<br/>for AccessShareLock"| s4711
    s4806 -.->|"relation public#46;features<br/>AccessExclusiveLock waits 1min 35s<br/>behind AccessExclusiveLock"| s4802
    s4900 -.->|"relation public#46;features<br/>AccessShareLock waits 40#46;5s<br/>behind AccessExclusiveLock"| s4802
    s4900 -.->|"relation public#46;features<br/>AccessShareLock waits 40#46;5s<br/>behind AccessExclusiveLock"| s4806
    linkStyle 0,1,3 stroke-width:4px
)");
}

TEST(GraphText, OfNobodyIsAnEmptyGraph) {
	GraphBuilder b;
	b.session(1);
	EXPECT_EQ(dot_body(b), "}\n");
	EXPECT_TRUE(dot(b).starts_with("digraph pg_unblock {\n"));
	EXPECT_TRUE(contains(dot(b), "No session waits for a lock."));
	EXPECT_EQ(mermaid_body(b), "");
	EXPECT_TRUE(mermaid(b).starts_with("flowchart BT\n"));
}

TEST(GraphText, LeavesOutWhoNeitherWaitsNorBlocks) {
	Incident b;
	b.hold(b.features, b.session(5000), LockMode::row_share); // in the way of the migrations
	b.session(5001);
	b.hold(b.lock("relation public.u"), b.session(5002), LockMode::share);
	for (const std::string& text : {dot(b), mermaid(b)}) {
		EXPECT_TRUE(contains(text, "5000"));
		EXPECT_FALSE(contains(text, "5001"));
		EXPECT_FALSE(contains(text, "5002"));
	}
}

TEST(GraphText, MarksADeadlock) {
	GraphBuilder b;
	const LockRef first = b.lock("transaction 1"), second = b.lock("transaction 2");
	const SessionRef x = b.session(11), y = b.session(12);
	b.hold(first, x, LockMode::exclusive).hold(second, y, LockMode::exclusive);
	b.wait(second, x, LockMode::share, ago(5)).wait(first, y, LockMode::share, ago(4));
	const std::string text = dot(b);
	for (const std::string pid : {"11", "12"}) {
		const std::string node = line_of(text, '"' + pid + "\" [");
		EXPECT_TRUE(contains(node, "\\ldeadlock: blocks 1, frees 0\\l")) << node;
		EXPECT_TRUE(contains(node, "peripheries=2")) << node;
		EXPECT_TRUE(line_of(mermaid(b), "s" + pid + "[").ends_with("]:::deadlock"));
	}
	EXPECT_TRUE(contains(line_of(text, "\"11\" -> \"12\""), "penwidth=2.5"));
	EXPECT_TRUE(contains(line_of(text, "\"12\" -> \"11\""), "penwidth=2.5"));
}

// A second holder is no primary blocker, but as much in the way.
TEST(GraphText, LaysOutEveryHardBlocker) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1).xact_start(ago(99)), LockMode::access_share);
	b.hold(table, b.session(2).xact_start(ago(98)), LockMode::row_share);
	b.wait(table, b.session(9), LockMode::access_exclusive);
	const std::string text = dot(b);
	EXPECT_EQ(line_of(text, "\"9\" -> \"1\""),
	          "\"9\" -> \"1\" [label=\" relation public.t\\l AccessExclusiveLock waits 1.0s\\l"
	          " for AccessShareLock\\l\", penwidth=2.5, weight=8];");
	EXPECT_EQ(line_of(text, "\"9\" -> \"2\""),
	          "\"9\" -> \"2\" [label=\" relation public.t\\l AccessExclusiveLock waits 1.0s\\l"
	          " for RowShareLock\\l\", color=\"#777777\", fontcolor=\"#777777\"];");
	EXPECT_TRUE(contains(mermaid(b), "    linkStyle 0 stroke-width:4px\n"));
}

TEST(GraphText, HidesWhatTheReaderMayNotSee) {
	Incident b;
	const SessionRef prepared = b.prepared("secret").user("owner").database("lab");
	b.hold(b.features, prepared, LockMode::row_exclusive);
	for (const Index masked : {Index{b.idle}, Index{b.alter1}, Index{prepared}})
		b.at(masked).masked = true;
	const std::string text = dot(b);
	EXPECT_EQ(line_of(text, "\"4711\" ["),
	          "\"4711\" [label=\"4711 app@lab\\lroot blocker: blocks 3, frees 0\\l"
	          "<insufficient privilege>\\l\", fillcolor=\"#f4cccc\", "
	          "color=\"#990000\", penwidth=3];");
	EXPECT_EQ(line_of(text, "\"4802\" ["),
	          "\"4802\" [label=\"4802 migrator@lab\\lwaits\\lblocks 2, frees 0\\l"
	          "<insufficient privilege>\\l\"];");
	EXPECT_EQ(line_of(text, "\"4802\" -> \"4711\" [label=\" relation public.features\\l "
	                        "AccessExclusiveLock waits\\l for AccessShareLock\\l\""),
	          line_of(text, "\"4802\" -> \"4711\""));
	EXPECT_TRUE(
	    line_of(text, "\"prepared transaction\" [")
	        .starts_with("\"prepared transaction\" [label=\"owner@lab\\lprepared transaction\\lroot"));
	for (const std::string_view hidden : {"secret", "SELECT id", "methods", "api", "3h", "4min"}) {
		EXPECT_FALSE(contains(text, hidden)) << hidden;
		EXPECT_FALSE(contains(mermaid(b), hidden)) << hidden;
	}
}

TEST(GraphText, TellsTheKindOfOtherProcesses) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1).of_kind(Kind::autovacuum).database("lab"), LockMode::share_update_exclusive);
	b.wait(table, b.session(2).of_kind(Kind::startup), LockMode::access_exclusive, 0);
	const SessionRef vacuum = b.session(3).of_kind(Kind::autovacuum);
	vacuum->masked = true;
	b.wait(table, vacuum, LockMode::share_update_exclusive);
	const std::string text = dot(b);
	EXPECT_TRUE(contains(text, "[label=\"1 lab\\lautovacuum for 1.0s\\lroot blocker: "));
	EXPECT_TRUE(contains(text, "[label=\"2\\lstartup process, waits\\lblocks 1, frees 0\\l\"];"));
	EXPECT_TRUE(contains(text, "[label=\"3\\lwaits\\l<"));
}

TEST(GraphText, DrawsAWaitingWorkerAsItsLeader) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t"), index = b.lock("relation public.i");
	const SessionRef holder = b.session(1);
	b.hold(table, holder, LockMode::access_exclusive).hold(index, holder, LockMode::access_exclusive);
	const SessionRef leader = b.session(20);
	b.wait(table, leader, LockMode::access_share, ago(3));
	b.wait(index, b.worker_of(leader, 21), LockMode::access_share, ago(2));
	const std::string body = dot_body(b);
	EXPECT_FALSE(contains(body, "\"21\""));
	EXPECT_TRUE(contains(body, "\"20\" -> \"1\" [label=\" relation public.t\\l"));
	EXPECT_TRUE(contains(body, "\"20\" -> \"1\" [label=\" parallel worker 21\\l relation public.i\\l"
	                           " AccessShareLock waits 2.0s\\l"));
	EXPECT_TRUE(contains(mermaid(b), "linkStyle 0,1 stroke-width"));
}

TEST(GraphText, DrawsWhoIsAboutToGetItsLock) {
	GraphBuilder b;
	b.wait(b.lock("relation public.t"), b.session(7), LockMode::access_share);
	EXPECT_EQ(dot_body(b), "\t\"7\" [label=\"7\\lwaits 1.0s\\l\"];\n}\n");
	EXPECT_EQ(mermaid_body(b), "    s7[\"7<br/>waits 1#46;0s\"]\n");
}

TEST(GraphText, SaysThatArrowsAreMissing) {
	Incident b;
	EXPECT_FALSE(contains(dot(b, 5), "Not complete"));
	EXPECT_FALSE(contains(mermaid(b, 5), "Not complete"));
	const std::string text = dot(b, 4);
	EXPECT_TRUE(contains(text, "label=\"Not complete: only 4 arrows are drawn.\\l"));
	EXPECT_TRUE(contains(text, "\"4900\" [")); // all nodes are
	EXPECT_FALSE(contains(text, "\"4900\" -> \"4806\""));
	EXPECT_TRUE(contains(mermaid(b, 4), "    cut[\"Not complete#58; only 4 arrows are drawn#46;\"]\n"));
}

// A prepared transaction of each name that blocks one session.
struct Prepared : GraphBuilder {
	explicit Prepared(const std::vector<std::string_view>& names) {
		int pid = 100;
		for (const std::string_view name : names) {
			const LockRef table = lock("relation public.t");
			hold(table, prepared(name).xact_start(ago(pid)), LockMode::row_exclusive); // oldest last
			wait(table, session(pid++), LockMode::share);
		}
	}
};

TEST(Dot, NamesPreparedTransactionsByTheirGid) {
	Prepared b({"it's \"x\"", "back\\slash\\"});
	const std::string text = dot(b);
	EXPECT_TRUE(contains(text, R"("100" -> "prepared it's \"x\"" [)")) << text;
	EXPECT_TRUE(contains(text, R"("101" -> "prepared back\\slash\\" [)")) << text;
	EXPECT_TRUE(contains(text, R"([label="prepared transaction 'it's \"x\"', 1min 40s old\lroot)")) << text;
	EXPECT_TRUE(contains(text, R"([label="prepared transaction 'back\\slash\\', 1min 41s old\lroot)"))
	    << text;
}

TEST(Dot, TellsPreparedTransactionsApart) {
	Prepared b({"a b", "a  b", "a\tb", "a b #2", "", ""});
	const std::string text = dot(b);
	std::set<std::string> names;
	const std::regex node("\n\t(\"prepared[^\"]*\") \\[");
	for (std::sregex_iterator at(text.begin(), text.end(), node), end; at != end; ++at)
		EXPECT_TRUE(names.insert((*at)[1]).second) << *names.begin();
	EXPECT_EQ(names.size(), 6U) << text;
	EXPECT_TRUE(names.contains("\"prepared a b\""));
	EXPECT_TRUE(names.contains("\"prepared transaction\""));
	std::set<std::string> ids;
	const std::string flow = mermaid(b);
	const std::regex id("\n    (p[0-9]+)\\[");
	for (std::sregex_iterator at(flow.begin(), flow.end(), id), end; at != end; ++at)
		ids.insert((*at)[1]);
	EXPECT_EQ(ids, (std::set<std::string>{"p1", "p2", "p3", "p4", "p5", "p6"}));
}

// The statement of a node, line by line.
std::vector<std::string> statement_lines(std::string_view statement) {
	GraphBuilder b;
	const LockRef table = b.lock("relation public.t");
	b.hold(table, b.session(1).query(statement), LockMode::share);
	b.wait(table, b.session(2), LockMode::exclusive);
	std::string rest = line_of(dot(b), "\"1\" [");
	const std::string_view before = "frees 1\\l";
	rest.erase(0, rest.find(before) + before.size());
	std::vector<std::string> lines;
	for (std::size_t end; (end = rest.find("\\l")) != std::string::npos; rest.erase(0, end + 2))
		lines.push_back(rest.substr(0, end));
	return lines;
}

using Lines = std::vector<std::string>;

TEST(GraphText, WrapsStatementsAtSpaces) {
	EXPECT_EQ(statement_lines(""), Lines{});
	EXPECT_EQ(statement_lines(std::string(44, 'x')), Lines{std::string(44, 'x')});
	EXPECT_EQ(statement_lines(std::string(40, 'x') + " abc"), Lines{std::string(40, 'x') + " abc"});
	EXPECT_EQ(statement_lines(std::string(40, 'x') + " abcd"), (Lines{std::string(40, 'x'), "abcd"}));
	EXPECT_EQ(statement_lines(std::string(44, 'x') + " y"), (Lines{std::string(44, 'x'), "y"}));
	EXPECT_EQ(statement_lines(std::string(45, 'x')), (Lines{std::string(44, 'x'), "x"}));
}

TEST(GraphText, CutsLongStatements) {
	EXPECT_EQ(statement_lines(std::string(132, 'x')), Lines(3, std::string(44, 'x')));
	EXPECT_EQ(statement_lines(std::string(1000, 'x')),
	          (Lines{std::string(44, 'x'), std::string(44, 'x'), std::string(41, 'x') + "..."}));
	// What spaces take of the first lines, the last one has not.
	const std::string word = " " + std::string(29, 'w');
	EXPECT_EQ(statement_lines(word + word + word + word),
	          (Lines{std::string(29, 'w'), std::string(29, 'w'), std::string(29, 'w') + " wwwwwwwwwww..."}));
}

// Text that tries to end a label, to begin markup, a comment or an entity, to obey a terminal, or to be no
// text.
constexpr std::string_view kNasty[] = {
    "\"];x[\"",
    "\\",
    "\\\"",
    "\\\\\"",
    "ends in \\",
    "\\N \\G \\E \\T \\H \\L \\l \\r \\n",
    "a\nb\r\nc\td\x1b[31m\x01\x7f",
    "<b>bold</b> <br/> <script>alert(1)</script> <>",
    "&lt; &#34; &quot; &amp; & &;",
    "#quot; #34; #lt; # ;",
    "%% comment\n%%{init: {}}%%",
    "`code` \"`md`\" **b** _i_ ~~s~~ 1. 2. - + > # h",
    "--> -.-> ==> --- {{x}} [[x]] ((x)) >x] |x| :::root click style classDef end subgraph",
    "style x:y#z; classDef a:b#c;",
    "] } ) ; // /* */ # include",
    "\xFF\xFE \x80 \xC3 \xE6\x97 \xED\xA0\x80 \xC0\xA2 cut in \xE6\x97",
    "\xE6\x97\xA5\xE6\x9C\xAC \xE2\x80\xAE\xE2\x80\xA8 e\xCC\x81 \xF0\x9F\x90\x98",
    "",
    " ",
};

// What Graphviz makes of a label: its quoted string, then the sequences and entities in it. Tabs for ends of
// lines. Whatever it should not meet is an error.
std::string dot_label(std::string_view source, std::string_view attribute) {
	const std::size_t begin = source.find(attribute);
	if (begin == std::string_view::npos)
		return "no label";
	source.remove_prefix(begin + attribute.size());
	std::string text;
	for (;;) {
		if (source.empty())
			return "not ended";
		if (source.starts_with("\""))
			return source.size() > 1 && (source[1] == ',' || source[1] == ']') ? text : "ended early";
		const std::string_view known[] = {"\\\"", "\\\\", "\\l", "&amp;"};
		const std::string_view meant[] = {"\"", "\\", "\t", "&"};
		const auto* at = std::find_if(std::begin(known), std::end(known),
		                              [&](std::string_view each) { return source.starts_with(each); });
		if (at != std::end(known)) {
			text += meant[at - std::begin(known)];
			source.remove_prefix(at->size());
			continue;
		}
		if (source.front() == '\\' || source.front() == '&')
			return "unknown sequence";
		text += source.front();
		source.remove_prefix(1);
	}
}

// The same for Mermaid, where a label goes from one quote to the next one.
std::string mermaid_label(const std::string& line) {
	const std::size_t begin = line.find('"'), end = line.rfind('"');
	std::string text;
	for (std::size_t i = begin + 1; i < end; ++i) {
		const char c = line[i];
		if (line.compare(i, 5, "<br/>") == 0) {
			text += '\t';
			i += 4;
		} else if (c == '#') {
			const std::size_t stop = line.find(';', i);
			text += static_cast<char>(std::stoi(line.substr(i + 1, stop - i - 1)));
			i = stop;
		} else if (c == ' ' || std::isalnum(static_cast<unsigned char>(c)) || (c & 0x80))
			text += c;
		else
			return "unescaped " + std::string(1, c);
	}
	return text;
}

// A root with that text wherever a client can put one, and a session that waits for it.
struct Nasty : GraphBuilder {
	std::string expected_node, expected_arrow;

	explicit Nasty(std::string_view text) {
		const LockRef table = lock("relation " + std::string(text));
		const SessionRef root = session(1).idle_in_transaction(ago(5)).application(text).query(text);
		root.user(text).database(text);
		hold(table, root, LockMode::share).wait(table, session(2), LockMode::exclusive);
		expected_node = one_line("1 " + who(*root.operator->()), 60);
		expected_node += "\tidle in transaction for 5.0s\troot blocker: blocks 1, frees 1\t";
		for (const std::string& line : wrapped(one_line(text)))
			expected_node += line + "\t";
		expected_arrow = one_line("relation " + std::string(text), 60);
		expected_arrow += "\tExclusiveLock waits 1.0s\tfor ShareLock\t";
	}

private:
	static Lines wrapped(const std::string& text) {
		if (text.empty())
			return {};
		if (display_width(text) <= 44)
			return {text};
		std::size_t end = 45;
		while (text[--end] != ' ') {
		}
		return {text.substr(0, end), text.substr(end + 1)};
	}
};

std::string without_margin(std::string text) {
	std::erase(text, ' ');
	return text;
}

TEST(GraphText, LetsNoTextOutOfItsLabel) {
	for (const std::string_view nasty : kNasty) {
		SCOPED_TRACE(std::string(nasty));
		Nasty b(nasty);
		const std::string text = dot(b), flow = mermaid(b);
		EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 13);
		EXPECT_EQ(dot_label(line_of(text, "\"1\" ["), "label=\""), b.expected_node);
		EXPECT_EQ(without_margin(dot_label(line_of(text, "\"2\" -> \"1\" ["), "label=\"")),
		          without_margin(b.expected_arrow));

		EXPECT_EQ(std::count(flow.begin(), flow.end(), '\n'), 7);
		EXPECT_EQ(mermaid_label(line_of(flow, "s1[")) + "\t", b.expected_node);
		EXPECT_EQ(mermaid_label(line_of(flow, "s2 -->")) + "\t", b.expected_arrow);
		EXPECT_TRUE(line_of(flow, "s1[").ends_with("\"]:::root"));
		EXPECT_TRUE(line_of(flow, "s2 -->").ends_with("\"| s1"));
	}
}

TEST(Dot, LetsNoGidOutOfItsName) {
	const std::regex node("\n\t\"prepared (?:[^\"\\\\]|\\\\\"|\\\\\\\\)*\" \\[label=\"");
	const std::regex arrow("\n\t\"100\" -> \"prepared (?:[^\"\\\\]|\\\\\"|\\\\\\\\)*\" \\[label=\"");
	for (const std::string_view nasty : kNasty) {
		Prepared b({nasty});
		const std::string text = dot(b);
		EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 13) << text;
		EXPECT_TRUE(std::regex_search(text, node)) << text;
		EXPECT_TRUE(std::regex_search(text, arrow)) << text;
	}
}

// Every pair is one arrow between nodes that are there, and nothing else is.
TEST(GraphText, DrawsEveryNodeAndPairOfRandomGraphs) {
	const std::regex node("^\t(\"[^\"]+\") \\[label"), arrow("^\t(\"[^\"]+\") -> (\"[^\"]+\") \\[");
	for (unsigned seed = 1; seed <= 100 && !testing::Test::HasFailure(); ++seed) {
		SCOPED_TRACE("seed " + std::to_string(seed));
		Dice dice(seed);
		GraphBuilder b;
		fill(b, dice, make_shape(dice, 20));
		const Snapshot snapshot = b.snapshot();
		const WaitGraph graph(snapshot);
		std::size_t expected_nodes = 0;
		for (Index i = 0; i < snapshot.sessions.size(); ++i)
			expected_nodes +=
			    graph.node_of(i) == i && (graph.node(i).waits || graph.node(i).direct_waiters > 0);
		const Edges all = edges(graph, kAll);
		const std::string text = graph_text(graph, all, GraphFormat::dot);

		std::set<std::string> nodes;
		std::vector<std::pair<std::string, std::string>> arrows;
		std::smatch match;
		for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
			const std::string line = text.substr(at, end - at);
			if (std::regex_search(line, match, arrow)) {
				arrows.emplace_back(match[1], match[2]);
			} else if (std::regex_search(line, match, node)) {
				EXPECT_TRUE(nodes.insert(match[1]).second) << line;
			}
		}
		EXPECT_EQ(nodes.size(), expected_nodes);
		ASSERT_EQ(arrows.size(), all.list.size());
		for (std::size_t i = 0; i < arrows.size(); ++i) {
			const Index waiter = graph.node_of(snapshot.waiters[all.list[i].waiter].session);
			const std::int32_t blocker = snapshot.sessions[all.list[i].blocker.node].pid;
			EXPECT_EQ(arrows[i].first, '"' + std::to_string(snapshot.sessions[waiter].pid) + '"');
			if (blocker != 0) {
				EXPECT_EQ(arrows[i].second, '"' + std::to_string(blocker) + '"');
			}
			EXPECT_TRUE(nodes.contains(arrows[i].first));
			EXPECT_TRUE(nodes.contains(arrows[i].second));
		}
	}
}

} // namespace
} // namespace unblock::core::test
