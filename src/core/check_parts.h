// What the parts of check() share: the facts that they look at, the list that they add to, and a few words.
// Each part has a source file of its own; check.cpp puts them together.
#pragma once

#include "check.h"

namespace unblock::core {

// The first few of a list by name; the rest are counted.
class Names {
public:
	static constexpr std::size_t kNamed = 5;

	explicit Names(std::string_view separator = ", ") : separator_(separator) {}

	void add(const std::string& name) {
		if (++count_ <= kNamed)
			text_.append(count_ > 1 ? separator_ : "").append(name);
	}
	std::size_t count() const { return count_; }
	std::string text() const {
		return count_ <= kNamed ? text_ : text_ + " and " + std::to_string(count_ - kNamed) + " more";
	}

private:
	std::string_view separator_;
	std::size_t count_ = 0;
	std::string text_;
};

// "1 session", "2 sessions".
std::string counted(std::size_t n, std::string_view noun);

// A name in quotes, on one line, cut where it gets long.
std::string quoted(std::string_view name);

// "4711 app@lab (features-api)".
std::string name_of(const Session& session);

// A statement on one line, cut where it gets long.
std::string statement_of(const Session& session);

// Everything that a finding can be about. Lives as long as one call of check().
struct Scene {
	Scene(const WaitGraph& graph, std::span<const ChainRow> rows, const ServerFacts& facts);

	const Session& session(Index index) const { return snapshot.sessions[index]; }

	// `told` by node: what the findings about sets of roots tell of, as tell_root_sets() returns it. Leaves
	// to the sets the roots whose own end frees nobody.
	void leave_to_sets(std::vector<bool> told);

	// How grave a root is: see check.h.
	Severity severity_of_root(Index root) const;

	// "holds AccessShareLock on relation public.t": of the lock that its longest direct waiter awaits.
	std::string held_by(Index root) const;

	// Where there is nothing to paste for a session that is not masked: where to look.
	std::string remedy_of(Index index) const;
	// One remedy after the other, or nothing where one of them is missing: ending some helps nobody.
	std::string remedies_of(std::span<const Index> sessions) const;

	const WaitGraph& graph;
	const Snapshot& snapshot;
	std::span<const ChainRow> rows;
	const ServerFacts& facts;
	std::vector<bool> migration;     // by node: it waits, and its statement is a migration
	std::vector<bool> told_together; // by node: see leave_to_sets()
	std::vector<Index> roots_alone;  // the roots that no set tells of, in the order of the graph

	// Those of them that are told one by one: those that block most.
	std::span<const Index> roots_told() const;

private:
	std::vector<ModeMask> held_; // by node: of the lock that its longest direct waiter awaits
};

class Findings {
public:
	// `concerned` is the number of sessions that the finding is about. Findings of the same severity and
	// number stay in the order of their making. The reference is good until the next call.
	Finding& add(Severity severity, std::size_t concerned, std::string finding);

	std::vector<Finding> sorted() &&;

private:
	struct Found {
		std::size_t concerned = 0;
		Finding finding;
	};
	std::vector<Found> found_;
};

// Roots that block together. Returns by node whether a finding names it: as one of the roots, or as a blocked
// migration that waits for no other root.
std::vector<bool> tell_root_sets(const Scene& scene, Findings& findings);

void tell_blockers(const Scene& scene, Findings& findings); // other roots, jammed queues, deadlocks
void tell_sessions(const Scene& scene,
                   Findings& findings); // waiters by number, idle, not judged, none blocked
void tell_horizon(const Scene& scene, Findings& findings); // prepared transactions, what holds back vacuum
void tell_enforcement(const Scene& scene, Findings& findings); // whether anything is enforced

} // namespace unblock::core
