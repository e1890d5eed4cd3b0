# docs/pgbouncer.md, followed step by step behind a real PgBouncer: every
# command on the page is run, in order, and has to print what the page shows.
#
# Pids, ports, addresses and pointers differ from run to run. Each is learned
# where an output shows it for the first time and stands for the page's value
# from there on, in commands and in outputs: what is the same on the page must be
# the same in the run, and what differs must differ.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgBouncer;
use PgUnblock;
use PostgreSQL::Test::Utils qw(append_to_file run_command slurp_file);
use Test::More;

my $PAGE = slurp_file("$FindBin::RealBin/../../docs/pgbouncer.md");

my ($log_line_prefix) = $PAGE =~ /^```conf\n(.*?)```/ms;
my $server = PgUnblock->preloaded('main', "listen_addresses = '127.0.0.1'", $log_line_prefix);
$server->ask('CREATE DATABASE lab');
$server->ask("CREATE ROLE $_ LOGIN") for qw(webapp dba);
my $dba = $server->session(dbname => 'lab');
$dba->query('CREATE EXTENSION pg_unblock; CREATE TABLE features (id int); GRANT SELECT ON features TO webapp');

my $pgbouncer = PgBouncer->new($server,
	lab         => 'pool_mode=transaction',
	lab_session => 'dbname=lab pool_mode=session');
my ($dir, $port) = @$pgbouncer{qw(dir port)};
symlink $server->logfile, "$dir/postgresql.log" or die $!;

# --- the page's story ----------------------------------------------------------------------------------

my ($upload, $report, $waiter, $read);

sub block_a_migration {
	$upload = $pgbouncer->client('upload', 'lab');
	$upload->query("BEGIN;\nSELECT features.id FROM features");
	$waiter = $server->waiting_session('ALTER TABLE features ALTER id SET NOT NULL', dbname => 'lab');
	return;
}

sub unblock {
	$upload->query('COMMIT');
	is(($waiter->end_statement)[1], '', 'the migration goes on');
	return;
}

# What comes about before the commands of a section.
my %before = (
	'The session is still there' => \&block_a_migration,

	'A remedy that comes late' => sub {
		unblock();
		$report = $pgbouncer->client('report', 'lab');
		$report->query('BEGIN');
		is($report->{pid}, $upload->{pid}, 'the server connection was handed on');
	},

	'The link is empty' => sub {
		is($report->query('SELECT 1'), 1, 'the late remedy did nobody harm');
		$report->query("COMMIT;\nSELECT pg_advisory_lock(7)");
		$waiter = $server->waiting_session('SELECT pg_advisory_lock(7)', dbname => 'lab');
	},

	'The session has been ended already' => sub {
		is(($waiter->end_statement)[1], '', 'RECONNECT frees a lock that was left behind');
		$_->quit for $waiter, $report, $upload;
		new_incident();
		block_a_migration();
		$upload->query("\\set VERBOSITY default\n");
		$server->set_in_file('pg_unblock.idle_blocker_limit' => '300ms');
		$server->wait_until_gone($upload);
		$server->set_in_file('pg_unblock.idle_blocker_limit' => undef);
		$waiter->end_statement;
		$read = $upload->last_words;
	},

	'Limits behind a pool' => sub {
		$pgbouncer->client('report', 'lab')->quit; # leaves a server connection
	},

	'Before the next time' => sub {
		my ($setting) = $PAGE =~ /^```ini\n(.*?)```/ms;
		append_to_file($pgbouncer->{config}, $setting);
		$pgbouncer->console('RELOAD');
		block_a_migration();
	});

# --- the page ------------------------------------------------------------------------------------------

my $VALUE = qr/
	(?<address>\b\d+\.\d+\.\d+\.\d+\b)
	| (?<xact_start>\d{4}-\d\d-\d\d\ [\d:.]+\+00)
	| (?<pointer>\b0x[0-9a-f]+\b)
	| (?<time>\d{4}-\d\d-\d\d\ [\d:.]+ | \d\d:\d\d:\d\d\.\d+ | \b\d+(?:\.\d+)?(?:ms|s)\b)
	| (?<number>\b\d{4,}\b)/x;
my %PATTERN = (
	address    => '\d+\.\d+\.\d+\.\d+',
	xact_start => '\d{4}-\d\d-\d\d [\d:.]+\+00',
	pointer    => '0x[0-9a-f]+',
	time       => '[\d:. -]*\d(?:ms|s)?',
	number     => '\d+');

my $HOST = '127.0.0.1'; # all hosts of the page
my %actual;
new_incident();

sub new_incident {
	%actual = ('10.0.0.20' => $HOST, 6432 => $port);
	return;
}

sub translate {
	my ($command) = @_;
	return $command =~ s/$VALUE/$actual{$&} \/\/ $&/egr;
}

# Tables are as wide as their values, and the page folds long lines.
sub squeeze {
	my ($text) = @_;
	return join ' ', split ' ', $text =~ s/[-+]{3,}/---/gr;
}

# Whether the output is what the page shows, where "…" stands for any number of lines; learns values from it.
sub is_as_shown {
	my ($got, $shown, $what) = @_;
	my ($pattern, @learned, $position) = ('');
	$shown = squeeze($shown);
	while ($shown =~ /$VALUE|(?<rest>\h?…)/g) {
		my ($kind, $value) = %+;
		$pattern .= quotemeta substr $shown, $position // 0, $-[0] - ($position // 0);
		$position = $+[0];
		if ($kind eq 'rest') {
			$pattern .= '.*?';
		} elsif ($kind eq 'time') {
			$pattern .= $PATTERN{time};
		} elsif (defined $actual{$value}) {
			$pattern .= quotemeta $actual{$value};
		} elsif ((my ($before) = grep { $learned[$_] eq $value } 0 .. $#learned)) {
			$pattern .= "\\g{${\ ($before + 1)}}";
		} else {
			$pattern .= "($PATTERN{$kind})";
			push @learned, $value;
		}
	}
	$pattern .= quotemeta substr $shown, $position // 0;
	my @values = squeeze($got) =~ /\A$pattern\z/;
	@actual{@learned} = @values if @learned && @values;
	my %used;
	my @mixed_up = grep { $_ ne $HOST && $used{$_}++ } values %actual;
	ok(@values && !@mixed_up, $what)
	  or diag "the page shows:\n$shown\nbut it printed:\n$got\nthe same for several values of the page: @mixed_up";
	return;
}

sub printed {
	my ($shell, @arguments) = @_;
	local %ENV = (%ENV, PGHOST => $server->host, PGPORT => $server->port, PGDATABASE => 'lab', PSQLRC => '/dev/null');
	my ($out, $err) = run_command([ 'bash', '-c', "cd '$dir' && $shell", 'bash', @arguments ]);
	return "$out\n$err";
}

my %prompt = (
	'$'           => sub { printed($_[0]) },
	'=#'          => sub { printed('psql <<<"$1"', $_[0]) },
	'pgbouncer=#' => sub { $pgbouncer->console($_[0]) });

for my $section (split /^## /m, $PAGE) {
	my ($title) = $section =~ /^(.*)/;
	(delete $before{$title})->() if $before{$title};
	while ($section =~ /^ *```(\w*)\n(.*?)^ *```$/gms) {
		my ($language, $block) = ($1, $2);
		next if $language; # settings
		if ($block =~ /\A *(\$|=#|pgbouncer=#) (.*)\n/) {
			is_as_shown($prompt{$1}->(translate($2)), substr($block, $+[0]), "$title: $2");
		} else {
			is_as_shown($read, $block, $title);
		}
	}
}
is_deeply([ keys %before ], [], 'the page has all its sections');
unblock();

# With session pooling the link stays when the transaction is over.
my $session = $pgbouncer->client('session', 'lab_session');
$session->query("BEGIN;\nCOMMIT");
like(printed("psql -h 127.0.0.1 -p $port -U dba -xAc 'SHOW SERVERS' pgbouncer"),
	qr/^link\|0x\w+\nremote_pid\|$session->{pid}\n/m, 'session pooling');

$server->stop('immediate');
done_testing();
