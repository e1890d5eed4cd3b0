// Findings about sessions by their number and their state, and the line that says that nobody is blocked.
#include "check_parts.h"

#include "rules.h"
#include "text.h"

#include <algorithm>

#include "fence.h"

namespace unblock::core {

namespace {

// Clients whose wait for a lock takes up a connection: when all are taken, nobody can log in to help.
void waiters_by_number(const Scene& scene, Findings& findings) {
	const std::span<const Waiter> waiters = scene.snapshot.waiters;
	const auto n =
	    static_cast<std::size_t>(std::count_if(waiters.begin(), waiters.end(), [&](const Waiter& waiter) {
		    return scene.session(waiter.session).kind == Kind::client;
	    }));
	if (scene.facts.max_connections <= 0 || n < scene.facts.waiters_worth_telling)
		return;
	const std::size_t percent = n * 100 / static_cast<std::size_t>(scene.facts.max_connections);
	if (percent < 10)
		return;
	const Severity severity = percent >= 50   ? Severity::critical
	                          : percent >= 25 ? Severity::warning
	                                          : Severity::notice;
	const std::span<const Index> roots = scene.graph.roots();
	// Right behind the finding about the root that it names.
	const std::size_t concerned = roots.empty() ? n : scene.graph.node(roots.front()).blocked_total;
	Finding& finding = findings.add(severity, concerned,
	                                std::to_string(n) + " of " + std::to_string(scene.facts.max_connections) +
	                                    " connections wait for locks");
	finding.detail = "When all connections are taken, nobody else can log in.";
	// Where they share a set of roots or wait for one another, another finding says whom to end.
	finding.remedy =
	    "-- ending one session alone does not free them: see the other findings, or SELECT * FROM "
	    "unblock.tree();";
	if (roots.empty())
		return;
	const NodeFacts& worst = scene.graph.node(roots.front());
	finding.detail +=
	    (worst.blocked_total * 2 > n ? " Most are blocked by " : " The one that blocks most is ") +
	    name_of(scene.session(roots.front())) + ": " + counted(worst.blocked_total, "session") +
	    ", of which its end alone frees " + std::to_string(worst.frees) + ".";
	if (worst.frees > 0)
		finding.remedy = scene.remedy_of(roots.front());
}

void idle_transactions(const Scene& scene, Findings& findings) {
	std::vector<Index> idle;
	for (Index i = 0; i < scene.snapshot.sessions.size(); ++i) {
		const Session& self = scene.session(i);
		if (self.kind == Kind::client && !self.masked && idle_in_transaction(self) && self.idle_since != 0 &&
		    scene.snapshot.now - self.idle_since >= scene.facts.idle_worth_telling &&
		    scene.graph.node(i).blocked_total == 0)
			idle.push_back(i);
	}
	if (idle.empty())
		return;
	std::sort(idle.begin(), idle.end(), [&](Index a, Index b) {
		return std::pair(scene.session(a).idle_since, scene.session(a).pid) <
		       std::pair(scene.session(b).idle_since, scene.session(b).pid);
	});
	const std::size_t n = idle.size();
	Finding& finding =
	    findings.add(Severity::notice, n,
	                 counted(n, "session") + (n == 1 ? " has" : " have") + " been idle in transaction for " +
	                     duration(scene.facts.idle_worth_telling) + " or longer and " +
	                     (n == 1 ? "blocks" : "block") + " nobody yet");
	Names names;
	for (const Index i : idle)
		names.add(name_of(scene.session(i)) + ", " +
		          duration(scene.snapshot.now - scene.session(i).idle_since));
	finding.detail = "Longest first: " + names.text() + ".";
	finding.remedy = n == 1 ? scene.remedy_of(idle.front()) : "SELECT * FROM unblock.idle_transactions;";
}

void not_judged(const Scene& scene, Findings& findings) {
	Names names;
	for (const Session& self : scene.snapshot.sessions)
		if (self.kind == Kind::client && self.state == State::disabled && !self.masked)
			names.add(name_of(self));
	if (names.count() == 0)
		return;
	Finding& finding =
	    findings.add(Severity::notice, names.count(),
	                 counted(names.count(), "session") + " cannot be judged: the state is not known");
	finding.detail = "With track_activities off a session does not say what it does, and no limit can count "
	                 "for it: " +
	                 names.text() + ".";
	finding.remedy =
	    "-- set track_activities on again where it is off: in postgresql.conf, for a role or a database "
	    "(SELECT * FROM pg_catalog.pg_db_role_setting;), or in the session itself";
}

// Beside all notices a person wants to see this at one glance.
void nobody_blocked(const Scene& scene, Findings& findings) {
	for (Index i = 0; i < scene.snapshot.waiters.size(); ++i)
		if (scene.graph.waiter(i).blockers > 0)
			return;
	const std::span<const Session> sessions = scene.snapshot.sessions;
	const auto in_transaction =
	    static_cast<std::size_t>(std::count_if(sessions.begin(), sessions.end(), [](const Session& self) {
		    return self.kind == Kind::client && (self.xact_start != 0 || idle_in_transaction(self));
	    }));
	Finding& finding = findings.add(Severity::ok, 0, "nobody is blocked");
	if (scene.facts.client_sessions > 0)
		finding.detail = counted(static_cast<std::size_t>(scene.facts.client_sessions), "client session") +
		                 ", " + std::to_string(in_transaction) + " of them in a transaction.";
	else if (in_transaction > 0)
		finding.detail = counted(in_transaction, "client session") + " in a transaction.";
}

} // namespace

void tell_sessions(const Scene& scene, Findings& findings) {
	waiters_by_number(scene, findings);
	idle_transactions(scene, findings);
	not_judged(scene, findings);
	nobody_blocked(scene, findings);
}

} // namespace unblock::core
