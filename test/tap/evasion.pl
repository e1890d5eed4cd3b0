# An ordinary client cannot lift its own limit. Every client here tries one
# way, and is ended all the same.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'pg_unblock.max_actions_per_minute = 0',
	"pg_unblock.idle_in_transaction_limit = '1s'");
$server->ask("
	CREATE ROLE exempt LOGIN; ALTER ROLE exempt SET pg_unblock.mode = off;
	CREATE ROLE client LOGIN CREATEROLE IN ROLE exempt; ALTER ROLE client SET pg_unblock.idle_blocker_limit = '1s';
	CREATE DATABASE owned OWNER client");

my @refused = (
	'SET pg_unblock.idle_in_transaction_limit = 0',
	'SET LOCAL pg_unblock.idle_in_transaction_limit = 0',
	'SET SESSION pg_unblock.mode = off',
	'RESET pg_unblock.idle_in_transaction_limit',
	"SELECT set_config('pg_unblock.mode', 'off', false)",
	"UPDATE pg_settings SET setting = 'off' WHERE name = 'pg_unblock.mode'",
	'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET pg_unblock.mode = off RETURN 1',
	'ALTER ROLE CURRENT_USER SET pg_unblock.mode = off',
	'ALTER ROLE client IN DATABASE owned SET pg_unblock.mode = off',
	'ALTER DATABASE owned SET pg_unblock.mode = off',
	'ALTER SYSTEM SET pg_unblock.mode = off',
	'GRANT SET ON PARAMETER pg_unblock.mode TO client',
	'SET track_activities = off', # whose state is unknown is never acted upon
	'SELECT pg_terminate_backend(' . $server->enforcer_pid . ')',
	'SET SESSION AUTHORIZATION exempt');
my @of_no_use = (
	'SET ROLE exempt',
	'SET ROLE NONE',
	'SET SESSION AUTHORIZATION DEFAULT',
	'RESET ALL',
	'DISCARD ALL',
	'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY',
	'SET idle_in_transaction_session_timeout = 0',
	'SET statement_timeout = 0',
	"SET application_name = 'pg_unblock enforcer'");

my $position = $server->log_position;
my @clients;
for my $sql (@refused, @of_no_use) {
	my $client = $server->session(user => 'client', dbname => 'owned');
	my $errors = ($client->try($sql))[1];
	if (grep { $_ eq $sql } @refused) {
		like($errors, qr/^ERROR:  42501:/m, "refused: $sql");
	} else {
		is($errors, '', "of no use: $sql");
	}
	$client->{trick} = $sql;
	$client->stay_idle('BEGIN');
	push @clients, $client;
}
for my $client (@clients) {
	is($server->wait_for_action($client, $position)->{rule},
		'idle_in_transaction_limit', "ended after: $client->{trick}");
	$server->wait_until_gone($client);
}

for my $options ('-c pg_unblock.mode=off', '--pg_unblock.idle_in_transaction_limit=0') {
	my $client = $server->session(user => 'client', options => $options);
	like($client->{refused}, qr/FATAL: .*permission denied to set parameter "pg_unblock\./, "PGOPTIONS=$options");
}

$server->stop;
done_testing();
