# The table cannot be written: there is none, nobody may write, there is no place for a recorder, the disk is full.
# It is tried again less and less often, with a line in the log each time; what is still in the ring arrives when the
# obstacle has gone.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(time);

# Small segments of WAL: see the full disk.
my $server = PgUnblock->prepared('main', { extra => [ '--encoding=UTF8', '--no-locale', '--wal-segsize=1' ] },
	'pg_unblock.history_database = history', 'max_worker_processes = 3', 'autovacuum = off', 'min_wal_size = 4MB');
$server->start;
$server->ask($_) for 'CREATE EXTENSION pg_unblock', 'CREATE DATABASE history';
# Lines of the recorder, and of the server about it.
my $of_recorder = qr/the history is not saved|ERROR|FATAL|pg_unblock recorder/;
# Incidents that went with a table that was dropped.
my %dropped;

sub in_history {
	my (@statements) = @_;
	my $session = $server->session(dbname => 'history');
	my $result  = join "\n", map { $session->query($_) } @statements;
	$session->quit;
	$server->wait_until_gone($session);
	return $result;
}

# $per_step: so many lines are written each time.
sub is_overcome {
	my ($what, $obstruct, $complaint, $per_step, $clear, %params) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	%dropped = $server->incidents_in_log(0) if $params{drops};
	my $position = $server->log_position;
	my $start    = time;
	$obstruct->();
	$server->ask(PgUnblock::pauses(50));
	my $lines = sub { grep { /$of_recorder/ } split /\n/, $server->log_since($position) };
	PgUnblock::wait_for("$what: twice", sub { (grep { /$complaint/ } $lines->()) >= 2 });
	$server->ask(PgUnblock::pauses(1));
	# At 0, 1, 3, 7 … seconds.
	my $steps = 1 + int(log(time - $start + 1) / log 2);
	cmp_ok(scalar $lines->(), '<=', $per_step * $steps, "$what: lines in the log");
	$clear->();
	$server->wait_until_saved;
	my $ids = join "\n", sort grep { !exists $dropped{$_} } keys %{ { $server->incidents_in_log(0) } };
	is(in_history('SELECT id FROM unblock.incident ORDER BY id COLLATE "C"'), $ids, "$what: all arrives, once");
	is($server->stat('incidents_lost'), 0, "$what: nothing is lost");
	# And as soon as ever.
	$start = time;
	$server->ask(PgUnblock::pauses(1));
	$server->wait_until_saved;
	cmp_ok(time - $start, '<', 5, "$what: forgotten");
	return;
}

# --- no extension
is_overcome('no extension',
	sub { },
	qr/LOG:  pg_unblock: the history is not saved: database "history" does not have the extension/, 1,
	sub { in_history('CREATE EXTENSION pg_unblock') });
is_overcome('the extension is dropped',
	sub { in_history('DROP EXTENSION pg_unblock') },
	qr/the history is not saved: database "history" does not have the extension/, 1,
	sub { in_history('CREATE EXTENSION pg_unblock') },
	drops => 1);

# … while the recorder waits for the table
my $dropper;
is_overcome('the extension is dropped under way',
	sub {
		$dropper = $server->session(dbname => 'history');
		$dropper->query($_) for 'BEGIN', 'LOCK TABLE unblock.incident';
		$server->ask(PgUnblock::pauses(1));
		$server->wait_for_recorder;
		$dropper->query($_) for 'DROP EXTENSION pg_unblock', 'COMMIT';
	},
	qr/the history is not saved: (relation "unblock.incident" does not exist|database "history" does not have the extension)/,
	1,
	sub { $dropper->query('CREATE EXTENSION pg_unblock'); $dropper->quit; },
	drops => 1);

# A new one, at once: what the old one had went with it, as far as tables go.
%dropped = $server->incidents_in_log(0);
in_history('DROP EXTENSION pg_unblock', 'CREATE EXTENSION pg_unblock');
$server->ask(PgUnblock::pauses(1));
$server->wait_until_saved;
is(in_history('SELECT count(*) FROM unblock.incident'), 1, 'a new table gets what is new');
is(in_history('SELECT count(*) FROM unblock.history'), scalar keys %{ { $server->incidents_in_log(0) } },
	'what is in memory is there still');

# --- somebody else's table
is_overcome('a table of that name',
	sub { in_history('DROP EXTENSION pg_unblock', 'CREATE SCHEMA unblock', 'CREATE TABLE unblock.incident (id text)') },
	qr/the history is not saved: database "history" does not have the extension/, 1,
	sub { in_history('DROP TABLE unblock.incident', 'DROP SCHEMA unblock', 'CREATE EXTENSION pg_unblock') },
	drops => 1);

# --- the extension's table, but not a superuser's any more
$server->ask('CREATE ROLE keeper');
for my $object ('TABLE unblock.incident', 'SCHEMA unblock') {
	is_overcome("a foreign $object",
		sub { in_history("ALTER $object OWNER TO keeper") },
		qr/the history is not saved: table unblock.incident or its schema does not belong to a superuser/, 1,
		sub { in_history("ALTER $object OWNER TO CURRENT_USER") });
}

# --- no database: the server tells of it in lines of its own
is_overcome('no database',
	sub { $server->ask('DROP DATABASE history') },
	qr/FATAL:  database "history" does not exist/, 2,
	sub { $server->ask('CREATE DATABASE history'); in_history('CREATE EXTENSION pg_unblock'); },
	drops => 1);

# --- nothing may be written
is_overcome('read-only',
	sub { $server->set_in_file('default_transaction_read_only' => 'on') },
	qr/LOG:  pg_unblock: the history is not saved: cannot execute \w+ in a read-only transaction/, 1,
	sub { $server->set_in_file('default_transaction_read_only' => undef) });

# --- no place for a worker: one is the enforcer's, one the logical replication launcher's, the third in use
my $parallel = $server->session(
	options => '-c ' . ($server->major < 16 ? 'force_parallel_mode' : 'debug_parallel_query') . '=on');
is_overcome('no slot',
	sub {
		$parallel->begin_statement('SELECT pg_sleep(3600)');
		$server->wait_until("EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'parallel worker')");
	},
	qr/the history is not saved: there is no free slot for a worker/, 1,
	sub { $server->ask("SELECT pg_cancel_backend($parallel->{pid})"); $parallel->end_statement; });

# --- a full disk: files of new processes may not grow any more, which is the same failure to the server
SKIP: {
	my $limit = sub { system('prlimit', '--pid', $server->{_pid}, "--fsize=$_[0]") == 0 };
	skip 'no prlimit', 4 unless $limit->('unlimited');
	in_history(
		q(INSERT INTO unblock.incident (id, at, kind, query, revision)
			SELECT 'filler ' || n, now(), 'pause', repeat('x', 100), 0 FROM generate_series(1, 20000) n),
		'CHECKPOINT');
	my $blocks = q(SELECT pg_relation_size('unblock.incident') > 2 * 1024 * 1024);
	is(in_history($blocks), 't', 'a table that has no place left within 2 MB');
	is_overcome('a full disk',
		sub { $limit->(2 * 1024 * 1024 . ':unlimited') },
		qr/LOG:  pg_unblock: the history is not saved: could not extend file .*: File too large/, 1,
		sub { $limit->('unlimited'); in_history(q(DELETE FROM unblock.incident WHERE id LIKE 'filler %')); });
}

$server->stop;
done_testing();
