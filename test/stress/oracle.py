"""Random lock work, held still, and our reports compared with pg_blocking_pids().

Runs on the server that the environment points at, made with server.conf. One
graph has one seed: a graph that failed is made again by --seed S --graphs 1.
"""

import argparse
import os
import sys
import time
import traceback
from collections import Counter

import psycopg2

import compare
from graph import Reference
from workload import Session, Workload, wait_for

DATABASES = ("oracle", "oracle_away")

# Of a run of so many graphs all these are expected; a test that never meets them proves nothing.
ENOUGH_GRAPHS = 100
EXPECTED = (
    "waits for relation",
    "waits for transactionid",
    "waits for tuple",
    "waits for virtualxid",
    "waits for advisory",
    "waits for object",
    "waits of parallel workers",
    "waits jammed behind a queue",
    "hard edges",
    "queued edges",
    "edges between databases",
    "sessions with several blockers",
    "sessions with several waiting processes",
    "sessions in cycles",
    "prepared blockers",
    "several prepared blockers of one session",
    "idle blockers outside a transaction",
)

FAILURES_SHOWN = 3


class Observer:
    """Waits for its answers, and for no lock."""

    def __init__(self, database):
        self.connection = psycopg2.connect("dbname={} application_name=observer".format(database))
        self.connection.autocommit = True

    def run(self, statement, *arguments):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)

    def asks(self, query, *arguments):
        with self.connection.cursor() as cursor:
            cursor.execute(query, arguments or None)
            return [row[0] for row in cursor]

    def ask(self, query, *arguments):
        return self.asks(query, *arguments)[0]


class Tally:
    """What went wrong, by property, and what occurred."""

    def __init__(self):
        self.wrong = {check: [] for check in compare.PROPERTIES}
        self.occurred = Counter()
        self.graphs = Counter()  # in which it occurred

    def judge(self, seed, picture):
        reference = Reference(picture)
        self.count(reference.occurrences())
        for check, failures in self.wrong.items():
            found = list(check(reference, picture))
            if found:
                failures.append((seed, found))

    def count(self, occurrences):
        for what, count in occurrences.items():
            self.occurred[what] += count
            self.graphs[what] += count > 0

    def report(self, graphs):
        for check, failures in self.wrong.items():
            title = check.__doc__.splitlines()[0].rstrip(".")
            if not failures:
                print("ok - {} ({} graphs)".format(title, graphs))
                continue
            print("not ok - {} ({} of {} graphs)".format(title, len(failures), graphs))
            for seed, found in failures[:FAILURES_SHOWN]:
                print("# --seed {} --graphs 1".format(seed))
                for line in found[:FAILURES_SHOWN]:
                    print("#   " + line)
        if graphs >= ENOUGH_GRAPHS:
            for kind in EXPECTED:
                print("{} - {} occurred".format("ok" if self.occurred[kind] else "not ok", kind))
        return not any(self.wrong.values()) and (
            graphs < ENOUGH_GRAPHS or all(self.occurred[kind] for kind in EXPECTED)
        )


def hold_still(workload, observer, tally):
    """The picture of a graph that did not move while it was taken."""
    taken = []

    def take():
        workload.settle()
        taken.append(observer.ask("SELECT picture(%s)", workload.busy_pids()))
        return taken[-1] is not None

    wait_for(take, "the graph at rest")
    tally.count({"pictures of a graph that moved": len(taken) - 1})
    return {part: rows or [] for part, rows in taken[-1].items()}


def read(name):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name)) as file:
        return file.read()


def set_up():
    """An observer for each database."""
    first = Observer("postgres")
    observers = {}
    for database in DATABASES:
        first.run("CREATE DATABASE {}".format(database))
        observers[database] = Observer(database)
        observers[database].run(read("setup.sql"))
    observers[DATABASES[0]].run(read("observer.sql"))
    return observers


def run(first_seed, graphs, tally):
    observers = set_up()
    observer = observers[DATABASES[0]]
    pools = [[Session(database) for _ in range(24)] for database in DATABASES]
    for seed in range(first_seed, first_seed + graphs):
        if seed > first_seed and (seed - first_seed) % 100 == 0:
            print("# {} graphs".format(seed - first_seed), flush=True)
        try:
            workload = Workload(seed, pools, observer)
            workload.run()
            tally.judge(seed, hold_still(workload, observer, tally))
            workload.unwind(observers)
        except Exception:
            print("# broke off at --seed {}".format(seed))
            raise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000 % 1_000_000_000)
    arguments = parser.parse_args()
    print("# --seed {} --graphs {}".format(arguments.seed, arguments.graphs), flush=True)

    tally = Tally()
    begin = time.monotonic()
    try:
        run(arguments.seed, arguments.graphs, tally)
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        print("not ok - {}".format(error))
        return 1
    good = tally.report(arguments.graphs)
    for what, count in sorted(tally.occurred.items()):
        print("# {:>8} {:<45} in {:>6} graphs".format(count, what, tally.graphs[what]))
    print("# {:>8.1f} graphs per second".format(arguments.graphs / (time.monotonic() - begin)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
