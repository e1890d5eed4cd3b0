"""Whether locks that nobody waits for, held elsewhere, slow anything down."""

import itertools
import statistics

import enforcer
import waiters
from measuring import ask, connect, decides, milliseconds, progress, ratio_with_interval, sample_until
from reports import CORE_REPORTS

LOCKS = 100000
HOLDERS = 10
MOST = 1.2  # times the time without these locks


class Holders:
    """Sessions in a transaction, with or without locks that nobody else wants."""

    def __init__(self, members):
        self.clients = [members.client() for _ in range(HOLDERS)]

    def hold(self, locks):
        each = locks // HOLDERS
        for number, client in enumerate(self.clients):
            first = number * each
            client.send(
                "ROLLBACK; BEGIN; SELECT count(pg_advisory_xact_lock(key))"
                " FROM generate_series({}, {}) key".format(first, first + each - 1)
            )
        for client in self.clients:
            client.finish()

    def check(self, observer, locks):
        held = ask(observer, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert held == locks, "{} locks are held instead of {}".format(held, locks)


def bench_unrelated_locks(plan, targets):
    observer = connect()
    progress("{} unrelated locks".format(LOCKS))
    pairs = {name: [] for name in [*CORE_REPORTS, "enforcer's look"]}  # with and without the locks
    orders = itertools.cycle(((LOCKS, 0), (0, LOCKS)))
    with waiters.crowd(observer) as members:
        waiters.row_pile(members, 1000)
        holders = Holders(members)
        with enforcer.Looks(observer) as looks:

            def one_pair():
                figures = {}
                for locks in next(orders):
                    holders.hold(locks)
                    figures[locks] = one_round(observer, looks)
                return {name: (figures[LOCKS][name], figures[0][name]) for name in pairs}

            def add_pair():
                for name, pair in one_pair().items():
                    pairs[name].append(pair)

            def decided():
                return all(decides(ratio_with_interval(sides), MOST) for sides in pairs.values())

            for locks in LOCKS, 0:
                holders.hold(locks)
                holders.check(observer, locks)
            one_pair()  # warms up
            sample_until(decided, plan.lock_rounds, add_pair)
    print_ratios(pairs, targets)


def one_round(observer, looks):
    """Medians of a few calls each."""
    calls = 5
    times = {name: [milliseconds(observer, query) for _ in range(calls)] for name, query in CORE_REPORTS.items()}
    times["enforcer's look"] = [looks.take()["look_time"] / 1000 for _ in range(calls)]
    return {name: statistics.median(values) for name, values in times.items()}


def print_ratios(pairs, targets):
    count = len(next(iter(pairs.values())))
    title = "1000 waiters, {} locks elsewhere, {} pairs".format(LOCKS, count)
    print("\n{:<50}{:>9}{:>17}{:>28}".format(title, "with", "without", "ratio (95 %)"))
    for name, sides in pairs.items():
        above, below = zip(*sides)
        ratio, low, high = ratio_with_interval(sides)
        print(
            "  {:<42}{:>12.2f} ms{:>14.2f} ms{:>28}".format(
                name,
                statistics.median(above),
                statistics.median(below),
                "{:.3f} ({:.3f} .. {:.3f})".format(ratio, low, high),
            )
        )
        what = "{} with {} locks elsewhere / without, {} pairs".format(name, LOCKS, count)
        targets.at_most_by_interval(what, ratio, low, high, MOST)
