# More incidents at once than the ring has places: those in the table and those that are counted as lost are all that
# were made, exactly. With places enough nothing is lost.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'pg_unblock.history_size = 16');
my $number = 10_000;

sub burst {
	my ($sessions, $what) = @_;
	my $position = $server->log_position;
	my @sessions = map { $server->session } 1 .. $sessions;
	$_->begin_statement(PgUnblock::pauses($number / $sessions)) for @sessions;
	is(($_->end_statement)[1], '', $what) for @sessions;
	$server->wait_until_saved;
	my %logged = $server->incidents_in_log($position);
	my $rows   = $server->ask('SELECT count(*) FROM unblock.incident');
	my $lost   = $server->stat('incidents_lost');
	is($rows + $lost, $number, "$what: $rows saved, $lost lost");
	cmp_ok(scalar keys %logged, '<=', $number, "$what: each has a name of its own");
	is_deeply([ grep { !$logged{$_} } split /\n/, $server->ask('SELECT id FROM unblock.incident') ], [],
		"$what: what is saved is in the log");
	return ($rows, $lost, scalar keys %logged);
}

sub start_anew {
	my (@lines) = @_;
	$server->ask('TRUNCATE unblock.incident');
	$server->append_conf('postgresql.conf', join "\n", @lines);
	$server->forget_observer;
	$server->restart;
	return;
}

burst(1, 'one session, 16 places');
start_anew();
burst(4, 'four sessions, 16 places');
start_anew('pg_unblock.history_size = 64');
burst(1, 'one session, 64 places');
start_anew();
burst(20, 'twenty sessions, 64 places');
for my $sessions (1, 4) {
	start_anew('pg_unblock.history_size = 10240');
	my ($rows, $lost, $logged) = burst($sessions, "$sessions sessions, 10240 places");
	is("$rows $lost $logged", "$number 0 $number", 'nothing is lost');
}

$server->stop;
done_testing();
