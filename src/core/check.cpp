// Puts the findings together and in order.
#include "check_parts.h"

#include "rules.h"
#include "statement.h"
#include "text.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "fence.h"

namespace unblock::core {

namespace {

constexpr std::size_t kRootsTold = 20;
constexpr std::size_t kStatementCut = 200; // columns
constexpr std::size_t kNameCut = 40;

// Nothing in the server will end these: somebody outside has to.
bool left_alone(const Session& self) {
	return self.kind == Kind::prepared || (self.kind == Kind::client && !self.masked &&
	                                       (idle_in_transaction(self) || self.state == State::idle));
}

} // namespace

std::vector<Finding> check(const WaitGraph& graph, std::span<const ChainRow> rows, const ServerFacts& facts) {
	Scene scene(graph, rows, facts);
	Findings findings;
	scene.leave_to_sets(tell_root_sets(scene, findings));
	tell_blockers(scene, findings);
	tell_sessions(scene, findings);
	tell_horizon(scene, findings);
	tell_enforcement(scene, findings);
	return std::move(findings).sorted();
}

std::string_view name(Severity severity) noexcept {
	switch (severity) {
	case Severity::ok:
		break;
	case Severity::notice:
		return "notice";
	case Severity::warning:
		return "warning";
	case Severity::critical:
		return "critical";
	}
	return "ok";
}

std::string counted(std::size_t n, std::string_view noun) {
	return std::to_string(n) + " " + std::string(noun) + (n == 1 ? "" : "s");
}

std::string quoted(std::string_view name) {
	return "'" + one_line(name, kNameCut) + "'";
}

std::string name_of(const Session& session) {
	const std::string names = who(session);
	return names.empty() ? reference(session) : reference(session) + " " + names;
}

std::string statement_of(const Session& session) {
	return one_line(session.query, kStatementCut);
}

Scene::Scene(const WaitGraph& wait_graph, std::span<const ChainRow> chain_rows,
             const ServerFacts& server_facts)
    : graph(wait_graph), snapshot(wait_graph.snapshot()), rows(chain_rows), facts(server_facts),
      migration(snapshot.sessions.size(), false), held_(snapshot.sessions.size(), 0) {
	for (const ChainRow& row : rows)
		if (const Index waiter = graph.node(row.node).waiter; waiter != kNone)
			migration[row.node] = is_migration(session(row.node), snapshot.waiters[waiter].mode);
	for (const Lock& lock : snapshot.locks)
		for (const Holder& holder : snapshot.holders_of(lock)) {
			const Index node = graph.node_of(holder.session);
			const Index waiter = graph.node(node).hard_waiter;
			if (waiter != kNone && &snapshot.locks[snapshot.waiters[waiter].lock] == &lock)
				held_[node] |= holder.modes;
		}
}

void Scene::leave_to_sets(std::vector<bool> told) {
	told_together = std::move(told);
	std::ranges::copy_if(graph.roots(), std::back_inserter(roots_alone),
	                     [this](Index root) { return !told_together[root] || graph.node(root).frees > 0; });
}

std::span<const Index> Scene::roots_told() const {
	return std::span(roots_alone).first(std::min(roots_alone.size(), kRootsTold));
}

Severity Scene::severity_of_root(Index root) const {
	const NodeFacts& node = graph.node(root);
	const Micros waited = node.hard_since == 0 ? 0 : snapshot.now - node.hard_since;
	const Micros allowed = left_alone(session(root)) ? kCriticalLeftAlone : kCriticalWorking;
	return node.blocked_total >= kCriticalBlocked || waited >= allowed ? Severity::critical
	                                                                   : Severity::warning;
}

std::string Scene::held_by(Index root) const {
	const Index waiter = graph.node(root).hard_waiter;
	if (waiter == kNone)
		return {};
	const Waiter& waiting = snapshot.waiters[waiter];
	const ModeMask held = held_[root] & conflicts_of(waiting.mode);
	return "holds " + std::string(name(strongest(held))) + " on " +
	       one_line(snapshot.locks[waiting.lock].label);
}

std::string Scene::remedy_of(Index index) const {
	if (index >= facts.remedies.size())
		return {};
	const Session& self = session(index);
	if (!facts.remedies[index].empty() || self.masked || self.pid == 0)
		return std::string(facts.remedies[index]);
	const std::string pid = std::to_string(self.pid);
	return "-- it is not known what " + pid +
	       " does: SELECT * FROM pg_catalog.pg_stat_activity WHERE pid = " + pid + ";";
}

std::string Scene::remedies_of(std::span<const Index> sessions) const {
	std::string all;
	for (const Index index : sessions) {
		const std::string one = remedy_of(index);
		if (one.empty())
			return {};
		all += (all.empty() ? "" : "\n") + one;
	}
	return all;
}

Finding& Findings::add(Severity severity, std::size_t concerned, std::string finding) {
	found_.push_back({concerned, {severity, std::move(finding), {}, {}}});
	return found_.back().finding;
}

std::vector<Finding> Findings::sorted() && {
	std::stable_sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
		if (a.finding.severity != b.finding.severity)
			return a.finding.severity > b.finding.severity;
		return a.concerned > b.concerned;
	});
	std::vector<Finding> list;
	list.reserve(found_.size());
	for (Found& found : found_)
		list.push_back(std::move(found.finding));
	return list;
}

} // namespace unblock::core
