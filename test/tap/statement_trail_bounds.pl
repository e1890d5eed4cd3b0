# How much sessions remember: so many statements, so many bytes, or nothing. And that it costs no memory for long.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h', 'max_locks_per_transaction = 256',
	'pg_unblock.statement_trail = 4');
$server->ask("DO \$\$BEGIN FOR i IN 1 .. 3000 LOOP EXECUTE 'CREATE TABLE t' || i || ' (id int)'; END LOOP; END\$\$");

sub texts {
	my ($session) = @_;
	return $server->ask("SELECT string_agg(query, '; ' ORDER BY statement) FROM
		(SELECT DISTINCT statement, query FROM unblock.transaction_statements($session->{pid})) s");
}
sub run_all {
	my (@statements) = @_;
	my $session = $server->session;
	$session->query($_) for 'BEGIN', @statements;
	return $session;
}
sub locking_query {
	my ($session, $waiter) = @_;
	my $waiting = $server->waiting_session(PgUnblock::in_one_go('BEGIN', $waiter, 'ROLLBACK'));
	my $found = $server->ask("SELECT coalesce(locking_query, 'not known') FROM unblock.root_blockers WHERE pid = $session->{pid}");
	$server->ask("SELECT pg_cancel_backend($waiting->{pid})");
	$waiting->end_statement;
	$waiting->quit;
	return $found;
}

# --- more statements than entries
{
	my $session = run_all('UPDATE t1 SET id = 1', map { "SELECT * FROM t$_" } 2 .. 12);
	is(texts($session), join('; ', 'UPDATE t1 SET id = 1', 'SELECT * FROM t2', 'SELECT * FROM t3', 'SELECT * FROM t12'),
		'the strongest, the first, and the most recent');
	is(locking_query($session, 'LOCK TABLE t1'),  'UPDATE t1 SET id = 1', 'the strongest');
	is(locking_query($session, 'LOCK TABLE t12'), 'SELECT * FROM t12',    'the most recent');
	is(locking_query($session, 'LOCK TABLE t7'),  'not known',            'one that had to make way');
	$session->query('SELECT * FROM t7 /* again */');
	is(locking_query($session, 'LOCK TABLE t7'), 'not known', 'is not taken for another');
	$session->quit;
}
{
	my @modes   = ('ACCESS SHARE', 'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE');
	my $session = run_all(map { "LOCK TABLE t1 IN $_ MODE" } @modes);
	is(texts($session), join('; ', map { "LOCK TABLE t1 IN $_ MODE" } @modes[ 0, 3, 4, 5 ]), 'the first and the strongest on a relation');
	$session->quit;
}

# --- one statement and more relations than there is room for
{
	my $session = run_all('UPDATE t1 SET id = 1', 'LOCK TABLE ' . join(', ', map { "t$_" } 2 .. 2999) . ' IN ACCESS SHARE MODE');
	is(locking_query($session, 'LOCK TABLE t1'), 'UPDATE t1 SET id = 1', 'thousands of weak locks leave a stronger one');
	my ($kept, $statements) = split /\|/, $server->ask("SELECT count(*), count(DISTINCT statement) FROM unblock.transaction_statements($session->{pid})");
	cmp_ok($kept, '>', 500, 'as many as there is room for');
	cmp_ok($kept, '<', 3000, 'and no more');
	is($statements, 2, 'of two statements');
	like(locking_query($session, 'LOCK TABLE t2'), qr/^LOCK TABLE t2, t3, /, 'one that is kept');
	is(locking_query($session, 'LOCK TABLE t2999'), 'not known', 'one that is not');
	is(locking_query($session, 'LOCK TABLE t2998'), 'not known', 'another one');
	my $begin = $server->ask("SELECT length(query) FROM unblock.transaction_statements($session->{pid}) WHERE statement = 2 LIMIT 1");
	is($begin, 1023, 'a text is cut as pg_stat_activity cuts it');
	$session->quit;
}

# --- memory of a session
sub private_memory {
	my ($session) = @_;
	my ($kilobytes) = slurp_file("/proc/$session->{pid}/smaps_rollup") =~ /^Private_Dirty:\s+(\d+)/m;
	return $kilobytes;
}
SKIP: {
	skip 'no /proc', 1 if !-r '/proc/self/smaps_rollup';
	my $session = $server->session;
	my $busy    = q(DO $$BEGIN FOR i IN 1 .. 50 LOOP PERFORM * FROM t1; UPDATE t2 SET id = id; END LOOP; END$$);
	my $blocks  = join "\n", map { ('BEGIN;', 'SELECT * FROM t1;', 'SAVEPOINT s;', "UPDATE t2 SET id = $_;", 'RELEASE s;', 'COMMIT;') } 1 .. 500;
	$session->query($_) for $blocks, $blocks;
	my $before = private_memory($session);
	$session->query($blocks) for 1 .. 4;
	$session->query($busy);
	cmp_ok(private_memory($session) - $before, '<', 256, 'thousands of transactions leave nothing behind, in kB');
	$session->quit;
}

# --- texts that share little memory
$server->stop;
$server->append_conf('postgresql.conf', "pg_unblock.statement_trail = 16\npg_unblock.statement_trail_memory = 64\n");
$server->forget_observer;
$server->start;
{
	my $long    = '/* ' . 'x' x 900 . ' */';
	my $session = run_all("UPDATE t1 SET id = 1 $long", map { "SELECT * FROM t$_ $long" } 2 .. 5);
	my @lengths = split /,/, $server->ask("SELECT string_agg(length(query)::text, ',' ORDER BY statement) FROM unblock.transaction_statements($session->{pid}) WHERE relation IS NOT NULL");
	cmp_ok(scalar(@lengths), '>=', 2, 'a little memory has room for some statements');
	cmp_ok($lengths[0], '<', 900, 'of which it has the beginning');
	like(locking_query($session, 'LOCK TABLE t1'), qr/^UPDATE t1 SET id = 1 \/\* x+$/, 'the strongest lock is among them');
	$session->quit;
}
{
	my $session = run_all("UPDATE t1 SET id = 1 /* ${\ ('é' x 300)} */");
	like($server->ask("SELECT DISTINCT query FROM unblock.transaction_statements($session->{pid})"), qr/^UPDATE t1 SET id = 1 \/\* (?:\xc3\xa9)+$/, 'a text is cut between characters');
	$session->quit;
}

# --- off
$server->stop;
$server->append_conf('postgresql.conf', 'pg_unblock.statement_trail = 0');
$server->forget_observer;
$server->start;
{
	my $session = run_all('UPDATE t1 SET id = 1', 'SELECT 1');
	is(locking_query($session, 'LOCK TABLE t1'), 'not known', 'off');
	my ($output, $errors) = $session->try('SELECT * FROM unblock.transaction_statements(1)');
	like($errors, qr/^ERROR:  55000: statements are not remembered while pg_unblock\.statement_trail is 0\nHINT:  Set pg_unblock\.statement_trail and restart the server\.$/m, 'and says so');
	$session->quit;
}
is($server->ask("SELECT count(*) FROM pg_shmem_allocations WHERE name = 'pg_unblock trails'"), 0, 'without memory for it');

$server->stop;
done_testing();
