# preempt_idle_blockers_after: a statement of a role with it, once blocked for so
# long, has all ended who wait for their clients anywhere in its way; those who
# work, or are exempt, stay.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use List::Util qw(max);
use Test::More;
use Time::HiRes qw(time);

my $LIMIT  = 0.5;
my $TIME   = qr/\d+(?:\.\d+)?m?s/;
my $NOW    = 'SELECT extract(epoch FROM clock_timestamp())';
my $server = PgUnblock->preloaded('main', 'pg_unblock.max_actions_per_minute = 0');

sub role {
	my ($name, %settings) = @_;
	$server->ask("CREATE ROLE $name LOGIN SUPERUSER");
	$server->ask("ALTER ROLE $name SET pg_unblock.$_ = '$settings{$_}'") for sort keys %settings;
	return;
}
role('migrator',  preempt_idle_blockers_after => "${LIMIT}s");
role('rehearsal', preempt_idle_blockers_after => "${LIMIT}s", mode => 'dry_run');
role('exempt',    preempt_idle_blockers_after => "${LIMIT}s", mode => 'off');
role('heir',      preempt_idle_blockers_after => "${LIMIT}s", count_advisory_locks => 'on');
role('elector',   count_advisory_locks => 'on');
role('watched',   mode => 'dry_run');
$server->ask("CREATE TABLE $_ (id int); INSERT INTO $_ VALUES (1)") for qw(features other aside spared rehearsed);
$server->ask('CREATE TABLE done ()');
$server->ask('CREATE DATABASE elsewhere');
$server->ask('
	CREATE PROCEDURE work_until_done() LANGUAGE plpgsql AS $$
	BEGIN
	    WHILE NOT EXISTS (SELECT FROM done) LOOP
	        PERFORM pg_sleep(0.01);
	    END LOOP;
	END $$');
my $position = $server->log_position;

# A session is ended because it is in the way of another.
sub is_ended_for {
	my ($session, $waiter, $what) = @_;
	my $action = $server->is_acted_on($session, $position, 'terminate preempt_idle_blockers_after 500ms',
		$waiter->{since} + $LIMIT, $what);
	is($action->{for}, $waiter->{pid}, "$what: for whom");
	$server->wait_until_gone($session);
	return $action;
}

sub is_left_alone {
	my ($session, $what) = @_;
	ok($server->is_present($session), $what);
	is($server->actions_on($session, $position) + 0, 0, "$what: nothing was done");
	return;
}

sub is_waiting {
	my ($session, $what) = @_;
	is($server->ask("SELECT count(*) FROM pg_locks WHERE pid = $session->{pid} AND NOT granted"), 1, $what);
	return;
}

# A session that works while it holds the table features, and never is idle.
sub worker {
	my (@first) = @_;
	my $session = $server->session;
	$session->begin_statement(PgUnblock::in_one_go('BEGIN', 'LOCK TABLE features IN ROW SHARE MODE', @first,
		'CALL work_until_done()', 'COMMIT'));
	$server->wait_until(
		"EXISTS (SELECT FROM pg_locks WHERE pid = $session->{pid} AND relation = 'features'::regclass AND granted)");
	return $session;
}

sub end_sessions {
	my (@sessions) = @_;
	$server->ask("SELECT pg_terminate_backend($_->{pid})") for @sessions;
	$server->wait_until_gone(@sessions);
	return;
}

# --- A migration behind sessions that idle, behind one that waits for another that idles, and behind one that
# works. Two more idle elsewhere, one of them in the way of a session whose mode is off.
my $outside = $server->idle_session('LOCK TABLE other IN ACCESS SHARE MODE');
my $aside   = $server->idle_session('LOCK TABLE aside');
my $unheard = $server->waiting_session('SELECT FROM aside', user => 'exempt');
my $working = worker();
my $row     = $server->idle_session('UPDATE other SET id = 2');
my $blocked = worker('UPDATE other SET id = 3');
my @idle    = map { $server->idle_session('SELECT id FROM features') } 1 .. 3;
is($server->ask('SELECT count(*) FROM unblock.idle_transactions WHERE next_limit IS NOT NULL'),
	0, 'nobody has a limit of his own');
my $migration = $server->waiting_session('ALTER TABLE features ADD COLUMN short_id text', user => 'migrator');
for my $number (1 .. 3) {
	my $action = is_ended_for($idle[ $number - 1 ], $migration, "directly in the way, $number");
	is("$action->{state} $action->{blocked} $action->{mode}", 'idle in transaction 1 AccessShareLock', 'what it did');
}
is_ended_for($row, $migration, 'in the way through another');
like($idle[0]->last_words,
	qr/^FATAL:  25P03: terminating connection due to administrator command
DETAIL:  The transaction waited for its client in the way of process $migration->{pid}, whose statement had been blocked for $TIME; it blocked 1 session through AccessShareLock on relation public\.features; lock on public\.features taken by: SELECT id FROM features at [-\d]+ [\d:.]+\+00\. pg_unblock\.preempt_idle_blockers_after of that session is 500ms\.
HINT:  Commit or roll back as soon as the work is done; do not leave a transaction open while the application does something else\.$/m,
	'its client is told why');

$server->wait_for_turn;
is_waiting($migration, 'the migration waits for those who work');
is_left_alone($working, 'one that works');
is_left_alone($blocked, 'one that was blocked');
is_left_alone($outside, 'one that idles and blocks nobody');
is_left_alone($aside, 'one that idles in the way of a session with mode off');
is_waiting($unheard, 'which waits');
$server->ask('INSERT INTO done DEFAULT VALUES');
is(($_->end_statement)[1], '', 'it goes on') for $migration, $working, $blocked;
end_sessions($unheard);

# --- Some are exempt, some are only watched, and one is never silent for long: gaps of less than 100 ms between
# statements do not count as waiting. (A machine that keeps this test from running for so long makes longer ones.)
my $exempt  = $server->idle_session('SELECT FROM spared', user => 'exempt');
my $watched = $server->idle_session('SELECT FROM spared', user => 'watched');
my $chatty  = $server->idle_session('SELECT FROM spared');
my $silent  = $server->idle_session('SELECT FROM spared');
$migration = $server->session(user => 'migrator');
$migration->{since} = $migration->query($NOW);
$migration->begin_statement('ALTER TABLE spared ADD COLUMN c int');
my ($last, $longest_gap) = (time, 0);
do {
	my ($now) = $chatty->try($NOW);
	$chatty->{since} = $now if $now;
	$longest_gap     = max($longest_gap, time - $last);
	$last            = time;
} while $server->is_present($silent);
ok($server->actions_on($chatty, $position) == 0 || $longest_gap >= 0.05, 'a session that its client attends to stays');
is_ended_for($silent, $migration, 'one that is silent');
my $action = is_ended_for($chatty, $migration, 'one that has fallen silent');
cmp_ok($action->{at} + 0.001, '>=', $chatty->{since} + 0.1, 'not before it was silent for 100 ms');
$action = $server->wait_for_action($watched, $position);
is("$action->{action} $action->{for}", "would_terminate $migration->{pid}", 'one in dry run is only told of');
is(scalar $server->actions_on($watched, $position), 1, 'once');
is_left_alone($exempt, 'one whose mode is off');
is_waiting($migration, 'the migration waits for them');
is($_->query('COMMIT'), '', 'it goes on') for $watched, $exempt;
is(($migration->end_statement)[1], '', 'and then the migration');

# --- The migration is in dry run: it only tells. Another one, in earnest, does not.
my $victim    = $server->idle_session('SELECT FROM rehearsed');
my $rehearsal = $server->waiting_session('ALTER TABLE rehearsed ADD COLUMN c int', user => 'rehearsal');
$action = $server->is_acted_on($victim, $position, 'would_terminate preempt_idle_blockers_after 500ms',
	$rehearsal->{since} + $LIMIT, 'in the way of a rehearsal');
is($action->{for}, $rehearsal->{pid}, 'for whom');
is($server->ask("SELECT next_limit, next_action, due_in FROM unblock.idle_transactions WHERE pid = $victim->{pid}"),
	'pg_unblock.preempt_idle_blockers_after|would terminate|00:00:00', 'reports tell of it too');
$server->wait_for_turn;
is(scalar $server->actions_on($victim, $position), 1, 'told once');
$migration = $server->waiting_session('ALTER TABLE rehearsed ADD COLUMN d int', user => 'migrator');
PgUnblock::wait_for('its end', sub { $server->actions_on($victim, $position) == 2 });
$action = ($server->actions_on($victim, $position))[1];
is("$action->{action} $action->{for}", "terminate $migration->{pid}", 'ended for one in earnest');
cmp_ok($action->{at} + 0.001, '>=', $migration->{since} + $LIMIT, 'not before the limit');
is(($_->end_statement)[1], '', 'it goes on') for $rehearsal, $migration;

# --- Advisory locks are in the way where holder and waiter count them, those of a session too.
my ($counted, $by_waiter_only, $by_holder_only) = map { $server->session(user => $_) } qw(elector watched elector);
$counted->stay_idle('SELECT pg_advisory_lock(1)');
$by_waiter_only->stay_idle('SELECT pg_advisory_lock(2)');
$by_holder_only->stay_idle('SELECT pg_advisory_lock(3)');
my $not_heir = $server->waiting_session('SELECT pg_advisory_lock(3)', user => 'migrator');
my @heirs = map { $server->waiting_session("SELECT pg_advisory_lock($_)", user => 'heir') } 2, 1;
$action = is_ended_for($counted, $heirs[1], 'a session with a lock of its own');
is($action->{state}, 'idle', 'its state');
like($counted->last_words,
	qr/^FATAL:  57P01: terminating connection due to administrator command
DETAIL:  The session waited for its client in the way of process $heirs[1]{pid}, whose statement had been blocked for $TIME; it blocked 1 session through ExclusiveLock on .+\. pg_unblock\.preempt_idle_blockers_after of that session is 500ms\.
HINT:  Release session-level locks as soon as the work is done\.$/m,
	'its client is told why');
is(($heirs[1]->end_statement)[1], '', 'the next one has the lock');
is_left_alone($by_waiter_only, 'a holder that does not count it');
is_left_alone($by_holder_only, 'one whose waiter does not count it');
end_sessions(@heirs, $not_heir);

# --- CREATE INDEX CONCURRENTLY waits for snapshots one after another; what counts is how long it has waited in all.
my @snapshots = map { $server->session(dbname => $_) } ('postgres') x 5, 'elsewhere';
$_->stay_idle('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT FROM pg_class LIMIT 1') for @snapshots;
my $index = $server->session(user => 'migrator');
$index->query("SET pg_unblock.preempt_idle_blockers_after = '2s'");
$index->{since} = $index->query($NOW);
$index->begin_statement('CREATE INDEX CONCURRENTLY features_id ON features (id)');
my $elsewhere = pop @snapshots;
for my $snapshot (@snapshots) {
	$action = $server->is_acted_on($snapshot, $position, 'terminate preempt_idle_blockers_after 2s', $index->{since} + 2,
		'a snapshot that CREATE INDEX CONCURRENTLY waits for');
	is($action->{for}, $index->{pid}, 'for whom');
	cmp_ok($action->{at}, '<', $index->{since} + 8, 'soon after the limit, though one after another');
}
is_deeply([ $index->end_statement ], [ '', '' ], 'it comes to its end');
is($server->ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'features_id'::regclass"), 't', 'the index is valid');
is_left_alone($elsewhere, 'a snapshot in another database');
is_left_alone($outside, 'one that idles without a snapshot');

$server->stop;
done_testing();
