# queued_blocker_limit cancels a statement that has kept others waiting behind it
# in a queue for so long, if nobody holds the lock against them; holders stay, and
# so do statements without a limit.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $LIMIT  = 0.5;
my $TIME   = qr/\d+(?:\.\d+)?m?s/;
my $server = PgUnblock->preloaded('main', 'pg_unblock.max_actions_per_minute = 0');
$server->ask("
	CREATE ROLE migrator LOGIN SUPERUSER; ALTER ROLE migrator SET pg_unblock.queued_blocker_limit = '${LIMIT}s';
	CREATE ROLE careful LOGIN SUPERUSER; ALTER ROLE careful SET pg_unblock.queued_blocker_limit = '${LIMIT}s';
	ALTER ROLE careful SET pg_unblock.queued_blocker_waiters = 5;
	CREATE ROLE slow LOGIN SUPERUSER; ALTER ROLE slow SET pg_unblock.queued_blocker_limit = '2s';
	CREATE ROLE patient LOGIN SUPERUSER; ALTER ROLE patient SET pg_unblock.queued_blocker_limit = 0");
$server->ask("CREATE TABLE $_ (id int); INSERT INTO $_ VALUES (1)") for qw(features held few five ahead once again);
my $position = $server->log_position;

# An ALTER that waits in the queue.
my $columns = 0;
sub alter {
	my ($table, $user) = @_;
	++$columns;
	return $server->waiting_session("ALTER TABLE $table ADD COLUMN c$columns int", user => $user);
}

sub reader {
	my ($table) = @_;
	return $server->waiting_session("SELECT id FROM $table");
}

sub go_on {
	my ($what, @sessions) = @_;
	is_deeply([ map { $_->end_statement } @sessions ], [ map { (1, '') } @sessions ], $what);
	return;
}

sub are_waiting {
	my ($what, @sessions) = @_;
	my $pids = join ', ', map { $_->{pid} } @sessions;
	is($server->ask("SELECT count(*) FROM pg_stat_activity WHERE pid IN ($pids) AND wait_event_type = 'Lock'"),
		@sessions, $what);
	return;
}

# --- Left alone to the end: whoever waits behind one who holds the lock against them is not kept waiting by the
# queue, nor are too few.
my $strong     = $server->idle_session('SELECT FROM held; SAVEPOINT s; LOCK TABLE held');
my $for_strong = alter('held', 'slow');
my @held       = map { reader('held') } 1, 2;
my $weak       = $server->idle_session('SELECT FROM few');
my $before_few = alter('few', 'careful');
my @few        = map { reader('few') } 1 .. 4;

# --- The incident, with a holder that is idle and with one that works.
my @readers = map { $server->session } 1 .. 20;
for my $what ('an idle holder', 'a holder at work') {
	my $takes      = $what eq 'an idle holder' ? 'idle_session' : 'busy_session';
	my $holder     = $server->$takes('SELECT id FROM features');
	my @migrations = map { alter('features', 'migrator') } 1 .. 3;
	my $since      = $readers[0]->query('SELECT extract(epoch FROM clock_timestamp())');
	$_->begin_statement('SELECT id FROM features') for @readers;
	for my $number (1 .. 3) {
		my $session = $migrations[ $number - 1 ];
		my $action  = $server->is_acted_on($session, $position, 'cancel queued_blocker_limit 500ms',
			$since + $LIMIT, "$what: migration $number");
		is("$action->{state} $action->{mode}", 'active AccessExclusiveLock', "$what: what it did");
		like(($session->end_statement)[1],
			qr/^ERROR:  55P03: canceling statement due to lock timeout
DETAIL:  The statement waited for AccessExclusiveLock on relation public\.features and kept $action->{blocked} sessions? waiting behind it in the queue, for $TIME\. pg_unblock\.queued_blocker_limit is 500ms\.
HINT:  Try again later\. With a lower lock_timeout a statement gives up by itself before others have to wait behind it for long\.$/m,
			"$what: its client is told why");
	}
	go_on("$what: the readers go on", @readers);
	ok($server->is_present($holder), "$what stays");
	$server->ask("SELECT pg_terminate_backend($holder->{pid})");
	$server->wait_until_gone($holder);
}
$_->quit for @readers;
$server->wait_until_gone(@readers);

# --- All at once, when the limit comes: what is told is exact.
my $holder     = $server->idle_session('SELECT id FROM features');
my @migrations = map { $server->waiting_session("ALTER TABLE features ADD COLUMN d$_ int") } 1 .. 3;
my @jammed     = map { reader('features') } 1 .. 3;
$server->wait_until("clock_timestamp() > to_timestamp($jammed[2]{since} + $LIMIT)");
$server->set_in_file('pg_unblock.queued_blocker_limit' => '300ms');
is(join(' ', map { $server->wait_for_action($_, $position)->{blocked} } @migrations), '5 4 3', 'whom each of them blocked');
like(($migrations[0]->end_statement)[1], qr/kept 5 sessions waiting/, 'its client is told so');
$_->end_statement for @migrations[ 1, 2 ];
go_on('the readers go on', @jammed);
$server->set_in_file('pg_unblock.queued_blocker_limit' => undef);
$server->wait_for_turn;

# --- Not all of the queue has a limit.
my $patient = alter('features', 'patient');
my $hurried = alter('features', 'migrator');
my $reader  = reader('features');
$server->is_acted_on($hurried, $position, 'cancel queued_blocker_limit 500ms', $reader->{since} + $LIMIT,
	'one with a limit');
$hurried->end_statement;
are_waiting('one without stays', $patient);
are_waiting('and keeps others waiting', $reader);

# --- Five have to wait.
my $before_five = $server->idle_session('SELECT FROM five');
my $careful     = alter('five', 'careful');
my @five        = map { reader('five') } 1 .. 4;
$server->wait_until("clock_timestamp() > to_timestamp($five[3]{since} + $LIMIT)");
$server->wait_for_turn;
are_waiting('four are not enough', $careful);
push @five, reader('five');
$server->is_acted_on($careful, $position, 'cancel queued_blocker_limit 500ms', $five[4]{since} + $LIMIT, 'with the fifth');
go_on('the readers go on', @five);

# --- Whoever holds the lock already gets ahead of those who wait for that; but he has not kept them waiting before.
my $before_ahead = $server->idle_session('SELECT FROM ahead');
my $ahead        = $server->session(user => 'migrator');
$ahead->query("BEGIN; SELECT FROM ahead; SET pg_unblock.queued_blocker_limit = '2s'");
my $overtaken = alter('ahead', 'patient');
my $behind    = reader('ahead');
$server->wait_until("clock_timestamp() > to_timestamp($behind->{since} + 2)");
$server->wait_for_turn;
my $comes = $ahead->query('SELECT extract(epoch FROM clock_timestamp())');
$ahead->begin_statement('LOCK TABLE ahead');
$server->is_acted_on($ahead, $position, 'cancel queued_blocker_limit 2s', $comes + 2, 'one that gets ahead of others');
are_waiting('of whom one keeps the other waiting', $overtaken, $behind);

# --- A statement that goes on after it was canceled is not canceled again; the next one is.
my $for_once = $server->idle_session('SELECT FROM once');
my $once     = $server->waiting_session(
	'DO $$
	BEGIN
	    LOCK TABLE once;
	EXCEPTION WHEN query_canceled THEN
	    LOCK TABLE once;
	END $$', user => 'migrator');
my $first = reader('once');
$server->is_acted_on($once, $position, 'cancel queued_blocker_limit 500ms', $first->{since} + $LIMIT, 'one that goes on');
go_on('the readers go on', $first);
my $second = reader('once');

my $for_again = $server->idle_session('SELECT FROM again');
my $again     = alter('again', 'migrator');
$reader = reader('again');
$server->is_acted_on($again, $position, 'cancel queued_blocker_limit 500ms', $reader->{since} + $LIMIT, 'one that is tried again');
$again->end_statement;
go_on('the readers go on', $reader);
$again->begin_statement('ALTER TABLE again ADD COLUMN tried_again int');
$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $again->{pid} AND NOT granted)");
$reader = reader('again');
PgUnblock::wait_for('the second cancel', sub { $server->actions_on($again, $position) == 2 });
my $action = ($server->actions_on($again, $position))[1];
cmp_ok($action->{at} + 0.001, '>=', $reader->{since} + $LIMIT, 'again: not before the limit');
go_on('the readers go on', $reader);
are_waiting('one that goes on is not canceled again', $once);
are_waiting('though others wait behind it', $second);

# --- Whoever was left alone has had as long.
$server->wait_until("clock_timestamp() > to_timestamp($held[1]{since} + 2)");
$server->wait_for_turn;
are_waiting('one behind a holder in a conflicting mode', $for_strong, @held);
are_waiting('one before too few', $before_few, @few);
ok($server->is_present($_), 'the holder is there') for $strong, $weak, $holder;
is($server->actions_on($_, $position) + 0, 0, 'nothing was done') for $for_strong, $before_few, $patient;

# As soon as nobody holds the lock against the readers, they are kept waiting by the queue alone.
my $since = $server->ask('SELECT extract(epoch FROM clock_timestamp())');
$server->wait_for_turn;
$strong->query('ROLLBACK TO s');
$server->is_acted_on($for_strong, $position, 'cancel queued_blocker_limit 2s', $since + 2,
	'one that no holder hides any more');
go_on('the readers go on', @held);

$server->stop;
done_testing();
