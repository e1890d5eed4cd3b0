# pg_dump takes the history along: the extension comes from the dump, and its rows with it.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', "pg_unblock.report_after = '100ms'");
$server->ask('CREATE TABLE t ()');
my $holder = $server->idle_session('LOCK TABLE t');
my $waiter = $server->waiting_session('SELECT * FROM t');
$server->ask(PgUnblock::pauses(20));
$server->wait_until(q(EXISTS (SELECT FROM unblock.incident WHERE kind = 'episode')));
$server->ask("SELECT unblock.terminate($holder->{pid})");
$waiter->end_statement;
$server->wait_until(
	q((SELECT count(*) FROM unblock.incident WHERE kind IN ('episode', 'manual_terminate') AND outcome IS NOT NULL) = 2));
$server->wait_until_saved;

sub digest {
	my ($session) = @_;
	return $session->query('SELECT count(*), md5(string_agg(i::text, \'\' ORDER BY id COLLATE "C")) FROM unblock.incident i');
}

sub restored {
	my ($target, $dbname, $format) = @_;
	my $file = $server->basedir . "/$dbname.$format";
	$server->command_ok([ 'pg_dump', "-F$format", '-f', $file, $server->connstr('postgres') ], "pg_dump -F$format");
	$target->command_ok(
		$format eq 'p'
		? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $file, $target->connstr($dbname) ]
		: [ 'pg_restore', '-e', '-d', $target->connstr($dbname), $file ],
		"restored into $dbname");
	return $target->session(dbname => $dbname);
}

my $original = digest($server->{observer});
my $ids      = q(SELECT string_agg(id, ' ' ORDER BY id COLLATE "C") FROM unblock.history);
my $report   = q(SELECT unblock.incident(id) FROM unblock.history WHERE kind = 'episode');
# But for what looks up the name of a relation today.
my $text = $server->ask($report) =~ s/\nRelation \d+ is .*//r;

# --- another database
$server->ask('CREATE DATABASE copy');
my $copy = restored($server, 'copy', 'p');
is(digest($copy), $original, 'another database: the same rows');
is($copy->query($ids), $server->ask($ids), 'another database: the view has each once');

# --- the same one, whose recorder finds the extension before its rows have come
my $file = $server->basedir . '/parts.c';
$server->command_ok([ 'pg_dump', '-Fc', '-f', $file, $server->connstr('postgres') ], 'pg_dump -Fc');
$server->ask('DROP EXTENSION pg_unblock; DROP TABLE t');
my @restore = ('pg_restore', '-e', '-d', $server->connstr('postgres'));
$server->command_ok([ @restore, '--section=pre-data', $file ], 'the same database: the extension');
my $late = $server->log_position;
$server->ask(PgUnblock::pauses(3));
$server->wait_until_saved;
my $own = keys %{ { $server->incidents_in_log($late) } };
$server->command_ok([ @restore, '--section=data', $file ], 'the same database: its rows, later');
is($server->ask('SELECT count(*) FROM unblock.incident'), $own + (split /\|/, $original)[0],
	'the same database: all of them, and those that came meanwhile');
$original = digest($server->{observer});

# --- another server, which goes on with the table
my $other = PgUnblock->prepared('other', 'pg_unblock.history_database = copy');
$other->start;
$other->ask('CREATE DATABASE copy');
$copy = restored($other, 'copy', 'c');
is(digest($copy), $original, 'another server: the same rows');
is($copy->query($ids), $server->ask($ids), 'another server: the view has them');
is($copy->query(q(SELECT DISTINCT source FROM unblock.history)), 'table', 'another server: from the table');
is($copy->query($report), $text, 'another server: an incident as text');
$copy->query(PgUnblock::pauses(5));
PgUnblock::wait_for('its own', sub { $copy->query('SELECT count(*) FROM unblock.incident') == 25 + 5 });
pass('another server: its own incidents join them');
is($copy->query('SELECT count(*), count(DISTINCT id) FROM unblock.history'), '30|30', 'another server: each once');

$other->stop;
$server->stop;
done_testing();
