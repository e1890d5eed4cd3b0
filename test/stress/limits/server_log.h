// The enforcer's lines in the server's log.
#pragma once

#include "clock.h"

#include <string>
#include <vector>

namespace unblock::stress {

// "pg_unblock: action=… rule=… …" behind a prefix that begins with %n.
struct LogLine {
	Micros written; // cut to milliseconds by the server
	std::string action;
	std::string rule;
	std::string limit;
	std::string xact_start;
	int pid = 0;
	std::string text; // without what it says of the session
};

class ServerLog {
public:
	// From its present end on.
	explicit ServerLog(const std::string& path);

	// The lines so far. A session's end can be seen before its line is written: waits until there are so
	// many, but not for ever.
	std::vector<LogLine> actions(std::size_t expected) const;

private:
	std::vector<LogLine> read() const;

	std::string path_;
	std::streamoff start_;
};

} // namespace unblock::stress
