# Readers of a trail that its session goes on writing: what they see is of one moment, always. And no other hook at
# the same places keeps it from being written, whichever comes first.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(time);

my $SECONDS = $ENV{SECONDS} // 6;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h');
$server->ask("DO \$\$BEGIN FOR i IN 1 .. 40 LOOP EXECUTE 'CREATE TABLE t' || i || ' (id int)'; END LOOP; END\$\$");

# Each statement locks the table that it names, and says so in a text of another length each time. Savepoints
# come and go, transactions too.
my $script = join '', map {
	my $n = $_;
	my $block = "BEGIN;\n";
	for my $i (1 .. 12) {
		my $table = 1 + ($n * 7 + $i * 3) % 40;
		$block .= "SAVEPOINT s;\n" if $i % 3 == 0;
		$block .= "SELECT count(*) FROM t$table /* t$table ${\ ('x' x (($n * $i * 13) % 400))} t$table */;\n";
		$block .= $n % 2 ? "ROLLBACK TO s;\n" : "RELEASE s;\n" if $i % 3 == 2 && $i > 3;
	}
	$block . ($n % 3 ? "COMMIT;\n" : "ROLLBACK;\n");
} 1 .. 10;
my $load = $server->begin_pgbench([ '-c', 3, '-T', 3600 ], writing => $script);
$server->wait_until("(SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()) > 1");

# A row is torn if its text does not name its relation, whole and twice, or statements are not in order.
my $CHECK = <<'SQL';
	SELECT count(*), count(*) FILTER (WHERE relation IS NOT NULL AND query !~
		('^SELECT count\(\*\) FROM (' || relation::regclass || ') /\* \1 x* \1 \*/$')),
		count(*) FILTER (WHERE statement <= earlier AND at <> earlier_at)
	FROM (SELECT s.*, lag(s.statement) OVER w AS earlier, lag(s.at) OVER w AS earlier_at
		FROM pg_stat_activity a, unblock.transaction_statements(a.pid) WITH ORDINALITY s
		WHERE a.pid <> pg_backend_pid() AND a.backend_type = 'client backend' WINDOW w AS (PARTITION BY a.pid ORDER BY s.ordinality)) seen
SQL
my ($reads, $rows, $torn, $unordered) = (0, 0, 0, 0);
my $until = time + $SECONDS;
while (time < $until) {
	my @seen = split /\|/, $server->ask($CHECK);
	++$reads;
	$rows      += $seen[0];
	$torn      += $seen[1];
	$unordered += $seen[2];
}
note "$reads reads, $rows rows";
is($torn,      0, 'no row of two moments');
is($unordered, 0, 'statements in order');
cmp_ok($rows, '>', 100, 'and something to read');

# --- a writer that was stopped holds up nobody
my $writer = $server->ask("SELECT pid FROM pg_stat_activity WHERE state <> 'idle' AND backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1");
for (1 .. 20) {
	kill 'STOP', $writer;
	$server->ask("SELECT count(*) FROM unblock.transaction_statements($writer)");
	kill 'CONT', $writer;
}
pass('readers of a stopped session go on');

# --- a session that is killed leaves nothing to the next one in its place
$load->{run}->kill_kill;
$server->wait_until("(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') = 1");
is($server->ask("SELECT count(*) FROM pg_stat_activity a, unblock.transaction_statements(a.pid)"), 0, 'nobody in a transaction block, nothing to tell');
my $next = $server->session;
$next->query('BEGIN');
is($server->ask("SELECT count(*) FROM unblock.transaction_statements($next->{pid})"), 0, 'a new session begins with nothing');
$next->query('SELECT * FROM t1');
is($server->ask("SELECT count(*) FROM unblock.transaction_statements($next->{pid})"), 1, 'and has what is its own');
$next->quit;

# --- other extensions at the same hooks
for my $libraries ('pg_stat_statements, auto_explain, pg_unblock', 'pg_unblock, auto_explain, pg_stat_statements') {
	$server->stop;
	$server->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'\nauto_explain.log_min_duration = 0\n"
		  . "auto_explain.log_nested_statements = on\npg_stat_statements.track = all\n");
	$server->forget_observer;
	$server->start;
	$server->ask('DROP EXTENSION pg_stat_statements') if $server->ask(q(SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'));
	$server->ask('CREATE EXTENSION pg_stat_statements');
	$server->ask('SELECT pg_stat_statements_reset()');
	$server->ask(q(CREATE OR REPLACE FUNCTION nested() RETURNS void LANGUAGE plpgsql AS 'BEGIN LOCK TABLE t2; UPDATE t3 SET id = 1; END'));
	my $session = $server->session;
	$session->query($_) for 'BEGIN', 'UPDATE t1 SET id = 1', 'SELECT nested()', 'SAVEPOINT s';
	my ($output, $errors) = $session->try('SELECT 1 / 0 FROM t4');
	like($errors, qr/division by zero/, "$libraries: an error passes through all hooks");
	$session->query($_) for 'ROLLBACK TO s', 'SELECT * FROM t5';
	is($server->ask("SELECT string_agg(relation::regclass || ' ' || mode || ' by ' || query, '; ' ORDER BY statement, relation)
			FROM unblock.transaction_statements($session->{pid}) WHERE relation IS NOT NULL"),
		't1 RowExclusiveLock by UPDATE t1 SET id = 1; t2 AccessExclusiveLock by SELECT nested(); '
		  . 't3 RowExclusiveLock by SELECT nested(); t5 AccessShareLock by SELECT * FROM t5',
		"$libraries: the trail");
	$session->query('COMMIT');
	is($server->ask("SELECT string_agg(query || ' ' || toplevel, '; ' ORDER BY query) FROM pg_stat_statements WHERE query ~ '^(UPDATE|LOCK|SELECT nested)'"),
		'LOCK TABLE t2 false; SELECT nested() true; UPDATE t1 SET id = $1 true; UPDATE t3 SET id = $1 false', "$libraries: and the others' business");
	$session->quit;
}

$server->stop;
done_testing();
