// The reason that an ended or canceled client gets to see.
//
// Whoever signals a session leaves a note in its slot. In the session itself
// an emit_log_hook finds the error that the signal leads to, claims the note,
// and adds the reason to what client and log are told.
#pragma once

#include "session_slot.h"

namespace unblock::server {

// From _PG_init, while preloading.
void install_farewell_hook();

// Leaves a copy of the note in the slot. False if there is a fresh one already: the first reason stands.
// Raises nothing, allocates nothing.
bool leave_farewell(SessionSlot* slot, const Farewell& farewell);

// Takes a note back that the session has not claimed.
void take_back_farewell(SessionSlot* slot);

// A length of time in a buffer: for people ("12.3s"), and as a setting shows it ("90s").
struct DurationText {
	char text[32];
};
DurationText duration_text(core::Micros length);
DurationText setting_text(core::Micros length);

// What a rule compares: a length of time in these two forms, or a number of transactions.
DurationText limit_text(core::Rule rule, core::Micros limit);
DurationText measured_text(core::Rule rule, core::Micros measured);

} // namespace unblock::server
