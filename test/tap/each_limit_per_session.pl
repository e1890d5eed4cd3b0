# Every limit by itself, for a role, a database, a role in a database and one
# session: it acts on those who have it, with the value that counts, and on nobody
# else who does the same.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'max_connections = 60', 'autovacuum = off',
	'pg_unblock.max_actions_per_minute = 0');
$server->ask('CREATE DATABASE shop');
$server->ask("CREATE ROLE $_ LOGIN SUPERUSER") for qw(plain own special spared);

# Who, where, and the limit that counts, in ms or in transactions: for the database it is 1010, for the roles 1020,
# for one of them in the database 1030, and for another 0.
my @CASES = (
	{ name => 'nobody',           user => 'plain',   dbname => 'postgres' },
	{ name => 'zero',             user => 'spared',  dbname => 'shop' },
	{ name => 'database',         user => 'plain',   dbname => 'shop',     limit => 1010 },
	{ name => 'role',             user => 'own',     dbname => 'postgres', limit => 1020 },
	{ name => 'role_and_database', user => 'own',    dbname => 'shop',     limit => 1020 },
	{ name => 'role_in_database', user => 'special', dbname => 'shop',     limit => 1030 },
	{ name => 'session',          user => 'own',     dbname => 'shop',     limit => 1040, set => 1 });
for my $dbname ('postgres', 'shop') {
	$server->safe_psql($dbname, join ';', map { "CREATE TABLE $_->{name} (id int)" } @CASES);
}

sub set_limit {
	my ($setting) = @_;
	$server->ask("ALTER DATABASE shop SET $setting = 1010");
	$server->ask("ALTER ROLE $_ SET $setting = 1020") for qw(own special);
	$server->ask("ALTER ROLE special IN DATABASE shop SET $setting = 1030");
	$server->ask("ALTER ROLE spared SET $setting = 0");
	return;
}

sub reset_limit {
	my ($setting) = @_;
	$server->ask("ALTER DATABASE shop RESET $setting");
	$server->ask("ALTER ROLE $_ RESET $setting") for qw(own special spared);
	$server->ask('ALTER ROLE special IN DATABASE shop RESET ALL');
	$server->ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'test' AND pid <> pg_backend_pid()");
	$server->wait_until("(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test') = 1");
	return;
}

# The session of a case, or one in the same database that has no limit.
sub session_of {
	my ($case, $setting) = @_;
	my $session = $server->session(user => $case->{user}, dbname => $case->{dbname});
	$session->query("SET $setting = $case->{limit}") if $case->{set};
	return $session;
}
sub beside { my ($case) = @_; return (user => 'spared', dbname => $case->{dbname}) }

# Each returns a session that breaks the limit, if it has one, and since when it has been about to.
my %BREAK = (
	idle_write_transaction_limit => sub {
		my ($case, $session) = @_;
		$session->stay_idle('BEGIN', 'SELECT pg_current_xact_id()');
		return ($session, $session->{since});
	},
	idle_in_transaction_limit => sub {
		my ($case, $session) = @_;
		$session->stay_idle('BEGIN');
		return ($session, $session->{since});
	},
	idle_blocker_limit => sub {
		my ($case, $session) = @_;
		$session->stay_idle('BEGIN', "LOCK TABLE $case->{name}");
		my $waiter = $server->waiting_session("SELECT FROM $case->{name}", beside($case));
		return ($session, $waiter->{since}, $waiter);
	},
	active_blocker_limit => sub {
		my ($case, $session) = @_;
		$session->query("BEGIN; LOCK TABLE $case->{name}");
		$session->begin_statement('SELECT pg_sleep(3600)');
		my $waiter = $server->waiting_session("SELECT FROM $case->{name}", beside($case));
		return ($session, $waiter->{since}, $waiter);
	},
	queued_blocker_limit => sub {
		my ($case, $session) = @_;
		my $holder = $server->idle_session("SELECT FROM $case->{name}", beside($case));
		$session->begin_statement("ALTER TABLE $case->{name} ADD COLUMN c int");
		$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $session->{pid} AND NOT granted)");
		my $reader = $server->waiting_session("SELECT FROM $case->{name}", beside($case));
		return ($session, $reader->{since}, $holder, $reader);
	},
	preempt_idle_blockers_after => sub {
		my ($case, $session) = @_;
		my $holder = $server->idle_session("SELECT FROM $case->{name}", beside($case));
		my $since  = $session->query('SELECT extract(epoch FROM clock_timestamp())');
		$session->begin_statement("ALTER TABLE $case->{name} ADD COLUMN d int");
		return ($holder, $since, $session);
	},
	transaction_limit => sub {
		my ($case, $session) = @_;
		my $since = $session->query('SELECT extract(epoch FROM clock_timestamp())');
		$session->begin_statement('SELECT pg_sleep(3600)');
		return ($session, $since);
	},
	horizon_age_limit => sub {
		my ($case, $session) = @_;
		$session->stay_idle('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM pg_class');
		return ($session, $session->{since});
	});

for my $limit (sort keys %BREAK) {
	my $setting  = "pg_unblock.$limit";
	my $position = $server->log_position;
	set_limit($setting);
	my (%broken, %since, @others);
	for my $case (@CASES) {
		($broken{ $case->{name} }, $since{ $case->{name} }, my @more) = $BREAK{$limit}->($case, session_of($case, $setting));
		push @others, @more;
	}
	$server->ask('DO $$ BEGIN FOR i IN 1 .. 1050 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$')
	  if $limit eq 'horizon_age_limit';

	my $action = $limit =~ /^active|^queued/ ? 'cancel' : 'terminate';
	my $unit   = $limit eq 'horizon_age_limit' ? '' : 'ms';
	for my $case (grep { $_->{limit} } @CASES) {
		my $name = $case->{name};
		my $length = $unit eq '' ? 0 : $case->{limit} / 1000;
		$server->is_acted_on($broken{$name}, $position, "$action $limit $case->{limit}$unit",
			$since{$name} + $length, "$limit, $name");
	}
	$server->wait_for_turn;
	is(join(' ', map { $_->{name} } grep { $server->actions_on($broken{ $_->{name} }, $position) } @CASES),
		join(' ', map { $_->{name} } grep { $_->{limit} } @CASES), "$limit: nobody who has none");
	is(scalar $server->actions($position), 5, "$limit: nobody else");
	reset_limit($setting);
}

$server->stop;
done_testing();
