# Which statement took the lock that somebody waits for: each way to take one, and each case in which nobody can
# know.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h', 'pg_unblock.report_after = 0');
$server->ask($_) for split /;;\n/, <<'SQL';
CREATE TABLE a (id int PRIMARY KEY, n int);;
INSERT INTO a SELECT i, 0 FROM generate_series(1, 20) i;;
CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a);;
CREATE TABLE later (id int PRIMARY KEY, a_id int REFERENCES a DEFERRABLE INITIALLY DEFERRED);;
CREATE TABLE audit (n int);;
CREATE TABLE old (id int);;
CREATE TABLE old_1 () INHERITS (old);;
CREATE TABLE parts (id int, k int) PARTITION BY LIST (k);;
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);;
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);;
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES IN (3) PARTITION BY LIST (id);;
CREATE TABLE parts_3_1 PARTITION OF parts_3 DEFAULT;;
INSERT INTO parts VALUES (1, 1);;
CREATE VIEW a_view AS SELECT * FROM a;;
CREATE SEQUENCE numbers;;
CREATE TABLE watched (id int);;
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END';;
CREATE TRIGGER audit AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION audit();;
CREATE FUNCTION touch_a() RETURNS void LANGUAGE plpgsql AS 'BEGIN UPDATE a SET n = n + 1 WHERE id = 1; END';;
CREATE FUNCTION undo_a() RETURNS void LANGUAGE plpgsql AS
	$$BEGIN UPDATE a SET n = n + 1 WHERE id = 1; RAISE 'x'; EXCEPTION WHEN raise_exception THEN NULL; END$$;;
CREATE FUNCTION changes_and_catches() RETURNS void LANGUAGE plpgsql AS
	$$BEGIN UPDATE a SET n = n + 1 WHERE id = 2; EXCEPTION WHEN raise_exception THEN NULL; END$$;;
CREATE FUNCTION fixed_a() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM a); END';;
CREATE PROCEDURE change_a() LANGUAGE plpgsql AS 'BEGIN UPDATE a SET n = n + 1 WHERE id = 1; END';;
CREATE FUNCTION slow(float8) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1 FROM pg_sleep($1)';;
CREATE ROLE other LOGIN;;
CREATE TABLE ruled (id int);;
CREATE RULE instead AS ON DELETE TO ruled DO INSTEAD UPDATE a SET n = n + 1 WHERE id = 1;;
CREATE RULE also AS ON UPDATE TO ruled DO ALSO INSERT INTO audit VALUES (1);;
CREATE FUNCTION rows_of_a() RETURNS SETOF a STABLE LANGUAGE sql AS 'SELECT * FROM a';;
CREATE FUNCTION fixed_outer() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM fixed_a(); RETURN 1; END';;
CREATE FUNCTION open_a(where_id int, how text, OUT c refcursor) LANGUAGE plpgsql AS
	$$BEGIN c := 'c'; OPEN c FOR EXECUTE format('SELECT * FROM a WHERE id >= %s ORDER BY id %s', where_id, how); END$$;;
CREATE FUNCTION fetch_c() RETURNS int LANGUAGE plpgsql AS
	$$DECLARE c refcursor := 'c'; row record; BEGIN FETCH c INTO row; RETURN row.id; END$$;;
SQL

my $UPDATE = 'UPDATE a SET n = 1 WHERE id = 1';
my $ALTER  = 'LOCK TABLE a';
my $ROW    = 'UPDATE a SET n = 2 WHERE id = 1';

# A session runs statements in a transaction, each a message of its own, and waits for its client; another one
# waits for it.
sub block {
	my ($statements, $waiter) = @_;
	my $blocker = $server->session;
	$blocker->query('BEGIN');
	$blocker->try($_) for @$statements;
	return ($blocker, wait_with($waiter));
}

sub wait_with {
	my ($waiter) = @_;
	return $server->waiting_session(PgUnblock::in_one_go('BEGIN', $waiter, 'ROLLBACK'));
}

sub locking_query {
	my ($blocker) = @_;
	my ($root, $chain) = map { $server->ask("SELECT coalesce(locking_query, 'not known') || '|' ||
		coalesce((locking_query_at BETWEEN xact_start AND clock_timestamp())::text, '') FROM unblock.$_ WHERE pid = $blocker->{pid}") }
	  qw(root_blockers blocking_chains);
	return $root eq $chain ? $root : "roots: $root, chains: $chain";
}

sub let_go {
	my ($blocker, @waiters) = @_;
	$blocker->try('ROLLBACK');
	$_->end_statement for @waiters;
	$_->quit          for $blocker, @waiters;
	return;
}

sub names {
	my ($what, $statements, $waiter, $expected) = @_;
	my ($blocker, $waiting) = block($statements, $waiter);
	is(locking_query($blocker), defined $expected ? "$expected|true" : 'not known|', $what);
	let_go($blocker, $waiting);
	return;
}

# --- tables
my @selects = ('SELECT * FROM a', 'SELECT 1', 'SELECT count(*) FROM b');
names('an UPDATE before SELECTs', [ $UPDATE, @selects ], $ALTER, $UPDATE);
names('the strongest lock in the way', [ @selects, $UPDATE ], $ALTER, $UPDATE);
names('only what is in the way', [ $UPDATE, @selects ], 'ALTER TABLE b ADD x int', $selects[2]);
names('LOCK TABLE', [ 'LOCK TABLE a IN SHARE MODE', @selects ], $UPDATE, 'LOCK TABLE a IN SHARE MODE');
names('a lock taken twice is the first one\'s', [ $UPDATE, 'UPDATE a SET n = 3' ], $ALTER, $UPDATE);
names("SELECT $_", [ "SELECT * FROM a WHERE id = 1 $_", 'SELECT 1' ], 'LOCK TABLE a IN EXCLUSIVE MODE', "SELECT * FROM a WHERE id = 1 $_")
  for 'FOR UPDATE', 'FOR SHARE', 'FOR KEY SHARE';
names('a view', [ 'SELECT * FROM a_view' ], $ALTER, 'SELECT * FROM a_view');
names('the view itself', [ 'SELECT * FROM a_view' ], 'DROP VIEW a_view', 'SELECT * FROM a_view');
names('ALTER TABLE with children', [ 'ALTER TABLE old ADD x int', @selects ], 'SELECT * FROM old_1', 'ALTER TABLE old ADD x int');
names('TRUNCATE CASCADE', [ 'TRUNCATE a CASCADE', 'SELECT 1' ], 'SELECT * FROM b', 'TRUNCATE a CASCADE');
names('COPY FROM', [ "COPY audit FROM PROGRAM 'echo 1'", @selects ], 'LOCK TABLE audit', "COPY audit FROM PROGRAM 'echo 1'");
names('COPY TO', [ "COPY a TO '/dev/null'", 'SELECT 1' ], $ALTER, "COPY a TO '/dev/null'");
names('CREATE INDEX', [ 'CREATE INDEX ON a (n)' ], $UPDATE, 'CREATE INDEX ON a (n)');
names('REINDEX locks an index', [ 'REINDEX INDEX a_pkey', 'SELECT 1' ], 'SELECT * FROM a WHERE id = 1', 'REINDEX INDEX a_pkey');
names('DROP TABLE', [ 'DROP TABLE later', 'SELECT 1' ], 'SELECT * FROM later', 'DROP TABLE later');
names('INSERT with a foreign key', [ 'INSERT INTO b VALUES (1, 2)', 'SELECT 1' ], 'LOCK TABLE a IN EXCLUSIVE MODE', 'INSERT INTO b VALUES (1, 2)');
names('DELETE of what a foreign key points at', [ 'DELETE FROM a WHERE id = 20', 'SELECT 1' ], 'LOCK TABLE b', 'DELETE FROM a WHERE id = 20');
names('a trigger', [ 'INSERT INTO watched VALUES (1)', @selects ], 'LOCK TABLE audit', 'INSERT INTO watched VALUES (1)');
names('a function', [ 'SELECT touch_a()', @selects ], $ALTER, 'SELECT touch_a()');
names('a function that the planner calls', [ 'SELECT fixed_a()', 'SELECT 1' ], $ALTER, 'SELECT fixed_a()');
names('what that one calls', [ 'SELECT fixed_outer()', 'SELECT 1' ], $ALTER, 'SELECT fixed_outer()');
names('a function that becomes part of the plan', [ 'SELECT * FROM b', 'SELECT count(*) FROM rows_of_a()', 'SELECT 1' ], $ALTER, 'SELECT count(*) FROM rows_of_a()');
names('it has not taken what was held before', [ 'SELECT * FROM a WHERE id = 1', 'SELECT count(*) FROM rows_of_a()' ], 'REINDEX INDEX a_pkey', undef);
names('DO', [ 'DO $$BEGIN UPDATE a SET n = 1; END$$', @selects ], $ALTER, 'DO $$BEGIN UPDATE a SET n = 1; END$$');
names('CALL', [ 'CALL change_a()', @selects ], $ALTER, 'CALL change_a()');
names('EXPLAIN ANALYZE', [ "EXPLAIN ANALYZE $UPDATE", 'SELECT 1' ], $ALTER, "EXPLAIN ANALYZE $UPDATE");
names('EXPLAIN locks no rows', [ 'EXPLAIN UPDATE a SET n = 1 WHERE id = 2', $UPDATE ], $ROW, $UPDATE);
names('CREATE TABLE AS', [ 'CREATE TABLE c AS SELECT * FROM a' ], $ALTER, 'CREATE TABLE c AS SELECT * FROM a');
names('PREPARE locks what it reads', [ 'PREPARE p AS SELECT * FROM a', 'SELECT 1' ], $ALTER, 'PREPARE p AS SELECT * FROM a');
names('EXECUTE', [ "PREPARE p AS $UPDATE", 'EXECUTE p', 'SELECT 1' ], 'LOCK TABLE a IN SHARE MODE', "PREPARE p AS $UPDATE");
names('the part of a message', [ "SELECT 1\\; $UPDATE\\; SELECT 2" ], $ALTER, $UPDATE);
# From 18 on the server counts a comment in front no part of a statement.
names('a comment in front', [ "/* why */ $UPDATE" ], $ALTER, ($server->major < 18 ? '/* why */ ' : '') . $UPDATE);

# A prepared statement from before the transaction.
{
	my $blocker = $server->session;
	$blocker->query($_) for "PREPARE p AS $UPDATE", 'BEGIN', 'EXECUTE p', 'SELECT 1';
	my $waiting = wait_with($ALTER);
	is(locking_query($blocker), 'EXECUTE p|true', 'EXECUTE of an older statement');
	let_go($blocker, $waiting);
}

# --- partitions
names('a partition that a row went to', [ 'INSERT INTO parts VALUES (2, 2)', 'SELECT 1' ], 'LOCK TABLE parts_2', 'INSERT INTO parts VALUES (2, 2)');
names('the parent', [ 'INSERT INTO parts VALUES (2, 2)', 'SELECT 1' ], 'LOCK TABLE parts', 'INSERT INTO parts VALUES (2, 2)');
names('a partitioned table between', [ 'INSERT INTO parts VALUES (1, 3)', 'SELECT 1' ], 'LOCK TABLE ONLY parts_3', 'INSERT INTO parts VALUES (1, 3)');
names('a partition that a row moved to', [ 'UPDATE parts SET k = 2', 'SELECT 1' ], 'LOCK TABLE parts_2', 'UPDATE parts SET k = 2');
names('a partition that is read', [ 'SELECT * FROM parts', 'SELECT 1' ], 'LOCK TABLE parts_1', 'SELECT * FROM parts');
names('a partition that is updated', [ 'UPDATE parts SET id = 2 WHERE k = 1' ], 'LOCK TABLE parts_1 IN SHARE MODE', 'UPDATE parts SET id = 2 WHERE k = 1');

# --- rows
names('a row', [ $UPDATE, @selects ], $ROW, $UPDATE);
names('a row that others wait for first', [ 'SELECT * FROM a WHERE id = 1 FOR UPDATE', 'SELECT 1' ], $ROW, 'SELECT * FROM a WHERE id = 1 FOR UPDATE');
names('a row that is shared', [ 'SELECT * FROM a WHERE id = 1 FOR SHARE' ], $ROW, 'SELECT * FROM a WHERE id = 1 FOR SHARE');
names('a row that a foreign key points at', [ 'INSERT INTO b VALUES (1, 1)', 'SELECT 1' ], 'DELETE FROM a WHERE id = 1', 'INSERT INTO b VALUES (1, 1)');
names('DELETE', [ 'DELETE FROM a WHERE id = 1' ], $ROW, 'DELETE FROM a WHERE id = 1');
names('ON CONFLICT DO UPDATE', [ 'INSERT INTO a VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = 1' ], $ROW,
	'INSERT INTO a VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = 1');
names('MERGE', [ 'MERGE INTO a USING (SELECT 1) s ON id = 1 WHEN MATCHED THEN UPDATE SET n = 1' ], $ROW,
	'MERGE INTO a USING (SELECT 1) s ON id = 1 WHEN MATCHED THEN UPDATE SET n = 1');
names('a row that a function changed', [ 'SELECT touch_a()', 'SELECT 1' ], $ROW, 'SELECT touch_a()');
names('after LOCK TABLE of the same mode', [ 'LOCK TABLE a IN ROW EXCLUSIVE MODE', $UPDATE ], $ROW, $UPDATE);
names('new rows are in nobody\'s way', [ 'INSERT INTO a VALUES (21, 1)', $UPDATE, 'INSERT INTO a VALUES (22, 1)' ], $ROW, $UPDATE);
names('nor are foreign keys in that of an update', [ $UPDATE, 'INSERT INTO b VALUES (1, 2)' ], $ROW, $UPDATE);
names('two statements may have locked the row', [ $UPDATE, 'UPDATE a SET n = 1 WHERE id = 2' ], $ROW, undef);
names('or a foreign key and another one', [ 'UPDATE a SET n = 1 WHERE id = 2', 'INSERT INTO b VALUES (1, 1)' ], 'DELETE FROM a WHERE id = 1', undef);
names('one of them was undone', [ $UPDATE, 'SAVEPOINT s', 'UPDATE a SET n = 1 WHERE id = 2', 'ROLLBACK TO s' ], $ROW, $UPDATE);
names('a unique key', [ 'INSERT INTO a VALUES (30, 1)', 'SELECT 1' ], 'INSERT INTO a VALUES (30, 2)', undef);
{
	my ($blocker, $waiting) = block([ $UPDATE ], $ROW);
	$blocker->query('UPDATE a SET n = 1 WHERE id = 2');
	is(locking_query($blocker), "$UPDATE|true", 'a statement since the wait began is not to blame');
	# The second in the queue waits for the first one's lock on the row.
	my $second = wait_with($ROW);
	is($server->ask("SELECT locking_query FROM unblock.blocking_chains WHERE pid = $waiting->{pid}"),
		"BEGIN; $ROW; ROLLBACK;", 'the first in the queue has the row\'s own lock by its present statement');
	let_go($blocker, $waiting, $second);
}

# --- cursors
my $DECLARE = 'DECLARE c CURSOR FOR SELECT * FROM a ORDER BY id FOR UPDATE';
names('a cursor', [ $DECLARE, 'SELECT 1' ], $ALTER, $DECLARE);
names('its rows', [ $DECLARE, 'FETCH c', 'FETCH c', 'SELECT 1' ], $ROW, $DECLARE);
names('a cursor over rows that another statement locked', [ 'SELECT * FROM a WHERE id = 1 FOR UPDATE', $DECLARE, 'FETCH c' ], $ROW, undef);
names('UPDATE at a cursor', [ 'DECLARE c CURSOR FOR SELECT * FROM a ORDER BY id', 'FETCH c', 'UPDATE a SET n = 1 WHERE CURRENT OF c' ], $ROW,
	'UPDATE a SET n = 1 WHERE CURRENT OF c');

# A cursor that a function opens.
names('a cursor of a function', [ q(SELECT open_a(1, '')), 'SELECT count(*) FROM a' ], $ALTER, q(SELECT open_a(1, '')));
names('its rows', [ q(SELECT open_a(1, 'FOR UPDATE')), 'FETCH c', 'SELECT fetch_c()' ], $ROW, q(SELECT open_a(1, 'FOR UPDATE')));
names('its rows or those of others', [ 'UPDATE a SET n = 1 WHERE id = 2', q(SELECT open_a(1, 'FOR UPDATE')), 'FETCH c' ], $ROW, undef);
names('fetched, undone, and fetched again', [ 'UPDATE a SET n = 1 WHERE id = 9', q(SELECT open_a(1, 'FOR UPDATE')), 'SAVEPOINT s',
	'SELECT fetch_c()', 'ROLLBACK TO s', 'SELECT fetch_c()' ], 'UPDATE a SET n = 2 WHERE id = 2', undef);

# --- rules
my $DELETE = 'DELETE FROM ruled';
names('a rule', [ $DELETE, 'SELECT 1' ], $ROW, $DELETE);
names('one of a rule, in its own message', [ 'UPDATE ruled SET id = 1', 'SELECT 1' ], 'LOCK TABLE audit', 'UPDATE ruled SET id = 1');
names('a rule in a message of several statements', [ "SELECT count(*) FROM old\\; $DELETE" ], $ROW, "SELECT count(*) FROM old; $DELETE");
names('what is no rule in it', [ "SELECT count(*) FROM old\\; $DELETE" ], 'LOCK TABLE old', 'SELECT count(*) FROM old');

# --- savepoints
my @undone = ('SAVEPOINT s', $UPDATE, 'ROLLBACK TO s');
names('what was rolled back is gone', [ 'SELECT * FROM a', @undone ], $ALTER, 'SELECT * FROM a');
names('and belongs to the next who does it', [ @undone, 'UPDATE a SET n = 7' ], $ALTER, 'UPDATE a SET n = 7');
{
	my ($session, $waiting) = block([ 'SELECT * FROM a', 'SAVEPOINT s', 'LOCK TABLE a', 'ROLLBACK TO s', 'SELECT 1' ], $ALTER);
	is($server->ask("SELECT string_agg(query, '; ') FROM unblock.transaction_statements($session->{pid})"), 'SELECT * FROM a', 'a utility statement that was rolled back');
	let_go($session, $waiting);
}
names('released', [ 'SAVEPOINT s', $UPDATE, 'RELEASE s', 'SELECT 1' ], $ALTER, $UPDATE);
names('released and rolled back', [ 'SELECT * FROM a', 'SAVEPOINT s', 'SAVEPOINT t', $UPDATE, 'RELEASE t', 'ROLLBACK TO s' ], $ALTER, 'SELECT * FROM a');
names('a function that catches an error', [ 'SELECT undo_a()', 'SELECT count(*) FROM a' ], $ALTER, 'SELECT count(*) FROM a');
names('a failed statement', [ 'SAVEPOINT s', $UPDATE, 'UPDATE a SET n = 1 / 0', 'ROLLBACK TO s', 'SELECT * FROM a' ], $ALTER, 'SELECT * FROM a');
names('statements after a failed one', [ 'SAVEPOINT s', 'SELECT 1 / 0 FROM a', 'ROLLBACK TO s', $UPDATE ], $ALTER, $UPDATE);
{
	my $failed = $server->session;
	$failed->query('BEGIN');
	$failed->try($_) for $UPDATE, 'SELECT 1 / 0';
	is($server->ask("SELECT count(*) FROM unblock.transaction_statements($failed->{pid})"), 0, 'a failed transaction holds nothing');
	$failed->query($_) for 'ROLLBACK', 'BEGIN', 'SELECT * FROM b';
	is($server->ask("SELECT string_agg(query, ';') FROM unblock.transaction_statements($failed->{pid})"), 'SELECT * FROM b', 'the next one is another');
	$failed->query('COMMIT');
	is($server->ask("SELECT count(*) FROM unblock.transaction_statements($failed->{pid})"), 0, 'nothing after COMMIT');
	$failed->quit;
}

# --- what nobody can know
names('a sequence', [ "SELECT nextval('numbers')", 'SELECT 1' ], 'ALTER SEQUENCE numbers RESTART', undef);
names('an advisory lock', [ 'SELECT pg_advisory_xact_lock(1)', 'SELECT 1' ], 'SELECT pg_advisory_lock(1)', undef);
names('what was held before is not the next statement\'s', [ "SELECT nextval('numbers')", 'LOCK TABLE b' ], 'ALTER SEQUENCE numbers RESTART', undef);

names('a row of a catalog', [ q(SELECT 1 FROM pg_class WHERE relname = 'old' FOR UPDATE), 'ALTER TABLE audit SET (fillfactor = 50)' ],
	q(UPDATE pg_class SET relname = relname WHERE relname = 'audit'), undef);

# A statement that is parsed and never run: psql sends none, so here is the protocol itself.
{
	require IO::Socket::UNIX;
	my $socket = IO::Socket::UNIX->new(Peer => $server->host . '/.s.PGSQL.' . $server->port) or die $!;
	my $user   = getpwuid $<;
	my $send   = sub { my ($type, $body) = @_; print $socket $type, pack('N', 4 + length $body), $body; $socket->flush };
	my $ready  = sub {
		for (;;) {
			read $socket, my $head, 5;
			my ($type, $length) = unpack 'a N', $head;
			read $socket, my $body, $length - 4;
			die $body if $type eq 'E';
			return if $type eq 'Z';
		}
	};
	$send->('', pack('N', 196608) . "user\0$user\0database\0postgres\0application_name\0raw\0\0");
	$ready->();
	my $query  = sub { $send->('Q', "$_[0]\0"); $ready->() };
	my $parse  = sub { my ($name, $text) = @_; $send->('P', "$name\0$text\0" . pack 'n', 0); $send->('S', ''); $ready->() };
	my $run    = sub { my ($name) = @_; $send->('B', "\0$name\0" . pack 'nnn', 0, 0, 0); $send->('E', "\0" . pack 'N', 0); $send->('S', ''); $ready->() };
	my $told   = sub {
		my $pid     = $server->ask(q(SELECT pid FROM pg_stat_activity WHERE application_name = 'raw'));
		my $waiting = wait_with($_[0]);
		my $found   = locking_query({ pid => $pid });
		$server->ask("SELECT pg_cancel_backend($waiting->{pid})");
		$waiting->end_statement;
		$waiting->quit;
		return $found;
	};
	$query->('BEGIN');
	$parse->('', 'SELECT * FROM a');
	$query->('SELECT count(*) FROM a');
	is($told->($ALTER), 'not known|', 'a lock that the parser took for another statement');
	$query->('SELECT count(*) FROM b');
	is($told->('LOCK TABLE b'), 'SELECT count(*) FROM b|true', 'but that one\'s own are known');
	$query->('ROLLBACK');

	for my $between (undef, 'SAVEPOINT s') {
		$query->('BEGIN');
		$parse->('', 'SELECT * FROM a /* 1 */');
		$query->($between) if $between;
		$parse->('', 'SELECT * FROM a /* 2 */');
		$run->('');
		is($told->($ALTER), 'not known|', 'one of two that were parsed' . ($between ? ", $between" : ''));
		$query->('ROLLBACK');
	}

	# One transaction without a block: nothing is seen, nor told, of a part of it.
	$parse->('u', 'UPDATE a SET n = 1 WHERE id = 1');
	$parse->('f', 'SELECT changes_and_catches()');
	for my $name (qw(u f)) {
		$send->('B', "\0$name\0" . pack 'nnn', 0, 0, 0);
		$send->('E', "\0" . pack 'N', 0);
	}
	$send->('H', '');
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'raw' AND wait_event = 'ClientRead' AND query ~ 'changes')");
	is($told->($ROW), 'not known|', 'a pipeline without BEGIN');
	$send->('S', '');
	$ready->();

	$query->('BEGIN');
	$parse->('p', 'UPDATE a SET n = 1 WHERE id = 1');
	$run->('p');
	$query->('SELECT 1');
	is($told->($ALTER), "$UPDATE|true", 'one that was prepared and run: its table');
	is($told->($ROW),   "$UPDATE|true", 'its row');
	$query->('ROLLBACK');

	$query->('BEGIN');
	$parse->('q', 'SELECT * FROM a WHERE id = 1 FOR UPDATE');
	$send->('B', "portal\0q\0" . pack 'nnn', 0, 0, 0);
	$send->('H', '');
	$parse->('', 'SELECT 1');
	$send->('E', "portal\0" . pack 'N', 1);
	$send->('S', '');
	$ready->();
	is($told->($ROW), 'SELECT * FROM a WHERE id = 1 FOR UPDATE|true', 'a portal that runs later');
	$query->('ROLLBACK');
	close $socket;
}

# --- statements that still run
sub run_and_block {
	my ($statements, $waiter) = @_;
	my $blocker = $server->session;
	my $last    = pop @$statements;
	$blocker->query($_) for @$statements;
	$blocker->begin_statement($last);
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE pid = $blocker->{pid} AND wait_event = 'PgSleep')");
	return ($blocker, wait_with($waiter));
}
sub is_running {
	my ($what, $statements, $waiter, $expected) = @_;
	my ($blocker, $waiting) = run_and_block($statements, $waiter);
	is(locking_query($blocker), defined $expected ? "$expected|true" : 'not known|', $what);
	$server->ask("SELECT pg_cancel_backend($blocker->{pid})");
	$blocker->end_statement;
	let_go($blocker, $waiting);
	return;
}
my $REWRITE = 'ALTER TABLE a ADD x int DEFAULT slow(3600)';
is_running('ALTER TABLE that works', [ 'BEGIN', 'SELECT * FROM b', $REWRITE ], 'SELECT * FROM a', $REWRITE);
is_running('ALTER TABLE that nobody said was in a transaction', [ $REWRITE ], 'SELECT * FROM a', "$REWRITE;");
is_running('a statement of its own', [ 'SELECT *, slow(3600) FROM a LIMIT 1' ], $ALTER, 'SELECT *, slow(3600) FROM a LIMIT 1;');
is_running('one in a transaction', [ 'BEGIN', 'SELECT 1', 'SELECT *, slow(3600) FROM a LIMIT 1' ], $ALTER, 'SELECT *, slow(3600) FROM a LIMIT 1');
is_running('a DO block', [ 'BEGIN', 'DO $$BEGIN LOCK TABLE a; PERFORM slow(3600); END$$' ], 'SELECT * FROM a',
	'DO $$BEGIN LOCK TABLE a; PERFORM slow(3600); END$$');
is_running('a lock from before what runs', [ 'BEGIN', "SELECT nextval('numbers')", $REWRITE ], 'ALTER SEQUENCE numbers RESTART', undef);

# --- COMMIT checks what was put off, and waits
{
	my ($holder, $committer) = ($server->session, $server->session);
	$holder->query($_)    for 'BEGIN', 'SELECT * FROM a WHERE id = 3 FOR UPDATE';
	$committer->query($_) for 'BEGIN', 'INSERT INTO later VALUES (1, 3)';
	$committer->begin_statement('COMMIT');
	$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $committer->{pid} AND NOT granted)");
	my $waiting = wait_with('LOCK TABLE a IN EXCLUSIVE MODE');
	# From 19 on these checks run no queries, and nobody sees them.
	like($server->ask("SELECT locking_query FROM unblock.blocking_chains WHERE pid = $committer->{pid}"),
		$server->major < 19 ? qr/^COMMIT;?$/ : qr/^$/, 'COMMIT');
	$holder->query('ROLLBACK');
	$committer->end_statement;
	$waiting->end_statement;
	$_->quit for $holder, $committer, $waiting;
}

# --- the extended protocol
my $BENCH = q(application_name = 'locking_statement.pl'); # the harness names programs so
for my $mode (qw(extended prepared)) {
	my $bench = $server->begin_pgbench([ '-M', $mode, '-t', 1, '-D', 'id=1' ],
		"blocker_$mode" => "BEGIN;\nUPDATE a SET n = 1 WHERE id = :id;\nSELECT * FROM b;\n\\sleep 1000 s\nCOMMIT;\n");
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE $BENCH AND state = 'idle in transaction' AND query LIKE 'SELECT * FROM b%')");
	my $waiting = wait_with($ROW);
	is($server->ask('SELECT locking_query FROM unblock.root_blockers'), 'UPDATE a SET n = 1 WHERE id = $1', "protocol: $mode");
	$server->ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $BENCH");
	$waiting->end_statement;
	$bench->{run}->kill_kill;
}
{
	my $bench = $server->begin_pgbench([ '-M', 'extended', '-t', 1 ],
		pipeline => "\\startpipeline\nUPDATE a SET n = 1 WHERE id = 1;\nBEGIN;\nUPDATE a SET n = 1 WHERE id = 2;\n\\endpipeline\n\\sleep 1000 s\nCOMMIT;\n");
	$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE $BENCH AND state = 'idle in transaction')");
	for my $waiter ($ALTER, $ROW) {
		my $waiting = wait_with($waiter);
		is($server->ask("SELECT count(locking_query) || ' of ' || count(*) FROM unblock.root_blockers"), '0 of 1', "pipelined before BEGIN: $waiter");
		$server->ask("SELECT pg_cancel_backend($waiting->{pid})");
		$waiting->end_statement;
		$waiting->quit;
	}
	$server->ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $BENCH");
	$bench->{run}->kill_kill;
}

# --- parallel plans
{
	my $blocker = $server->session(options => '-c parallel_setup_cost=0 -c parallel_tuple_cost=0 -c min_parallel_table_scan_size=0');
	my $query   = 'SELECT count(*) FROM a WHERE n >= 0';
	$blocker->query('BEGIN');
	like($blocker->query("EXPLAIN (ANALYZE, COSTS OFF) $query"), qr/Workers Launched: [1-9]/, 'a parallel plan');
	$blocker->query($_) for 'ROLLBACK', 'BEGIN', $query;
	my $waiting = wait_with($ALTER);
	is(locking_query($blocker), "$query|true", 'its leader has the statement');
	is($server->ask("SELECT count(*) FROM unblock.transaction_statements($blocker->{pid}) WHERE relation = 'a'::regclass"), 1, 'once');
	let_go($blocker, $waiting);
}

# --- the whole trail
{
	my $session = $server->session;
	$session->query($_) for 'SET compute_query_id = on', 'BEGIN', 'SELECT count(*) FROM b', $UPDATE, 'CREATE TEMP TABLE mine (id int)',
	  'INSERT INTO mine VALUES (1)', $UPDATE, 'SELECT count(*) FROM a, b';
	my $columns = q(statement, relation::regclass::text, mode, locks_rows, query_id IS NOT NULL, query);
	is($server->ask("SELECT $columns FROM unblock.transaction_statements($session->{pid}) WHERE relation IS NULL OR relation IN
		(SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace <> 'pg_catalog'::regnamespace) OR lock ~ 'pg_temp.*\\.mine\$'"),
		join("\n",
			'1|b|AccessShareLock|f|t|SELECT count(*) FROM b',
			"2|a|RowExclusiveLock|t|t|$UPDATE", "2||ExclusiveLock|f|t|$UPDATE",
			$server->ask("SELECT '3|' || relation || '|AccessExclusiveLock|f|t|CREATE TEMP TABLE mine (id int)' FROM unblock.transaction_statements($session->{pid}) WHERE lock ~ 'mine\$' AND mode = 'AccessExclusiveLock'"),
			$server->ask("SELECT '4|' || relation || '|RowExclusiveLock|f|t|INSERT INTO mine VALUES (1)' FROM unblock.transaction_statements($session->{pid}) WHERE lock ~ 'mine\$' AND mode = 'RowExclusiveLock'"),
			'5|a|AccessShareLock|f|t|SELECT count(*) FROM a, b'),
		'statements that took locks or first wrote');
	like($server->ask("SELECT lock FROM unblock.transaction_statements($session->{pid}) WHERE relation IS NULL"), qr/^transaction \d+$/, 'the first write');
	like($server->ask("SELECT DISTINCT lock FROM unblock.transaction_statements($session->{pid}) WHERE lock ~ 'mine'"), qr/^relation pg_temp_\d+\.mine$/, 'a temporary table');

	$session->query($_) for 'ROLLBACK', 'BEGIN', 'SAVEPOINT s', $UPDATE, 'ROLLBACK TO s', 'RELEASE s', 'SELECT 1';
	is($server->ask("SELECT count(*) FROM unblock.transaction_statements($session->{pid})"), 0, 'a SELECT after a write that was undone has written nothing');
	$session->query($_) for 'ROLLBACK', 'BEGIN', 'SELECT count(*) FROM b', $UPDATE;

	my $other = $server->session(user => 'other');
	is($other->query("SELECT DISTINCT query, at, query_id FROM unblock.transaction_statements($session->{pid})"), '<insufficient privilege>||', 'masked');
	is($other->query("SELECT string_agg(DISTINCT lock, ',') FROM unblock.transaction_statements($session->{pid}) WHERE lock ~ 'public'"),
		'relation public.a,relation public.b', 'locks are everybody\'s business');
	my $waiting = wait_with($ALTER);
	is($other->query("SELECT locking_query, locking_query_at FROM unblock.$_ WHERE pid = $session->{pid}"), '<insufficient privilege>|', "masked in $_")
	  for qw(root_blockers blocking_chains);
	is($server->ask("SELECT count(*) FROM unblock.transaction_statements($_)"), 0, "of process $_") for 0, -1, 2147483647, $server->enforcer_pid;
	let_go($session, $waiting);
	$other->quit;
}

# --- another database: the name is the session's
{
	$server->ask('CREATE DATABASE shop');
	my $shopper = $server->session(dbname => 'shop');
	$shopper->query($_) for 'CREATE SCHEMA "Big"', 'CREATE TABLE "Big".orders (id int)', 'BEGIN', 'SELECT * FROM "Big".orders';
	like($server->ask("SELECT lock FROM unblock.transaction_statements($shopper->{pid})"), qr/^relation "Big"\.orders of database shop$/, 'a relation of another database');
	$shopper->query('COMMIT');
	$shopper->quit;
}

# --- what the records and the ended client say
{
	my $position = $server->log_position;
	my $blocker  = $server->session;
	$blocker->query($_) for 'BEGIN', "UPDATE a\n\tSET n = 1\n\tWHERE id = 1", 'SELECT * FROM b';
	my @waiting = (wait_with($ROW), wait_with($ALTER));
	$server->set_in_file('pg_unblock.idle_blocker_limit' => '300ms');
	$server->wait_until_gone($blocker);
	$_->end_statement for @waiting;
	$server->set_in_file('pg_unblock.idle_blocker_limit' => undef);
	my $incident = $server->wait_for_incident("pid = $blocker->{pid} AND outcome IS NOT NULL");
	is($incident->{locking_query}, "UPDATE a\n\tSET n = 1\n\tWHERE id = 1", 'the incident');
	like($incident->{locking_query_at}, qr/^\d{4}-/, 'when');
	my ($action) = $server->actions_on($blocker, $position);
	is($action->{locking_query}, $incident->{locking_query}, 'the log line');
	like($action->{locking_query_at}, qr/^\d{4}-\d\d-\d\d /, 'when');
	like($blocker->last_words,
		qr/^DETAIL:  The transaction .* through .*; lock on public\.a taken by: UPDATE a SET n = 1 WHERE id = 1 at \d{4}-\d\d-\d\d [\d:.]+\+00\. pg_unblock\.idle_blocker_limit is 300ms\.$/m,
		'the ended client');
	like($server->ask("SELECT unblock.incident('$incident->{id}')"), qr/^Lock taken by the statement of \d{4}-.*\nUPDATE a\n\tSET n = 1\n\tWHERE id = 1\nLast statement\nSELECT \* FROM b/m, 'the incident as text');
	$_->quit for @waiting;
}
{
	$server->set_in_file('pg_unblock.history_query_text' => 'off', 'pg_unblock.idle_blocker_limit' => '300ms');
	$server->wait_for_turn;
	my ($blocker, $waiting) = block([ 'SET compute_query_id = on', 'SELECT * FROM a' ], $ALTER);
	$server->wait_until_gone($blocker);
	$waiting->end_statement;
	my $incident = $server->wait_for_incident("pid = $blocker->{pid} AND outcome IS NOT NULL");
	is($incident->{locking_query}, undef, 'without query texts: none');
	isnt($incident->{locking_query_id}, undef, 'but its id');
	is($incident->{lock}, 'relation public.a', 'and the name of the relation');
	$waiting->quit;
}

$server->stop;
done_testing();
