# Waits for advisory locks count towards idle_blocker_limit only if that is
# asked for, whether the lock is the transaction's or the session's.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $LIMIT  = 0.4;
my $server = PgUnblock->preloaded('main', "pg_unblock.idle_blocker_limit = '${LIMIT}s'",
	'pg_unblock.max_actions_per_minute = 0');
$server->ask('CREATE TABLE t ()');
my $position = $server->log_position;

# An election of a leader: the leader sits idle for ever, the others wait for ever.
my $leader = $server->session;
$leader->stay_idle('SELECT pg_advisory_lock(1)');
my $follower = $server->waiting_session('SELECT pg_advisory_lock(1)');
my $holder   = $server->idle_session('SELECT pg_advisory_xact_lock(2)');
my $waiter   = $server->waiting_session('SELECT pg_advisory_lock(2)');

# When a session that came later is gone, these have been seen and let be.
sub wait_for_a_later_end {
	my $blocker = $server->idle_session('LOCK TABLE t');
	my $waits   = $server->waiting_session('SELECT * FROM t');
	$server->wait_for_action($blocker, $position);
	$server->wait_until_gone($blocker);
	return;
}

wait_for_a_later_end();
ok($server->is_present($leader), 'session lock of an idle session: not counted');
ok($server->is_present($holder), 'transaction lock: not counted');
is($server->stat('changed_in_time'), 0, 'nor was it tried');
is($server->ask("SELECT count(*) FROM unblock.root_blockers WHERE pid IN ($leader->{pid}, $holder->{pid})"),
	2, 'but both are reported');

$server->set_in_file('pg_unblock.count_advisory_locks' => 'on');
for ([ $leader, $follower, 'idle' ], [ $holder, $waiter, 'idle in transaction' ]) {
	my ($blocker, $blocked, $state) = @$_;
	my $action = $server->wait_for_action($blocker, $position);
	is("$action->{action} $action->{rule} $action->{state}",
		"terminate idle_blocker_limit $state", "counted: $state");
	cmp_ok($action->{at} + 0.001, '>=', $blocked->{since} + $LIMIT, 'not before the limit');
	$server->wait_until_gone($blocker);
	is(($blocked->end_statement)[1], '', 'the waiter has the lock');
}

# The waiters hold the locks now, idle, and block nobody.
wait_for_a_later_end();
ok($server->is_present($follower), 'the next leader stays until somebody waits for it');
my $next = $server->waiting_session('SELECT pg_advisory_lock(1)');
my $action = $server->wait_for_action($follower, $position);
cmp_ok($action->{at} + 0.001, '>=', $next->{since} + $LIMIT, 'and then for the limit');

# A role can be spared.
$server->ask('CREATE ROLE elector LOGIN; ALTER ROLE elector SET pg_unblock.count_advisory_locks = off');
$server->wait_until_gone($follower);
$next->end_statement;
$next->query('SELECT pg_advisory_unlock_all()');
my $spared = $server->session(user => 'elector');
$spared->stay_idle('SELECT pg_advisory_lock(1)');
my $patient = $server->waiting_session('SELECT pg_advisory_lock(1)');
wait_for_a_later_end();
is($spared->query('SELECT 1'), 1, 'a role for which they do not count');

$server->stop;
done_testing();
