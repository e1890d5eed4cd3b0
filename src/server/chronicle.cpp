// Drafts, episodes, and the watch over manual actions.

#include "chronicle.h"
#include "boundary.h"
#include "log_line.h"
#include "memory.h"
#include "shared_state.h"
#include "watch_list.h"

namespace unblock::server {

namespace {

// Adds up what recording costs a turn. Plain data: an error may pass over it.
class Stopwatch {
public:
	explicit Stopwatch(Chronicle& chronicle) : sum_(chronicle.spent), start_(monotonic_now()) {
		++chronicle.records;
	}
	void stop() { sum_ += monotonic_now() - start_; }

private:
	core::Micros& sum_;
	core::Micros start_;
};

Incident::Kind kind_of(const core::Decision& decision) {
	if (decision.action == core::Action::terminate)
		return decision.dry_run ? Incident::Kind::would_terminate : Incident::Kind::terminate;
	return decision.dry_run ? Incident::Kind::would_cancel : Incident::Kind::cancel;
}

// Of one that was signalled.
core::Action action_of(const Incident& incident) {
	return terminates(incident.kind) ? core::Action::terminate : core::Action::cancel;
}

// The counter of what a rule has led to.
Counter counter_of(const Incident& incident) {
	switch (incident.kind) {
	case Incident::Kind::terminate:
		return kTerminated;
	case Incident::Kind::cancel:
		return kCancelled;
	case Incident::Kind::would_terminate:
		return kWouldTerminate;
	default:
		return kWouldCancel;
	}
}

// --- episodes ----------------------------------------------------------------------------------------

// What changes of an episode from look to look.
void follow(Incident& incident, const core::Episode& episode, core::Micros idle) {
	incident.measured = episode.blocked;
	incident.waiting = episode.waiting;
	incident.idle = std::max(incident.idle, idle);
}

// One that is seen at a look.
struct Present {
	Chronicle& chronicle;
	Drafts& drafts;
	core::Episode& episode;
	core::Index session;
	core::Micros idle;
};

Incident* draft(const Present& present) {
	Incident* incident = present.drafts.of(present.session);
	incident->kind = Incident::Kind::episode;
	incident->at = present.episode.begin;
	incident->limit = settings.report_after * core::Micros{1000};
	follow(*incident, present.episode, present.idle);
	return incident;
}

void begin_episode(const Present& present) {
	Stopwatch recording(present.chronicle);
	const Incident* incident = draft(present);
	present.episode.record = remember(*incident);
	recording.stop();
	count(kEpisodes);
	log_episode_begin(*incident, present.episode.record);
}

// The chain at its peak.
void grow_episode(const Present& present) {
	if (present.episode.record == 0)
		return;
	Stopwatch recording(present.chronicle);
	const Incident* incident = draft(present);
	incidents()->change(present.episode.record, false, [incident](Incident& recorded) {
		const core::Micros idle_before = recorded.idle;
		const core::Micros limit = recorded.limit;
		recorded = *incident;
		recorded.idle = std::max(recorded.idle, idle_before);
		recorded.limit = limit;
	});
	recording.stop();
}

// The table gets it with its next change.
void follow_episode(const Present& present) {
	if (present.episode.record != 0)
		incidents()->change(present.episode.record, true, [&present](Incident& recorded) {
			follow(recorded, present.episode, present.idle);
		});
}

Incident::Outcome outcome_of(const core::Episode& episode) {
	if (!episode.told)
		return Incident::Outcome::by_itself;
	return *episode.told == core::Action::terminate ? Incident::Outcome::terminated
	                                                : Incident::Outcome::canceled;
}

void end_episode(Chronicle& chronicle, const core::Episode& episode) {
	Stopwatch recording(chronicle);
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	incident->pid = episode.pid;
	incident->xid = episode.xid;
	incident->blocked = episode.peak;
	const auto end = [&episode](Incident& recorded) {
		follow(recorded, episode, 0);
		recorded.ended_at = episode.end;
		recorded.outcome = outcome_of(episode);
		recorded.took = episode.blocked;
	};
	end(*incident);
	// Its record may have made way for others since.
	if (episode.record != 0)
		incidents()->change(episode.record, false, [incident, &end](Incident& recorded) {
			end(recorded);
			*incident = recorded;
		});
	recording.stop();
	log_episode_end(*incident, episode.record);
}

// --- a previous life ---------------------------------------------------------------------------------

// The session in its transaction, as far as core tells these apart.
core::Session session_of(const Incident& incident) {
	core::Session session;
	session.pid = incident.pid;
	session.backend_start = incident.backend_start;
	session.state = incident.state;
	session.state_start = incident.state_start;
	session.xact_start = incident.xact_start;
	session.local_xid = incident.local_xid;
	session.xid = incident.xid;
	return session;
}

void resume_episode(Chronicle& chronicle, const Incident& incident, uint64 number) {
	core::Episode episode;
	episode.pid = incident.pid;
	episode.backend_start = incident.backend_start;
	episode.transaction = core::transaction_of(session_of(incident));
	episode.local_xid = incident.local_xid;
	episode.xid = incident.xid;
	episode.begin = incident.at;
	episode.blocked = incident.measured;
	episode.waiting = incident.waiting;
	episode.peak = incident.blocked;
	episode.record = number;
	core_phase([&chronicle, &episode] { chronicle.episodes.resume(episode); });
}

void resume_incident(Chronicle& chronicle, core::Policy& policy, const Incident& incident, uint64 number) {
	const bool open =
	    incident.outcome == Incident::Outcome::unknown || incident.outcome == Incident::Outcome::still_there;
	if (!open)
		return;
	if (incident.kind == Incident::Kind::episode)
		resume_episode(chronicle, incident, number);
	if (incident.kind < Incident::Kind::episode)
		watch(incident, number);
	if (is_dry_run(incident.kind)) {
		const core::Session session = session_of(incident);
		core_phase([&policy, &session, &incident] { policy.resume_reported(session, incident.rule); });
	}
}

} // namespace

void resume(Chronicle& chronicle, core::Policy& policy) {
	const IncidentRing& ring = *incidents();
	ring.warm_up();
	const uint64 newest = ring.newest();
	chronicle.adopted = newest;
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	for (uint64 i = 0; i < std::min<uint64>(newest, ring.size()); ++i) {
		const uint64 expected = newest - i;
		const uint64 found = IncidentRing::number(ring.read(ring.index_of(expected), *incident));
		if (found < expected)
			core_phase([&chronicle, expected] { chronicle.late.push_back(expected); });
		if (found != 0 && found <= newest)
			resume_incident(chronicle, policy, *incident, found);
	}
	pfree(incident);
}

// A session that has signalled another may be stopped before it has written its record.
void adopt_manual_actions(Chronicle& chronicle) {
	const IncidentRing& ring = *incidents();
	const uint64 newest = ring.newest();
	if (chronicle.adopted == newest && chronicle.late.empty())
		return;
	const uint64 replaced = newest > ring.size() ? newest - ring.size() : 0;
	core_phase([&chronicle, newest, replaced] {
		for (uint64 number = std::max(chronicle.adopted, replaced) + 1; number <= newest; ++number)
			chronicle.late.push_back(number);
	});
	chronicle.adopted = newest;
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	std::erase_if(chronicle.late, [&](uint64 number) {
		const uint64 found = IncidentRing::number(ring.read(ring.index_of(number), *incident));
		if (found < number)
			return number <= replaced;
		if (found == number && is_manual(incident->kind)) {
			watch(*incident, number);
			chronicle.episodes.told(incident->pid, incident->backend_start, action_of(*incident));
		}
		return true;
	});
}

bool wait_for_word(Chronicle& chronicle) {
	constexpr core::Micros longest = core::kSecond;
	const bool signalling = pg_atomic_read_u32(&shared_state()->signalling) != 0;
	pg_read_barrier();
	adopt_manual_actions(chronicle);
	if (!signalling) {
		chronicle.waits_since = 0;
		return false;
	}
	if (chronicle.waits_since == 0)
		chronicle.waits_since = monotonic_now();
	return monotonic_now() - chronicle.waits_since < longest;
}

Incident* draft_incident(Chronicle& chronicle, const core::Policy& policy, Drafts& drafts,
                         const core::Decision& decision, const Farewell& farewell) {
	Stopwatch recording(chronicle);
	const core::Session& session = drafts.session(decision.session);
	Incident* incident = drafts.of(decision.session, decision.waiter);
	incident->kind = kind_of(decision);
	incident->has_rule = true;
	incident->rule = decision.rule;
	incident->limit = decision.limit;
	incident->measured = decision.measured;
	incident->preempting = farewell.preempting;
	if (farewell.has_lock)
		incident->mode = farewell.mode;
	if (const core::Episode* episode = chronicle.episodes.of(session))
		incident->waiting = episode->waiting;
	incident->idle = policy.counted(session).sum;
	recording.stop();
	return incident;
}

void keep(Chronicle& chronicle, const Incident& incident, const char* line) {
	Stopwatch recording(chronicle);
	const uint64 number = remember(incident);
	if (!is_dry_run(incident.kind))
		chronicle.episodes.told(incident.pid, incident.backend_start, action_of(incident));
	recording.stop();
	count(counter_of(incident));
	count_by_rule(incident.rule, counter_of(incident));
	watch(incident, number);
	log_action(line, number);
}

void tell_episodes(Chronicle& chronicle, const core::Policy& policy, Drafts& drafts,
                   const core::Episodes::Look& look) {
	for (const core::Episodes::Change& change : look.changes) {
		if (change.what == core::Episodes::What::ends) {
			end_episode(chronicle, *change.episode);
			continue;
		}
		const core::Micros idle = policy.counted(drafts.session(change.session)).sum;
		const Present present = {chronicle, drafts, *change.episode, change.session, idle};
		switch (change.what) {
		case core::Episodes::What::begins:
			begin_episode(present);
			break;
		case core::Episodes::What::grows:
			grow_episode(present);
			break;
		default:
			follow_episode(present);
			break;
		}
	}
}

void record_fuse() {
	auto* incident = allocate<Incident>(1, MCXT_ALLOC_ZERO);
	incident->kind = Incident::Kind::fuse;
	incident->at = GetCurrentTimestamp();
	incident->limit = settings.max_actions_per_minute;
	remember(*incident);
}

} // namespace unblock::server
