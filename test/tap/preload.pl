# Preloaded, the module has its enforcer, its settings and its statistics; not
# preloaded, it has its reports, and says what is missing for the rest.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('preloaded');

$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = '$PgUnblock::ENFORCER')");
is( $server->ask(
		"SELECT count(*), bool_and(datid IS NULL), bool_and(backend_xmin IS NULL)
		   FROM pg_stat_activity WHERE backend_type = '$PgUnblock::ENFORCER'"),
	'1|t|t',
	'one enforcer, of no database, holding no snapshot');
is($server->ask("SELECT count(*) FROM pg_locks WHERE pid = " . $server->enforcer_pid),
	0, 'it holds and awaits no heavyweight lock');

is( $server->ask(
		"SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'pg_unblock.%' ORDER BY name"),
	join("\n",
		'pg_unblock.active_blocker_limit|0|ms|superuser',
		'pg_unblock.cancel_grace|10000|ms|superuser',
		'pg_unblock.count_advisory_locks|off||superuser',
		'pg_unblock.explain_actions|on||sighup',
		'pg_unblock.history_database|postgres||postmaster',
		'pg_unblock.history_query_text|on||sighup',
		'pg_unblock.history_retention|43200|min|sighup',
		'pg_unblock.history_size|1024||postmaster',
		'pg_unblock.horizon_age_limit|0||superuser',
		'pg_unblock.idle_blocker_limit|0|ms|superuser',
		'pg_unblock.idle_in_transaction_limit|0|ms|superuser',
		'pg_unblock.idle_write_transaction_limit|0|ms|superuser',
		'pg_unblock.max_actions_per_minute|30||sighup',
		'pg_unblock.mode|enforce||superuser',
		'pg_unblock.preempt_idle_blockers_after|0|ms|superuser',
		'pg_unblock.queued_blocker_limit|0|ms|superuser',
		'pg_unblock.queued_blocker_waiters|1||superuser',
		'pg_unblock.report_after|10000|ms|sighup',
		'pg_unblock.statement_trail|16||postmaster',
		'pg_unblock.statement_trail_memory|4096|kB|postmaster',
		'pg_unblock.transaction_limit|0|ms|superuser'),
	'settings and their defaults: nothing is ended until a limit is set');
like(($server->session->try("SET pg_unblock.no_such_setting = 1"))[1],
	qr/42602/, 'the prefix is reserved');

PgUnblock::wait_for('the first turn', sub { $server->stat('turns') > 0 });
is($server->ask("SELECT count(*) FROM unblock.stats WHERE counter = 'terminated' AND value = 0"),
	1, 'statistics');
is($server->ask("SELECT severity, finding FROM unblock.check()"),
	"notice|no limit is in force for any present session: none of them is ended\nok|nobody is blocked",
	'check() finds no limit in force, and nobody blocked')
  or diag $server->ask('SELECT * FROM unblock.check()');
$server->stop;

my $plain = PgUnblock->prepared('plain', "shared_preload_libraries = ''");
$plain->start;
$plain->safe_psql('postgres', 'CREATE EXTENSION pg_unblock; CREATE TABLE t ()');

my $holder = $plain->idle_session('LOCK TABLE t');
my $waiter = $plain->waiting_session('SELECT * FROM t');
is($plain->ask("SELECT blocker_pid FROM unblock.lock_waits WHERE pid = $waiter->{pid}"),
	$holder->{pid}, 'reports work without preloading');
like($plain->ask('SELECT * FROM unblock.tree()'), qr/$holder->{pid}.*$waiter->{pid}/s, 'so does the tree');

my ($output, $errors) = $plain->session->try('SELECT * FROM unblock.stats');
like($errors, qr/ERROR:  55000: pg_unblock is not preloaded/, 'statistics do not');
like($errors, qr/HINT:  Add "shared_preload_libraries = 'pg_unblock'"/, 'the hint names the line to add');

is($plain->ask("SELECT outcome FROM unblock.terminate($holder->{pid})"),
	'terminated', 'nor do actions need it');
like($holder->last_words, qr/FATAL:  57P01:/, 'but they cannot explain themselves');
is(($waiter->end_statement)[1], '', 'the waiter is free');
$plain->stop;

done_testing();
