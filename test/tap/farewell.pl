# What an ended client reads, to the letter as far as it does not depend on
# time, and what the log says.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $HINT = 'HINT:  Commit or roll back as soon as the work is done; do not leave a transaction open while '
  . 'the application does something else.';
my $TIME = qr/\d+(?:\.\d+)?m?s/;

my $server = PgUnblock->preloaded('main', 'log_min_messages = error');
$server->ask('CREATE TABLE features (id int); CREATE ROLE dba LOGIN SUPERUSER');

# The lines that the session's own process and the enforcer wrote, without prefix.
sub logged {
	my ($session, $position) = @_;
	return join "\n", map { /^[\d.]+ \[$session->{pid}\] (.*)/ ? $1 : () } split /\n/,
	  $server->log_since($position);
}

# --- by limits
my $position = $server->log_position;
my $idle     = $server->idle_session('SELECT 1');
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '300ms');
$server->wait_until_gone($idle);
my $reason = qr/DETAIL:  The transaction waited for its client for $TIME\. pg_unblock\.idle_in_transaction_limit is 300ms\./;
my $words = $idle->last_words;
like($words, qr/\AWARNING:  01000: pg_unblock is ending this session\n$reason\n/, 'the warning comes first');
like($words, qr/^FATAL:  25P03: terminating connection due to administrator command\n$reason\n\Q$HINT\E\n/m,
	'then the end, explained');
like(logged($idle, $position),
	qr/\AFATAL:  terminating connection due to administrator command\n$reason\n\Q$HINT\E\z/,
	'the log has the explanation too, and no warning');
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => undef);

$position = $server->log_position;
my $blocker = $server->idle_session("SELECT id FROM features");
my @waiters = map { $server->waiting_session($_) } 'ALTER TABLE features ADD a int', 'SELECT * FROM features';
$server->set_in_file('pg_unblock.idle_blocker_limit' => '300ms');
$server->wait_until_gone($blocker);
like($blocker->last_words,
	qr/^FATAL:  25P03: terminating connection due to administrator command
DETAIL:  The transaction waited for its client while it blocked others for $TIME; it blocked 2 sessions through AccessShareLock on relation public\.features; lock on public\.features taken by: SELECT id FROM features at [-\d]+ [\d:.]+\+00\. pg_unblock\.idle_blocker_limit is 300ms\.
\Q$HINT\E$/m, 'a blocker learns whom it stood in the way of');
$_->end_statement for @waiters;

# --- the enforcer's line, though log_min_messages is error
my ($action, @more) = $server->actions_on($blocker, $position);
is(scalar @more, 0, 'one line');
my ($at, $by, $xact_start) = delete @$action{qw(at by xact_start)};
like(delete $action->{measured}, qr/^$TIME$/, 'what was measured');
like(delete $action->{locking_query_at}, qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00$/, 'the statement that took the lock');
like($xact_start, qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00$/, 'the transaction');
is($by, $server->enforcer_pid, 'written by the enforcer');
like(delete $action->{incident}, qr/^[0-9a-f]+-\d+$/, 'its name in the history');
is_deeply(
	$action,
	{   action      => 'terminate',
		rule        => 'idle_blocker_limit',
		limit       => '300ms',
		pid         => $blocker->{pid},
		user        => scalar getpwuid $<,
		database    => 'postgres',
		application => 'test',
		state       => 'idle in transaction',
		blocked     => 2,
		lock        => 'relation public.features',
		mode        => 'AccessShareLock',
		query       => 'BEGIN; SELECT id FROM features; SELECT extract(epoch FROM clock_timestamp());',
		locking_query => 'SELECT id FROM features'
	},
	'who, which limit, how long, how many were blocked, the last statement') or diag explain $action;
$server->set_in_file('pg_unblock.idle_blocker_limit' => undef);
$server->wait_for_turn;

# --- by hand
my $dba = $server->session(user => 'dba');
$idle = $server->idle_session('SELECT 1');
is($dba->query("SELECT outcome FROM unblock.terminate($idle->{pid})"), 'terminated', 'terminate()');
like($idle->last_words,
	qr/^FATAL:  57P01: terminating connection due to administrator command\nDETAIL:  The session was terminated by role "dba" with unblock\.terminate\(\)\.$/m,
	'by whom and with which function');
$idle = $server->idle_session('SELECT 1');
$dba->query("SELECT outcome FROM unblock.terminate_idle('0s')");
like($idle->last_words,
	qr/^FATAL:  57P01: .*\nDETAIL:  The session was terminated by role "dba" with unblock\.terminate_idle\(\)\.$/m,
	'terminate_idle()');

my $busy = $server->busy_session('SELECT 1');
$position = $server->log_position;
is($dba->query("SELECT outcome FROM unblock.cancel($busy->{pid})"), 'canceled', 'cancel()');
like(($busy->end_statement)[1],
	qr/^ERROR:  57014: canceling statement due to user request\nDETAIL:  The statement was canceled by role "dba" with unblock\.cancel\(\)\.$/m,
	'by whom the statement was canceled');
like($server->log_since($position),
	qr/^\S+ \[$dba->{pid}\] LOG:  pg_unblock: action=manual_cancel function=unblock\.cancel pid=$busy->{pid} user="\w+" by="dba" incident=[0-9a-f]+-\d+$/m,
	'the log says so too');
$busy->query('ROLLBACK');

# --- by somebody else
$busy = $server->busy_session('SELECT 1');
$dba->query("SELECT pg_cancel_backend($busy->{pid})");
unlike(($busy->end_statement)[1], qr/DETAIL|pg_unblock/, 'pg_cancel_backend() gets no reason of ours');
$dba->query("SELECT pg_terminate_backend($busy->{pid}, 60000)");
$words = $busy->last_words;
like($words, qr/^FATAL:  57P01: /m, 'pg_terminate_backend() ends');
unlike($words, qr/DETAIL|WARNING|pg_unblock/, 'and gets no reason of ours');

# --- not explained
$server->set_in_file(
	'pg_unblock.explain_actions'           => 'off',
	'pg_unblock.idle_in_transaction_limit' => '300ms');
$position = $server->log_position;
$idle     = $server->idle_session('SELECT 1');
$server->wait_until_gone($idle);
$words = $idle->last_words;
like($words, qr/^FATAL:  57P01: terminating connection due to administrator command$/m, 'the server\'s own words');
unlike($words, qr/DETAIL|HINT:  Commit|WARNING|pg_unblock/, 'and nothing more');
is(scalar $server->actions_on($idle, $position), 1, 'the enforcer\'s line is there all the same');

$server->stop;
done_testing();
