# A session's transactions follow one another faster than they are looked at: a report never shows a session that
# holds or awaits a lock with what belongs to its next transaction, whose remedy would hit that one.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off');
$server->ask('CREATE TABLE hot (value int); INSERT INTO hot VALUES (0)');

# Transactions that take a lock and wait for one another, and between them others that do neither.
my $load = $server->begin_pgbench([ '-c', 4, '-T', 3600 ], next => <<'SQL');
BEGIN /* locks */;
SELECT pg_advisory_xact_lock(1) /* locks */;
COMMIT /* locks */;
BEGIN /* harmless */ \; SELECT 1 /* harmless */ \; COMMIT /* harmless */;
SQL
$server->wait_until('EXISTS (SELECT FROM unblock.lock_waits)');

$server->ask('CREATE UNLOGGED TABLE seen (state text, query text, xact_start timestamptz, remedy text)');
$server->ask(
	q{DO $$
	  DECLARE
	      until timestamptz := clock_timestamp() + '5 s';
	  BEGIN
	      WHILE clock_timestamp() < until LOOP
	          INSERT INTO seen SELECT state, query, xact_start, remedy FROM unblock.blocking_chains;
	      END LOOP;
	  END $$});
$load->{run}->kill_kill;

cmp_ok($server->ask("SELECT count(*) FROM seen WHERE query LIKE '%/* locks */%'"), '>', 1000, 'enough was seen');
is($server->ask("SELECT count(*), min(query) FROM seen WHERE query LIKE '%harmless%'"), '0|',
	'nobody with the statement of the next transaction');
is($server->ask("SELECT count(*) FROM seen WHERE state IS NULL AND (xact_start, remedy) IS DISTINCT FROM (NULL, NULL)"),
	0, 'who has gone on has no remedy');

$server->stop;
done_testing();
