// Role checks for the current user.

#include "privileges.h"

namespace unblock::server {

bool may_see(Oid role) {
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
	       (OidIsValid(role) && has_privs_of_role(GetUserId(), role));
}

bool may_see(const Names& names, Oid role) {
	if (names.shared)
		return may_see(role);
	// The server keeps is_superuser for the user outside of SECURITY DEFINER functions.
	const bool is_superuser =
	    GetUserId() == GetOuterUserId() && strcmp(GetConfigOption("is_superuser", false, false), "on") == 0;
	return is_superuser || role == GetUserId();
}

bool may_signal(Oid role) {
	if ((!OidIsValid(role) || superuser_arg(role)) && !superuser())
		return false;
	return has_privs_of_role(GetUserId(), role) || has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND);
}

} // namespace unblock::server
