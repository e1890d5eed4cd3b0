# A pg_dump behind a slow pipe, with a migration behind it, is left alone as long as the pipe moves: its dump is
# complete. One whose pipe has stopped is ended.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use IPC::Open3 qw(open3);
use Symbol qw(gensym);
use Test::More;
use Time::HiRes qw(time usleep);

my $LIMIT = 2;
my $ROWS  = 8_000;
my $RATE  = 1_000_000; # bytes a second: in the time of the limit much more than what fits into socket and pipe

my $server = PgUnblock->preloaded('main', 'autovacuum = off',
	"pg_unblock.idle_in_transaction_limit = '${LIMIT}s'",
	"pg_unblock.idle_blocker_limit = '${LIMIT}s'",
	"pg_unblock.idle_write_transaction_limit = '100ms'",    # has it looked at often: stalls must not add up
	'pg_unblock.max_actions_per_minute = 0');
for my $table (qw(read_slowly read_no_more waited_for)) {
	$server->ask("CREATE TABLE $table (id int, filler text)");
	$server->ask("INSERT INTO $table SELECT i, repeat('x', 1000) FROM generate_series(1, $ROWS) i");
}

# A pg_dump of one table, whose session sends it by now though nobody has read anything yet.
sub begin_dump {
	my ($table, @without) = @_;
	my $options = join ' ', map { "-c pg_unblock.$_=0" } @without;
	my $errors  = gensym;
	my $pg_dump = open3(my $in, my $output, $errors,
		$server->installed_command('pg_dump'), '--format=plain', "--table=$table",
		'-d', $server->connstr('postgres') . " application_name='$table' options='$options'");
	close $in;
	my $session = "FROM pg_stat_activity WHERE application_name = '$table'";
	$server->wait_until("EXISTS (SELECT $session AND wait_event = 'ClientWrite')");
	my $pid = $server->ask("SELECT pid $session");
	return { pg_dump => $pg_dump, output => $output, errors => $errors, text => '', pid => $pid, since => time };
}

# False at its end.
sub read_piece {
	my ($dump) = @_;
	$dump->{since} = time;
	return sysread $dump->{output}, $dump->{text}, 10_000, length $dump->{text};
}

# Reads what is left: whether all of it came, and what pg_dump says.
sub read_rest {
	my ($dump) = @_;
	while (read_piece($dump)) { }
	my $errors = join '', readline $dump->{errors};
	waitpid $dump->{pg_dump}, 0;
	my $rows     = () = $dump->{text} =~ /^\d+\tx{1000}$/mg;
	my $complete = $? == 0 && $rows == $ROWS && $dump->{text} =~ /^-- PostgreSQL database dump complete$/m;
	return ($complete ? 'complete' : "$rows rows", $errors);
}

my $position = $server->log_position;
my $slow     = begin_dump('read_slowly');
my $waiter   = $server->waiting_session('ALTER TABLE read_slowly ADD COLUMN a int');
my $start    = time;
for (my $more = 1; $more;) {
	$more = read_piece($slow) while $more && length $slow->{text} < $RATE * (time - $start);
	usleep(10_000);
}
cmp_ok(time - $start, '>', 3 * $LIMIT, 'a dump that takes longer than the limits');
is_deeply([ read_rest($slow) ], [ 'complete', '' ], 'is complete');
is(scalar $server->actions($position), 0, 'nobody was ended');
is(($waiter->end_statement)[1], '', 'the migration had only to wait');

my %table_of = (idle_in_transaction_limit => 'read_no_more', idle_blocker_limit => 'waited_for');
for my $rule (sort { $b cmp $a } keys %table_of) {
	my $table   = $table_of{$rule};
	my $stopped = begin_dump($table, grep { $_ ne $rule } keys %table_of);
	read_piece($stopped) while length $stopped->{text} < 500_000;
	my $since = $stopped->{since};
	if ($rule eq 'idle_blocker_limit') {
		$waiter = $server->waiting_session("ALTER TABLE $table ADD COLUMN a int");
		$since  = $waiter->{since};
	}
	my $action = $server->wait_for_action($stopped, $position);
	is("$action->{rule} $action->{state}", "$rule active", "$rule: a dump whose pipe has stopped is ended");
	cmp_ok($action->{at} + 0.001, '>=', $since + $LIMIT, "$rule: not before the limit");
	$server->wait_until_gone($stopped);
	my ($outcome, $errors) = read_rest($stopped);
	like($outcome, qr/rows/, "$rule: it is not complete");
	like($errors, qr/^pg_dump: error: .*"$table"/m, "$rule: and says so");
}
is(($waiter->end_statement)[1], '', 'the migration goes on');

$server->stop;
done_testing();
