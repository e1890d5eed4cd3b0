// How much earlier or later than expected something has to be done so that it
// is in time half the time: whoever was late makes all go a little earlier,
// whoever was in time a little later. So races stay close on a busy machine.
#pragma once

#include "clock.h"

#include <algorithm>

namespace unblock::stress {

class Correction {
public:
	Correction(Micros step, Micros least, Micros most) : step_(step), least_(least), most_(most) {}

	void learn(bool late) { value_ = std::clamp(value_ + (late ? -step_ : step_), least_, most_); }
	Micros value() const { return value_; }

private:
	Micros step_;
	Micros least_;
	Micros most_;
	Micros value_ = 0;
};

} // namespace unblock::stress
