# idle_blocker_limit ends whoever blocks others while he waits for his client,
# once that has lasted for so long in his transaction; nobody else, and not
# before.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(usleep);

my $LIMIT  = 0.5;
my $server = PgUnblock->preloaded('main', "pg_unblock.idle_blocker_limit = '${LIMIT}s'",
	'pg_unblock.max_actions_per_minute = 0');
$server->ask('CREATE TABLE features (id int); CREATE TABLE other (id int); INSERT INTO other VALUES (1)');
my $position = $server->log_position;

sub is_ended {
	my ($session, $since, $what) = @_;
	my $action = $server->wait_for_action($session, $position);
	is("$action->{action} $action->{rule}", 'terminate idle_blocker_limit', "$what: ended");
	# The line is written after the signal; its time is cut to milliseconds.
	cmp_ok($action->{at} + 0.001, '>=', $since + $LIMIT, "$what: not before the limit");
	$server->wait_until_gone($session);
	return $action;
}

# Left alone to the end: one who is idle and blocks nobody, and one who blocks while at work.
my $idler    = $server->idle_session('LOCK TABLE pg_description IN ROW EXCLUSIVE MODE');
my $busy     = $server->busy_session('DELETE FROM other');
my $for_busy = $server->waiting_session('UPDATE other SET id = 2');

# The incident. The blocker has been idle for longer than the limit when the first waiter comes.
my $leak = $server->idle_session('SELECT id FROM features');
$server->wait_until("clock_timestamp() > to_timestamp($leak->{since} + $LIMIT)");
$server->wait_for_turn;
ok($server->is_present($leak), 'whoever only idles is not ended, however long');

my @migrations = map { $server->waiting_session("ALTER TABLE features ADD COLUMN c$_ int") } 1 .. 3;
my $reader     = $server->waiting_session('SELECT * FROM features');
my $action     = is_ended($leak, $migrations[0]{since}, 'a leaked session');
is(($_->end_statement)[1], '', 'its waiters go on') for @migrations, $reader;

# The waiter has waited for longer than the limit when the blocker goes idle.
my $late = $server->idle_session('LOCK TABLE features');
$late->begin_to_stay_idle("SELECT pg_sleep(2 * $LIMIT)");
my $waiter = $server->waiting_session('SELECT * FROM features');
$late->now_idle;
is_ended($late, $late->{since}, 'a session that was busy first');
is(($waiter->end_statement)[1], '', 'its waiter goes on');

# Statements that keep the connection alive do not begin the time anew.
my $kept_alive = $server->idle_session('LOCK TABLE features');
$waiter = $server->waiting_session('SELECT * FROM features');
while ($server->is_present($kept_alive)) {
	usleep(1e6 * $LIMIT / 2);
	$kept_alive->try("SELECT 1");
}
is_ended($kept_alive, $waiter->{since}, 'a session kept alive');
is(($waiter->end_statement)[1], '', 'its waiter goes on');

ok($server->is_present($busy), 'whoever blocks while at work is left alone');
is($idler->query('SELECT 1'), 1, 'so is whoever blocks nobody');
is(scalar $server->actions($position), 3, 'nobody else was touched');
$server->ask("SELECT pg_cancel_backend($busy->{pid})");
$_->end_statement for $busy, $for_busy;

$server->stop;
done_testing();
