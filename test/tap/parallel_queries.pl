# Parallel queries: their processes wait, block and queue as one session, that of the leader.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h');
$server->create_take_lock;
# A row on each page, so that each of two workers and the leader gets one.
$server->ask(
	q{CREATE TABLE pages (id int, filler text);
	  ALTER TABLE pages ALTER filler SET STORAGE PLAIN, SET (parallel_workers = 2);
	  INSERT INTO pages SELECT id, repeat('x', 7000) FROM generate_series(1, 12) id;
	  ANALYZE pages;
	  CREATE FUNCTION take(VARIADIC keys int[]) RETURNS int LANGUAGE plpgsql PARALLEL SAFE COST 10000 AS
	  $$
	  BEGIN
	      FOR i IN 1 .. cardinality(keys) LOOP
	          PERFORM pg_advisory_xact_lock(keys[i]);
	      END LOOP;
	      RETURN 1;
	  END
	  $$});

# A session that is about to run its queries with two workers, which do it alone or with its leader.
sub parallel_session {
	my ($participation) = @_;
	my $session = $server->session;
	$session->query(
		"SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
		 SET parallel_leader_participation = $participation");
	return $session;
}

sub wait_for_waits {
	my ($count) = @_;
	$server->wait_until("(SELECT count(*) FROM pg_locks WHERE NOT granted) = $count");
	return;
}

sub lock_waits {
	return $server->ask(
		'SELECT leader_pid, lock, blocker_pid, blocker_kind, blocker_count, depth, root_pids
		   FROM unblock.lock_waits ORDER BY lock, leader_pid, blocker_count');
}

sub chains {
	return $server->ask(
		'SELECT depth, pid, blocker_pid, other_blockers, direct_waiters, blocked_total, frees FROM unblock.blocking_chains');
}

sub edges {
	return $server->ask(
		'SELECT waiter_pid, blocker_pid, kind, lock FROM unblock.blocking_edges ORDER BY waiter_pid, blocker_pid');
}

# --- all its processes wait
{
	my $holder   = $server->idle_session('SELECT pg_advisory_xact_lock(1)');
	my $parallel = parallel_session('on');
	$parallel->begin_statement('SELECT sum(take(1)) FROM pages');
	wait_for_waits(3);
	my ($h, $p) = ($holder->{pid}, $parallel->{pid});
	my $wait = "advisory 1|$h|holds|1|1|{$h}";
	is(lock_waits(), "$p|$wait\n$p|$wait\n|$wait", 'two workers and their leader wait');
	is($server->ask("SELECT pid FROM unblock.lock_waits WHERE leader_pid IS NULL"), $p, 'the leader leads');
	is($server->disagreements, '', 'all wait: as pg_locks and pg_blocking_pids() tell it');
	is(chains(), "0|$h||{}|1|1|1\n1|$p|$h|{}|0|0|0", 'one session in the chain');
	is(edges(), "$p|$h|holds|advisory 1", 'one edge');

	my $behind = $server->waiting_session('SELECT pg_advisory_xact_lock(1)');
	my $b      = $behind->{pid};
	is($server->disagreements, '', 'queued: as pg_locks and pg_blocking_pids() tell it');
	is(edges(), "$p|$h|holds|advisory 1\n$b|$h|holds|advisory 1\n$b|$p|queued|advisory 1", 'it queues as one');
	$holder->quit;
	is(($parallel->end_statement)[0], 12, 'the query goes on');
	$behind->end_statement;
}

# --- a worker holds what another session wants, and waits for a third
{
	my $holder   = $server->idle_session('SELECT pg_advisory_xact_lock(2)');
	my $parallel = parallel_session('off');
	$parallel->begin_statement('SELECT sum(take(1, 2)) FROM pages');
	wait_for_waits(2);
	my $behind = $server->waiting_session('SELECT pg_advisory_xact_lock(1)');
	my ($h, $p, $b) = ($holder->{pid}, $parallel->{pid}, $behind->{pid});
	is( lock_waits(),
		"|advisory 1|$p|holds|1|2|{$h}\n$p|advisory 2|$h|holds|1|1|{$h}\n$p|advisory 2|$h|holds|1|1|{$h}",
		'the leader stands for a worker that holds the lock');
	is($server->disagreements, '', 'a worker holds: as pg_locks and pg_blocking_pids() tell it');
	is(chains(), "0|$h||{}|1|2|2\n1|$p|$h|{}|1|1|1\n2|$b|$p|{}|0|0|0", 'it is in the middle of the chain');
	$holder->quit;
	is(($parallel->end_statement)[0], 12, 'the query goes on');
	$behind->end_statement;
}

# --- a worker that is busy holds it: to cancel the leader's statement helps
{
	my $parallel = parallel_session('off');
	$parallel->begin_statement('SELECT sum(take(1)), sum(length(pg_sleep(3600)::text)) FROM pages');
	$server->wait_until("(SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep') = 2");
	my $behind = $server->waiting_session('SELECT pg_advisory_xact_lock(1)');
	is($server->disagreements, '', 'a busy worker: as pg_locks and pg_blocking_pids() tell it');
	is( $server->ask('SELECT pid, state, locks_held > 0 FROM unblock.root_blockers'),
		"$parallel->{pid}|active|t",
		'the leader stands for a busy worker');
	my $remedy = $server->ask('SELECT remedy FROM unblock.root_blockers');
	like($remedy, qr/^SELECT unblock\.cancel\($parallel->{pid}, /, 'to be cancelled');
	$server->ask($remedy);
	is(($behind->end_statement)[1], '', 'which frees the other');
	like(($parallel->end_statement)[1], qr/^ERROR:  57014: /, 'the query is over');
}

# --- processes of one group never block each other in the reports, even where the server lets them: of relation
# extension pg_blocking_pids() says that the leader waits for itself
{
	my $take     = "take_lock('extend', 1, 2, 0, 0, 'ExclusiveLock')";
	my $parallel = parallel_session('off');
	$parallel->query("BEGIN; SELECT $take");
	$parallel->begin_statement("SELECT count($take) FROM pages");
	wait_for_waits(2);
	my $p = $parallel->{pid};
	is( $server->ask('SELECT leader_pid, blocker_pid, blocker_count, depth, root_pids FROM unblock.lock_waits'),
		"$p||0|0|{}\n$p||0|0|{}",
		'workers that wait for their leader have no blocker');
	is(edges(), '', 'no edge');
	is($server->ask('SELECT count(*) FROM unblock.root_blockers'), 0, 'no root');
	is(chains(), "0|$p||{}|0|0|0", 'one session in the chain');
	$server->ask("SELECT pg_cancel_backend($p)");
	like(($parallel->end_statement)[1], qr/^ERROR:  57014: /, 'the query is over');
}

$server->stop;
done_testing();
