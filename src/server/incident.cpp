// From a snapshot to a record.

#include "incident.h"
#include "boundary.h"
#include "held_locks.h"
#include "memory.h"
#include "settings.h"

namespace unblock::server {

namespace {

// Of a chain so many sessions get their texts, more than there is room for.
constexpr std::size_t kMostTexts = 64;
constexpr int kChainWidth = 100;

// What a session says of itself, read without a catalog. Palloc'd; nullptr: not known.
struct Texts {
	const char* role;
	const char* database;
	const char* application;
	const char* query;
};

Texts read_texts(int number, int pid, TimestampTz backend_start, const StatusTexts& room) {
	Texts texts = {};
	NameData role, database;
	SessionSlot* slot = slot_of(number, pid);
	if (slot != nullptr && copy_names(slot, pid, &role, &database)) {
		texts.role = pstrdup(NameStr(role));
		texts.database = pstrdup(NameStr(database));
	}
	Status status;
	if (read_status(compat::proc_at(number), pid, &status, &room) && status.backend_start == backend_start) {
		texts.application = pstrdup(room.application_name);
		if (settings.history_query_text)
			texts.query = pstrdup(room.query);
	}
	return texts;
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

// For tree().
void Drafts::fill_texts(core::Index index) {
	core::Session& session = collected_.sessions[index];
	if (session.kind == core::Kind::prepared)
		return;
	if (room_.query == nullptr)
		room_ = make_status_texts();
	const Texts texts =
	    read_texts(collected_.details[index].process_number, session.pid, session.backend_start, room_);
	session.usename = view(texts.role);
	session.datname = view(texts.database);
	session.application_name = view(texts.application);
	session.query = view(texts.query);
}

// The label of a lock without a catalog: OIDs, and the name of the database of a session that awaits it.
void Drafts::label_lock(core::Index index, const core::Session& waiter) {
	core::Lock& lock = collected_.locks[index];
	if (lock.label.empty())
		lock.label = lock_label(
		    only_database(waiter.database, waiter.datname.empty() ? nullptr : waiter.datname.data()),
		    collected_.tags[index]);
}

void Drafts::draw_chain(Incident& incident, core::Index session) {
	const core::WaitGraph& graph = graph_;
	const core::Index node = graph.node_of(session);
	if (chains_ == nullptr) {
		chains_ = Owned<Chain>::in(CurrentMemoryContext);
		core_phase([chains = chains_, &graph] { chains->make(core::chains(graph)); });
	}
	auto* chain = Owned<Chain>::in(CurrentMemoryContext);
	core_phase([chain, all = chains_, node] { chain->make(core::chain_of(**all, node)); });
	if ((*chain)->empty())
		return;
	for (std::size_t i = 0; i < std::min((*chain)->size(), kMostTexts); ++i)
		if (core::Index member = (**chain)[i].node;
		    collected_.sessions[member].application_name.data() == nullptr)
			fill_texts(member);
	for (const core::ChainRow& row : **chain)
		if (const core::Index wait = graph.node(row.node).waiter; wait != core::kNone)
			label_lock(collected_.waiters[wait].lock, collected_.sessions[row.node]);
	core_phase([chain, &graph, &incident] {
		constexpr std::string_view more = "...";
		const std::size_t room = sizeof(incident.chain) - more.size() - 1;
		std::string text;
		for (const std::string& line : core::tree(graph, **chain, {.unicode = false, .width = kChainWidth})) {
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

void Drafts::add_waiters(Incident& incident, core::Index session) {
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
		return;
	const core::Waiter& longest = collected_.waiters[(*waits)->front()];
	incident.longest_wait = collected_.snapshot.waited(longest);
	incident.has_lock = true;
	incident.lock = collected_.tags[longest.lock];
	incident.mode = core::mode_against(graph, session, longest, false);
	if (incident.mode == core::LockMode::none)
		incident.mode = core::mode_against(graph, session, longest, true);
}

core::Index Drafts::find(int pid, TimestampTz backend_start) const {
	const auto sessions = collected_.snapshot.sessions;
	const auto found = std::ranges::find_if(sessions, [=](const core::Session& session) {
		return session.pid == pid && session.backend_start == backend_start;
	});
	return found == sessions.end() ? core::kNone : static_cast<core::Index>(found - sessions.begin());
}

Incident* Drafts::of(core::Index index) {
	const core::Session& session = collected_.sessions[index];
	const SessionDetails& details = collected_.details[index];
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	incident->at = collected_.snapshot.now;
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
	incident->locks_held = count_locks(collected_, index);
	add_waiters(*incident, index);
	draw_chain(*incident, index);
	if (session.application_name.data() == nullptr) // it is in no chain
		fill_texts(index);
	if (details.has_status) {
		incident->query_id = details.status.query_id;
		incident->client = details.status.client;
	}
	copy_text(NameStr(incident->role_name), session.usename, NAMEDATALEN);
	copy_text(NameStr(incident->database_name), session.datname, NAMEDATALEN);
	copy_text(NameStr(incident->application), session.application_name, NAMEDATALEN);
	copy_text(incident->query, session.query, sizeof(incident->query));
	return incident;
}

Incident* draft_incident(int pid, TimestampTz backend_start) {
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	incident->at = GetCurrentTimestamp();
	incident->pid = pid;
	incident->backend_start = backend_start;
	PGPROC* proc = BackendPidGetProc(pid);
	Status status;
	if (proc == nullptr || !read_status(proc, pid, &status, nullptr) || status.backend_start != backend_start)
		return incident;
	incident->backend = core::Kind::client;
	incident->state = state_of(status);
	incident->xact_start = status.xact_start;
	incident->state_start = status.state_start;
	incident->database = status.database;
	incident->role = status.role;
	incident->query_id = status.query_id;
	incident->client = status.client;
	const Texts texts = read_texts(compat::number_of(proc), pid, backend_start, make_status_texts());
	copy_text(NameStr(incident->role_name), view(texts.role), NAMEDATALEN);
	copy_text(NameStr(incident->database_name), view(texts.database), NAMEDATALEN);
	copy_text(NameStr(incident->application), view(texts.application), NAMEDATALEN);
	copy_text(incident->query, view(texts.query), sizeof(incident->query));
	return incident;
}

} // namespace unblock::server
