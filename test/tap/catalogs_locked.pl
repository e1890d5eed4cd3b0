# Reports while somebody holds catalogs of a database exclusively: from another database they come with names,
# from a session of that database with OIDs, and never late. A report that waited would end in an error.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h');
$server->ask('CREATE DATABASE shop');
$server->ask('CREATE ROLE clerk LOGIN; CREATE ROLE monitor LOGIN; CREATE ROLE bystander; GRANT pg_read_all_stats TO monitor');
$server->ask('CREATE TABLE here ()');
my $features = $server->session(dbname => 'shop')->query(
	"CREATE EXTENSION pg_unblock; CREATE TABLE features (); SELECT 'features'::regclass::oid");
my $shop = $server->ask("SELECT oid FROM pg_database WHERE datname = 'shop'");

my @blockers = ($server->idle_session('SELECT FROM features', dbname => 'shop'),
	$server->idle_session('SELECT FROM here'));
my ($waiter) = ($server->waiting_session('DROP TABLE features', dbname => 'shop'),
	$server->waiting_session('DROP TABLE here'));
my ($b, $w) = ($blockers[0]{pid}, $waiter->{pid});

# What each says of the wait in database shop.
my %reports = (
	lock_waits        => "SELECT lock, datname, usename, query FROM unblock.lock_waits WHERE pid = $w",
	blocking_edges    => "SELECT lock FROM unblock.blocking_edges WHERE waiter_pid = $w",
	blocking_chains   => "SELECT lock, datname, usename, query FROM unblock.blocking_chains WHERE pid = $w",
	root_blockers     => "SELECT datname, usename, state FROM unblock.root_blockers WHERE pid = $b",
	idle_transactions => "SELECT strongest_lock, datname FROM unblock.idle_transactions WHERE pid = $b",
	horizon           => "SELECT kind FROM unblock.horizon WHERE pid = $w",
	stats             => "SELECT unit FROM unblock.stats WHERE counter = 'turns'",
	tree => "SELECT substring(tree, 'on (relation .+), held') FROM unblock.tree() WHERE tree ~ 'on relation (public.features|$features)'",
	graph             => "SELECT graph IS NOT NULL FROM unblock.graph()",
	check             => "SELECT severity IN ('warning', 'critical') FROM unblock.check() WHERE finding LIKE 'session $b,%'",
);
my @names = sort keys %reports;

sub expected {
	my ($lock) = @_;
	return {
		lock_waits => "$lock|shop|postgres|DROP TABLE features;", blocking_edges => $lock,
		blocking_chains => "$lock|shop|postgres|DROP TABLE features;",
		root_blockers => 'shop|postgres|idle in transaction',
			idle_transactions => "AccessShareLock on $lock|shop",
		horizon => 'session', stats => 'count', tree => $lock, graph => 't', check => 't',
	};
}

# A session that has used all reports, which now must answer within a second.
sub warm_session {
	my (%params) = @_;
	my $session = $server->session(%params);
	for (@names) {
		$session->query("PREPARE the_$_ AS $reports{$_}; EXECUTE the_$_");
		$session->query($reports{$_});
	}
	$session->query("SET statement_timeout = '1s'");
	return $session;
}

sub answers {
	my ($session, $how) = @_;
	return { map { $_ => join '',
		$session->try($how eq 'prepared' ? "EXECUTE the_$_" : $reports{$_}) } @names };
}

my $there = warm_session();
my $inside = warm_session(dbname => 'shop');
my $by_oid = "relation $features of database shop";
is_deeply(answers($inside, 'views'), expected('relation public.features'), 'nothing is locked: names');
is_deeply(answers($there, 'views'), expected($by_oid), 'from another database: its name and the OID');

for my $catalog (qw(pg_class pg_attribute pg_namespace)) {
	my $holder = $server->idle_session("LOCK TABLE $catalog", dbname => 'shop');
	for my $how (qw(views prepared)) {
		is_deeply(answers($inside, $how), expected($by_oid), "$catalog locked, $how: OIDs instead of names");
		is_deeply(answers($there, $how), expected($by_oid),
			"$catalog locked, $how: the same from another database");
	}
	is($there->query("SELECT lock FROM unblock.lock_waits WHERE lock LIKE '% public.%'"),
		'relation public.here', "$catalog locked: which has its own names");
	$holder->quit;
	$server->wait_until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $holder->{pid})");
	is_deeply(answers($inside, 'views'), expected('relation public.features'), "$catalog unlocked: names");
}

# A session that has not used them before cannot use the views: the server itself needs pg_class to understand the
# query. It can call the functions behind them.
{
	my $fresh = $server->session(dbname => 'shop');
	$fresh->query("SET statement_timeout = '1s'");
	my $holder = $server->idle_session('LOCK TABLE pg_class', dbname => 'shop');
	like(($fresh->try('SELECT * FROM unblock.lock_waits'))[1], qr/57014/,
		'a fresh session cannot use the views');
	for (qw(lock_waits blocking_edges blocking_chains root_blockers idle_transactions horizon tree graph check)) {
		my ($answer, $errors) = $fresh->try("SELECT * FROM unblock.$_()");
		is($errors, '', "but call $_()");
		isnt($answer, '', 'with an answer');
	}
	$holder->quit;
}

# Shared catalogs are described in pg_class too: after a change to their descriptions they cannot be read without it.
{
	my $holder = $server->idle_session('LOCK TABLE pg_class', dbname => 'shop');
	$server->ask($_) for 'ALTER DATABASE postgres CONNECTION LIMIT 99', 'VACUUM ANALYZE pg_database';
	is_deeply(answers($inside, 'prepared'), expected($by_oid), 'pg_class locked, shared catalogs vacuumed');
	$holder->quit;
	$server->wait_until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $holder->{pid})");
}

# Databases and roles: what each session has published is known, and OIDs stand for the rest.
{
	my $monitor = warm_session(dbname => 'shop', user => 'monitor');
	my $clerk   = warm_session(dbname => 'shop', user => 'clerk');
	my $see     = 'SELECT usename, query FROM unblock.lock_waits WHERE pid = ' . $w;
	is($monitor->query($see), 'postgres|DROP TABLE features;', 'a monitor sees all');
	$server->ask('GRANT bystander TO clerk'); # nobody may rely on what was known of memberships
	my $holder = $server->idle_session('LOCK TABLE pg_database, pg_authid, pg_auth_members');
	is_deeply(answers($inside, 'views'), expected('relation public.features'),
		'roles and databases locked: names');
	is_deeply(answers($there, 'views'), expected("relation $features of database $shop"),
		'from another database');
	for my $session ($monitor, $clerk) {
		my $answers = answers($session, 'views');
		unlike(join(' ', values %$answers), qr/57014/, 'others get their answers in time');
		is($session->query($see), 'postgres|<insufficient privilege>', 'but see only what is theirs');
	}
	$holder->quit;
	$server->wait_until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $holder->{pid})");
	is($monitor->query($see), 'postgres|DROP TABLE features;', 'a monitor sees all again');
}

$server->stop;
done_testing();
