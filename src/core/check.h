// The findings of unblock.check(): what is wrong, worst first, each with its remedy.
#pragma once

#include "horizon.h"
#include "wait_graph.h"

#include <cstddef>
#include <cstdint>
#include <optional>
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

// A root, or a set of roots that block together, is critical when it blocks so many sessions …
inline constexpr Index kCriticalBlocked = 10;
// … or when its longest direct waiter has waited for so long: a root that is left alone (it is idle, in a
// transaction or with locks of its session, or is a prepared transaction), and any other, which may be done
// by itself. Else it is a warning.
inline constexpr Micros kCriticalLeftAlone = 3 * kSecond;
inline constexpr Micros kCriticalWorking = 300 * kSecond;

// A client session that copies or repairs databases, told by the name of its application or by its role, and
// that limits could end: not masked, and its mode is not `off`.
struct CopySession {
	std::int32_t pid = 0;
	std::string_view application_name;
	std::string_view datname;
	std::string_view usename;
	std::string_view role; // quoted as an identifier of SQL
	bool replication_role = false;
	Limits limits;
};

// Whether an application copies or repairs databases: pg_dump, pg_dumpall, pg_basebackup, pg_repack and
// pgcopydb by the beginning of its name. O(1).
bool copies_databases(std::string_view application_name) noexcept;

// What the findings need to know beside the graph. What is not known (0, empty) is not told of.
struct ServerFacts {
	bool preloaded = false;
	std::optional<std::string_view>
	    preload_libraries; // shared_preload_libraries, where the reader may see it
	bool enforcer_running = false;
	bool settings_known = false; // an enforcer has read the configuration file: the next two are true
	Mode mode = Mode::enforce;   // of the configuration file
	bool any_limit = false;      // of the file, or of any session that is there
	bool fuse_blown = false;
	Micros paused_for = 0; // enforcement is paused for that long still; 0: it is not

	std::span<const CopySession> copies; // those under some limit
	bool somebody_preempts = false;      // a session, or the file, has preempt_idle_blockers_after

	int max_connections = 0;
	int client_sessions = 0;                // connected clients, in a transaction or not
	std::uint32_t freeze_max_age = 0;       // autovacuum_freeze_max_age
	std::span<const HorizonHolder> horizon; // as rank_horizon() leaves them

	// From where on it is worth telling.
	Micros idle_worth_telling = 60 * kSecond;           // idle transactions that block nobody: their age
	std::size_t waiters_worth_telling = 5;              // as a share of max_connections: at least so many
	Micros prepared_worth_telling = 300 * kSecond;      // prepared transactions that block nobody
	std::uint32_t horizon_worth_telling = 1'000'000;    // who holds back vacuum: transactions since …
	Micros horizon_time_worth_telling = 3600 * kSecond; // … or the age of its transaction

	// Session's remedy by index into Snapshot::sessions; same length. Views into memory of the caller.
	std::span<const std::string_view> remedies;
};

// Findings in order of severity, then of how many sessions they concern. Never empty: when nobody is blocked,
// a line of severity ok says so, whatever else there is to tell. Sentences are on one line; a remedy has one
// line per session to end. O(n log n) in sessions, waiters and holders of the horizon, for each blocked
// migration the roots that it waits for, and for each of at most 50 sets of roots a look at all different
// sets. Throws std::bad_alloc.
std::vector<Finding> check(const WaitGraph& graph, std::span<const ChainRow> rows, const ServerFacts& facts);

} // namespace unblock::core
