"""Prints what pg_unblock costs: its reports beside other ways to ask, the
enforcer's looks and its idling, how late it ends sessions, the core alone,
pgbench beside all that, and what sessions remember of their statements.

All ratios are between numbers of the same run on the same server.
"""

import argparse
import sys

import core_curve
import delay
import enforcer
import preload
import record
import reports
import trail
import under_load
import unrelated_locks
from measuring import Targets, connect, execute

SECTIONS = ("core", "reports", "curve", "unrelated", "enforcer", "record", "delay", "load", "preload", "trail")


class Plan:
    """How often and how long."""

    def __init__(self, quick):
        self.core_seconds = 0.01 if quick else 0.2
        self.rounds = 2 if quick else 11
        self.timeout = 10 if quick else 120
        self.curve = reports.curve_sizes(300 if quick else 3000)
        self.lock_rounds = 3 if quick else 15
        self.looks = 30 if quick else 300
        self.enforcer_seconds = 2 if quick else 60
        self.records = 5 if quick else 100
        self.delay_sessions = 10 if quick else 200
        self.delay_blockers = 5 if quick else 50
        self.load_pairs = 4 if quick else 100
        self.load_seconds = 0.5
        self.passing_seconds = 3 if quick else 15
        self.preload_pairs = 2 if quick else 32
        self.preload_seconds = 1 if quick else 2
        self.trail_transactions = 200 if quick else 500
        self.trail_pairs = 2 if quick else 16
        self.trail_seconds = 0.1 if quick else 0.5
        self.trail_limit = 10 if quick else 1080
        self.trail_blocks = 400 if quick else 20000


def prepare():
    observer = connect()
    execute(
        observer,
        "CREATE EXTENSION pg_unblock",
        "CREATE TABLE hot (id int PRIMARY KEY, n int)",
        "INSERT INTO hot SELECT i, 0 FROM generate_series(1, 200) i",
    )
    observer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the server's data directory")
    parser.add_argument("--quick", action="store_true", help="few and short runs")
    parser.add_argument("sections", nargs="*", metavar="section", help="some of " + ", ".join(SECTIONS))
    arguments = parser.parse_args()
    sections = arguments.sections or SECTIONS
    if unknown := set(sections) - set(SECTIONS):
        parser.error("no section " + ", ".join(sorted(unknown)))
    plan = Plan(arguments.quick)
    targets = Targets()
    prepare()
    run = {
        "core": lambda: core_curve.bench_core(plan, targets),
        "reports": lambda: reports.bench_reports(plan, targets),
        "curve": lambda: reports.bench_curve(arguments.data, plan),
        "unrelated": lambda: unrelated_locks.bench_unrelated_locks(plan, targets),
        "enforcer": lambda: enforcer.bench_enforcer(plan, targets),
        "record": lambda: record.bench_record(plan, targets),
        "delay": lambda: delay.bench_delay(plan, targets),
        "load": lambda: under_load.bench_under_load(plan, targets),
        "preload": lambda: preload.bench_preload(arguments.data, plan),
        "trail": lambda: trail.bench_trail(plan, targets),
    }
    for section in sections:
        run[section]()
    targets.summary()
    return 1 if targets.missed and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
