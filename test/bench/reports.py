"""Reports beside other ways to ask the same, and how they grow with the number of waiters."""

import re
import statistics

import pg_activity
import waiters
from measuring import connect, execute, measure, progress, restart, slope, spread

ACTIVITY = "pg_stat_activity"
BLOCKING_PIDS = "pg_blocking_pids() over all waiters"
LOCK_WAITS = "unblock.lock_waits"
CHAINS = "unblock.blocking_chains"
ROOTS = "unblock.root_blockers"

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

CORE_REPORTS = {
    LOCK_WAITS: "SELECT * FROM unblock.lock_waits",
    CHAINS: "SELECT * FROM unblock.blocking_chains",
    ROOTS: "SELECT * FROM unblock.root_blockers",
}

OUR_REPORTS = {
    **CORE_REPORTS,
    "unblock.tree()": "SELECT * FROM unblock.tree()",
    "unblock.check()": "SELECT * FROM unblock.check()",
    "unblock.blocking_edges(NULL): all pairs": "SELECT * FROM unblock.blocking_edges(NULL)",
}

ACTIVITY_QUERY = {ACTIVITY: "SELECT * FROM pg_stat_activity"}

OTHERS = {
    BLOCKING_PIDS: "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    "recursive lock tree over pg_locks": LOCK_TREE,
}

PILE = "1000 waiters on one row"

SCENARIOS = [
    ("200 waiters on one row", waiters.row_pile, 200),
    (PILE, waiters.row_pile, 1000),
    ("1000 readers behind an ALTER TABLE", waiters.table_queue, 1000),
    ("A chain of 100", waiters.chain, 100),
]


def bench_reports(plan, targets):
    observer = connect()
    execute(observer, "SET statement_timeout = '{}s'".format(plan.timeout))
    queries = {**ACTIVITY_QUERY, **OUR_REPORTS, **OTHERS, **pg_activity.queries(observer)}
    for title, scenario, size in SCENARIOS:
        progress(title)
        with waiters.crowd(observer) as members:
            scenario(members, size)
            times = measure(observer, queries, plan.rounds)
        medians = print_reports(title, times, plan)
        if title == PILE:
            judge(medians, targets)


def print_reports(title, times, plan):
    """Returns the medians of those that were in time."""
    medians = {name: statistics.median(values) for name, values in times.items() if None not in values}
    print("\n{:<44}{:>12}{:>20}{:>20}".format(title, "median", "min .. max", "x pg_stat_activity"))
    for name, values in times.items():
        if name not in medians:
            print("  {:<42}{:>12}".format(name, "> {} s".format(plan.timeout)))
            continue
        factor = medians[name] / medians[ACTIVITY]
        print("  {:<42}{:>9.2f} ms{:>20}{:>20.2f}".format(name, medians[name], spread(values), factor), flush=True)
    return medians


def judge(medians, targets):
    targets.at_most("blocking_chains / pg_stat_activity", medians[CHAINS] / medians[ACTIVITY], 2)
    if BLOCKING_PIDS in medians:
        targets.at_least("pg_blocking_pids() / blocking_chains", medians[BLOCKING_PIDS] / medians[CHAINS], 10)


def curve_sizes(largest):
    """As many waiters as the machine has memory for: a backend takes some 5 MB."""
    with open("/proc/meminfo") as file:
        available = int(re.search(r"MemAvailable: +(\d+) kB", file.read()).group(1)) // 1024
    return [size for size in (100, 300, 1000, 3000) if size <= min(largest, available // 5)]


def bench_curve(data, plan):
    """Waiters on one row, as many as the machine has memory for."""
    largest = max(plan.curve)
    restart(data, "max_connections={}".format(largest + 100))
    observer = connect()
    queries = {**ACTIVITY_QUERY, **CORE_REPORTS}
    medians = {name: [] for name in queries}
    for size in plan.curve:
        progress("{} waiters on one row, max_connections = {}".format(size, largest + 100))
        with waiters.crowd(observer) as members:
            waiters.row_pile(members, size)
            for name, values in measure(observer, queries, plan.rounds).items():
                medians[name].append((size, statistics.median(values)))
    observer.close()
    restart(data)

    heads = "".join("{:>12}".format(size) for size in plan.curve)
    print("\n{:<30}{}{:>12}".format("Waiters on one row", heads, "exponent"))
    for name, points in medians.items():
        figures = "".join("{:>9.2f} ms".format(median) for _, median in points)
        print("  {:<28}{}{:>12.2f}".format(name, figures, slope(points)))
