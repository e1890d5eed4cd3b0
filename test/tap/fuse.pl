# The fuse: no more than max_actions_per_minute sessions are ended in a minute.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $WARNING = qr/WARNING:  pg_unblock: stopped ending sessions after 2 actions in one minute/;

my $server   = PgUnblock->preloaded('main', 'pg_unblock.max_actions_per_minute = 2');
my @sessions = map { $server->idle_session('SELECT 1') } 1 .. 5;
my $position = $server->log_position;

sub present { return scalar grep { $server->is_present($_) } @sessions }

$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '200ms');
$server->wait_for_log($WARNING, $position);
$server->wait_until('(SELECT value FROM unblock.stats WHERE counter = \'ends_seen\') = 2');
$server->wait_for_turn for 1 .. 3;
is(present(), 3, 'two of five are ended');
is(scalar $server->actions($position), 2, 'two lines');
is(scalar(() = $server->log_since($position) =~ /$WARNING/g), 1, 'one warning, however often it looks');
is($server->stat('fuse_blown'), 1, 'counted');
like($server->ask('SELECT finding FROM unblock.check()'), qr/fuse|max_actions/, 'check() tells')
  or diag $server->ask('SELECT * FROM unblock.check()');

$server->set_in_file('pg_unblock.max_actions_per_minute' => 0);
$server->wait_until_gone(@sessions);
is(scalar $server->actions($position), 5, 'without a fuse the others follow at once');
is($server->stat('terminated'), 5, 'counted');

$server->stop;
done_testing();
