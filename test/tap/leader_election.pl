# Elections of a leader by advisory locks, where one holds the lock for ever and three wait for it: no limit on
# blockers or on queues, nor a statement that preempts, ends or cancels anybody until such locks count.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $LIMIT  = '300ms';
my $server = PgUnblock->preloaded('main',
	'pg_unblock.max_actions_per_minute = 0',
	"pg_unblock.idle_in_transaction_limit = $LIMIT",
	"pg_unblock.idle_write_transaction_limit = $LIMIT",
	'pg_unblock.horizon_age_limit = 1',
	"pg_unblock.idle_blocker_limit = $LIMIT",
	"pg_unblock.active_blocker_limit = $LIMIT",
	'pg_unblock.cancel_grace = 100ms',
	"pg_unblock.queued_blocker_limit = $LIMIT",
	"pg_unblock.preempt_idle_blockers_after = $LIMIT");
$server->ask('CREATE TABLE t ()');
my $position = $server->log_position;

my @elections;
my @voters; # all sessions of all elections

sub options { return (options => join ' ', map { "-c pg_unblock.$_" } @_) }

# A leader whose lock is its session's: idle, it is in no transaction.
sub idle_leader {
	my ($lock, @options) = @_;
	my $leader = $server->session(options(@options));
	$leader->stay_idle("SELECT $lock");
	push @voters, $leader;
	return $leader;
}

sub wait_to_lead {
	my ($locks, @options) = @_;
	my @waiters = map { $server->waiting_session("SELECT $_", options(@options)) } @$locks;
	push @voters, @waiters;
	return @waiters;
}

my $leader = idle_leader('pg_advisory_lock(1)');
wait_to_lead([ ('pg_advisory_lock(1)') x 3 ]);
push @elections, [ 'a leader that is idle', $leader, 'terminate idle_blocker_limit' ];

$leader = idle_leader('pg_advisory_lock(2)', 'idle_blocker_limit=0');
wait_to_lead([ ('pg_advisory_lock(2)') x 3 ], "preempt_idle_blockers_after=$LIMIT");
push @elections, [ 'one that is in the way', $leader, 'terminate preempt_idle_blockers_after' ];

$leader = $server->idle_session('SELECT pg_advisory_xact_lock(3)',
	options(qw(idle_in_transaction_limit=0 idle_write_transaction_limit=0 horizon_age_limit=0)));
push @voters, $leader;
wait_to_lead([ ('pg_advisory_xact_lock(3)') x 3 ]);
push @elections, [ 'one whose lock is its transaction\'s', $leader, 'terminate idle_blocker_limit' ];

$leader = $server->busy_session('SELECT pg_advisory_xact_lock(4)');
push @voters, $leader;
wait_to_lead([ ('pg_advisory_xact_lock(4)') x 3 ]);
push @elections, [ 'one that works', $leader, 'cancel active_blocker_limit' ];

# Who wants to lead alone keeps others from leading along.
idle_leader('pg_advisory_lock_shared(5)', 'mode=off');
my ($queued) = wait_to_lead([ 'pg_advisory_lock(5)', ('pg_advisory_lock_shared(5)') x 2 ]);
push @elections, [ 'one that is queued', $queued, 'cancel queued_blocker_limit' ];

sub voters {
	my $pids = join ', ', map { $_->{pid} } @voters;
	return $server->ask("SELECT string_agg(concat_ws(' ', pid, backend_start, state, query_start), E'\\n' ORDER BY pid)
		FROM pg_stat_activity WHERE pid IN ($pids)");
}
my $before = voters();

# When a session that came later is gone, these have been seen and let be.
my $idle   = $server->idle_session('LOCK TABLE t');
my $behind = $server->waiting_session('SELECT * FROM t');
$server->wait_for_action($idle, $position);
$server->wait_until_gone($idle);
$server->wait_for_turn;

is(voters(), $before, 'not counted: all do what they did');
is($server->ask('SELECT count(*) FROM unblock.lock_waits'), 15, 'and three each wait');
is(scalar $server->actions($position), 1, 'one who blocked others otherwise has been ended');
is($server->stat('changed_in_time'), 0, 'nor was anybody else tried');

# Whoever is in the way of one that preempts is ended at once: this is left to one of the elections.
$server->set_in_file(
	'pg_unblock.preempt_idle_blockers_after' => 0,
	'pg_unblock.count_advisory_locks'        => 'on');
for (@elections) {
	my ($what, $session, $expected) = @$_;
	my $action = $server->wait_for_action($session, $position);
	is("$action->{action} $action->{rule}", $expected, "counted: $what");
}

$server->stop;
done_testing();
