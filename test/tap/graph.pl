# graph() is read by Graphviz, says what blocking_edges says, and nothing that a client can name or write
# breaks out of a label. "Drawn" are the texts that Graphviz would put into the picture. All texts are bytes.

use strict;
use warnings FATAL => 'all';
use feature 'state';
use FindBin;
use IPC::Run ();
use JSON::PP ();
use lib "$FindBin::RealBin/lib";
use PgUnblock;
use Test::More;

my $server = PgUnblock->preloaded('main', 'autovacuum = off', 'deadlock_timeout = 1h',
	'max_prepared_transactions = 8', 'max_connections = 120', 'track_activity_query_size = 1024');

# What Graphviz makes of it: nodes by name and edges, each with its attributes and its label {drawn}.
sub parse_dot {
	my ($text) = @_;
	my ($json, $errors);
	IPC::Run::run([ 'dot', '-Tjson' ], '<', \$text, '>', \$json, '2>', \$errors) or die "$errors in $text";
	is($errors, '', 'Graphviz has nothing to say');
	my $drawing = JSON::PP->new->decode($json);
	my @nodes   = @{ $drawing->{objects} // [] };
	for my $item (@nodes, @{ $drawing->{edges} // [] }) {
		$item->{drawn} = join "\n", map { as_drawn($_->{text}) } grep { $_->{op} eq 'T' } @{ $item->{_ldraw_} // [] };
	}
	for my $edge (@{ $drawing->{edges} // [] }) {
		$edge->{$_} = node_name($nodes[ $edge->{$_} ]) for qw(tail head);
	}
	return {
		nodes => { map { node_name($_) => $_ } @nodes },
		edges => $drawing->{edges} // [],
		label => $drawing->{label}
	};
}

# The backslashes of a text that is drawn, which count double in the JSON of newer versions.
sub as_drawn {
	my ($text) = @_;
	state $count_double = do {
		my $backslash = 'digraph { n [label="\\\\"] }';
		IPC::Run::run([ 'dot', '-Tjson' ], '<', \$backslash, '>', \my $json) or die;
		$json =~ /"text": "\\\\\\\\"/;
	};
	return $count_double ? $text =~ s/\\\\/\\/gr : $text;
}

# A pid, or the gid of a prepared transaction: its backslashes count double in names.
sub node_name {
	my ($node) = @_;
	return $node->{name} =~ s/^prepared //r =~ s/\\\\/\\/gr;
}

# Of the arrows that have no label Graphviz says only where they are: their tooltips are read here.
sub lines_of_edge {
	my ($edge) = @_;
	return map { s/^ //r } split /\n/, $edge->{drawn} if $edge->{drawn} ne '';
	return map { s/&amp;/&/gr =~ s/\\(.)/$1/gr } split /\\l/, $edge->{tooltip};
}

sub sorted_lines {
	return join "\n", sort @_;
}

sub literal {
	my ($text) = @_;
	return "E'" . $text =~ s/([\\'])/$1$1/gr . "'";
}

# The graph as seen in a database, compared with the rows of reports, which must hold still.
sub check_graph {
	my ($name, $session) = @_;
	# A wait has its start time a moment after its place in the queue.
	$server->wait_until('NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND waitstart IS NULL)');
	my $text  = $session->query('SELECT unblock.graph()');
	my $graph = parse_dot($text);
	my $rows  = sub { sorted_lines(split /\n/, $session->query($_[0])) };

	is( sorted_lines(keys %{ $graph->{nodes} }),
		$rows->('SELECT DISTINCT coalesce(gid, pid::text) FROM unblock.blocking_chains'),
		"$name: nodes");
	is( sorted_lines(map { edge_row($_) } @{ $graph->{edges} }),
		$rows->('SELECT waiter_pid, blocker_pid, kind, lock, mode_wanted, mode_held FROM unblock.blocking_edges'),
		"$name: edges");
	is( sorted_lines(map { "$_->{tail}|" . pid_of($_->{head}) } grep { $_->{penwidth} } @{ $graph->{edges} }),
		$rows->('SELECT pid, blocker_pid FROM unblock.lock_waits'),
		"$name: primary blockers are bold");
	my $nodes_with = sub {
		my ($color) = @_;
		return sorted_lines(grep { ($graph->{nodes}{$_}{fillcolor} // '') eq $color } keys %{ $graph->{nodes} });
	};
	# These name what is prepared by gid: its arrows, and the bold ones of them.
	my @to_prepared = grep { !pid_of($_->{head}) } @{ $graph->{edges} };
	my %arrows;
	++$arrows{ $_->{head} } for @to_prepared;
	is( sorted_lines(map { "$_|$arrows{$_}" } keys %arrows),
		$rows->('SELECT gid, direct_waiters FROM unblock.root_blockers WHERE pid = 0'),
		"$name: waiters of each prepared transaction");
	is( sorted_lines(map { "$_->{tail}|$_->{head}" } grep { $_->{penwidth} } @to_prepared),
		$rows->('SELECT below.pid, top.gid FROM unblock.blocking_chains top JOIN unblock.blocking_chains below
			USING (chain_id) WHERE top.pid = 0 AND below.depth = 1'),
		"$name: who is below each prepared transaction");
	is($nodes_with->('#f4cccc'), $rows->('SELECT coalesce(gid, pid::text) FROM unblock.root_blockers'),
		"$name: roots");
	is($nodes_with->('#fff2cc'), $rows->('SELECT pid FROM unblock.blocking_chains WHERE in_cycle'),
		"$name: deadlocks");
	check_mermaid($name, $graph, $session->query("SELECT unblock.graph('mermaid')"));
	return $graph;
}

sub pid_of {
	my ($name) = @_;
	return $name =~ /^\d+$/ ? $name : 0;
}

sub edge_row {
	my ($edge) = @_;
	my ($lock, $wanted, $held) = lines_of_edge($edge);
	my $blocker = pid_of($edge->{head});
	my $kind    = ($edge->{style} // '') eq 'dashed' ? 'queued' : $blocker ? 'holds' : 'prepared';
	return join '|', $edge->{tail}, $blocker, $kind, $lock, $wanted =~ s/ waits.*//r, $held =~ s/^(?:for|behind) //r;
}

# The same nodes and arrows. Nothing but what was written by the extension itself stands outside of labels, and
# no character in one means anything.
sub check_mermaid {
	my ($name, $graph, $text) = @_;
	my $label = qr/"(?:[A-Za-z0-9 \x80-\xff]|#\d+;|<br\/>)*"/;
	my (%name_of, @edges, @rest);
	for my $line (split /\n/, $text) {
		if ($line =~ /^    (\w+)\[($label)\](?::::(?:root|deadlock))?$/) { $name_of{$1} = mermaid_name($1, $2) }
		elsif ($line =~ /^    (\w+) (-->|-\.->)\|$label\| (\w+)$/) { push @edges, "$name_of{$1} $2 $name_of{$3}" }
		else                                                         { push @rest, $line }
	}
	is(sorted_lines(values %name_of), sorted_lines(keys %{ $graph->{nodes} }), "$name: nodes in Mermaid");
	is( sorted_lines(@edges),
		sorted_lines(map { join ' ', $_->{tail}, $_->{style} ? '-.->' : '-->', $_->{head} } @{ $graph->{edges} }),
		"$name: arrows in Mermaid");
	like(
		join("\n", @rest),
		qr/\Aflowchart BT\n    classDef root [^\n]*\n    classDef deadlock [^\n]*(?:\n    linkStyle [\d,]+ stroke-width:4px)?\z/,
		"$name: the rest of Mermaid");
	return;
}

# As Graphviz' nodes are named, see node_name().
sub mermaid_name {
	my ($id, $label) = @_;
	return $1 if $id =~ /^s(\d+)$/;
	my ($gid) = $label =~ s/#(\d+);/chr $1/ger =~ /(?:^"|<br\/>)prepared transaction '(.*)', \d/;
	return $gid // $id;
}

sub statement_as_drawn {
	my ($graph, $session) = @_;
	return $graph->{nodes}{ $session->{pid} }{drawn} =~ s/\A.*?waits [^\n]*\n(?:blocks [^\n]*\n)?(.*?);?\z/$1/sr;
}

# --- nobody waits
my $graph = parse_dot($server->ask('SELECT unblock.graph()'));
is_deeply([ $graph->{nodes}, $graph->{edges} ], [ {}, [] ], 'an empty graph');
is($graph->{label}, 'No session waits for a lock.\l', 'an empty graph says so');

# --- formats
is($server->ask("SELECT unblock.graph('DOT') = unblock.graph(), unblock.graph('Mermaid') ^@ 'flowchart '"),
	't|t', 'formats in any case');
my (undef, $errors) = $server->session->try("SELECT unblock.graph('svg')");
like($errors, qr/^ERROR:  22023: .*"svg"/, 'another format is refused');
like($errors, qr/^HINT: .*dot.*mermaid/m, 'with a hint');

# --- chains of all kinds at once
$server->ask($_) for 'CREATE TABLE queue_of_migrations ()', 'CREATE TABLE together ()', 'CREATE TABLE one ()',
	'CREATE TABLE two ()', 'CREATE TABLE "Odd ""name"" \\ <&>" ()', 'CREATE TABLE hot AS SELECT 1 AS n',
	'CREATE TABLE texts ()';
my @sessions = $server->idle_session('SELECT FROM queue_of_migrations');
push @sessions, map { $server->waiting_session($_) } ('ALTER TABLE queue_of_migrations ADD a int') x 2,
	('SELECT FROM queue_of_migrations') x 2;
push @sessions, $server->idle_session('UPDATE hot SET n = n');
push @sessions, map { $server->waiting_session('UPDATE hot SET n = n') } 1 .. 4;
push @sessions, map { $server->idle_session('SELECT FROM together') } 1 .. 2;
push @sessions, $server->waiting_session('DROP TABLE together');
push @sessions, $server->idle_session('LOCK "Odd ""name"" \\ <&>"');
push @sessions, map { $server->waiting_session('SELECT FROM "Odd ""name"" \\ <&>"') } 1 .. 2;
my ($first, $second) = map { $server->idle_session("LOCK $_") } qw(one two);
$first->begin_statement('LOCK two');
$second->begin_statement('LOCK one');
$server->wait_until('(SELECT count(*) = 2 FROM unblock.blocking_chains WHERE in_cycle)');
push @sessions, $first, $second, $server->waiting_session('SELECT FROM one');

my @gids = ('plain', "it's \"quoted\" \"", 'back\\slash\\', '\\"', '<b>&lt;</b> "];x["');
for my $n (0 .. $#gids) {
	$server->ask("CREATE TABLE prepared_$n ()");
	$server->session->query("BEGIN; LOCK prepared_$n; PREPARE TRANSACTION " . literal($gids[$n]));
	push @sessions, $server->waiting_session("SELECT FROM prepared_$n");
}
# Two on one table, one of which is in nobody's way but the last one's.
push @gids, 'reads', 'writes';
$server->ask('CREATE TABLE prepared_twice ()');
$server->session->query("BEGIN; LOCK prepared_twice IN $$_[1] MODE; PREPARE TRANSACTION '$$_[0]'")
	for [ 'reads', 'ACCESS SHARE' ], [ 'writes', 'ROW EXCLUSIVE' ];
my ($shares, $excludes) = map { $server->waiting_session("BEGIN \\; LOCK prepared_twice IN $_ MODE") } 'SHARE',
	'ACCESS EXCLUSIVE';
push @sessions, $shares, $excludes;
$graph = check_graph('all kinds', $server->session);
is( sorted_lines(
		map { "$_->{tail} for $_->{head}" } grep { $_->{head} =~ /^(?:reads|writes)$/ } @{ $graph->{edges} }),
	sorted_lines("$shares->{pid} for writes", map { "$excludes->{pid} for $_" } 'reads', 'writes'),
	'two prepared transactions on one table');
is(scalar(keys %{ $graph->{nodes} }), @sessions + @gids, 'all are there');
for my $gid (@gids) {
	like($graph->{nodes}{$gid}{drawn}, qr/^prepared transaction '\Q$gid\E', \d/m, "a prepared transaction: $gid");
}
like(
	$graph->{nodes}{ $sessions[0]{pid} }{drawn},
	qr/^$sessions[0]{pid} \w+\@postgres \(test\)\nidle in transaction for \d/,
	'who it is and for how long it has been idle');

# --- texts of clients
my $blocker = $server->idle_session('LOCK texts');

# A session that waits with that text as its application's name and in its statement.
sub client_with_text {
	my ($text, %params) = @_;
	my $session = $server->session(%params);
	$session->query('SET application_name = ' . literal($text));
	$session->begin_statement("SELECT /*$text*/ FROM texts");
	$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $session->{pid} AND NOT granted)");
	return $session;
}

sub on_one_line {
	my ($text) = @_;
	return $text =~ s/[\x00-\x20\x7f]+/ /gr;
}

my %clients = map { $_ => client_with_text($_) } '"];x["', '\\', 'ends \\"', '\\N\\G\\l\\n', '<b>&lt;&#34;</b>',
	"a\nb\r\n\tc", '--> %%{init:{}}%% `x` #quot;', '|x|{y}[z](w)';
$graph = check_graph('texts', $server->session);
for my $text (sort keys %clients) {
	my $drawn = $graph->{nodes}{ $clients{$text}{pid} }{drawn};
	my $shown = on_one_line($text);
	is(statement_as_drawn($graph, $clients{$text}) =~ s/\n/ /gr, "SELECT /*$shown*/ FROM texts", "a statement: $shown");
	# The server itself makes question marks of control characters in names, from 16 on their numbers.
	my $app = $text =~ s/[^\x20-\x7e]/$server->major < 16 ? '?' : sprintf '\\x%02x', ord $&/ger;
	like($drawn, qr/^\d+ \w+\@postgres \(\Q$app\E\)$/m, "an application: $shown");
}

# --- a statement that track_activity_query_size cuts inside a character
my $begin  = 'SELECT FROM texts';
my $in_sum = 1023 - 60 * 2 - 1; # sixty characters and half of one more fit
my $long   = $server->waiting_session(
	$begin . ' ' x ($in_sum - length($begin) - 2) . '/*' . 'é' x 200 . '*/');
$graph = check_graph('a cut statement', $server->session);
is(statement_as_drawn($graph, $long), "$begin\n/*" . 'é' x 42 . "\n" . 'é' x 18, 'a cut statement');

# --- databases in other encodings, and what is seen from where
my %invalid = (LATIN1 => "\xe9t\xe9 \xff", SQL_ASCII => "\xff\xfe \xe6\x97 \x80");
for my $encoding (sort keys %invalid) {
	my $dbname = lc $encoding;
	$server->ask("CREATE DATABASE $dbname ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	my $there = $server->session(dbname => $dbname);
	$there->query('CREATE EXTENSION pg_unblock; CREATE TABLE texts ()');
	my $holder = $server->idle_session('LOCK texts', dbname => $dbname);
	my $waiter = $server->session(dbname => $dbname, options => "-c client_encoding=$encoding");
	$waiter->begin_statement("SELECT /*$invalid{$encoding}*/ FROM texts");
	$server->wait_until("EXISTS (SELECT FROM pg_locks WHERE pid = $waiter->{pid} AND NOT granted)");
	my $from_utf8 = client_with_text('日本');

	my $shown = $invalid{$encoding} =~ s/[\x80-\xff]/?/gr;
	for ([ 'UTF8', $server->session ], [ $encoding, $there ]) {
		my ($reader, $session) = @$_;
		my $drawn = check_graph("$encoding seen from $reader", $session);
		is(statement_as_drawn($drawn, $waiter), "SELECT /*$shown*/ FROM texts", "$encoding seen from $reader: the text");
		is( statement_as_drawn($drawn, $from_utf8),
			$reader eq 'UTF8' ? 'SELECT /*日本*/ FROM texts' : 'SELECT /*??????*/ FROM texts',
			"$encoding seen from $reader: UTF-8");
	}
}

# --- of other users' sessions only what is no secret
$server->ask('CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA unblock TO reader');
my $secret = client_with_text('secret');
$graph = parse_dot($server->session(user => 'reader')->query('SELECT unblock.graph()'));
like(
	$graph->{nodes}{ $secret->{pid} }{drawn},
	qr/\A$secret->{pid} \w+\@postgres\nwaits\n<insufficient privilege>\z/,
	'masked');

# --- more pairs than are drawn
$server->ask('CREATE TABLE crowded ()');
my $holder = $server->idle_session('LOCK crowded');
my @crowd = map { $server->session } 1 .. 50;
$_->begin_statement('BEGIN \\; LOCK crowded') for @crowd;
$server->wait_until("(SELECT count(*) = 50 FROM pg_locks WHERE relation = 'crowded'::regclass AND NOT granted)");
my $pairs = $server->ask('SELECT sum(cardinality(pg_blocking_pids(pid))) FROM pg_locks WHERE NOT granted');
cmp_ok($pairs, '>', 1000, 'a crowd');
for my $most (0, 10, $pairs - 1) {
	my ($rows, $told) = $server->session->try("SELECT count(*) FROM unblock.blocking_edges($most)");
	is($rows, $most, "a crowd: $most pairs");
	like($told, qr/\ANOTICE:  00000: there are more pairs than the $most shown\nHINT:  .*max_rows.*\nLOCATION: .*\z/,
		"a crowd: a notice with $most pairs");
}
for my $all ('null', $pairs, '') {
	is_deeply([ $server->session->try("SELECT count(*) FROM unblock.blocking_edges($all)") ],
		[ $pairs, '' ], "a crowd: all pairs, without a notice ($all)");
}
$graph = parse_dot($server->ask('SELECT unblock.graph()'));
like($graph->{label}, qr/Not complete/, 'a crowd: the picture says so');
is( sorted_lines(map { "$_->{tail}|" . pid_of($_->{head}) } @{ $graph->{edges} }),
	sorted_lines(split /\n/, $server->ask('SELECT pid, blocker_pid FROM unblock.lock_waits')),
	'a crowd: primary blockers alone');
is(scalar(grep { $graph->{nodes}{ $_->{pid} } } $holder, @crowd), 51, 'a crowd: everybody is there');

$server->stop;
done_testing();
