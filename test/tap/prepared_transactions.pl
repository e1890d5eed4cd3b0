# Prepared transactions that block: told with gid, owner, age and database, and never with what the session
# that prepared them does by now. Their remedy is pasted here as it stands.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'max_prepared_transactions = 110', 'autovacuum = off',
	'deadlock_timeout = 1h');
$server->ask('CREATE ROLE clerk LOGIN');

# A gid for all that could go wrong between quotes, and a database whose name would end a comment; from 19 on no
# name of a database has two lines.
my $nasty_gid      = "it's \\ here\n'; DROP TABLE t; --\t\"\$\$";
my $nasty_database = 'two' . ($server->major < 19 ? "\n" : ' ') . 'lines"; --';

sub literal {
	my ($text) = @_;
	return "E'" . $text =~ s/([\\'])/$1$1/gr . "'";
}

sub identifier {
	my ($name) = @_;
	return '"' . $name =~ s/"/""/gr . '"';
}

# A session of the clerk that has prepared a transaction.
sub prepare {
	my ($dbname, $gid, $sql) = @_;
	my $session = $server->session(dbname => $dbname, user => 'clerk');
	$session->query("BEGIN; $sql; PREPARE TRANSACTION " . literal($gid));
	return $session;
}

# All that reports tell of the one prepared transaction that blocks.
sub check_reports {
	my ($name, $dbname, $waiter, $gid) = @_;
	is( $server->ask(
			"SELECT blocker_pid, blocker_kind, mode_held, blocker_count, depth, root_pids
			   FROM unblock.lock_waits WHERE pid = $waiter->{pid}"),
		'0|prepared|RowExclusiveLock|1|1|{0}',
		"$name: the wait");
	is($server->ask("SELECT blocker_pid, kind FROM unblock.blocking_edges WHERE waiter_pid = $waiter->{pid}"),
		'0|prepared', "$name: the edge");
	is($server->disagreements, '', "$name: as pg_locks and pg_blocking_pids() tell it");
	for my $view (qw(root_blockers blocking_chains)) {
		is( $server->ask(
				"SELECT gid = ${\ literal($gid)}, datname = ${\ literal($dbname)}, usename, frees,
					xact_start = prepared, xact_age BETWEEN '0' AND clock_timestamp() - prepared,
					num_nonnulls(application_name, client_addr, client_port, backend_start, state, wait_event,
						idle_time, query_id, query)
				   FROM unblock.$view JOIN pg_prepared_xacts USING (gid)"),
			't|t|clerk|1|t|t|0',
			"$name: $view");
	}
	is( $server->ask("SELECT backend_type, wait_event_type FROM unblock.blocking_chains WHERE gid IS NOT NULL"),
		'|', "$name: no process");
	return;
}

sub paste_remedy {
	my ($name, $dbname, @waiters) = @_;
	my $remedy = $server->ask('SELECT remedy FROM unblock.root_blockers WHERE gid IS NOT NULL ORDER BY gid LIMIT 1');
	my $shown  = $dbname =~ s/\s/ /gr;
	like($remedy, qr/^ROLLBACK PREPARED .* -- in database \Q$shown\E$/s, "$name: the remedy");
	like(($server->session->try($remedy))[1], qr/^ERROR:  0A000: /, "$name: works in its database only")
		if $dbname ne 'postgres';
	is(($server->session(dbname => $dbname)->try($remedy))[1], '', "$name: can be pasted");
	is(($_->end_statement)[1], '', "$name: the waiter goes on") for @waiters;
	return;
}

$server->ask("CREATE DATABASE ${\ identifier($nasty_database)}");
for ([ 'plain', 'postgres', 'forgotten' ], [ 'nasty', $nasty_database, $nasty_gid ], [ 'longest',
	'postgres', "'" x 199 ]) {
	my ($name, $dbname, $gid) = @$_;
	my $admin = $server->session(dbname => $dbname);
	$admin->query('CREATE TABLE t (); CREATE TABLE other (); GRANT ALL ON t, other TO clerk');

	# The session goes on to something that blocks, too: its details belong to that alone.
	my $session = prepare($dbname, $gid, 'INSERT INTO t DEFAULT VALUES');
	my $waiter  = $server->waiting_session('ALTER TABLE t ADD a int', dbname => $dbname);
	check_reports($name, $dbname, $waiter, $gid);
	$session->stay_idle('BEGIN', 'SELECT * FROM other');
	my $later = $server->waiting_session('ALTER TABLE other ADD a int', dbname => $dbname);
	check_reports("$name, the session busy with something else", $dbname, $waiter, $gid);
	is( $server->ask('SELECT pid, gid, state FROM unblock.root_blockers WHERE pid <> 0'),
		"$session->{pid}||idle in transaction",
		"$name: that one is told by itself");

	# Another one takes its place.
	$session->quit;
	is(($later->end_statement)[1], '', "$name: the waiter for the session goes on");
	my $successor = $server->idle_session('SELECT 1', dbname => $dbname);
	check_reports("$name, the session gone", $dbname, $waiter, $gid);
	paste_remedy($name, $dbname, $waiter);
	$admin->query('DROP TABLE t, other');
}

# --- several that share a lock; they outlive the server
$server->ask('CREATE TABLE t (); GRANT ALL ON t TO clerk');
prepare('postgres', $_, 'INSERT INTO t DEFAULT VALUES') for 'one', 'two';
$server->forget_observer;
$server->stop('immediate');
$server->start;
my $waiter = $server->waiting_session('DROP TABLE t');
is($server->ask("SELECT blocker_count, blocker_pid, root_pids FROM unblock.lock_waits"), '2|0|{0,0}',
	'two: the wait');
is( $server->ask('SELECT gid, usename, datname, blocked_total, frees FROM unblock.root_blockers ORDER BY gid'),
	"one|clerk|postgres|1|0\ntwo|clerk|postgres|1|0",
	'two: they block together');
paste_remedy('the first', 'postgres');
check_reports('the second', 'postgres', $waiter, 'two');
paste_remedy('the second', 'postgres', $waiter);

# --- more of them than a list names: a session that blocks one more waiter comes first
$server->ask('CREATE TABLE crowded (); CREATE TABLE elsewhere ()');
my $preparer = $server->session;
$preparer->query("BEGIN; LOCK crowded IN ACCESS SHARE MODE; PREPARE TRANSACTION 'holder $_'") for 1 .. 105;
my $reader = $server->idle_session('LOCK crowded, elsewhere IN ACCESS SHARE MODE');
$waiter = $server->waiting_session('DROP TABLE crowded');
$server->waiting_session('DROP TABLE elsewhere');
is( $server->ask("SELECT blocker_count, cardinality(root_pids), root_pids[1], root_pids[100]
		FROM unblock.lock_waits WHERE pid = $waiter->{pid}"),
	"106|100|$reader->{pid}|0",
	'more holders than are listed');

$server->stop;
done_testing();
