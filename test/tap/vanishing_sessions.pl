# Sessions that come, wait, block and go all the time, so that a slot of the server is another session's by the
# time it is looked at: a report may know nothing of a session, but never shows one with another's details.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(time usleep);

my $server = PgUnblock->preloaded('main', 'autovacuum = off');
$server->ask('CREATE TABLE hot (value int); INSERT INTO hot VALUES (0)');

# Each session says who it is in its name and in its only transaction: its pid and, as pids come back, its start.
# A thread for each, since a thread makes one connection after the other.
my $churn = $server->begin_pgbench([ '-C', '-c', 16, '-j', 16, '-T', 3600 ], vanish => <<'SQL');
SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint AS start,
	set_config('application_name',
		pid || ' since ' || (extract(epoch FROM backend_start) * 1000000)::bigint, false)
FROM pg_stat_get_activity(pg_backend_pid()) \gset
BEGIN \; UPDATE hot SET value = :pid WHERE :start > 0 \; SELECT pg_sleep(0.001) \; COMMIT;
SQL
$server->wait_until('EXISTS (SELECT FROM unblock.lock_waits)');

$server->ask('CREATE UNLOGGED TABLE seen (pid int, application_name text, backend_start timestamptz, query text)');
my $reporter = $server->session;
$reporter->begin_statement(
	q{DO $$
	  DECLARE
	      until timestamptz := clock_timestamp() + '10 s';
	  BEGIN
	      WHILE clock_timestamp() < until LOOP
	          INSERT INTO seen SELECT pid, application_name, backend_start, query FROM unblock.blocking_chains;
	      END LOOP;
	  END
	  $$});

# Stopped again and again, it is in the middle of a report while the others go on.
my $is_over = time + 10;
while (time < $is_over) {
	kill 'STOP', $reporter->{pid};
	usleep(20_000);
	kill 'CONT', $reporter->{pid};
	usleep(rand 2_000);
}
is(($reporter->end_statement)[1], '', 'the reports');
$churn->{run}->kill_kill;

# A session without details is none with another's, but most have theirs.
my $told = q{application_name <> 'pgbench' AND query LIKE 'BEGIN%'};
cmp_ok($server->ask("SELECT count(DISTINCT pid) FROM seen WHERE $told"), '>=', 20, 'sessions were seen with details');
my $self  = q{pid || ' since ' || (extract(epoch FROM backend_start) * 1000000)::bigint};
my $named = q{application_name NOT IN ('pgbench', } . "$self)";
my $does  = q{regexp_replace(query, '.*value = (\d+) WHERE (\d+).*', '\1 since \2')};
is($server->ask("SELECT * FROM seen WHERE $named LIMIT 5"), '', 'none with the name of another');
is($server->ask("SELECT * FROM seen WHERE query LIKE 'BEGIN%' AND $does <> $self LIMIT 5"),
	'', 'none with the statement of another');
is($server->ask(q{SELECT count(*) FROM seen WHERE backend_start IS NULL AND query LIKE 'BEGIN%'}),
	0, 'none with a statement and no start');

$server->stop;
done_testing();
