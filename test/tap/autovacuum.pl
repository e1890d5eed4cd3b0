# Autovacuum workers that block DDL: an ordinary one and one against wraparound. Nothing ends them; the remedy
# is an advice, and pasting it harms nobody.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

# The server itself cancels an ordinary one that blocks, after deadlock_timeout.
my $server = PgUnblock->preloaded('main', 'autovacuum_naptime = 1s', 'deadlock_timeout = 1h',
	"pg_unblock.idle_blocker_limit = '100ms'");

for my $table (qw(littered old)) {
	$server->ask("CREATE TABLE $table (id int PRIMARY KEY) WITH (autovacuum_enabled = off)");
	$server->ask("INSERT INTO $table SELECT generate_series(1, 2000)");
	$server->ask("DELETE FROM $table WHERE id < 1990");
}
$server->ask('CREATE TABLE ids ()');
# Each subtransaction that writes takes a transaction id.
$server->ask(
	q{DO $$ BEGIN
		FOR i IN 1 .. 100100 LOOP
			BEGIN INSERT INTO ids DEFAULT VALUES; EXCEPTION WHEN division_by_zero THEN END;
		END LOOP;
	END $$});

# Between two rows an index-only scan keeps a pin on the index page, and each vacuum waits for its end. Its lock
# is in nobody's way below.
my @cursors;
for my $table (qw(littered old)) {
	my $cursor = $server->session;
	$cursor->query('SET enable_seqscan = off; SET enable_bitmapscan = off');
	$cursor->stay_idle('BEGIN', "DECLARE c CURSOR FOR SELECT id FROM $table WHERE id > 0", 'FETCH c');
	push @cursors, $cursor;
}
$server->ask('ALTER TABLE littered SET (autovacuum_enabled = on, autovacuum_vacuum_threshold = 0,
	autovacuum_vacuum_scale_factor = 0)');
$server->ask('ALTER TABLE old SET (autovacuum_freeze_max_age = 100000)');

sub worker_on {
	my ($table) = @_;
	my $worker = "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE backend_type = 'autovacuum worker' AND wait_event IN ('BufferPin', 'BufferCleanup')
		AND relation = '$table'::regclass AND mode = 'ShareUpdateExclusiveLock'";
	$server->wait_until("EXISTS ($worker)");
	return $server->ask($worker);
}

my @waiters; # not to be lost
for ([ 'littered', '', 'deadlock_timeout' ], [ 'old', ' (to prevent wraparound)', 'prevents wraparound' ]) {
	my ($table, $why, $advice) = @$_;
	my $worker = worker_on($table);
	my $waiter = $server->waiting_session("CREATE INDEX ON $table (id)");
	push @waiters, $waiter, $server->waiting_session("INSERT INTO $table VALUES (0)");

	is( $server->ask(
			"SELECT lock, mode_wanted, blocker_pid, blocker_kind, mode_held FROM unblock.lock_waits WHERE pid = $waiter->{pid}"),
		"relation public.$table|ShareLock|$worker|holds|ShareUpdateExclusiveLock",
		"$table: the wait");
	is( $server->ask(
			"SELECT depth, backend_type, state, replace(query, 'VACUUM ANALYZE', 'VACUUM'), blocked_total, frees, idle_time
			   FROM unblock.blocking_chains WHERE pid = $worker"),
		"0|autovacuum worker|active|autovacuum: VACUUM public.$table$why|2|2|",
		"$table: the chain");
	my $remedy = $server->ask("SELECT remedy FROM unblock.root_blockers WHERE pid = $worker");
	like($remedy, qr/^--[^\n]*$advice[^\n]* unblock\.cancel\($waiter->{pid}, [^\n]*$/,
		"$table: the remedy is an advice");
	is(join('', $server->session->try($remedy)), '', "$table: which can be pasted");
}
is($server->disagreements, '', 'as pg_locks and pg_blocking_pids() tell it');
$server->wait_for_turn;
for my $table (qw(littered old)) {
	my $worker = worker_on($table);
	like(($server->session->try("SELECT unblock.terminate($worker)"))[1], qr/^ERROR:  22023: /,
		"$table: not to be terminated");
	is($server->ask("SELECT query ~ '$table' FROM pg_stat_activity WHERE pid = $worker"), 't',
		"$table: nothing has happened to it");
}
is($server->is_present($_), 1, 'nor to who made it wait') for @cursors;
$server->stop('immediate'); # it would wait for the workers
done_testing();
