# Databases of several encodings: a gid has the bytes of the database it was given in, and nothing says so. Where
# they are no text, reports go on without them, and no remedy names a transaction that does not exist. And what
# tree() draws with.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use Encode ();
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h', 'max_prepared_transactions = 4');
$server->ask($_) for 'CREATE ROLE clerk', 'CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1';

# All texts are bytes here.
my $e_acute = "\xc3\xa9";
my $gid     = "caf$e_acute";

sub client {
	my ($dbname, $encoding) = @_;
	my $session = $server->session(dbname => $dbname);
	$session->query("SET client_encoding = $encoding");
	return $session;
}

# In the way in all databases: an open transaction of a catalog that they share.
my $latin = client('latin', 'UTF8');
$latin->query('CREATE EXTENSION pg_unblock');
$latin->query($_) for 'BEGIN', "COMMENT ON ROLE clerk IS 'to be blocked by'", "PREPARE TRANSACTION '$gid'";
is($latin->query('SELECT gid FROM pg_prepared_xacts'), $gid, 'its own database knows it');
my @waiters;
for my $dbname (qw(latin postgres)) {
	my $waiter = client($dbname, 'UTF8');
	$waiter->begin_statement(
		PgUnblock::in_one_go('BEGIN', "LOCK TABLE pg_shdescription IN SHARE MODE /* $e_acute */", 'COMMIT'));
	$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $waiter->{pid} AND NOT granted)");
	push @waiters, $waiter;
}

my $prepared_finding = q(SELECT remedy FROM unblock.check() WHERE finding ~ 'prepared transaction' AND finding ~ 'blocks');
my $clear_path       = q(SELECT detail FROM unblock.clear_path('pg_shdescription', 'SHARE', dry_run => true));
my @reports = (
	(map { "SELECT * FROM unblock.$_" } qw(lock_waits blocking_chains blocking_edges root_blockers idle_transactions
		horizon tree() graph('dot') graph('mermaid') check() locks_held(0))),
	$clear_path);

# --- where it belongs
is($latin->query('SELECT gid FROM unblock.root_blockers'), $gid, 'its own database: the gid');
my $remedy = "ROLLBACK PREPARED '$gid'; -- in database latin";
is($latin->query('SELECT remedy FROM unblock.root_blockers'), $remedy, 'its own database: the remedy');
is($latin->query($prepared_finding), $remedy, q(its own database: check()'s));
like($latin->query($clear_path), qr/ROLLBACK PREPARED '$gid'; in database latin/, 'its own database: clear_path()');

# --- everywhere
for my $dbname (qw(latin postgres)) {
	for my $encoding (qw(UTF8 LATIN1)) {
		my $client = client($dbname, $encoding);
		for my $report (@reports) {
			my ($rows, $errors) = $client->try($report);
			is($errors, '', "$dbname, $encoding: $report");
			ok(eval { Encode::decode($encoding, $rows, Encode::FB_CROAK | Encode::LEAVE_SRC); 1 },
				"$dbname, $encoding: $report is text");
		}
	}
}

# --- where its bytes are no text
for my $encoding (qw(UTF8 LATIN1)) {
	my $client = client('postgres', $encoding);
	for my $view (qw(root_blockers blocking_chains)) {
		like($client->query("SELECT gid FROM unblock.$view WHERE gid IS NOT NULL"), qr/^[ -~]*\?[ -~]*$/,
			"postgres, $encoding: the gid in $view");
	}
	for my $asked ('SELECT remedy FROM unblock.root_blockers', $prepared_finding) {
		like($client->query($asked), qr/^(--[^\n]*)?$/, "postgres, $encoding: nothing to paste from $asked");
	}
	unlike($client->query($clear_path), qr/ROLLBACK PREPARED '/, "postgres, $encoding: nor from clear_path()");
}

is(($latin->try($remedy))[1], '', 'the remedy can be pasted');
is(($_->end_statement)[1], '', 'and nobody waits any more') for @waiters;

# --- tree() draws with boxes where both the client and the database have them
$server->ask('CREATE TABLE queue ()');
my $holder = $server->idle_session('LOCK queue');
push @waiters, map { $server->waiting_session('SELECT FROM queue') } 1 .. 2;
my ($branch, $last_branch) = ("\xe2\x94\x9c\xe2\x94\x80 ", "\xe2\x94\x94\xe2\x94\x80 ");
my $boxes = client('postgres', 'UTF8')->query('SELECT unblock.tree()');
like($boxes, qr/^$branch\d+ .*^$last_branch\d+ /ms, 'boxes');
for ([qw(postgres LATIN1)], [qw(latin UTF8)], [qw(latin LATIN1)]) {
	my ($dbname, $encoding) = @$_;
	my $plain = client($dbname, $encoding)->query('SELECT unblock.tree()');
	like($plain, qr/\A[\x20-\x7e\n]+\z/,            "$dbname, $encoding: nothing but ASCII");
	like($plain, qr/^\|- \d+ .*^`- \d+ /ms, "$dbname, $encoding: the same in ASCII");
}

$server->stop;
done_testing();
