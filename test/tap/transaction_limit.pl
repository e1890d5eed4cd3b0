# transaction_limit ends a session whose transaction has been open for so long,
# whatever it does, and not before; sessions with many short transactions stay.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(usleep);

my $LIMIT  = 1;
my $TIME   = qr/\d+(?:\.\d+)?m?s/;
my $server = PgUnblock->preloaded('main', "pg_unblock.transaction_limit = '${LIMIT}s'",
	'pg_unblock.max_actions_per_minute = 0');
$server->ask("
	CREATE TABLE t (id int);
	CREATE ROLE patient LOGIN; ALTER ROLE patient SET pg_unblock.transaction_limit = 0; GRANT ALL ON t TO patient;
	CREATE PROCEDURE commit_for(length interval) LANGUAGE plpgsql AS \$\$
	DECLARE
	    until timestamptz := clock_timestamp() + length;
	BEGIN
	    WHILE clock_timestamp() < until LOOP
	        PERFORM pg_sleep(0.02);
	        COMMIT;
	    END LOOP;
	END \$\$");
my $position = $server->log_position;

# A client whose transaction begins at {since} or a moment later, with this statement.
sub in_transaction {
	my ($sql, %params) = @_;
	my $session = $server->session(%params);
	$session->{since} = $session->query('SELECT extract(epoch FROM clock_timestamp())');
	$session->begin_statement($sql);
	return $session;
}

# Left alone to the end, with the same limit or without one.
my $outside = $server->session;
my $aborted = $server->session;
$aborted->query('BEGIN');
$aborted->try('SELECT 1 / 0');
my $commits = $server->session;
$commits->begin_statement("CALL commit_for('1 h')");
my $holder = $server->session;
$holder->query('SELECT pg_advisory_lock(1)'); # the session's, not of a transaction
my $patient = $server->idle_session('SELECT 1', user => 'patient');

# Each in one message, so that none is idle who should not be.
my %ended = (
	'idle'             => in_transaction('BEGIN'),
	'working'          => in_transaction('BEGIN\; SELECT pg_sleep(3600)'),
	'waits for a lock' => in_transaction('BEGIN\; SELECT pg_advisory_xact_lock(1)'),
	'one statement'    => in_transaction('SELECT pg_sleep(3600)'),
	'kept alive'       => in_transaction('BEGIN'));
$_->end_statement for @ended{ 'idle', 'kept alive' };
while ($server->is_present($ended{'kept alive'})) {
	$ended{'kept alive'}->try('SELECT 1');
	usleep(1e6 * $LIMIT / 10);
}
my %state_of = ('working' => 'active', 'waits for a lock' => 'active', 'one statement' => 'active');
for my $what (sort keys %ended) {
	my $session = $ended{$what};
	my $action = $server->is_acted_on($session, $position, 'terminate transaction_limit 1s',
		$session->{since} + $LIMIT, $what);
	is($action->{state}, $state_of{$what} // 'idle in transaction', "$what: its state") unless $what eq 'kept alive';
	$server->wait_until_gone($session);
}
my $told = qr/^FATAL:  25P04: terminating connection due to administrator command
DETAIL:  The transaction had been open for $TIME\. pg_unblock\.transaction_limit is 1s\.
HINT:  Do the work in shorter transactions\.$/m;
like($ended{'idle'}->last_words, $told, 'idle: its client is told why');
like(($ended{$_}->end_statement)[1], $told, "$_: its client is told why") for sort keys %state_of;

# All of these have had as long.
is($outside->query('SELECT 1'), 1, 'a session in no transaction is left alone');
is($holder->query('SELECT 1'), 1, 'so is one that holds a lock in no transaction');
is($patient->query('SELECT 1'), 1, 'so is one without a limit');
ok($server->is_present($aborted), 'so is an aborted transaction');
is($server->ask("SELECT state, clock_timestamp() - query_start > '${LIMIT}s' FROM pg_stat_activity
		WHERE pid = $commits->{pid}"),
	'active|t', 'so is a procedure that commits, though its statement is older');
is(scalar $server->actions($position), keys %ended, 'nobody else was touched');

# A statement with transactions of its own counts from its beginning, whatever it waits for.
$patient->query('COMMIT; BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE');
my $snapshot = $server->session(user => 'patient');
$snapshot->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t');
my $index = $server->waiting_session('CREATE INDEX CONCURRENTLY ON t (id)');
my $start = $server->ask("SELECT extract(epoch FROM query_start) FROM pg_stat_activity WHERE pid = $index->{pid}");
$patient->query('COMMIT');
my $action = $server->is_acted_on($index, $position, 'terminate transaction_limit 1s',
	$start + $LIMIT, 'CREATE INDEX CONCURRENTLY');
is($server->ask("SELECT extract(epoch FROM timestamptz '$action->{xact_start}')"), $start, 'counted from its beginning');
is($snapshot->query('SELECT 1'), 1, 'whom it waited for is left alone');

$server->stop;
done_testing();
