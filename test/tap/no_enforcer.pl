# A server without a place for the enforcer: check() says that nothing is enforced, the rest goes on.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'max_worker_processes = 0', "pg_unblock.idle_in_transaction_limit = '100ms'");
is($server->enforcer_pid, '', 'there is none');
my $idle = $server->idle_session('SELECT 1');
my $not_running = q(finding = 'the enforcer is not running: nothing is enforced');
is($server->ask("SELECT severity FROM unblock.check() WHERE $not_running"), 'warning', 'check() tells');
like($server->ask("SELECT detail FROM unblock.check() WHERE $not_running"), qr/max_worker_processes/, 'and why');
is($server->ask("SELECT count(*) FROM unblock.idle_transactions WHERE pid = $idle->{pid}"), 1, 'reports');
is($server->ask('SELECT value FROM unblock.stats WHERE counter = \'turns\''), 0, 'figures');
is($server->ask("SELECT unblock.pause('1 min') > now(), unblock.resume()"), 't|t', 'pause() and resume()');
is($server->ask("SELECT outcome FROM unblock.terminate($idle->{pid})"), 'terminated', 'and actions work');

$server->set_in_file('max_worker_processes' => 8);
$server->forget_observer;
$server->restart;
$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = '$PgUnblock::ENFORCER')");
is($server->ask("SELECT count(*) FROM unblock.check() WHERE $not_running"), 0, 'with one, it does not');

$server->stop;
done_testing();
