# A session has filled the lock table: the reports that name it need no room in there.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h',
	'max_locks_per_transaction = 10', 'max_connections = 20');
$server->ask('CREATE TABLE t ()');

my @reports = map { "SELECT count(*) > 0 FROM unblock.$_" }
	qw(lock_waits blocking_edges blocking_chains root_blockers idle_transactions horizon tree() graph() check());
my $reader = $server->session;
my $greedy = $server->session;
my $find   = "SELECT pid, locks_held > 200 FROM unblock.root_blockers";
my $count  = "SELECT count(*) > 200 FROM unblock.locks_held($greedy->{pid})";
$reader->query($_) for @reports, $find, $count; # names are looked up for the first time

$greedy->query('BEGIN; LOCK t; SAVEPOINT before');
my $waiter = $server->waiting_session('SELECT FROM t');
like(($greedy->try('SELECT pg_advisory_lock(i) FROM generate_series(1, 1000000) i'))[1], qr/53200/, 'no room is left');
$greedy->query('ROLLBACK TO before');

is($reader->query($_), 't', $_) for @reports;
is($reader->query($find), "$greedy->{pid}|t", 'who it is');
is($reader->query($count), 't', 'its locks');

$server->stop;
done_testing();
