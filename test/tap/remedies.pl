# Remedies for sessions that are in no transaction that could be named: pasted
# late, they hit nobody; pasted in time, they help.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main');

sub remedy_of {
	my ($session) = @_;
	return $server->ask("SELECT remedy FROM unblock.root_blockers WHERE pid = $session->{pid}");
}

for ([ 'idle', 1 ], [ 'idle in transaction (aborted)', 2 ]) {
	my ($state, $lock) = @$_;
	my $leave = sub {
		my ($holder) = @_;
		$holder->try($state eq 'idle' ? 'SELECT 1' : 'ROLLBACK\; BEGIN\; SELECT 1/0');
		$server->wait_until(
			"(SELECT state FROM pg_stat_activity WHERE pid = $holder->{pid}) = '$state'");
	};
	my $holder = $server->session;
	$holder->query("SELECT pg_advisory_lock($lock)");
	$leave->($holder);
	my $waiter = $server->waiting_session("SELECT pg_advisory_lock($lock)");

	my $late = remedy_of($holder);
	like($late, qr/^SELECT unblock\.terminate\(pid\) FROM .* AND state_change = '[^']+';$/,
		"$state: a remedy");
	$leave->($holder);
	is($server->ask($late), '', "$state: pasted late it finds nobody");
	ok($server->is_present($holder), "$state: and ends nobody");
	like($server->ask(remedy_of($holder)), qr/^\($holder->{pid},.*,terminated,/,
		"$state: pasted in time it ends the session");
	is(($waiter->end_statement)[1], '', "$state: and frees who waited");
}

$server->stop;
done_testing();
