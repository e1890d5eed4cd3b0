// What the runs print: lines that begin with "ok" or "not ok", and figures
// behind a "#".
#pragma once

#include "clock.h"

#include <string>
#include <vector>

namespace unblock::stress {

class Report {
public:
	// Problems make it "not ok"; the first ones are shown.
	void check(const std::string& what, const std::vector<std::string>& problems);
	void check_enough(const std::string& what, std::size_t count, std::size_t least);
	void figure(const std::string& text);
	void distribution(const std::string& what, std::vector<Micros> lengths);

	bool good() const { return good_; }

private:
	bool good_ = true;
};

// In milliseconds, "1000.3 ms".
std::string milliseconds(Micros length);

} // namespace unblock::stress
