# The enforcer sleeps until a limit could be broken or an episode be worth a report, and for ever without either.
# Transactions are counted each second.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(time);

my $server = PgUnblock->preloaded('main', 'pg_unblock.report_after = 0');
$server->ask("CREATE TABLE t (); CREATE ROLE lax LOGIN; ALTER ROLE lax SET pg_unblock.idle_blocker_limit = '2h'");

# How many turns it takes while clients come and go, block each other and idle, over three seconds.
sub turns_meanwhile {
	my (@users) = @_;
	$server->wait_for_turn;
	my $before;
	PgUnblock::wait_for('an enforcer that has nothing left to do', sub {
		$before = $server->stat('turns');
		$server->ask('SELECT pg_sleep(0.3)');
		$server->stat('turns') == $before;
	});
	my $holder  = $server->idle_session('LOCK TABLE t');
	my $waiter  = $server->waiting_session('SELECT * FROM t');
	my @clients = map { $server->idle_session('SELECT 1', user => $_) } @users;
	$server->ask('SELECT pg_sleep(3)');
	$_->quit for $holder, @clients;
	$waiter->end_statement;
	return $server->stat('turns') - $before;
}

is(turns_meanwhile(), 0, 'no limit anywhere: no turn at all');
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '1h');
cmp_ok(turns_meanwhile('lax', 'lax'), '<=', 1, 'far from any limit: hardly any turn');
my @lengths = map { "pg_unblock.$_" } qw(idle_in_transaction_limit idle_write_transaction_limit idle_blocker_limit
  active_blocker_limit cancel_grace queued_blocker_limit preempt_idle_blockers_after transaction_limit);
$server->set_in_file(map { $_ => '1h' } @lengths);
cmp_ok(turns_meanwhile('lax', 'lax'), '<=', 1, 'far from all limits that are times: the same');

# How long the next turns take that nobody asks for.
sub time_of_turns {
	my ($count) = @_;
	my $start  = time;
	my $before = $server->stat('turns');
	PgUnblock::wait_for('turns', sub { $server->stat('turns') >= $before + $count });
	return time - $start;
}
$server->set_in_file('pg_unblock.horizon_age_limit' => 1_000_000);
$server->wait_for_turn;
my $time = time_of_turns(5);
cmp_ok($time, '>', 3, 'a limit on the age of what is seen: about each second, not more often');
cmp_ok($time, '<', 20, 'nor much less');
$server->set_in_file('pg_unblock.horizon_age_limit' => undef);
cmp_ok(turns_meanwhile('lax', 'lax'), '<=', 1, 'not any more: hardly any turn');
$server->set_in_file('pg_unblock.report_after' => '1h');
cmp_ok(turns_meanwhile('lax', 'lax'), '<=', 1, 'episodes are reported after an hour: the same');
$server->set_in_file('pg_unblock.report_after' => '1s');
$server->wait_for_turn;
$time = time_of_turns(5);
cmp_ok($time, '>', 3,  'episodes are reported after a second: about each second, not more often');
cmp_ok($time, '<', 20, 'nor much less');
$server->set_in_file('pg_unblock.report_after' => 0);

my $own = $server->session(options => '-c pg_unblock.horizon_age_limit=1000000');
cmp_ok(time_of_turns(3), '>', 1.5, 'a limit of one session: while it is there');
$own->quit;
cmp_ok(turns_meanwhile('lax', 'lax'), '<=', 1, 'it has gone: hardly any turn');

$server->set_in_file('pg_unblock.mode' => 'off');
is(turns_meanwhile(), 0, 'mode off: no turn at all');

$server->stop;
done_testing();
