// Findings about roots that block together: waiters who do not go free before several sessions have ended.
#include "check_parts.h"

#include "text.h"

#include <algorithm>
#include <functional>
#include <iterator>

#include "fence.h"

namespace unblock::core {

namespace {

// There can be as many different sets as waiters. Those that most wait for are weighed against all others,
// and of these the ones that free most are told.
constexpr std::size_t kSetsWeighed = 50;
constexpr std::size_t kSetsTold = 10;

struct RootSet {
	std::span<const Index> roots; // ascending
	Index waiters = 0;            // who wait for just these in the end
	Index middle = kNone;         // the one of them whose end frees most of them
	Index freed = 0;              // who wait for nobody else: for all of these or for some
};

class SetsOfRoots {
public:
	SetsOfRoots(const Scene& scene, Findings& findings)
	    : scene_(scene), findings_(findings), ended_(scene.snapshot.sessions.size(), false),
	      told_(scene.snapshot.sessions.size(), false) {}

	std::vector<bool> tell() {
		collect();
		weigh();
		const std::size_t told = std::min(shared_.size(), kSetsTold);
		for (std::size_t i = 0; i < told; ++i)
			tell_set(shared_[i]);
		if (shared_.size() > told)
			tell_rest(told);
		return std::move(told_);
	}

private:
	void collect();
	void add(std::vector<RootSet>& sets, const RootSet& set) const;
	void weigh();
	Index freed_by(const RootSet& set);
	bool within_ended(std::span<const Index> roots, const RootSet& set) const {
		return roots.size() <= set.roots.size() &&
		       std::ranges::all_of(roots, [this](Index root) { return ended_[root]; });
	}
	void tell_set(const RootSet& set);
	void tell_middle(const RootSet& set, Severity severity, std::size_t concerned);
	Names migrations_behind(const RootSet& set);
	std::string counted_roots(const RootSet& set) const;
	std::string described(Index root) const;
	void tell_rest(std::size_t told);

	const Scene& scene_;
	Findings& findings_;
	std::vector<RootSet> sets_;   // all different ones
	std::vector<RootSet> shared_; // those of several roots, best first
	std::vector<bool> ended_;     // by node: in the set that is being weighed
	std::vector<bool> told_;      // by node: see tell_root_sets()
};

// "4711", "prepared transaction 'x'".
std::string brief(const Session& root) {
	if (root.kind != Kind::prepared || root.masked || root.gid.empty())
		return reference(root);
	return "prepared transaction " + quoted(root.gid);
}

bool before(std::span<const Index> a, std::span<const Index> b) {
	return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
}

// Adds a set to a list in which equal ones stand side by side.
void SetsOfRoots::add(std::vector<RootSet>& sets, const RootSet& set) const {
	if (sets.empty() || !std::ranges::equal(sets.back().roots, set.roots)) {
		sets.push_back(set);
		return;
	}
	sets.back().waiters += set.waiters;
	if (scene_.graph.node(set.middle).frees > scene_.graph.node(sets.back().middle).frees)
		sets.back().middle = set.middle;
}

// The graph keeps equal sets once as a rule, so that most are told apart by their place in memory.
void SetsOfRoots::collect() {
	std::vector<RootSet> by_place;
	for (const ChainRow& row : scene_.rows)
		if (const std::span<const Index> roots = scene_.graph.roots_of(row.node); !roots.empty())
			by_place.push_back({roots, 1, row.node, 0});
	std::ranges::stable_sort(by_place, std::less<>(), [](const RootSet& set) { return set.roots.data(); });
	std::vector<RootSet> few;
	for (const RootSet& set : by_place)
		add(few, set);
	std::ranges::stable_sort(few, before, &RootSet::roots);
	for (const RootSet& set : few)
		add(sets_, set);
}

void SetsOfRoots::weigh() {
	std::ranges::copy_if(sets_, std::back_inserter(shared_),
	                     [](const RootSet& set) { return set.roots.size() > 1; });
	const auto most_first = [](Index RootSet::*number) {
		return [number](const RootSet& a, const RootSet& b) {
			return a.*number != b.*number ? a.*number > b.*number : a.roots.size() < b.roots.size();
		};
	};
	std::ranges::stable_sort(shared_, most_first(&RootSet::waiters));
	const std::span<RootSet> weighed(shared_.data(), std::min(shared_.size(), kSetsWeighed));
	for (RootSet& set : weighed)
		set.freed = freed_by(set);
	std::ranges::stable_sort(weighed, most_first(&RootSet::freed));
}

Index SetsOfRoots::freed_by(const RootSet& set) {
	for (const Index root : set.roots)
		ended_[root] = true;
	Index freed = 0;
	for (const RootSet& other : sets_)
		if (within_ended(other.roots, set))
			freed += other.waiters;
	for (const Index root : set.roots)
		ended_[root] = false;
	return freed;
}

// Marks the migrations that wait for nobody outside the set as told of.
Names SetsOfRoots::migrations_behind(const RootSet& set) {
	for (const Index root : set.roots)
		ended_[root] = true;
	Names migrations;
	for (const ChainRow& row : scene_.rows)
		if (const auto roots = scene_.graph.roots_of(row.node);
		    scene_.migration[row.node] && !roots.empty() && within_ended(roots, set)) {
			migrations.add(reference(scene_.session(row.node)));
			told_[row.node] = true;
		}
	for (const Index root : set.roots)
		ended_[root] = false;
	return migrations;
}

void SetsOfRoots::tell_set(const RootSet& set) {
	Names names, roots("; ");
	Severity severity = Severity::warning;
	std::size_t concerned = set.freed;
	for (const Index root : set.roots) {
		names.add(brief(scene_.session(root)));
		roots.add(described(root));
		severity = std::max(severity, scene_.severity_of_root(root));
		// In front of what there is to say of a single one of them.
		concerned = std::max<std::size_t>(concerned, scene_.graph.node(root).blocked_total);
		told_[root] = true;
	}
	tell_middle(set, severity, concerned);

	const Names migrations = migrations_behind(set);
	std::string text = counted_roots(set) + " block " + std::to_string(set.freed) + " together";
	if (migrations.count() > 0)
		text += ", with " + counted(migrations.count(), "blocked migration") + " among them";
	Finding& finding = findings_.add(severity, concerned, text + ": " + names.text());
	if (set.freed == set.waiters)
		finding.detail = "All of these wait for each of them: ";
	else
		finding.detail = std::to_string(set.waiters) +
		                 (set.waiters == 1 ? " of these waits" : " of these wait") +
		                 " for each of them, the others for some: ";
	finding.detail += roots.text() + ".";
	if (migrations.count() > 0)
		finding.detail += " Blocked migrations: " + migrations.text() + ".";
	finding.remedy = scene_.remedies_of(set.roots);
}

// "2 sessions", "1 session and 2 prepared transactions".
std::string SetsOfRoots::counted_roots(const RootSet& set) const {
	const auto prepared = static_cast<std::size_t>(std::ranges::count(
	    set.roots, Kind::prepared, [this](Index root) { return scene_.session(root).kind; }));
	const std::size_t sessions = set.roots.size() - prepared;
	if (prepared == 0)
		return counted(sessions, "session");
	return (sessions == 0 ? "" : counted(sessions, "session") + " and ") +
	       counted(prepared, "prepared transaction");
}

// "4711 app@lab (features-api), idle in transaction for 9.0s, holds AccessShareLock on relation public.t".
std::string SetsOfRoots::described(Index root) const {
	const Session& self = scene_.session(root);
	const std::string doing = activity(self, scene_.snapshot.now);
	std::string text;
	if (self.kind != Kind::prepared || doing.empty())
		text = name_of(self) + (doing.empty() ? "" : ", " + doing);
	else if (const std::string owner = who(self); owner.empty())
		text = doing;
	else
		text = doing + ", of " + owner;
	const std::string held = scene_.held_by(root);
	return held.empty() ? text : text + ", " + held;
}

// One who waits for the whole set and whom most others wait for, a queued migration say, is the one to end:
// it costs a single statement.
void SetsOfRoots::tell_middle(const RootSet& set, Severity severity, std::size_t concerned) {
	const Index frees = scene_.graph.node(set.middle).frees;
	const Session& middle = scene_.session(set.middle);
	if (frees < 2 || frees * 2 < set.freed || middle.kind != Kind::client)
		return;
	Finding& finding = findings_.add(
	    severity, concerned,
	    (scene_.migration[set.middle] ? "canceling the migration " : "canceling ") + reference(middle) +
	        " alone lets " + std::to_string(frees) + " of " + std::to_string(set.freed) + " go on");
	finding.detail =
	    "They wait for " + name_of(middle) + ", which waits itself for " + counted_roots(set) + ".";
	if (!middle.masked && !middle.query.empty())
		finding.detail += " Its statement: " + statement_of(middle);
	finding.remedy = scene_.remedy_of(set.middle);
}

void SetsOfRoots::tell_rest(std::size_t told) {
	const std::size_t rest = shared_.size() - told;
	Finding& finding = findings_.add(Severity::warning, 1,
	                                 counted(rest, "more set") + " of sessions " +
	                                     (rest == 1 ? "blocks" : "block") + " others together");
	finding.detail = "Only those that free most are told one by one.";
	finding.remedy = "SELECT pid, root_pids FROM unblock.lock_waits WHERE cardinality(root_pids) > 1;";
}

} // namespace

std::vector<bool> tell_root_sets(const Scene& scene, Findings& findings) {
	return SetsOfRoots(scene, findings).tell();
}

} // namespace unblock::core
