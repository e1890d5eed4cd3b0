// Conditional catalog look-ups, and the texts of locks.

#include "names.h"
#include "lock_table.h"

extern "C" {
#include "catalog/pg_attribute.h"
#include "catalog/pg_index.h"
}

namespace unblock::server {

// As ConditionalLockRelationOid() in lmgr.c, but that a full lock table is no error: the report may be there
// to find out who fills it.
bool lock_if_free(Oid catalog) {
	const LOCKTAG tag = relation_tag(catalog);
	LOCALLOCK* lock;
	switch (compat::acquire_if_free(tag, AccessShareLock, &lock)) {
	case LOCKACQUIRE_NOT_AVAIL:
		return false;
	case LOCKACQUIRE_ALREADY_CLEAR:
		return true;
	case LOCKACQUIRE_OK:
	case LOCKACQUIRE_ALREADY_HELD:
		break;
	}
	AcceptInvalidationMessages();
	MarkLockClear(lock);
	return true;
}

namespace {

// The catalogs that a look-up can read when no cache has the answer, with the indexes it reads them
// through. To lock an index matters as well: REINDEX locks only that exclusively. Shared catalogs are
// described in this database's pg_class, which the server reads again when something has changed there
// (relcache.c, RelationReloadNailed()).
constexpr Oid kSharedCatalogs[] = {RelationRelationId, ClassOidIndexId,      DatabaseRelationId,
                                   DatabaseOidIndexId, AuthIdRelationId,     AuthIdOidIndexId,
                                   AuthMemRelationId,  AuthMemMemRoleIndexId};
constexpr Oid kRelationCatalogs[] = {RelationRelationId,       ClassOidIndexId,     AttributeRelationId,
                                     AttributeRelidNumIndexId, NamespaceRelationId, NamespaceOidIndexId,
                                     IndexRelationId,          IndexRelidIndexId};

void unlock_all(std::span<const Oid> catalogs) {
	for (const Oid catalog : catalogs)
		UnlockRelationOid(catalog, AccessShareLock);
}

bool lock_all_or_none(std::span<const Oid> catalogs) {
	for (std::size_t i = 0; i < catalogs.size(); ++i) {
		if (!lock_if_free(catalogs[i])) {
			unlock_all(catalogs.first(i));
			return false;
		}
	}
	return true;
}

bool is_relation_lock(const LOCKTAG& tag) {
	switch (static_cast<LockTagType>(tag.locktag_type)) {
	case LOCKTAG_RELATION:
	case LOCKTAG_RELATION_EXTEND:
	case LOCKTAG_PAGE:
	case LOCKTAG_TUPLE:
		return true;
	default:
		return false;
	}
}

char* database_phrase(const Names& names, Oid database) {
	if (const char* name = database_name(names, database))
		return psprintf("database %s", quote_identifier(name));
	return psprintf("database %u", database);
}

// "relation public.features"; without a name "relation 16391 of database shop". The word "relation" is
// left out for named relations in the middle of a phrase.
char* relation_phrase(const Names& names, const LOCKTAG& tag, bool alone) {
	const Oid database = tag.locktag_field1;
	const Oid relation = tag.locktag_field2;
	if (const char* name = relation_name(names, database, relation))
		return psprintf("%s%s", alone ? "relation " : "", name);
	if (names.known_relation.name != nullptr && names.known_relation.oid == relation) {
		const char* name = names.known_relation.name;
		if (database == InvalidOid || database == names.known_database)
			return psprintf("%s%s", alone ? "relation " : "", name);
		return psprintf("%s%s of %s", alone ? "relation " : "", name, database_phrase(names, database));
	}
	if (database == InvalidOid)
		return psprintf("shared relation %u", relation);
	return psprintf("relation %u of %s", relation, database_phrase(names, database));
}

// Advisory keys as the application gave them: one bigint or two integers (lockfuncs.c,
// SET_LOCKTAG_INT64 and SET_LOCKTAG_INT32).
char* advisory_phrase(const Names& names, const LOCKTAG& tag) {
	const auto first = static_cast<int32>(tag.locktag_field2);
	const auto second = static_cast<int32>(tag.locktag_field3);
	char* key;
	if (tag.locktag_field4 == 1) {
		const uint64 high = static_cast<uint64>(tag.locktag_field2) << 32;
		key = psprintf(INT64_FORMAT, static_cast<int64>(high | tag.locktag_field3));
	} else
		key = psprintf("(%d,%d)", first, second);
	const Oid database = tag.locktag_field1;
	if (database == MyDatabaseId)
		return psprintf("advisory %s", key);
	return psprintf("advisory %s of %s", key, database_phrase(names, database));
}

char* object_phrase(const Names& names, const LOCKTAG& tag) {
	const Oid database = tag.locktag_field1;
	const Oid catalog = tag.locktag_field2;
	const Oid object = tag.locktag_field3;
	if (catalog == DatabaseRelationId)
		return database_phrase(names, object);
	if (catalog == AuthIdRelationId) {
		if (const char* name = role_name(names, object))
			return psprintf("role %s", quote_identifier(name));
		return psprintf("role %u", object);
	}
	LOCKTAG catalog_lock;
	SET_LOCKTAG_RELATION(catalog_lock, database, catalog);
	return psprintf("object %u of %s", object, relation_phrase(names, catalog_lock, false));
}

} // namespace

Names open_names() {
	Names names;
	names.shared = lock_all_or_none(kSharedCatalogs);
	names.relations = OidIsValid(MyDatabaseId) && lock_all_or_none(kRelationCatalogs);
	if (MyProcPort != nullptr) {
		names.known_database = MyDatabaseId;
		names.known_name = MyProcPort->database_name;
	}
	return names;
}

void close_names(const Names& names) {
	if (names.relations)
		unlock_all(kRelationCatalogs);
	if (names.shared)
		unlock_all(kSharedCatalogs);
}

Names only_database(Oid database, const char* name) {
	Names names;
	names.known_database = database;
	names.known_name = name == nullptr || *name == '\0' ? nullptr : name;
	return names;
}

const char* valid_text(const char* name) {
	return pg_verifymbstr(name, static_cast<int>(strlen(name)), true) ? name : "?";
}

void keep_ascii(char* text) {
	for (; *text != '\0'; ++text)
		if (IS_HIGHBIT_SET(*text))
			*text = '?';
}

bool make_valid(char* text) {
	const bool valid = pg_verifymbstr(text, static_cast<int>(strlen(text)), true);
	if (!valid)
		keep_ascii(text);
	return valid;
}

char* fit_text(std::string_view text) {
	const int length = static_cast<int>(text.size());
	char* copy = pnstrdup(text.data(), static_cast<Size>(pg_mbcliplen(text.data(), length, length)));
	make_valid(copy);
	return copy;
}

const char* qualified_name(std::string_view schema, std::string_view name) {
	return quote_qualified_identifier(pnstrdup(schema.data(), schema.size()),
	                                  pnstrdup(name.data(), name.size()));
}

// Shared catalogs have names in the encodings of the databases that they were made in.
char* database_name(const Names& names, Oid database) {
	char* name = nullptr;
	if (names.known_name != nullptr && names.known_database == database)
		name = pstrdup(names.known_name);
	else if (names.shared && OidIsValid(database))
		name = get_database_name(database);
	if (name != nullptr)
		make_valid(name);
	return name;
}

char* role_name(const Names& names, Oid role) {
	char* name = names.shared && OidIsValid(role) ? GetUserNameFromId(role, true) : nullptr;
	if (name != nullptr)
		make_valid(name);
	return name;
}

char* current_role_name() {
	Names names;
	names.shared = lock_all_or_none(kSharedCatalogs);
	const char* name = role_name(names, GetUserId());
	close_names(names);
	return name != nullptr ? pstrdup(name) : psprintf("%u", GetUserId());
}

char* relation_name(const Names& names, Oid database, Oid relation) {
	if (!names.relations || !(database == MyDatabaseId || database == InvalidOid))
		return nullptr;
	const char* name = get_rel_name(relation);
	if (name == nullptr)
		return nullptr; // of an uncommitted transaction, or dropped
	const char* schema = get_namespace_name(get_rel_namespace(relation));
	return schema == nullptr ? nullptr : quote_qualified_identifier(schema, name);
}

char* lock_label(const Names& names, const LOCKTAG& tag) {
	switch (static_cast<LockTagType>(tag.locktag_type)) {
	case LOCKTAG_RELATION:
		return relation_phrase(names, tag, true);
	case LOCKTAG_RELATION_EXTEND:
		return psprintf("extension of %s", relation_phrase(names, tag, false));
	case LOCKTAG_PAGE:
		return psprintf("page %u of %s", tag.locktag_field3, relation_phrase(names, tag, false));
	case LOCKTAG_TUPLE:
		return psprintf("tuple (%u,%u) of %s", tag.locktag_field3, tag.locktag_field4,
		                relation_phrase(names, tag, false));
	case LOCKTAG_TRANSACTION:
		return psprintf("transaction %u", tag.locktag_field1);
	case LOCKTAG_VIRTUALTRANSACTION:
		return psprintf("virtual transaction %u/%u", tag.locktag_field1, tag.locktag_field2);
	case LOCKTAG_SPECULATIVE_TOKEN:
		return psprintf("speculative token %u of transaction %u", tag.locktag_field2, tag.locktag_field1);
	case LOCKTAG_DATABASE_FROZEN_IDS:
		return psprintf("frozen ids of %s", database_phrase(names, tag.locktag_field1));
	case LOCKTAG_OBJECT:
		return object_phrase(names, tag);
	case LOCKTAG_ADVISORY:
		return advisory_phrase(names, tag);
	default:
		return psprintf("%s %u %u %u %u", lock_type_name(tag), tag.locktag_field1, tag.locktag_field2,
		                tag.locktag_field3, tag.locktag_field4);
	}
}

const char* lock_type_name(const LOCKTAG& tag) {
	return tag.locktag_type <= LOCKTAG_LAST_TYPE ? LockTagTypeNames[tag.locktag_type] : "unknown";
}

bool has_database(const LOCKTAG& tag) {
	switch (static_cast<LockTagType>(tag.locktag_type)) {
	case LOCKTAG_TRANSACTION:
	case LOCKTAG_VIRTUALTRANSACTION:
	case LOCKTAG_SPECULATIVE_TOKEN: // pg_locks takes its transaction for a database
		return false;
	default:
		return true;
	}
}

Oid lock_database(const LOCKTAG& tag) {
	return has_database(tag) ? tag.locktag_field1 : InvalidOid;
}

Oid lock_relation(const LOCKTAG& tag) {
	return is_relation_lock(tag) ? tag.locktag_field2 : InvalidOid;
}

} // namespace unblock::server
