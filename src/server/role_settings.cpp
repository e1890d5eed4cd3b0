// A scan of pg_db_role_setting.

#include "role_settings.h"
#include "memory.h"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_db_role_setting.h"
#include "utils/array.h"
#include "utils/rel.h"
}

namespace unblock::server {

// One setting of one row of the catalog.
struct RoleSetting {
	Oid database; // InvalidOid: all
	Oid role;     // InvalidOid: all
	SessionSetting setting;
	int32 value;
};

struct RoleSettings {
	RoleSetting* entries;
	int count;
	int capacity;
};

namespace {

void add(RoleSettings& list, const RoleSetting& entry) {
	if (list.count == list.capacity) {
		list.capacity *= 2;
		list.entries = static_cast<RoleSetting*>(
		    repalloc_huge(list.entries, sizeof(RoleSetting) * static_cast<Size>(list.capacity)));
	}
	list.entries[list.count++] = entry;
}

// "pg_unblock.mode=off". Texts that are none of ours, or no value of the setting, are passed over, as at the
// beginning of a session.
void add_text(RoleSettings& list, Oid database, Oid role, char* text) {
	char* equals = strchr(text, '=');
	if (equals == nullptr)
		return;
	*equals = '\0';
	for (int i = 0; i < kSessionSettings; ++i) {
		const auto setting = static_cast<SessionSetting>(i);
		int32 value;
		if (pg_strcasecmp(text, setting_name(setting)) == 0 &&
		    parse_setting_value(setting, equals + 1, &value))
			add(list, {database, role, setting, value});
	}
}

void add_row(RoleSettings& list, Relation catalog, HeapTuple tuple) {
	bool is_null;
	const Datum config =
	    heap_getattr(tuple, Anum_pg_db_role_setting_setconfig, RelationGetDescr(catalog), &is_null);
	if (is_null)
		return;
	const auto* row = reinterpret_cast<Form_pg_db_role_setting>(GETSTRUCT(tuple));
	Datum* texts;
	int count;
	deconstruct_array(DatumGetArrayTypeP(config), TEXTOID, -1, false, TYPALIGN_INT, &texts, nullptr, &count);
	for (int i = 0; i < count; ++i)
		add_text(list, row->setdatabase, row->setrole, TextDatumGetCString(texts[i]));
}

} // namespace

// Its description may have to be read again, from the catalogs that the names are locked for.
const RoleSettings* read_role_settings(const Names& names) {
	if (!names.shared || !names.relations || !lock_if_free(DbRoleSettingRelationId))
		return nullptr;
	auto* list = allocate<RoleSettings>(1);
	constexpr int first_capacity = 64;
	*list = {allocate<RoleSetting>(first_capacity), 0, first_capacity};
	const Relation catalog = table_open(DbRoleSettingRelationId, NoLock);
	const SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, nullptr, 0, nullptr);
	for (HeapTuple tuple; HeapTupleIsValid(tuple = systable_getnext(scan));)
		add_row(*list, catalog, tuple);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return list;
}

int32 next_value(const RoleSettings& list, Oid database, Oid role, SessionSetting setting, int32 file_value) {
	int32 value = file_value;
	int strongest = -1; // role in database, role, database, all
	for (int i = 0; i < list.count; ++i) {
		const RoleSetting& entry = list.entries[i];
		if (entry.setting != setting || (OidIsValid(entry.database) && entry.database != database) ||
		    (OidIsValid(entry.role) && entry.role != role))
			continue;
		const int strength = (OidIsValid(entry.role) ? 2 : 0) + (OidIsValid(entry.database) ? 1 : 0);
		if (strength > strongest) {
			strongest = strength;
			value = entry.value;
		}
	}
	return value;
}

} // namespace unblock::server
