// Findings about who blocks whom: roots one by one, jammed queues, deadlocks, and blocked migrations.
#include "check_parts.h"

#include "text.h"

#include <algorithm>
#include <functional>
#include <map>

#include "fence.h"

namespace unblock::core {

namespace {

constexpr std::size_t kDeadlocksTold = 10;

// Sessions that all wait for one another.
struct Deadlock {
	Names members;
	std::size_t migrations = 0; // among them
	Index best = kNone;         // the member whose end frees most
};

class Blockers {
public:
	Blockers(const Scene& scene, Findings& findings)
	    : scene_(scene), graph_(scene.graph), snapshot_(scene.snapshot), findings_(findings),
	      seen_(scene.snapshot.sessions.size(), false) {}

	void tell() {
		find_migrations();
		const std::span<const Index> told = scene_.roots_told();
		for (std::size_t i = 0; i < told.size(); ++i)
			tell_root(told[i], migrations_[i]);
		tell_more_roots();
		jammed_queues();
		deadlocks();
		other_migrations();
	}

private:
	const Session& session(Index index) const { return scene_.session(index); }

	void find_migrations();
	void tell_root(Index node, const Names& migrations);
	void tell_more_roots();
	std::string root_detail(Index node, const Names& migrations) const;
	void jammed_queues();
	void keep_first_of_each(std::vector<Index>& nodes);
	void tell_jam(const Lock& lock, std::size_t jammed, std::span<const Index> queued);
	void deadlocks();
	void tell_deadlock(const Deadlock& deadlock);
	void other_migrations();

	const Scene& scene_;
	const WaitGraph& graph_;
	const Snapshot& snapshot_;
	Findings& findings_;
	std::vector<Names> migrations_;       // blocked by each of the roots told one by one
	std::vector<bool> seen_;              // by node, of keep_first_of_each()
	std::vector<Index> other_migrations_; // told by nothing about roots, and in no deadlock
};

void Blockers::find_migrations() {
	const std::span<const Index> told = scene_.roots_told();
	migrations_.resize(told.size());
	std::vector<Index> place(snapshot_.sessions.size(), kNone); // by node: in `told`
	for (std::size_t i = 0; i < told.size(); ++i)
		place[told[i]] = static_cast<Index>(i);

	for (const ChainRow& row : scene_.rows) {
		if (!scene_.migration[row.node])
			continue;
		bool told_there = graph_.node(row.node).in_cycle || scene_.told_together[row.node];
		for (const Index root : graph_.roots_of(row.node))
			if (place[root] != kNone) {
				migrations_[place[root]].add(reference(session(row.node)));
				told_there = true;
			}
		if (!told_there && graph_.waiter(graph_.node(row.node).waiter).blockers > 0)
			other_migrations_.push_back(row.node);
	}
}

void Blockers::tell_root(Index node, const Names& migrations) {
	const Session& self = session(node);
	const NodeFacts& facts = graph_.node(node);

	const std::string doing = activity(self, snapshot_.now);
	std::string text;
	if (self.kind == Kind::prepared)
		text = doing.find(',') == std::string::npos ? doing : doing + ",";
	else
		text = "session " + std::to_string(self.pid) + (doing.empty() ? "" : ", " + doing + ",");
	text += " blocks " + counted(facts.blocked_total, "session");
	if (migrations.count() > 0)
		text += ", with " + counted(migrations.count(), "blocked migration") + " among them";

	Finding& finding = findings_.add(scene_.severity_of_root(node), facts.blocked_total, std::move(text));
	finding.detail = root_detail(node, migrations);
	finding.remedy = scene_.remedy_of(node);
}

void Blockers::tell_more_roots() {
	const std::span<const Index> rest = std::span(scene_.roots_alone).subspan(migrations_.size());
	if (rest.empty())
		return;
	Finding& finding =
	    findings_.add(Severity::warning, graph_.node(rest.front()).blocked_total,
	                  counted(rest.size(), "more session") + " block others and wait for nobody");
	finding.detail = "Only those that block most are told one by one.";
	finding.remedy = "SELECT * FROM unblock.root_blockers;";
}

std::string Blockers::root_detail(Index node, const Names& migrations) const {
	const Session& self = session(node);
	const NodeFacts& facts = graph_.node(node);
	std::string text;
	if (const std::string names = who(self); !names.empty())
		text += "It belongs to " + names + ". ";
	if (facts.hard_waiter != kNone) {
		const Waiter& waiter = snapshot_.waiters[facts.hard_waiter];
		const Session& waiting = session(waiter.session);
		text += "It " + scene_.held_by(node) + ", which " + reference(waiting);
		if (!waiting.masked && waiter.wait_start != 0)
			text += " has awaited for " + duration(snapshot_.now - waiter.wait_start);
		else
			text += " awaits";
		text += ". ";
	}
	if (facts.frees == facts.blocked_total)
		text += "Ending it frees all of them.";
	else if (facts.frees > 0)
		text += "Ending it alone frees " + std::to_string(facts.frees) + " of them.";
	else
		text += "Ending it alone frees nobody: others block the same sessions.";
	if (migrations.count() > 0)
		text += " Blocked migrations: " + migrations.text() + ".";
	if (!self.masked && !self.query.empty())
		text +=
		    (self.state == State::active ? " Its statement: " : " Its last statement: ") + statement_of(self);
	return text;
}

void Blockers::keep_first_of_each(std::vector<Index>& nodes) {
	std::erase_if(nodes, [this](Index node) {
		const bool again = seen_[node];
		seen_[node] = true;
		return again;
	});
	for (const Index node : nodes)
		seen_[node] = false;
}

// Waiters that nobody who holds the lock keeps from going on, only others ahead in its queue.
void Blockers::jammed_queues() {
	for (const Lock& lock : snapshot_.locks) {
		const auto queue = snapshot_.queue_of(lock);
		std::vector<Index> jammed, queued; // nodes: a session and its parallel workers are one
		ModeMask jammed_modes = 0;
		for (std::size_t i = queue.size(); i-- > 0;) {
			const WaiterFacts& facts = graph_.waiter(static_cast<Index>(lock.first_waiter + i));
			if (facts.blockers > 0 && facts.hard_blockers == 0) {
				jammed.push_back(graph_.node_of(queue[i].session));
				jammed_modes |= bit(queue[i].mode);
			} else if (conflict(queue[i].mode, jammed_modes))
				queued.push_back(graph_.node_of(queue[i].session));
		}
		if (queued.empty())
			continue;
		std::reverse(queued.begin(), queued.end());
		keep_first_of_each(queued);
		keep_first_of_each(jammed);
		tell_jam(lock, jammed.size(), queued);
	}
}

void Blockers::tell_jam(const Lock& lock, std::size_t jammed, std::span<const Index> queued) {
	const auto migrations = static_cast<std::size_t>(
	    std::count_if(queued.begin(), queued.end(), [&](Index node) { return scene_.migration[node]; }));
	const bool all = migrations == queued.size();
	std::string text = counted(queued.size(), all ? "migration" : "session");
	if (!all && migrations > 0)
		text += ", " + counted(migrations, "migration") + " among them,";
	text += " queued for " + one_line(lock.label) + (queued.size() == 1 ? " jams " : " jam ") +
	        counted(jammed, "session");

	Finding& finding = findings_.add(Severity::warning, jammed, std::move(text));
	Names names;
	for (const Index node : queued)
		names.add(name_of(session(node)));
	finding.detail = "Nobody who holds the lock stands in the way of the jammed ones; they wait only because "
	                 "others are ahead in its queue: " +
	                 names.text() + ".";
	const Session& first = session(queued.front());
	if (!first.masked && !first.query.empty())
		finding.detail += " The first one's statement: " + statement_of(first);
	finding.remedy = scene_.remedies_of(queued);
}

void Blockers::deadlocks() {
	std::map<Index, Deadlock> all; // by the graph's number
	for (const ChainRow& row : scene_.rows) {
		const Index number = graph_.cycle_of(row.node);
		if (number == kNone)
			continue;
		Deadlock& deadlock = all[number];
		deadlock.members.add(name_of(session(row.node)));
		deadlock.migrations += scene_.migration[row.node] ? 1 : 0;
		if (deadlock.best == kNone || graph_.node(row.node).frees > graph_.node(deadlock.best).frees)
			deadlock.best = row.node;
	}
	std::vector<const Deadlock*> worst_first;
	worst_first.reserve(all.size());
	for (const auto& [number, deadlock] : all)
		worst_first.push_back(&deadlock);
	const auto blocked = [this](const Deadlock* one) { return graph_.node(one->best).blocked_total; };
	std::ranges::stable_sort(worst_first, std::greater<>(), blocked);
	const std::size_t told = std::min(worst_first.size(), kDeadlocksTold);
	for (std::size_t i = 0; i < told; ++i)
		tell_deadlock(*worst_first[i]);
	if (worst_first.size() > told) {
		Finding& finding =
		    findings_.add(Severity::warning, 1, counted(worst_first.size() - told, "more deadlock"));
		finding.detail = "Only those that block most are told one by one.";
		finding.remedy = "SELECT * FROM unblock.blocking_chains WHERE in_cycle;";
	}
}

// The server looks for circles of its own accord, and first tries to undo one by another order of a queue
// (deadlock.c, DeadLockCheck).
void Blockers::tell_deadlock(const Deadlock& deadlock) {
	std::string text = counted(deadlock.members.count(), "session") + " wait for one another: a deadlock";
	if (deadlock.migrations > 0)
		text += ", with " + counted(deadlock.migrations, "blocked migration") + " among them";
	Finding& finding =
	    findings_.add(Severity::warning, graph_.node(deadlock.best).blocked_total + 1U, std::move(text));
	finding.detail = "In the deadlock: " + deadlock.members.text() +
	                 ". The server cancels one of them when deadlock_timeout has passed, unless the circle "
	                 "goes through the order of a queue, which it rearranges.";
	finding.remedy = scene_.remedy_of(deadlock.best);
}

// Migrations that neither a root's finding nor that of a deadlock counts would go unseen otherwise.
void Blockers::other_migrations() {
	if (other_migrations_.empty())
		return;
	const std::size_t n = other_migrations_.size();
	Finding& finding =
	    findings_.add(Severity::warning, n, counted(n, "migration") + (n == 1 ? " is" : " are") + " blocked");
	Names names;
	for (const Index node : other_migrations_)
		names.add(name_of(session(node)));
	finding.detail = "Behind a deadlock, or behind sessions that are not told one by one: " + names.text() +
	                 ". The first one's statement: " + statement_of(session(other_migrations_.front()));
	finding.remedy = "SELECT * FROM unblock.blocking_chains;";
}

} // namespace

void tell_blockers(const Scene& scene, Findings& findings) {
	Blockers(scene, findings).tell();
}

} // namespace unblock::core
