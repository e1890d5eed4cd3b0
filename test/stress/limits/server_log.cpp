// key=value pairs of log lines.

#include "server_log.h"

#include <cmath>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace unblock::stress {

namespace {

constexpr Micros kPatienceWithLog = 10 * kSecond;

// The value of the first pair with this key; quoted ones without escapes only.
std::string value_of(const std::string& line, const std::string& key) {
	const std::size_t found = line.find(" " + key + "=");
	if (found == std::string::npos)
		return "";
	std::size_t begin = found + key.size() + 2;
	char end = ' ';
	if (line[begin] == '"') {
		++begin;
		end = '"';
	}
	return line.substr(begin, line.find(end, begin) - begin);
}

LogLine parse(const std::string& line) {
	LogLine result = {};
	result.written = std::llround(std::stod(line) * static_cast<double>(kSecond));
	result.action = value_of(line, "action");
	result.rule = value_of(line, "rule");
	result.limit = value_of(line, "limit");
	result.xact_start = value_of(line, "xact_start");
	const std::string pid = value_of(line, "pid");
	result.pid = pid.empty() ? 0 : std::stoi(pid);
	result.text = line.substr(0, line.find(" user="));
	return result;
}

} // namespace

ServerLog::ServerLog(const std::string& path) : path_(path) {
	std::ifstream file(path, std::ios::ate);
	if (!file)
		throw std::runtime_error("could not open the server's log " + path);
	start_ = file.tellg();
}

std::vector<LogLine> ServerLog::read() const {
	std::ifstream file(path_);
	file.seekg(start_);
	std::vector<LogLine> lines;
	std::string line;
	while (std::getline(file, line) && !file.eof()) // the last one may not be complete
		if (line.find(" LOG:  pg_unblock: action=") != std::string::npos)
			lines.push_back(parse(line));
	return lines;
}

std::vector<LogLine> ServerLog::actions(std::size_t expected) const {
	const Micros deadline = now() + kPatienceWithLog;
	for (;;) {
		std::vector<LogLine> lines = read();
		if (lines.size() >= expected || now() > deadline)
			return lines;
		std::this_thread::sleep_for(std::chrono::milliseconds(20));
	}
}

} // namespace unblock::stress
