"""Prints what pg_unblock costs: its reports beside other ways to ask, the
enforcer with a thousand sessions connected, and pgbench with and without it.

All ratios are between numbers of the same run on the same server.
"""

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import time

import psycopg2

import waiters

ACTIVITY = "pg_stat_activity"
BLOCKING_PIDS = "pg_blocking_pids() over all waiters"
CHAINS = "unblock.blocking_chains"

# The plain tree follows granted locks only and knows no lock conflicts, like most of its kind.
LOCK_TREE = """
    WITH RECURSIVE blocks AS (
        SELECT DISTINCT waiter.pid, holder.pid AS blocker
        FROM pg_locks waiter JOIN pg_locks holder
          ON (holder.locktype, holder.database, holder.relation, holder.page, holder.tuple, holder.virtualxid,
              holder.transactionid, holder.classid, holder.objid, holder.objsubid) IS NOT DISTINCT FROM
             (waiter.locktype, waiter.database, waiter.relation, waiter.page, waiter.tuple, waiter.virtualxid,
              waiter.transactionid, waiter.classid, waiter.objid, waiter.objsubid)
        WHERE holder.granted AND NOT waiter.granted AND holder.pid <> waiter.pid
    ), tree AS (
        SELECT DISTINCT blocker AS pid, ARRAY[blocker] AS path
        FROM blocks WHERE blocker NOT IN (SELECT pid FROM blocks)
        UNION ALL
        SELECT blocks.pid, path || blocks.pid
        FROM tree JOIN blocks ON blocks.blocker = tree.pid WHERE blocks.pid <> ALL (path)
    )
    SELECT path, activity.* FROM tree JOIN pg_stat_activity activity USING (pid) ORDER BY path"""

QUERIES = {
    ACTIVITY: "SELECT * FROM pg_stat_activity",
    "unblock.lock_waits": "SELECT * FROM unblock.lock_waits",
    CHAINS: "SELECT * FROM unblock.blocking_chains",
    "unblock.root_blockers": "SELECT * FROM unblock.root_blockers",
    BLOCKING_PIDS: "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    "recursive lock tree over pg_locks": LOCK_TREE,
}

SCENARIOS = [
    ("200 waiters on one row", waiters.row_pile, 200),
    ("1000 waiters on one row", waiters.row_pile, 1000),
    ("1000 readers behind an ALTER TABLE", waiters.table_queue, 1000),
    ("A chain of 100", waiters.chain, 100),
]

ENFORCER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_unblock enforcer'"


class Plan:
    """How often and how long."""

    def __init__(self, quick):
        self.rounds = 3 if quick else 11
        self.timeout = 10 if quick else 120
        self.enforcer_seconds = 10 if quick else 60
        self.pgbench_pairs = 3 if quick else 12
        self.pgbench_seconds = 3 if quick else 10


class Discard:
    def write(self, data):
        pass


def connect():
    connection = psycopg2.connect("application_name=observer")
    connection.autocommit = True
    return connection


def execute(connection, *statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def progress(text):
    print(text, file=sys.stderr, flush=True)


def milliseconds(connection, query):
    """The time until the whole result is here as text, or None at the time-out."""
    with connection.cursor() as cursor:
        begin = time.perf_counter()
        try:
            cursor.copy_expert("COPY ({}) TO STDOUT".format(query), Discard())
        except psycopg2.errors.QueryCanceled:
            return None
        return (time.perf_counter() - begin) * 1000


def measure(connection, plan):
    """Rounds over all queries, so that a disturbance hits all of them; the first one warms up."""
    times = {name: [] for name in QUERIES}
    for number in range(plan.rounds + 1):
        for name, query in QUERIES.items():
            if None in times[name]:
                continue
            elapsed = milliseconds(connection, query)
            if elapsed is None or number > 0:
                times[name].append(elapsed)
    return times


def print_reports(title, times, plan):
    activity = statistics.median(times[ACTIVITY])
    print("\n{:<38}{:>12}{:>22}{:>20}".format(title, "median", "min .. max", "x pg_stat_activity"))
    for name, values in times.items():
        if None in values:
            print("  {:<36}{:>12}".format(name, "> {} s".format(plan.timeout)))
            continue
        median = statistics.median(values)
        spread = "{:.2f} .. {:.2f}".format(min(values), max(values))
        print("  {:<36}{:>9.2f} ms{:>22}{:>20.2f}".format(name, median, spread, median / activity))
    if None not in times[BLOCKING_PIDS]:
        factor = statistics.median(times[BLOCKING_PIDS]) / statistics.median(times[CHAINS])
        print("  blocking_chains is {:.1f} times as fast as pg_blocking_pids()".format(factor))
    sys.stdout.flush()


def bench_reports(plan):
    observer = connect()
    execute(
        observer,
        "CREATE EXTENSION pg_unblock",
        "CREATE TABLE hot (id int PRIMARY KEY, n int)",
        "INSERT INTO hot SELECT i, 0 FROM generate_series(1, 200) i",
        "SET statement_timeout = '{}s'".format(plan.timeout),
    )
    for title, scenario, size in SCENARIOS:
        progress(title)
        with waiters.crowd(observer) as members:
            scenario(members, size)
            print_reports(title, measure(observer, plan), plan)


def cpu_seconds(pid):
    """schedstat counts nanoseconds; where the kernel lacks it, stat counts ticks of 10 ms."""
    try:
        with open("/proc/{}/schedstat".format(pid)) as file:
            return int(file.read().split()[0]) / 1e9
    except FileNotFoundError:
        with open("/proc/{}/stat".format(pid)) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bench_enforcer(plan):
    observer = connect()
    print("\n{:<38}{:>12}{:>22}{:>20}".format("Enforcer, 1000 idle sessions", "CPU", "over", "of one core"))
    with waiters.crowd(observer) as members:
        waiters.idle(members, 1000)
        for limit in "0", "2s":
            progress("Enforcer, 1000 idle sessions, idle_blocker_limit = {}".format(limit))
            execute(
                observer,
                "ALTER SYSTEM SET pg_unblock.idle_blocker_limit = '{}'".format(limit),
                "SELECT pg_reload_conf()",
            )
            time.sleep(1)  # the reload itself is not part of it
            pid = members.ask(ENFORCER)
            begin_cpu, begin = cpu_seconds(pid), time.monotonic()
            time.sleep(plan.enforcer_seconds)
            used, elapsed = cpu_seconds(pid) - begin_cpu, time.monotonic() - begin
            print(
                "  {:<36}{:>10.4f} s{:>20.1f} s{:>19.4f}%".format(
                    "idle_blocker_limit = " + limit, used, elapsed, 100 * used / elapsed
                ),
                flush=True,
            )


def restart(data, preloaded):
    options = [] if preloaded else ["-o", "-c shared_preload_libraries="]
    log = os.path.join(data, "bench.log")
    subprocess.run(["pg_ctl", "restart", "-s", "-w", "-D", data, "-l", log, *options], check=True)


def transactions_per_second(script, seconds):
    command = ["pgbench", "-n", "-b", script, "-c", "4", "-j", "2", "-T", str(seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"tps = ([\d.]+)", output).group(1))


def student_t(degrees):
    """The 97.5 % quantile, by its expansion around the normal one; to 1 % from 3 degrees on."""
    z = statistics.NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def ratio_with_interval(pairs):
    logs = [math.log(preloaded / plain) for preloaded, plain in pairs]
    mean = statistics.mean(logs)
    margin = student_t(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return tuple(math.exp(value) for value in (mean, mean - margin, mean + margin))


def bench_pgbench(data, plan):
    """Pairs on the same data, the order swapped each time: what drifts hits both sides."""
    scripts = ["select-only", "tpcb-like"]
    results = {script: [] for script in scripts}
    subprocess.run(["pgbench", "-i", "-q", "-s", "10"], check=True, capture_output=True)
    for number in range(plan.pgbench_pairs):
        progress("pgbench, pair {} of {}".format(number + 1, plan.pgbench_pairs))
        pair = {script: {} for script in scripts}
        for preloaded in (True, False) if number % 2 else (False, True):
            restart(data, preloaded)
            transactions_per_second("select-only", 2)
            for script in scripts:
                pair[script][preloaded] = transactions_per_second(script, plan.pgbench_seconds)
        for script in scripts:
            results[script].append((pair[script][True], pair[script][False]))

    title = "pgbench, {} pairs of {} s".format(plan.pgbench_pairs, plan.pgbench_seconds)
    print("\n{:<38}{:>12}{:>22}{:>20}".format(title, "with", "without", "ratio (95 %)"))
    for script, pairs in results.items():
        preloaded, plain = (statistics.median(side) for side in zip(*pairs))
        ratio = "{:.3f} ({:.3f} .. {:.3f})".format(*ratio_with_interval(pairs))
        print("  {:<36}{:>8.0f} tps{:>18.0f} tps{:>24}".format(script, preloaded, plain, ratio))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the server's data directory")
    parser.add_argument("--quick", action="store_true", help="few and short runs")
    arguments = parser.parse_args()
    plan = Plan(arguments.quick)
    bench_reports(plan)
    bench_enforcer(plan)
    bench_pgbench(arguments.data, plan)


if __name__ == "__main__":
    main()
