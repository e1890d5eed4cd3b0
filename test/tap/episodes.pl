# Blocking episodes: one record and two log lines for each transaction that keeps others waiting for long, whatever
# becomes of it, with the extension or without.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;
use Time::HiRes qw(time);

my $AFTER  = 1;
my $server = PgUnblock->preloaded('main',
	'autovacuum = off', "pg_unblock.report_after = '${AFTER}s'", 'max_prepared_transactions = 2');
$server->ask('CREATE TABLE t (id int); CREATE TABLE u ()');

# The lines on the episode of a session since then, begin and end.
sub lines_on {
	my ($position, $session) = @_;
	return grep { ($_->{pid} // 0) == $session->{pid} } $server->episodes($position);
}

sub begin_of {
	my ($position, $session) = @_;
	return PgUnblock::wait_for("an episode of $session->{pid}", sub { (lines_on($position, $session))[0] });
}

sub end_of {
	my ($position, $session) = @_;
	my @lines = @{ PgUnblock::wait_for("the end of an episode of $session->{pid}", sub {
		my @found = lines_on($position, $session);
		@found > 1 ? \@found : undef;
	}) };
	is(scalar(@lines), 2, 'one line at its begin, one at its end');
	is($lines[0]{incident}, $lines[1]{incident}, 'of the same incident');
	is("$lines[0]{episode} $lines[1]{episode}", 'begin end', 'in this order');
	return $lines[1];
}

# --- an idle reader before a migration and its queue ---
my $position = $server->log_position;
my $root     = $server->idle_session('SELECT * FROM t');
my $alter    = $server->waiting_session('ALTER TABLE t ADD COLUMN a int');
my $begin    = begin_of($position, $root);
cmp_ok($begin->{at}, '>=', $alter->{since} + $AFTER - 0.001, 'told when it has lasted, not before');
is("$begin->{blocked} $begin->{mode} $begin->{state}", '1 AccessShareLock idle in transaction', 'what it looks like');
my @readers = map { $server->waiting_session('SELECT count(*) FROM t') } 1 .. 3;
my $going = $server->wait_for_incident("kind = 'episode' AND blocked_total = 4");
is($going->{id}, $begin->{incident}, 'one record');
is($going->{outcome} // 'none', 'none', 'that goes on');
is($going->{limit_ms}, 1000 * $AFTER, 'after how long it was told');
like($going->{chain}, qr/^\| root blocker: blocks 4, frees 4$/m, 'with the chain at its peak');
$server->ask("SELECT pg_cancel_backend($_->{pid})") for @readers;
$_->end_statement for @readers;
$server->ask('SELECT pg_sleep(1.5)');
my $ongoing = ($server->incidents("id = '$going->{id}'"))[0];
is($ongoing->{blocked_total}, 4, 'the peak stays when less are blocked');
cmp_ok($ongoing->{measured_ms}, '>', $going->{measured_ms}, 'it lasts longer');
cmp_ok($ongoing->{waiting_ms}, '>', $going->{waiting_ms}, 'and costs more');
cmp_ok($ongoing->{waiting_ms}, '>=', $ongoing->{measured_ms}, 'counting all who wait');
like($server->ask("SELECT unblock.incident('$going->{id}')"), qr/^Outcome  going on$/m, 'as text');
my $end = time;
$root->query('COMMIT');
is(($alter->end_statement)[1], '', 'the migration goes on');
my $end_line = end_of($position, $root);
is("$end_line->{peak} $end_line->{outcome}", '4 ended by itself', 'how it ended');
my $ended = $server->wait_for_incident("id = '$going->{id}' AND outcome IS NOT NULL");
is($ended->{outcome}, 'ended by itself', 'the same in the record');
cmp_ok($ended->{measured_ms}, '<=', 1000 * ($end - $alter->{since}) + 100, 'for no longer than it was');
cmp_ok($ended->{measured_ms}, '>=', 1000 * ($end - $alter->{since}) - 2500, 'nor much shorter');
is($server->ask("SELECT ended_at BETWEEN at AND now() FROM unblock.history WHERE id = '$going->{id}'"), 't', 'when');

# --- its next transaction is another episode ---
$position = $server->log_position;
$root->stay_idle('BEGIN', 'SELECT * FROM t');
my $waiter = $server->waiting_session('ALTER TABLE t ADD COLUMN b int');
my $next   = begin_of($position, $root);
isnt($next->{incident}, $going->{id}, 'the next transaction has a record of its own');
is($server->ask("SELECT outcome FROM unblock.terminate($root->{pid})"), 'terminated', 'somebody ends it');
$waiter->end_statement;
is(end_of($position, $root)->{outcome}, 'terminated', 'and it says so');

# --- ended by a limit ---
$position = $server->log_position;
$root     = $server->idle_session('LOCK TABLE u', options => '-c pg_unblock.idle_blocker_limit=2s');
$waiter   = $server->waiting_session('SELECT * FROM u');
begin_of($position, $root);
$server->wait_until_gone($root);
is(end_of($position, $root)->{outcome}, 'terminated', 'ended by its limit');
$waiter->end_statement;

# --- short ones are none ---
$position = $server->log_position;
$root     = $server->idle_session('LOCK TABLE u');
$waiter   = $server->waiting_session('SELECT * FROM u');
$server->wait_for_turn;
$root->query('COMMIT');
$waiter->end_statement;

# --- one that works, two holders, a waiter who tries again ---
my $busy = $server->busy_session('LOCK TABLE u IN SHARE MODE');
my $idle = $server->idle_session('LOCK TABLE u IN SHARE MODE');
$waiter = $server->session;
# Of waits that come and go between two looks of the enforcer not all is seen.
my ($waits, $given_up) = (0, 0);
PgUnblock::wait_for('episodes of several waits', sub {
	my ($output, $errors) = $waiter->try("SET lock_timeout = '700ms'; INSERT INTO u DEFAULT VALUES");
	++$waits;
	++$given_up if $errors =~ /55P03/;
	return lines_on($position, $busy) && lines_on($position, $idle);
});
is($given_up, $waits, 'a waiter gives up');
cmp_ok($waits, '>', 1, 'and comes again');
$server->ask("SELECT pg_cancel_backend($busy->{pid})");
is(end_of($position, $busy)->{outcome}, 'ended by itself', 'one that worked');
$idle->query('COMMIT');
end_of($position, $idle);
is($server->ask("SELECT count(*) FROM unblock.history WHERE kind = 'episode' AND pid IN ($busy->{pid}, $idle->{pid})"),
	2, 'one episode each, though there were several waits');
is(scalar(lines_on($position, $root)), 0, 'none of a short one');

# --- advisory locks are there to be held ---
$position = $server->log_position;
my $leader   = $server->session;
$leader->query('SELECT pg_advisory_lock(1)');
my $follower = $server->session;
$follower->begin_statement('SELECT pg_advisory_lock(1)');
$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $follower->{pid} AND NOT granted)");
$server->ask('SELECT pg_sleep(2)');
is(scalar(lines_on($position, $leader)), 0, 'a leader election is no episode');
$server->set_in_file('pg_unblock.count_advisory_locks' => 'on');
begin_of($position, $leader);
pass('unless advisory locks count');
$leader->query('SELECT pg_advisory_unlock(1)');
end_of($position, $leader);
$_->quit for $leader, $follower;

# --- a prepared transaction ---
$position = $server->log_position;
$root     = $server->session;
$root->query("BEGIN; LOCK TABLE u; PREPARE TRANSACTION 'left over'");
my $xid = $server->ask('SELECT transaction FROM pg_prepared_xacts');
$waiter = $server->waiting_session('SELECT * FROM u');
$begin  = PgUnblock::wait_for('an episode', sub { ($server->episodes($position))[0] });
is($begin->{xid}, $xid, 'a prepared transaction, by its id');
my $prepared = $server->wait_for_incident("id = '$begin->{incident}'");
is("$prepared->{pid} $prepared->{backend_type} $prepared->{backend_xid}", "0 prepared transaction $xid", 'the same in the record');
$root->query("ROLLBACK PREPARED 'left over'");
$waiter->end_statement;
PgUnblock::wait_for('its end', sub { ($server->episodes($position))[1] });
is(($server->episodes($position))[1]{xid}, $xid, 'it ends too');

# --- without the extension, and in dry run ---
$server->ask('DROP EXTENSION pg_unblock');
$server->set_in_file('pg_unblock.mode' => 'dry_run');
$position = $server->log_position;
$root     = $server->idle_session('LOCK TABLE u');
$waiter   = $server->waiting_session('SELECT * FROM u');
begin_of($position, $root);
$root->query('COMMIT');
$waiter->end_statement;
end_of($position, $root);

# --- not wanted any more, or not at all ---
for ([ 'pg_unblock.report_after', 0 ], [ 'pg_unblock.mode', 'off' ]) {
	my ($setting, $value) = @$_;
	my $before = $server->ask("SHOW $setting");
	$position = $server->log_position;
	$root     = $server->idle_session('LOCK TABLE u');
	$waiter   = $server->waiting_session('SELECT * FROM u');
	begin_of($position, $root);
	$server->set_in_file($setting => $value);
	is(end_of($position, $root)->{outcome}, 'ended by itself', "$setting = $value: what was begun is ended");
	my $other  = $server->idle_session('LOCK TABLE t');
	my $second = $server->waiting_session('SELECT * FROM t');
	$server->ask('SELECT pg_sleep(2)');
	is(scalar(lines_on($position, $other)), 0, 'and no other begins');
	is(scalar(lines_on($position, $root)),  2, 'nor the same again');
	$_->query('COMMIT') for $root, $other;
	$_->end_statement   for $waiter, $second;
	$server->set_in_file($setting => $before);
}

$server->stop;
done_testing();
