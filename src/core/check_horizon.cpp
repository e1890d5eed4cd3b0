// Findings about what outlives everybody's attention: prepared transactions that nobody finishes, and whoever
// holds back vacuum.
#include "check_parts.h"

#include "remedy.h"
#include "text.h"

#include <algorithm>

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

std::string quoted(std::string_view name) {
	return "'" + one_line(name, 40) + "'";
}

// --- prepared transactions ---------------------------------------------------------------------------

bool told_as_root(const Scene& scene, const HorizonHolder& holder) {
	const auto is_it = [&](Index root) {
		return scene.session(root).kind == Kind::prepared && scene.session(root).xid == holder.xmin;
	};
	return std::ranges::any_of(scene.roots_told(), is_it) ||
	       std::ranges::any_of(scene.graph.roots(),
	                           [&](Index root) { return scene.told_together[root] && is_it(root); });
}

std::vector<const HorizonHolder*> forgotten(const Scene& scene) {
	std::vector<const HorizonHolder*> list;
	for (const HorizonHolder& holder : scene.facts.horizon)
		if (holder.kind == HorizonKind::prepared && holder.since != 0 &&
		    scene.snapshot.now - holder.since >= scene.facts.prepared_worth_telling &&
		    !told_as_root(scene, holder))
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

// The session in the snapshot, if it is still in that transaction.
Index index_of(const Scene& scene, const HorizonHolder& holder) {
	for (Index i = 0; i < scene.snapshot.sessions.size(); ++i)
		if (const Session& session = scene.session(i);
		    holder.pid != 0 && session.pid == holder.pid && session.xact_start == holder.since)
			return i;
	return kNone;
}

// "session 4711", "replication slot 'x'".
std::string described(const HorizonHolder& holder) {
	std::string text(name(holder.kind));
	if (holder.kind == HorizonKind::session)
		return text + " " + std::to_string(holder.pid);
	return holder.name.empty() ? text : text + " " + quoted(holder.name);
}

std::string owner_detail(const Scene& scene, const HorizonHolder& holder) {
	Session owner = session_of(holder);
	owner.application_name = holder.kind == HorizonKind::session ? holder.name : std::string_view();
	const std::string names = who(owner);
	std::string text = names.empty() ? "" : "It belongs to " + names + ". ";
	if (const Index index = index_of(scene, holder); index != kNone)
		if (const std::string doing = activity(scene.session(index), scene.snapshot.now); !doing.empty())
			text += "State: " + doing + ". ";
	if (holder.since != 0)
		text += (holder.kind == HorizonKind::prepared ? "It was prepared " : "Its transaction began ") +
		        duration(scene.snapshot.now - holder.since) + " ago. ";
	return text;
}

std::string holder_detail(const Scene& scene, const HorizonHolder& holder) {
	switch (holder.kind) {
	case HorizonKind::session:
		return owner_detail(scene, holder);
	case HorizonKind::prepared:
		return owner_detail(scene, holder) +
		       "Ask whoever coordinates it: COMMIT PREPARED lets go of vacuum just as well. ";
	case HorizonKind::slot:
		return holder.pid == 0 ? "Nobody uses it at present. "
		                       : "Process " + std::to_string(holder.pid) + " uses it. ";
	case HorizonKind::standby:
		break;
	}
	return "A query there needs them, as hot_standby_feedback says. ";
}

std::string others_detail(std::span<const HorizonHolder> others) {
	Names as_old;
	for (const HorizonHolder& other : others)
		if (other.oldest)
			as_old.add(described(other));
	return as_old.count() == 0 ? "" : "As old: " + as_old.text() + ". ";
}

std::string remedy_for(const Scene& scene, const HorizonHolder& holder) {
	switch (holder.kind) {
	case HorizonKind::prepared:
		return remedy(session_of(holder), {});
	case HorizonKind::slot:
		if (holder.pid != 0)
			return "-- end the long query on the standby or subscriber that uses " + described(holder);
		return "-- if nobody needs it any more: SELECT pg_drop_replication_slot(" +
		       quote_literal(one_line(holder.name)) + ");";
	case HorizonKind::standby:
		return "-- end the long query on " + described(holder) + ", or switch hot_standby_feedback off there";
	case HorizonKind::session:
		break;
	}
	const Index index = index_of(scene, holder);
	if (index != kNone && scene.session(index).kind == Kind::client)
		return scene.remedy_of(index);
	return holder.masked ? "" : "-- wait until " + described(holder) + " is done";
}

bool is_long(const Scene& scene, const HorizonHolder& holder) {
	return holder.since != 0 && holder.age > 0 &&
	       scene.snapshot.now - holder.since >= scene.facts.horizon_time_worth_telling;
}

void tell_holder(const Scene& scene, Findings& findings, const HorizonHolder& holder,
                 const std::string& others) {
	const std::uint32_t freeze =
	    scene.facts.freeze_max_age != 0 ? scene.facts.freeze_max_age : kDefaultFreezeMaxAge;
	const Severity severity = holder.age >= freeze       ? Severity::critical
	                          : holder.age >= freeze / 2 ? Severity::warning
	                                                     : Severity::notice;
	Finding& finding = findings.add(severity, 0,
	                                described(holder) + " holds back vacuum: dead rows of the last " +
	                                    counted(holder.age, "transaction") + " stay");
	finding.detail = holder_detail(scene, holder) + others;
	if (severity == Severity::notice)
		finding.detail += "Tables and indexes grow meanwhile.";
	else
		finding.detail +=
		    "From " + std::to_string(freeze) +
		    " on (autovacuum_freeze_max_age) tables are vacuumed against wraparound, in vain; near 2 "
		    "billion the server takes no more writes.";
	finding.remedy = remedy_for(scene, holder);
}

void vacuum(const Scene& scene, Findings& findings) {
	const std::span<const HorizonHolder> all = scene.facts.horizon;
	if (all.empty())
		return;
	const HorizonHolder& first = all.front();
	if (first.age >= scene.facts.horizon_worth_telling || is_long(scene, first))
		tell_holder(scene, findings, first, others_detail(all.subspan(1)));
	// A slot or a standby follows whom it serves, and says no time: the long transaction behind it counts
	// too.
	if (first.kind != HorizonKind::slot && first.kind != HorizonKind::standby)
		return;
	const auto behind = std::ranges::find_if(all, [&](const HorizonHolder& holder) {
		return holder.kind == HorizonKind::session && is_long(scene, holder);
	});
	if (behind != all.end())
		tell_holder(scene, findings, *behind,
		            std::string(behind->oldest ? "As old: " : "Older: ") + described(first) + ". ");
}

} // namespace

void tell_horizon(const Scene& scene, Findings& findings) {
	prepared_transactions(scene, findings);
	vacuum(scene, findings);
}

} // namespace unblock::core
