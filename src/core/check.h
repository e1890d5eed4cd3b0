// The findings of unblock.check(): what is wrong, worst first, each with its remedy.
#pragma once

#include "wait_graph.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unblock::core {

enum class Severity : std::uint8_t { ok, notice, warning, critical };

// "ok", "notice", "warning", "critical".
std::string_view name(Severity severity) noexcept;

struct Finding {
	Severity severity = Severity::ok;
	std::string finding; // one short sentence without a full stop
	std::string detail;
	std::string remedy; // empty: nothing to paste
};

// What the findings need to know beside the graph.
struct ServerFacts {
	bool preloaded = false;
	bool enforcer_running = false;
	bool settings_known = false; // an enforcer has read the configuration file: the next two are true
	Mode mode = Mode::enforce;   // of the configuration file
	bool any_limit = false;      // of the file, or of any session
	bool fuse_blown = false;
	Micros idle_worth_telling = 60 * kSecond; // idle transactions that block nobody: from this age
	// Session's remedy by index into Snapshot::sessions; same length. Views into memory of the caller.
	std::span<const std::string_view> remedies;
};

// Findings in order of severity, then of how many sessions they concern. Never empty: when all is
// well, one line of severity ok says so. Sentences are on one line; a remedy has one line per session to end.
// O(n log n), and for each blocked migration the roots that it waits for. Throws std::bad_alloc.
std::vector<Finding> check(const WaitGraph& graph, std::span<const ChainRow> rows, const ServerFacts& facts);

} // namespace unblock::core
