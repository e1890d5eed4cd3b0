// Roles, tables, a function.

#include "setup.h"
#include "client.h"
#include "contended.h"

namespace unblock::stress {

void create(const Role& role) {
	std::string statements = "CREATE ROLE " + std::string(role.name) + " LOGIN; ";
	const auto set = [&](const std::string& setting, const std::string& value) {
		statements +=
		    "ALTER ROLE " + std::string(role.name) + " SET pg_unblock." + setting + " = '" + value + "'; ";
	};
	set("idle_in_transaction_limit", std::to_string(role.idle_in_transaction) + "us");
	set("idle_blocker_limit", std::to_string(role.idle_blocker) + "us");
	if (role.exempt)
		set("mode", "off");
	ask(statements);
}

void create_contended(int sessions) {
	std::string statements = "CREATE TABLE contended (id int PRIMARY KEY); "
	                         "INSERT INTO contended SELECT generate_series(0, " +
	                         std::to_string(kObjects + sessions) + "); ";
	for (int object = kRows; object < kObjects; ++object)
		statements += "CREATE TABLE contended_" + std::to_string(object) + " (); ";
	ask(statements +
	    "GRANT ALL ON ALL TABLES IN SCHEMA public TO public; "
	    "CREATE FUNCTION begun() RETURNS void LANGUAGE plpgsql AS "
	    "$$ BEGIN RAISE NOTICE 'begun at %', " +
	    kServerClock + "; END $$");
}

} // namespace unblock::stress
