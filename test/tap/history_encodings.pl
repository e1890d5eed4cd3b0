# Statements in several encodings, cut in the middle of a character or not: what gets into the table is text there.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use Encode ();
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', "pg_unblock.report_after = '100ms'");
# All texts are bytes here.
my %letters = (
	utf8  => "\xe3\x81\x82\xc3\xa9",    # hiragana a, e acute
	latin => "\xe9\xdf",
	eucjp => "\xa4\xa2\x8f\xb0\xa1",    # hiragana a; a character of three bytes
);
my %encodings = (utf8 => 'UTF8', latin => 'LATIN1', eucjp => 'EUC_JP');
for my $name (sort keys %encodings) {
	$server->ask("CREATE DATABASE $name TEMPLATE template0 ENCODING '$encodings{$name}'");
	my $session = $server->session(dbname => $name);
	$session->query($_) for 'CREATE EXTENSION pg_unblock', 'CREATE TABLE t ()';
}
# Its name is in the encoding of the database that it was made in.
my $latin = $server->session(dbname => 'latin');
$latin->query("SET client_encoding = LATIN1; CREATE ROLE \"ren\xe9\" LOGIN SUPERUSER");

# Episodes whose statements end at each byte of a character, and manual ends.
sub incidents_everywhere {
	my $count = 0;
	for my $name (sort keys %letters) {
		for my $shift (0 .. 4) {
			my $text   = ('x' x $shift) . ($letters{$name} x 600);
			my $utf8   = "SET client_encoding = '$encodings{$name}'; SET application_name = '$letters{$name}'";
			my $holder = $server->session(dbname => $name);
			$holder->query($_) for $utf8, 'BEGIN', "LOCK TABLE t /* $text */";
			my $waiter = $server->session(dbname => $name);
			$waiter->query($utf8);
			$waiter->begin_statement("SELECT FROM t /* $text */");
			$server->wait_until("EXISTS (SELECT FROM unblock.incidents_in_memory()
				WHERE kind = 'episode' AND pid = $holder->{pid} AND waiters IS NOT NULL)");
			my ($output, $errors) = $server->{observer}->try("SELECT outcome FROM unblock.terminate($holder->{pid})");
			is("$output$errors", 'terminated', "$name, $shift") if $output ne 'terminated';
			$waiter->end_statement;
			$count += 2;
		}
	}
	my $rene = $server->session(dbname => 'latin', user => "ren\xe9");
	$rene->query("SELECT unblock.pause('1 ms')");
	return $count + 1;
}

for my $name (sort keys %encodings) {
	$server->append_conf('postgresql.conf', "pg_unblock.history_database = $name");
	$server->forget_observer;
	$server->restart;
	my $position = $server->log_position;
	my $count    = incidents_everywhere();
	$server->wait_until_saved;
	my $history = $server->session(dbname => $name);
	# As it stands in the database: the server converts nothing.
	$history->query("SET client_encoding = '$encodings{$name}'");
	is($history->query('SELECT count(*) FROM unblock.incident'), $count, "in $name: all are saved");
	my $rows = $history->query('SELECT i::text FROM unblock.incident i');
	my $perl = $name eq 'eucjp' ? 'euc-jp' : $encodings{$name};
	ok(eval { Encode::decode($perl, $rows, Encode::FB_CROAK | Encode::LEAVE_SRC); 1 }, "in $name: it is text");
	is($history->query("SELECT count(*) FROM unblock.incident WHERE datname = '$name'
			AND kind = 'episode' AND query ~ '^LOCK TABLE t /\\* x*$letters{$name}$letters{$name}'"),
		5, "in $name: what is of its encoding is as it was");
	my $others = $history->query("SELECT count(*) FROM unblock.incident WHERE datname <> '$name'
		AND kind = 'episode' AND query ~ '^LOCK TABLE t /\\* x*'");
	is($others, 10, "in $name: what is not is there, too");
	unlike($server->log_since($position), qr/ERROR|not saved/, "in $name: no complaint");
}

$server->stop;
done_testing();
