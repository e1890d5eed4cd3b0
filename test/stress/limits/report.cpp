// Lines in the manner of TAP.

#include "report.h"

#include <algorithm>
#include <cstdio>

namespace unblock::stress {

namespace {

constexpr std::size_t kProblemsShown = 5;

void print(const std::string& line) {
	std::puts(line.c_str());
	std::fflush(stdout);
}

} // namespace

std::string milliseconds(Micros length) {
	char text[32];
	std::snprintf(text, sizeof(text), "%.1f ms", static_cast<double>(length) / kMillisecond);
	return text;
}

void Report::check(const std::string& what, const std::vector<std::string>& problems) {
	print((problems.empty() ? "ok - " : "not ok - ") + what);
	for (std::size_t i = 0; i < std::min(problems.size(), kProblemsShown); ++i)
		print("#   " + problems[i]);
	if (problems.size() > kProblemsShown)
		print("#   and " + std::to_string(problems.size() - kProblemsShown) + " more");
	good_ = good_ && problems.empty();
}

void Report::check_enough(const std::string& what, std::size_t count, std::size_t least) {
	std::vector<std::string> problems;
	if (count < least)
		problems.push_back("less than " + std::to_string(least) + " prove nothing");
	check(what + ": " + std::to_string(count), problems);
}

void Report::figure(const std::string& text) {
	print("# " + text);
}

void Report::distribution(const std::string& what, std::vector<Micros> lengths) {
	if (lengths.empty()) {
		figure(what + ": none");
		return;
	}
	std::ranges::sort(lengths);
	const auto at = [&](std::size_t percent) {
		return milliseconds(lengths[(lengths.size() - 1) * percent / 100]);
	};
	figure(what + ": " + std::to_string(lengths.size()) + ", min " + at(0) + ", median " + at(50) +
	       ", 90 % " + at(90) + ", 99 % " + at(99) + ", max " + at(100));
}

} // namespace unblock::stress
