# A PgBouncer in front of a server; of its program the environment has the path.

package PgBouncer;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PgUnblock;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(append_to_file run_command);

my @running;

# Databases by name, with what their entries say beside host and port. Role webapp can log in to them, dba to
# the console.
sub new {
	my ($class, $server, %databases) = @_;
	my $dir  = PostgreSQL::Test::Utils::tempdir;
	my $self = bless {
		server => $server,
		dir    => $dir,
		port   => PostgreSQL::Test::Cluster::get_free_port(),
		config => "$dir/pgbouncer.ini",
		log    => "$dir/pgbouncer.log"
	}, $class;
	append_to_file("$dir/users", qq("webapp" ""\n"dba" ""\n));
	my $databases = join '',
	  map { "$_ = host=127.0.0.1 port=@{[ $server->port ]} $databases{$_}\n" } sort keys %databases;
	append_to_file($self->{config}, <<INI);
[databases]
$databases
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $self->{port}
unix_socket_dir =
auth_type = trust
auth_file = $dir/users
admin_users = dba
logfile = $self->{log}
INI
	push @running, IPC::Run::start([ $ENV{PGBOUNCER} // 'pgbouncer', '-q', $self->{config} ]);
	PgUnblock::wait_for('PgBouncer', sub { $self->console('SHOW VERSION') =~ /PgBouncer/ });
	return $self;
}

# A client of an application, see PgUnblock::Session.
sub client {
	my ($self, $application, $database) = @_;
	return $self->{server}->session(
		dbname   => $database,
		user     => 'webapp',
		conninfo => "host=127.0.0.1 port=$self->{port} application_name=$application");
}

# What psql prints of a command on the console.
sub console {
	my ($self, $command) = @_;
	my ($out, $err) = run_command(
		[ 'psql', '-X', '-h', '127.0.0.1', '-p', $self->{port}, '-U', 'dba', '-c', $command, 'pgbouncer' ]);
	return "$out\n$err";
}

END {
	local $?;
	$_->kill_kill for @running;
}

1;
