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
from graph import CONFLICTS, MODES, Reference, in_the_way
from workload import Session, Workload, wait_for

DATABASES = ("oracle", "oracle_away")

# Of a run of so many graphs all that is in EXPECTED and in PAIRS is expected; a test that never meets it proves
# nothing. Until it is met the run goes on, but not for ever.
ENOUGH_GRAPHS = 100
MOST_GRAPHS = 1000
EXPECTED = (
    "waits for relation",
    "waits for transactionid",
    "waits for tuple",
    "waits for virtualxid",
    "waits for advisory",
    "waits for object",
    "waits of parallel workers",
    "waits for a subtransaction",
    "sessions with savepoints",
    "rollbacks to a savepoint",
    "inserts that wait for a unique key",
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

# The modes in which SQL awaits each kind of lock, and those in which it holds one: all pairs that conflict.
ROW_MODES = ("AccessShareLock", "RowShareLock", "ExclusiveLock", "AccessExclusiveLock")
OBJECT_MODES = ("AccessShareLock", "ShareUpdateExclusiveLock", "AccessExclusiveLock")
ADVISORY_MODES = ("ShareLock", "ExclusiveLock")
TAKEN = {
    "relation": (MODES, MODES),
    "tuple": (ROW_MODES, ROW_MODES),
    "object": (OBJECT_MODES, OBJECT_MODES),
    "advisory": (ADVISORY_MODES, ADVISORY_MODES),
    "transactionid": (("ShareLock",), ("ExclusiveLock",)),
    "virtualxid": (("ShareLock",), ("ExclusiveLock",)),
}
PAIRS = [
    in_the_way(locktype, wanted, held)
    for locktype, (modes_wanted, modes_held) in TAKEN.items()
    for wanted in modes_wanted
    for held in modes_held
    if held in CONFLICTS[wanted]
]

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
        self.judged = 0  # graphs
        self.occurred = Counter()
        self.graphs = Counter()  # in which it occurred

    def judge(self, workload, picture):
        self.judged += 1
        reference = Reference(picture)
        self.count(reference.occurrences())
        self.count(workload.occurrences(reference))
        for check, failures in self.wrong.items():
            found = list(check(reference, picture))
            if found:
                failures.append((workload.seed, found))

    def count(self, occurrences):
        for what, count in occurrences.items():
            self.occurred[what] += count
            self.graphs[what] += count > 0

    def never(self, kinds):
        return [kind for kind in kinds if not self.occurred[kind]]

    def report(self, complete):
        """Whether all is well, and, if it is to be complete, has occurred."""
        for check, failures in self.wrong.items():
            title = check.__doc__.splitlines()[0].rstrip(".")
            if not failures:
                print("ok - {} ({} graphs)".format(title, self.judged))
                continue
            print("not ok - {} ({} of {} graphs)".format(title, len(failures), self.judged))
            for seed, found in failures[:FAILURES_SHOWN]:
                print("# --seed {} --graphs 1".format(seed))
                for line in found[:FAILURES_SHOWN]:
                    print("#   " + line)
        if complete:
            for kind in EXPECTED:
                print("{} - {} occurred".format("ok" if self.occurred[kind] else "not ok", kind))
            missing = self.never(PAIRS)
            print("{} - all {} pairs of modes occurred".format("not ok" if missing else "ok", len(PAIRS)))
            for pair in missing:
                print("#   never: " + pair)
        return not any(self.wrong.values()) and not (complete and self.never((*EXPECTED, *PAIRS)))


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


def is_over(graphs, tally):
    if tally.judged < graphs:
        return False
    return graphs < ENOUGH_GRAPHS or tally.judged >= MOST_GRAPHS or not tally.never((*EXPECTED, *PAIRS))


def run(first_seed, graphs, tally):
    observers = set_up()
    observer = observers[DATABASES[0]]
    pools = [[Session(database) for _ in range(24)] for database in DATABASES]
    while not is_over(graphs, tally):
        seed = first_seed + tally.judged
        try:
            workload = Workload(seed, pools, observer)
            workload.run()
            tally.judge(workload, hold_still(workload, observer, tally))
            workload.unwind(observers)
        except Exception:
            print("# broke off at --seed {}".format(seed))
            raise
        if tally.judged % 100 == 0:
            print("# {} graphs".format(tally.judged), flush=True)


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
    good = tally.report(complete=arguments.graphs >= ENOUGH_GRAPHS)
    for what, count in sorted(tally.occurred.items()):
        print("# {:>8} {:<70} in {:>6} graphs".format(count, what, tally.graphs[what]))
    print("# {:>8.1f} graphs per second".format(tally.judged / (time.monotonic() - begin)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
