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

$server->stop;
done_testing();
