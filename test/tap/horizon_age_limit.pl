# horizon_age_limit ends whoever waits for his client in a transaction whose
# xmin or id has become so many transactions old, not before; those who hold
# nothing back, or work, stay.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

# Nobody but this test begins transactions with ids, the recorder neither.
my $LIMIT  = 200;
my $server = PgUnblock->preloaded('main', 'autovacuum = off', "pg_unblock.horizon_age_limit = $LIMIT",
	'pg_unblock.max_actions_per_minute = 0', "pg_unblock.history_database = ''");
$server->ask('
	CREATE TABLE t (id int); INSERT INTO t VALUES (1);
	CREATE ROLE dry LOGIN; ALTER ROLE dry SET pg_unblock.mode = dry_run; GRANT SELECT ON t TO dry;
	CREATE PROCEDURE burn(transactions int) LANGUAGE plpgsql AS $$
	BEGIN
	    FOR i IN 1 .. transactions LOOP
	        PERFORM pg_current_xact_id();
	        COMMIT;
	    END LOOP;
	END $$');
my $position = $server->log_position;

# Until what the session holds back is so many transactions old.
sub burn_until {
	my ($session, $age) = @_;
	my $now = age_of($session);
	$server->ask('CALL burn(' . ($age - $now) . ')');
	is(age_of($session), $age, "its age is $age now");
	return;
}

sub age_of {
	my ($session) = @_;
	return $server->ask("SELECT greatest(age(backend_xmin), age(backend_xid)) FROM pg_stat_activity
		WHERE pid = $session->{pid}");
}

sub next_limit {
	my ($session) = @_;
	return $server->ask("SELECT next_limit, next_action, due_in FROM unblock.idle_transactions
		WHERE pid = $session->{pid}");
}

my $outside = $server->session;
my $plain   = $server->idle_session('SELECT * FROM t');
my $working = $server->session;
$working->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t');
$working->begin_statement('SELECT pg_sleep(3600)');

my $snapshot = $server->session;
$snapshot->stay_idle('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT * FROM t');
my $dry = $server->session(user => 'dry');
$dry->stay_idle('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT * FROM t');
$server->ask('CALL burn(20)');
my $cursor = $server->idle_session('DECLARE c CURSOR FOR SELECT * FROM t');
$server->ask('CALL burn(20)');
my $writer = $server->idle_session('INSERT INTO t VALUES (2)');
is($server->ask("SELECT backend_xmin FROM pg_stat_activity WHERE pid = $writer->{pid}"), '', 'this one has an id only');

is(next_limit($_), 'pg_unblock.horizon_age_limit|terminate|', 'the limit is reported, but not when it will be broken')
  for $snapshot, $writer;
is(next_limit($dry), 'pg_unblock.horizon_age_limit|would terminate|', 'the same in dry run');

for ([ $snapshot, 'a snapshot' ], [ $cursor, 'a cursor' ], [ $writer, 'an id' ]) {
	my ($session, $what) = @$_;
	burn_until($session, $LIMIT - 1);
	$server->wait_for_turn;
	is($session->query('SELECT 1'), 1, "$what one transaction younger is left alone");
	burn_until($session, $LIMIT);
	# Nothing wakes the enforcer: it looks by itself.
	my $action = $server->wait_for_action($session, $position);
	is("$action->{action} $action->{rule} $action->{limit} $action->{measured}",
		"terminate horizon_age_limit $LIMIT $LIMIT", "$what: ended at this age");
	$server->wait_until_gone($session);
}
like($snapshot->last_words,
	qr/^FATAL:  25P03: terminating connection due to administrator command
DETAIL:  The transaction waited for its client and held back vacuum for 200 transactions\. pg_unblock\.horizon_age_limit is 200\.
HINT:  Commit or roll back as soon as the work is done; do not leave a transaction open while the application does something else\.$/m,
	'its client is told why');

is(next_limit($dry), 'pg_unblock.horizon_age_limit|would terminate|00:00:00', 'once broken, it is due now');
is(join(' ', map { "$_->{action} $_->{measured}" } $server->actions_on($dry, $position)),
	"would_terminate $LIMIT", 'dry run tells once');
ok($server->is_present($dry), 'and ends nobody');
is($plain->query('SELECT 1'), 1, 'a transaction that holds back nothing between its statements is left alone');
is($outside->query('SELECT 1'), 1, 'so is a session in none');
ok($server->is_present($working), 'so is one at work');
cmp_ok(age_of($working), '>=', $LIMIT, 'though it is as old');
is(scalar $server->actions($position), 4, 'nobody else was touched');

# When its work is over it is too old at once, and not before.
my $late = $server->session;
$late->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t');
$late->{since} = $server->ask('SELECT extract(epoch FROM clock_timestamp())');
$late->begin_statement('SELECT pg_sleep(2)');
$server->ask("CALL burn(2 * $LIMIT)");
my $action = $server->wait_for_action($late, $position);
is($action->{measured}, 2 * $LIMIT, 'one that is too old already is ended');
cmp_ok($action->{at} + 0.001, '>=', $late->{since} + 2, 'when its work is over');

$server->stop;
done_testing();
