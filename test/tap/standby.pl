# On a standby: the enforcer runs there, ends idle transactions there, and
# frees the replay of WAL from a session that holds it up. Nobody who is no
# client is touched, on either server.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $primary = PgUnblock->prepared(
	'primary', { allows_streaming => 1 },
	'autovacuum_naptime = 1s',  'autovacuum_vacuum_cost_delay = 100ms',
	'autovacuum_vacuum_cost_limit = 1', 'max_standby_streaming_delay = -1');
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION pg_unblock; CREATE TABLE t (id int); INSERT INTO t VALUES (1)');
$primary->backup('base');
my $standby = PgUnblock->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
