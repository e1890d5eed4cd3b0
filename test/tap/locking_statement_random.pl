# Random transactions against the server's own table of locks: after each statement, what pg_locks has more than
# before is what the trail must say that this statement took.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $TRANSACTIONS = $ENV{TRANSACTIONS} // 60;
my $SEED         = $ENV{SEED}         // 20;
srand $SEED;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'max_locks_per_transaction = 256',
	'pg_unblock.statement_trail = 1000', 'pg_unblock.statement_trail_memory = 64MB', 'track_activity_query_size = 256');
$server->ask($_) for split /;;\n/, <<'SQL';
CREATE TABLE a (id int PRIMARY KEY, n int);;
INSERT INTO a SELECT i, 0 FROM generate_series(1, 20) i;;
CREATE TABLE b (id serial PRIMARY KEY, a_id int REFERENCES a ON DELETE CASCADE);;
CREATE TABLE c (id int PRIMARY KEY, b_id int REFERENCES b);;
CREATE TABLE old (id int);;
CREATE TABLE old_1 () INHERITS (old);;
CREATE TABLE parts (id int, k int) PARTITION BY LIST (k);;
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);;
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2) PARTITION BY LIST (id);;
CREATE TABLE parts_2_1 PARTITION OF parts_2 FOR VALUES IN (1);;
CREATE TABLE parts_2_2 PARTITION OF parts_2 DEFAULT;;
CREATE TABLE pointing (id int REFERENCES a) PARTITION BY LIST (id);;
CREATE TABLE pointing_1 PARTITION OF pointing FOR VALUES IN (1);;
CREATE TABLE pointing_2 PARTITION OF pointing DEFAULT;;
CREATE VIEW v AS SELECT a.id, b.a_id FROM a JOIN b ON a.id = b.a_id;;
CREATE VIEW w AS SELECT * FROM old;;
CREATE MATERIALIZED VIEW m AS SELECT * FROM old;;
CREATE TABLE log (what text);;
CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END$$;;
CREATE TRIGGER logs AFTER INSERT OR UPDATE OR DELETE ON c FOR EACH STATEMENT EXECUTE FUNCTION logs();;
CREATE RULE r AS ON INSERT TO old DO ALSO INSERT INTO log VALUES ('old');;
CREATE FUNCTION count_of(text) RETURNS bigint LANGUAGE plpgsql AS
	$$DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) FROM %I', $1) INTO n; RETURN n; END$$;;
CREATE FUNCTION catches(text, text) RETURNS void LANGUAGE plpgsql AS
	$$BEGIN PERFORM count_of($1); BEGIN PERFORM count_of($2); RAISE 'x'; EXCEPTION WHEN raise_exception THEN NULL; END; END$$;;
CREATE FUNCTION in_sql() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM c';;
CREATE PROCEDURE calls() LANGUAGE plpgsql AS $$BEGIN UPDATE c SET id = id; END$$;;
SQL

my @TABLES = qw(a b c old old_1 parts parts_1 parts_2 parts_2_1 parts_2_2 pointing pointing_1 log v w m);
my @MODES  = ('ACCESS SHARE', 'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE');
sub one_of { return $_[ rand @_ ] }

# Statements of all kinds; %n is a number that tells each from the others.
my @KINDS = (
	sub { "SELECT count(*) FROM ${\one_of(@TABLES)} /* %n */" },
	sub { "SELECT count(*) FROM ${\one_of(@TABLES)} x, ${\one_of(@TABLES)} y /* %n */" },
	sub { "SELECT * FROM ${\one_of(qw(a b c old parts))} FOR ${\one_of('UPDATE', 'SHARE', 'KEY SHARE', 'NO KEY UPDATE')} /* %n */" },
	sub { 'SELECT * FROM a WHERE EXISTS (SELECT FROM c WHERE c.id = a.id) /* %n */' },
	sub { 'WITH gone AS (DELETE FROM c RETURNING *) SELECT count(*) FROM gone, old /* %n */' },
	sub { "UPDATE ${\one_of(qw(a old parts_1))} SET id = id WHERE id > 0 /* %n */" },
	sub { 'UPDATE parts SET k = 3 - k /* %n */' },
	sub { 'UPDATE a SET n = 1 FROM b WHERE b.a_id = a.id /* %n */' },
	sub { 'DELETE FROM a WHERE id = 100 + %n' },
	sub { 'DELETE FROM a WHERE id = 1 /* %n */' },
	sub { 'DELETE FROM parts /* %n */' },
	sub { 'INSERT INTO a VALUES (100 + %n, 1)' },
	sub { 'INSERT INTO a VALUES (2, %n) ON CONFLICT (id) DO UPDATE SET n = excluded.n' },
	sub { 'INSERT INTO b (a_id) VALUES (1 + %n % 20)' },
	sub { 'INSERT INTO b (a_id) VALUES (NULL) /* %n */' },
	sub { 'INSERT INTO b (a_id) VALUES (-%n)' },    # no such row
	sub { 'INSERT INTO c VALUES (%n, NULL)' },
	sub { 'INSERT INTO old VALUES (%n)' },
	sub { 'INSERT INTO pointing VALUES (1 + %n % 2)' },
	sub { "INSERT INTO parts VALUES (1 + %n % 3, ${\one_of(1, 2)})" },
	sub { 'MERGE INTO old USING a ON old.id = a.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (a.id) /* %n */' },
	sub { "SELECT count_of('${\one_of(@TABLES)}') /* %n */" },
	sub { "SELECT catches('${\one_of(@TABLES)}', '${\one_of(@TABLES)}') /* %n */" },
	sub { 'SELECT in_sql() /* %n */' },
	sub { 'CALL calls() /* %n */' },
	sub { "DO \$\$BEGIN PERFORM count_of('${\one_of(@TABLES)}'); LOCK TABLE ${\one_of(qw(a old))} IN ${\one_of(@MODES)} MODE; END /* %n */\$\$" },
	sub { "LOCK TABLE ${\one_of(qw(a b c old parts log v))} IN ${\one_of(@MODES)} MODE /* %n */" },
	sub { "LOCK TABLE ONLY ${\one_of(qw(old parts))} IN ${\one_of(@MODES)} MODE /* %n */" },
	sub { "ALTER TABLE ${\one_of(qw(old parts log))} ADD x%n int" },
	sub { "ALTER TABLE ${\one_of(qw(a b c))} ALTER id SET STATISTICS %n" },
	sub { "CREATE INDEX ON ${\one_of(qw(a old parts log))} (${\one_of('1 + %n', '%n')})" =~ s/\((.*)\)$/(($1))/r },
	sub { "TRUNCATE ${\one_of(qw(b c old log parts))} CASCADE /* %n */" },
	sub { "ANALYZE ${\one_of(qw(a old parts))} /* %n */" },
	sub { 'REFRESH MATERIALIZED VIEW m /* %n */' },
	sub { "COPY ${\one_of(qw(a c old parts))} TO '/dev/null' /* %n */" },
	sub { "COPY (SELECT * FROM ${\one_of(@TABLES)}) TO '/dev/null' /* %n */" },
	sub { "COPY parts FROM PROGRAM 'echo \"1\t2\"' /* %n */" },
	sub { "EXPLAIN ${\one_of('', 'ANALYZE')} SELECT * FROM ${\one_of(@TABLES)} /* %n */" },
	sub { "EXPLAIN ANALYZE CREATE TABLE made_%n AS SELECT * FROM ${\one_of(@TABLES)}" },
	sub { "CREATE TABLE made_%n AS SELECT count(*) FROM ${\one_of(@TABLES)}" },
	sub { "CREATE VIEW made_%n AS SELECT count(*) FROM ${\one_of(@TABLES)}" },
	sub { "DECLARE c%n CURSOR FOR SELECT * FROM ${\one_of(@TABLES)} x WHERE x.* IS NOT NULL" },
	sub { "DECLARE c%n CURSOR FOR SELECT * FROM ${\one_of(qw(a b old parts))} FOR UPDATE" },
	sub { "PREPARE p%n AS SELECT * FROM ${\one_of(@TABLES)}" },
	sub { "EXECUTE e${\int rand 3}(%n)" },
	sub { 'SET CONSTRAINTS ALL IMMEDIATE /* %n */' },
	sub { 'SELECT 1 / 0 FROM a /* %n */' },
	sub { 'SELECT syntax error %n' },
	sub { 'SELECT set_config(\'work_mem\', \'%nMB\', true)' },
);

# Tables and the like; "relation mode" of each lock that the session holds on one.
my $OURS = q(relation IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') AND relnamespace = 'public'::regnamespace));
sub held {
	my ($session) = @_;
	return map { ($_ => 1) } split /\n/, $server->ask(
		"SELECT relation || ' ' || mode FROM pg_locks WHERE pid = $session->{pid} AND granted AND locktype = 'relation'");
}

# What partitions are for is told by their parents, which the server locks when it looks there the first time
# (partcache.c): an AccessShareLock that no plan names.
sub without_hidden {
	my (@lines) = @_;
	my $parents = join '|', split /\n/, $server->ask("SELECT oid FROM pg_class WHERE relkind = 'p'");
	return join "\n", grep { !/^($parents) AccessShareLock / } @lines;
}

# The rank of a mode, as the server orders them.
my @NAMES = qw(AccessShareLock RowShareLock RowExclusiveLock ShareUpdateExclusiveLock ShareLock ShareRowExclusiveLock ExclusiveLock AccessExclusiveLock);
my %RANK  = map { ($NAMES[$_] => $_) } 0 .. $#NAMES;

sub told {
	my ($session) = @_;
	return $server->ask("SELECT relation || ' ' || mode || ' ' || query FROM unblock.transaction_statements($session->{pid})
		WHERE mode IS NOT NULL AND relation = ANY (ARRAY[${\ join ',', known_relations($session), 0 }]::oid[]) ORDER BY statement, relation");
}
# Those of this session's transaction too, which nobody else can see yet: by its own look.
my %kinds;
sub known_relations {
	my ($session) = @_;
	return sort keys %kinds;
}

my $number = 0;
my ($statements, $failed, $locks) = (0, 0, 0);
for my $transaction (1 .. $TRANSACTIONS) {
	my $session = $server->session;
	$session->query($_)
	  for 'PREPARE e0(int) AS SELECT count(*) FROM a, c WHERE a.id = $1', 'PREPARE e1(int) AS INSERT INTO old VALUES ($1)',
	  'PREPARE e2(int) AS SELECT * FROM parts WHERE k = $1', 'BEGIN';
	my %held;
	my @expected;    # [relation mode text], in order
	my @savepoints;  # [%held, @expected] at each
	my $done = '';
	my $ok   = 1;
	for (1 .. 4 + int rand 12) {
		my $dice = rand;
		my $text;
		if ($dice < 0.12) {
			$text = "SAVEPOINT s${\ scalar @savepoints}";
			$session->query($text);
			push @savepoints, [ {%held}, [@expected] ];
		} elsif ($dice < 0.2 && @savepoints) {
			my $which = int rand @savepoints;
			$text = "ROLLBACK TO s$which";
			$session->query($text);
			%held     = %{ $savepoints[$which][0] };
			@expected = @{ $savepoints[$which][1] };
			$#savepoints = $which;
		} elsif ($dice < 0.28 && @savepoints) {
			my $which = int rand @savepoints;
			$text = "RELEASE s$which";
			$session->query($text);
			$#savepoints = $which - 1;
		} else {
			++$number;
			++$statements;
			$text = one_of(@KINDS)->() =~ s/%n/$number/gr;
			my ($output, $errors) = $session->try($text);
			my @failed = grep { !/^(LOCATION|NOTICE|DETAIL|HINT|WARNING)/ } split /\n/, $errors =~ s/^(?:NOTICE|WARNING).*\n//gmr;
			if (@failed) {
				++$failed;
				if (!@savepoints) {
					$done .= "$text (failed)\n";
					is(told($session), '', "transaction $transaction: nothing after a failure") or $ok = 0;
					last;
				}
				$text .= ' (failed)';
				$session->query("ROLLBACK TO s$#savepoints");
				%held     = %{ $savepoints[-1][0] };
				@expected = @{ $savepoints[-1][1] };
			} else {
				my %now = held($session);
				$kinds{ (split ' ')[0] } //= 1 for grep { is_ours($session, $_) } keys %now;
				my %added;
				for my $lock (grep { !$held{$_} } keys %now) {
					my ($relation, $mode) = split ' ', $lock;
					next unless is_ours($session, $lock);
					$added{$relation} = $mode if !$added{$relation} || $RANK{$mode} > $RANK{ $added{$relation} };
				}
				push @expected, map { "$_ $added{$_} $text" } sort { $a <=> $b } keys %added;
				$locks += keys %added;
				%held = %now;
			}
		}
		$done .= "$text\n";
	}
	if ($done !~ /\(failed\)\n\z/ || @savepoints) {
		my $told = told($session);
		is(without_hidden(split /\n/, $told), without_hidden(@expected), "transaction $transaction") or $ok = 0;
	}
	diag "seed $SEED:\n$done" unless $ok;
	$session->query('ROLLBACK');
	$session->quit;
}

# By the session's own catalog: it may have made the table itself.
sub is_ours {
	my ($session, $lock) = @_;
	my ($relation) = split ' ', $lock;
	return $session->{ours}{$relation} //= $server->ask(
		"SELECT count(*) FROM pg_class WHERE oid = $relation AND relkind IN ('r', 'p', 'v', 'm') AND relnamespace = 'public'::regnamespace");
}
note "$statements statements, $failed of them failed, $locks locks";
cmp_ok($locks,      '>', $TRANSACTIONS * 3, 'locks enough');
cmp_ok($statements, '>', $failed * 3,       'and not too many failures');

$server->stop;
done_testing();
