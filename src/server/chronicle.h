// What the enforcer writes into the history: its decisions, blocking episodes, and what came of both.
#pragma once

#include "farewell.h"
#include "history.h"

#include <vector>

namespace unblock::server {

// What lives from turn to turn, in C++.
struct Chronicle {
	core::Episodes episodes;
	uint64 adopted = 0;           // the newest incident that was looked at, see adopt_manual_actions()
	std::vector<uint64> late;     // older ones that were not in their place yet
	core::Micros waits_since = 0; // for the word of a role that is signalling; monotonic, 0: it does not
	int records = 0;              // drafted, added or ended in this turn
	core::Micros spent = 0;       // on them
};

// At the start: goes on with what a previous life of the enforcer has left open. Nor is a dry run told of
// again.
void resume(Chronicle& chronicle, core::Policy& policy);

// Watches those that a role has signalled since the last turn.
void adopt_manual_actions(Chronicle& chronicle);

// After a snapshot: takes in what roles have done until then. Whether one of them is about to tell of more.
// It is not waited for if it takes long: its process may have been stopped.
bool wait_for_word(Chronicle& chronicle);

// The record of a decision, before it is carried out. Palloc'd.
Incident* draft_incident(Chronicle& chronicle, const core::Policy& policy, Drafts& drafts,
                         const core::Decision& decision, const Farewell& farewell);

// Adds it when it has been carried out: to the history, to the log as `line`, to the counters of its rule,
// and to those who are watched.
void keep(Chronicle& chronicle, const Incident& incident, const char* line);

// Begins, follows and ends the records of episodes.
void tell_episodes(Chronicle& chronicle, const core::Policy& policy, Drafts& drafts,
                   const core::Episodes::Look& look);

// That the fuse has blown.
void record_fuse();

} // namespace unblock::server
