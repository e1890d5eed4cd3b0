# Of what happened before a crash, the table lacks what its last second brought, and no more; the log has it all.
# Nothing is there twice, and recording goes on.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(time usleep);

# The promise, and what a machine that has other things to do adds to it.
my $LAG = 1 + 1;

my $server = PgUnblock->preloaded('main', "pg_unblock.report_after = '100ms'", 'restart_after_crash = on',
	'pg_unblock.history_size = 4096');
$server->ask('CREATE TABLE t ()');
my $worst = 0;
my $since = 0; # the restart before

# A session that makes incidents all the time, and a few that block each other.
sub traffic {
	my $stream = $server->session;
	$stream->begin_statement("SELECT unblock.pause('1 ms'), pg_sleep(0.005) FROM generate_series(1, 1000000)");
	my $holder = $server->idle_session('LOCK TABLE t');
	my $waiter = $server->waiting_session('SELECT * FROM t');
	return ($stream, $holder, $waiter);
}

# What the log had before a moment is in the table.
sub compare {
	my ($moment, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$server->forget_observer;
	my %logged  = $server->incidents_in_log(0);
	my %saved   = map { $_ => 1 } split /\n/, $server->ask('SELECT id FROM unblock.incident');
	my %view;
	$view{$_}++ for split /\n/, $server->ask('SELECT id FROM unblock.history');
	my @missing = sort { $logged{$a} <=> $logged{$b} }
	  grep { !$saved{$_} && $since < $logged{$_} && $logged{$_} < $moment } keys %logged;
	my $age     = @missing ? $moment - $logged{ $missing[0] } : 0;
	$worst = $age if $age > $worst;
	cmp_ok($age, '<', $LAG, "$what: the table lacks " . @missing . ' of the last moment');
	is_deeply([ grep { !$logged{$_} } keys %saved ], [], "$what: the log has what the table has");
	is_deeply([ grep { $view{$_} > 1 } keys %view ], [], "$what: nothing is there twice");
	$since = time;
	return;
}

sub goes_on {
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $position = $server->log_position;
	$server->ask(PgUnblock::pauses(1));
	my ($id) = keys %{ { $server->incidents_in_log($position) } };
	$server->wait_until("EXISTS (SELECT FROM unblock.incident WHERE id = '$id')");
	pass("$what: recording goes on");
	return;
}

sub wait_for_restart {
	my ($position) = @_;
	$server->wait_for_log(qr/database system is ready to accept connections/, $position);
	$server->forget_observer;
	$server->poll_query_until('postgres', 'SELECT true') or die;
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = '$PgUnblock::ENFORCER')");
	return;
}

# --- a session dies
my @sessions = traffic();
$server->ask('SELECT pg_sleep(2)');
my $position = $server->log_position;
my $moment   = time;
kill 'KILL', $sessions[2]{pid};
wait_for_restart($position);
compare($moment, 'a session was killed');
goes_on('a session was killed');
$server->wait_until(q(EXISTS (SELECT FROM unblock.incident WHERE outcome = 'server stopped')));
pass('its open episode was closed');

# --- the recorder dies, with work undone
my $locker = $server->idle_session('LOCK TABLE unblock.incident IN ACCESS EXCLUSIVE MODE');
$moment = time;
@sessions = traffic();
my $recorder = $server->wait_for_recorder;
$position = $server->log_position;
kill 'KILL', $recorder;
wait_for_restart($position);
compare($moment, 'the recorder was killed');
goes_on('the recorder was killed');

# --- everything dies, many times
for my $life (1 .. 20) {
	@sessions = traffic();
	usleep(1_100_000 + rand 900_000);
	$moment = time;
	$server->kill_all;
	$server->start;
	compare($moment, "life $life");
}
goes_on('everything was killed');
note("never more than $worst s");

$server->stop;
done_testing();
