// Texts that core may cut anywhere between two characters of UTF-8.

#include "text_snapshot.h"
#include "names.h"

namespace unblock::server {

std::string_view text_for_core(std::string_view text) {
	if (GetDatabaseEncoding() == PG_UTF8 || text.data() == nullptr)
		return text;
	char* copy = pnstrdup(text.data(), text.size());
	keep_ascii(copy);
	return copy;
}

void fit_for_core(Collected& collected) {
	for (std::size_t i = 0; i < collected.snapshot.sessions.size(); ++i) {
		core::Session& session = collected.sessions[i];
		for (std::string_view* text :
		     {&session.datname, &session.usename, &session.application_name, &session.query})
			*text = text_for_core(*text);
	}
	for (std::size_t i = 0; i < collected.snapshot.locks.size(); ++i)
		collected.locks[i].label = text_for_core(collected.locks[i].label);
}

void fit_gids_for_core(Collected& collected) {
	for (std::size_t i = 0; i < collected.snapshot.sessions.size(); ++i)
		collected.sessions[i].gid = text_for_core(collected.sessions[i].gid);
}

const Collected& collect_for_texts() {
	Collected* collected = collect(Purpose::reporting);
	fit_for_core(*collected);
	fit_gids_for_core(*collected);
	return *collected;
}

} // namespace unblock::server
