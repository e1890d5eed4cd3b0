# idle_in_transaction_limit ends whoever waits for his client in a transaction
# for so long, not before, and nobody else.
#
# Whoever must be left alone is there before those who are ended, with the same
# limit: when they are gone, it would be gone too.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use List::Util  qw(max);
use Test::More;
use Time::HiRes qw(time);

my $LIMIT  = 0.5;
my $server = PgUnblock->preloaded('main', "pg_unblock.idle_in_transaction_limit = '${LIMIT}s'");
$server->ask('CREATE TABLE t (id int)');
my $position = $server->log_position;

my $outside = $server->session;
my $busy    = $server->busy_session('SELECT 1');

my $aborted = $server->session;
$aborted->try(PgUnblock::in_one_go('BEGIN', 'SELECT 1 / 0'));
my %ended = (
	'idle in transaction after reading' => $server->idle_session('SELECT * FROM t'),
	'idle in transaction after writing' => $server->idle_session('INSERT INTO t VALUES (1)'),
	'right after BEGIN'                 => $server->idle_session(''));

for my $what (sort keys %ended) {
	my $session = $ended{$what};
	my $action  = $server->wait_for_action($session, $position);
	is("$action->{action} $action->{rule} $action->{limit}",
		'terminate idle_in_transaction_limit 500ms', "$what: ended");
	# The line is written after the signal; its time is cut to milliseconds.
	cmp_ok($action->{at} + 0.001, '>=', $session->{since} + $LIMIT, "$what: not before the limit");
	like($action->{measured}, qr/^(5\d\d|[6-9]\d\d)ms$|s$/, "$what: by what was measured");
	$server->wait_until_gone($session);
}
my $action = $server->wait_for_action($aborted, $position);
is($action->{state}, 'idle in transaction (aborted)', 'an aborted transaction is ended too');
$server->wait_until_gone($aborted);

ok($server->is_present($busy), 'a session at work is left alone');
is($outside->query('SELECT 1'), 1, 'so is an idle one in no transaction');
is(scalar $server->actions($position), 4, 'nobody else was touched');
is($server->ask('SELECT count(*) FROM t'), 0, 'what was not committed is undone');
is($server->stat('terminated'), 4, 'counted');
$server->wait_until("(SELECT value FROM unblock.stats WHERE counter = 'ends_seen') = 4");

# Each statement begins the time anew. (A machine that keeps this test from running for as long as the
# limit makes the client silent.)
my $chatty = $server->idle_session('SELECT 1');
my $silent = $server->idle_session('SELECT 1');
my ($last, $longest_gap) = ($chatty->{since}, 0);
do {
	$chatty->try('SELECT 1');
	$longest_gap = max($longest_gap, time - $last);
	$last        = time;
} while $server->is_present($silent);
ok($server->is_present($chatty) || max($longest_gap, time - $last) >= $LIMIT,
	'a session that its client attends to is left alone');

$server->stop;
done_testing();
