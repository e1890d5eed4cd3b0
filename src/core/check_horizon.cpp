// Findings about what outlives everybody's attention: prepared transactions that nobody finishes, and whoever
// holds back vacuum.
#include "check_parts.h"

#include "remedy.h"
#include "text.h"

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

#include "fence.h"

namespace unblock::core {

namespace {

constexpr std::uint32_t kDefaultFreezeMaxAge = 200'000'000;

// A prepared transaction as one of the lock table.
Session session_of(const HorizonHolder& holder) {
	Session session;
	session.kind = Kind::prepared;
	session.xact_start = holder.since;
	session.gid = holder.name;
	session.gid_exact = holder.name_exact;
	session.datname = holder.datname;
	session.usename = holder.usename;
	session.masked = holder.masked;
	return session;
}

// --- prepared transactions ---------------------------------------------------------------------------

// The transaction ids of those that findings about roots tell of, ascending.
std::vector<std::uint32_t> told_as_roots(const Scene& scene) {
	std::vector<std::uint32_t> xids;
	const auto add = [&](Index root) {
		if (scene.session(root).kind == Kind::prepared)
			xids.push_back(scene.session(root).xid);
	};
	std::ranges::for_each(scene.roots_told(), add);
	for (const Index root : scene.graph.roots())
		if (scene.told_together[root])
			add(root);
	std::ranges::sort(xids);
	return xids;
}

std::vector<const HorizonHolder*> forgotten(const Scene& scene) {
	const std::vector<std::uint32_t> told = told_as_roots(scene);
	std::vector<const HorizonHolder*> list;
	for (const HorizonHolder& holder : scene.facts.horizon)
		if (holder.kind == HorizonKind::prepared && holder.since != 0 &&
		    scene.snapshot.now - holder.since >= scene.facts.prepared_worth_telling &&
		    !std::ranges::binary_search(told, holder.xmin))
			list.push_back(&holder);
	std::ranges::stable_sort(list, {}, &HorizonHolder::since);
	return list;
}

std::string rollbacks(std::span<const HorizonHolder* const> list) {
	std::string lines;
	for (const HorizonHolder* holder : list.first(std::min(list.size(), Names::kNamed)))
		if (const std::string one = remedy(session_of(*holder), {}); !one.empty())
			lines += (lines.empty() ? "" : "\n") + one;
	if (list.size() > Names::kNamed)
		lines += std::string(lines.empty() ? "" : "\n") +
		         "-- and more of them: SELECT * FROM pg_catalog.pg_prepared_xacts ORDER BY prepared;";
	return lines;
}

void prepared_transactions(const Scene& scene, Findings& findings) {
	const std::vector<const HorizonHolder*> list = forgotten(scene);
	if (list.empty())
		return;
	const Micros longest = scene.snapshot.now - list.front()->since;
	Finding& finding =
	    findings.add(Severity::warning, list.size(),
	                 counted(list.size(), "prepared transaction") + (list.size() == 1 ? " has" : " have") +
	                     " waited for COMMIT PREPARED or ROLLBACK PREPARED for " +
	                     (list.size() == 1 ? duration(longest)
	                                       : duration(scene.facts.prepared_worth_telling) + " or longer"));
	Names names;
	for (const HorizonHolder* holder : list) {
		const std::string owner = who(session_of(*holder));
		names.add((owner.empty() ? "" : owner + " ") + quoted(holder->name) + ", " +
		          duration(scene.snapshot.now - holder->since));
	}
	finding.detail =
	    "Longest first: " + names.text() +
	    ". Until then its locks are held and vacuum is held back, even after a restart. Ask whoever "
	    "coordinates it whether it is to be committed: COMMIT PREPARED would do that.";
	finding.remedy = rollbacks(list);
}

// --- vacuum ------------------------------------------------------------------------------------------

constexpr std::size_t kHoldsTold = 5;

// Which rows a holder keeps: ComputeXidHorizons() (procarray.c) has a horizon for each.
enum class Rows : std::uint8_t {
	all,             // of all databases
	of_database,     // of one database, and of shared catalogs
	shared_catalogs, // of a process that is in no database
	catalogs,        // system catalogs of all databases
};

struct Hold {
	const HorizonHolder* holder;
	Rows rows;
	std::uint32_t age;

	std::uint32_t database() const { return rows == Rows::of_database ? holder->database : 0; }
	auto kept() const { return std::pair(rows, database()); }
};

Rows rows_of(const HorizonHolder& holder) {
	if (holder.all_databases)
		return Rows::all;
	return holder.database != 0 ? Rows::of_database : Rows::shared_catalogs;
}

class Vacuum {
public:
	Vacuum(const Scene& scene, Findings& findings) : scene_(scene), findings_(findings) {}

	void tell() {
		collect();
		const std::vector<const Hold*> held = worth_telling();
		const std::size_t told = std::min(held.size(), kHoldsTold);
		for (std::size_t i = 0; i < told; ++i)
			tell_hold(*held[i]);
		if (held.size() > told)
			tell_rest(std::span(held).subspan(told));
	}

private:
	void collect();
	std::vector<const Hold*> worth_telling() const;
	bool is_long(const Hold& hold) const;
	bool follows(const Hold& hold) const;
	Severity severity_of(const Hold& hold) const;
	std::uint32_t freeze_age() const {
		return scene_.facts.freeze_max_age != 0 ? scene_.facts.freeze_max_age : kDefaultFreezeMaxAge;
	}
	void tell_hold(const Hold& hold);
	void tell_rest(std::span<const Hold* const> rest);
	Index index_of(const HorizonHolder& holder) const;
	std::string owner_detail(const HorizonHolder& holder) const;
	std::string holder_detail(const HorizonHolder& holder) const;
	std::string others_detail(const Hold& hold) const;
	std::string consequence(const Hold& hold) const;
	std::string remedy_for(const HorizonHolder& holder) const;

	const Scene& scene_;
	Findings& findings_;
	std::vector<Hold> holds_;            // those that keep the same rows side by side, the oldest first
	std::vector<std::uint32_t> writers_; // transaction ids of holders, ascending
};

void Vacuum::collect() {
	for (const HorizonHolder& holder : scene_.facts.horizon) {
		if (holder.own_xid)
			writers_.push_back(holder.xmin);
		if (holder.data_xmin != 0)
			holds_.push_back({&holder, rows_of(holder), holder.data_age});
		if (holder.data_xmin != holder.xmin)
			holds_.push_back({&holder, Rows::catalogs, holder.age});
	}
	std::ranges::stable_sort(holds_, {}, [](const Hold& hold) {
		const Time since = hold.holder->since;
		return std::tuple(hold.kept(), ~hold.age, !hold.holder->own_xid, since == 0, since);
	});
	std::ranges::sort(writers_);
}

// A snapshot is as old as the oldest transaction that was running anywhere when it was taken: while that one
// runs on, there will be others as old. So are a standby and a slot in use. To end them helps nobody for
// long.
bool Vacuum::follows(const Hold& hold) const {
	const HorizonHolder& holder = *hold.holder;
	const bool moves = holder.kind != HorizonKind::slot || holder.pid != 0;
	const std::uint32_t xmin = hold.rows == Rows::catalogs ? holder.xmin : holder.data_xmin;
	return moves && !holder.own_xid && std::ranges::binary_search(writers_, xmin);
}

// The oldest hold on each kind of rows, or else the first one that lasts; oldest first.
std::vector<const Hold*> Vacuum::worth_telling() const {
	std::vector<const Hold*> list;
	for (const Hold& hold : holds_) {
		const bool told = !list.empty() && list.back()->kept() == hold.kept();
		const bool old = hold.age >= scene_.facts.horizon_worth_telling && !follows(hold);
		if (!told && (old || is_long(hold)))
			list.push_back(&hold);
	}
	std::ranges::stable_sort(list, std::ranges::greater(), &Hold::age);
	return list;
}

bool Vacuum::is_long(const Hold& hold) const {
	return hold.holder->since != 0 && hold.age > 0 &&
	       scene_.snapshot.now - hold.holder->since >= scene_.facts.horizon_time_worth_telling;
}

Severity Vacuum::severity_of(const Hold& hold) const {
	if (hold.age >= freeze_age())
		return Severity::critical;
	return hold.age >= freeze_age() / 2 ? Severity::warning : Severity::notice;
}

// "session 4711", "replication slot 'x'".
std::string described(const HorizonHolder& holder) {
	std::string text(name(holder.kind));
	if (holder.kind == HorizonKind::session)
		return text + " " + std::to_string(holder.pid);
	return holder.name.empty() ? text : text + " " + quoted(holder.name);
}

std::string place_of(const Hold& hold) {
	switch (hold.rows) {
	case Rows::all:
		return " in all databases";
	case Rows::of_database:
		return hold.holder->datname.empty() ? " in one database"
		                                    : " in database " + one_line(hold.holder->datname);
	case Rows::shared_catalogs:
		return " of shared catalogs";
	case Rows::catalogs:
		break;
	}
	return " of system catalogs";
}

void Vacuum::tell_hold(const Hold& hold) {
	Finding& finding =
	    findings_.add(severity_of(hold), 0,
	                  described(*hold.holder) + " holds back vacuum" + place_of(hold) +
	                      ": dead rows of the last " + counted(hold.age, "transaction") + " stay");
	finding.detail = holder_detail(*hold.holder) + others_detail(hold) + consequence(hold);
	finding.remedy = remedy_for(*hold.holder);
}

void Vacuum::tell_rest(std::span<const Hold* const> rest) {
	Finding& finding = findings_.add(severity_of(*rest.front()), 0,
	                                 std::to_string(rest.size()) + " more " +
	                                     (rest.size() == 1 ? "holds" : "hold") + " back vacuum elsewhere");
	finding.detail = "Only those that hold it back most are told one by one.";
	finding.remedy = "SELECT * FROM unblock.horizon;";
}

// The session in the snapshot, if it is still in that transaction.
Index Vacuum::index_of(const HorizonHolder& holder) const {
	for (Index i = 0; i < scene_.snapshot.sessions.size(); ++i)
		if (const Session& session = scene_.session(i);
		    holder.pid != 0 && session.pid == holder.pid && session.xact_start == holder.since)
			return i;
	return kNone;
}

std::string Vacuum::owner_detail(const HorizonHolder& holder) const {
	Session owner = session_of(holder);
	owner.application_name = holder.kind == HorizonKind::session ? holder.name : std::string_view();
	const std::string names = who(owner);
	std::string text = names.empty() ? "" : "It belongs to " + names + ". ";
	if (const Index index = index_of(holder); index != kNone)
		if (const std::string doing = activity(scene_.session(index), scene_.snapshot.now); !doing.empty())
			text += "State: " + doing + ". ";
	if (holder.since != 0)
		text += (holder.kind == HorizonKind::prepared ? "It was prepared " : "Its transaction began ") +
		        duration(scene_.snapshot.now - holder.since) + " ago. ";
	return text;
}

std::string Vacuum::holder_detail(const HorizonHolder& holder) const {
	const std::string user = "Process " + std::to_string(holder.pid) + " uses it. ";
	switch (holder.kind) {
	case HorizonKind::session:
		return owner_detail(holder);
	case HorizonKind::prepared:
		return owner_detail(holder) +
		       "Ask whoever coordinates it: COMMIT PREPARED lets go of vacuum just as well. ";
	case HorizonKind::slot:
		if (holder.pid == 0)
			return "Nobody uses it at present. ";
		if (holder.database != 0)
			return user + "It moves on when its consumer has confirmed more, and when the transactions that "
			              "were open at that point have ended. ";
		return user + "A query on the standby needs them, as hot_standby_feedback says. ";
	case HorizonKind::standby:
		break;
	}
	return "A query there needs them, as hot_standby_feedback says. ";
}

// Who keeps these rows as well, or others since the same transaction.
std::string Vacuum::others_detail(const Hold& hold) const {
	Names as_old, older;
	for (const Hold& other : holds_) {
		if (other.holder == hold.holder)
			continue;
		const bool same_rows = other.kept() == hold.kept();
		if (other.age == hold.age)
			as_old.add(described(*other.holder) + (same_rows ? "" : place_of(other)));
		else if (other.age > hold.age && (same_rows || other.rows == Rows::all))
			older.add(described(*other.holder) + (same_rows ? "" : place_of(other)));
	}
	return (as_old.count() == 0 ? "" : "As old: " + as_old.text() + ". ") +
	       (older.count() == 0 ? "" : "Older: " + older.text() + ". ");
}

std::string Vacuum::consequence(const Hold& hold) const {
	const bool notice = severity_of(hold) == Severity::notice;
	std::string text;
	switch (hold.rows) {
	case Rows::all:
		text = notice ? "Tables and indexes" : "tables";
		break;
	case Rows::of_database:
		text = notice ? "Tables and indexes there, and shared catalogs," : "tables there";
		break;
	case Rows::shared_catalogs:
		text = notice ? "Shared catalogs" : "shared catalogs";
		break;
	case Rows::catalogs:
		text = notice ? "System catalogs" : "system catalogs";
		break;
	}
	if (notice)
		return text + " grow meanwhile.";
	return "From " + std::to_string(freeze_age()) + " on (autovacuum_freeze_max_age) " + text +
	       " are vacuumed against wraparound, in vain; near 2 billion the server takes no more writes.";
}

std::string Vacuum::remedy_for(const HorizonHolder& holder) const {
	switch (holder.kind) {
	case HorizonKind::prepared:
		return remedy(session_of(holder), {});
	case HorizonKind::slot:
		if (holder.pid == 0)
			return "-- if nobody needs it any more: SELECT pg_drop_replication_slot(" +
			       quote_literal(one_line(holder.name)) + ");";
		if (holder.database != 0)
			return "-- see to it that the consumer of " + described(holder) +
			       " keeps up, and end transactions that have been open for long";
		return "-- end the long query on the standby that uses " + described(holder) +
		       ", or switch hot_standby_feedback off there";
	case HorizonKind::standby:
		return "-- end the long query on " + described(holder) + ", or switch hot_standby_feedback off there";
	case HorizonKind::session:
		break;
	}
	const Index index = index_of(holder);
	if (index != kNone && scene_.session(index).kind == Kind::client)
		return scene_.remedy_of(index);
	return holder.masked ? "" : "-- wait until " + described(holder) + " is done";
}

} // namespace

void tell_horizon(const Scene& scene, Findings& findings) {
	prepared_transactions(scene, findings);
	Vacuum(scene, findings).tell();
}

} // namespace unblock::core
