# clear_path(): ends who is idle in a transaction and in the way of one more
# lock on a table, and nobody else.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'max_prepared_transactions = 5');
$server->ask('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (); CREATE TABLE v ()');
$server->ask($_)
  for 'CREATE ROLE app LOGIN', 'CREATE ROLE guest LOGIN', 'CREATE ROLE monitor LOGIN IN ROLE pg_read_all_stats',
  'CREATE ROLE signaler LOGIN IN ROLE pg_signal_backend', 'GRANT SELECT ON t TO app';

# The rows of a call, pid|state|outcome, in the order of pids.
sub clear_path {
	my ($arguments, $caller) = @_;
	my $sql = "SELECT pid, state, outcome FROM unblock.clear_path($arguments) ORDER BY 1";
	return $caller ? $caller->query($sql) : $server->ask($sql);
}

sub rows {
	my ($outcome, @sessions) = @_;
	return join "\n", map { "$_->{pid}|idle in transaction|$outcome" } sort { $a->{pid} <=> $b->{pid} } @sessions;
}

# --- a reader that nobody waits for, known by the fast path only
my $reader    = $server->idle_session('SELECT * FROM t');
my $bystander = $server->idle_session('SELECT * FROM v');
my $plain     = $server->session;
$plain->query('SELECT * FROM t');
is($server->ask("SELECT bool_and(fastpath) FROM pg_locks WHERE pid = $reader->{pid}"), 't', 'a fast-path holder');
is(clear_path(q('t', older_than => '1h')), '', 'a young one is spared');
is(clear_path(q('t', 'ROW EXCLUSIVE', '0')), '', 'one whose lock does not conflict is not in the way');
is(clear_path(q('u', older_than => '0')), '', 'nor is one of another table');
is(clear_path(q('t', older_than => '0', dry_run => true)), rows('would terminate', $reader), 'dry run tells');
is($reader->query('SELECT 1'), 1, 'and touches nobody');
my $position = $server->log_position;
is(clear_path(q('t', older_than => '0')), rows('terminated', $reader), 'it is ended');
my $me = getpwuid $<;
like($reader->last_words,
	qr/^FATAL:  57P01: .*\nDETAIL:  The session was terminated by role "$me" with unblock\.clear_path\(\)\.$/m,
	'and told by whom');
like($server->log_since($position),
	qr/pg_unblock: action=manual_terminate function=unblock\.clear_path pid=$reader->{pid} /, 'the log has a line');
is(clear_path(q('t', older_than => '0')), '', 'a second call finds nothing');

$reader = $server->idle_session('SELECT * FROM t');
$server->wait_until("clock_timestamp() > to_timestamp($reader->{since} + 0.3)");
is(clear_path(q('t', 'ShareRowExclusiveLock', '0.1s')), '', 'weaker modes pass readers');
is(clear_path(q('t', 'access exclusive', '0.1s')), rows('terminated', $reader), 'older than asked for');

# --- an awaited lock, with a queue of those who work
my @readers = map { $server->idle_session('SELECT * FROM t') } 1 .. 2;
my @alters  = map { $server->waiting_session("ALTER TABLE t ADD c$_ int") } 1 .. 2;
my $queued  = $server->waiting_session('SELECT * FROM t');
is(clear_path(q('t', 'ACCESS SHARE', '0', dry_run => true)),
	rows('would terminate', @readers), 'in the way of one more reader, through the queue');
is(clear_path(q('t', older_than => '0')), rows('terminated', @readers), 'all holders are ended');
is(($_->end_statement)[1], '', 'who worked goes on') for @alters, $queued;

# --- the root holds another table only
my $root   = $server->idle_session('SELECT * FROM u');
my $worker = $server->waiting_session(PgUnblock::in_one_go('BEGIN', 'LOCK TABLE t', 'LOCK TABLE u'));
my $next   = $server->waiting_session('ALTER TABLE t ADD c3 int');
is(clear_path(q('t', older_than => '0')), rows('terminated', $root), 'an idle session in front of one in the way');
is(($worker->end_statement)[1], '', 'that one was spared and has its lock');
$worker->query('ROLLBACK');
is(($next->end_statement)[1], '', 'so has who came after it');

# --- states
my $aborted = $server->session;
$aborted->query('BEGIN; SELECT * FROM t; SAVEPOINT s');
$aborted->try('SELECT 1/0');
my $busy = $server->busy_session('SELECT * FROM t');
is(clear_path(q('t', older_than => '0')), "$aborted->{pid}|idle in transaction (aborted)|terminated",
	'one that failed in a savepoint and holds on is ended, one that works is not');
ok($server->is_present($busy), 'that one is still there');
$server->ask("SELECT pg_cancel_backend($busy->{pid})");
$busy->end_statement;
$busy->query('ROLLBACK');

my $caller = $server->session;
$caller->query('BEGIN; LOCK TABLE t');
is(clear_path(q('t', older_than => '0'), $caller), '', 'the caller is never in its own way');
is($caller->query('SELECT 1; ROLLBACK'), 1, 'nor ended');

# --- a table of all databases
my $stranger = $server->idle_session('SELECT count(*) FROM pg_database', dbname => 'template1');
is(clear_path(q('pg_database', older_than => '0')), rows('terminated', $stranger), 'a shared relation');

# --- other people's sessions
my ($guest, $monitor, $signaler) = map { $server->session(user => $_) } qw(guest monitor signaler);
my $own    = $server->idle_session('SELECT * FROM t', user => 'app');
my $mighty = $server->idle_session('SELECT * FROM t');
my ($seen, $notice) = $guest->try("SELECT * FROM unblock.clear_path('t', older_than => '0')");
is($seen, '', 'who may not know is not told');
like($notice, qr/NOTICE: +00000: 2 sessions that you may neither see nor end are in the way/, 'but that somebody is there');
is(clear_path(q('t', older_than => '0'), $monitor), rows('not permitted', $own, $mighty), 'who may know is');
($seen, $notice) = $signaler->try("SELECT pid, state, outcome FROM unblock.clear_path('t', older_than => '0')");
is($seen, "$own->{pid}||terminated", 'pg_signal_backend ends all but superusers');
like($notice, qr/NOTICE: +00000: 1 session that you may neither see nor end is in the way/, 'of whom it says no more');
is($mighty->query('SELECT 1'), 1, 'a refused one does not notice');
is(clear_path(q('t', older_than => '0')), rows('terminated', $mighty), 'a superuser ends anybody');

is($bystander->query('SELECT 1'), 1, 'who is in nobody\'s way has lived through all of it');
is($plain->query('SELECT 1'), 1, 'so has who is in no transaction');

# --- a prepared transaction, at first one that nobody waits for
$server->ask($_) for 'BEGIN', 'INSERT INTO t VALUES (1)', "PREPARE TRANSACTION 'it''s forgotten'";
my $told = "0|$me||still there|It is a prepared transaction. "
  . "ROLLBACK PREPARED 'it''s forgotten'; in database postgres ends it.";
is($server->ask("SELECT * FROM unblock.clear_path('t', 'SHARE')"), $told, 'a prepared transaction is told of');
my $waiting = $server->waiting_session('ALTER TABLE t ADD c4 int');
is($server->ask("SELECT * FROM unblock.clear_path('t', dry_run => true)"), $told, 'once, awaited or not');
is($server->ask("SELECT * FROM unblock.clear_path('t', 'ACCESS SHARE')"), $told, 'through the queue too');
is(clear_path(q('t', 'ACCESS SHARE')), '0||still there', 'and left alone');
is($server->ask('SELECT count(*) FROM pg_prepared_xacts'), 1, 'it is still there');
$server->ask("ROLLBACK PREPARED 'it''s forgotten'");
is(($waiting->end_statement)[1], '', 'until somebody ends it');

# One that survived a restart has no transaction id of a session any more.
$server->ask($_) for 'BEGIN', 'SELECT * FROM t', 'LOCK TABLE u', q(PREPARE TRANSACTION 'old');
$server->forget_observer;
$server->restart;
is(clear_path(q('u')), '0||still there', 'after a restart too');
is(clear_path(q('v')), '', 'but not for another table');

$server->stop;
done_testing();
