# Only client backends are ever ended or canceled, also with all limits at once: walsenders, workers of autovacuum,
# of parallel queries and of logical replication, and the server's own processes are there afterwards, whatever they
# hold, do or wait for.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded(
	'main', { allows_streaming => 'logical' }, 'max_worker_processes = 16',
	'wal_sender_timeout = 0', 'wal_receiver_timeout = 0',
	'deadlock_timeout = 1h', # after which the server itself cancels an autovacuum worker that blocks
	'pg_unblock.max_actions_per_minute = 0',
	'autovacuum_naptime = 1s');
$server->create_take_lock;
$server->ask("CREATE TABLE $_ (id int)") for qw(held busy_held queue client_held client_queue client_busy);
$server->ask('CREATE TABLE published (id int); CREATE PUBLICATION p FOR TABLE published');
$server->ask("SELECT pg_create_logical_replication_slot('s', 'pgoutput')"); # while no transaction is in progress
# A row on each page, so that each of two workers gets one.
$server->ask(
	q{CREATE TABLE pages (id int, filler text);
	  ALTER TABLE pages ALTER filler SET STORAGE PLAIN, SET (parallel_workers = 2);
	  INSERT INTO pages SELECT id, repeat('x', 7000) FROM generate_series(1, 12) id});
$server->ask(q{CREATE TABLE more_pages (LIKE pages INCLUDING STORAGE) WITH (parallel_workers = 2);
	  INSERT INTO more_pages TABLE pages; ANALYZE pages, more_pages});

my %EXEMPT  = (options => '-c pg_unblock.mode=off');
my %PATIENT = (options => '-c pg_unblock.transaction_limit=0');
my @sessions; # not to be lost

# Somebody who waits.
sub behind {
	push @sessions, $server->waiting_session(@_, %PATIENT);
	return $sessions[-1];
}

# Somebody who holds a table in such a way that a writer has to queue.
sub hold {
	my ($table, %params) = @_;
	push @sessions, $server->idle_session("LOCK TABLE $table IN SHARE MODE", %EXEMPT, %params);
	return;
}

# And somebody who has to wait for that writer alone.
sub behind_the_queue {
	my ($table, %params) = @_;
	return behind(PgUnblock::in_one_go("LOCK TABLE $table IN SHARE MODE", 'SELECT 1'), %params);
}

# --- walsenders: one is idle in a transaction, one works, one is queued
my $idle_walsender = $server->session(replication => 'database');
$idle_walsender->query($_) for 'BEGIN', 'LOCK TABLE held', 'SELECT pg_current_xact_id()';
my $behind_the_idle_one = behind('SELECT * FROM held');
push @sessions, $server->busy_session('LOCK TABLE busy_held', replication => 'database');
behind('SELECT * FROM busy_held');
hold('queue');
push @sessions, $server->waiting_session('INSERT INTO queue VALUES (1)', replication => 'database');
behind_the_queue('queue');

# --- autovacuum workers: one works, one is queued
$server->ask(
	q{CREATE TABLE v WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
			autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)
		AS SELECT i, repeat('x', 1000) FROM generate_series(1, 10000) i;
	  DELETE FROM v});
my $on_v = "pid IN (SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'v'::regclass)";
$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE $on_v)");
behind('CREATE INDEX ON v (i)');

$server->ask('CREATE TABLE old (id int) WITH (autovacuum_freeze_max_age = 100000);
	CREATE TABLE ids () WITH (autovacuum_enabled = off)');
hold('old');
# Each subtransaction that writes takes a transaction id.
$server->ask(
	q{DO $$ BEGIN
		FOR i IN 1 .. 100100 LOOP
			BEGIN INSERT INTO ids DEFAULT VALUES; EXCEPTION WHEN division_by_zero THEN END;
		END LOOP;
	END $$});
my $on_old = "pid IN (SELECT pid FROM pg_locks WHERE relation = 'old'::regclass AND NOT granted)";
$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND $on_old)");
my $autovacuum = $server->ask(
	"SELECT array_agg(pid) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND ($on_v OR $on_old)");
behind_the_queue('old');

# --- parallel workers: those of one query work, those of the other are queued, as is allowed to their leaders
sub lead {
	my ($sql) = @_;
	my $leader = $server->session(options => join ' ',
		map { "-c pg_unblock.$_=0" } qw(transaction_limit active_blocker_limit queued_blocker_limit));
	$leader->query(
		'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
		 SET parallel_leader_participation = off; SET cpu_operator_cost = 1000');
	$leader->begin_statement($sql);
	push @sessions, $leader;
	return "SELECT pid FROM pg_stat_activity WHERE leader_pid = $leader->{pid}";
}
my $workers = lead('SELECT sum(length(pg_sleep(3600)::text)) FROM pages');
$server->wait_until("(SELECT count(*) FROM pg_stat_activity WHERE pid IN ($workers) AND wait_event = 'PgSleep') = 2");
behind('ALTER TABLE pages ADD COLUMN other int');
$server->ask('CREATE TABLE parallel_queue ()');
hold('parallel_queue');
my ($database, $table) = split /\|/, $server->ask(
	"SELECT oid, 'parallel_queue'::regclass::oid FROM pg_database WHERE datname = current_database()");
$workers = lead(
	"SELECT count(take_lock('relation', $database, $table, 0, 0, 'RowExclusiveLock')) FROM more_pages");
$server->wait_until("(SELECT count(*) FROM pg_locks WHERE pid IN ($workers) AND NOT granted) = 2");
behind_the_queue('parallel_queue');

# --- the worker that applies what another database publishes, queued
$server->ask('CREATE DATABASE subscriber');
my $subscriber = $server->session(dbname => 'subscriber', %EXEMPT);
my $conninfo   = $server->connstr('postgres') =~ s/'/''/gr;
$subscriber->query("CREATE TABLE published (id int);
	CREATE SUBSCRIPTION s CONNECTION '$conninfo' PUBLICATION p WITH (create_slot = false, copy_data = false)");
hold('published', dbname => 'subscriber');
$server->ask('INSERT INTO published VALUES (1)');
$server->wait_until(
	"EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type ~ '^logical replication (apply )?worker' AND datname = 'subscriber' AND wait_event_type = 'Lock')");
behind_the_queue('published', dbname => 'subscriber');

# --- all limits at once

# Of the autovacuum workers, those that are not done soon.
sub bystanders {
	return $server->ask("SELECT string_agg(concat_ws(' ', backend_type, pid, backend_start), E'\\n'
				ORDER BY backend_type, pid)
		FROM pg_stat_activity
		WHERE backend_type NOT IN ('client backend', 'pg_unblock recorder')
			AND (backend_type <> 'autovacuum worker' OR pid = ANY ('$autovacuum'))");
}
my $before   = bystanders();
my $position = $server->log_position;
$server->ask('SET pg_unblock.mode = off');
my $LIMIT = '300ms';
$server->set_all_limits($LIMIT);

# Clients that do the same are ended or canceled, one after the other.
my $idle = $server->idle_session('LOCK TABLE client_held', %PATIENT);
behind('SELECT * FROM client_held');
is($server->wait_for_action($idle, $position)->{action}, 'terminate', 'a client that is idle and blocks');
$server->wait_until_gone($idle);

hold('client_queue');
my $queued = $server->waiting_session('INSERT INTO client_queue VALUES (1)', %PATIENT);
behind_the_queue('client_queue');
is($server->wait_for_action($queued, $position)->{rule}, 'queued_blocker_limit', 'one that is queued');

my $busy = $server->session(%PATIENT);
$busy->begin_statement(PgUnblock::in_one_go('LOCK TABLE client_busy', 'SELECT pg_sleep(3600)'));
$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE pid = $busy->{pid} AND wait_event = 'PgSleep')");
behind('SELECT * FROM client_busy');
is($server->wait_for_action($busy, $position)->{rule}, 'active_blocker_limit', 'one that works and blocks');
$server->wait_for_turn;

like($before, qr/^autovacuum worker.*\nautovacuum worker/m, 'autovacuum workers were there');
like($before, qr/^(?:logical replication (?:apply )?worker.*\n){1}/m, 'one of logical replication');
like($before, qr/^(?:parallel worker.*\n){4}/m, 'parallel workers');
like($before, qr/^(?:walsender.*\n){4}/m, 'walsenders');
is(bystanders(), $before, 'and the very same are there afterwards');
is( join(' ', map { $_->{pid} } $server->actions($position)),
	join(' ', map { $_->{pid} } $idle, $queued, $busy),
	'only those clients were ended or canceled');
is($server->stat('changed_in_time'), 0, 'nor was anybody else tried');
is($idle_walsender->query('COMMIT'), '', 'a walsender goes on');
is(($behind_the_idle_one->end_statement)[1], '', 'and with it its waiter');

$server->stop('immediate'); # it would wait for the autovacuum workers
done_testing();
