// Thin: the ring does the work.

#include "history.h"
#include "monotonic.h"
#include "privileges.h"
#include "shared_state.h"

namespace unblock::server {

uint64 remember(const Incident& incident) {
	IncidentRing* ring = incidents();
	return ring == nullptr ? 0 : ring->add(incident);
}

bool has_share() {
	constexpr uint64 most = 100;
	const Names names = open_names();
	const bool unlimited = may_signal_others(names);
	close_names(names);
	if (unlimited)
		return true;
	constexpr int count_bits = 16;
	constexpr uint64 mask = (uint64{1} << count_bits) - 1;
	const auto minute = static_cast<uint64>(monotonic_now() / (60 * core::kSecond));
	pg_atomic_uint64& share = shared_state()->share;
	uint64 before = pg_atomic_read_u64(&share);
	for (;;) {
		const uint64 used = before >> count_bits == minute ? before & mask : 0;
		if (used >= most)
			return false;
		if (pg_atomic_compare_exchange_u64(&share, &before, minute << count_bits | (used + 1)))
			return true;
	}
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
