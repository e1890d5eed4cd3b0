# Limits behind a PgBouncer, with transaction and with session pooling: what its clients read when they are ended or
# canceled, that others of the pool go on, and when a role's new limit takes effect.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgBouncer;
use PgUnblock;
use Test::More;

my $LIMIT  = 'pg_unblock.idle_in_transaction_limit';
my $server = PgUnblock->preloaded('main', "listen_addresses = '127.0.0.1'", 'pg_unblock.max_actions_per_minute = 0');
$server->ask('CREATE ROLE webapp LOGIN; CREATE ROLE dba LOGIN; CREATE DATABASE shop OWNER webapp');
my $owner = $server->session(dbname => 'shop', user => 'webapp');
$owner->query('CREATE TABLE t (id int)');
my $pgbouncer = PgBouncer->new($server,
	by_transaction => 'dbname=shop pool_mode=transaction',
	by_session     => 'dbname=shop pool_mode=session');

for my $pool (qw(by_transaction by_session)) {
	my ($upload, $report) = map { $pgbouncer->client($_, $pool) } qw(upload report);

	# --- an idle client, and one that works meanwhile
	my $position = $server->log_position;
	$owner->query('SELECT pg_advisory_lock(1)');
	$report->begin_statement('SELECT pg_advisory_lock(1), pg_advisory_unlock(1)');
	$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)");
	$upload->{pid} = $upload->query("BEGIN;\nSELECT pg_backend_pid()");
	$server->set_in_file($LIMIT => '300ms');
	my $action = $server->wait_for_action($upload, $position);
	is(join(' ', @$action{qw(action rule user database application)}),
		'terminate idle_in_transaction_limit webapp shop upload',
		"$pool: the idle one is ended, and told by the name of its application");
	$server->wait_until_gone($upload);
	$server->set_in_file($LIMIT => undef);
	my $reason = qr/DETAIL:  The transaction waited for its client for \S+\. $LIMIT is 300ms\./;
	like($upload->last_words,
		qr/\AWARNING:  01000: pg_unblock is ending this session\n$reason\n(?:LOCATION: .*\n)?FATAL:  25P03: .*\n$reason\nHINT:  Commit .*\n(?:LOCATION: .*\n)?FATAL:  08P01: server conn crashed\?\n/,
		"$pool: it is told why");
	$owner->query('SELECT pg_advisory_unlock(1)');
	is(($report->end_statement)[1], '', "$pool: the one that works goes on");

	# --- the pool recovers: so many transactions at once need a new server connection
	$upload = $pgbouncer->client('upload', $pool);
	is($_->query("BEGIN;\nSELECT 1"), 1, "$pool: the pool serves both") for $upload, $report;
	unlike($pgbouncer->console('SHOW SERVERS'), qr/ $action->{pid} \|[^|]*\|[^|]*$/m,
		"$pool: the lost connection is forgotten");
	$_->query('COMMIT') for $upload, $report;

	# --- a migration in the queue is canceled, and its client stays
	my $reader = $server->idle_session('SELECT * FROM t', dbname => 'shop');
	$position = $server->log_position;
	$upload->begin_statement('ALTER TABLE t ALTER id SET NOT NULL');
	$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE locktype = 'relation' AND NOT granted)");
	my $jammed = $server->waiting_session('SELECT * FROM t', dbname => 'shop');
	$server->set_in_file('pg_unblock.queued_blocker_limit' => '300ms');
	like(($upload->end_statement)[1],
		qr/\AERROR:  55P03: canceling statement due to lock timeout\nDETAIL:  .* pg_unblock\.queued_blocker_limit is 300ms\.\nHINT:  Try again later\./,
		"$pool: the migration learns that it is not its turn");
	$action = PgUnblock::wait_for('the line on it', sub { ($server->actions($position))[0] });
	is(join(' ', @$action{qw(action rule application)}), 'cancel queued_blocker_limit upload', "$pool: the log");
	is(($jammed->end_statement)[1], '', "$pool: who was behind it goes on");
	$reader->quit;
	is($upload->query('ALTER TABLE t ALTER id SET NOT NULL; SELECT 1'), 1, "$pool: it can try again");
	$server->set_in_file('pg_unblock.queued_blocker_limit' => undef);

	# --- a role's new limit
	$position = $server->log_position;
	$server->ask("ALTER ROLE webapp SET $LIMIT = '300ms'");
	$upload->query('BEGIN');
	my $direct = $server->idle_session('SELECT 1', dbname => 'shop', user => 'webapp');
	$server->wait_for_action($direct, $position);
	$server->wait_until_gone($direct);
	$server->wait_for_turn;
	is($upload->query("SELECT 1;\nCOMMIT"), 1, "$pool: not in force for connections that the pool has");
	$pgbouncer->console("RECONNECT $pool");
	if ($pool eq 'by_session') {
		$upload->query('BEGIN');
		$direct = $server->idle_session('SELECT 1', dbname => 'shop', user => 'webapp');
		$server->wait_for_action($direct, $position);
		is($upload->query("SELECT 1;\nCOMMIT"), 1, "$pool: nor for those that a client has when they are replaced");
		$upload->quit;
		$upload = $pgbouncer->client('upload', $pool);
	}
	$upload->{pid} = $upload->query("BEGIN;\nSELECT pg_backend_pid()");
	$action = $server->wait_for_action($upload, $position);
	is(join(' ', @$action{qw(action rule application)}),
		'terminate idle_in_transaction_limit upload',
		"$pool: in force for new ones");
	$server->ask("ALTER ROLE webapp RESET $LIMIT");
	$server->wait_until_gone($upload);
}

$server->stop('immediate');
done_testing();
