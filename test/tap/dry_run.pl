# Dry run takes the same decisions, ends nobody, and tells of each session once
# for each transaction and rule.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'pg_unblock.mode = dry_run',
	'pg_unblock.max_actions_per_minute = 1', "pg_unblock.idle_in_transaction_limit = '200ms'",
	"pg_unblock.idle_blocker_limit = '200ms'");
$server->ask('CREATE TABLE t ()');
my $position = $server->log_position;

sub rules_told {
	my ($session) = @_;
	return join ' ', sort map { "$_->{action}:$_->{rule}" } $server->actions_on($session, $position);
}
my $both = 'would_terminate:idle_blocker_limit would_terminate:idle_in_transaction_limit';

my $idle    = $server->idle_session('SELECT 1');
my $blocker = $server->idle_session('LOCK TABLE t');
my $waiter  = $server->waiting_session('SELECT * FROM t');
PgUnblock::wait_for('both rules', sub { rules_told($blocker) eq $both });
PgUnblock::wait_for('one rule', sub { rules_told($idle) ne '' });
# Several limits later nothing has been added.
for (1 .. 3) {
	my $later = $server->idle_session('SELECT 1');
	$server->wait_for_action($later, $position);
	$later->quit;
}
$server->wait_for_turn;
is(rules_told($blocker), $both, 'a session that breaks two limits: told once for each');
is(rules_told($idle), 'would_terminate:idle_in_transaction_limit', 'a session that breaks one: told once');
my ($action) = grep { $_->{rule} eq 'idle_blocker_limit' } $server->actions_on($blocker, $position);
cmp_ok($action->{at} + 0.001, '>=', $waiter->{since} + 0.2, 'not before the limit');
is($action->{blocked}, 1, 'with what it blocks');

# A statement in between does not begin a new transaction; a COMMIT does.
$idle->stay_idle('SELECT 1');
$server->wait_until("clock_timestamp() > to_timestamp($idle->{since} + 0.2)");
$server->wait_for_turn;
is(rules_told($idle), 'would_terminate:idle_in_transaction_limit', 'not again in the same transaction');
$idle->stay_idle('COMMIT', 'BEGIN', 'SELECT 1');
PgUnblock::wait_for('the next transaction', sub { $server->actions_on($idle, $position) == 2 });
pass('again in the next transaction');

is($idle->query('SELECT 1'), 1, 'nobody was ended');
is($blocker->query('SELECT 1'), 1, 'not even a blocker');
$blocker->query('COMMIT');
is(($waiter->end_statement)[1], '', 'its waiter had only to wait');
is($server->stat('terminated'), 0, 'no end was counted');
is($server->stat('would_terminate'), scalar $server->actions($position), 'but each would-be end, beyond the fuse');
is($server->stat('fuse_blown'), 0, 'which does not count them');

# --- all rules: each of these sessions breaks one limit, its own
$server->set_in_file(map { $_ => 0 } 'pg_unblock.idle_in_transaction_limit', 'pg_unblock.idle_blocker_limit');
$server->ask("CREATE TABLE $_ (id int)") for qw(a b c d e f);
$position = $server->log_position;

sub options { return (options => join ' ', map { "-c pg_unblock.$_" } @_) }

my (@scenes, @others);
sub behind {
	push @others, $server->waiting_session(@_);
	return $others[-1];
}

sub scene {
	my ($rule, $action, $session) = @_;
	push @scenes, { rule => $rule, action => $action, session => $session };
	return;
}

scene('idle_blocker_limit', 'terminate', $server->idle_session('LOCK TABLE a', options('idle_blocker_limit=200ms')));
behind('SELECT * FROM a');
scene('preempt_idle_blockers_after', 'terminate', $server->idle_session('LOCK TABLE b'));
my $preempting = behind('SELECT * FROM b', options('preempt_idle_blockers_after=200ms'));
scene('idle_write_transaction_limit', 'terminate',
	$server->idle_session('SELECT pg_current_xact_id()', options('idle_write_transaction_limit=200ms')));
scene('idle_in_transaction_limit', 'terminate',
	$server->idle_session('SELECT 1', options('idle_in_transaction_limit=200ms')));
scene('horizon_age_limit', 'terminate',
	$server->idle_session('SELECT pg_current_xact_id()', options('horizon_age_limit=1')));
scene('transaction_limit', 'terminate', $server->busy_session('SELECT 1', options('transaction_limit=200ms')));
# A session that is queued, behind one that has no limit.
push @others, $server->idle_session('SELECT * FROM c');
scene('queued_blocker_limit', 'cancel',
	$server->waiting_session('ALTER TABLE c ALTER id SET NOT NULL', options('queued_blocker_limit=200ms')));
behind('SELECT * FROM c');
scene('active_blocker_limit', 'cancel',
	$server->busy_session('LOCK TABLE d', options('active_blocker_limit=200ms', 'cancel_grace=100ms')));
behind('SELECT * FROM d');

# And two for whom others make way, or would do so: there is nothing to tell of them.
my $reader = $server->idle_session('SELECT * FROM e', options('idle_in_transaction_limit=200ms'));
$server->wait_for_action($reader, $position);
my $spared = behind('ALTER TABLE e ALTER id SET NOT NULL', options('queued_blocker_limit=200ms'));
behind('SELECT * FROM e');
my $working   = $server->busy_session('SELECT * FROM f', options('active_blocker_limit=5s'));
my $migration = behind('ALTER TABLE f ALTER id SET NOT NULL', options('queued_blocker_limit=200ms'));
behind('SELECT * FROM f');
$server->wait_for_action($migration, $position);

$server->wait_for_action($_->{session}, $position) for @scenes;
# Longer than all limits later nothing has been added.
$server->wait_until("clock_timestamp() > to_timestamp($migration->{since} + 5)");
$server->wait_for_turn;
for (@scenes) {
	is(rules_told($_->{session}), "would_$_->{action}:$_->{rule}", "$_->{rule}: told once");
}
($action) = grep { $_->{rule} =~ /preempt/ } $server->actions($position);
is($action->{for}, $preempting->{pid}, 'for whom');
is(rules_told($spared), '', 'a queued session whose blocker would have been ended: nothing');
is(rules_told($working), '', 'nor of a working one whose waiter would have been canceled');
is($server->stat('terminated') + $server->stat('canceled'), 0, 'nothing was done');
is($server->stat('would_cancel'), 3, 'would-be cancels are counted, too');

# The same, in earnest.
$server->set_in_file('pg_unblock.mode' => 'enforce', 'pg_unblock.max_actions_per_minute' => 0);
for (@scenes) {
	my ($session, @both) = ($_->{session}, "$_->{action}:$_->{rule}", "would_$_->{action}:$_->{rule}");
	PgUnblock::wait_for("what enforcement does to $session->{pid}", sub { rules_told($session) ne $both[1] });
	is(rules_told($session), "@both", "$_->{rule}: the same when it is enforced");
}
$server->stop;
done_testing();
