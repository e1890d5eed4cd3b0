# What the history tells of each kind of action: to whom, why, who waited, and what came of it. The log names the
# same incidents.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main',
	'autovacuum = off', 'pg_unblock.report_after = 0',
	'compute_query_id = on', 'pg_unblock.max_actions_per_minute = 0', "listen_addresses = '127.0.0.1'");
$server->ask('CREATE TABLE features (id int); CREATE ROLE app LOGIN; GRANT ALL ON features TO app');
$server->ask('CREATE ROLE op LOGIN; GRANT pg_signal_backend TO op');
my $over_tcp = 'host=127.0.0.1';

# What the log lines and the history must say alike.
sub is_in_the_log {
	my ($position, $incident, $what) = @_;
	my @lines = grep { ($_->{incident} // '') eq $incident->{id} } $server->actions($position);
	is(scalar(@lines), 1, "$what: one line in the log names the incident");
	is("$lines[0]{action} $lines[0]{pid}", "$incident->{kind} $incident->{pid}", "$what: the same one");
	return;
}

# --- an idle blocker is ended ---
my $position = $server->log_position;
my $blocker  = $server->idle_session('SELECT * FROM features', user => 'app', conninfo => $over_tcp);
my $alter    = $server->waiting_session('ALTER TABLE features ADD COLUMN a int');
my @readers  = map { $server->waiting_session('SELECT count(*) FROM features') } 1 .. 9;
my $status   = $server->ask("SELECT row_to_json(a) FROM pg_stat_activity a WHERE pid = $blocker->{pid}");
$server->set_in_file('pg_unblock.idle_blocker_limit' => '1s');
$server->wait_until_gone($blocker);
my $incident = $server->wait_for_incident("pid = $blocker->{pid} AND outcome IS NOT NULL");
$status = JSON::PP->new->decode($status);
is("$incident->{kind} $incident->{rule} $incident->{limit_ms}", 'terminate idle_blocker_limit 1000', 'what was done');
cmp_ok($incident->{measured_ms}, '>=', 1000, 'what had been measured');
is($incident->{outcome}, 'terminated', 'what came of it');
cmp_ok($incident->{outcome_ms}, '<', 10_000, 'soon');
for my $column (qw(backend_start xact_start datid datname usesysid usename application_name client_addr state query_id query))
{
	is($incident->{$column}, $status->{$column}, "$column as in pg_stat_activity");
}
is($incident->{backend_type}, 'client backend', 'its kind');
is($incident->{locks_held},   2,                'its locks');
is($incident->{backend_xid},  undef,            'it had not written');
is("$incident->{mode} on $incident->{lock}", 'AccessShareLock on relation public.features', 'the lock');
is($incident->{relation}, $server->ask("SELECT 'features'::regclass::oid"), 'as an OID too');
is($incident->{database}, $status->{datid}, 'in its database');
is($incident->{blocked_total}, 10, 'whom it blocked, directly or through others');
is_deeply(
	$incident->{waiters},
	[ { pid => $alter->{pid} + 0, mode => 'AccessExclusiveLock', lock => 'relation public.features' } ],
	'those who waited for it directly');
cmp_ok($incident->{longest_wait_ms}, '>=', 1000,  'for how long');
cmp_ok($incident->{idle_ms},         '>=', 1000,  'it was idle meanwhile');
cmp_ok($incident->{waiting_ms},      '>=', 3_000, 'what all of them lost');
my $relation = 'relation public.features';
like($incident->{chain}, qr/^\* $blocker->{pid} app\@postgres \(test\): idle in transaction for \d.*$/m, 'the chain, from its root');
like($incident->{chain}, qr/^`- $alter->{pid} .*\n.*on $relation, held in AccessShareLock; blocks 9, frees 9\n.*ALTER TABLE/m, 'to the migration');
like($incident->{chain}, qr/\.\.\. and 7 more wait for AccessShareLock/, 'and those behind it');
unlike($incident->{chain}, qr/\n\z/, 'without an empty line');
is($incident->{source}, 'memory', 'its place');
is_in_the_log($position, $incident, 'idle blocker');
my $text = $server->ask("SELECT unblock.incident('$incident->{id}')");
like($text, qr/^Incident $incident->{id}: terminate by pg_unblock\.idle_blocker_limit$/m, 'as text: what');
like($text, qr/^Limit    1\.0 s, measured \d+\.\d s$/m, 'why');
like($text, qr/^Session  $blocker->{pid} client backend, user app, database postgres, application test, client 127\.0\.0\.1, idle in transaction$/m, 'who');
like($text, qr/^Blocked  10 sessions, the longest for \d+\.\d s, through AccessShareLock on relation public\.features$/m, 'whom');
like($text, qr/^Outcome  terminated after \d+\.\d+ s$/m, 'outcome');
like($text, qr/^Last statement\nBEGIN; SELECT \* FROM features;/m, 'statement');
like($text, qr/^\* $blocker->{pid} /m, 'chain');
unlike($text, qr/^Relation \d+ is/m, 'which needs no name for what it shows by name');
is($_->end_statement ? 1 : 0, 1, 'the waiters go on') for $alter;
$_->end_statement for @readers;
$_->quit for $alter, @readers;

# --- a queued one is canceled, for the sake of readers ---
$server->set_in_file('pg_unblock.idle_blocker_limit' => undef);
$position = $server->log_position;
my $busy = $server->busy_session('SELECT * FROM features');
$alter = $server->waiting_session('ALTER TABLE features ADD COLUMN b int', options => '-c pg_unblock.queued_blocker_limit=1s');
my $reader = $server->waiting_session('SELECT count(*) FROM features');
$alter->end_statement;
$incident = $server->wait_for_incident("pid = $alter->{pid} AND outcome IS NOT NULL");
is("$incident->{kind} $incident->{rule} $incident->{state} $incident->{outcome}",
	'cancel queued_blocker_limit active canceled', 'a canceled statement');
is("$incident->{mode} on $incident->{lock}", 'AccessExclusiveLock on relation public.features', 'the lock that it wanted');
is_deeply([ map { $_->{pid} } @{ $incident->{waiters} } ], [ $reader->{pid} + 0 ], 'who waited behind it');
is_in_the_log($position, $incident, 'queued blocker');
$reader->end_statement;
$_->quit for $alter, $reader;
$server->ask("SELECT pg_terminate_backend($busy->{pid})");
$server->wait_until_gone($busy);

# --- a dry run, which the session does not notice ---
$position = $server->log_position;
my $exempt = $server->idle_session('SELECT 1',
	options => '-c pg_unblock.mode=dry_run -c pg_unblock.idle_in_transaction_limit=300ms -c pg_unblock.transaction_limit=100ms');
$incident = $server->wait_for_incident("pid = $exempt->{pid} AND rule = 'idle_in_transaction_limit'");
is("$incident->{kind} " . ($incident->{outcome} // 'going on'), 'would_terminate going on', 'a dry run');
$exempt->query('COMMIT');
$server->wait_for_turn;
$incident = $server->wait_for_incident("id = '$incident->{id}' AND outcome IS NOT NULL");
is($incident->{outcome}, 'ended by itself', 'what came of it');
is_in_the_log($position, $incident, 'dry run');
$exempt->quit;

# --- by hand ---
$position = $server->log_position;
$blocker  = $server->idle_session('LOCK TABLE features');
$reader   = $server->waiting_session('SELECT count(*) FROM features', user => 'app');
is($server->session(user => 'op')->query("SELECT outcome FROM unblock.cancel($reader->{pid})"), 'canceled', 'a statement');
$reader->end_statement;
$incident = $server->wait_for_incident("pid = $reader->{pid} AND outcome IS NOT NULL");
is("$incident->{kind} $incident->{outcome} by $incident->{asked_by} with $incident->{function}",
	'manual_cancel canceled by op with unblock.cancel', 'canceled by hand');
is_in_the_log($position, $incident, 'cancel()');
is($server->ask("SELECT outcome FROM unblock.terminate($blocker->{pid})"), 'terminated', 'ended by hand');
$incident = $server->wait_for_incident("pid = $blocker->{pid} AND outcome IS NOT NULL");
is("$incident->{kind} $incident->{outcome} by $incident->{asked_by} with $incident->{function}",
	'manual_terminate terminated by ' . $server->ask('SELECT current_user') . ' with unblock.terminate', 'by whom');
like($incident->{query}, qr/^BEGIN; LOCK TABLE features/, 'its statement');
is_in_the_log($position, $incident, 'terminate()');
$blocker = $server->idle_session('LOCK TABLE features');
is($server->ask("SELECT outcome FROM unblock.clear_path('features', older_than => '0')"), 'terminated', 'a cleared path');
is($server->wait_for_incident("pid = $blocker->{pid}")->{function}, 'unblock.clear_path', 'is told so');
my $calm = $server->session;
is($server->ask("SELECT outcome FROM unblock.terminate($calm->{pid})"), 'terminated', 'one that does nothing');
$incident = $server->wait_for_incident("pid = $calm->{pid}");
is("$incident->{state} $incident->{datname} $incident->{application_name}", 'idle postgres test', 'is known too');
is($incident->{chain}, undef, 'though it was in no chain');
my $many = $server->ask('SELECT count(*) FROM unblock.history');
$server->ask("SELECT * FROM unblock.terminate(2147483647)");
is($server->ask('SELECT count(*) FROM unblock.history'), $many, 'what was not done is no incident');

# --- pause and resume ---
$position = $server->log_position;
$server->ask("SELECT unblock.pause('1 min')");
$server->ask('SELECT unblock.resume()');
my ($pause, $resume) = $server->incidents("kind = 'pause'");
is("$pause->{function} $pause->{limit_ms}", 'unblock.pause 60000', 'a pause');
is("$resume->{function} $resume->{outcome}", 'unblock.resume resumed', 'and its end');
is(join(' ', map { $_->{incident} } $server->actions($position)), "$pause->{id} $resume->{id}", 'in the log too');

# --- the fuse ---
$server->set_in_file('pg_unblock.max_actions_per_minute' => 1);
my @idle = map { $server->idle_session('SELECT 1', options => '-c pg_unblock.idle_in_transaction_limit=100ms') } 1 .. 2;
$incident = $server->wait_for_incident("kind = 'fuse'");
is($incident->{limit_ms}, 1, 'a blown fuse');
is($incident->{pid}, undef, 'has no session');
$server->set_in_file('pg_unblock.max_actions_per_minute' => 0);
$server->wait_until_gone(@idle);

# --- without texts ---
$server->set_in_file('pg_unblock.history_query_text' => 'off');
$server->wait_for_turn;
$blocker = $server->idle_session("SELECT 'secret' FROM features", options => '-c pg_unblock.idle_blocker_limit=300ms');
$position = $server->log_position;
$alter   = $server->waiting_session("COMMENT ON TABLE features IS 'secret'; ALTER TABLE features ADD COLUMN c int");
$server->wait_until_gone($blocker);
$incident = $server->wait_for_incident("pid = $blocker->{pid}");
is($incident->{query}, undef, 'history_query_text off: no statement');
isnt($incident->{query_id}, undef, 'but its id');
like($incident->{chain}, qr/$blocker->{pid}.*$alter->{pid}/s, 'the chain');
unlike($incident->{chain}, qr/secret/, 'has none either');
$alter->end_statement;

# --- the summary ---
is( $server->ask(
		"SELECT kind, rule, query, incidents, sessions_blocked, session_seconds_lost >= 3, ended_by_1s, ended_by_10s
		   FROM unblock.history_summary() WHERE rule = 'idle_blocker_limit'"),
	'terminate|idle_blocker_limit|BEGIN; SELECT * FROM features; SELECT extract(epoch FROM clock_timestamp());|2|11|t|1|0',
	'a summary by rule and statement, with the text of the worst')
  or diag $server->ask('SELECT * FROM unblock.history_summary()');
is($server->ask("SELECT sum(incidents) FROM unblock.history_summary('-infinity', 'infinity')"),
	$server->ask('SELECT count(*) FROM unblock.history'), 'of all');
is($server->ask("SELECT count(*) FROM unblock.history_summary(now() - interval '2 days', now() - interval '1 day')"), 0, 'of a time');

$server->stop;
done_testing();
