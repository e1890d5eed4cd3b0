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

# Slow enough to stay for the whole test.
my $slow = 'autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1';
$server->ask(
	"CREATE TABLE littered (filler text) WITH ($slow, autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
	 CREATE TABLE old (filler text) WITH ($slow, autovacuum_freeze_max_age = 100000);
	 INSERT INTO littered SELECT repeat('x', 1000) FROM generate_series(1, 1000);
	 INSERT INTO old SELECT repeat('x', 1000) FROM generate_series(1, 1000);
	 DELETE FROM littered;
	 CREATE TABLE ids ()");
# Each subtransaction that writes takes a transaction id.
$server->ask(
	q{DO $$ BEGIN
		FOR i IN 1 .. 100100 LOOP
			BEGIN INSERT INTO ids DEFAULT VALUES; EXCEPTION WHEN division_by_zero THEN END;
		END LOOP;
	END $$});

sub worker_on {
	my ($table) = @_;
	my $worker = "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE backend_type = 'autovacuum worker' AND relation = '$table'::regclass AND mode = 'ShareUpdateExclusiveLock'";
	$server->wait_until("EXISTS ($worker)");
	return $server->ask($worker);
}

my @waiters; # not to be lost
for ([ 'littered', '', 'deadlock_timeout' ], [ 'old', ' (to prevent wraparound)', 'prevents wraparound' ]) {
	my ($table, $why, $advice) = @$_;
	my $worker = worker_on($table);
	my $waiter = $server->waiting_session("ALTER TABLE $table ADD a int");
	my $reader = $server->waiting_session("SELECT count(*) FROM $table");
	push @waiters, $waiter, $reader;

	is( $server->ask(
			"SELECT lock, mode_wanted, blocker_pid, blocker_kind, mode_held FROM unblock.lock_waits WHERE pid = $waiter->{pid}"),
		"relation public.$table|AccessExclusiveLock|$worker|holds|ShareUpdateExclusiveLock",
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
$server->stop('immediate'); # it would wait for the workers
done_testing();
