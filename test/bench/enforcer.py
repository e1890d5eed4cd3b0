"""The enforcer's own cost: while nothing is wrong, and for a look at a thousand waiters."""

import os
import signal
import statistics
import time

import waiters
from measuring import ask, connect, execute, progress

PID = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_unblock enforcer'"
LOOKS = "SELECT {} FROM unblock.stats WHERE counter = 'looks'"


def cpu_seconds(pid):
    """schedstat counts nanoseconds; where the kernel lacks it, stat counts ticks of 10 ms."""
    try:
        with open("/proc/{}/schedstat".format(pid)) as file:
            return int(file.read().split()[0]) / 1e9
    except FileNotFoundError:
        with open("/proc/{}/stat".format(pid)) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def set_limit(connection, limit):
    execute(
        connection,
        "ALTER SYSTEM SET pg_unblock.idle_blocker_limit = '{}'".format(limit),
        "SELECT pg_reload_conf()",
    )


def bench_idle(plan):
    observer = connect()
    print("\n{:<44}{:>12}{:>20}{:>20}".format("Enforcer, 1000 idle sessions", "CPU", "over", "of one core"))
    with waiters.crowd(observer) as members:
        waiters.idle(members, 1000)
        for limit in "0", "2s":
            progress("Enforcer, 1000 idle sessions, idle_blocker_limit = {}".format(limit))
            set_limit(observer, limit)
            time.sleep(1)  # the reload itself is not part of it
            pid = ask(observer, PID)
            begin_cpu, begin = cpu_seconds(pid), time.monotonic()
            time.sleep(plan.enforcer_seconds)
            used, elapsed = cpu_seconds(pid) - begin_cpu, time.monotonic() - begin
            title = "idle_blocker_limit = " + limit
            print(
                "  {:<42}{:>10.4f} s{:>18.1f} s{:>19.4f}%".format(title, used, elapsed, 100 * used / elapsed),
                flush=True,
            )
        set_limit(observer, 0)


def bench_enforcer(plan, targets):
    bench_looks(plan, targets)
    bench_idle(plan)


class Looks:
    """Has the enforcer look at once, again and again, under a limit that nobody comes near."""

    FIGURES = ("look_time", "snapshot_time", "graph_time", "partition_lock_time")

    def __init__(self, observer):
        self.observer = observer

    def __enter__(self):
        set_limit(self.observer, "1h")
        self.pid = ask(self.observer, PID)
        return self

    def __exit__(self, *_):
        set_limit(self.observer, 0)

    def take(self):
        """One look's figures in µs. A reload by the server would wake every session; this wakes the enforcer alone."""
        before = ask(self.observer, LOOKS.format("value"))
        os.kill(self.pid, signal.SIGHUP)
        waiters.wait_until(self.observer, LOOKS.format("value > {}".format(before)), pause=0.002)
        with self.observer.cursor() as cursor:
            cursor.execute("SELECT counter, value FROM unblock.stats WHERE counter LIKE '%\\_last'")
            stats = dict(cursor.fetchall())
        figures = {figure: stats[figure + "_last"] for figure in self.FIGURES}
        return figures | {"snapshot_and_graph": figures["snapshot_time"] + figures["graph_time"]}


def bench_looks(plan, targets):
    observer = connect()
    progress("Enforcer's looks at 1000 waiters")
    with waiters.crowd(observer) as members:
        waiters.row_pile(members, 1000)
        with Looks(observer) as looks:
            for _ in range(plan.looks // 10):
                looks.take()  # warms up
            samples = [looks.take() for _ in range(plan.looks)]

    title = "Enforcer, 1000 waiters on one row, {} looks".format(plan.looks)
    print("\n{:<44}{:>12}{:>20}{:>20}".format(title, "median", "99th percentile", "maximum"))
    medians = {}
    for figure, text in (
        ("look_time", "collect, graph and policy"),
        ("snapshot_and_graph", "of that, collect and graph"),
        ("snapshot_time", "of that, collect"),
        ("partition_lock_time", "of that, partition locks held"),
    ):
        values = [sample[figure] for sample in samples]
        medians[figure] = statistics.median(values)
        percentile = statistics.quantiles(values, n=100, method="inclusive")[98]
        print("  {:<42}{:>9.0f} us{:>17.0f} us{:>17.0f} us".format(text, medians[figure], percentile, max(values)))
    targets.at_most("collect and graph at 1000 waiters", medians["snapshot_and_graph"], 1000, " us")
    targets.at_most("partition locks held at 1000 waiters", medians["partition_lock_time"], 100, " us")
