// What check() says of a graph, for its unit tests.
#pragma once

#include "core/check.h"
#include "core/remedy.h"
#include "graph_builder.h"

#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core::test {

// A server where everything is set up.
inline ServerFacts well() {
	ServerFacts facts;
	facts.preloaded = true;
	facts.enforcer_running = true;
	facts.settings_known = true;
	facts.any_limit = true;
	return facts;
}

inline std::vector<Finding> findings(GraphBuilder& b, ServerFacts facts = well()) {
	const Snapshot snapshot = b.snapshot();
	const WaitGraph graph(snapshot);
	std::deque<std::string> texts;
	std::vector<SessionTimes> times;
	for (const Session& session : snapshot.sessions) {
		const std::string pid = std::to_string(session.pid);
		if (session.xact_start != 0)
			times.push_back({texts.emplace_back("T" + pid), {}, {}});
		else
			times.push_back({{}, texts.emplace_back("B" + pid), texts.emplace_back("S" + pid)});
	}
	std::vector<std::string_view> remedies;
	for (Index i = 0; i < snapshot.sessions.size(); ++i)
		remedies.push_back(texts.emplace_back(remedy(graph, i, times)));
	facts.remedies = remedies;
	return check(graph, chains(graph), facts);
}

// Compared as text, so that a failure shows all of it.
inline std::string told(const std::vector<Finding>& all) {
	std::string text;
	for (const Finding& one : all)
		text += std::string(name(one.severity)) + ": " + one.finding + "\n";
	return text;
}

// The finding that begins like this; an empty one if there is none.
inline Finding finding_of(const std::vector<Finding>& all, std::string_view beginning) {
	for (const Finding& one : all)
		if (one.finding.starts_with(beginning))
			return one;
	return {};
}

} // namespace unblock::core::test
