# What happens is in the table within about a second, each thing once, and its outcome follows. What a server has
# left open when it stopped is closed by its next life. Old rows go away.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(time);

my $server = PgUnblock->preloaded('main', "pg_unblock.report_after = '200ms'");
$server->ask('CREATE TABLE t ()');

# Waits for a row of the table, and returns its columns.
sub row {
	my ($columns, $condition) = @_;
	return PgUnblock::wait_for("an incident with $condition",
		sub { $server->ask("SELECT $columns FROM unblock.incident WHERE $condition") });
}

sub has_all_once {
	my ($sources, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my %logged = $server->incidents_in_log(0);
	$server->wait_until_saved;
	is($server->ask('SELECT string_agg(id, \' \' ORDER BY id COLLATE "C") FROM unblock.history'),
		join(' ', sort keys %logged), "$what: the view has what the log has, once");
	is($server->ask('SELECT count(*) FROM unblock.incident'), scalar keys %logged, "$what: the table has it as well");
	is($server->ask('SELECT string_agg(DISTINCT source, \' \') FROM unblock.history'), $sources, "$what: sources");
	return;
}

# --- one thing after the other
my $start = time;
$server->ask("SELECT unblock.pause('1 ms')");
is(row('outcome, limit_ms, asked_by IS NOT NULL', q(kind = 'pause')), '|1|t', 'a pause');
cmp_ok(time - $start, '<', 5, 'saved soon');

my $holder = $server->idle_session('LOCK TABLE t');
my $waiter = $server->waiting_session('SELECT * FROM t');
my $episode = row('id', "kind = 'episode' AND pid = $holder->{pid}");
is(row('ended_at, outcome', "id = '$episode'"), '|', 'an episode that goes on');
$holder->query('COMMIT');
is(row('ended_at > at, outcome', "id = '$episode' AND outcome IS NOT NULL"), 't|ended by itself', 'its end');
is(($waiter->end_statement)[1], '', 'the waiter goes on');

my $busy = $server->busy_session('SELECT 1');
$server->ask("SELECT unblock.cancel($busy->{pid})");
is(row('outcome, outcome_ms >= 0', "kind = 'manual_cancel' AND outcome IS NOT NULL"), 'canceled|t', 'a manual cancel');
$server->ask("SELECT unblock.terminate($busy->{pid})");
is(row('outcome, outcome_ms >= 0', "kind = 'manual_terminate' AND outcome IS NOT NULL"),
	'terminated|t', 'a manual end');

# Its end has to wait: a stopped process takes no signal.
my $stopped = $server->idle_session('SELECT 1');
kill 'STOP', $stopped->{pid};
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '200ms');
is(row(q(coalesce(outcome, 'not known')), "kind = 'terminate' AND pid = $stopped->{pid}"), 'not known',
	'an action, its outcome not known yet');
kill 'CONT', $stopped->{pid};
is(row('rule, outcome', "kind = 'terminate' AND pid = $stopped->{pid} AND outcome IS NOT NULL"),
	'idle_in_transaction_limit|terminated', 'its outcome');
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => undef);
has_all_once('memory', 'all of them');
$server->wait_until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = '$PgUnblock::RECORDER')");
pass('the recorder does not stay');

# --- it is ended
my $locker = $server->idle_session('LOCK TABLE unblock.incident');
$server->ask(PgUnblock::pauses(3));
my $recorder = $server->wait_for_recorder;
$server->ask("SELECT pg_terminate_backend($recorder)");
$server->wait_until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $recorder)");
$locker->query('COMMIT');
has_all_once('memory', 'after the recorder was ended');

# --- a restart
$holder = $server->idle_session('LOCK TABLE t');
$waiter = $server->waiting_session('SELECT * FROM t');
$episode = row('id', "kind = 'episode' AND pid = $holder->{pid}");
$server->forget_observer;
$server->restart;
is(row('outcome, outcome_ms', "id = '$episode' AND outcome IS NOT NULL"), 'server stopped|',
	'an episode that the server did not see the end of');
is($server->ask("SELECT count(*) FROM unblock.incident WHERE outcome = 'server stopped'"), 1, 'no other');
has_all_once('table', 'after a restart');
$server->ask(PgUnblock::pauses(3));
has_all_once('memory table', 'its next incidents');

# --- retention
my $old = q(SELECT count(*) FROM unblock.incident WHERE at < now() - interval '1 day');
my $age = q(UPDATE unblock.incident SET at = at - interval '3 days' WHERE kind LIKE 'manual%');
$server->ask($age);
is($server->ask($old), 2, 'two rows are old');
$server->set_in_file('pg_unblock.history_retention' => '0');
$server->ask(PgUnblock::pauses(1));
$server->wait_until_saved;
is($server->ask($old), 2, 'history_retention = 0 keeps them');
my $rows = $server->ask('SELECT count(*) FROM unblock.incident');
$server->set_in_file('pg_unblock.history_retention' => '2d');
$server->ask(PgUnblock::pauses(1));
$server->wait_until_saved;
is($server->ask($old), 0, 'history_retention = 2d does not');
is($server->ask('SELECT count(*) FROM unblock.incident'), $rows - 2 + 1, 'and keeps the others');
$server->ask(q(INSERT INTO unblock.incident (id, at, ended_at, kind, outcome, revision) VALUES
	('long', now() - interval '5 days', now(), 'episode', 'ended by itself', 0),
	('longest', now() - interval '5 days', NULL, 'episode', NULL, 0),
	('old', now() - interval '5 days', now() - interval '3 days', 'episode', 'ended by itself', 0)));
$server->ask(PgUnblock::pauses(1));
$server->wait_until_saved;
is($server->ask(q(SELECT string_agg(id, ' ' ORDER BY id) FROM unblock.incident WHERE id ~ '^l|^o')), 'long longest',
	'an episode is as old as its end');
$server->ask(q(DELETE FROM unblock.incident WHERE id LIKE 'long%'));

# --- no table wanted
$server->append_conf('postgresql.conf', q(pg_unblock.history_database = ''));
$server->forget_observer;
my $position = $server->log_position;
$server->restart;
$rows = $server->ask('SELECT count(*) FROM unblock.incident');
$server->ask(PgUnblock::pauses(3));
$server->wait_for_turn;
is($server->ask("SELECT count(*) FROM pg_stat_activity WHERE backend_type = '$PgUnblock::RECORDER'"),
	0, q(history_database = '': no recorder));
is($server->ask('SELECT count(*) FROM unblock.incident'), $rows, 'nothing is saved');
is($server->ask(q(SELECT count(*) FROM unblock.history WHERE source = 'memory')), 3, 'the view has it');
unlike($server->log_since($position), qr/history is not saved|ERROR/, 'and nobody complains');

$server->stop;
done_testing();
