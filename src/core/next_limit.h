// What reports say of limits: which one a session would break next, and the
// blocking idle time that it has collected.
//
// A report has one look only. It knows what the enforcer had counted up to its last one
// (Session::blocking_idle_counted), and adds what has come since.
#pragma once

#include "rules.h"

#include <optional>

namespace unblock::core {

// Blocking idle time of a session as a report can tell it: what the enforcer had counted of this
// transaction plus what has come since, as far as the session's state alone shows that it waits for its
// client. Never over-counted; 0 for all but client backends. O(1).
Micros blocking_idle_time(const WaitGraph& graph, Index session) noexcept;

// The limit of a session that would be broken first if nothing changed.
struct NextLimit {
	Rule rule = Rule::idle_blocker;
	Action action = Action::terminate;
	bool dry_run = false;
	std::optional<Micros> in; // 0: now; none: it counts transactions, which cannot be told in time
};

class NextLimits {
public:
	// As preemption.h. Throws std::bad_alloc.
	explicit NextLimits(const WaitGraph& graph) : graph_(graph), preemptions_(graph) {}

	// For a session that waits for its client. none: no limit applies. O(1).
	std::optional<NextLimit> of(Index session) const noexcept;

private:
	const WaitGraph& graph_;
	Preemptions preemptions_;
};

} // namespace unblock::core
