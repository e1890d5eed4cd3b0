# locks_held() has what pg_locks has, wherever the server keeps it, and counts
# who waits because of it.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'max_prepared_transactions = 5');
my $TABLES = 300; # more than the first array of the function holds
$server->ask("CREATE TABLE hot (id int PRIMARY KEY, n int); INSERT INTO hot VALUES (1, 0); CREATE ROLE guest LOGIN");
$server->ask("DO 'BEGIN FOR i IN 1..$TABLES LOOP EXECUTE format(''CREATE TABLE many%s ()'', i); END LOOP; END'");

# Rows that only one of the two has.
sub differences {
	my ($pid, $in_pg_locks) = @_;
	my $ours = "SELECT locktype, database, relation, mode, granted, fastpath FROM unblock.locks_held($pid)";
	my $theirs = "SELECT locktype, database, relation, mode, granted, fastpath FROM pg_locks WHERE $in_pg_locks";
	return $server->ask("WITH ours AS MATERIALIZED ($ours), theirs AS MATERIALIZED ($theirs)
		SELECT 'ours', * FROM (TABLE ours EXCEPT ALL TABLE theirs) _
		UNION ALL SELECT 'theirs', * FROM (TABLE theirs EXCEPT ALL TABLE ours) _");
}

sub agrees {
	my ($session, $rows, $name) = @_;
	is(differences($session->{pid}, "pid = $session->{pid}"), '', "$name: as pg_locks has it");
	cmp_ok($server->ask("SELECT count(*) FROM unblock.locks_held($session->{pid})"), '>=', $rows, "$name: all rows");
	return;
}

sub waiters {
	my ($session, $lock, $mode) = @_;
	return $server->ask("SELECT lock, mode, granted, waiters FROM unblock.locks_held($session->{pid})
		WHERE lock LIKE '$lock' AND mode = '$mode'");
}

# --- every place where a lock can be
my $few = $server->idle_session('SELECT * FROM hot');
agrees($few, 3, 'the fast path');
is($server->ask("SELECT bool_and(fastpath) FROM unblock.locks_held($few->{pid})"), 't', 'and nothing else');
my $many = $server->session;
$many->stay_idle('BEGIN', map { "TABLE many$_" } 1 .. $TABLES);
agrees($many, $TABLES, 'more tables than the fast path has room for');
is($server->ask("SELECT count(DISTINCT fastpath) FROM unblock.locks_held($many->{pid})"), 2, 'in both places');
$many->query('ROLLBACK');
my $mixed = $server->idle_session(PgUnblock::in_one_go('INSERT INTO hot VALUES (2, 0)', 'TABLE many1',
	'LOCK TABLE many1 IN SHARE MODE', 'SELECT pg_advisory_lock(1)', 'SELECT pg_advisory_xact_lock_shared(1, 2)',
	q(COMMENT ON DATABASE postgres IS 'x'), q(COMMENT ON ROLE guest IS 'x')));
agrees($mixed, 9, 'advisory, object, transaction, several modes');
is($server->ask("SELECT string_agg(lock, ', ' ORDER BY lock COLLATE \"C\") FROM unblock.locks_held($mixed->{pid})
	WHERE locktype IN ('advisory', 'object')"), 'advisory (1,2), advisory 1, database postgres, role guest', 'with names');
$mixed->query('ROLLBACK');
agrees($mixed, 1, 'a plain idle session with a session lock');
is($server->ask("SELECT lock, mode FROM unblock.locks_held($mixed->{pid})"), 'advisory 1|ExclusiveLock', 'that alone');

# --- order
is($server->ask("SELECT lock, mode FROM unblock.locks_held($few->{pid}) WHERE locktype <> 'virtualxid'"),
	"relation public.hot|AccessShareLock\nrelation public.hot_pkey|AccessShareLock", 'equal ones by their text');
my $strong = $server->idle_session(PgUnblock::in_one_go('LOCK TABLE many2', 'TABLE many1', 'LOCK TABLE many3 IN SHARE MODE', 'LOCK TABLE many4'));
is($server->ask("SELECT lock, mode FROM unblock.locks_held($strong->{pid}) WHERE locktype = 'relation'"),
	join("\n", 'relation public.many2|AccessExclusiveLock', 'relation public.many4|AccessExclusiveLock',
		'relation public.many3|ShareLock', 'relation public.many1|AccessShareLock'), 'strongest first');
$strong->query('ROLLBACK');

# --- waits
my $alter  = $server->waiting_session('ALTER TABLE hot ADD a int');
my $second = $server->waiting_session('ALTER TABLE hot ADD b int');
my $reader = $server->waiting_session('SELECT * FROM hot');
agrees($_, 1, 'while somebody waits') for $few, $alter, $second, $reader;
is(waiters($few, 'relation public.hot', 'AccessShareLock'), 'relation public.hot|AccessShareLock|t|2',
	'those whom it keeps waiting itself');
is(waiters($alter, 'relation public.hot', 'AccessExclusiveLock'), 'relation public.hot|AccessExclusiveLock|f|2',
	'for a request, those behind it');
is(waiters($second, 'relation public.hot', 'AccessExclusiveLock'), 'relation public.hot|AccessExclusiveLock|f|1',
	'and only those');
is(waiters($reader, 'relation public.hot', 'AccessShareLock'), 'relation public.hot|AccessShareLock|f|0',
	'the last one keeps nobody waiting');
$few->query('COMMIT');
$_->end_statement for $alter, $second, $reader;

my $writer = $server->idle_session('UPDATE hot SET n = 1');
my @updates = map { $server->waiting_session('UPDATE hot SET n = 2') } 1 .. 2;
agrees($_, 3, 'a row') for $writer, @updates;
is(waiters($writer, 'transaction %', 'ExclusiveLock') =~ s/^transaction \d+//r, '|ExclusiveLock|t|1', 'its transaction');
is(waiters($updates[0], 'tuple %', 'ExclusiveLock'), 'tuple (0,1) of public.hot|ExclusiveLock|t|1', 'its place in line');
$writer->query('ROLLBACK');
$updates[0]->end_statement;
$updates[1]->end_statement;

# A process that wants more of what it has does not wait for itself.
my ($first, $upgrade) = map { $server->idle_session('TABLE many1') } 1 .. 2;
$upgrade->begin_statement('LOCK TABLE many1');
$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $upgrade->{pid} AND NOT granted)");
agrees($upgrade, 3, 'an upgrade');
is(waiters($first, 'relation public.many1', 'AccessShareLock'), 'relation public.many1|AccessShareLock|t|1', 'one waits');
is(waiters($upgrade, 'relation public.many1', 'AccessShareLock'), 'relation public.many1|AccessShareLock|t|0', 'not for itself');
$first->query('COMMIT');
$upgrade->end_statement;
$upgrade->query('COMMIT');

# --- prepared transactions, all together
is($server->ask('SELECT count(*) FROM unblock.locks_held(0)'), 0, 'no prepared transaction');
for (1, 2) {
	$server->ask($_) for 'BEGIN', "INSERT INTO hot VALUES (1$_, 0)", 'TABLE many1', "PREPARE TRANSACTION 'p$_'";
}
is(differences(0, 'pid IS NULL'), '', 'prepared transactions: as pg_locks has it');
is($server->ask("SELECT count(*) FROM unblock.locks_held(0) WHERE lock = 'relation public.many1'"), 2, 'of both');
$alter = $server->waiting_session('ALTER TABLE hot ADD c int');
is($server->ask("SELECT min(waiters), max(waiters) FROM unblock.locks_held(0) WHERE lock = 'relation public.hot'"),
	'1|1', 'and who waits for them');
$server->ask("ROLLBACK PREPARED 'p$_'") for 1, 2;
$alter->end_statement;

# --- nobody, and everybody
is($server->ask("SELECT count(*) FROM unblock.locks_held($_)"), 0, "nobody: $_") for -1, 2147483647, 'NULL';
is($server->session(user => 'guest')->query("SELECT count(*) > 0 FROM unblock.locks_held(pg_backend_pid())"), 't', 'anybody may ask');
my $enforcer = $server->enforcer_pid;
is($server->ask("SELECT count(*) FROM unblock.locks_held($enforcer)"), 0, 'a process of the server that holds nothing');

$server->stop;
done_testing();
