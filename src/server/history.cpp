// Thin: the ring does the work.

#include "history.h"
#include "shared_state.h"

namespace unblock::server {

uint64 remember(const Incident& incident) {
	IncidentRing* ring = incidents();
	return ring == nullptr ? 0 : ring->add(incident);
}

uint64 remember_manual(const Incident& incident) {
	const uint64 number = remember(incident);
	wake_enforcer();
	return number;
}

void note_outcome(uint64 number, Incident::Outcome outcome, core::Micros took) {
	if (number == 0)
		return;
	incidents()->change(number, false, [outcome, took](Incident& incident) {
		incident.outcome = outcome;
		incident.took = took;
	});
}

char* incident_prefix() {
	return psprintf("%llx-", static_cast<unsigned long long>(shared_state()->boot));
}

char* incident_id(uint64 number) {
	return number == 0 ? pstrdup("") : psprintf("%s" UINT64_FORMAT, incident_prefix(), number);
}

} // namespace unblock::server
