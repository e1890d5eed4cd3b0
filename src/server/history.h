// The history in shared memory: adding incidents, and what they are called.
#pragma once

#include "incident.h"

namespace unblock::server {

// Adds an incident and returns its number; 0: there is no shared memory, or no place. Raises nothing,
// allocates nothing, waits for nobody.
uint64 remember(const Incident& incident);

// Whether what the current user does is to be recorded. All roles that may end only their own sessions have a
// share of 100 incidents a minute together: one of them could make all others' give way.
bool has_share();

// An incident of a role's doing, which the enforcer is to see to: its outcome is awaited, the table gets it.
uint64 remember_manual(const Incident& incident);

// How it ended. From the enforcer alone.
void note_outcome(uint64 number, Incident::Outcome outcome, core::Micros took);

// What the names of all incidents of this life of the server begin with: "2f1a8c3d9b4e7-". Palloc'd.
char* incident_prefix();

// "2f1a8c3d9b4e7-17": unique among the lives of a server. Palloc'd; "" for number 0.
char* incident_id(uint64 number);

} // namespace unblock::server
