# Several databases at once: a report shows them all, names what it can be sure of, and gives OIDs for the rest.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h');
my @databases = ('shop', 'Library', 'one "quoted" db');
my (%oid, %blocker, %waiter, %later);

sub quoted {
	my ($name) = @_;
	return '"' . $name =~ s/"/""/gr . '"';
}

# Each has a table of its own, under an OID that other databases do not know.
for my $name (@databases) {
	$server->ask('CREATE DATABASE ' . quoted($name));
	my $session = $server->session(dbname => $name);
	$oid{$name} = $session->query(
		"CREATE TABLE t$_ (); SELECT 't$_'::regclass::oid") for 1 .. 1 + keys %oid;
	my $table = 't' . keys %oid;
	$blocker{$name} = $server->idle_session("SELECT * FROM $table", dbname => $name);
	$waiter{$name}  = $server->waiting_session("ALTER TABLE $table ADD a int", dbname => $name);
	$later{$name}   = $server->waiting_session("SELECT * FROM $table", dbname => $name);
}

# A chain across databases, through an object that all share.
my $roles  = $server->idle_session("ALTER ROLE postgres SET work_mem = '1MB'", dbname => 'shop');
my $rename = $server->waiting_session('COMMENT ON ROLE postgres IS NULL', dbname => 'Library');

is($server->disagreements, '', 'as pg_locks and pg_blocking_pids() tell it');
is($server->ask('SELECT count(*) FROM unblock.root_blockers'), 4, 'all roots');
