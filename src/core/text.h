// Short texts for people, shared by all reports: lengths of time, names of sessions, and what a session
// does; and foreign text (statements, names) made fit for one line of a terminal.
#pragma once

#include "snapshot.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace unblock::core {

// A length of time for people: "250ms", "12.3s", "4min 05s", "3h 02min", "2d 04h". Never rounded up.
// Negative reads as 0.
std::string duration(Micros length);

// A setting's length of time, exact, in the largest unit that fits: "100ms", "5s", "90s", "2h", "1d".
std::string exact_duration(Micros length);

// Of ASCII letters; every other byte is left as it is.
constexpr char lower(char c) noexcept {
	return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Foreign text on one line of at most `columns`. Runs of white space and control characters (those that
// change the direction of writing included) become one space, none at the ends; bytes that are no UTF-8
// become '?'. A longer text is cut between two characters and ends with `ellipsis`. O(text).
std::string one_line(std::string_view text, std::size_t columns = SIZE_MAX,
                     std::string_view ellipsis = "...");

// Columns of a terminal that the text takes. What is wide or has no width is taken from the larger ranges
// of Unicode's tables: a character missed here moves a cut by a column. O(text).
std::size_t display_width(std::string_view text) noexcept;

// A string constant of SQL on one line, read the same whatever standard_conforming_strings says.
std::string quote_literal(std::string_view text);

// "app@lab (features-api)" with the parts that are known; without the application where masked.
std::string who(const Session& session);

// A session inside a sentence: "4711", or "a prepared transaction", which has no pid.
std::string reference(const Session& session);

// What a session does that awaits no lock, on one line: "idle in transaction for 3h 02min", "active for
// 12.3s", "prepared transaction 'gid', 2d 04h old", "autovacuum for 1.0s". Empty where masked.
std::string activity(const Session& session, Time now);

// How long a session has been waiting, with a space in front: " 12.3s". Empty where masked, and where the
// wait has only begun.
std::string wait_time(const Session& session, const Waiter& wait, Time now);

// The kind of a process that is no client in a word or two: "autovacuum", "starting up"; else empty.
std::string_view kind_in_words(Kind kind) noexcept;

} // namespace unblock::core
