# Who locks the table keeps the recorder waiting, and nobody else: the enforcer goes on. A stopped recorder or session
# holds up nothing. The recorder is in nobody's way, not of commands on its database either.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(usleep);

my $server = PgUnblock->preloaded('main', 'pg_unblock.history_size = 16', 'pg_unblock.max_actions_per_minute = 0');
$server->ask('CREATE DATABASE other');
$server->session(dbname => 'other')->query('CREATE EXTENSION pg_unblock');
my $made = 0;

sub make_incidents {
	my ($count) = @_;
	$server->ask(PgUnblock::pauses($count));
	$made += $count;
	return;
}

sub still_enforces {
	my ($when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $position = $server->log_position;
	my $idle     = $server->idle_session('SELECT 1', options => '-c pg_unblock.idle_in_transaction_limit=300ms');
	my $action = $server->is_acted_on($idle, $position, 'terminate idle_in_transaction_limit 300ms',
		$idle->{since} + 0.3, "enforces $when");
	cmp_ok($action->{at} - $idle->{since}, '<', 5, "in time $when");
	$server->wait_until_gone($idle);
	$made++;
	return;
}

# Those in the table and those that were lost are all that were made.
sub adds_up {
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$server->wait_until_saved;
	my $rows = $server->ask('SELECT count(*) FROM unblock.incident');
	is($rows + $server->stat('incidents_lost'), $made, "$what: " . $server->stat('incidents_lost') . ' lost');
	return;
}

# --- locked
my $locker = $server->idle_session('LOCK TABLE unblock.incident IN ACCESS EXCLUSIVE MODE');
make_incidents(1);
my $recorder = $server->wait_for_recorder;
still_enforces('while the table is locked');
is($server->ask(q(SELECT value FROM unblock.metrics WHERE name = 'pg_unblock_history_is_saved')), 0,
	'and the recorder still waits');
my $position = $server->log_position;
$server->set_in_file('pg_unblock.idle_blocker_limit' => '300ms');
$server->is_acted_on($locker, $position, 'terminate idle_blocker_limit 300ms', $locker->{since} + 0.3, 'the locker');
$made++;
$server->wait_until_gone($locker);
adds_up('with a limit the recorder goes on');
$server->set_in_file('pg_unblock.idle_blocker_limit' => undef);
is($server->ask("SELECT outcome, blocked_total FROM unblock.incident WHERE pid = $locker->{pid}"),
	'terminated|1', 'and tells of it');

# --- stopped
$locker = $server->idle_session('LOCK TABLE unblock.incident IN ACCESS EXCLUSIVE MODE');
make_incidents(10);
$recorder = $server->wait_for_recorder;
kill 'STOP', $recorder;
make_incidents(100);
$locker->query('COMMIT');
still_enforces('while the recorder is stopped');
cmp_ok($server->stat('incidents_lost'), '>=', 100 + 11 - 16, 'what has no place is counted as lost');
is($server->ask(q(SELECT count(*), max(value) FROM unblock.history, unblock.stats
		WHERE source = 'memory' AND counter = 'incidents_lost')),
	'16|' . $server->stat('incidents_lost'), 'the ring has the last ones');
kill 'CONT', $recorder;
adds_up('it goes on');

my $session = $server->session;
$session->begin_statement("SELECT count(unblock.pause('1 ms')) FROM generate_series(1, 2000)");
for (1 .. 20) {
	# Where it stops it may hold one of the server's own locks that others need.
	kill 'STOP', $session->{pid};
	$server->{observer}->begin_statement(PgUnblock::pauses(20));
	usleep(20_000);
	kill 'CONT', $session->{pid};
	$server->{observer}->end_statement;
	$made += 20;
}
is(($session->end_statement)[1], '', 'it goes on');
$made += 2000;
adds_up('a stopped session');

# --- commands on databases, while incidents come in all the time
# So many that there is always one more to save.
my @streams;

sub begin_streams {
	@streams = map { $server->session(dbname => 'other') } 1 .. 2;
	$_->begin_statement(PgUnblock::pauses(1_000_000)) for @streams;
	return;
}

sub end_streams {
	$server->ask("SELECT pg_cancel_backend($_->{pid})") for @streams;
	$_->end_statement for @streams;
	$_->quit for @streams;
	return;
}

$_->quit for $locker, $session;
begin_streams();
$server->forget_observer;
$server->{observer} = $server->session(dbname => 'other');
$server->wait_until(
	"NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'postgres' AND backend_type = 'client backend')");
for my $round (1 .. 3) {
	for my $command ("CREATE DATABASE branch$round TEMPLATE postgres", "DROP DATABASE branch$round") {
		$server->wait_until("EXISTS (SELECT FROM pg_stat_activity
			WHERE backend_type = '$PgUnblock::RECORDER' AND datname = 'postgres')");
		my ($output, $errors) = $server->{observer}->try($command);
		is($errors, '', $command);
	}
}
end_streams();

# --- a database of its own, which is dropped
$server->append_conf('postgresql.conf', 'pg_unblock.history_database = history');
$server->ask('CREATE DATABASE history');
$server->forget_observer;
$server->restart;
$server->{observer} = $server->session(dbname => 'other');
for my $round (1 .. 2) {
	my $history = $server->session(dbname => 'history');
	$history->query('CREATE EXTENSION pg_unblock') if $history->query('SELECT count(*) FROM pg_extension') == 1;
	begin_streams();
	PgUnblock::wait_for('rows', sub { $history->query('SELECT count(*) FROM unblock.incident') > 0 });
	$history->quit;
	$server->wait_until_gone($history);
	my ($output, $errors) = $server->{observer}->try('DROP DATABASE history');
	is($errors, '', 'DROP DATABASE history');
	end_streams();
	$server->ask('CREATE DATABASE history');
}
still_enforces('afterwards');

$server->stop;
done_testing();
