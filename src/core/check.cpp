#include "check.h"

#include "policy.h"
#include "text.h"

#include <algorithm>
#include <array>

#include "fence.h"

namespace unblock::core {

namespace {

constexpr std::size_t kRootsTold = 20;     // each by itself; the rest are counted
constexpr std::size_t kNamed = 5;          // sessions in one sentence; the rest are counted
constexpr std::size_t kStatementCut = 200; // columns

// A list that names its first few and counts the rest.
class Names {
public:
	void add(const std::string& name) {
		if (++count_ <= kNamed)
			text_ += (count_ > 1 ? ", " : "") + name;
	}
	std::size_t count() const { return count_; }
	std::string text() const {
		return count_ <= kNamed ? text_ : text_ + " and " + std::to_string(count_ - kNamed) + " more";
	}

private:
	std::size_t count_ = 0;
	std::string text_;
};

std::string counted(std::size_t n, std::string_view noun) {
	return std::to_string(n) + " " + std::string(noun) + (n == 1 ? "" : "s");
}

// "4711 app@lab (features-api)".
std::string name_of(const Session& session) {
	const std::string names = who(session);
	return names.empty() ? reference(session) : reference(session) + " " + names;
}

char lower(char c) noexcept {
	return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Reads the first words of a statement, past white space and comments.
class Words {
public:
	explicit Words(std::string_view text) : text_(text) {}

	// Takes the next word if it is this one (in lower case).
	bool take(std::string_view word) {
		skip_blank();
		if (text_.size() < word.size() || !std::equal(word.begin(), word.end(), text_.begin(),
		                                              [](char w, char c) { return w == lower(c); }))
			return false;
		if (text_.size() > word.size() && in_word(text_[word.size()]))
			return false;
		text_.remove_prefix(word.size());
		return true;
	}

	// Takes one character of punctuation if it is the next thing.
	bool take(char c) {
		skip_blank();
		if (text_.empty() || text_.front() != c)
			return false;
		text_.remove_prefix(1);
		return true;
	}

	// Passes over a word or a character. False at the end.
	bool skip() {
		skip_blank();
		if (text_.empty())
			return false;
		std::size_t length = 0;
		while (length < text_.size() && in_word(text_[length]))
			++length;
		text_.remove_prefix(std::max<std::size_t>(length, 1));
		return true;
	}

private:
	static bool in_word(char c) noexcept {
		const char l = lower(c);
		return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
		       static_cast<unsigned char>(c) >= 0x80;
	}

	void skip_blank() {
		for (;;) {
			const std::size_t start = text_.find_first_not_of(" \t\n\r\f\v");
			text_.remove_prefix(std::min(start, text_.size()));
			if (text_.starts_with("--"))
				text_.remove_prefix(std::min(text_.find_first_of("\n\r"), text_.size()));
			else if (text_.starts_with("/*"))
				skip_comment();
			else
				return;
		}
	}

	// Comments nest in SQL.
	void skip_comment() {
		int depth = 0;
		std::size_t at = 0;
		do {
			const std::string_view two = text_.substr(at, 2);
			if (two == "/*")
				++depth;
			else if (two == "*/")
				--depth;
			at += two == "/*" || two == "*/" ? 2 : 1;
		} while (depth > 0 && at < text_.size());
		text_.remove_prefix(std::min(at, text_.size()));
	}

	std::string_view text_;
};

bool vacuum_is_full(Words words) {
	if (words.take("full"))
		return true;
	if (!words.take('('))
		return false;
	do {
		if (words.take("full"))
			return true;
	} while (!words.take(')') && words.skip());
	return false;
}

// Whether a statement is one that takes strong locks on tables and is run to change them or keep them up.
bool is_migration(const Session& session) {
	if (session.masked)
		return false;
	constexpr std::array<std::string_view, 8> kFirstWords = {"alter",   "create",  "drop", "truncate",
	                                                         "reindex", "cluster", "lock", "refresh"};
	Words words(session.query);
	for (const std::string_view word : kFirstWords)
		if (words.take(word))
			return true;
	return words.take("vacuum") && vacuum_is_full(words);
}

class Check {
public:
	Check(const WaitGraph& graph, std::span<const ChainRow> rows, const ServerFacts& facts)
	    : graph_(graph), snapshot_(graph.snapshot()), rows_(rows), facts_(facts) {}

	std::vector<Finding> run() {
		root_blockers();
		roots_together();
		jammed_queues();
		deadlocks();
		enforcement();
		idle_transactions();
		not_judged();
		return sorted();
	}

private:
	// What a finding about a root needs beside the graph's own facts.
	struct Root {
		ModeMask held = 0; // of the lock that its longest direct waiter awaits
		Names migrations;  // that it blocks
	};

	const Session& session(Index index) const { return snapshot_.sessions[index]; }

	Finding& add(Severity severity, std::size_t concerned, std::string finding) {
		found_.push_back({concerned, {severity, std::move(finding), {}, {}}});
		return found_.back().finding;
	}

	void root_blockers();
	void look_at_roots();
	void tell_root(Index node, const Root& root);
	std::string root_detail(Index node, const Root& root) const;
	void roots_together();
	void tell_together(std::span<const Index> roots, Index waiters);
	void jammed_queues();
	void tell_jam(const Lock& lock, Index jammed, std::span<const Index> queued);
	void deadlocks();
	void enforcement();
	void idle_transactions();
	void not_judged();
	std::vector<Finding> sorted();

	std::string remedy_of(Index index) const {
		return index < facts_.remedies.size() ? std::string(facts_.remedies[index]) : std::string();
	}

	// One remedy after the other, or nothing where one of them is missing: ending some helps nobody.
	std::string remedies_of(std::span<const Index> sessions) const {
		std::string all;
		for (const Index index : sessions) {
			const std::string one = remedy_of(index);
			if (one.empty())
				return {};
			all += (all.empty() ? "" : "\n") + one;
		}
		return all;
	}

	const WaitGraph& graph_;
	const Snapshot& snapshot_;
	std::span<const ChainRow> rows_;
	const ServerFacts& facts_;

	struct Found {
		std::size_t concerned = 0; // sessions
		Finding finding;
	};
	std::vector<Found> found_;
	std::vector<Root> roots_;      // those told by themselves, in the order of the graph
	std::vector<Index> told_root_; // by node: index into roots_
};

void Check::root_blockers() {
	look_at_roots();
	const std::span<const Index> roots = graph_.roots();
	for (std::size_t i = 0; i < roots_.size(); ++i)
		tell_root(roots[i], roots_[i]);
	if (roots.size() > roots_.size()) {
		Finding& rest =
		    add(Severity::warning, graph_.node(roots[roots_.size()]).blocked_total,
		        counted(roots.size() - roots_.size(), "more session") + " block others and wait for nobody");
		rest.detail = "Only those that block most are told one by one.";
		rest.remedy = "SELECT * FROM unblock.root_blockers;";
	}
}

void Check::look_at_roots() {
	const std::span<const Index> roots = graph_.roots();
	roots_.resize(std::min(roots.size(), kRootsTold));
	told_root_.assign(snapshot_.sessions.size(), kNone);
	for (std::size_t i = 0; i < roots_.size(); ++i)
		told_root_[roots[i]] = static_cast<Index>(i);

	for (const Lock& lock : snapshot_.locks)
		for (const Holder& holder : snapshot_.holders_of(lock)) {
			const Index node = graph_.node_of(holder.session);
			const Index waiter = graph_.node(node).hard_waiter;
			if (told_root_[node] != kNone && waiter != kNone &&
			    &snapshot_.locks[snapshot_.waiters[waiter].lock] == &lock)
				roots_[told_root_[node]].held |= holder.modes;
		}

	for (const ChainRow& row : rows_) {
		if (!is_migration(session(row.node)))
			continue;
		for (const Index root : graph_.roots_of(row.node))
			if (told_root_[root] != kNone)
				roots_[told_root_[root]].migrations.add(reference(session(row.node)));
	}
}

void Check::tell_root(Index node, const Root& root) {
	const Session& self = session(node);
	const NodeFacts& facts = graph_.node(node);

	const std::string doing = activity(self, snapshot_.now);
	std::string text;
	if (self.kind == Kind::prepared)
		text = doing.find(',') == std::string::npos ? doing : doing + ",";
	else
		text = "session " + std::to_string(self.pid) + (doing.empty() ? "" : ", " + doing + ",");
	text += " blocks " + counted(facts.blocked_total, "session");
	if (const std::size_t migrations = root.migrations.count(); migrations > 0)
		text += ", with " + counted(migrations, "blocked migration") + " among them";

	// Nothing in the server will end these: somebody outside has to.
	const bool left_alone =
	    self.kind == Kind::prepared || (self.kind == Kind::client && !self.masked &&
	                                    (idle_in_transaction(self) || self.state == State::idle));
	Finding& finding =
	    add(left_alone ? Severity::critical : Severity::warning, facts.blocked_total, std::move(text));
	finding.detail = root_detail(node, root);
	finding.remedy = remedy_of(node);
}

std::string Check::root_detail(Index node, const Root& root) const {
	const Session& self = session(node);
	const NodeFacts& facts = graph_.node(node);
	std::string text;
	if (const std::string names = who(self); !names.empty())
		text += "It belongs to " + names + ". ";
	if (facts.hard_waiter != kNone) {
		const Waiter& waiter = snapshot_.waiters[facts.hard_waiter];
		const Session& waiting = session(waiter.session);
		const ModeMask held = root.held & conflicts_of(waiter.mode);
		text.append("It holds ").append(name(strongest(held))).append(" on ");
		text += one_line(snapshot_.locks[waiter.lock].label) + ", which " + reference(waiting) + " awaits";
		if (!waiting.masked && waiter.wait_start != 0)
			text += " for " + duration(snapshot_.now - waiter.wait_start);
		text += ". ";
	}
	if (facts.frees == facts.blocked_total)
		text += "Ending it frees all of them.";
	else if (facts.frees > 0)
		text += "Ending it alone frees " + std::to_string(facts.frees) + " of them.";
	else
		text += "Ending it alone frees nobody: others block the same sessions.";
	if (root.migrations.count() > 0)
		text += " Blocked migrations: " + root.migrations.text() + ".";
	if (!self.masked && !self.query.empty())
		text += (self.state == State::active ? " Its statement: " : " Its last statement: ") +
		        one_line(self.query, kStatementCut);
	return text;
}

// Waiters that several roots block: ending one of the roots is not enough.
void Check::roots_together() {
	std::vector<std::span<const Index>> sets;
	for (const ChainRow& row : rows_)
		if (const std::span<const Index> roots = graph_.roots_of(row.node); roots.size() > 1)
			sets.push_back(roots);
	const auto less = [](std::span<const Index> a, std::span<const Index> b) {
		return !(a.data() == b.data() && a.size() == b.size()) &&
		       std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
	};
	std::sort(sets.begin(), sets.end(), less);
	for (std::size_t first = 0, after = 0; first < sets.size(); first = after) {
		while (after < sets.size() && !less(sets[first], sets[after]))
			++after;
		tell_together(sets[first], static_cast<Index>(after - first));
	}
}

void Check::tell_together(std::span<const Index> roots, Index waiters) {
	Names names, full;
	for (const Index root : roots) {
		names.add(reference(session(root)));
		full.add(name_of(session(root)));
	}
	Finding& finding = add(Severity::warning, waiters,
	                       counted(roots.size(), "session") + " block " + std::to_string(waiters) +
	                           " together: " + names.text());
	finding.detail = "None of these goes free before all of them have ended: " + full.text() + ".";
	finding.remedy = remedies_of(roots);
}

// Waiters that nobody who holds the lock keeps from going on, only others ahead in its queue.
void Check::jammed_queues() {
	for (const Lock& lock : snapshot_.locks) {
		const auto queue = snapshot_.queue_of(lock);
		Index jammed = 0;
		ModeMask jammed_modes = 0;
		std::vector<Index> queued;
		for (std::size_t i = queue.size(); i-- > 0;) {
			const WaiterFacts& facts = graph_.waiter(static_cast<Index>(lock.first_waiter + i));
			if (facts.blockers > 0 && facts.hard_blockers == 0) {
				++jammed;
				jammed_modes |= bit(queue[i].mode);
			} else if (conflict(queue[i].mode, jammed_modes))
				queued.push_back(graph_.node_of(queue[i].session));
		}
		if (queued.empty())
			continue;
		std::reverse(queued.begin(), queued.end());
		tell_jam(lock, jammed, queued);
	}
}

void Check::tell_jam(const Lock& lock, Index jammed, std::span<const Index> queued) {
	const auto migrations = static_cast<std::size_t>(
	    std::count_if(queued.begin(), queued.end(), [&](Index node) { return is_migration(session(node)); }));
	const bool all = migrations == queued.size();
	std::string text = counted(queued.size(), all ? "migration" : "session");
	if (!all && migrations > 0)
		text += ", " + counted(migrations, "migration") + " among them,";
	text += " queued for " + one_line(lock.label) + (queued.size() == 1 ? " jams " : " jam ") +
	        counted(jammed, "session");

	Finding& finding = add(Severity::warning, jammed, std::move(text));
	Names names;
	for (const Index node : queued)
		names.add(name_of(session(node)));
	finding.detail = "Nobody who holds the lock stands in the way of the jammed ones; they wait only because "
	                 "others are ahead in its queue: " +
	                 names.text() + ".";
	const Session& first = session(queued.front());
	if (!first.masked && !first.query.empty())
		finding.detail += " The first one's statement: " + one_line(first.query, kStatementCut);
	finding.remedy = remedies_of(queued);
}

void Check::deadlocks() {
	Names names;
	for (const ChainRow& row : rows_)
		if (graph_.node(row.node).in_cycle)
			names.add(name_of(session(row.node)));
	if (names.count() == 0)
		return;
	Finding& finding = add(Severity::warning, names.count(),
	                       counted(names.count(), "session") + " wait for one another: a deadlock");
	finding.detail = "In the deadlock: " + names.text() +
	                 ". The server cancels one of them when deadlock_timeout has passed.";
}

void Check::enforcement() {
	if (!facts_.preloaded) {
		Finding& finding = add(Severity::notice, 0, "pg_unblock is not preloaded: nothing is enforced");
		finding.detail = "Reports work all the same. Add it to what the setting lists already in "
		                 "postgresql.conf and restart the server.";
		finding.remedy = "shared_preload_libraries = 'pg_unblock'";
		return;
	}
	if (facts_.fuse_blown) {
		Finding& finding =
		    add(Severity::warning, 0, "the fuse has blown: the enforcer holds back its actions");
		finding.detail = "More sessions were due within a minute than pg_unblock.max_actions_per_minute "
		                 "allows. The enforcer goes on by itself when the minute has passed.";
	}
	if (!facts_.enforcer_running) {
		Finding& finding = add(Severity::notice, 0, "the enforcer is not running: nothing is enforced");
		finding.detail = "The server starts it again within seconds; its log says why it ended. If it never "
		                 "started, max_worker_processes may be too small.";
	}
	if (!facts_.settings_known)
		return;
	if (facts_.mode != Mode::enforce) {
		const bool off = facts_.mode == Mode::off;
		Finding& finding =
		    add(Severity::notice, 0,
		        off ? "mode is off: nothing is enforced" : "mode is dry_run: nothing is enforced");
		finding.detail = off ? "pg_unblock.mode is off in the configuration: limits count for nobody."
		                     : "Sessions over their limit are recorded and left alone.";
		finding.remedy = "ALTER SYSTEM SET pg_unblock.mode = 'enforce'; SELECT pg_reload_conf();";
	}
	if (!facts_.any_limit) {
		Finding& finding = add(Severity::notice, 0, "no limit is set: nobody is ever ended");
		finding.detail = "Sessions that wait for their client while they block others can be ended by the "
		                 "server itself, after a time of your choice.";
		finding.remedy = "ALTER SYSTEM SET pg_unblock.idle_blocker_limit = '1min'; SELECT pg_reload_conf();";
	}
}

void Check::idle_transactions() {
	std::vector<Index> idle;
	for (Index i = 0; i < snapshot_.sessions.size(); ++i) {
		const Session& self = session(i);
		if (self.kind == Kind::client && !self.masked && idle_in_transaction(self) && self.idle_since != 0 &&
		    snapshot_.now - self.idle_since >= facts_.idle_worth_telling && graph_.node(i).blocked_total == 0)
			idle.push_back(i);
	}
	if (idle.empty())
		return;
	std::sort(idle.begin(), idle.end(), [&](Index a, Index b) {
		return std::pair(session(a).idle_since, session(a).pid) <
		       std::pair(session(b).idle_since, session(b).pid);
	});
	const std::size_t n = idle.size();
	Finding& finding = add(Severity::notice, n,
	                       counted(n, "session") + (n == 1 ? " has" : " have") +
	                           " been idle in transaction for " + duration(facts_.idle_worth_telling) +
	                           " or longer and " + (n == 1 ? "blocks" : "block") + " nobody yet");
	Names names;
	for (const Index i : idle)
		names.add(name_of(session(i)) + ", " + duration(snapshot_.now - session(i).idle_since));
	finding.detail = "Longest first: " + names.text() + ".";
	finding.remedy = n == 1 ? remedy_of(idle.front()) : "SELECT * FROM unblock.idle_transactions;";
}

void Check::not_judged() {
	Names names;
	for (const Session& self : snapshot_.sessions)
		if (self.kind == Kind::client && self.state == State::disabled && !self.masked)
			names.add(name_of(self));
	if (names.count() == 0)
		return;
	Finding& finding = add(Severity::notice, names.count(),
	                       counted(names.count(), "session") + " cannot be judged: the state is not known");
	finding.detail = "With track_activities off a session does not say what it does, and no limit can count "
	                 "for it: " +
	                 names.text() + ".";
}

std::vector<Finding> Check::sorted() {
	if (found_.empty())
		add(Severity::ok, 0, "nobody is blocked");
	std::stable_sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
		if (a.finding.severity != b.finding.severity)
			return a.finding.severity > b.finding.severity;
		return a.concerned > b.concerned;
	});
	std::vector<Finding> findings;
	findings.reserve(found_.size());
	for (Found& found : found_)
		findings.push_back(std::move(found.finding));
	return findings;
}

} // namespace

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

std::vector<Finding> check(const WaitGraph& graph, std::span<const ChainRow> rows, const ServerFacts& facts) {
	return Check(graph, rows, facts).run();
}

} // namespace unblock::core
