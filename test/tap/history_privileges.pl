# Who may see what of the history: in memory and in the table alike as in pg_stat_activity. Nobody but the owner
# writes the table.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', "listen_addresses = '127.0.0.1'", 'compute_query_id = on');
$server->ask('CREATE TABLE t (); GRANT ALL ON t TO PUBLIC');
$server->ask("CREATE ROLE $_ LOGIN") for qw(app other monitor);
$server->ask('CREATE ROLE group_of_app; GRANT app TO group_of_app; CREATE ROLE member LOGIN IN ROLE group_of_app');
$server->ask('GRANT pg_monitor TO monitor');

my $root   = $server->idle_session('LOCK TABLE t', user => 'app', conninfo => 'host=127.0.0.1', options => '-c application_name=shop');
my $xid    = $root->query("SELECT 'secret', pg_current_xact_id()");
my $waiter = $server->waiting_session('SELECT FROM t', user => 'other');
$server->ask("SELECT outcome FROM unblock.terminate($root->{pid})");
$waiter->end_statement;
my $id = $server->wait_for_incident("pid = $root->{pid} AND outcome IS NOT NULL")->{id};
$server->wait_until("EXISTS (SELECT FROM unblock.incident WHERE outcome IS NOT NULL)");

# One of another database, whose relations are not for all to know by name.
$server->ask('CREATE DATABASE elsewhere');
my $hidden = $server->session(dbname => 'elsewhere');
$hidden->query($_) for 'CREATE SCHEMA hidden', 'CREATE TABLE hidden.payroll (id int)', 'BEGIN', 'LOCK TABLE hidden.payroll';
my $blocked = $server->waiting_session('SELECT FROM hidden.payroll', dbname => 'elsewhere');
$server->ask("SELECT outcome FROM unblock.terminate($hidden->{pid})");
$blocked->end_statement;
my $elsewhere = $server->wait_for_incident("pid = $hidden->{pid} AND outcome IS NOT NULL")->{id};
$server->wait_until("EXISTS (SELECT FROM unblock.incident WHERE id = '$elsewhere' AND outcome IS NOT NULL)");
sub lock_seen_by {
	my ($user) = @_;
	return $server->session(user => $user)->query("SELECT source, lock FROM unblock.history WHERE id = '$elsewhere'");
}

# What each role sees of the incident: secret columns, the chain, and what everybody may know.
sub seen_by {
	my ($user) = @_;
	return $server->session(user => $user)->query(
		"SELECT source,
			num_nonnulls(backend_start, xact_start, client_addr, state, backend_xid, locks_held, query_id),
			CASE WHEN query ~ 'secret' THEN 'query' ELSE query END, CASE WHEN chain ~ 'secret' THEN 'chain' ELSE chain END,
			kind, pid, usename, application_name, lock, mode, blocked_total, outcome, asked_by IS NOT NULL
		 FROM unblock.history WHERE id = '$id'");
}
my $owner = $server->ask('SELECT current_user');
my $known = "manual_terminate|$root->{pid}|app|test|relation public.t|AccessExclusiveLock|1|terminated|t";
my $none  = '<insufficient privilege>';
for my $source ('memory', 'table') {
	is(seen_by($owner),    "$source|7|query|chain|$known", "$source: a superuser sees all");
	is(seen_by('monitor'), "$source|7|query|chain|$known", "$source: so does pg_monitor");
	is(lock_seen_by('monitor'), "$source|relation hidden.payroll of database elsewhere", "$source: and a relation of another database by name");
	like(lock_seen_by('other'), qr/^$source\|relation \d+ of database elsewhere$/, "$source: which others see by its number");
	is(seen_by('app'),     "$source|7|query|$none|$known", "$source: the role itself sees its session, not the others in the chain");
	is(seen_by('member'),  "$source|7|query|$none|$known", "$source: so does who has its rights");
	is(seen_by('other'),   "$source|0|$none|$none|$known", "$source: another role sees what pg_locks would have told");
	if ($source eq 'memory') {
		$server->restart;
		$server->forget_observer;
	}
}
my $summary = "SELECT count(*), count(query) FILTER (WHERE query ~ 'secret') FROM unblock.history_summary()";
is($server->session(user => 'other')->query($summary),   '1|0', 'a summary shows no more');
is($server->session(user => 'monitor')->query($summary), '2|1', 'to some');
unlike($server->session(user => 'other')->query("SELECT unblock.incident('$id')"), qr/secret|127\.0\.0\.1/, 'nor does an incident as text');

# A role that is gone.
$server->ask("REASSIGN OWNED BY app TO CURRENT_USER; DROP OWNED BY app; DROP ROLE app");
is(seen_by('monitor'), "table|7|query|chain|$known", 'its role dropped: the name stays');
is(seen_by('other'),   "table|0|$none|$none|$known", 'and so does the mask');

# The table and the figures.
sub refused {
	my ($user, $sql) = @_;
	my ($output, $errors) = $server->session(user => $user)->try($sql);
	return $errors =~ /42501/ ? 'refused' : "$output$errors";
}
is(refused('other',   'SELECT count(*) FROM unblock.incident'), 'refused', 'the table is not for all');
is(refused('monitor', 'SELECT count(*) FROM unblock.incident'), 2,         'pg_monitor reads it');
is(refused('other',   'SELECT count(*) > 0 FROM unblock.metrics'), 'refused', 'nor are the metrics');
is(refused('other',   'SELECT count(*) > 0 FROM unblock.metrics()'), 'refused', 'as a function neither');
is(refused('monitor', 'SELECT count(*) > 0 FROM unblock.metrics'), 't', 'pg_monitor reads them');
for my $sql ("INSERT INTO unblock.incident (id, at, kind, revision) VALUES ('x', now(), 'x', 0)",
	'DELETE FROM unblock.incident', "UPDATE unblock.incident SET kind = 'x'", 'TRUNCATE unblock.incident',
	'CREATE TRIGGER x AFTER INSERT ON unblock.incident EXECUTE FUNCTION f()',
	'ALTER TABLE unblock.incident ADD COLUMN a int', 'BEGIN; LOCK TABLE unblock.incident IN EXCLUSIVE MODE',
	'CREATE TABLE unblock.mine ()')
{
	is(refused('monitor', $sql), 'refused', "nobody else may: $sql");
}
is($server->ask('SELECT count(*) FROM unblock.incident'), 2, 'nothing has happened');

# Who may put a trigger on the table runs nothing with the recorder's rights.
$server->ask('CREATE ROLE trigger LOGIN; GRANT TRIGGER ON unblock.incident TO trigger; GRANT CREATE ON SCHEMA public TO trigger');
my $mean = $server->session(user => 'trigger');
$mean->query('CREATE FUNCTION take_over() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN EXECUTE \'ALTER ROLE trigger SUPERUSER\'; RETURN new; END $$');
$mean->query('CREATE TRIGGER take_over BEFORE INSERT ON unblock.incident FOR EACH ROW EXECUTE FUNCTION take_over()');
$server->ask("ALTER DATABASE postgres SET role = 'other'");
$server->ask(PgUnblock::pauses(3));
$server->wait_until("(SELECT count(*) FROM unblock.incident WHERE kind = 'pause') = 3");
pass('a trigger, or a role of the database, does not keep incidents from the table');
is($server->ask("SELECT rolsuper FROM pg_roles WHERE rolname = 'trigger'"), 'f', 'and the trigger does not run');
$server->ask('ALTER DATABASE postgres RESET role');

# A column of somebody's own is no harm.
$server->ask('ALTER TABLE unblock.incident ADD COLUMN ticket text');
$server->ask(PgUnblock::pauses(1));
$server->wait_until("(SELECT count(*) FROM unblock.incident WHERE kind = 'pause') = 4");
$server->ask('ALTER TABLE unblock.incident DROP COLUMN ticket');
$server->ask(PgUnblock::pauses(1));
$server->wait_until("(SELECT count(*) FROM unblock.incident WHERE kind = 'pause') = 5");
is($server->ask("SELECT count(*) FROM unblock.history WHERE kind = 'pause'"), 5, 'a column comes and goes');

# A table from another cluster, where the number of a role was somebody else's.
$server->ask("INSERT INTO unblock.incident (id, at, kind, usesysid, usename, query, revision)
	SELECT 'elsewhere', now(), 'terminate', 'other'::regrole, 'alice', 'secret', 0");
is($server->session(user => 'other')->query("SELECT query FROM unblock.history WHERE id = 'elsewhere'"), $none,
	'the name counts too');

# What a role without special rights does to itself is recorded for a part only.
my $victim = $server->session(user => 'other');
my $many   = $server->session(user => 'other');
my $before = $server->ask("SELECT count(*) FROM unblock.history WHERE kind = 'manual_cancel'");
my $position = $server->log_position;
for (1 .. 130) {
	$victim->begin_statement('SELECT pg_sleep(3600)');
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE pid = $victim->{pid} AND wait_event = 'PgSleep')");
	$many->query("SELECT unblock.cancel($victim->{pid})");
	$victim->end_statement;
}
cmp_ok($server->ask("SELECT count(*) FROM unblock.history WHERE kind = 'manual_cancel'") - $before, '<=', 200,
	'so many in a minute');
is(scalar $server->actions($position), 130, 'the log has them all');
cmp_ok(scalar(grep { !$_->{incident} } $server->actions($position)), '>', 0, 'some without an incident');

# A table of this name that is not the extension's, with a trigger that would run with the recorder's rights.
$server->ask('DROP EXTENSION pg_unblock');
$server->ask('GRANT CREATE ON DATABASE postgres TO other');
my $other = $server->session(user => 'other');
$other->query('CREATE SCHEMA unblock; CREATE TABLE unblock.incident (id text PRIMARY KEY, at timestamptz)');
$other->query('CREATE FUNCTION unblock.take_over() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN EXECUTE \'ALTER ROLE other SUPERUSER\'; RETURN new; END $$');
$other->query('CREATE TRIGGER take_over BEFORE INSERT ON unblock.incident EXECUTE FUNCTION unblock.take_over()');
$position = $server->log_position;
my $idle = $server->idle_session('SELECT 1', options => '-c pg_unblock.idle_in_transaction_limit=100ms');
$server->wait_for_log(qr/the history is not saved: database "postgres" does not have the extension/, $position);
is($server->ask("SELECT rolsuper FROM pg_roles WHERE rolname = 'other'"), 'f', 'a foreign table is not written');
is($server->ask('SELECT count(*) FROM unblock.incident'), 0, 'at all');

$server->stop;
done_testing();
