# A new life of the enforcer goes on with the incidents that the one before has left open.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', "pg_unblock.report_after = '200ms'");
$server->ask('CREATE TABLE t ()');

sub end_enforcer {
	my $pid = $server->enforcer_pid;
	$server->ask("SELECT pg_terminate_backend($pid)");
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = '$PgUnblock::ENFORCER' AND pid <> $pid)");
	$server->wait_for_turn;
	return;
}

# Waits for rows of the table.
sub rows {
	my ($columns, $condition) = @_;
	return PgUnblock::wait_for("an incident with $condition",
		sub { $server->ask("SELECT $columns FROM unblock.incident WHERE $condition ORDER BY at") });
}

# --- an episode goes on
my $position = $server->log_position;
my $holder   = $server->idle_session('LOCK TABLE t');
my $waiter   = $server->waiting_session('SELECT * FROM t');
my $episode  = rows('id', "kind = 'episode'");
end_enforcer();
my $measured = $server->ask("SELECT measured_ms FROM unblock.history WHERE id = '$episode'");
$server->wait_until("(SELECT measured_ms FROM unblock.history WHERE id = '$episode') > $measured");
pass('it is followed');
$holder->query('COMMIT');
is(rows('id', q(kind = 'episode' AND outcome = 'ended by itself')), $episode, 'an episode ends');
is(rows('id', q(kind = 'episode')), $episode, 'and there was one');
my @lines = $server->log_since($position) =~ /episode=(\w+) .* incident=\Q$episode\E$/mg;
is("@lines", 'begin end', 'in the log as well');
is(() = $server->log_since($position) =~ /episode=/g, 2, 'which tells of no other');
$waiter->end_statement;

# --- signals that have not arrived yet
my $stopped = $server->idle_session('SELECT 1');
kill 'STOP', $stopped->{pid};
$server->ask("SELECT unblock.terminate($stopped->{pid}, wait => '0')");
my $manual = rows('id', q(kind = 'manual_terminate'));
end_enforcer();
kill 'CONT', $stopped->{pid};
is(rows('id', q(kind = 'manual_terminate' AND outcome = 'terminated')), $manual, 'a manual end that took its time');

# --- dry run
$server->set_in_file('pg_unblock.mode' => 'dry_run', 'pg_unblock.idle_in_transaction_limit' => '200ms');
my $idle = $server->idle_session('SELECT 1');
my $mine = "kind = 'would_terminate' AND pid = $idle->{pid}";
my $told = rows('id', $mine);
$server->wait_until("(SELECT at FROM unblock.incident WHERE id = '$told') < now() - interval '1 s'");
end_enforcer();
$idle->query('COMMIT');
is(rows('id, outcome_ms >= 1000', "$mine AND outcome = 'ended by itself'"), "$told|t", 'one who would have been ended');
is(rows('id', $mine), $told, 'is told of once');
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => undef);

# --- a recorder that waits
my $locker = $server->idle_session('LOCK TABLE unblock.incident');
$server->ask(PgUnblock::pauses(1));
my $recorder = $server->wait_for_recorder;
end_enforcer();
$server->ask(PgUnblock::pauses(1));
$server->wait_for_turn;
is($server->ask("SELECT pid FROM pg_stat_activity WHERE backend_type = '$PgUnblock::RECORDER'"),
	$recorder, 'the recorder of the previous life is the only one');
$server->ask('SELECT pg_sleep(3)'); # a back-off would have begun
$locker->query('COMMIT');
$server->wait_until_saved;
$position = $server->log_position;
$server->ask(PgUnblock::pauses(1));
$server->wait_until_saved;
my $now = $server->ask('SELECT extract(epoch FROM clock_timestamp())');
my ($at) = values %{ { $server->incidents_in_log($position) } };
cmp_ok($now - $at, '<', 3, 'and the next one comes as soon as ever');

$server->stop;
done_testing();
