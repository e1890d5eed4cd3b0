// Options, both modes, the exit status.

#include "commit_race.h"
#include "never_early.h"

#include <getopt.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

namespace {

using namespace unblock::stress;

struct Options {
	std::uint64_t seconds = 30;
	std::uint64_t races = 10000;
	std::uint64_t seed = static_cast<std::uint64_t>(now()) / 1000 % 1'000'000'000;
	std::string log;
};

[[noreturn]] void usage() {
	std::fputs("usage: limits --log FILE [--seconds N] [--races N] [--seed N]\n"
	           "The environment points at the server. 0 seconds or races: not that mode.\n",
	           stderr);
	std::exit(2);
}

std::uint64_t number(const char* text) {
	std::uint64_t value = 0;
	const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
	if (error != std::errc() || *end != '\0')
		usage();
	return value;
}

Options parse(int argc, char** argv) {
	constexpr option known[] = {{"seconds", required_argument, nullptr, 's'},
	                            {"races", required_argument, nullptr, 'r'},
	                            {"seed", required_argument, nullptr, 'S'},
	                            {"log", required_argument, nullptr, 'l'},
	                            {nullptr, 0, nullptr, 0}};
	Options options;
	for (int name; (name = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
		switch (name) {
		case 's':
			options.seconds = number(optarg);
			break;
		case 'r':
			options.races = number(optarg);
			break;
		case 'S':
			options.seed = number(optarg);
			break;
		case 'l':
			options.log = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind != argc || options.log.empty())
		usage();
	return options;
}

// It may be adjusted a little all the time. If it was set, that may be why sessions were ended early by it.
void show_clock_step(Micros lead_before, Micros length, Report& report) {
	const Micros step = wall_clock_lead() - lead_before;
	if (std::abs(step) > kMillisecond + length / 1000)
		report.figure("the system's clock was set meanwhile, by " + milliseconds(step));
}

void run(const Options& options, Report& report) {
	const Micros start = now();
	const Micros lead = wall_clock_lead();
	if (options.seconds > 0)
		run_never_early(static_cast<Micros>(options.seconds) * kSecond, options.seed, options.log, report);
	if (options.races > 0)
		run_commit_race(static_cast<int>(options.races), options.seed, options.log, report);
	show_clock_step(lead, now() - start, report);
}

} // namespace

int main(int argc, char** argv) {
	const Options options = parse(argc, argv);
	Report report;
	report.figure("--seed " + std::to_string(options.seed) + " --seconds " + std::to_string(options.seconds) +
	              " --races " + std::to_string(options.races));
	std::signal(SIGPIPE, SIG_IGN);
	try {
		run(options, report);
	} catch (const std::exception& error) {
		report.check("the run to its end", {error.what()});
	}
	return report.good() ? 0 : 1;
}
