# A session whose COMMIT waits for a synchronous standby breaks every limit that it can and blocks others: it has
# committed already, and is left alone until the standby, or who does without it, lets it go on.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', { allows_streaming => 1 }, 'pg_unblock.max_actions_per_minute = 0');
$server->ask('CREATE TABLE t (id int); CREATE TABLE other ()');
# Nothing else here waits for a standby.
$server->set_in_file(synchronous_commit => 'off', synchronous_standby_names => 'nobody');
$server->ask('SET pg_unblock.mode = off');

my $writer = $server->session;
$writer->query('SET synchronous_commit = on');
$writer->query($_) for 'BEGIN', 'LOCK TABLE t', 'INSERT INTO t VALUES (1)';
$writer->begin_statement('COMMIT');
$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE pid = $writer->{pid} AND wait_event = 'SyncRep')");

sub writer_is {
	return $server->ask("SELECT backend_start, xact_start, state_change, wait_event
		FROM pg_stat_activity WHERE pid = $writer->{pid}");
}
my $before = writer_is();
my %PATIENT = (options => '-c pg_unblock.transaction_limit=0');
my @waiters = map { $server->waiting_session($_, %PATIENT) } 'SELECT count(*) FROM t', 'TABLE t';

my $LIMIT    = '300ms';
my $position = $server->log_position;
$server->set_all_limits($LIMIT);

# Others that came later and are ended or canceled.
my $busy = $server->busy_session('SELECT 1');
is($server->wait_for_action($busy, $position)->{rule}, 'transaction_limit', 'a session that works is ended');
my $blocker = $server->session(%PATIENT);
$blocker->begin_statement(PgUnblock::in_one_go('LOCK TABLE other', 'SELECT pg_sleep(3600)'));
$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE pid = $blocker->{pid} AND wait_event = 'PgSleep')");
my $behind = $server->waiting_session('SELECT * FROM other', %PATIENT);
is($server->wait_for_action($blocker, $position)->{rule}, 'active_blocker_limit', 'one that blocks is canceled');
$server->wait_for_turn;

is(writer_is(), $before, 'one that waits for a standby does so still');
is(scalar $server->actions($position), 2, 'nothing was done to it');
is($server->stat('changed_in_time'), 0, 'nor was it tried');

# Whoever is responsible does without the standby. No limits meanwhile: when it does not wait any more it works, for a
# moment, and its transaction is old.
$server->set_all_limits(0);
$server->wait_for_turn;
$server->set_in_file(synchronous_standby_names => undef);
is(join('', $writer->end_statement), '', 'its commit is acknowledged');
is(($_->end_statement)[0], 1, 'and its row is there for who waited') for @waiters;
is($writer->query('SELECT count(*) FROM t'), 1, 'it goes on');

$server->stop;
done_testing();
