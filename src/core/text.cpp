// Writes short texts, and knows of Unicode as much as one line of a terminal needs.
#include "text.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "fence.h"

namespace unblock::core {

namespace {

struct Range {
	char32_t first, last;
};

// Characters without a width of their own: combining marks, joiners, variation selectors.
constexpr Range kZeroWidth[] = {
    {0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD},   {0x0610, 0x061A}, {0x064B, 0x065F},
    {0x0900, 0x0902}, {0x0941, 0x0948}, {0x094D, 0x094D},   {0x0E31, 0x0E31}, {0x0E34, 0x0E3A},
    {0x0E47, 0x0E4E}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},   {0x200B, 0x200D}, {0x20D0, 0x20FF},
    {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xE0100, 0xE01EF},
};

// Characters that take two columns: Chinese, Japanese, Korean, full-width forms, pictures.
constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},   {0xA960, 0xA97F},   {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},   {0x1F300, 0x1F64F},
    {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD},
};

// What a terminal would obey instead of show: controls, line and paragraph separators, and the marks that
// turn the direction of writing, with which a statement could pretend to be another one.
constexpr Range kControls[] = {
    {0x0000, 0x001F}, {0x007F, 0x009F}, {0x061C, 0x061C}, {0x200E, 0x200F},
    {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFEFF, 0xFEFF}, {0xFFFE, 0xFFFF},
};

template <std::size_t N>
bool among(char32_t code, const Range (&ranges)[N]) noexcept {
	const Range* after = std::upper_bound(std::begin(ranges), std::end(ranges), code,
	                                      [](char32_t c, const Range& range) { return c < range.first; });
	return after != std::begin(ranges) && code <= std::prev(after)->last;
}

constexpr char32_t kInvalid = 0xFFFFFFFF;

struct Character {
	char32_t code = kInvalid;
	std::size_t bytes = 1;
};

// The first character of a text that is not empty; a byte that starts none stands for itself, invalid.
Character first_character(std::string_view text) noexcept {
	const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
	const unsigned lead = byte(0);
	if (lead < 0x80)
		return {lead, 1};
	if (lead < 0xC0 || lead >= 0xF8)
		return {};
	const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
	if (text.size() < length)
		return {};
	char32_t code = lead & (0x7FU >> length);
	for (std::size_t i = 1; i < length; ++i) {
		if ((byte(i) & 0xC0U) != 0x80)
			return {};
		code = code << 6 | (byte(i) & 0x3FU);
	}
	constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
	const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
	if (code < kSmallest[length] || surrogate || code > 0x10FFFF)
		return {};
	return {code, length};
}

std::size_t width_of(char32_t code) noexcept {
	if (code < 0x0300 || code == kInvalid)
		return 1;
	return among(code, kZeroWidth) ? 0 : among(code, kWide) ? 2 : 1;
}

// ASCII that shows: most of what there is, and needs no look into the tables.
constexpr bool is_plain(char32_t code) noexcept {
	return code > ' ' && code < 0x7F;
}

// The length of what a text begins with that one_line() takes as it is: ASCII that shows, and single spaces
// within it.
std::size_t plain_run(std::string_view text) noexcept {
	const auto plain = [text](std::size_t i) {
		return i < text.size() && is_plain(static_cast<unsigned char>(text[i]));
	};
	std::size_t length = 0;
	while (plain(length) || (length > 0 && plain(length + 1) && text[length] == ' '))
		++length;
	return length;
}

bool separates(char32_t code) noexcept {
	return code == ' ' || code == 0x00A0 || code == 0x3000 || among(code, kControls);
}

std::string for_time_since(Time start, Time now) {
	return start == 0 ? std::string() : " for " + duration(now - start);
}

std::string client_activity(const Session& session, Time now) {
	switch (session.state) {
	case State::idle_in_transaction:
		return "idle in transaction" + for_time_since(session.idle_since, now);
	case State::idle_in_transaction_aborted:
		return "idle in transaction (aborted)" + for_time_since(session.idle_since, now);
	case State::idle:
		return "idle" + for_time_since(session.idle_since, now) + ", holds session-level locks";
	case State::fastpath:
		return "function call" + for_time_since(session.query_start, now);
	case State::active:
		break;
	case State::unknown:
	case State::disabled:
		return "state not known";
	}
	std::string text = "active" + for_time_since(session.query_start, now);
	if (session.wait == Wait::client_read || session.wait == Wait::client_write)
		text += ", waits for its client";
	else if (session.wait == Wait::sync_rep)
		text += ", waits for a standby";
	return text;
}

std::string prepared_activity(const Session& session, Time now) {
	std::string text = "prepared transaction";
	if (!session.gid.empty())
		text += " '" + one_line(session.gid, 40) + "'";
	else if (session.xid != 0)
		text += " " + std::to_string(session.xid);
	if (session.xact_start != 0)
		text += ", " + duration(now - session.xact_start) + " old";
	return text;
}

} // namespace

std::string duration(Micros length) {
	const auto ms = static_cast<long long>(std::max<Micros>(length, 0) / 1000);
	const long long seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60;
	const auto text = [](long long number) { return std::to_string(number); };
	const auto two_digits = [&text](long long number) { return (number < 10 ? "0" : "") + text(number); };
	if (seconds < 1)
		return text(ms) + "ms";
	if (minutes < 1)
		return text(seconds) + "." + text(ms % 1000 / 100) + "s";
	if (hours < 1)
		return text(minutes) + "min " + two_digits(seconds % 60) + "s";
	if (hours < 24)
		return text(hours) + "h " + two_digits(minutes % 60) + "min";
	return text(hours / 24) + "d " + two_digits(hours % 24) + "h";
}

std::string exact_duration(Micros length) {
	struct Unit {
		Micros length;
		const char* name;
	};
	constexpr Unit units[] = {
	    {86400 * kSecond, "d"}, {3600 * kSecond, "h"}, {60 * kSecond, "min"}, {kSecond, "s"}, {1000, "ms"}};
	for (const Unit& unit : units)
		if (length != 0 && length % unit.length == 0)
			return std::to_string(length / unit.length).append(unit.name);
	return length == 0 ? "0" : std::to_string(length).append("us");
}

std::string one_line(std::string_view text, std::size_t columns, std::string_view ellipsis) {
	std::size_t ellipsis_width = display_width(ellipsis);
	if (ellipsis_width > columns) {
		ellipsis = {};
		ellipsis_width = 0;
	}
	std::string line;
	line.reserve(std::min(text.size(), columns));
	std::size_t width = 0;
	const std::size_t room = columns - ellipsis_width;
	std::size_t cut = 0; // where the line has to end if an ellipsis follows, or one space later
	bool space = false;
	while (!text.empty()) {
		const Character next = first_character(text);
		const std::string_view bytes = text.substr(0, next.bytes);
		text.remove_prefix(next.bytes);
		if (!is_plain(next.code) && next.code != kInvalid && separates(next.code)) {
			space = !line.empty();
			continue;
		}
		const std::size_t more = width_of(next.code) + (space ? 1 : 0);
		if (more > columns - width) {
			line.resize(cut);
			if (line.ends_with(' '))
				line.pop_back();
			line += ellipsis;
			break;
		}
		if (space)
			line += ' ';
		line += next.code == kInvalid ? std::string_view("?") : bytes;
		width += more;
		space = false;
		const std::size_t run = std::min(plain_run(text), columns - width);
		line += text.substr(0, run);
		text.remove_prefix(run);
		width += run;
		if (width - run <= room)
			cut = line.size() - (width > room ? width - room : 0);
	}
	return line;
}

std::size_t display_width(std::string_view text) noexcept {
	std::size_t width = 0;
	while (!text.empty()) {
		const std::size_t run = plain_run(text);
		width += run;
		text.remove_prefix(run);
		if (text.empty())
			break;
		const Character next = first_character(text);
		width += width_of(next.code);
		text.remove_prefix(next.bytes);
	}
	return width;
}

std::string quote_literal(std::string_view text) {
	// As the server's quote_literal(), the E form only where it is needed; line breaks need it as well.
	std::string literal = text.find_first_of("\\\n\r") == std::string_view::npos ? "'" : "E'";
	for (const char c : text) {
		if (c == '\n' || c == '\r') {
			literal += c == '\n' ? "\\n" : "\\r";
			continue;
		}
		if (c == '\'' || c == '\\')
			literal += c;
		literal += c;
	}
	literal += '\'';
	return literal;
}

std::string who(const Session& session) {
	std::string text(session.usename);
	if (!session.datname.empty())
		text.append(text.empty() ? "" : "@").append(session.datname);
	if (!session.masked && !session.application_name.empty())
		text.append(text.empty() ? "(" : " (").append(session.application_name).append(")");
	return one_line(text);
}

std::string reference(const Session& session) {
	return session.kind == Kind::prepared ? "a prepared transaction" : std::to_string(session.pid);
}

std::string activity(const Session& session, Time now) {
	if (session.kind == Kind::prepared)
		return session.masked ? std::string(kind_in_words(session.kind)) : prepared_activity(session, now);
	if (session.masked)
		return {};
	switch (session.kind) {
	case Kind::client:
		return client_activity(session, now);
	case Kind::autovacuum:
		return std::string(kind_in_words(session.kind)) + for_time_since(session.query_start, now);
	default:
		return std::string(kind_in_words(session.kind));
	}
}

std::string wait_time(const Session& session, const Waiter& wait, Time now) {
	return session.masked || wait.wait_start == 0 ? std::string() : " " + duration(now - wait.wait_start);
}

std::string_view kind_in_words(Kind kind) noexcept {
	switch (kind) {
	case Kind::client:
		break;
	case Kind::worker:
		return "parallel worker";
	case Kind::autovacuum:
		return "autovacuum";
	case Kind::walsender:
		return "walsender";
	case Kind::startup:
		return "startup process";
	case Kind::background:
		return "background process";
	case Kind::prepared:
		return "prepared transaction";
	case Kind::unknown:
		return "starting up";
	}
	return {};
}

} // namespace unblock::core
