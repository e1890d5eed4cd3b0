// Texts that core may cut anywhere between two characters of UTF-8.

#include "text_snapshot.h"

namespace unblock::server {

namespace {

std::string_view ascii_only(std::string_view text) {
	char* copy = pnstrdup(text.data() == nullptr ? "" : text.data(), text.size());
	for (char* c = copy; *c != '\0'; ++c)
		if (IS_HIGHBIT_SET(*c))
			*c = '?';
	return copy;
}

} // namespace

const Collected& collect_for_texts() {
	Collected* collected = collect(Purpose::reporting);
	if (GetDatabaseEncoding() == PG_UTF8)
		return *collected;
	for (std::size_t i = 0; i < collected->snapshot.sessions.size(); ++i) {
		core::Session& session = collected->sessions[i];
		for (std::string_view* text :
		     {&session.datname, &session.usename, &session.application_name, &session.query, &session.gid})
			*text = ascii_only(*text);
	}
	for (std::size_t i = 0; i < collected->snapshot.locks.size(); ++i)
		collected->locks[i].label = ascii_only(collected->locks[i].label);
	return *collected;
}

} // namespace unblock::server
