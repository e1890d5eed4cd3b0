// From a snapshot to a record.

#include "incident.h"
#include "boundary.h"
#include "held_locks.h"
#include "memory.h"
#include "settings.h"

namespace unblock::server {

namespace {

// Of a chain so many sessions get their texts, more than there is room for.
constexpr std::size_t kMostDrawn = 64;
constexpr int kChainWidth = 100;

// What a session says of itself, read without a catalog; empty where that is not known. Palloc'd, each with a
// zero at its end.
void read_texts(core::Session& session, int process_number, const StatusTexts& room) {
	session.application_name = session.query = "";
	NameData role, database;
	SessionSlot* slot = slot_of(process_number, session.pid);
	if (slot != nullptr && copy_names(slot, session.pid, &role, &database)) {
		session.usename = pstrdup(NameStr(role));
		session.datname = pstrdup(NameStr(database));
	}
	Status status;
	if (read_status(compat::proc_at(process_number), session.pid, &status, &room) &&
	    status.backend_start == session.backend_start) {
		session.application_name = pstrdup(room.application_name);
		session.query = pstrdup(room.query);
	}
}

// Into a zeroed buffer, cut to its size.
void copy_text(char* to, std::string_view from, std::size_t size) {
	from = from.substr(0, size - 1);
	std::copy(from.begin(), from.end(), to);
}

int count_locks(const Collected& collected, core::Index session) {
	auto* wanted = allocate<bool>(collected.snapshot.sessions.size(), MCXT_ALLOC_ZERO);
	wanted[session] = true;
	return count_held_locks(collected, wanted)[session].count;
}

// Of a session whose texts have been read.
Incident* record_of(const core::Session& session, const SessionDetails& details) {
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	incident->pid = session.pid;
	incident->backend = session.kind;
	incident->state = session.state;
	incident->backend_start = session.backend_start;
	incident->xact_start = session.xact_start;
	incident->state_start = session.state_start;
	incident->database = session.database;
	incident->role = session.role;
	incident->xid = session.xid;
	incident->local_xid = session.local_xid;
	if (details.has_status) {
		incident->query_id = details.status.query_id;
		incident->client = details.status.client;
	}
	copy_text(NameStr(incident->role_name), session.usename, NAMEDATALEN);
	copy_text(NameStr(incident->database_name), session.datname, NAMEDATALEN);
	copy_text(NameStr(incident->application), session.application_name, NAMEDATALEN);
	if (settings.history_query_text)
		copy_text(incident->query, session.query, sizeof(incident->query));
	return incident;
}

} // namespace

const char* kind_name(Incident::Kind kind) {
	switch (kind) {
	case Incident::Kind::terminate:
		return "terminate";
	case Incident::Kind::cancel:
		return "cancel";
	case Incident::Kind::would_terminate:
		return "would_terminate";
	case Incident::Kind::would_cancel:
		return "would_cancel";
	case Incident::Kind::manual_terminate:
		return "manual_terminate";
	case Incident::Kind::manual_cancel:
		return "manual_cancel";
	case Incident::Kind::episode:
		return "episode";
	case Incident::Kind::fuse:
		return "fuse";
	case Incident::Kind::pause:
		return "pause";
	}
	return "unknown";
}

const char* outcome_name(Incident::Outcome outcome) {
	switch (outcome) {
	case Incident::Outcome::terminated:
		return "terminated";
	case Incident::Outcome::canceled:
		return "canceled";
	case Incident::Outcome::still_there:
		return "still there";
	case Incident::Outcome::by_itself:
		return "ended by itself";
	case Incident::Outcome::resumed:
		return "resumed";
	case Incident::Outcome::unknown:
		break;
	}
	return nullptr;
}

void Drafts::fill_texts(core::Index index) {
	core::Session& session = collected_.sessions[index];
	const bool are_read = session.query.data() != nullptr;
	if (are_read || session.kind == core::Kind::prepared)
		return;
	if (room_.query == nullptr)
		room_ = make_status_texts();
	read_texts(session, collected_.details[index].process_number, room_);
}

// The label of a lock without a catalog: with its relation's name as its holders know it, or with OIDs and
// the name of the database of a session that awaits it.
void Drafts::label_lock(core::Index index, const core::Session& waiter) {
	core::Lock& lock = collected_.locks[index];
	if (!lock.label.empty())
		return;
	Names names = only_database(waiter.database, waiter.datname.data());
	names.known_relation = {lock.relation, locking_.relation_name(index)};
	lock.label = lock_label(names, collected_.tags[index]);
}

void Drafts::draw_chain(Incident& incident, core::Index session) {
	const core::WaitGraph& graph = graph_;
	const core::Index node = graph.node_of(session);
	if (chains_ == nullptr) {
		chains_ = Owned<Chain>::in(CurrentMemoryContext);
		core_phase([chains = chains_, &graph] { chains->make(core::chains(graph)); });
	}
	auto* chain = Owned<Chain>::in(CurrentMemoryContext);
	auto* drawn = Owned<std::vector<core::Index>>::in(CurrentMemoryContext);
	core_phase([chain, drawn, all = chains_, &graph, node] {
		chain->make(core::chain_of(**all, node));
		drawn->make(core::rows_drawn(graph, **chain));
		(*drawn)->resize(std::min((*drawn)->size(), kMostDrawn));
	});
	for (const core::Index row : **drawn) {
		const core::Index member = (**chain)[row].node;
		fill_texts(member);
		if (const core::Index wait = graph.node(member).waiter; wait != core::kNone)
			label_lock(collected_.waiters[wait].lock, collected_.sessions[member]);
	}
	core_phase([chain, &graph, &incident] {
		constexpr std::string_view more = "...";
		const std::size_t room = sizeof(incident.chain) - more.size() - 1;
		const core::RenderOptions options = {
		    .unicode = false, .width = kChainWidth, .statements = settings.history_query_text, .bytes = room};
		std::string text;
		for (const std::string& line : core::tree(graph, **chain, options)) {
			if (text.size() + line.size() + 1 > room) {
				text += more;
				break;
			}
			text += line + "\n";
		}
		if (text.ends_with('\n'))
			text.pop_back();
		strlcpy(incident.chain, text.c_str(), sizeof(incident.chain));
	});
}

// Returns the longest wait.
core::Index Drafts::add_waiters(Incident& incident, core::Index session) {
	using Waits = std::vector<core::Index>;
	const core::WaitGraph& graph = graph_;
	auto* waits = Owned<Waits>::in(CurrentMemoryContext);
	core_phase(
	    [waits, &graph, session] { waits->make(core::direct_waiters(graph, session, Incident::kSample)); });
	incident.blocked = graph.node(session).blocked_total;
	for (const core::Index wait : **waits) {
		const core::Waiter& waiter = collected_.waiters[wait];
		incident.sample[incident.sampled++] = {collected_.sessions[waiter.session].pid, waiter.mode,
		                                       collected_.tags[waiter.lock]};
	}
	if ((*waits)->empty())
		return core::kNone;
	const core::Index longest = (*waits)->front();
	incident.longest_wait = collected_.snapshot.waited(collected_.waiters[longest]);
	return longest;
}

void Drafts::add_lock(Incident& incident, core::Index session, core::Index wait) {
	const core::Waiter& waiter = collected_.waiters[wait];
	incident.has_lock = true;
	incident.lock = collected_.tags[waiter.lock];
	incident.mode = core::mode_against(graph_, session, waiter, false);
	if (incident.mode == core::LockMode::none)
		incident.mode = core::mode_against(graph_, session, waiter, true);
	if (const char* relation = locking_.relation_name(waiter.lock))
		copy_text(incident.relation, relation, sizeof(incident.relation));
	const LockingStatement statement = locking_statement(session, wait);
	if (statement.at == 0)
		return;
	incident.locking_at = statement.at;
	incident.locking_query_id = statement.query_id;
	if (settings.history_query_text)
		copy_text(incident.locking_query, statement.text, sizeof(incident.locking_query));
}

LockingStatement Drafts::locking_statement(core::Index session, core::Index wait) {
	const bool holds =
	    core::mode_against(graph_, session, collected_.waiters[wait], false) != core::LockMode::none;
	return holds ? locking_.of(graph_.node_of(session), wait) : LockingStatement{};
}

core::Index Drafts::find(int pid, TimestampTz backend_start) const {
	const auto sessions = collected_.snapshot.sessions;
	const auto found = std::ranges::find_if(sessions, [=](const core::Session& session) {
		return session.pid == pid && session.backend_start == backend_start;
	});
	return found == sessions.end() ? core::kNone : static_cast<core::Index>(found - sessions.begin());
}

const char* Drafts::statement(core::Index index) const {
	const std::string_view query = session(index).query;
	return query.data() == nullptr ? "" : query.data();
}

Incident* Drafts::of(core::Index index, core::Index wait) {
	fill_texts(index);
	Incident* incident = record_of(collected_.sessions[index], collected_.details[index]);
	incident->at = collected_.snapshot.now;
	incident->locks_held = count_locks(collected_, index);
	const core::Index longest = add_waiters(*incident, index);
	if (wait == core::kNone)
		wait = longest;
	if (wait != core::kNone)
		add_lock(*incident, index, wait);
	draw_chain(*incident, index);
	return incident;
}

Incident* draft_incident(int pid, TimestampTz backend_start) {
	core::Session session;
	session.pid = pid;
	session.kind = core::Kind::client;
	session.backend_start = backend_start;
	SessionDetails details = {};
	PGPROC* proc = BackendPidGetProc(pid);
	Status status;
	if (proc != nullptr && read_status(proc, pid, &status, nullptr) &&
	    status.backend_start == backend_start) {
		details.process_number = compat::number_of(proc);
		apply_status(session, details, status, false);
		read_texts(session, details.process_number, make_status_texts());
	}
	Incident* incident = record_of(session, details);
	incident->at = GetCurrentTimestamp();
	return incident;
}

} // namespace unblock::server
