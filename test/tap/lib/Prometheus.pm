# postgres_exporter on a server and a Prometheus that scrapes it, both with the files of contrib/prometheus and on
# 127.0.0.1. Of their programs the environment has the paths.

package Prometheus;

use strict;
use warnings FATAL => 'all';

use HTTP::Tiny ();
use IPC::Run   ();
use JSON::PP   ();
use PgUnblock;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(append_to_file run_command slurp_file);

my @running;

# Parameters: contrib, the directory of that name; conninfo, how the exporter reaches the server.
sub new {
	my ($class, %params) = @_;
	my $dir  = PostgreSQL::Test::Utils::tempdir;
	my $self = bless {
		dir      => $dir,
		contrib  => $params{contrib},
		exporter => PostgreSQL::Test::Cluster::get_free_port(),
		port     => PostgreSQL::Test::Cluster::get_free_port(),
		http     => HTTP::Tiny->new(timeout => 30, no_proxy => ['127.0.0.1'])
	}, $class;
	local $ENV{DATA_SOURCE_NAME} = $params{conninfo};
	$self->_start('exporter.log',
		$ENV{POSTGRES_EXPORTER} // 'prometheus-postgres-exporter',
		"--web.listen-address=127.0.0.1:$self->{exporter}",
		"--extend.query-path=$self->{contrib}/queries.yaml");
	PgUnblock::wait_for('the exporter', sub { defined $self->_get("http://127.0.0.1:$self->{exporter}/") });

	# The example, faster and with our ports.
	my $config = slurp_file("$self->{contrib}/prometheus.yml");
	$config =~ s/localhost:9187/127.0.0.1:$self->{exporter}/      or die $config;
	$config =~ s/scrape_interval: \K\w+/2s/                       or die $config;
	$config =~ s{^  - \Kalerts.yaml$}{$self->{contrib}/alerts.yaml}m or die $config;
	append_to_file("$dir/prometheus.yml", "global:\n  evaluation_interval: 2s\n$config");
	$self->_start('prometheus.log',
		$ENV{PROMETHEUS} // 'prometheus',
		"--web.listen-address=127.0.0.1:$self->{port}",
		"--config.file=$dir/prometheus.yml",
		"--storage.tsdb.path=$dir/data");
	PgUnblock::wait_for('Prometheus', sub { defined $self->_get("http://127.0.0.1:$self->{port}/-/ready") });
	return $self;
}

# What the exporter says just now, in Prometheus' text format.
sub scrape {
	my ($self) = @_;
	return $self->_get("http://127.0.0.1:$self->{exporter}/metrics") // die 'the exporter does not answer';
}

# The result of a PromQL query: its samples, in hashes of labels and {value}.
sub query {
	my ($self, $promql) = @_;
	return map { { %{ $_->{metric} }, value => $_->{value}[1] } }
	  @{ $self->api('query?' . $self->{http}->www_form_urlencode({ query => $promql }))->{result} };
}

# Waits until a query has one sample with this value, or one for which the function is true.
sub wait_for_value {
	my ($self, $promql, $wanted) = @_;
	my $is_it = ref $wanted ? $wanted : sub { $_[0] == $wanted };
	my @samples;
	return eval {
		PgUnblock::wait_for("$promql " . (ref $wanted ? '' : "= $wanted"), sub {
			@samples = $self->query($promql);
			return @samples == 1 && $is_it->($samples[0]{value});
		});
	} // die "$@; at last it was: " . JSON::PP->new->canonical->encode(\@samples) . "\n" . $self->log("exporter.log") . $self->log("prometheus.log");
}

sub api {
	my ($self, $path) = @_;
	my $answer = $self->_get("http://127.0.0.1:$self->{port}/api/v1/$path") // die "no answer to $path";
	return JSON::PP::decode_json($answer)->{data};
}

# Runs promtool in the directory of contrib: whether it is content, and what it prints.
sub promtool {
	my ($self, @arguments) = @_;
	my $output = '';
	my $ok     = IPC::Run::run([ $ENV{PROMTOOL} // 'promtool', @arguments ],
		'>', \$output, '2>&1', init => sub { chdir $self->{contrib} or die $! });
	return ($ok, $output);
}

# What one of the programs has written, "exporter.log" or "prometheus.log".
sub log {
	my ($self, $name) = @_;
	return slurp_file("$self->{dir}/$name");
}

sub _start {
	my ($self, $log, @command) = @_;
	push @running, IPC::Run::start(\@command, '>', "$self->{dir}/$log", '2>&1');
	return;
}

# The body; undef if there is no good answer.
sub _get {
	my ($self, $url) = @_;
	my $response = $self->{http}->get($url);
	return $response->{success} ? $response->{content} : undef;
}

END {
	local $?;
	$_->kill_kill for @running;
}

1;
