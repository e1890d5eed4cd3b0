# A signal is not a death: a session that does not go is watched and reported,
# holds nobody else up, and is not signalled again and again.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server   = PgUnblock->preloaded('main');
my $stopped  = $server->idle_session('SELECT 1');
my $position = $server->log_position;
kill 'STOP', $stopped->{pid};
END { kill 'CONT', $stopped->{pid} if $stopped }

$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '200ms');
$server->wait_for_action($stopped, $position);
is($server->ask("SELECT outcome FROM unblock.terminate($stopped->{pid}, wait => '100ms')"),
	'still there', 'by hand it does not go either');

my $other = $server->idle_session('SELECT 1');
$server->wait_for_action($other, $position);
$server->wait_until_gone($other);
pass('another one is ended meanwhile');

$server->wait_for_log(qr/pg_unblock: session $stopped->{pid} is still there 10 s after it was told to end/,
	$position);
$server->wait_for_turn;
is(join(' ', map { $_->{action} } $server->actions_on($stopped, $position)),
	'terminate manual_terminate', 'the enforcer told it once');
ok($server->is_present($stopped), 'and nothing worse was done');

my %outcomes = map { $_->{kind} => $_ } $server->incidents("pid = $stopped->{pid}");
is_deeply([ map { $outcomes{$_}{outcome} } qw(terminate manual_terminate) ], [ ('still there') x 2 ], 'as the history says');

kill 'CONT', $stopped->{pid};
$server->wait_until_gone($stopped);
$server->wait_until("(SELECT value FROM unblock.stats WHERE counter = 'ends_seen') = 2");
like($stopped->last_words, qr/^FATAL:  25P03: .*^DETAIL:  .*idle_in_transaction_limit is 200ms\.$/ms,
	'when it goes, its client is told the first reason');

%outcomes = map { $_->{kind} => $_ } $server->incidents("pid = $stopped->{pid}");
is_deeply([ map { $outcomes{$_}{outcome} } qw(terminate manual_terminate) ],
	[ ('terminated') x 2 ], 'and what has come of it, in the end');
cmp_ok($outcomes{terminate}{outcome_ms}, '>=', 10_000, 'after how long');

$server->stop;
done_testing();
