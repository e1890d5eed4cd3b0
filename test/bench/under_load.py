"""Reports called ten times a second while pgbench runs: what they cost it, and whether they are right.

Every client writes its pid into its application_name and its statements, so
that each row of a report, and each session that a text tells of, shows by
itself whether its details belong to its pid.
"""

import contextlib
import functools
import itertools
import random
import re
import statistics
import subprocess
import threading
import time

import psycopg2

from measuring import connect, decides, progress, ratio_with_interval, sample_until

CALLS_PER_SECOND = 10

# Their columns are those of Reporter.look_at().
VIEWS = ("blocking_chains", "lock_waits", "root_blockers", "idle_transactions")
# What tells in a text whom the rest of the line, and the lines after it, are about.
TEXTS = {
    "SELECT line FROM unblock.tree() AS line": re.compile(r"\W*(?:\(level \d+\) )?(\d+)\b"),
    "SELECT unblock.graph()": re.compile(r'\t"(\d+)" \['),
    "SELECT concat_ws(' ', finding, detail) FROM unblock.check()": re.compile(r"(?:session (\d+)\b)?"),
}
OTHERS = (
    "SELECT FROM unblock.horizon",
    "SELECT FROM unblock.blocking_edges",
    "SELECT FROM unblock.locks_held((SELECT max(pid) FROM pg_locks))",
)

# What a client says of itself, and a session that is named in passing.
BY_NAME = re.compile(r"(?:^|\()client (\d+)(?:$|\))")
BY_STATEMENT = re.compile(r"/\* by (\d+) \*/")
IN_PASSING = re.compile(r"\b(\d+) \w+@\w+ \(client (\d+)\)")

MOST_LOST = 1  # percent

# pgbench's TPC-B-like transaction at scale 1, where all wait for the one branch.
SCRIPT = r"""
\set aid random(1, 100000)
\set tid random(1, 10)
\set delta random(-5000, 5000)
BEGIN;
UPDATE /* by :me */ pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT /* by :me */ abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE /* by :me */ pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE /* by :me */ pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT /* by :me */ INTO pgbench_history (tid, bid, aid, delta, mtime)
    VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP);
END;
"""

# Once for each session; pgbench keeps the variable while the session lasts.
INTRODUCE = r"""
SELECT pg_backend_pid() AS me, set_config('application_name', 'client ' || pg_backend_pid(), false) \gset
"""
INTRODUCE_ONCE = r"\if :me = 0" + INTRODUCE + r"\endif"


class Reporter(threading.Thread):
    """Calls the reports in turn while it is switched on. Rows are looked at in the end: that would take time from the
    server, and count as the reports' cost."""

    def __init__(self, sessions_stay):
        super().__init__(daemon=True)
        self.connection = connect()
        self.sessions_stay = sessions_stay
        self.on = threading.Event()
        self.over = threading.Event()
        self.reports = itertools.cycle(self.all_reports())
        self.calls = self.rows = self.told = 0
        self.told_in_texts = 0
        self.kept = []
        self.wrong = []
        self.errors = []
        self.start_of = {}  # pid to backend_start, as first seen

    def run(self):
        while not self.over.is_set():
            self.on.wait()
            next_call = time.monotonic()
            while self.on.is_set() and not self.over.is_set():
                self.call(*next(self.reports))
                next_call += 1 / CALLS_PER_SECOND
                time.sleep(max(0, next_call - time.monotonic()))

    def all_reports(self):
        """Each with what looks at its rows."""
        for view in VIEWS:
            query = "SELECT pid, application_name, backend_start, query FROM unblock." + view
            yield query, lambda rows: [self.look_at(*row) for row in rows]
        for query, subject in TEXTS.items():
            yield query, functools.partial(self.read, subject)
        for query in OTHERS:
            yield query, None

    def call(self, query, look):
        self.calls += 1
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(query)
                rows = cursor.fetchall()
        except psycopg2.Error as error:
            self.errors.append(str(error))
            return
        if look:
            self.kept.append((look, rows))

    def look_at(self, pid, application_name, backend_start, query):
        self.rows += 1
        claims = BY_NAME.findall(application_name or "") + BY_STATEMENT.findall(query or "")
        self.told += bool(claims)
        other_start = (
            self.sessions_stay
            and backend_start is not None
            and self.start_of.setdefault(pid, backend_start) != backend_start
        )
        if any(int(claim) != pid for claim in claims) or other_start:
            self.wrong.append((pid, application_name, str(backend_start), query))

    def read(self, subject, rows):
        """Looks for details in a text that are not of the session that it is telling of."""
        pid = None
        for line in "\n".join(text for text, in rows).splitlines():
            if match := subject.match(line):
                pid = match[1]
            told = IN_PASSING.findall(line)
            rest = IN_PASSING.sub("", line)
            if pid is not None:
                told += [(pid, claim) for claim in BY_NAME.findall(rest) + BY_STATEMENT.findall(rest)]
            self.told_in_texts += len(told)
            if any(session != claim for session, claim in told):
                self.wrong.append((pid, line))

    def end(self):
        self.over.set()
        self.on.set()
        self.join()
        for look, rows in self.kept:
            look(rows)


@contextlib.contextmanager
def pgbench(script, clients, *options):
    with open("load.sql", "w") as file:
        file.write(script)
    command = ["pgbench", "-n", "-f", "load.sql", "-c", str(clients), "-j", "2", "-D", "me=0", "-T", "3600", *options]
    with open("load.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
        assert process.poll() is None, "pgbench has ended: " + open("load.log").read()
    finally:
        process.terminate()
        process.wait()


def reading(observer):
    """When, and how many transactions have ended so far: each had an id of its own. The server's own clock, since
    the answer may be late under this load."""
    with observer.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM clock_timestamp())::float8, pg_snapshot_xmax(pg_current_snapshot())::text"
        )
        moment, count = cursor.fetchone()
        return moment, int(count)


def slice_of_load(observer, reporter, on, seconds):
    """Transactions per second during a slice with or without the reporter."""
    if on:
        reporter.on.set()
    begin, first = reading(observer)
    time.sleep(seconds)
    end, last = reading(observer)
    reporter.on.clear()
    return (last - first) / (end - begin)


def pair_of_slices(observer, reporter, plan, switched_on=True):
    """In an order of its own, so that nothing else that comes and goes can keep step with it."""
    pair = {}
    for side in random.sample((True, False), 2):
        pair[side] = slice_of_load(observer, reporter, side and switched_on, plan.load_seconds)
    return pair[True], pair[False]


def bench_under_load(plan, targets):
    subprocess.run(["pgbench", "-i", "-q", "-s", "1"], check=True, capture_output=True)
    observer = connect()
    progress("Reports while 50 pgbench clients run, pairs of {} s".format(plan.load_seconds))
    staying = Reporter(sessions_stay=True)
    staying.start()
    with pgbench(INTRODUCE_ONCE + SCRIPT, 50):
        time.sleep(2)
        pairs = []
        sample_until(
            lambda: decides(ratio_with_interval(pairs), 1 - MOST_LOST / 100),
            plan.load_pairs,
            lambda: pairs.append(pair_of_slices(observer, staying, plan)),
        )
        progress("The same without reports on either side: what the method itself makes of it")
        nothing = [pair_of_slices(observer, staying, plan, switched_on=False) for _ in range(plan.load_pairs)]
    staying.end()

    progress("Reports while sessions come and go")
    passing = Reporter(sessions_stay=False)
    passing.start()
    with pgbench(INTRODUCE + SCRIPT, 20, "-C"):
        passing.on.set()
        time.sleep(plan.passing_seconds)
        passing.end()

    print_load(plan, pairs, nothing, targets)
    for title, reporter in ("50 sessions", staying), ("sessions that come and go", passing):
        print_findings(title, reporter, targets)


def print_load(plan, pairs, nothing, targets):
    title = "50 pgbench clients, pairs of {} s".format(plan.load_seconds)
    print("\n{:<44}{:>12}{:>20}{:>28}".format(title, "one side", "the other", "ratio (95 %)"))
    reports = "{} reports a second".format(CALLS_PER_SECOND)
    for name, sides in (reports + " / none", pairs), ("none / none", nothing):
        name += ", {} pairs".format(len(sides))
        medians = [statistics.median(side) for side in zip(*sides)]
        ratio = "{:.3f} ({:.3f} .. {:.3f})".format(*ratio_with_interval(sides))
        print("  {:<42}{:>8.0f} tps{:>16.0f} tps{:>28}".format(name, *medians, ratio))
    loss, high, low = (100 * (1 - value) for value in ratio_with_interval(pairs))
    what = "loss through {}, {} pairs".format(reports, len(pairs))
    targets.at_most_by_interval(what, loss, low, high, MOST_LOST, " %")


def print_findings(title, reporter, targets):
    print(
        "  {}: {} calls, {} rows, {} of them with a pid in their details, {} such details in texts".format(
            title, reporter.calls, reporter.rows, reporter.told, reporter.told_in_texts
        )
    )
    for text in [str(row) for row in reporter.wrong[:3]] + reporter.errors[:3]:
        print("    " + text)
    targets.at_most("errors, {}".format(title), len(reporter.errors), 0)
    targets.at_most("rows and lines with wrong details, {}".format(title), len(reporter.wrong), 0)
    targets.at_least("rows looked at, {}".format(title), reporter.told, 1)
    targets.at_least("details looked at in texts, {}".format(title), reporter.told_in_texts, 1)
