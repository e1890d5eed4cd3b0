# What check() is told by the server: how many connections there are, which limits and modes are in force, what
# cannot be judged, how long somebody has been idle. What it makes of all that is for the unit tests.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'max_connections = 16', 'autovacuum = off');
$server->ask("CREATE TABLE t (); CREATE ROLE limited LOGIN; CREATE ROLE nosy LOGIN;
	ALTER ROLE limited SET pg_unblock.idle_blocker_limit = '1h'");
my $idle = $server->idle_session('SELECT 1'); # long enough at the end

sub finding {    # a regular expression, columns
	my ($pattern, $columns, $session) = @_;
	my $query = "SELECT ${\ ($columns // 'finding')} FROM unblock.check() WHERE finding ~ '$pattern'";
	return $session ? $session->query($query) : $server->ask($query);
}

# --- nobody blocked
is( finding('^nobody is blocked$', 'severity, detail, remedy IS NULL'),
	$server->ask("SELECT 'ok', count(*) || ' client sessions, ' || count(xact_start) || ' of them in a transaction.', true
		FROM pg_stat_activity WHERE backend_type = 'client backend'"),
	'how many clients there are');

# --- limits and modes
my $no_limit = '^no limit is in force for any present session';
PgUnblock::wait_for('the first turn', sub { $server->stat('turns') > 0 });
is(finding($no_limit, 'severity'), 'notice', 'a role without a session has a limit: not seen');
my $limited = $server->session(user => 'limited');
is(finding($no_limit), '', 'with a session it is');
$limited->quit;
$server->wait_until_gone($limited);
is(finding($no_limit, 'count(*)'), 1, 'and then not any more');
$server->set_in_file('pg_unblock.idle_in_transaction_limit' => '1h');
$server->wait_for_turn;
is(finding($no_limit), '', 'that of the configuration file is');
for my $mode (qw(off dry_run)) {
	$server->set_in_file('pg_unblock.mode' => $mode);
	$server->wait_for_turn;
	is(finding('^mode ', 'severity, finding'), "notice|mode is $mode: nothing is enforced", "mode $mode");
}
is( finding('^mode ', 'remedy'),
	"-- to enforce: ALTER SYSTEM SET pg_unblock.mode = 'enforce';\n-- and then: SELECT pg_reload_conf();",
	'and how to enforce');
$server->ask($_) for finding('^mode ', 'remedy') =~ /: (.*);/g;
$server->wait_for_turn;
is(finding('^mode '), '', 'which helps');

# --- who cannot be judged
my $silent = $server->idle_session('SET track_activities = off');
is( finding('cannot be judged', 'severity, finding'),
	'notice|1 session cannot be judged: the state is not known',
	'a session that does not say what it does');
like(finding('cannot be judged', 'detail'), qr/: $silent->{pid} \S+\@postgres \(test\)\.$/, 'which one');
my $nosy = $server->session(user => 'nosy');
is(finding('cannot be judged', 'finding', $nosy), '', 'not where its details are hidden');
$nosy->quit;

# --- waiters as a share of all connections
my $share   = 'connections wait for locks$';
my @roots   = map { $server->idle_session('LOCK TABLE t IN ACCESS SHARE MODE') } 1, 2;
my @waiters = map { $server->waiting_session('TRUNCATE t') } 1 .. 4;
is(finding($share), '', 'four waiters are not worth telling');
push @waiters, $server->waiting_session('SELECT * FROM t');
is(finding($share, 'severity, finding'), 'warning|5 of 16 connections wait for locks', 'five of sixteen are');
like(finding($share, 'remedy'), qr/^-- ending one session alone /, 'because of two');
is($server->ask("SELECT finding FROM unblock.check() WHERE severity <> 'ok' AND remedy IS NULL"),
	'', 'each finding has its remedy');
$roots[1]->quit;
$server->wait_until_gone($roots[1]);
like(finding($share, 'remedy'), qr/^SELECT unblock\.terminate\($roots[0]{pid}, '/, 'because of one');
$server->ask(finding($share, 'remedy'));
is(join('', map { ($_->end_statement)[1] } @waiters), '', 'whose end helps all of them');
$_->quit for @waiters;

# --- a dump that locks many tables: the server shows the beginning of its statement only
my $root   = $server->idle_session('LOCK TABLE t');
my @tables = ('public.t') x 200;
my $dump   = $server->waiting_session(
	PgUnblock::in_one_go('BEGIN', 'LOCK TABLE ' . join(', ', @tables) . ' IN ACCESS SHARE MODE'));
unlike($server->ask("SELECT query FROM pg_stat_activity WHERE pid = $dump->{pid}"), qr/MODE/, 'cut off before its mode');
like(finding("^session $root->{pid}"), qr/ blocks 1 session$/, 'a dump is no migration');
$root->query('ROLLBACK');
is(($dump->end_statement)[1], '', 'it goes on');
$dump->quit;

# --- idle for a minute
my $for_long = 'idle in transaction for 1min 00s or longer';
$server->wait_until("EXISTS (SELECT FROM unblock.check() WHERE finding ~ '$for_long')");
cmp_ok($server->ask("SELECT extract(epoch FROM now()) - $idle->{since}"), '>=', 60, 'not before a minute has passed');
is( finding($for_long, 'severity, finding'),
	"notice|1 session has been $for_long and blocks nobody yet",
	'an idle transaction');
like(finding($for_long, 'detail'), qr/^Longest first: $idle->{pid} \S+\@postgres \(test\), 1min 0\d/, 'which one');
like($server->ask(finding($for_long, 'remedy')), qr/^\($idle->{pid},.*,terminated,/, 'its remedy');
is(finding($for_long), '', 'helps');

$server->stop;
done_testing();
