# Only client backends are ever ended: walsenders, autovacuum workers and the
# server's own processes are there afterwards, whatever they hold.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded(
	'main', 'wal_level = replica', 'max_wal_senders = 4',
	'pg_unblock.max_actions_per_minute = 0',
	'autovacuum_naptime = 1s',
	'autovacuum_vacuum_cost_delay = 100ms',
	'autovacuum_vacuum_cost_limit = 1');
$server->ask('
	CREATE TABLE t ();
	CREATE TABLE v WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0)
		AS SELECT i, repeat(\'x\', 1000) FROM generate_series(1, 10000) i;
	DELETE FROM v');
$server->wait_until("EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE relid = 'v'::regclass)");

# A walsender that sits in a transaction and blocks somebody.
my $walsender = $server->session(replication => 'database');
$walsender->query('BEGIN');
$walsender->query('LOCK TABLE t');
is( $server->ask("SELECT backend_type, state FROM pg_stat_activity WHERE pid = $walsender->{pid}"),
	'walsender|idle in transaction',
	'a walsender idle in transaction');
my $waiter = $server->waiting_session('SELECT * FROM t');

# Of the autovacuum workers, the one that is not done soon.
sub bystanders {
	return $server->ask("SELECT string_agg(backend_type || ' ' || pid, ', ' ORDER BY backend_type)
		FROM pg_stat_activity LEFT JOIN pg_stat_progress_vacuum v USING (pid)
		WHERE backend_type <> 'client backend'
			AND (backend_type <> 'autovacuum worker' OR v.relid = 'v'::regclass)");
}
my $before   = bystanders();
my $position = $server->log_position;
$server->set_in_file(
	'pg_unblock.idle_in_transaction_limit' => '300ms',
	'pg_unblock.idle_blocker_limit'        => '300ms');
for (1 .. 3) {
	my $idle = $server->idle_session('SELECT 1');
	$server->wait_for_action($idle, $position);
	$server->wait_until_gone($idle);
}
like($before, qr/autovacuum worker .*walsender/, 'all were there');
is(bystanders(), $before, 'and are there afterwards');
is(scalar $server->actions($position), 3, 'only clients were ended');
is($walsender->query('COMMIT'), '', 'the walsender goes on');
is(($waiter->end_statement)[1], '', 'and with it its waiter');

$server->stop;
done_testing();
