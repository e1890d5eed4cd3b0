# pause() and resume(): the enforcer acts on nobody for a while.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', "pg_unblock.idle_in_transaction_limit = '300ms'");
my $position = $server->log_position;

like($server->ask("SELECT unblock.pause('1 hour') BETWEEN now() + '59 min' AND clock_timestamp() + '1 hour'"),
	qr/^t$/, 'pause() says until when');
like($server->log_since($position), qr/LOG:  pg_unblock: action=pause for="1h 00min" by="postgres"/, 'the log has it');
my $idle = $server->idle_session('SELECT 1');
$server->wait_until("(SELECT due_in FROM unblock.idle_transactions WHERE pid = $idle->{pid}) = '0'");
$server->wait_for_turn;
is($server->is_present($idle), 1, 'nobody is ended in the meantime');
like($server->ask('SELECT finding FROM unblock.check()'), qr/paused/, 'check() tells');
is($server->ask("SELECT count(*) FROM unblock.check() WHERE remedy = 'SELECT unblock.resume();'"), 1, 'and how to resume');

$position = $server->log_position;
is($server->ask('SELECT unblock.resume()'), 't', 'resume() ends it');
$server->wait_until_gone($idle);
is($server->ask('SELECT unblock.resume()'), 'f', 'there is nothing to resume any more');
is(scalar(() = $server->log_since($position) =~ /LOG:  pg_unblock: action=resume by="postgres"/g), 1, 'the log has it once');
unlike($server->ask('SELECT finding FROM unblock.check()'), qr/paused/, 'check() does not tell any more');

# --- it ends by itself
$server->ask("SELECT unblock.pause('1 hour')");
$idle = $server->idle_session('SELECT 1');
my $since = $server->ask('SELECT clock_timestamp()');
$server->ask("SELECT unblock.pause('2 s')");
$server->wait_until_gone($idle);
is($server->ask("SELECT clock_timestamp() - '$since'::timestamptz >= '2 s'"), 't',
	'a pause ends by itself, the last one counts');

# --- a shorter one, told to an enforcer that has just planned a longer sleep
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '8s');
$server->ask("SELECT unblock.pause('1 hour')");
$idle = $server->idle_session('SELECT 1');
$server->wait_until("(SELECT due_in FROM unblock.idle_transactions WHERE pid = $idle->{pid}) = '0'");
$server->wait_for_turn;
$since = $server->ask('SELECT clock_timestamp()');
$server->ask("SELECT unblock.pause('500 ms')");
$server->wait_until_gone($idle);
is($server->ask("SELECT clock_timestamp() - '$since'::timestamptz BETWEEN '500 ms' AND '3 s'"), 't',
	'a pause that is made shorter ends at once');

# --- who may
$server->ask('CREATE ROLE webapp LOGIN');
my $webapp = $server->session(user => 'webapp');
like(($webapp->try("SELECT unblock.pause('1 min')"))[1], qr/42501: permission denied for function pause/, 'not everybody');
like(($webapp->try('SELECT unblock.resume()'))[1], qr/42501: permission denied for function resume/, 'nor resume');
$server->ask('GRANT EXECUTE ON FUNCTION unblock.pause(interval) TO webapp');
like($webapp->query("SELECT unblock.pause('1 min') > now()"), qr/t/, 'it can be granted');

# --- bad input
my $session = $server->session;
like(($session->try("SELECT unblock.pause('-1 s')"))[1], qr/ERROR:  22023: length must not be negative/, 'a negative length');
like(($session->try("SELECT unblock.pause('0')"))[1], qr/ERROR:  22023: .*\nHINT:  .*resume/s, 'none');
is($session->query('SELECT unblock.pause(NULL)'), '', 'null');
like($session->query("SELECT unblock.pause('296000 years 185000 days')"), qr/^infinity$/, 'for ever');

$server->stop;
done_testing();
