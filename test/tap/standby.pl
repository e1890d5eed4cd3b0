# On a standby: reports work, the enforcer runs, ends idle transactions, and
# frees the replay of WAL from a session that holds it up.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $primary = PgUnblock->prepared('primary', { allows_streaming => 1 }, 'autovacuum = off');
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION pg_unblock; CREATE TABLE t (id int)');
$primary->backup('base');
my $standby = PgUnblock->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
$standby->start;
$primary->wait_for_catchup($standby);

my $walsender = $primary->ask('SELECT pid FROM pg_stat_replication');
my $startup   = $standby->ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'");
$standby->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = '$PgUnblock::ENFORCER')");
pass('an enforcer runs on the standby');

# --- a reader behind a lock of the primary
my $migration = $primary->idle_session('LOCK TABLE t');
$primary->ask('CREATE TABLE other ()'); # its commit sends the lock, too, on its way
$standby->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $startup AND mode = 'AccessExclusiveLock')");
my $reader = $standby->waiting_session('SELECT * FROM t');
is( $standby->ask(
		"SELECT blocker_pid, blocker_kind, lock FROM unblock.lock_waits WHERE pid = $reader->{pid}"),
	"$startup|holds|relation public.t",
	'a reader waits for what the primary has locked');
is($standby->ask("SELECT backend_type FROM unblock.blocking_chains WHERE pid = $startup"),
	'startup', 'which the startup process holds');
like($standby->ask("SELECT remedy FROM unblock.root_blockers WHERE pid = $startup"),
	qr/^-- wait .*on the primary/, 'advice as the remedy: the startup process is no client');
is($standby->disagreements, '', 'as pg_locks and pg_blocking_pids() tell it');
$migration->query('COMMIT');
is(($reader->end_statement)[1], '', 'the reader goes on');

# --- an idle transaction, and none on the primary
my $position = $standby->log_position;
my $idle     = $standby->idle_session('SELECT * FROM t');
my $writer   = $primary->idle_session('SELECT * FROM t');
$standby->set_in_file('pg_unblock.idle_in_transaction_limit' => '200ms');
is($standby->wait_for_action($idle, $position)->{rule}, 'idle_in_transaction_limit', 'an idle transaction is ended');
$standby->wait_until_gone($idle);
like($idle->last_words, qr/^FATAL:  25P03: /m, 'and told why');
$standby->set_in_file('pg_unblock.idle_in_transaction_limit' => undef);
$standby->wait_for_turn;
is($writer->query('SELECT 1'), 1, 'each server has its own limits');
$writer->quit;

# --- a session that holds up the replay
$idle = $standby->idle_session('SELECT * FROM t');
$primary->ask('ALTER TABLE t ADD COLUMN a int');
$standby->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $startup AND NOT granted)");
$reader = $standby->waiting_session('SELECT * FROM t');
is( $standby->ask(
		"SELECT lock, mode_wanted, blocker_pid, blocker_kind, mode_held, root_pids
		   FROM unblock.lock_waits WHERE pid IN ($startup, $reader->{pid}) ORDER BY depth"),
	"relation public.t|AccessExclusiveLock|$idle->{pid}|holds|AccessShareLock|{$idle->{pid}}\n" .
	"relation public.t|AccessShareLock|$startup|queued|AccessExclusiveLock|{$idle->{pid}}",
	'the startup process waits for a session of the standby, and a reader for both');
is( $standby->ask('SELECT pid, backend_type, blocked_total, frees FROM unblock.blocking_chains'),
	"$idle->{pid}|client backend|2|2\n$startup|startup|1|1\n$reader->{pid}|client backend|0|0",
	'as a chain');
$position = $standby->log_position;
$standby->set_in_file('pg_unblock.idle_blocker_limit' => '200ms');
is($standby->wait_for_action($idle, $position)->{rule}, 'idle_blocker_limit', 'which is ended');
$primary->wait_for_catchup($standby);
pass('the replay goes on');
is(($reader->end_statement)[1], '', 'and so does the reader');

is($primary->ask('SELECT pid FROM pg_stat_replication'), $walsender, 'the walsender is the same');

# --- promoted
$standby->promote;
$position = $standby->log_position;
my $blocker = $standby->idle_session('LOCK TABLE t');
my $waiter  = $standby->waiting_session('SELECT * FROM t');
is($standby->wait_for_action($blocker, $position)->{rule}, 'idle_blocker_limit', 'enforces after promotion');
is(($waiter->end_statement)[1], '', 'the waiter goes on');

$standby->stop;
$primary->stop;
done_testing();
