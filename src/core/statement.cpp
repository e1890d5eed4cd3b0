// Finds the statements of a query string and reads their first words.
#include "statement.h"

#include "text.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "fence.h"

namespace unblock::core {

namespace {

// track_activity_query_size can be 1 MB, and a report looks at the statements of all who wait.
constexpr std::size_t kMostRead = 16 * 1024;

bool is_digit(char c) noexcept {
	return c >= '0' && c <= '9';
}

bool begins_word(char c) noexcept {
	const char l = lower(c);
	return (l >= 'a' && l <= 'z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

bool continues_word(char c) noexcept {
	return begins_word(c) || is_digit(c) || c == '$';
}

// Reads a query token by token: words, quoted texts, and single characters for all else. Every call takes at
// least one character, so that a query is read once. A text that is cut off inside quotes ends there.
class Tokens {
public:
	explicit Tokens(std::string_view text) noexcept : text_(text) {}

	// Takes the next word if it is this one (in lower case).
	bool take(std::string_view word) noexcept {
		skip_blank();
		if (word_length() != word.size() || !std::equal(word.begin(), word.end(), text_.begin(),
		                                                [](char w, char c) { return w == lower(c); }))
			return false;
		drop(word.size());
		return true;
	}

	// Takes one character if it is the next token.
	bool take(char c) noexcept {
		skip_blank();
		if (text_.empty() || text_.front() != c)
			return false;
		drop(1);
		return true;
	}

	// Passes over a token. False at the end.
	bool skip() noexcept {
		skip_blank();
		if (text_.empty())
			return false;
		const char first = text_.front();
		if (first == '\'' || first == '"')
			skip_quoted(first, false);
		else if (first == '$')
			skip_dollar();
		else
			skip_word();
		return true;
	}

	// Passes over the rest of this statement and its semicolon. False at the end.
	bool next_statement() noexcept {
		while (!take(';'))
			if (!skip())
				return false;
		return true;
	}

private:
	void drop(std::size_t length) noexcept { text_.remove_prefix(std::min(length, text_.size())); }

	std::size_t word_length() const noexcept {
		if (text_.empty() || !begins_word(text_.front()))
			return 0;
		return static_cast<std::size_t>(std::find_if_not(text_.begin(), text_.end(), continues_word) -
		                                text_.begin());
	}

	// A word, or the one character that begins none. E'…' knows backslashes.
	void skip_word() noexcept {
		const std::size_t length = word_length();
		const bool escapes = length == 1 && lower(text_.front()) == 'e';
		drop(std::max<std::size_t>(length, 1));
		if (escapes && text_.starts_with('\''))
			skip_quoted('\'', true);
	}

	// A doubled quote ends one text and begins the next: that comes to the same.
	void skip_quoted(char quote, bool escapes) noexcept {
		std::size_t at = 1;
		while (at < text_.size() && text_[at] != quote)
			at += escapes && text_[at] == '\\' ? 2 : 1;
		drop(at + 1);
	}

	// $$…$$ or $tag$…$tag$; a parameter ($1) is none.
	void skip_dollar() noexcept {
		std::size_t at = 1;
		while (at < text_.size() && (begins_word(text_[at]) || is_digit(text_[at])))
			++at;
		if (at >= text_.size() || text_[at] != '$') {
			drop(1);
			return;
		}
		const std::string_view tag = text_.substr(0, at + 1);
		drop(tag.size());
		const std::size_t end = text_.find(tag);
		drop(end == std::string_view::npos ? text_.size() : end + tag.size());
	}

	void skip_blank() noexcept {
		for (;;) {
			drop(text_.find_first_not_of(" \t\n\r\f\v"));
			if (text_.starts_with("--"))
				drop(text_.find_first_of("\n\r"));
			else if (text_.starts_with("/*"))
				skip_comment();
			else
				return;
		}
	}

	// Comments nest in SQL.
	void skip_comment() noexcept {
		int depth = 0;
		std::size_t at = 0;
		do {
			const std::string_view two = text_.substr(at, 2);
			if (two == "/*")
				++depth;
			else if (two == "*/")
				--depth;
			at += two == "/*" || two == "*/" ? 2 : 1;
		} while (depth > 0 && at < text_.size());
		drop(at);
	}

	std::string_view text_;
};

bool vacuum_is_full(Tokens tokens) noexcept {
	if (tokens.take("full"))
		return true;
	if (!tokens.take('('))
		return false;
	do {
		if (tokens.take("full"))
			return true;
	} while (!tokens.take(')') && tokens.skip());
	return false;
}

// LOCK [TABLE] names [IN mode MODE]. Modes below SHARE are for those who read or write rows: pg_dump takes
// the weakest. Behind a dot even a reserved word is a name.
bool locks_strongly(Tokens tokens, LockMode awaited) noexcept {
	while (!tokens.take("in")) {
		tokens.take('.');
		if (tokens.take(';') || !tokens.skip())
			return awaited == LockMode::none || awaited >= LockMode::share;
	}
	if (tokens.take("access"))
		return tokens.take("exclusive");
	if (tokens.take("share"))
		return !tokens.take("update");
	return tokens.take("exclusive");
}

bool begins_migration(Tokens tokens, LockMode awaited) noexcept {
	constexpr std::array<std::string_view, 13> kFirstWords = {
	    "alter",   "create",  "drop",  "truncate", "reindex", "cluster", "repack",
	    "refresh", "comment", "grant", "revoke",   "import",  "reassign"};
	const auto takes = [&tokens](std::string_view word) { return tokens.take(word); };
	if (std::ranges::any_of(kFirstWords, takes))
		return true;
	if (tokens.take("lock"))
		return locks_strongly(tokens, awaited);
	if (tokens.take("security"))
		return tokens.take("label");
	return tokens.take("vacuum") && vacuum_is_full(tokens);
}

} // namespace

bool is_migration(const Session& session, LockMode awaited) noexcept {
	if (session.masked)
		return false;
	Tokens tokens(session.query.substr(0, kMostRead));
	do {
		if (begins_migration(tokens, awaited))
			return true;
	} while (tokens.next_statement());
	return false;
}

} // namespace unblock::core
