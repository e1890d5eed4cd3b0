# A standby has a history of its own, in memory as long as it is one. After its promotion that gets into the table,
# beside the rows that came from the primary.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $primary = PgUnblock->prepared('primary', { allows_streaming => 1 }, 'autovacuum = off',
	"pg_unblock.report_after = '100ms'");
$primary->start;
$primary->ask($_) for 'CREATE EXTENSION pg_unblock', 'CREATE TABLE t ()';
$primary->backup('base');
my $standby = PgUnblock->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
my $position = $standby->log_position;

sub rows {
	my ($server, $relation, $condition) = @_;
	return $server->ask(
		"SELECT coalesce(string_agg(id, ' ' ORDER BY id COLLATE \"C\"), '') FROM unblock.$relation WHERE $condition");
}

sub ids_in_log {
	my ($server) = @_;
	my %logged = $server->incidents_in_log(0);
	return sort keys %logged;
}

# --- two histories
my $holder = $primary->idle_session('LOCK TABLE t');
my $waiter = $primary->waiting_session('SELECT * FROM t');
$primary->ask(PgUnblock::pauses(5));
$primary->wait_until('(SELECT count(*) FROM unblock.incident) = 6');
$primary->wait_for_catchup($standby);
my @of_primary = ids_in_log($primary);
is(rows($standby, 'incident', 'true'), "@of_primary", 'the standby has the rows of the primary');

$standby->ask(PgUnblock::pauses(5));
my $victim = $standby->session;
is($standby->ask("SELECT outcome FROM unblock.terminate($victim->{pid})"), 'terminated', 'a manual action there');
my @of_standby = ids_in_log($standby);
is(@of_standby, 6, 'incidents of the standby');
is(rows($standby, 'history', "source = 'memory'"), "@of_standby", 'are in its memory');
is(rows($standby, 'history', "source = 'table'"), "@of_primary", 'beside those of the primary, once');
$standby->wait_until("EXISTS (SELECT FROM unblock.history WHERE outcome = 'terminated')");
$standby->wait_for_turn;
is(rows($standby, 'incident', 'true'), "@of_primary", 'and not in the table');
is($standby->stat('incidents_lost'), 0, 'nor lost');
my ($episode) = $primary->ask("SELECT id FROM unblock.incident WHERE kind = 'episode'");

# --- promoted
$standby->promote;
$standby->wait_until_saved;
is(rows($standby, 'incident', 'true'), join(' ', sort @of_primary, @of_standby), 'after promotion it has both');
is($standby->ask('SELECT count(*), count(DISTINCT id) FROM unblock.history'), '12|12', 'each once');
is($standby->ask("SELECT outcome FROM unblock.incident WHERE id = '$episode'"),
	'server stopped', 'what goes on at the primary is not known here any more');
$standby->ask(PgUnblock::pauses(1));
$standby->wait_until_saved;
is($standby->ask('SELECT count(*) FROM unblock.incident'), 13, 'and what comes now is saved');
unlike($standby->log_since($position), qr/ERROR|WARNING|not saved|\[\d+\] FATAL:  (?!terminating (connection|walreceiver))/,
	'no complaint in the log');

$holder->query('COMMIT');
$primary->wait_until("EXISTS (SELECT FROM unblock.incident WHERE id = '$episode' AND outcome = 'ended by itself')");
pass('the primary goes on with its own');

$standby->stop;
$primary->stop;
done_testing();
