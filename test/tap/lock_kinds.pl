# Every kind of lock, each with a session that holds it and one that waits: what the reports call it, and
# that they agree with pg_locks and pg_blocking_pids().

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h');
$server->ask(
	q{CREATE TABLE t (id int);
	  CREATE TABLE "Weird ""Name" ();
	  CREATE TABLE hot (id int PRIMARY KEY, value int);
	  INSERT INTO hot SELECT generate_series(1, 3), 0;
	  CREATE TABLE documents (words tsvector);
	  CREATE INDEX words ON documents USING gin (words) WITH (fastupdate = on);
	  CREATE SCHEMA attic;
	  CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
	  CREATE ROLE someone});
$server->ask('CREATE DATABASE other');
$server->ask('CREATE DATABASE "Other ""One"');
$server->create_take_lock;

my $here  = $server->ask('SELECT oid FROM pg_database WHERE datname = current_database()');
my $other = $server->ask("SELECT oid FROM pg_database WHERE datname = 'other'");
my %oid   = map { $_ => $server->ask("SELECT '$_'::regclass::oid") } qw(t hot words);
$oid{weird} = $server->ask(q{SELECT '"Weird ""Name"'::regclass::oid});
$oid{f}     = $server->ask("SELECT 'f'::regproc::oid");
$oid{attic} = $server->ask("SELECT 'attic'::regnamespace::oid");

# What lock_waits says of one wait.
sub wait_of {
	my ($waiter) = @_;
	return $server->ask(
		"SELECT concat_ws(' | ', locktype, coalesce(database::text, 'null'), coalesce(relation::text, 'null'),
			regexp_replace(lock, '^(transaction|virtual transaction) [\\d/]+\$', '\\1 N'), mode_wanted,
				blocker_kind, mode_held)
		   FROM unblock.lock_waits WHERE pid = $waiter->{pid}");
}

# All reports on a holder that does nothing and one session that waits for it.
sub check_reports {
	my ($name, $holder, $waiter, $expected) = @_;
	is(wait_of($waiter), $expected, $name);
	is($server->disagreements, '', "$name: as pg_locks and pg_blocking_pids() tell it");
	my ($lock, $wanted, $kind, $held) = (split / \| /, $expected)[ 3 .. 6 ];
	is( $server->ask(
			"SELECT depth, pid, blocker_pid, mode_wanted, mode_held, direct_waiters, frees
			   FROM unblock.blocking_chains"),
		"0|$holder->{pid}||||1|1\n1|$waiter->{pid}|$holder->{pid}|$wanted|$held|0|0",
		"$name: the chain");
	is( $server->ask(
			'SELECT pid, state, blocked_total, frees FROM unblock.root_blockers'),
		"$holder->{pid}|$holder->{state}|1|1",
		"$name: the root");
	is( $server->ask(
			"SELECT waiter_pid, blocker_pid, kind, mode_wanted, mode_held FROM unblock.blocking_edges"),
		"$waiter->{pid}|$holder->{pid}|$kind|$wanted|$held",
		"$name: the edge");
	is( $server->ask(
			"WITH
				ours AS (SELECT locktype, database, relation, mode, granted, fastpath
					FROM unblock.locks_held($holder->{pid})),
				theirs AS (SELECT locktype, CASE WHEN locktype <> 'spectoken' THEN database END, relation, mode,
					granted, fastpath FROM pg_locks WHERE pid = $holder->{pid})
			(TABLE ours EXCEPT ALL TABLE theirs) UNION ALL (TABLE theirs EXCEPT ALL TABLE ours)"),
		'',
		"$name: the holder's locks as in pg_locks");
	return;
}

# name, what the holder does, what the waiter does, and the wait; the parameters are those of the holder's session
sub kind {
	my ($name, $hold, $wait, $expected, %params) = @_;
	my $holder = $server->session(%params);
	$holder->{state} = $hold =~ /pg_advisory_lock/ ? 'idle' : 'idle in transaction';
	$holder->stay_idle($holder->{state} eq 'idle' ? () : 'BEGIN', $hold);
	my $waiter = $server->waiting_session($wait, %params);
	check_reports($name, $holder, $waiter, $expected);
	like($server->ask($server->ask('SELECT remedy FROM unblock.root_blockers')),
		qr/^\($holder->{pid},.*,terminated,/, "$name: the remedy");
	is(($waiter->end_statement)[1], '', "$name: the waiter goes on");
	return;
}

sub in_transaction {
	return PgUnblock::in_one_go('BEGIN', @_, 'ROLLBACK');
}

sub take {
	my ($type, $mode, @fields) = @_;
	push @fields, 0 while @fields < 4;
	return "SELECT take_lock('$type', " . join(', ', @fields) . ", '$mode')";
}

# --- relations and transactions
kind('relation', 'SELECT * FROM t', in_transaction('LOCK TABLE t'),
	"relation | $here | $oid{t} | relation public.t | AccessExclusiveLock | holds | AccessShareLock");
kind('relation with a name to quote', 'LOCK TABLE "Weird ""Name"', 'SELECT * FROM "Weird ""Name"',
	"relation | $here | $oid{weird} | relation public.\"Weird \"\"Name\" | AccessShareLock | holds | AccessExclusiveLock");
kind('shared relation', 'LOCK TABLE pg_tablespace IN SHARE MODE',
	in_transaction('LOCK TABLE pg_tablespace IN ROW EXCLUSIVE MODE'),
	'relation | 0 | 1213 | relation pg_catalog.pg_tablespace | RowExclusiveLock | holds | ShareLock');
kind('row', 'UPDATE hot SET value = 1 WHERE id = 1', 'UPDATE hot SET value = 2 WHERE id = 1',
	'transactionid | null | null | transaction N | ShareLock | holds | ExclusiveLock');
kind('unique key', 'INSERT INTO hot VALUES (7, 0)', 'INSERT INTO hot VALUES (7, 0)',
	'transactionid | null | null | transaction N | ShareLock | holds | ExclusiveLock');
kind('snapshot', PgUnblock::in_one_go('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ', 'SELECT 1'),
	'CREATE INDEX CONCURRENTLY ON t (id)',
	'virtualxid | null | null | virtual transaction N | ShareLock | holds | ExclusiveLock');

# --- advisory locks: two forms of keys, transactions and sessions, another database
kind('advisory', 'SELECT pg_advisory_xact_lock(42)', 'SELECT pg_advisory_xact_lock(42)',
	"advisory | $here | null | advisory 42 | ExclusiveLock | holds | ExclusiveLock");
kind('advisory, negative key', 'SELECT pg_advisory_xact_lock_shared(-1)', 'SELECT pg_advisory_lock(-1)',
	"advisory | $here | null | advisory -1 | ExclusiveLock | holds | ShareLock");
kind('advisory, two keys', 'SELECT pg_advisory_xact_lock(-2147483648, 7)',
	'SELECT pg_advisory_lock_shared(-2147483648, 7)',
	"advisory | $here | null | advisory (-2147483648,7) | ShareLock | holds | ExclusiveLock");
kind('advisory of a session', 'SELECT pg_advisory_lock(9223372036854775807)',
	'SELECT pg_advisory_xact_lock(9223372036854775807)',
	"advisory | $here | null | advisory 9223372036854775807 | ExclusiveLock | holds | ExclusiveLock");
kind('advisory, other database', 'SELECT pg_advisory_lock(1, 2)', 'SELECT pg_advisory_lock(1, 2)',
	"advisory | $other | null | advisory (1,2) of database other | ExclusiveLock | holds | ExclusiveLock",
	dbname => 'other');

# --- objects
kind('schema', 'CREATE TABLE attic.t ()', 'DROP SCHEMA attic',
	"object | $here | null | object $oid{attic} of pg_catalog.pg_namespace | AccessExclusiveLock | holds | AccessShareLock");
kind('function', 'DROP FUNCTION f()', q{COMMENT ON FUNCTION f() IS 'one'},
	"object | $here | null | object $oid{f} of pg_catalog.pg_proc | ShareUpdateExclusiveLock | holds | AccessExclusiveLock");
kind('role', "ALTER ROLE someone SET work_mem = '1MB'", 'DROP ROLE someone',
	'object | 0 | null | role someone | AccessExclusiveLock | holds | AccessShareLock');
kind('database', q{COMMENT ON DATABASE "Other ""One" IS 'one'}, 'DROP DATABASE "Other ""One"',
	'object | 0 | null | database "Other ""One" | AccessExclusiveLock | holds | ShareUpdateExclusiveLock');

# --- what SQL takes for a moment only. Where it can, SQL waits.
kind('relation extension', take('extend', 'ExclusiveLock', $here, $oid{t}), 'INSERT INTO t VALUES (1)',
	"extend | $here | $oid{t} | extension of public.t | ExclusiveLock | holds | ExclusiveLock");
kind('page', take('page', 'ExclusiveLock', $here, $oid{words}, 0), "SELECT gin_clean_pending_list('words')",
	"page | $here | $oid{words} | page 0 of public.words | ExclusiveLock | holds | ExclusiveLock");
kind('tuple', take('tuple', 'ExclusiveLock', $here, $oid{hot}, 5, 6),
	take('tuple', 'RowShareLock', $here, $oid{hot}, 5, 6),
	"tuple | $here | $oid{hot} | tuple (5,6) of public.hot | RowShareLock | holds | ExclusiveLock");
kind('speculative token', take('spectoken', 'ExclusiveLock', 700, 5), take('spectoken', 'ShareLock', 700, 5),
	'spectoken | null | null | speculative token 5 of transaction 700 | ShareLock | holds | ExclusiveLock');
kind('frozen ids', take('frozenid', 'ExclusiveLock', $here), 'VACUUM t',
	"frozenid | $here | null | frozen ids of database postgres | ExclusiveLock | holds | ExclusiveLock");
kind('user lock', take('userlock', 'ShareLock', $here, 2, 3, 4),
	take('userlock', 'ExclusiveLock', $here, 2, 3, 4),
	"userlock | $here | null | userlock $here 2 3 4 | ExclusiveLock | holds | ShareLock");

# --- one row, three who want it: the first waits for the holder's transaction and holds the tuple, for which the
# second waits; the third waits for both, for the second as it stands before it in the queue
my $update = 'UPDATE hot SET value = value + 1 WHERE id = 2';
my $holder = $server->idle_session($update);
my @waiters = map { $server->waiting_session($update) } 1 .. 3;
my $tuple = "tuple | $here | $oid{hot} | tuple (0,2) of public.hot | ExclusiveLock";
is(wait_of($waiters[0]), 'transactionid | null | null | transaction N | ShareLock | holds | ExclusiveLock',
	'several on one row: the first waits for the transaction');
is(wait_of($waiters[1]), "$tuple | holds | ExclusiveLock", 'the second for the tuple');
is(wait_of($waiters[2]), "$tuple | holds | ExclusiveLock", 'the third, too');
is($server->disagreements, '', 'several on one row: as pg_locks and pg_blocking_pids() tell it');
my @pids = map { $_->{pid} } $holder, @waiters;
is( $server->ask('SELECT pid, blocker_pid, other_blockers, frees FROM unblock.blocking_chains'),
	"$pids[0]||{}|3\n$pids[1]|$pids[0]|{}|2\n$pids[2]|$pids[1]|{}|0\n$pids[3]|$pids[1]|{$pids[2]}|0",
	'who waits for whom');
is($server->ask('SELECT pid, blocked_total, frees FROM unblock.root_blockers'), "$pids[0]|3|3", 'one root');
$holder->quit;
is(($_->end_statement)[1], '', 'goes on') for @waiters;

# --- a session that is still starting: up to 17 the server has told nobody anything of it
$holder = $server->idle_session(take('object', 'AccessExclusiveLock', 0, 1262, $other));
my $connecting = IPC::Run::start([ $server->installed_command('psql'), '-XAtq', '-d',
	$server->connstr('other'), '-c', '' ]);
$server->wait_until('EXISTS (SELECT FROM pg_locks WHERE NOT granted)');
is( $server->ask(
		"SELECT lock, mode_wanted, blocker_pid, datname, application_name, backend_start, query
		   FROM unblock.lock_waits"),
	"database other|RowExclusiveLock|$holder->{pid}|other||" . $server->ask(
		'SELECT backend_start FROM pg_stat_get_activity(NULL) WHERE pid = (SELECT pid FROM unblock.lock_waits)') . '|',
	'a session that is still starting');
is($server->disagreements, '', 'a session that is still starting: as pg_locks and pg_blocking_pids() tell it');
is( $server->ask(
		"SELECT depth, blocker_pid, state, backend_type, remedy FROM unblock.blocking_chains WHERE depth = 1"),
	"1|$holder->{pid}||" . ($server->major < 18 ? '' : 'client backend') . '|', 'its place in the chain');
$holder->quit;
ok(IPC::Run::finish($connecting), 'it goes on');

is($server->ask('SELECT count(*) FROM unblock.lock_waits'), 0, 'nobody waits');
$server->stop;
done_testing();
