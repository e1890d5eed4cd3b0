"""Whether locks that nobody waits for, held elsewhere, slow anything down."""

import statistics

import enforcer
import waiters
from measuring import ask, connect, milliseconds, progress, ratio_with_interval
from reports import CORE_REPORTS

LOCKS = 100000
HOLDERS = 10


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
    samples = {name: {LOCKS: [], 0: []} for name in [*CORE_REPORTS, "enforcer's look"]}
    with waiters.crowd(observer) as members:
        waiters.row_pile(members, 1000)
        holders = Holders(members)
        with enforcer.Looks(observer) as looks:
            for number in range(plan.lock_rounds + 1):
                for locks in (LOCKS, 0) if number % 2 else (0, LOCKS):
                    holders.hold(locks)
                    figures = one_round(observer, looks)
                    if number == 0:
                        holders.check(observer, locks)
                    else:
                        for name, figure in figures.items():
                            samples[name][locks].append(figure)
    print_ratios(samples, targets)


def one_round(observer, looks):
    """Medians of a few calls each."""
    calls = 5
    times = {name: [milliseconds(observer, query) for _ in range(calls)] for name, query in CORE_REPORTS.items()}
    times["enforcer's look"] = [looks.take()["look_time"] / 1000 for _ in range(calls)]
    return {name: statistics.median(values) for name, values in times.items()}


def print_ratios(samples, targets):
    title = "1000 waiters, {} locks elsewhere".format(LOCKS)
    print("\n{:<44}{:>12}{:>20}{:>28}".format(title, "with", "without", "ratio (95 %)"))
    for name, sides in samples.items():
        ratio, low, high = ratio_with_interval(list(zip(sides[LOCKS], sides[0])))
        print(
            "  {:<42}{:>9.2f} ms{:>17.2f} ms{:>28}".format(
                name,
                statistics.median(sides[LOCKS]),
                statistics.median(sides[0]),
                "{:.3f} ({:.3f} .. {:.3f})".format(ratio, low, high),
            )
        )
        targets.at_most_by_interval("{} with {} locks elsewhere / without".format(name, LOCKS), ratio, low, high, 1.2)
