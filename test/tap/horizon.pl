# What holds back vacuum: sessions, prepared transactions, replication slots and
# standbys, the oldest first; vacuum itself does not. check() names the oldest
# of each kind once it is old enough.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->prepared('primary', { allows_streaming => 'logical' },
	'autovacuum = off', 'max_prepared_transactions = 4', 'hot_standby_feedback = on', 'wal_receiver_status_interval = 1',
	"pg_unblock.history_database = ''"); # the recorder's transactions have an xmin too
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pg_unblock; CREATE TABLE t (id int); CREATE DATABASE other');

sub holder { # condition, columns
	my ($condition, $columns) = @_;
	return $server->ask("SELECT $columns FROM unblock.horizon WHERE $condition");
}

sub use_up_transactions { # count
	my ($count) = @_;
	$server->ask("DO \$\$ BEGIN FOR i IN 1 .. $count LOOP
		BEGIN INSERT INTO t VALUES (i); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END \$\$");
	return;
}

is( $server->ask("SELECT count(*) FROM unblock.horizon WHERE pid <> pg_backend_pid()"),
	0, 'nothing in a quiet server but the asking session');
is( $server->ask("SELECT kind, name, xmin_age, holds_oldest FROM unblock.horizon"),
	'session|test|0|t', 'which holds back nothing that is older than itself');

# --- sessions
my $snapshot = $server->session(dbname => 'other');
$snapshot->stay_idle('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
use_up_transactions(1);
my $writer = $server->session;
$writer->stay_idle('BEGIN', 'INSERT INTO t VALUES (0)');
use_up_transactions(10);
is( holder("pid = $snapshot->{pid}",
		"kind, name, datname, xmin_age, since = (SELECT xact_start FROM pg_stat_activity WHERE pid = $snapshot->{pid}), holds_oldest"),
	'session|test|other|14|t|t',
	'a snapshot of another database');
is(holder("pid = $writer->{pid}", 'kind, datname, xmin_age > 0, xmin::text = (SELECT backend_xid::text FROM pg_stat_activity a '
		  . "WHERE a.pid = $writer->{pid})"),
	'session|postgres|t|t', 'a writer that has no snapshot any more: its own transaction');
is($server->ask('SELECT pid FROM unblock.horizon LIMIT 1'), $snapshot->{pid}, 'the oldest comes first');
$writer->quit;

# --- a vacuum
my $keeper = $server->idle_session('LOCK TABLE t IN ROW SHARE MODE');
$server->ask('CREATE TABLE big AS SELECT i, repeat(\'x\', 500) FROM generate_series(1, 20000) i');
my $vacuum = $server->session;
$vacuum->query("SET vacuum_cost_delay = '100ms'; SET vacuum_cost_limit = 1; SET vacuum_cost_page_miss = 10000");
$vacuum->begin_statement('VACUUM big');
$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE pid = $vacuum->{pid} AND backend_xmin IS NOT NULL
	AND wait_event = 'VacuumDelay')");
is(holder("pid = $vacuum->{pid}", 'count(*)'), 0, 'vacuum does not wait for vacuum');
$server->ask("SELECT pg_cancel_backend($vacuum->{pid})");
$vacuum->end_statement;
$keeper->quit;

# --- a prepared transaction
my $preparing = $server->session(dbname => 'other');
$preparing->query("BEGIN; CREATE TABLE p (); PREPARE TRANSACTION 'order 4711'");
is( holder("kind = 'prepared transaction'",
		"name, pid IS NULL, datname, xmin_age >= 0, since = (SELECT prepared FROM pg_prepared_xacts)"),
	'order 4711|t|other|t|t', 'a prepared transaction');
$preparing->query("ROLLBACK PREPARED 'order 4711'");
is(holder("kind = 'prepared transaction'", 'count(*)'), 0, 'and it is gone');

# --- slots
$server->ask("SELECT pg_create_logical_replication_slot('consumer', 'test_decoding')");
is( holder("kind = 'replication slot'",
		"name, pid IS NULL, datname, since IS NULL, xmin::text = (SELECT catalog_xmin::text FROM pg_replication_slots)"),
	'consumer|t|postgres|t|t', 'a logical slot holds back the catalogs');
$server->ask("SELECT pg_create_physical_replication_slot('idle')");
is(holder("name = 'idle'", 'count(*)'), 0, 'a slot without an xmin does not count');
$server->ask("SELECT pg_drop_replication_slot('consumer')");

# --- a standby that sends feedback without a slot
$server->backup('base');
my $standby = PgUnblock->new('standby');
$standby->init_from_backup($server, 'base', has_streaming => 1);
$standby->start;
my $reader = $standby->session;
$reader->stay_idle('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
use_up_transactions(10);
$server->wait_until("(SELECT backend_xmin IS NOT NULL FROM pg_stat_replication)");
$server->wait_until("EXISTS (SELECT FROM unblock.horizon WHERE kind = 'standby')");
is( holder("kind = 'standby'",
		"name, pid = (SELECT pid FROM pg_stat_replication), xmin::text = (SELECT backend_xmin::text FROM pg_stat_replication)"),
	'standby|t|t', 'a standby whose reader must not lose its rows');
is($standby->ask("SELECT count(*) FROM unblock.horizon WHERE pid = $reader->{pid}"), 1, 'and there it is the reader');
$reader->quit;
$standby->stop;
$server->wait_until('NOT EXISTS (SELECT FROM pg_stat_replication)');
is(holder("kind = 'standby'", 'count(*)'), 0, 'a standby that has gone holds back nothing');

# --- details of others
$server->ask('CREATE ROLE nosy LOGIN');
my $nosy = $server->session(user => 'nosy');
is( $nosy->query("SELECT name, since IS NULL, datname, xmin_age > 0 FROM unblock.horizon WHERE pid = $snapshot->{pid}"),
	'test|t|other|t', "others' details are masked as in pg_stat_activity");

# --- check() says who it is, and which rows are kept
sub findings {
	return $server->ask("SELECT finding FROM unblock.check() WHERE finding LIKE '%vacuum%' ORDER BY finding");
}
is(findings(), '', 'not worth telling yet');
$server->ask("SELECT pg_create_logical_replication_slot('consumer', 'test_decoding'); CREATE DATABASE third");
$writer = $server->session;
$writer->stay_idle('BEGIN', 'INSERT INTO t VALUES (0)');
my $follower = $server->session(dbname => 'third');
$follower->stay_idle('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
is(holder("pid = $follower->{pid}", 'xmin'), holder("pid = $writer->{pid}", 'xmin'), 'a snapshot as old as a writer elsewhere');
use_up_transactions(1_000_000);
my $stay = qr/: dead rows of the last 10\d{5} transactions stay/;
like(findings(), qr/^replication slot 'consumer' holds back vacuum of system catalogs$stay
session $_->[0] holds back vacuum in database $_->[1]$stay
session $_->[2] holds back vacuum in database $_->[3]$stay$/, 'the oldest of each kind')
  for [ map { @$_ } sort { $a->[0] cmp $b->[0] } [ $snapshot->{pid}, 'other' ], [ $writer->{pid}, 'postgres' ] ];

my $remedy = $server->ask("SELECT remedy FROM unblock.check() WHERE finding LIKE 'session $snapshot->{pid} holds%'");
like($remedy, qr/^SELECT unblock\.terminate\($snapshot->{pid}, '/, "a session's remedy");
like($server->ask($remedy), qr/terminated/, 'which helps');
is(holder("pid = $snapshot->{pid}", 'count(*)'), 0, 'at once');
$remedy = $server->ask("SELECT remedy FROM unblock.check() WHERE finding LIKE 'replication slot %'");
like($remedy, qr/^-- if nobody needs it any more: SELECT pg_drop_replication_slot\('consumer'\);$/, 'that of a slot that nobody uses');
$server->ask($remedy =~ s/^.*: //r);
$writer->quit;
$server->wait_until_gone($writer);
like(findings(), qr/^session $follower->{pid} holds back vacuum in database third$stay$/, 'the follower by itself');
$follower->quit;
$server->wait_until_gone($follower);
is(findings(), '', 'and nobody');

$server->stop;
done_testing();
