// Reads /proc/PID/status.

#include "process_runs.h"

extern "C" {
#include <fcntl.h>
#include <unistd.h>
}

namespace unblock::server {

namespace {

// The number behind `label` in the text, or 0.
uint64 number_behind(const char* text, const char* label) {
	const char* found = strstr(text, label);
	return found == nullptr ? 0 : strtoull(found + strlen(label), nullptr, 10);
}

} // namespace

uint64 process_runs(int pid) {
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	const int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	char text[8192];
	const ssize_t length = read(file, text, sizeof(text) - 1);
	close(file);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	// The second label contains the first one's text: both lines must be told apart by the line's start.
	return number_behind(text, "\nvoluntary_ctxt_switches:") +
	       number_behind(text, "\nnonvoluntary_ctxt_switches:");
}

} // namespace unblock::server
