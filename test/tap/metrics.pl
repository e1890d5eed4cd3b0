# contrib/prometheus with the real programs: postgres_exporter and Prometheus have the metrics by the names of
# unblock.metrics, tell of an incident what happened, and the alerts are what promtool expects.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use PgUnblock;
use PostgreSQL::Test::Utils qw(slurp_file);
use Prometheus;
use Test::More;

my $CONTRIB = "$FindBin::RealBin/../../contrib/prometheus";

my $server = PgUnblock->preloaded('main', "pg_unblock.report_after = '300ms'");
# The role that the page tells to make.
my $page = slurp_file("$CONTRIB/README.md");
my ($role) = $page =~ /^ *```sql\n(.*?)^ *```$/ms;
$server->ask($role);
my $prometheus = Prometheus->new(
	contrib  => $CONTRIB,
	conninfo => "user=prometheus host=@{[ $server->host ]} port=@{[ $server->port ]} dbname=postgres sslmode=disable");

# --- the files, by promtool ----------------------------------------------------------------------------

for my $command (
	[qw(check rules alerts.yaml)], [qw(check config prometheus.yml)],
	[ qw(check config), "$prometheus->{dir}/prometheus.yml" ], [qw(test rules alerts_test.yaml)]) {
	my ($ok, $output) = $prometheus->promtool(@$command);
	ok($ok, "promtool @$command") or diag $output;
}

my $alerts = slurp_file("$CONTRIB/alerts.yaml");
my $tests  = slurp_file("$CONTRIB/alerts_test.yaml");
my @alerts = $alerts =~ /^ +- alert: (\w+)$/gm;
cmp_ok(scalar @alerts, '>=', 13, 'there are alerts');
my @untested = grep { $tests !~ /^ +alertname: $_\n +exp_alerts:\n/m || $tests !~ /^ +alertname: $_\n(?! +exp_alerts:)/m }
  @alerts;
is_deeply(\@untested, [], 'each alert is tested while it is due, and while it is not');

# --- names, labels, types and help ---------------------------------------------------------------------

is(slurp_file("$CONTRIB/queries.yaml"), $server->safe_psql('postgres', slurp_file("$CONTRIB/queries.sql")) . "\n",
	'queries.yaml is what queries.sql writes');

my $metrics = $server->ask(<<'SQL');
	SELECT name || ' ' || type || ' ' || help || coalesce(' ' || (
		SELECT string_agg(format('%s=%s', key, to_json(value)), ',' ORDER BY key) FROM jsonb_each_text(labels)), '')
	FROM unblock.metrics ORDER BY 1
SQL
sub exported {
	my ($scraped) = @_;
	my %help = $scraped =~ /^# HELP (pg_unblock_\w+) (.*)$/gm;
	my %type = $scraped =~ /^# TYPE (pg_unblock_\w+) (.*)$/gm;
	my @lines;
	while ($scraped =~ /^(pg_unblock_\w+)\{(.*)\} (\S+)$/gm) {
		my ($name, $labels, $value) = ($1, $2, $3);
		fail("$name is $value") if $value eq 'NaN';
		$labels = join ',', sort grep { !/^server=/ } split /,/, $labels;
		push @lines, join ' ', $name, $type{$name}, $help{$name}, $labels eq '' ? () : $labels;
	}
	return join "\n", sort @lines;
}
my $scraped = $prometheus->scrape;
is(exported($scraped), $metrics, 'the exporter has the metrics of the view');
like($scraped, qr/^pg_exporter_last_scrape_error 0$/m, 'and no error');
my %known = map { $_ => 1 } $metrics =~ /^(\w+)/gm;
is_deeply([ sort map { "pg_unblock_$_" } $page =~ /^\| `([a-z_]+)`/gm ], [ sort keys %known ], 'the page lists them');
my %listed = map { $_ => 1 } $page =~ /`(PgUnblock\w+)`/g;
is_deeply([ sort keys %listed ], [ sort @alerts ], 'and all alerts');
is_deeply([ grep { !$known{$_} } $alerts =~ /\b(pg_unblock_\w+)/g ], [], 'alerts are on metrics that there are');

# --- an incident ---------------------------------------------------------------------------------------

sub has {
	my ($promql, $wanted, $what) = @_;
	ok($prometheus->wait_for_value($promql, $wanted), $what);
	return;
}
my $is_positive = sub { $_[0] > 0 };

has('pg_unblock_enforcer_up', 1, 'the enforcer runs');
has('pg_unblock_blocked_sessions', 0, 'nobody is blocked');
has('sum(pg_unblock_actions_total)', 0, 'nobody was ended');
has('pg_unblock_session_seconds_lost_total', 0, 'nothing was lost');

$server->ask('CREATE TABLE features (id int)');
my $leader   = $server->session;
$leader->query('SELECT pg_advisory_lock(1)');
my $follower = $server->waiting_session('SELECT pg_advisory_lock(1)');
my $upload   = $server->idle_session('SELECT id FROM features');
my $alter    = $server->waiting_session('ALTER TABLE features ADD short_id text');
my @readers  = map { $server->waiting_session('SELECT count(*) FROM features') } 1 .. 2;

has('pg_unblock_blocked_sessions', 3, 'a migration and two readers are blocked');
has('pg_unblock_root_blockers', 1, 'by one');
has('pg_unblock_idle_transactions', 1, 'which waits for its client');
has('pg_unblock_advisory_waiters', 1, 'one waits to become the leader');
has('pg_unblock_longest_wait_seconds', $is_positive, 'the migration has waited');
has('pg_unblock_longest_idle_transaction_seconds > pg_unblock_longest_wait_seconds', $is_positive, 'its blocker for longer');
has('pg_unblock_episodes_total', $is_positive, 'it is an episode');

$server->set_in_file('pg_unblock.idle_blocker_limit' => '300ms');
$server->wait_until_gone($upload);
$_->end_statement for $alter, @readers;

has('pg_unblock_blocked_sessions', 0, 'they go on');
has('pg_unblock_idle_transactions', 0, 'no transaction idles');
has('pg_unblock_actions_total{rule="idle_blocker_limit", action="terminate"}', 1, 'one session was ended');
has('sum(pg_unblock_actions_total)', 1, 'and nothing else was done');
has('pg_unblock_session_seconds_lost_total', $is_positive, 'it cost time');
has('rate(pg_unblock_session_seconds_lost_total[5m])', $is_positive, 'which shows as a rate');
has('pg_unblock_incidents_total', sub { $_[0] >= 2 }, 'incidents: the episode and its end');
has('pg_unblock_history_is_saved', 1, 'they are saved');
has('pg_unblock_history_changes_saved_total - pg_unblock_history_changes_total', 0, 'with all changes');
has('ALERTS{alertname="PgUnblockActions", rule="idle_blocker_limit", action="terminate", alertstate="firing"}', 1,
	'an alert tells');

# --- what people do ------------------------------------------------------------------------------------

$server->ask("SELECT unblock.pause('1 hour')");
my $idle = $server->idle_session('SELECT 1');
$server->ask("SELECT unblock.terminate($idle->{pid})");
has('pg_unblock_enforcer_paused', 1, 'a pause');
has('pg_unblock_manual_actions_total{action="terminate"}', 1, 'somebody ended a session');
has('ALERTS{alertname="PgUnblockPaused", alertstate="pending"}', 1, 'an alert waits for the pause to be long');
$server->ask('SELECT unblock.resume()');
$server->set_in_file('pg_unblock.mode' => 'dry_run');
has('pg_unblock_enforcer_paused', 0, 'no pause any more');
has('pg_unblock_enforcer_dry_run', 1, 'a dry run');
$server->set_in_file('pg_unblock.mode' => 'off');
has('pg_unblock_enforcer_off', 1, 'off');
has('ALERTS{alertname="PgUnblockOff", alertstate="pending"}', 1, 'an alert waits for that to be long');
$server->set_in_file('pg_unblock.mode' => undef);

# --- not preloaded any more ----------------------------------------------------------------------------

$server->forget_observer;
$server->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$server->restart;
has('ALERTS{alertname="PgUnblockMetricsMissing"}', 1, 'an alert on metrics that are gone');
has('pg_up', 1, 'of a server that is there');
$scraped = $prometheus->scrape;
like($scraped, qr/^pg_stat_database_xact_commit\{/m, 'the other metrics are exported');
like($scraped, qr/^pg_exporter_last_scrape_error 1$/m, 'with a note that something failed');
like($prometheus->log('exporter.log'), qr/pg_unblock is not preloaded/, "the exporter's log says why");

is(scalar(grep { $_->{health} ne 'ok' } map { @{ $_->{rules} } } @{ $prometheus->api('rules')->{groups} }), 0,
	'all rules could be evaluated');

$server->stop('immediate');
done_testing();
