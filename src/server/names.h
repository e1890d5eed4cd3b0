// Names of databases, roles and relations for reports, without ever waiting
// for a catalog: if one cannot be locked at once, the caller gets no name and
// shows the OID.
#pragma once

#include "compat.h"

namespace unblock::server {

// Which catalogs could be locked. Open, look up, close; between the two the catalogs are locked in
// AccessShareLock, which an error releases with the transaction.
struct Names {
	bool shared = false;    // databases, roles and their members
	bool relations = false; // relations of the current database
	// The one database whose name is known without a look.
	Oid known_database = InvalidOid;
	const char* known_name = nullptr;
	// The same for one relation, for places or databases whose catalogs do not tell: qualified and quoted.
	struct Relation {
		Oid oid = InvalidOid;
		const char* name = nullptr;
	};
	Relation known_relation;
};

Names open_names();
void close_names(const Names& names);

// Locks one catalog in AccessShareLock, or returns false if that would have to wait or the lock table is
// full.
bool lock_if_free(Oid catalog);

// palloc'd, or nullptr if unknown.
char* database_name(const Names& names, Oid database);
char* role_name(const Names& names, Oid role);

// Without data if unknown.
inline std::string_view view(const char* name) {
	return name == nullptr ? std::string_view() : std::string_view(name);
}

// Schema-qualified and quoted as needed; only for relations of the current database and shared ones.
char* relation_name(const Names& names, Oid database, Oid relation);

// The current user's name; the OID where the catalogs of roles cannot be read at once. Palloc'd.
char* current_role_name();

// A name from shared memory, which another process or the client wrote: itself if its bytes are text in
// this database's encoding, else "?".
const char* valid_text(const char* name);

// Makes every byte beyond ASCII '?'.
void keep_ascii(char* text);

// The same, but only if the bytes are no text in this database's encoding. Returns whether they are.
bool make_valid(char* text);

// A text that was cut at some byte, and may come from another database, made fit for this one. Palloc'd.
char* fit_text(std::string_view text);

// "public.features", quoted as needed. Palloc'd.
const char* qualified_name(std::string_view schema, std::string_view name);

// What the lock is on, readable: "relation public.features", "tuple (0,5) of public.hot", "transaction
// 742", "advisory 42". Palloc'd, never nullptr.
char* lock_label(const Names& names, const LOCKTAG& tag);

// For places where no catalog can be read: the name of one database (nullptr or empty: not known), OIDs for
// all else.
Names only_database(Oid database, const char* name);

// pg_locks.locktype of a lock.
const char* lock_type_name(const LOCKTAG& tag);

// OIDs as pg_locks shows them; InvalidOid where it shows none.
Oid lock_database(const LOCKTAG& tag);
Oid lock_relation(const LOCKTAG& tag);

// Whether pg_locks shows a database at all: that of the lock, or 0 for a shared object.
bool has_database(const LOCKTAG& tag);

} // namespace unblock::server
