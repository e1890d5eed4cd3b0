// unblock.version(), and what is said when the versions do not fit.

#include "version.h"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
}

namespace unblock::server {

namespace {

// The version that a script of this extension makes of it; nullptr in a script of another one. While a script
// runs, pg_extension tells the version that it leads to (extension.c, CreateExtensionInternal() and
// ApplyExtensionUpdates()).
char* version_of_script() {
	const char* name = get_extension_name(CurrentExtensionObject);
	if (name == nullptr || strcmp(name, "pg_unblock") != 0)
		return nullptr;
	ScanKeyData key;
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
	            ObjectIdGetDatum(CurrentExtensionObject));
	Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(extensions, ExtensionOidIndexId, true, nullptr, 1, &key);
	HeapTuple tuple = systable_getnext(scan);
	bool is_null = true;
	Datum version = 0;
	if (HeapTupleIsValid(tuple))
		version = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(extensions), &is_null);
	char* copy = is_null ? nullptr : TextDatumGetCString(version);
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return copy;
}

void require_version_of_script() {
	const char* script = version_of_script();
	if (script != nullptr && strverscmp(script, PG_UNBLOCK_VERSION) > 0)
		ereport(
		    ERROR,
		    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		     errmsg("the library of pg_unblock is older than its SQL objects"),
		     errdetail("The library is version %s, the script is for %s.", PG_UNBLOCK_VERSION, script),
		     errhint("Install the library of the same version. If it is preloaded, restart the server.")));
}

} // namespace

void objects_do_not_fit() {
	ereport(ERROR,
	        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
	         errmsg("the SQL objects of pg_unblock do not fit its library"),
	         errdetail("The library is version %s.", PG_UNBLOCK_VERSION),
	         errhint("Run ALTER EXTENSION pg_unblock UPDATE. If the objects are the newer ones, restart "
	                 "the server with the library of their version.")));
	pg_unreachable();
}

} // namespace unblock::server

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_version);
PGDLLEXPORT Datum pg_unblock_version(PG_FUNCTION_ARGS) {
	(void)fcinfo;
	if (creating_extension)
		unblock::server::require_version_of_script();
	return CStringGetTextDatum(PG_UNBLOCK_VERSION);
}
}
