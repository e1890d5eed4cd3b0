# What the TAP tests share: a server with the module preloaded, sessions that
# can be left waiting, blocked or ended, and the enforcer's log lines as data.
#
# Nothing here sleeps and hopes: every wait is for a fact, and dies when the
# fact has not come about within the harness's time-out.

package PgUnblock;

use strict;
use warnings FATAL => 'all';
use parent -norequire, 'PostgreSQL::Test::Cluster';

use IPC::Run    ();
use JSON::PP    ();
use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

our $ENFORCER = 'pg_unblock enforcer';
our $RECORDER = 'pg_unblock recorder';

my $NOW = 'SELECT extract(epoch FROM clock_timestamp())';

# A running server with the module preloaded and the extension in database postgres. Lines are added to
# postgresql.conf. The line prefix begins with the epoch in milliseconds and the pid: see actions().
sub preloaded {
	my ($class, $name, @lines) = @_;
	my $self = $class->prepared($name, @lines);
	$self->start;
	$self->safe_psql('postgres', 'CREATE EXTENSION pg_unblock');
	return $self;
}

# The same, not started yet. The parameters of init() may come before the lines, in a hash.
sub prepared {
	my ($class, $name, @lines) = @_;
	my %params = @lines && ref $lines[0] ? %{ shift @lines } : ();
	my $self   = $class->new($name);
	$self->init(extra => [ '--encoding=UTF8', '--no-locale' ], %params);
	$self->append_conf('postgresql.conf', join "\n",
		"shared_preload_libraries = 'pg_unblock'", "log_line_prefix = '%n [%p] '",
		'log_statement = none',                    'max_connections = 40',
		"timezone = 'UTC'",                        @lines);
	return $self;
}

# --- settings and facts ------------------------------------------------------------------------------

# Writes settings into the server's file and has it re-read. undef removes one. The enforcer's next turn,
# see wait_for_turn(), goes by them.
sub set_in_file {
	my ($self, %values) = @_;
	for my $name (sort keys %values) {
		my $value = $values{$name};
		$self->ask(defined $value ? "ALTER SYSTEM SET $name = '$value'" : "ALTER SYSTEM RESET $name");
	}
	# The postmaster tells all its children in one go.
	my $before = $self->ask('SELECT pg_conf_load_time()');
	$self->ask('SELECT pg_reload_conf()');
	$self->wait_until("pg_conf_load_time() > '$before'");
	return;
}

# Every limit at once, as low as they go where they are no length of time.
sub set_all_limits {
	my ($self, $limit) = @_;
	my @lengths = qw(idle_in_transaction_limit idle_write_transaction_limit idle_blocker_limit active_blocker_limit
	  queued_blocker_limit preempt_idle_blockers_after transaction_limit);
	$self->set_in_file(
		(map { ("pg_unblock.$_" => $limit) } @lengths),
		'pg_unblock.cancel_grace'      => '100ms',
		'pg_unblock.horizon_age_limit' => 1);
	return;
}

# Runs a query in a session of a superuser that stays open.
sub ask {
	my ($self, $sql) = @_;
	$self->{observer} //= $self->session;
	return $self->{observer}->query($sql);
}

# After the server was stopped or has crashed.
sub forget_observer {
	my ($self) = @_;
	delete $self->{observer};
	return;
}

sub wait_until {
	my ($self, $sql) = @_;
	PgUnblock::wait_for($sql, sub { $self->ask("SELECT ($sql)") eq 't' });
	return;
}

# Calls until the result is true, and returns it.
sub wait_for {
	my ($what, $condition) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	for (;;) {
		my $result = $condition->();
		return $result if $result;
		die "timed out waiting for: $what" if time > $deadline;
		usleep(20_000);
	}
}

# 19 for 19.1 and for 19rc1, which pg_version() counts as older than 19.
sub major {
	my ($self) = @_;
	return $self->pg_version =~ /^(\d+)/ ? $1 : die 'no version';
}

sub enforcer_pid {
	my ($self) = @_;
	return $self->ask("SELECT pid FROM pg_stat_activity WHERE backend_type = '$ENFORCER'");
}

sub stat {
	my ($self, $counter) = @_;
	return $self->ask("SELECT value FROM unblock.stats WHERE counter = '$counter'");
}

# Wakes the enforcer, and returns when it has done a whole turn since: what it saw and let be, it has let be.
sub wait_for_turn {
	my ($self) = @_;
	# The first of the turns may have begun before.
	for (1 .. 2) {
		my $turns = $self->stat('turns');
		$self->ask('SELECT pg_reload_conf()');
		PgUnblock::wait_for('a turn of the enforcer', sub { $self->stat('turns') > $turns });
	}
	return;
}

# --- the history -------------------------------------------------------------------------------------

# The history, oldest first: hashes.
sub incidents {
	my ($self, $condition) = @_;
	my $rows = $self->ask('SELECT coalesce(json_agg(h ORDER BY at, length(id), id), $$[]$$) FROM unblock.history h'
		  . ($condition ? " WHERE $condition" : ''));
	return @{ JSON::PP->new->decode($rows) };
}

# Waits for the one incident of this condition.
sub wait_for_incident {
	my ($self, $condition) = @_;
	$self->wait_until("EXISTS (SELECT FROM unblock.history WHERE $condition)");
	my @found = $self->incidents($condition);
	die scalar(@found) . " incidents: $condition" if @found != 1;
	return $found[0];
}

# What makes so many incidents, fast.
sub pauses {
	my ($count) = @_;
	return "SELECT count(unblock.pause('1 ms')) FROM generate_series(1, $count)";
}

sub wait_until_saved {
	my ($self) = @_;
	$self->wait_until("(SELECT value FROM unblock.metrics() WHERE name = 'pg_unblock_history_is_saved') = 1");
	return;
}

# The pid of the recorder, which waits for something.
sub wait_for_recorder {
	my ($self) = @_;
	return PgUnblock::wait_for('a recorder', sub {
		$self->ask("SELECT pid FROM pg_stat_activity WHERE backend_type = '$RECORDER' AND wait_event_type = 'Lock'");
	});
}

# The incidents that the log tells of: when each was told first, by id.
sub incidents_in_log {
	my ($self, $position) = @_;
	my %incidents;
	for ($self->log_since($position) =~ /^([\d.]+ \[\d+\] LOG:  pg_unblock: .* incident=\S+)$/mg) {
		my ($at, $id) = /^([\d.]+) .* incident=(\S+)$/;
		$incidents{$id} //= $at;
	}
	return %incidents;
}

# Kills a server, its children as well, and waits until they are gone.
sub kill_all {
	my ($self) = @_;
	my $postmaster = $self->{_pid};
	my @children   = split ' ', slurp_file("/proc/$postmaster/task/$postmaster/children");
	$self->kill9;
	kill 'KILL', @children;
	for my $pid ($postmaster, @children) {
		PgUnblock::wait_for("the end of $pid", sub {
			open(my $stat, '<', "/proc/$pid/stat") or return 1;
			return (readline($stat) // 'Z') =~ /^(\d+ \(.*\) )?[ZX]/;
		});
	}
	# To the next postmaster a zombie that nobody has waited for is one that lives.
	unlink $self->data_dir . '/postmaster.pid', $self->host . '/.s.PGSQL.' . $self->port . '.lock';
	return;
}

# --- sessions ----------------------------------------------------------------------------------------

# A client: see PgUnblock::Session. Parameters: user, dbname, options (PGOPTIONS), replication, conninfo
# (anything else). If it was refused, {refused} says why.
sub session {
	my ($self, %params) = @_;
	return PgUnblock::Session->new($self, %params);
}

# A client that waits inside a transaction after this statement, since {since} or a moment later.
sub idle_session {
	my ($self, $sql, %params) = @_;
	my $session = $self->session(%params);
	$session->stay_idle('BEGIN', $sql);
	return $session;
}

# A client whose statement waits for a lock by now, since {since} or a moment later. On a slow machine its
# blocker may have been ended already, and the wait be over.
sub waiting_session {
	my ($self, $sql, %params) = @_;
	my $session = $self->session(%params);
	$session->{since} = $session->query($NOW);
	$session->begin_statement($sql);
	$self->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $session->{pid} AND NOT granted)
		OR EXISTS (SELECT FROM pg_stat_activity
			WHERE pid = $session->{pid} AND state <> 'active' AND query <> '$NOW;')");
	return $session;
}

# A client in a transaction whose last statement runs until it is cancelled, and that never was idle.
sub busy_session {
	my ($self, $sql, %params) = @_;
	my $session = $self->session(%params);
	$session->begin_statement(in_one_go('BEGIN', $sql, 'SELECT pg_sleep(3600)'));
	$self->wait_until(
		"EXISTS (SELECT FROM pg_stat_activity WHERE pid = $session->{pid} AND wait_event = 'PgSleep')");
	return $session;
}

# A pgbench with these options, which runs one of the scripts after the other, at random.
sub begin_pgbench {
	my ($self, $options, %scripts) = @_;
	my @files;
	for my $name (sort keys %scripts) {
		my $file = $self->basedir . "/$name.sql";
		PostgreSQL::Test::Utils::append_to_file($file, $scripts{$name});
		push @files, '-f', $file;
	}
	my $output = '';
	my $run    = IPC::Run::start(
		[ $self->installed_command('pgbench'), '-n', @$options, @files, $self->connstr('postgres') ],
		'>', \$output, '2>&1');
	return { run => $run, output => \$output };
}

# One message to the server: between its statements the session is never idle.
sub in_one_go {
	my (@statements) = @_;
	return join '\\; ', @statements;
}

sub is_present {
	my ($self, $session) = @_;
	return $self->ask("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $session->{pid})") eq 't';
}

sub wait_until_gone {
	my ($self, @sessions) = @_;
	$self->wait_until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $_->{pid})") for @sessions;
	return;
}

# --- reports -----------------------------------------------------------------------------------------

# take_lock(), which takes any lock: see test/modules/lock_taker, of whose library the environment has the path.
sub create_take_lock {
	my ($self) = @_;
	$self->ask(
		"CREATE FUNCTION take_lock(locktype text, field1 oid, field2 oid, field3 oid, field4 int, mode text)
			RETURNS void STRICT PARALLEL SAFE COST 10000 LANGUAGE c AS '$ENV{LOCK_TAKER}'");
	return;
}

# What our reports say of waits, edges and roots and the server does not, or the other way round: no lines, one
# hopes. The waits must stand still meanwhile. (pg_blocking_pids() knows nothing of a standby's startup process.)
sub disagreements {
	my ($self) = @_;
	# A wait has its start time a moment after its place in the queue.
	$self->wait_until('NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND waitstart IS NULL)');
	return $self->ask(<<'SQL');
		WITH
			-- Of a speculative token pg_locks shows the transaction as if it were a database.
			wait AS (
				SELECT pid, locktype, nullif(database, CASE locktype WHEN 'spectoken' THEN database END), relation,
					mode, waitstart
				FROM pg_locks WHERE NOT granted),
			our_wait AS (
				SELECT pid, locktype, database, relation, mode_wanted, waitstart FROM unblock.lock_waits),
			pids AS (
				SELECT w.pid, coalesce(a.leader_pid, w.pid) AS leader,
					ARRAY(SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) ORDER BY 1) AS blockers
				FROM wait w LEFT JOIN pg_stat_activity a USING (pid)
				WHERE a.backend_type IS DISTINCT FROM 'startup'),
			edge AS (SELECT DISTINCT leader, unnest(blockers) FROM pids),
			our_edge AS (
				SELECT waiter_pid, blocker_pid FROM unblock.blocking_edges JOIN pids ON pid = waiter_pid
				UNION SELECT waiter_pid, blocker_pid FROM unblock.blocking_edges JOIN pids ON leader = waiter_pid),
			root AS (SELECT unnest(blockers) FROM pids EXCEPT SELECT leader FROM pids),
			our_root AS (SELECT pid FROM unblock.root_blockers)
		SELECT 'only in pg_locks: ' || w::text FROM (TABLE wait EXCEPT TABLE our_wait) w
		UNION ALL
		SELECT 'only in lock_waits: ' || w::text FROM (TABLE our_wait EXCEPT TABLE wait) w
		UNION ALL
		SELECT 'only in pg_blocking_pids: ' || e::text FROM (TABLE edge EXCEPT TABLE our_edge) e
		UNION ALL
		SELECT 'only in blocking_edges: ' || e::text FROM (TABLE our_edge EXCEPT TABLE edge) e
		UNION ALL
		SELECT 'roots only by pg_blocking_pids: ' || r::text FROM (TABLE root EXCEPT TABLE our_root) r
		UNION ALL
		SELECT 'only in root_blockers: ' || r::text FROM (TABLE our_root EXCEPT TABLE root) r
		UNION ALL
		SELECT 'blockers of ' || pid || ': not ' || blocker_count || ' with ' || coalesce(blocker_pid::text, 'none')
		FROM unblock.lock_waits JOIN pids USING (pid)
		WHERE blocker_count <> cardinality(blockers)
			OR coalesce(blocker_pid = ANY (blockers), false) <> (cardinality(blockers) > 0)
SQL
}

# The limit that an idle session would break first, as reports tell it: "setting|action|limit".
sub next_limit {
	my ($self, $session) = @_;
	return $self->ask(
		"SELECT next_limit, next_action, date_trunc('seconds', idle_time + due_in + '0.5 s')
		   FROM unblock.idle_transactions WHERE pid = $session->{pid}");
}

# --- the log -----------------------------------------------------------------------------------------

sub log_position {
	my ($self) = @_;
	return -s $self->logfile;
}

sub log_since {
	my ($self, $position) = @_;
	return slurp_file($self->logfile, $position);
}

# The lines on what was done, in order: the pairs of each line in a hash, and `at`, the line's
# epoch, which the server cuts to milliseconds.
sub actions {
	my ($self, $position) = @_;
	return $self->_lines('action', $position);
}

# The same for begin and end of blocking episodes.
sub episodes {
	my ($self, $position) = @_;
	return $self->_lines('episode', $position);
}

sub _lines {
	my ($self, $kind, $position) = @_;
	my @lines;
	my $json = JSON::PP->new->allow_nonref;
	for my $line (split /\n/, $self->log_since($position)) {
		next unless $line =~ /^([\d.]+) \[(\d+)\] LOG:  pg_unblock: ($kind=.*)$/;
		my %found = (at => $1, by => $2);
		my $pairs = $3;
		while ($pairs =~ /\G(\w+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)/gc) {
			my ($key, $value) = ($1, $2);
			$found{$key} = $value =~ /^"/ ? $json->decode($value) : $value;
		}
		die "not made of pairs: $line" if (pos($pairs) // 0) < length $pairs;
		push @lines, \%found;
	}
	return @lines;
}

sub actions_on {
	my ($self, $session, $position) = @_;
	return grep { $_->{pid} == $session->{pid} } $self->actions($position);
}

sub wait_for_action {
	my ($self, $session, $position) = @_;
	return PgUnblock::wait_for("an action on $session->{pid}",
		sub { ($self->actions_on($session, $position))[0] });
}

# Waits for the first action on a session and tests that it is the one expected ("action rule limit"), and that
# it came at this moment (epoch) or later. Returns it.
sub is_acted_on {
	my ($self, $session, $position, $expected, $not_before, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $action = $self->wait_for_action($session, $position);
	is("$action->{action} $action->{rule} $action->{limit}", $expected, $what);
	# The line is written after the signal; its time is cut to milliseconds.
	cmp_ok($action->{at} + 0.001, '>=', $not_before, "$what: not before the limit");
	return $action;
}

package PgUnblock::Session;

use strict;
use warnings FATAL => 'all';

use IO::Select ();
use IPC::Open3 qw(open3);
use Symbol     qw(gensym);
use Time::HiRes qw(time);

# A psql that stays connected, with VERBOSITY verbose so that messages carry their SQLSTATE. (The harness
# has one too, from PostgreSQL 16 on and with changes since; it logs every query of a polling loop.)
sub new {
	my ($class, $server, %params) = @_;
	my $conninfo = $server->connstr($params{dbname} // 'postgres') . " application_name='test'";
	$conninfo .= " user='$params{user}'"               if $params{user};
	$conninfo .= " replication='$params{replication}'" if $params{replication};
	$conninfo .= " $params{conninfo}"                  if $params{conninfo};
	local $ENV{PGOPTIONS} = $params{options} // '';
	my $err = gensym;
	my $psql = open3(my $in, my $out, $err, $server->installed_command('psql'),
		'-XAtq', '-v', 'VERBOSITY=verbose', '-v', 'SHOW_CONTEXT=never', '-d', $conninfo);
	my $self = bless {
		psql   => $psql,
		in     => $in,
		output => { handle => $out, text => '' },
		errors => { handle => $err, text => '' },
		mark   => 0
	}, $class;
	$in->autoflush;
	my ($pid, $errors) = $self->try('SELECT pg_backend_pid()');
	$self->{pid} = $pid =~ /^\d+$/ ? $pid : 0;
	$self->{refused} = $errors if $errors ne '';
	return $self;
}

# Runs statements to their end and returns what they print; dies on an error.
sub query {
	my ($self, $sql) = @_;
	my ($output, $errors) = $self->try($sql);
	die "\"$sql\" failed: $errors" if $errors ne '';
	return $output;
}

# The same, but errors are returned: (output, errors). Nothing if the session has ended before.
sub try {
	my ($self, $sql) = @_;
	$self->begin_statement($sql);
	return $self->end_statement;
}

# Runs statements and leaves the session as they leave it, since {since} or a moment later.
sub stay_idle {
	my ($self, @statements) = @_;
	$self->begin_to_stay_idle(@statements);
	$self->now_idle;
	return;
}

# The same in two steps.
sub begin_to_stay_idle {
	my ($self, @statements) = @_;
	$self->begin_statement(PgUnblock::in_one_go(@statements, $NOW));
	return;
}

sub now_idle {
	my ($self) = @_;
	my ($output, $errors) = $self->end_statement;
	die $errors if $errors ne '';
	($self->{since}) = $output =~ /([\d.]+)$/;
	return;
}

# Sends statements without waiting for their end.
sub begin_statement {
	my ($self, $sql) = @_;
	my $mark = 'end of statement ' . ++$self->{mark};
	$self->_send("$sql;\n\\echo $mark\n\\warn $mark\n");
	return;
}

# Waits for the end of what was begun: (output, errors).
sub end_statement {
	my ($self) = @_;
	my $end = qr/^end of statement $self->{mark}\n/m;
	$self->_read_until(sub { $_[0]{text} =~ $end });
	return map { $self->_take($_, $end) } qw(output errors);
}

# Sends a COPY FROM STDIN and none of its data, which the server waits for.
sub begin_copy {
	my ($self, $sql) = @_;
	$self->_send("$sql;\n");
	return;
}

# Tells that there are no more: (output, errors).
sub end_copy {
	my ($self) = @_;
	return $self->try("\\.\nSELECT 'end of data'");
}

# What psql says of the end of its session. It looks at the connection only when it has a statement to send.
sub last_words {
	my ($self) = @_;
	$self->_send("SELECT 'still connected';\n\\q\n");
	$self->_read_until(sub { 0 });
	die 'the session had not ended' if $self->{output}{text} =~ /still connected/;
	return $self->{errors}{text};
}

sub quit {
	my ($self) = @_;
	$self->_send("\\q\n");
	$self->_read_until(sub { 0 });
	return;
}

sub _send {
	my ($self, $text) = @_;
	local $SIG{PIPE} = 'IGNORE'; # psql leaves when its connection is lost
	print { $self->{in} } $text;
	return;
}

# Reads both streams until each has what is wanted, or its end.
sub _read_until {
	my ($self, $has_it) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (my @streams = grep { !$_->{ended} && !$has_it->($_) } @{$self}{qw(output errors)}) {
		my $left = $deadline - time;
		die "timed out waiting for psql; so far: $self->{output}{text}$self->{errors}{text}" if $left <= 0;
		# Nothing, too, when a signal has come in between.
		my @ready = IO::Select->new(map { $_->{handle} } @streams)->can_read($left);
		for my $stream (@streams) {
			next unless grep { $_ == $stream->{handle} } @ready;
			$stream->{ended} = 1 unless sysread $stream->{handle}, $stream->{text}, 65536, length $stream->{text};
		}
	}
	return;
}

# What came before the mark, without the last line break.
sub _take {
	my ($self, $name, $end) = @_;
	my $stream = $self->{$name};
	my $text;
	if ($stream->{text} =~ $end) {
		$text = substr $stream->{text}, 0, $-[0];
		$stream->{text} = substr $stream->{text}, $+[0];
	} else {
		$text = $stream->{text};
	}
	chomp $text;
	return $text;
}

sub DESTROY {
	my ($self) = @_;
	local ($?, $!);
	close $self->{in};
	kill 'KILL', $self->{psql}; # a test may have stopped it
	waitpid $self->{psql}, 0;
	return;
}

1;
