# effective_limits: each session's values and where they come from, which of them a new session would not get, and
# who cannot be acted upon.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', "pg_unblock.transaction_limit = '90s'",
	'pg_unblock.horizon_age_limit = 1000000');
$server->ask(q{
	CREATE DATABASE shop; CREATE ROLE app LOGIN; CREATE ROLE nosy LOGIN; CREATE ROLE "Odd ""role" LOGIN;
	ALTER DATABASE shop SET pg_unblock.idle_in_transaction_limit = '10min';
	ALTER ROLE app SET pg_unblock.idle_blocker_limit = '5s';
	ALTER ROLE app SET pg_unblock.queued_blocker_waiters = 20;
	ALTER ROLE app IN DATABASE shop SET pg_unblock.active_blocker_limit = '1h'});
$server->wait_for_turn;
my $app = $server->session(user => 'app', dbname => 'shop');

sub limits {    # session, columns, settings
	my ($session, $columns, @settings) = @_;
	my $names = join ', ', map { "'pg_unblock.$_'" } @settings;
	return $server->ask("SELECT $columns FROM unblock.effective_limits
		WHERE pid = $session->{pid} AND setting IN ($names) ORDER BY setting");
}

is( $server->ask("SELECT string_agg(concat_ws('|', usename, datname, setting, value, source, stale, enforceable), E'\n')
		FROM unblock.effective_limits WHERE pid = $app->{pid}"),
	join("\n", map { "app|shop|pg_unblock.$_|f|t" } (
		'mode|enforce|default',
		'idle_in_transaction_limit|10min|database',
		'idle_write_transaction_limit|0|default',
		'idle_blocker_limit|5s|user',
		'active_blocker_limit|1h|database user',
		'cancel_grace|10s|default',
		'queued_blocker_limit|0|default',
		'queued_blocker_waiters|20|user',
		'preempt_idle_blockers_after|0|default',
		'transaction_limit|90s|configuration file',
		'horizon_age_limit|1000000|configuration file',
		'count_advisory_locks|off|default')),
	'all settings of a session and their sources');
is($server->ask("SELECT count(DISTINCT pid) FROM unblock.effective_limits"),
	$server->ask("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"),
	'all client sessions, and nobody else');

# The same words as SHOW uses.
is( limits($app, 'value', qw(idle_blocker_limit transaction_limit)),
	$app->query("SHOW pg_unblock.idle_blocker_limit;\nSHOW pg_unblock.transaction_limit"),
	'values as SHOW has them');

# --- stale: what a session that begins now would get
$server->ask("ALTER ROLE app SET pg_unblock.idle_blocker_limit = '5000'");
is(limits($app, 'stale', 'idle_blocker_limit'), 'f', 'the same value in other words');
$server->ask("ALTER ROLE app SET pg_unblock.idle_blocker_limit = '6s'");
is(limits($app, 'value, stale', 'idle_blocker_limit'), '5s|t', 'ALTER ROLE since');
$server->ask('ALTER ROLE app RESET pg_unblock.idle_blocker_limit');
is(limits($app, 'stale', 'idle_blocker_limit'), 't', 'RESET since');
$server->ask("ALTER DATABASE shop SET pg_unblock.idle_blocker_limit = '5s'");
is(limits($app, 'stale', 'idle_blocker_limit'), 'f', 'the same from elsewhere');
$server->ask("ALTER ROLE app SET pg_unblock.idle_in_transaction_limit = 0");
is(limits($app, 'stale', 'idle_in_transaction_limit'), 't', 'a role\'s 0 over a database\'s limit');
$server->ask("ALTER ROLE ALL SET pg_unblock.mode = dry_run");
is(limits($app, 'stale', 'mode'), 't', 'ALTER ROLE ALL');
$server->ask("ALTER ROLE ALL RESET pg_unblock.mode");
$server->set_in_file('pg_unblock.transaction_limit' => '2min');
$server->wait_for_turn;
is(limits($app, 'value, source, stale', 'transaction_limit'),
	'2min|configuration file|f', 'sessions follow the file');
my $again = $server->session(user => 'app', dbname => 'shop');
is(limits($again, 'value, stale', 'idle_in_transaction_limit'), '0|f', 'a new session has the new values');

my $superuser = $server->session;
$superuser->query("SET pg_unblock.cancel_grace = '1min'");
is(limits($superuser, 'value, source, stale', 'cancel_grace'), '1min|session|f', 'a SET stands by itself');
$superuser->query('RESET pg_unblock.cancel_grace');
is(limits($superuser, 'value, source', 'cancel_grace'), '10s|default', 'and its RESET');

my $position = $server->log_position;
my $lock     = $server->idle_session('LOCK pg_db_role_setting');
is(limits($app, 'value, stale', 'idle_blocker_limit'), '5s|', 'the catalog cannot be read: not known');
$lock->quit;

# --- enforceable
is(limits($app, 'enforceable', 'mode'), 't', 'enforced');
$superuser->query('SET track_activities = off');
is(limits($superuser, 'enforceable', 'mode'), 'f', 'not with track_activities = off');
$superuser->query('SET track_activities = on');
$superuser->query('SET pg_unblock.mode = dry_run');
is(limits($superuser, 'enforceable', 'mode'), 'f', 'nor in dry run');
$server->ask("SELECT unblock.pause('1h')");
is(limits($app, 'enforceable', 'mode'), 'f', 'nor during a pause');
$server->ask('SELECT unblock.resume()');
$server->set_in_file('pg_unblock.mode' => 'off');
$server->wait_for_turn;
is(limits($app, 'value, enforceable', 'mode'), 'off|f', 'nor with mode off in the file');
$server->set_in_file('pg_unblock.mode' => undef);
$server->wait_for_turn;

# --- who sees what
my $nosy = $server->session(user => 'nosy');
is( $nosy->query("SELECT DISTINCT usename, datname, value, source, stale, enforceable FROM unblock.effective_limits
		WHERE pid = $app->{pid}"),
	'app|shop||||', 'others see no values');
is($nosy->query("SELECT value FROM unblock.effective_limits WHERE pid = $nosy->{pid} AND setting ~ 'transaction_limit'
		AND source = 'configuration file'"), '2min', 'everybody their own');

# --- check() warns of limits on those who should be left alone
sub finding {
	return $server->ask("SELECT severity, finding, detail, remedy FROM unblock.check() WHERE finding ~ 'copy|copies'");
}
is(finding(), '', 'no dump under a limit');
my $dump = $server->session(user => 'Odd ""role' =~ s/""/"/r, conninfo => 'application_name=pg_dump');
like(finding(), qr/^warning\|1 session that copies or repairs data is under limits\|$dump->{pid} Odd "role\@postgres \(pg_dump\)\. .*In force: horizon_age_limit, transaction_limit\.\|-- to exempt the role from its next session on: ALTER ROLE "Odd ""role" SET pg_unblock\.mode = off;$/,
	'a dump by name');
$server->ask('ALTER ROLE "Odd ""role" SET pg_unblock.mode = off');
my $exempt = $server->session(user => 'Odd "role', conninfo => 'application_name=pgcopydb');
like(finding(), qr/^warning\|1 session that/, 'one that is exempt is not told');
$dump->quit;
$server->wait_until_gone($dump);
is(finding(), '', 'and then nobody');
$server->ask('CREATE ROLE replicator LOGIN REPLICATION');
my $subscriber = $server->session(user => 'replicator');
like(finding(), qr/^warning\|1 session .*\|$subscriber->{pid} replicator\@postgres \(test\), whose role is one for replication\./,
	'a role for replication');
my $walsender = $server->session(user => 'replicator', replication => 'database');
like(finding(), qr/^warning\|1 session /, 'walsenders are never acted upon');
$server->set_in_file('pg_unblock.mode' => 'dry_run');
$server->wait_for_turn;
like(finding(), qr/^notice\|1 session /, 'a notice in dry run');

$server->stop;
done_testing();
