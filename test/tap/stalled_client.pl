# A client that stopped reading or sending in the middle of COPY counts as one
# that is waited for, by every limit on such; one that is slow but goes on does not.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(time usleep);

my $LIMIT  = 2;
my $server = PgUnblock->preloaded('main', "pg_unblock.idle_in_transaction_limit = '${LIMIT}s'",
	'pg_unblock.max_actions_per_minute = 0');
$server->ask('CREATE TABLE t (line text)');
my $position = $server->log_position;

my $HUGE        = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT";
my $HUGE_WITH_T = $HUGE =~ s/FROM/FROM (SELECT count(*) FROM t) t,/r;

# --- a client that speaks just enough of the protocol to be in command of every byte

sub connect_raw {
	my $socket = IO::Socket::UNIX->new(Peer => $server->host . '/.s.PGSQL.' . $server->port) or die $!;
	my $startup = pack 'N (Z*)4 x', 196608, 'user', scalar getpwuid $<, 'database', 'postgres';
	$socket->syswrite(pack('N', 4 + length $startup) . $startup);
	my $client = { socket => $socket };
	while ((my ($type, $body) = read_message($client))[0] ne 'Z') {
		$client->{pid} = unpack 'N', $body if $type eq 'K';
	}
	return $client;
}

sub read_message {
	my ($client) = @_;
	my ($type, $length) = unpack 'a N', read_bytes($client, 5);
	return ($type, read_bytes($client, $length - 4));
}

sub read_bytes {
	my ($client, $wanted) = @_;
	my $bytes = '';
	while (length $bytes < $wanted) {
		sysread $client->{socket}, $bytes, $wanted - length $bytes, length $bytes or die 'connection lost';
	}
	return $bytes;
}

sub send_message {
	my ($client, $type, $body) = @_;
	$client->{since} = time;
	$client->{socket}->syswrite(pack 'a N a*', $type, 4 + length $body, $body) or die 'connection lost';
	return;
}

# --- four of them, the slow ones first

my ($slow_reader, $slow_sender, $stalled_reader, $stalled_sender) = map { connect_raw() } 1 .. 4;
send_message($slow_reader, 'Q', "$HUGE\0");
send_message($slow_sender, 'Q', "COPY t FROM STDIN\0");

# The server's end of the socket counts as free only when three quarters of it are.
sub go_on {
	read_bytes($slow_reader, 200_000);
	send_message($slow_sender, 'd', "line\n");
	usleep(50_000);
	return;
}
go_on();
send_message($stalled_reader, 'Q', "$HUGE\0");
send_message($stalled_sender, 'Q', "COPY t FROM STDIN\0");
go_on() while $server->is_present($stalled_reader) || $server->is_present($stalled_sender);

for ([ $stalled_reader, 'a client that does not read' ], [ $stalled_sender, 'a client that does not send' ]) {
	my ($client, $what) = @$_;
	my $action = $server->wait_for_action($client, $position);
	is("$action->{rule} $action->{state}", 'idle_in_transaction_limit active', "$what is ended");
	cmp_ok($action->{at} + 0.001, '>=', $client->{since} + $LIMIT, 'not before the limit');
}

# As long again, and the slow ones have had twice the time.
my $next = connect_raw();
send_message($next, 'Q', "$HUGE\0");
go_on() while $server->is_present($next);
is($server->actions_on($slow_reader, $position) + 0, 0, 'a client that reads slowly is left alone');
is($server->actions_on($slow_sender, $position) + 0, 0, 'so is one that sends slowly');
ok($server->is_present($_), 'it is still there') for $slow_reader, $slow_sender;

# --- other limits: on transactions that have written, and of those whom it keeps from going on
close $_->{socket} for $slow_reader, $slow_sender;
my ($reader, $sender, $writer) = map { connect_raw() } 1 .. 3;
$server->set_in_file(
	'pg_unblock.idle_in_transaction_limit'    => 0,
	'pg_unblock.idle_write_transaction_limit' => "${LIMIT}s");
send_message($reader, 'Q', "$HUGE_WITH_T\0");
send_message($sender, 'Q', "COPY t FROM STDIN\0");
send_message($writer, 'Q', "INSERT INTO t VALUES ('line'); COPY t FROM STDIN\0");
my $action = $server->wait_for_action($writer, $position);
is("$action->{rule} $action->{state}", 'idle_write_transaction_limit active', 'one that has written is ended');
cmp_ok($action->{at} + 0.001, '>=', $writer->{since} + $LIMIT, 'not before the limit');
$server->wait_for_turn;
ok($server->is_present($_), 'one that has not written is left alone') for $reader, $sender;

my $migration = $server->waiting_session('ALTER TABLE t ADD COLUMN id int',
	options => "-c pg_unblock.preempt_idle_blockers_after=${LIMIT}s");
for ($reader, $sender) {
	$action = $server->wait_for_action($_, $position);
	is("$action->{rule} $action->{state} $action->{for}",
		"preempt_idle_blockers_after active $migration->{pid}", 'but makes way for a migration');
	cmp_ok($action->{at} + 0.001, '>=', $migration->{since} + $LIMIT, 'not before the limit');
}
is(($migration->end_statement)[1], '', 'which goes on');

# --- psql itself, stopped
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => "${LIMIT}s");
my $psql = $server->session;
$psql->begin_statement($HUGE);
$server->wait_until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $psql->{pid} AND query NOT LIKE 'COPY%')");
kill 'STOP', $psql->{psql};
is($server->wait_for_action($psql, $position)->{rule}, 'idle_in_transaction_limit', 'a stopped psql');
$server->wait_until_gone($psql);
pass('its session ends though it reads nothing');
kill 'CONT', $psql->{psql};

$server->stop;
done_testing();
