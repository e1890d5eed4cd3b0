# Where several limits are broken at once, idle sessions go first, then statements
# in a queue, then those at work, and each of them only if that has not helped;
# dry run tells no more than would have been done.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $LIMIT  = 0.3;
my $server = PgUnblock->preloaded('main', 'pg_unblock.max_actions_per_minute = 0');
my $NOW    = 'SELECT extract(epoch FROM clock_timestamp())';

# Sessions that hold a table, migrations that wait for these, readers that wait behind the migrations, all of them
# for longer than the limit.
my $tables = 0;
sub jam {
	my (@kinds) = @_;
	my $table = 't' . ++$tables;
	$server->ask("CREATE TABLE $table (id int); INSERT INTO $table VALUES (1)");
	my %session    = (idle => sub { $server->idle_session(@_) }, busy => sub { $server->busy_session(@_) });
	my @holders    = map { $session{$_}->("SELECT FROM $table") } @kinds;
	my @migrations = map { $server->waiting_session("ALTER TABLE $table ADD COLUMN c$_ int") } 1 .. 3;
	my @readers    = map { $server->waiting_session("SELECT id FROM $table") } 1 .. 3;
	$server->wait_until("clock_timestamp() > to_timestamp($readers[2]{since} + $LIMIT)");
	my $position = $server->log_position;
	return (\@holders, \@migrations, \@readers, $position);
}

my @LIMITS = qw(idle_blocker_limit queued_blocker_limit active_blocker_limit);

sub set_limits {
	my (@limits) = @_;
	$server->set_in_file(map { ("pg_unblock.$_" => "${LIMIT}s") } @limits);
	return;
}

sub reset_limits {
	$server->set_in_file(map { ("pg_unblock.$_" => undef) } @LIMITS);
	$server->wait_for_turn;
	return;
}

# "action pid", in the order of the log.
sub done_since {
	my ($position) = @_;
	return join ', ', map { "$_->{action} $_->{pid}" } $server->actions($position);
}

sub go_on {
	my ($what, @sessions) = @_;
	is(join('', map { ($_->end_statement)[1] } @sessions), '', $what);
	return;
}

sub are_canceled {
	my ($what, @sessions) = @_;
	my @states = map { ($_->end_statement)[1] =~ /^ERROR:  (\w+)/ ? $1 : 'none' } @sessions;
	is("@states", join(' ', map { '55P03' } @sessions), $what);
	return;
}

# --- The incident: when the idle session is gone, everybody else goes on.
my ($holders, $migrations, $readers, $position) = jam('idle');
set_limits(qw(idle_blocker_limit queued_blocker_limit));
go_on('an idle holder: the migrations get through', @$migrations);
go_on('and the readers', @$readers);
$server->wait_until_gone(@$holders);
$server->wait_for_turn;
is(done_since($position), "terminate $holders->[0]{pid}", 'nobody else was touched');
reset_limits(@LIMITS);

# --- A session at work: nobody has to wait for it any more when the migrations are canceled.
($holders, $migrations, $readers, $position) = jam('busy');
set_limits(@LIMITS);
are_canceled('a holder at work: the migrations are canceled', @$migrations);
go_on('the readers go on', @$readers);
$server->wait_for_turn;
is(done_since($position), join(', ', map { "cancel $_->{pid}" } @$migrations), 'nobody else was touched');
ok($server->is_present($holders->[0]), 'the session at work goes on');
reset_limits(@LIMITS);

# --- Both of them: first one, then the others.
($holders, $migrations, $readers, $position) = jam('idle', 'busy');
set_limits(@LIMITS);
are_canceled('two holders: the migrations are canceled', @$migrations);
go_on('the readers go on', @$readers);
$server->wait_until_gone($holders->[0]);
$server->wait_for_turn;
is(done_since($position), join(', ', "terminate $holders->[0]{pid}", map { "cancel $_->{pid}" } @$migrations),
	'when the idle one was ended');
reset_limits(@LIMITS);

# --- An idle one that does not go holds up the others for a second.
($holders, $migrations, $readers, $position) = jam('idle');
my $stopped = $holders->[0]{pid};
kill 'STOP', $stopped;
END { kill 'CONT', $stopped if $stopped }
my $since = $server->ask($NOW);
set_limits(@LIMITS);
are_canceled('a holder that does not go: the migrations are canceled', @$migrations);
go_on('the readers go on', @$readers);
is(done_since($position), join(', ', "terminate $stopped", map { "cancel $_->{pid}" } @$migrations),
	'after the holder was told to end');
cmp_ok($server->wait_for_action($migrations->[0], $position)->{at} + 0.001, '>=', $since + 1, 'not before a second is over');
kill 'CONT', $stopped;
$server->wait_until_gone($holders->[0]);
reset_limits(@LIMITS);

# --- In dry run all go on waiting, and only those are told of who would have been touched.
$server->set_in_file('pg_unblock.mode' => 'dry_run');
for (
	[ 'idle', sub { "would_terminate $_[0]{pid}" } ],
	[ 'busy', sub { join ', ', map { "would_cancel $_->{pid}" } @_[ 1 .. 3 ] } ])
{
	my ($kind, $expected) = @$_;
	($holders, $migrations, $readers, $position) = jam($kind);
	set_limits(@LIMITS);
	$server->wait_for_action($kind eq 'idle' ? $holders->[0] : $migrations->[2], $position);
	$server->wait_for_turn for 1 .. 3;
	is(done_since($position), $expected->($holders->[0], @$migrations), "dry run, $kind holder: who is told of");
	is($server->ask('SELECT count(*) FROM unblock.lock_waits'), 6, 'everybody waits');
	reset_limits(@LIMITS);
	$server->ask("SELECT pg_terminate_backend($holders->[0]{pid})");
	go_on('until the holder is gone', @$migrations, @$readers);
}

$server->stop;
done_testing();
