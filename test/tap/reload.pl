# Settings of the configuration file count as soon as the server has re-read
# it, for sessions too that sit idle and so have not re-read it themselves. A
# bad value changes nothing.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main');
$server->ask('CREATE TABLE t ()');

sub is_ended_for {
	my ($session, $position, $rule, $what) = @_;
	my $action = $server->wait_for_action($session, $position);
	is("$action->{action} $action->{rule}", "terminate $rule", $what);
	$server->wait_until_gone($session);
	return;
}

# idle_in_transaction_limit
my $idle     = $server->idle_session('SELECT 1');
my $position = $server->log_position;
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '200ms');
is_ended_for($idle, $position, 'idle_in_transaction_limit', 'idle_in_transaction_limit reloaded');
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => undef);
$server->wait_for_turn;

# idle_blocker_limit
my $blocker = $server->idle_session('LOCK TABLE t');
my $waiter  = $server->waiting_session('SELECT * FROM t');
$position = $server->log_position;
$server->set_in_file('pg_unblock.idle_blocker_limit' => '200ms');
is_ended_for($blocker, $position, 'idle_blocker_limit', 'idle_blocker_limit reloaded');
is(($waiter->end_statement)[1], '', 'the waiter goes on');

# count_advisory_locks
$blocker  = $server->idle_session('SELECT pg_advisory_xact_lock(1)');
$waiter   = $server->waiting_session('SELECT pg_advisory_lock(1)');
$position = $server->log_position;
$server->set_in_file('pg_unblock.count_advisory_locks' => 'on');
is_ended_for($blocker, $position, 'idle_blocker_limit', 'count_advisory_locks reloaded');
$server->set_in_file(
	'pg_unblock.count_advisory_locks' => undef,
	'pg_unblock.idle_blocker_limit'   => undef);

# mode
$server->set_in_file(
	'pg_unblock.mode'                      => 'off',
	'pg_unblock.idle_in_transaction_limit' => '200ms');
$server->wait_for_turn;
$idle = $server->idle_session('SELECT 1');
$server->wait_until("now() > (SELECT state_change + '200 ms' FROM pg_stat_activity WHERE pid = $idle->{pid})");
$server->wait_for_turn;
ok($server->is_present($idle), 'mode off in the file stops everything');
$position = $server->log_position;
$server->set_in_file('pg_unblock.mode' => 'dry_run');
is($server->wait_for_action($idle, $position)->{action}, 'would_terminate', 'mode dry_run reloaded');
$server->set_in_file('pg_unblock.mode' => 'enforce');
$server->wait_until_gone($idle);

# A bad value, and one without a unit, which counts milliseconds
my ($output, $errors) =
  $server->session->try("ALTER SYSTEM SET pg_unblock.idle_in_transaction_limit = 5");
like($errors, qr/ERROR:  22023: invalid value for parameter "pg_unblock.idle_in_transaction_limit": 5/,
	'ALTER SYSTEM refuses a limit of 5 without a unit');
like($errors, qr/HINT:  .*unit/, 'and hints at units');

$position = $server->log_position;
$server->append_conf('postgresql.auto.conf', "pg_unblock.idle_in_transaction_limit = 5");
$server->reload;
$server->wait_for_log(qr/invalid value for parameter "pg_unblock.idle_in_transaction_limit": 5/, $position);
$server->wait_for_log(qr/contains errors; unaffected changes were applied/, $position);
$server->wait_for_turn;
$position = $server->log_position;
$idle     = $server->idle_session('SELECT 1');
is_ended_for($idle, $position, 'idle_in_transaction_limit', 'after a bad value in the file');
is(($server->actions_on($idle, $position))[0]->{limit}, '200ms', 'the old limit counts');

$server->stop;
done_testing();
