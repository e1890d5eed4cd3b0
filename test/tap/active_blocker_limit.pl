# active_blocker_limit cancels the statement of a session that works and has
# blocked others for so long, and ends it if it still does so after cancel_grace;
# whoever keeps nobody waiting, or waits himself, stays.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my ($LIMIT, $GRACE) = (0.5, 1);
my $TIME   = qr/\d+(?:\.\d+)?m?s/;
my $SLEEP  = 'SELECT pg_sleep(3600)';
my $server = PgUnblock->preloaded('main', "pg_unblock.active_blocker_limit = '${LIMIT}s'",
	"pg_unblock.cancel_grace = '${GRACE}s'", 'pg_unblock.max_actions_per_minute = 0');
$server->ask("
	CREATE ROLE gentle LOGIN SUPERUSER; ALTER ROLE gentle SET pg_unblock.cancel_grace = 0;
	CREATE ROLE elector LOGIN; ALTER ROLE elector SET pg_unblock.count_advisory_locks = on;
	CREATE PROCEDURE swallow_cancels() LANGUAGE plpgsql AS \$\$
	BEGIN
	    LOOP
	        BEGIN
	            PERFORM pg_sleep(3600);
	        EXCEPTION WHEN query_canceled THEN
	            RAISE WARNING 'swallowed';
	        END;
	    END LOOP;
	END \$\$");
$server->ask("CREATE TABLE $_ ()") for qw(alone front middle gentle obeys swallows keeps goes_on late queue);
$server->ask('CREATE TABLE copied (id int)');
my $position = $server->log_position;

# A session that has locked a table, and then does something.
sub blocker {
	my ($table, $sql, %params) = @_;
	my $session = $server->session(%params);
	$session->query("BEGIN; LOCK TABLE $table");
	$session->query('SAVEPOINT s') if $params{savepoint};
	$session->begin_statement($sql);
	return $session;
}

sub reader {
	my ($table) = @_;
	return $server->waiting_session("SELECT FROM $table");
}

sub wait_event {
	my ($session, $event) = @_;
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity
		WHERE (pid, state, wait_event) = ($session->{pid}, 'active', '$event'))");
	return;
}

# "it blocked 1 session through AccessExclusiveLock on relation public.obeys; lock on public.obeys taken by: …"
sub blocked_one {
	my ($table) = @_;
	return qr/it blocked 1 session through AccessExclusiveLock on relation public\.$table; lock on public\.$table taken by: LOCK TABLE $table at [-\d]+ [\d:.]+\+00/;
}

# --- Left alone to the end, though they do what they do for longer than those who are not.
my $alone    = blocker('alone', $SLEEP);
my $advisory = $server->busy_session('SELECT pg_advisory_xact_lock(1)');
my $follower = $server->waiting_session('SELECT pg_advisory_xact_lock(1)');

my $idle     = $server->idle_session('LOCK TABLE front');
my $middle   = blocker('middle', 'LOCK TABLE front');
my $last     = reader('middle');

my $copy = $server->idle_session('LOCK TABLE copied');
$copy->begin_copy('COPY copied FROM STDIN');
wait_event($copy, 'ClientRead');
my $for_copy = reader('copied');

# Without a grace, nobody is ended.
my $gentle     = blocker('gentle', 'CALL swallow_cancels()', user => 'gentle');
my $for_gentle = reader('gentle');
$server->is_acted_on($gentle, $position, 'cancel active_blocker_limit 500ms', $for_gentle->{since} + $LIMIT,
	'no grace');

# --- One that gives way when it is told to.
my $obeys  = blocker('obeys', $SLEEP);
my $waiter = reader('obeys');
my $action = $server->is_acted_on($obeys, $position, 'cancel active_blocker_limit 500ms', $waiter->{since} + $LIMIT,
	'a session at work');
is("$action->{state} $action->{blocked} $action->{mode}", 'active 1 AccessExclusiveLock', 'what it did');
my $blocked_one = blocked_one('obeys');
like(($obeys->end_statement)[1],
	qr/^ERROR:  57014: canceling statement due to user request
DETAIL:  The transaction blocked others for $TIME while it worked; $blocked_one\. pg_unblock\.active_blocker_limit is 500ms\.
HINT:  Do the work in smaller transactions\.$/m,
	'its client is told why');
is(($waiter->end_statement)[1], '', 'its waiter goes on');
$obeys->query('ROLLBACK');
is($server->stat('changed_in_time'), 0, 'nothing else was tried');

# --- Those who keep others waiting all the same.
my %state_at_end = (
	swallows => 'active',
	keeps    => 'idle in transaction (aborted)',
	goes_on  => 'active');
my %stubborn = (
	swallows => blocker('swallows', 'CALL swallow_cancels()'),
	keeps    => blocker('keeps', $SLEEP, savepoint => 1),
	goes_on  => blocker('goes_on', "$SLEEP; ROLLBACK TO s; $SLEEP", savepoint => 1));
my %waiter_for = map { ($_ => reader($_)) } sort keys %stubborn;
for my $who (sort keys %stubborn) {
	my $session = $stubborn{$who};
	my $broken  = $waiter_for{$who}{since} + $LIMIT;
	$server->is_acted_on($session, $position, 'cancel active_blocker_limit 500ms', $broken, $who);
	my $end = PgUnblock::wait_for("the end of $who", sub { ($server->actions_on($session, $position))[1] });
	is("$end->{action} $end->{rule} $end->{limit} $end->{state}",
		"terminate active_blocker_limit 500ms $state_at_end{$who}", "$who: ended");
	cmp_ok($end->{at} + 0.001, '>=', $broken + $GRACE, "$who: not before the grace is over");
	like($end->{canceled_before}, qr/^[1-9]\d*(?:\.\d+)?s$/, "$who: as the log tells");
	is(($waiter_for{$who}->end_statement)[1], '', "$who: its waiter goes on");

	my $words = $who eq 'keeps' ? ($session->end_statement)[1] . $session->last_words : ($session->end_statement)[1];
	$blocked_one = blocked_one($who);
	like($words, qr/swallowed|^ERROR:  57014: canceling statement due to user request\nDETAIL:  The transaction blocked/m,
		"$who: canceled first");
	like($words,
		qr/^FATAL:  57P01: terminating connection due to administrator command
DETAIL:  The transaction blocked others for $TIME while it worked, and still did so $TIME after its statement was canceled; $blocked_one\. pg_unblock\.active_blocker_limit is 500ms, pg_unblock\.cancel_grace is 1s\.
HINT:  Do the work in smaller transactions\.$/m,
		"$who: its client is told why");
	is($server->actions_on($session, $position) + 0, 2, "$who: no more was done");
}

is(join(' ', map { $_->{action} } $server->actions_on($gentle, $position)), 'cancel', 'no grace: canceled once');
is($server->ask("SELECT state FROM pg_stat_activity WHERE pid = $gentle->{pid}"), 'active', 'and never ended');
ok($server->is_present($alone),    'whoever blocks nobody is left alone');
ok($server->is_present($advisory), 'so is one that blocks a waiter of an advisory lock');
ok($server->is_present($middle),   'so is one that waits himself');
ok($server->is_present($copy),     'so is one whose client is in the middle of COPY');
ok($server->is_present($idle),     'so is one that is idle');
is(scalar $server->actions($position), 8, 'nobody else was touched');

# --- What counts is how long it has worked while others waited.
my $late     = $server->idle_session('LOCK TABLE late');
my $for_late = reader('late');
$server->wait_until("clock_timestamp() > to_timestamp($for_late->{since} + 4 * $LIMIT)");
$server->wait_for_turn;
is($server->actions_on($late, $position) + 0, 0, 'not while it is idle');
$late->{since} = $server->ask('SELECT extract(epoch FROM clock_timestamp())');
$late->begin_statement($SLEEP);
$server->is_acted_on($late, $position, 'cancel active_blocker_limit 500ms', $late->{since} + $LIMIT,
	'from when it begins to work');

# But not what lies before its transaction. (The lock is the session's.)
my $elector = $server->session(user => 'elector');
$elector->query('SELECT pg_advisory_lock(2)');
my $for_elector = $server->waiting_session('SELECT pg_advisory_lock(2)');
$server->wait_until("clock_timestamp() > to_timestamp($for_elector->{since} + 2 * $LIMIT)");
$elector->{since} = $server->ask('SELECT extract(epoch FROM clock_timestamp())');
$elector->begin_statement($SLEEP);
$server->is_acted_on($elector, $position, 'cancel active_blocker_limit 500ms', $elector->{since} + $LIMIT,
	'a transaction that is younger than the wait');

# Nor what lies before it had the lock: until then it only stood in the queue, and others behind it. (The enforcer
# looks when that time begins, and once more when it has had the lock for a moment.)
my $first    = $server->idle_session('SELECT FROM queue');
my $second   = $server->session;
my $acquires = PgUnblock::in_one_go('BEGIN', 'LOCK TABLE queue', $SLEEP);
$second->begin_statement($acquires);
$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $second->{pid} AND NOT granted)");
my $third = reader('queue');
$server->wait_until("clock_timestamp() > to_timestamp($third->{since} + 2 * $LIMIT)");
$server->wait_for_turn;
$server->ask("SELECT pg_sleep(0.8 * $LIMIT)");
my $has_it = $first->query('SELECT extract(epoch FROM clock_timestamp()); COMMIT');
$server->is_acted_on($second, $position, 'cancel active_blocker_limit 500ms', $has_it + $LIMIT,
	'one that has waited itself');

# --- COPY ends well, when nobody waits any more.
$server->ask("SELECT pg_cancel_backend($for_copy->{pid})");
$for_copy->end_statement;
is_deeply([ $copy->end_copy ], [ 'end of data', '' ], 'COPY was not disturbed');

$server->stop;
done_testing();
