#include "core/statement.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace unblock::core::test {
namespace {

bool migration(std::string_view statement, LockMode awaited = LockMode::none) {
	Session session;
	session.query = statement;
	return is_migration(session, awaited);
}

TEST(Statement, IsAMigrationByItsFirstWords) {
	for (const std::string_view statement : {"ALTER TABLE t ADD c int",
	                                         "create index on t (c)",
	                                         "Drop Table t",
	                                         "TRUNCATE t",
	                                         "REINDEX TABLE t",
	                                         "REPACK t",
	                                         "CLUSTER",
	                                         "LOCK t",
	                                         "REFRESH MATERIALIZED VIEW m",
	                                         "VACUUM FULL t",
	                                         "vacuum\n full",
	                                         "VACUUM(FULL)t",
	                                         "VACUUM (VERBOSE, FULL, ANALYZE) t",
	                                         "COMMENT ON TABLE t IS 'x'",
	                                         "GRANT SELECT ON t TO r",
	                                         "revoke all on t from r",
	                                         "SECURITY LABEL ON TABLE t IS 'x'",
	                                         "REASSIGN OWNED BY a TO b",
	                                         "IMPORT FOREIGN SCHEMA s FROM SERVER f INTO s",
	                                         "  \n-- a comment\nALTER TABLE t",
	                                         "/* /* nested */ */ALTER TABLE t",
	                                         "/*x*/ -- y\n /**/ DROP/**/TABLE t"})
		EXPECT_TRUE(migration(statement)) << statement;
	for (const std::string_view statement : {"SELECT 1",
	                                         "",
	                                         "-- ALTER TABLE t",
	                                         "/* ALTER TABLE t",
	                                         "/* ALTER */",
	                                         "altered()",
	                                         "create_t()",
	                                         "LOCK$1",
	                                         "drop\xC3\xA9 t",
	                                         "VACUUM t",
	                                         "VACUUM",
	                                         "VACUUM (VERBOSE) t",
	                                         "VACUUM (VERBOSE",
	                                         "VACUUM full_t",
	                                         "VACUUM (ANALYZE) full",
	                                         "INSERT INTO t SELECT 'ALTER'",
	                                         "/",
	                                         "-",
	                                         "/*/",
	                                         "security",
	                                         "\"ALTER\" TABLE t",
	                                         "(ALTER TABLE t)",
	                                         ";",
	                                         " ; "})
		EXPECT_FALSE(migration(statement)) << statement;
}

TEST(Statement, IsAMigrationBehindOthersToo) {
	for (const std::string_view statement :
	     {"SET lock_timeout = '1h'; ALTER TABLE t ADD c int", "BEGIN;ALTER TABLE t",
	      "START TRANSACTION ISOLATION LEVEL READ COMMITTED;\n-- next\nDROP TABLE t; COMMIT",
	      "SELECT set_config('a;b', 'it''s; c', false); alter table t", ";;ALTER TABLE t",
	      "SELECT E'\\'; SELECT'; DROP TABLE t", "SELECT e'\\\\'; DROP TABLE t", "SELECT n'\\'; DROP TABLE t",
	      "SELECT '\\'; DROP TABLE t", "SELECT \"a;\"\"b\"; DROP TABLE t", "SELECT $$ ; $$; DROP TABLE t",
	      "DO $a1$ BEGIN; $$ ; $a$ $a1$; DROP TABLE t", "SELECT $1; DROP TABLE t",
	      "SELECT a$$; DROP TABLE t; SELECT b$$", "SELECT 1 /* ; /* ; */ ; */; DROP TABLE t",
	      "SELECT 1 -- ; $$ '\n; DROP TABLE t", "SELECT 1;DROP TABLE t", "SELECT type'\\'; DROP TABLE t"})
		EXPECT_TRUE(migration(statement)) << statement;
	for (const std::string_view statement :
	     {"SELECT '; ALTER TABLE t", "SELECT 'it''s; DROP TABLE t'", "SELECT E'\\'; DROP TABLE t'",
	      "SELECT \"; DROP TABLE t\"", "SELECT $$; DROP TABLE t; $$", "DO $x$ BEGIN; DROP TABLE t; $$ $x$",
	      "SELECT $x$; DROP TABLE t", "SELECT 1 -- ; DROP TABLE t", "SELECT 1 /* ; DROP TABLE t",
	      "SELECT 1; SELECT alter; COMMIT;", "SELECT 1; -- ALTER"})
		EXPECT_FALSE(migration(statement)) << statement;
}

TEST(Statement, IsAMigrationIfItLocksStrongly) {
	for (const std::string_view statement :
	     {"LOCK t", "LOCK TABLE ONLY public.t, u NOWAIT", "LOCK TABLE t; SELECT 1 IN (ACCESS)",
	      "LOCK t IN SHARE MODE", "lock table t in share row exclusive mode nowait",
	      "LOCK t IN/**/EXCLUSIVE -- x\nMODE", "LOCK TABLE t IN ACCESS EXCLUSIVE MODE",
	      "LOCK TABLE \"in\", s.in, t IN EXCLUSIVE MODE", "LOCK t IN ACCESS SHARE MODE; LOCK t"})
		EXPECT_TRUE(migration(statement)) << statement;
	for (const std::string_view statement :
	     {"LOCK TABLE public.t IN ACCESS SHARE MODE", "LOCK TABLE ONLY public.t IN ACCESS SHARE MODE",
	      "LOCK TABLE public.t, ONLY \"s;\".\"in\", s.in IN ACCESS SHARE MODE",
	      "LOCK TABLE t IN ACCESS SHARE MODE NOWAIT;",
	      "/* dump */ lock -- x\n table t/* in */in access\nshare mode", "LOCK t IN ROW SHARE MODE",
	      "LOCK t IN ROW EXCLUSIVE MODE", "LOCK t IN SHARE UPDATE EXCLUSIVE MODE",
	      "BEGIN; LOCK t IN ACCESS SHARE MODE; COMMIT"})
		EXPECT_FALSE(migration(statement)) << statement;
}

TEST(Statement, ThatIsCutOffIsJudgedByTheLockThatItAwaits) {
	for (const LockMode mode : {LockMode::none, LockMode::share, LockMode::access_exclusive})
		EXPECT_TRUE(migration("LOCK TABLE a, b, lon", mode)) << name(mode);
	for (const LockMode mode : {LockMode::access_share, LockMode::share_update_exclusive})
		EXPECT_FALSE(migration("LOCK TABLE a, b, lon", mode)) << name(mode);
	EXPECT_TRUE(migration("ALTER TABLE t ADD c int", LockMode::access_share));
}

TEST(Statement, OfAMaskedSessionIsNotRead) {
	Session session;
	session.query = "DROP TABLE t";
	EXPECT_TRUE(is_migration(session));
	session.masked = true;
	EXPECT_FALSE(is_migration(session));
}

TEST(Statement, IsReadAsFarAsSixteenKilobytes) {
	const std::string drop = "; DROP TABLE t";
	EXPECT_TRUE(migration(std::string(16 * 1024 - drop.size(), ' ') + drop));
	EXPECT_FALSE(migration(std::string(16 * 1024, ' ') + drop));
}

} // namespace
} // namespace unblock::core::test
