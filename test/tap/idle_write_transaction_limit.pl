# idle_write_transaction_limit ends whoever waits for his client in a
# transaction that has a transaction id, which it has kept even when all that it
# wrote was rolled back to a savepoint; nobody else, and not before the limit.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $LIMIT  = 0.5;
my $TIME   = qr/\d+(?:\.\d+)?m?s/;
my $server = PgUnblock->preloaded('main', "pg_unblock.idle_write_transaction_limit = '${LIMIT}s'",
	'pg_unblock.max_actions_per_minute = 0');
$server->ask('CREATE TABLE t (id int); INSERT INTO t VALUES (1)');
my $position = $server->log_position;

# Whoever must be left alone is there before those who are ended.
my %spared = (
	'one that has only read'             => $server->idle_session('SELECT * FROM t'),
	'one that holds a lock'              => $server->idle_session('LOCK TABLE t IN ROW EXCLUSIVE MODE'),
	'one whose last transaction wrote'   => $server->idle_session('INSERT INTO t VALUES (2); COMMIT; BEGIN'),
	'one at work that has written'       => $server->busy_session('INSERT INTO t VALUES (3)'),
	'one in no transaction, which wrote' => $server->session,
	'an aborted one, which wrote'        => $server->session);
$spared{'one in no transaction, which wrote'}->stay_idle('INSERT INTO t VALUES (4)');
$spared{'an aborted one, which wrote'}->query('BEGIN; INSERT INTO t VALUES (5)');
$spared{'an aborted one, which wrote'}->try('SELECT 1 / 0');

my %ended = (
	'one that has written'        => $server->idle_session('INSERT INTO t VALUES (6)'),
	'one that has read since'     => $server->idle_session('INSERT INTO t VALUES (7); SELECT * FROM t'),
	'one that has locked a row'   => $server->idle_session('SELECT * FROM t LIMIT 1 FOR SHARE'),
	'one that took back its only write' =>
	  $server->idle_session('SAVEPOINT s; INSERT INTO t VALUES (8); ROLLBACK TO s'));

for my $what (sort keys %ended) {
	my $session = $ended{$what};
	my $action  = $server->is_acted_on($session, $position, 'terminate idle_write_transaction_limit 500ms',
		$session->{since} + $LIMIT, $what);
	is($action->{state}, 'idle in transaction', "$what: its state");
	$server->wait_until_gone($session);
}
like($ended{'one that has written'}->last_words,
	qr/^FATAL:  25P03: terminating connection due to administrator command
DETAIL:  The transaction, which had written, waited for its client for $TIME\. pg_unblock\.idle_write_transaction_limit is 500ms\.
HINT:  Commit or roll back as soon as the work is done; do not leave a transaction open while the application does something else\.$/m,
	'its client is told why');

ok($server->is_present($spared{$_}), "$_ is left alone") for sort keys %spared;
is(scalar $server->actions($position), keys %ended, 'nobody else was touched');
is($server->ask("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t"), '1 2 4', 'what was not committed is undone');

# Each statement begins the time anew, whether it writes or not.
my $writer = $server->idle_session('INSERT INTO t VALUES (9)');
$writer->stay_idle("SELECT pg_sleep($LIMIT)");
$server->is_acted_on($writer, $position, 'terminate idle_write_transaction_limit 500ms',
	$writer->{since} + $LIMIT, 'one that has worked since it wrote');

# Where both limits are broken at once, the graver one is named.
$server->set_in_file('pg_unblock.idle_write_transaction_limit' => undef);
$server->wait_for_turn;
my $reader = $spared{'one that has only read'};
$writer = $server->idle_session('INSERT INTO t VALUES (10)');
$server->wait_until("clock_timestamp() > to_timestamp($writer->{since} + $LIMIT)");
$server->set_in_file(map { ("pg_unblock.$_" => "${LIMIT}s") }
	  'idle_in_transaction_limit', 'idle_write_transaction_limit');
is($server->wait_for_action($writer, $position)->{rule}, 'idle_write_transaction_limit', 'a writer breaks this limit');
is($server->wait_for_action($reader, $position)->{rule}, 'idle_in_transaction_limit', 'a reader the other');

$server->stop;
done_testing();
