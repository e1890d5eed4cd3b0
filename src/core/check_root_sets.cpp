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
	Index middle = kNone;         // the one of them that frees most of them
	Index freed = 0;              // who wait for nobody else: for all of these or for some
};

class SetsOfRoots {
public:
	SetsOfRoots(const Scene& scene, Findings& findings) : scene_(scene), findings_(findings) {}

	void tell() {
		collect();
		weigh();
		const std::size_t told = std::min(shared_.size(), kSetsTold);
		for (std::size_t i = 0; i < told; ++i)
			tell_set(shared_[i]);
		if (shared_.size() > told)
			tell_rest(told);
	}

private:
	void collect();
	void add(std::vector<RootSet>& sets, const RootSet& set) const;
	void weigh();
	Index freed_by(const RootSet& set);
	void tell_set(const RootSet& set);
	std::string middle_detail(const RootSet& set) const;
	void tell_rest(std::size_t told);

	const Scene& scene_;
	Findings& findings_;
	std::vector<RootSet> sets_;   // all different ones
	std::vector<RootSet> shared_; // those of several roots, best first
	std::vector<bool> ended_;     // by node: in the set that is being weighed
};

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
	ended_.assign(scene_.snapshot.sessions.size(), false);
	for (RootSet& set : weighed)
		set.freed = freed_by(set);
	std::ranges::stable_sort(weighed, most_first(&RootSet::freed));
}

Index SetsOfRoots::freed_by(const RootSet& set) {
	for (const Index root : set.roots)
		ended_[root] = true;
	Index freed = 0;
	for (const RootSet& other : sets_)
		if (other.roots.size() <= set.roots.size() &&
		    std::ranges::all_of(other.roots, [this](Index root) { return ended_[root]; }))
			freed += other.waiters;
	for (const Index root : set.roots)
		ended_[root] = false;
	return freed;
}

void SetsOfRoots::tell_set(const RootSet& set) {
	Names pids, names;
	for (const Index root : set.roots) {
		pids.add(reference(scene_.session(root)));
		names.add(name_of(scene_.session(root)));
	}
	Finding& finding = findings_.add(Severity::warning, set.freed,
	                                 counted(set.roots.size(), "session") + " block " +
	                                     std::to_string(set.freed) + " together: " + pids.text());
	if (set.freed == set.waiters)
		finding.detail = "None of these goes free before all of them have ended: ";
	else
		finding.detail = "All of these go free when all of them have ended, " + std::to_string(set.waiters) +
		                 " of them not before: ";
	finding.detail += names.text() + "." + middle_detail(set);
	finding.remedy = scene_.remedies_of(set.roots);
}

// One who waits for the whole set and whom most others wait for, a queued migration say, may be the one to
// end.
std::string SetsOfRoots::middle_detail(const RootSet& set) const {
	const Index frees = scene_.graph.node(set.middle).frees;
	if (frees * 2 < set.freed)
		return {};
	const Session& middle = scene_.session(set.middle);
	std::string text = scene_.migration[set.middle] ? " Ending the migration " : " Ending ";
	text += name_of(middle) + " alone, which waits for them too, frees " + std::to_string(frees);
	const std::string remedy = scene_.remedy_of(set.middle);
	return text + (remedy.empty() ? "." : ": " + remedy);
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

void tell_root_sets(const Scene& scene, Findings& findings) {
	SetsOfRoots(scene, findings).tell();
}

} // namespace unblock::core
