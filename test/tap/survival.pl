# The enforcer comes back from whatever ends it, and stands in the way of
# nothing: database commands, restarts, shutdowns, crash recovery.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', "pg_unblock.idle_in_transaction_limit = '200ms'",
	'pg_unblock.max_actions_per_minute = 0', 'restart_after_crash = on');

sub still_enforces {
	my ($when) = @_;
	my $position = $server->log_position;
	my $idle     = $server->idle_session('SELECT 1');
	is($server->wait_for_action($idle, $position)->{rule}, 'idle_in_transaction_limit', "enforces $when");
	$server->wait_until_gone($idle);
	return;
}

sub wait_for_enforcer_other_than {
	my ($pid) = @_;
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = '$PgUnblock::ENFORCER' AND pid <> $pid)");
	return;
}

# --- killed
my $enforcer = $server->enforcer_pid;
my $looks    = $server->stat('looks');
is($server->ask("SELECT pg_terminate_backend($enforcer)"), 't', 'the enforcer can be ended');
wait_for_enforcer_other_than($enforcer);
still_enforces('after the enforcer was ended');
cmp_ok($server->stat('looks'), '>', $looks, 'its figures go on');

# A session that broke its limit while there was none
$enforcer = $server->enforcer_pid;
my $idle = $server->session;
my $position = $server->log_position;
$server->ask("SELECT pg_terminate_backend($enforcer)");
$idle->stay_idle('BEGIN');
my $action = $server->wait_for_action($idle, $position);
cmp_ok($action->{at} + 0.001, '>=', $idle->{since} + 0.2, 'a new enforcer ends nobody early');
$server->wait_until_gone($idle);

# --- database commands, right after it has seen and ended a session of the database
$server->ask('CREATE DATABASE shop');
$position = $server->log_position;
$idle = $server->idle_session('SELECT 1', dbname => 'shop');
$server->wait_for_action($idle, $position);
$server->wait_until_gone($idle);
$server->ask('CREATE DATABASE branch TEMPLATE shop');
pass('CREATE DATABASE from that template');
$server->ask('ALTER DATABASE shop RENAME TO store; ALTER DATABASE store SET TABLESPACE pg_default');
pass('ALTER DATABASE');
$server->ask('DROP DATABASE store');
pass('DROP DATABASE');
still_enforces('after DROP DATABASE');

# --- restarts
$server->forget_observer;
$server->restart;
still_enforces('after a restart');
is($server->stat('terminated'), 1, 'figures begin anew');

$server->forget_observer;
$server->stop('immediate');
$server->start;
still_enforces('after an immediate shutdown');

# --- a backend dies of SIGKILL: the postmaster resets everything
$enforcer = $server->enforcer_pid;
$position = $server->log_position;
kill 'KILL', $server->session->{pid};
$server->wait_for_log(qr/database system is ready to accept connections/, $position);
$server->forget_observer;
$server->poll_query_until('postgres', 'SELECT true') or die;
wait_for_enforcer_other_than($enforcer);
still_enforces('after crash recovery');

# --- the enforcer itself dies of it
$enforcer = $server->enforcer_pid;
$position = $server->log_position;
kill 'KILL', $enforcer;
$server->wait_for_log(qr/database system is ready to accept connections/, $position);
$server->forget_observer;
$server->poll_query_until('postgres', 'SELECT true') or die;
wait_for_enforcer_other_than($enforcer);
still_enforces('after the enforcer was killed');

$server->stop;
done_testing();
