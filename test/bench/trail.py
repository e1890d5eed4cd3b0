"""What it costs that sessions remember which of their statements took locks: two servers with the same data, one of
which has the trail and one has not. Then whether a session's memory grows with it.

One client, so that what is measured is the server's work and neither waits nor the scheduler. Nothing is synchronized
with the disk.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import time
from typing import NamedTuple

from measuring import ask, connect, decides, execute, progress, ratio_with_interval, restart, sample_until

STATEMENTS = 16  # that the trail remembers: the default
MOST_LOST = 1  # percent
MOST_INSTRUCTIONS = 0.5  # percent more, outside of transaction blocks
MOST_GROWTH = 200  # kB
MANY_TABLES = 2000

CONFIGURATION = """
    listen_addresses = ''
    unix_socket_directories = '{data}'
    shared_preload_libraries = 'pg_unblock'
    shared_buffers = 128MB
    fsync = off
    synchronous_commit = off
    full_page_writes = off
    max_wal_size = 4GB
    checkpoint_timeout = '1h'
    autovacuum = off
"""

IN_BLOCK = r"""
\set aid random(1, 100000)
BEGIN;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
END;
"""
SCRIPTS = {
    "TPC-B-like": ["-b", "tpcb-like"],
    "select in a block": ["-f", "in_block.sql"],
    "select alone": ["-b", "select-only"],
}


class Case(NamedTuple):
    script: str
    protocol: str

    def title(self):
        return "{}, {}".format(self.script, self.protocol)


# What is counted exactly is counted for both protocols. Time takes its time: the first is what pgbench is known for;
# prepared statements leave the least work beside ours.
COUNTED = [Case(script, protocol) for script in SCRIPTS for protocol in ("simple", "prepared")]
TIMED = (Case("TPC-B-like", "simple"), Case("select in a block", "prepared"), Case("select alone", "prepared"))


def bench_trail(plan, targets):
    with two_servers() as servers:
        bench_instructions(servers, plan, targets)
        bench_pairs(servers, plan, targets)
    bench_memory(plan, targets)


@contextlib.contextmanager
def two_servers():
    """The data directories of two servers that do not run, one a copy of the other."""
    servers = [os.path.abspath(name) for name in ("first", "second")]
    with open("in_block.sql", "w") as file:
        file.write(IN_BLOCK)
    try:
        make_server(servers[0])
        shutil.copytree(*servers)
        for data in servers:
            configure(data)
        yield servers
    finally:
        for data in servers:
            stop(data)
            shutil.rmtree(data, ignore_errors=True)


def make_server(data):
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    subprocess.run(["initdb", "-D", data, *options], check=True, capture_output=True)
    configure(data)
    start(data)
    # Room for the new versions of rows beside the old ones, so that the tables do not grow.
    subprocess.run(["pgbench", "-h", data, "-i", "-q", "-s", "1", "-F", "50"], check=True, capture_output=True)
    stop(data)


def configure(data):
    with open(os.path.join(data, "postgresql.auto.conf"), "w") as file:
        file.write(CONFIGURATION.format(data=data))


def start(data):
    subprocess.run(["pg_ctl", "start", "-s", "-w", "-D", data, "-l", os.path.join(data, "bench.log")], check=True)


def stop(data):
    """Which may not run."""
    subprocess.run(["pg_ctl", "stop", "-s", "-w", "-m", "fast", "-D", data], capture_output=True)


def trail_setting(has_trail):
    return "pg_unblock.statement_trail={}".format(STATEMENTS if has_trail else 0)


def pgbench(data, case, *options):
    """Transactions per second."""
    command = ["pgbench", "-h", data, "-c", "1", "-M", case.protocol, *SCRIPTS[case.script], *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"tps = ([\d.]+)", output).group(1))


def bench_instructions(servers, plan, targets):
    counts = {}
    for data, has_trail in zip(servers, (True, False)):
        with counting_server(data, trail_setting(has_trail)) as counter:
            for case in COUNTED:
                progress("Instructions {} the trail: {}".format("with" if has_trail else "without", case.title()))
                counts[case, has_trail] = counter.of_transaction(case, plan.trail_transactions)
    print("\n{:<44}{:>12}{:>20}{:>20}".format("Instructions per transaction", "trail", "none", "more"))
    for case in COUNTED:
        above, below = counts[case, True], counts[case, False]
        more = 100 * (above / below - 1)
        print("  {:<42}{:>12.0f}{:>20.0f}{:>18.2f} %".format(case.title(), above, below, more))
    # Of the server's own code, without the kernel's work for each message, which is in pgbench's figures.
    for case in COUNTED:
        if case.script != "select alone":
            continue
        more = 100 * (counts[case, True] / counts[case, False] - 1)
        targets.at_most("more instructions through the trail, " + case.title(), more, MOST_INSTRUCTIONS, " %")


@contextlib.contextmanager
def counting_server(data, setting):
    """Every process leaves a file in the directory when it ends, named for its pid. With asynchronous commits it would
    depend on the time whether a row can be marked as committed."""
    counts_directory = data + "_counts"
    os.mkdir(counts_directory)
    valgrind = ["valgrind", "-q", "--tool=callgrind", "--callgrind-out-file={}/%p".format(counts_directory)]
    options = ["-c", setting, "-c", "synchronous_commit=on"]
    with open("valgrind.log", "w") as log:
        server = subprocess.Popen([*valgrind, "postgres", "-D", data, *options], stdout=log, stderr=log)
    try:
        wait_for(lambda: server.poll() is not None or is_ready(data))
        assert server.poll() is None, "the server has ended: " + open("valgrind.log").read()
        yield Counter(data, server.pid, counts_directory)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        shutil.rmtree(counts_directory)


def is_ready(data):
    return subprocess.run(["pg_isready", "-q", "-h", data]).returncode == 0


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("not true after {} s".format(seconds))
        time.sleep(0.1)


class Counter:
    def __init__(self, data, server, counts_directory):
        self.data = data
        self.server = server
        self.counts_directory = counts_directory

    def of_transaction(self, case, transactions):
        """Of the later half of a session's transactions: a session of half the length is all that they are not."""
        half, whole = (self.of_session(case, count) for count in (transactions, 2 * transactions))
        return (whole - half) / transactions

    def of_session(self, case, transactions):
        children = children_of(self.server)
        counted = set(os.listdir(self.counts_directory))
        pgbench(self.data, case, "-n", "--random-seed=1", "-t", str(transactions))
        wait_for(lambda: children_of(self.server) <= children)
        # pgbench has a short session of its own beside its client's.
        return max(self.total_of(pid) for pid in set(os.listdir(self.counts_directory)) - counted)

    def total_of(self, pid):
        with open(os.path.join(self.counts_directory, pid)) as file:
            return int(re.search(r"^totals: (\d+)$", file.read(), re.MULTILINE).group(1))


def children_of(parent):
    children = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open("/proc/{}/stat".format(pid)) as file:
            if int(file.read().rpartition(")")[2].split()[1]) == parent:
                children.add(pid)
    return children


def bench_pairs(servers, plan, targets):
    pairs = {case: [] for case in TIMED}
    for data in servers:
        start(data)
    counts = {case: round(pgbench(servers[0], case, "-T", "1") * plan.trail_seconds) for case in TIMED}

    def add_pair():
        progress("pgbench with and without the trail, sample {}".format(len(pairs[TIMED[0]]) + 1))
        for case, pair in one_pair(servers, counts).items():
            pairs[case].append(pair)

    def decided():
        return all(decides(ratio_with_interval(sides), 1 - MOST_LOST / 100) for sides in pairs.values())

    one_pair(servers, counts)  # warms up
    sample_until(decided, plan.trail_pairs, add_pair, seconds=plan.trail_limit)
    print_pairs(plan, pairs, targets)


def one_pair(servers, counts):
    """Each server has the trail once, and every restart lays memory out anew: what makes one server faster than its
    copy, sometimes by more than a percent, is on both sides, or differs from sample to sample."""
    rates = {case: {True: [], False: []} for case in counts}
    for first_has_trail in random.sample((True, False), 2):
        side_of = dict(zip(servers, (first_has_trail, not first_has_trail)))
        for data, has_trail in side_of.items():
            restart(data, trail_setting(has_trail))
        for case, count in counts.items():
            for data in servers:
                pgbench(data, case, "-t", str(count // 2))
            for _ in range(2):
                for data in random.sample(servers, 2):
                    rates[case][side_of[data]].append(pgbench(data, case, "-n", "-t", str(count)))
    return {
        case: tuple(statistics.geometric_mean(sides[has_trail]) for has_trail in (True, False))
        for case, sides in rates.items()
    }


def print_pairs(plan, pairs, targets):
    count = len(pairs[TIMED[0]])
    title = "pgbench, {} samples, 4 x {} s a side".format(count, plan.trail_seconds)
    print("\n{:<44}{:>12}{:>20}{:>28}".format(title, "trail", "none", "ratio (95 %)"))
    for case, sides in pairs.items():
        medians = [statistics.median(side) for side in zip(*sides)]
        ratio = "{:.3f} ({:.3f} .. {:.3f})".format(*ratio_with_interval(sides))
        print("  {:<42}{:>8.0f} tps{:>16.0f} tps{:>28}".format(case.title(), *medians, ratio))
    for case, sides in pairs.items():
        loss, high, low = (100 * (1 - value) for value in ratio_with_interval(sides))
        what = "loss through the trail, {}, {} samples".format(case.title(), count)
        targets.at_most_by_interval(what, loss, low, high, MOST_LOST, " %")


def bench_memory(plan, targets):
    progress("Memory of a session, {} transaction blocks".format(plan.trail_blocks))
    observer = connect()
    execute(
        observer,
        "CREATE SCHEMA many",
        "DO $$ BEGIN FOR i IN 1..{} LOOP EXECUTE 'CREATE TABLE many.t' || i || ' (id int)'; END LOOP; END $$".format(
            MANY_TABLES
        ),
    )
    session = connect()
    for _ in range(2):
        run_blocks(session, plan.trail_blocks // 20)
        lock_many(session)
    before = private_memory(session)
    run_blocks(session, plan.trail_blocks)
    between = private_memory(session)
    lock_many(session)
    after = private_memory(session)
    session.close()
    execute(observer, "DROP SCHEMA many CASCADE")
    observer.close()

    title = "Memory of a session's own"
    print("\n{:<44}{:>12}{:>20}{:>20}".format(title, "before", "after", "more"))
    blocks = "{} blocks, 3 tables each".format(plan.trail_blocks)
    for name, begin, end in (
        (blocks, before, between),
        ("then a block that locks {} tables".format(MANY_TABLES), between, after),
    ):
        print("  {:<42}{:>9} kB{:>17} kB{:>17} kB".format(name, begin, end, end - begin))
    what = "memory grown in {} and one of {} tables".format(blocks, MANY_TABLES)
    targets.at_most(what, after - before, MOST_GROWTH, " kB")


def run_blocks(session, count):
    for number in range(count):
        execute(
            session,
            "BEGIN",
            "UPDATE hot SET n = n + 1 WHERE id = {}".format(number % 200 + 1),
            "SAVEPOINT before",
            "SELECT FROM many.t1 FOR SHARE",
            "ROLLBACK TO before",
            "LOCK TABLE many.t2 IN SHARE MODE",
            "COMMIT",
        )


def lock_many(session):
    execute(
        session,
        "BEGIN",
        *("SELECT FROM many.t{}".format(number) for number in range(1, MANY_TABLES + 1)),
        "COMMIT",
    )


def private_memory(session):
    """In kB; without what of the server's shared memory it has touched."""
    with open("/proc/{}/status".format(ask(session, "SELECT pg_backend_pid()"))) as file:
        return int(re.search(r"RssAnon:\s+(\d+) kB", file.read()).group(1))
