/*
 * Takes any lock through the lock manager and keeps it until the transaction
 * ends: for kinds that SQL takes for a moment only, such as relation extension.
 *
 * CREATE FUNCTION take_lock(locktype text, field1 oid, field2 oid, field3 oid, field4 int, mode text)
 * RETURNS void STRICT LANGUAGE c AS '/path/to/lock_taker';
 *
 * locktype and mode are those of pg_locks, the fields those of the LOCKTAG (storage/lock.h).
 */
#include "postgres.h"

#include "fmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

static LockTagType lock_type(const char* name) {
	for (int type = 0; type <= LOCKTAG_LAST_TYPE; type++)
		if (strcmp(LockTagTypeNames[type], name) == 0)
			return (LockTagType)type;
	elog(ERROR, "no lock type \"%s\"", name);
}

static LOCKMODE lock_mode(const char* name) {
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
		if (strcmp(GetLockmodeName(DEFAULT_LOCKMETHOD, mode), name) == 0)
			return mode;
	elog(ERROR, "no lock mode \"%s\"", name);
}

PG_FUNCTION_INFO_V1(take_lock);
Datum take_lock(PG_FUNCTION_ARGS) {
	LOCKTAG tag;

	tag.locktag_field1 = PG_GETARG_OID(1);
	tag.locktag_field2 = PG_GETARG_OID(2);
	tag.locktag_field3 = PG_GETARG_OID(3);
	tag.locktag_field4 = (uint16)PG_GETARG_INT32(4);
	tag.locktag_type = (uint8)lock_type(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	tag.locktag_lockmethodid = DEFAULT_LOCKMETHOD;
	(void)LockAcquire(&tag, lock_mode(text_to_cstring(PG_GETARG_TEXT_PP(5))), false, false);
	PG_RETURN_VOID();
}
