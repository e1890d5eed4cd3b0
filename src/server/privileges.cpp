// Role checks for the current user.

#include "privileges.h"

namespace unblock::server {

namespace {

// Without a look at the catalogs: the server keeps is_superuser for the user outside of SECURITY DEFINER
// functions.
bool is_known_superuser() {
	return GetUserId() == GetOuterUserId() &&
	       strcmp(GetConfigOption("is_superuser", false, false), "on") == 0;
}

} // namespace

bool may_see(Oid role) {
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
	       (OidIsValid(role) && has_privs_of_role(GetUserId(), role));
}

bool may_see(const Names& names, Oid role) {
	return names.shared ? may_see(role) : is_known_superuser() || role == GetUserId();
}

bool may_signal(const Names& names, Oid role) {
	if (!names.shared)
		return is_known_superuser() || role == GetUserId();
	if ((!OidIsValid(role) || superuser_arg(role)) && !superuser())
		return false;
	return has_privs_of_role(GetUserId(), role) || has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND);
}

bool may_signal_others(const Names& names) {
	return names.shared ? has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND) : is_known_superuser();
}

bool may_read_settings(const Names& names) {
	return names.shared ? has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS) : is_known_superuser();
}

} // namespace unblock::server
