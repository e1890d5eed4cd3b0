# Several databases at once: reports asked for in one show them all, and name what they can be sure of.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

# No recorder: it would wait for the locked catalog too.
my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h', 'pg_unblock.report_after = 0');

# How a wait is told from database postgres.
sub wait_of {
	my ($waiter) = @_;
	return $server->ask(
		"SELECT concat_ws(' | ', datname, database, relation, lock) FROM unblock.lock_waits WHERE pid = $waiter->{pid}");
}

my @sessions;

sub in_transaction {
	return PgUnblock::in_one_go('BEGIN', @_);
}

# One holds, one waits, one queues.
sub chain {
	my ($name, $dbname, $hold, @waits) = @_;
	my $holder  = $server->idle_session($hold, dbname => $dbname);
	my @waiters = map { $server->waiting_session($_, dbname => $dbname) } @waits;
	push @sessions, $holder, @waiters;
	is( $server->ask("SELECT DISTINCT datname, count(*) OVER (), root_pids FROM unblock.lock_waits
			WHERE $holder->{pid} = ANY (root_pids)"),
		"$dbname|2|{$holder->{pid}}",
		"$name: two wait");
	is( $server->ask("SELECT datname, pid FROM unblock.blocking_chains WHERE path[1] = $holder->{pid} ORDER BY pid"),
		join("\n", map { "$dbname|$_" } sort { $a <=> $b } map { $_->{pid} } $holder, @waiters),
		"$name: the chain");
	return $waiters[0];
}

# --- the same in three databases and in the one that is asked
for my $dbname ('shop', 'Library', 'one "quoted" db', 'postgres') {
	my $quoted = $dbname =~ /\W|[A-Z]/ ? '"' . $dbname =~ s/"/""/gr . '"' : $dbname;
	$server->ask("CREATE DATABASE $quoted") if $dbname ne 'postgres';
	my $table = $server->session(dbname => $dbname)->query("CREATE TABLE t (); SELECT 't'::regclass::oid");
	my $waiter = chain($dbname, $dbname, 'SELECT * FROM t', 'ALTER TABLE t ADD a int', 'SELECT * FROM t');
	my $oid    = $server->ask("SELECT oid FROM pg_database WHERE datname = '$dbname'");
	my $lock   = $dbname eq 'postgres' ? 'relation public.t' : "relation $table of database $quoted";
	is(wait_of($waiter), "$dbname | $oid | $table | $lock", "$dbname: the wait");
	is($server->ask("SELECT count(*) > 0 FROM unblock.tree() WHERE tree LIKE '%on $lock%'"), 't',
		"$dbname: the tree");
}

# --- what this database has under the same OID is none of its business, not even a catalog
my $shop    = $server->ask("SELECT oid FROM pg_database WHERE datname = 'shop'");
my $waiter  = chain("another's catalog", 'shop', 'LOCK TABLE pg_description', 'SELECT FROM pg_description',
	in_transaction('LOCK TABLE pg_description'));
is(wait_of($waiter), "shop | $shop | 2609 | relation 2609 of database shop", "another's catalog");
my $schema = $server->session(dbname => 'shop')->query("CREATE SCHEMA attic; SELECT 'attic'::regnamespace::oid");
$waiter = chain("another's object", 'shop', 'CREATE TABLE attic.t ()', 'DROP SCHEMA attic',
	in_transaction('CREATE TABLE attic.u ()'));
is(wait_of($waiter), "shop | $shop | object $schema of relation 2615 of database shop", "another's object");

# --- what all databases share has the same name everywhere
$server->ask('CREATE ROLE clerk');
$waiter = chain('a role', 'Library', "ALTER ROLE clerk SET work_mem = '1MB'", 'DROP ROLE clerk',
	'COMMENT ON ROLE clerk IS NULL');
is(wait_of($waiter), 'Library | 0 | role clerk', 'a role');
$waiter = chain('a database', 'shop', 'COMMENT ON DATABASE "Library" IS NULL',
	('COMMENT ON DATABASE "Library" IS NULL') x 2);
is(wait_of($waiter), 'shop | 0 | database "Library"', 'a database');
$waiter = chain('a shared catalog', 'shop', 'LOCK TABLE pg_tablespace',
	(in_transaction('LOCK TABLE pg_tablespace')) x 2);
is(wait_of($waiter), 'shop | 0 | 1213 | relation pg_catalog.pg_tablespace', 'a shared catalog');

is($server->disagreements, '', 'as pg_locks and pg_blocking_pids() tell it');
is($server->ask('SELECT count(*), count(DISTINCT chain_id) FROM unblock.blocking_chains'),
	scalar(@sessions) . '|' . @sessions / 3, 'nobody else');

$server->stop;
done_testing();
