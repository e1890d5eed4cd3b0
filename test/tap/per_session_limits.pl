# Limits that differ from session to session: by role, by database, by a
# superuser's SET; which one counts, and that the enforcer learns of them.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'pg_unblock.max_actions_per_minute = 0');
my $limit  = 'pg_unblock.idle_in_transaction_limit';
$server->ask("
	CREATE ROLE app LOGIN; CREATE ROLE quick LOGIN; CREATE ROLE backup LOGIN; CREATE ROLE tuner LOGIN;
	CREATE DATABASE shop");

# --- The file has no limit at all: the enforcer sleeps without a time-out.
$server->wait_for_turn;
my $position = $server->log_position;
$server->ask("ALTER ROLE quick SET $limit = '200ms'");
my $other = $server->idle_session('SELECT 1', user => 'app');
my $quick = $server->idle_session('SELECT 1', user => 'quick');
is($server->wait_for_action($quick, $position)->{limit}, '200ms', 'a role\'s limit wakes the enforcer');
$server->wait_until_gone($quick);
$server->wait_for_turn;

my $superuser = $server->session;
$superuser->query("SET $limit = '200ms'");
$superuser->stay_idle('BEGIN');
is($server->wait_for_action($superuser, $position)->{limit}, '200ms', 'so does a superuser\'s SET');
$server->wait_until_gone($superuser);
$server->wait_for_turn;

$superuser = $server->session;
$superuser->stay_idle('BEGIN', "SET LOCAL $limit = '200ms'");
is($server->wait_for_action($superuser, $position)->{limit}, '200ms', 'and SET LOCAL in the transaction');
$server->wait_until_gone($superuser);
is($other->query('SELECT 1'), 1, 'a role without one is left alone');
$other->quit;

# --- Which limit counts, as reports tell it for an idle session.
sub limit_counts {
	my ($expected, $what, %params) = @_;
	my $session = $server->idle_session($params{sql} // 'SELECT 1', user => 'app', %params);
	is($server->next_limit($session), $expected eq '' ? '||' : "$limit|terminate|$expected", $what);
	$session->quit;
	return;
}

limit_counts('', 'no limit anywhere');
$server->set_in_file($limit => '1h');
$server->wait_for_turn;
limit_counts('01:00:00', 'file');
$server->ask("ALTER DATABASE shop SET $limit = '2h'");
limit_counts('02:00:00', 'database over file', dbname => 'shop');
limit_counts('01:00:00', 'another database');
$server->ask("ALTER ROLE app SET $limit = '3h'");
limit_counts('03:00:00', 'role over database', dbname => 'shop');
$server->ask("ALTER ROLE app IN DATABASE shop SET $limit = '4h'");
limit_counts('04:00:00', 'role in database over role', dbname => 'shop');
limit_counts('03:00:00', 'the role in another database');
$server->ask("ALTER ROLE app IN DATABASE shop SET $limit = 0");
limit_counts('', 'published 0 is not "nothing published"', dbname => 'shop');

my $session = $server->session;
$session->query("SET $limit = '5h'");
$session->query('BEGIN');
is($server->next_limit($session), "$limit|terminate|05:00:00", 'SET over all');
$session->query("SET LOCAL $limit = '6h'");
is($server->next_limit($session), "$limit|terminate|06:00:00", 'SET LOCAL over SET');
$session->query("ROLLBACK;\nBEGIN");
is($server->next_limit($session), "$limit|terminate|05:00:00", 'its rollback');
$session->query("SAVEPOINT s;\nSET $limit = '7h';\nROLLBACK TO s");
is($server->next_limit($session), "$limit|terminate|05:00:00", 'and that of a SET');
$session->query("ROLLBACK;\nRESET ALL;\nBEGIN");
is($server->next_limit($session), "$limit|terminate|01:00:00", 'RESET ALL: back to the file');
$session->quit;

# --- A superuser may let others set it.
my $tuner = $server->session(user => 'tuner');
like(($tuner->try("SET $limit = '8h'"))[1], qr/42501/, 'an ordinary role may not set a limit');
$server->ask("GRANT SET ON PARAMETER $limit TO tuner");
$tuner->query("SET $limit = '8h';\nBEGIN");
is($server->next_limit($tuner), "$limit|terminate|08:00:00", 'with GRANT SET it may');
$tuner->quit;

# --- mode: the milder of file and session.
$server->ask("ALTER ROLE backup SET pg_unblock.mode = off; ALTER ROLE quick SET pg_unblock.mode = dry_run");
$server->set_in_file($limit => '200ms');
$position = $server->log_position;
my $exempt   = $server->idle_session('SELECT 1', user => 'backup');
my $dry      = $server->idle_session('SELECT 1', user => 'quick');
my $enforced = $server->idle_session('SELECT 1', user => 'tuner');
$server->wait_until_gone($enforced);
is($server->wait_for_action($dry, $position)->{action}, 'would_terminate', 'a role in dry run');
is($exempt->query('SELECT 1'), 1, 'a role with mode off is exempt');
is($dry->query('SELECT 1'),    1, 'and nobody was ended in dry run');
is($server->next_limit($exempt), '||', 'no limit is reported for the exempt role');
is(scalar $server->actions_on($exempt, $position), 0, 'and nothing logged');

$server->set_in_file('pg_unblock.mode' => 'dry_run');
$server->wait_for_turn;
$server->ask("ALTER ROLE tuner SET pg_unblock.mode = enforce");
$position = $server->log_position;
my $strict = $server->idle_session('SELECT 1', user => 'tuner');
is($server->wait_for_action($strict, $position)->{action},
	'would_terminate', 'mode enforce of a role does not outdo dry run in the file');
is($strict->query('SELECT 1'), 1, 'it goes on');

$server->stop;
done_testing();
