# What a session keeps when its transaction is over or aborted, and what limits
# make of it: outer locks below a savepoint count, a cursor WITH HOLD and the
# session's own locks do not; whose state is unknown is never acted upon.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(usleep);

my $LIMIT  = 0.5;
my $TIME   = qr/\d+(?:\.\d+)?m?s/;
my $HINT   = 'HINT:  Commit or roll back as soon as the work is done; do not leave a transaction open while '
  . 'the application does something else.';
my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'pg_unblock.max_actions_per_minute = 0',
	"pg_unblock.idle_blocker_limit = '${LIMIT}s'");
$server->ask("CREATE TABLE $_ (id int); INSERT INTO $_ VALUES (1)") for qw(released kept alive unseen);
$server->ask('
	CREATE ROLE witness LOGIN SUPERUSER; ALTER ROLE witness SET pg_unblock.mode = off;
	CREATE ROLE elector LOGIN SUPERUSER; ALTER ROLE elector SET pg_unblock.count_advisory_locks = on');
my $position = $server->log_position;

# A session whose transaction is aborted by the last of these statements, since {since} or a moment later.
sub aborted_session {
	my ($sql, %params) = @_;
	my $session = $server->session(%params);
	$session->query($sql);
	$session->{since} = $session->query('SELECT extract(epoch FROM clock_timestamp())');
	$session->try('SELECT 1 / 0');
	return $session;
}

# Whose own limits are none: only what he waits for is tested.
sub witness {
	my ($sql) = @_;
	return $server->waiting_session($sql, user => 'witness');
}

# --- An aborted transaction holds nothing and blocks nobody.
my $released = aborted_session('BEGIN; LOCK TABLE released');
is($server->session->query('SELECT id FROM released'), 1, 'an aborted transaction has given back its locks');

# --- Inside a savepoint it keeps those taken before.
my $kept   = aborted_session('BEGIN; LOCK TABLE kept; SAVEPOINT s');
my $waiter = witness('SELECT id FROM kept');
my $action = $server->is_acted_on($kept, $position, 'terminate idle_blocker_limit 500ms', $waiter->{since} + $LIMIT,
	'aborted inside a savepoint');
is("$action->{state} $action->{blocked} $action->{mode}", 'idle in transaction (aborted) 1 AccessExclusiveLock',
	'what it did');
is(($waiter->end_statement)[1], '', 'its waiter goes on');
like($kept->last_words,
	qr/^FATAL:  25P03: terminating connection due to administrator command
DETAIL:  The transaction waited for its client while it blocked others for $TIME; it blocked 1 session through AccessExclusiveLock on relation public\.kept; lock on public\.kept taken by: LOCK TABLE kept at [-\d]+ [\d:.]+\+00\. pg_unblock\.idle_blocker_limit is 500ms\.
\Q$HINT\E$/m,
	'its client is told why');

# Going back to the savepoint does not begin the time anew.
my $kept_alive = aborted_session('BEGIN; LOCK TABLE alive; SAVEPOINT s');
$waiter = witness('SELECT id FROM alive');
while ($server->is_present($kept_alive)) {
	usleep(1e6 * $LIMIT / 4);
	$kept_alive->try('ROLLBACK TO s; SELECT 1 / 0');
}
$server->is_acted_on($kept_alive, $position, 'terminate idle_blocker_limit 500ms', $waiter->{since} + $LIMIT,
	'aborted again and again');
is(($waiter->end_statement)[1], '', 'its waiter goes on');

# A session's own lock outlives the abort.
my $elector = aborted_session('BEGIN; SELECT pg_advisory_lock(1)', user => 'elector');
$waiter = witness('SELECT pg_advisory_lock(1)');
$action = $server->is_acted_on($elector, $position, 'terminate idle_blocker_limit 500ms', $waiter->{since} + $LIMIT,
	'aborted, with a lock of the session');
is($action->{state}, 'idle in transaction (aborted)', 'its state');
is(($waiter->end_statement)[1], '', 'its waiter goes on');

ok($server->is_present($released), 'an aborted transaction that keeps nothing is left alone');
is($server->actions_on($released, $position) + 0, 0, 'nothing was done');
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '1s');
$action = $server->is_acted_on($released, $position, 'terminate idle_in_transaction_limit 1s',
	$released->{since} + 1, 'until there is a limit that it breaks');
is($action->{state}, 'idle in transaction (aborted)', 'its state');
like($released->last_words,
	qr/^FATAL:  25P03: terminating connection due to administrator command
DETAIL:  The transaction waited for its client for $TIME\. pg_unblock\.idle_in_transaction_limit is 1s\.
\Q$HINT\E$/m,
	'its client is told why');

# --- With every limit there is: whoever is in no transaction, or tells nobody what it does.
$server->set_in_file(
	(map { ("pg_unblock.$_" => "${LIMIT}s") } qw(idle_in_transaction_limit idle_write_transaction_limit
		idle_blocker_limit active_blocker_limit queued_blocker_limit preempt_idle_blockers_after transaction_limit)),
	'pg_unblock.horizon_age_limit' => 10);
$server->wait_for_turn;

my $cursor = $server->session;
$cursor->query('BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id FROM kept; COMMIT');
my $leader = $server->session;
$leader->query('SELECT pg_advisory_lock(2)');
my $follower = witness('SELECT pg_advisory_lock(2)');
my $unseen = $server->session;
$unseen->query('SET track_activities = off; BEGIN; LOCK TABLE unseen; INSERT INTO unseen VALUES (2)');
my $for_unseen = witness('SELECT id FROM unseen');
my $unseen_at_work = $server->session;
$unseen_at_work->query('SET track_activities = off; BEGIN');
$unseen_at_work->begin_statement('SELECT pg_sleep(3600)');
$server->ask('DO $$ BEGIN FOR i IN 1 .. 20 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
my $pids = join ', ', map { $_->{pid} } $cursor, $leader, $unseen, $unseen_at_work;
is($server->ask("SELECT string_agg(state, ', ' ORDER BY state DESC) FROM pg_stat_activity WHERE pid IN ($pids)"),
	'idle, idle, disabled, disabled', 'what they are doing');

# Whoever is seen to do the same is ended.
my %ended = (
	'a cursor in a transaction' => $server->idle_session('DECLARE c CURSOR WITH HOLD FOR SELECT id FROM kept'),
	'one that has written'      => $server->idle_session('INSERT INTO kept VALUES (2)'),
	'one at work'               => $server->busy_session('SELECT 1'));
for my $what (sort keys %ended) {
	is($server->wait_for_action($ended{$what}, $position)->{action}, 'terminate', "$what is ended");
	$server->wait_until_gone($ended{$what});
}
$server->wait_for_turn;
ok($server->is_present($_), 'a session that tells nobody what it does is never ended') for $unseen, $unseen_at_work;
like($server->ask('SELECT finding FROM unblock.check()'), qr/^2 sessions cannot be judged/m, 'check() tells');
is($unseen->query('COMMIT; SELECT count(*) FROM unseen'), 2, 'it goes on');
is($cursor->query('FETCH c'), 1, 'a cursor WITH HOLD can be read');
is($leader->query('SELECT pg_advisory_unlock(2)'), 't', 'the session\'s lock was held');
is(($_->end_statement)[1], '', 'its waiter goes on') for $follower, $for_unseen;
is(scalar $server->actions($position), 7, 'nobody else was touched');

$server->stop;
done_testing();
