# The enforcer sleeps until a limit could be broken, and for ever without one.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main');
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
$server->set_in_file('pg_unblock.mode' => 'off');
is(turns_meanwhile(), 0, 'mode off: no turn at all');

$server->stop;
done_testing();
