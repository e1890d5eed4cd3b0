# Transactions that are prepared and rolled back at full speed while reports look at prepared transactions: their
# entries are taken and given back all the time, and no report may follow one that is on its way.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $SECONDS = 5;
my $server  = PgUnblock->preloaded('main', 'autovacuum = off', 'max_prepared_transactions = 10');
$server->ask('CREATE TABLE t (id int); CREATE TABLE hot (id int)');

# A root that stays.
$server->ask($_) for 'BEGIN', 'LOCK TABLE hot', "PREPARE TRANSACTION 'root'";
my $waiter = $server->waiting_session('SELECT * FROM hot');

my $position = $server->log_position;
my $churn = $server->begin_pgbench([ '-c', 4, '-T', $SECONDS ], churn => <<'SQL');
BEGIN \; INSERT INTO t VALUES (:client_id) \; PREPARE TRANSACTION 'churn :client_id';
ROLLBACK PREPARED 'churn :client_id';
SQL
# An entry is in no good state for a fraction of a microsecond: many calls are needed to see that.
my $reports = $server->begin_pgbench([ '-c', 3, '-T', $SECONDS ],
	locks_held    => 'SELECT count(*) FROM generate_series(1, 500) i, LATERAL unblock.locks_held(i * 0);',
	root_blockers => 'SELECT gid, usename, remedy FROM unblock.root_blockers;',
	horizon       => 'SELECT * FROM unblock.horizon;');

for ([ 'prepared transactions', $churn ], [ 'reports', $reports ]) {
	my ($name, $pgbench) = @$_;
	ok($pgbench->{run}->finish, "$name: no error") or diag ${ $pgbench->{output} };
	my ($done) = ${ $pgbench->{output} } =~ /transactions actually processed: (\d+)/;
	cmp_ok($done // 0, '>', 20, "$name: many");
}
unlike($server->log_since($position), qr/terminated by signal|PANIC|TRAP/, 'the server has lived through it');
is($server->ask('SELECT gid, blocked_total FROM unblock.root_blockers'), 'root|1', 'the root is still told of');
is($server->ask("SELECT DISTINCT lock FROM unblock.locks_held(0) WHERE locktype = 'relation'"),
	'relation public.hot', 'and its lock alone is left');

$server->ask("ROLLBACK PREPARED 'root'");
is(($waiter->end_statement)[1], '', 'and was what there was to wait for');
$server->stop;
done_testing();
