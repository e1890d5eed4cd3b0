"""What all sections share: asking the server, timing, ratios, targets."""

import math
import os
import statistics
import subprocess
import sys
import time

import psycopg2


def progress(text):
    print(text, file=sys.stderr, flush=True)


def connect(application_name="observer"):
    connection = psycopg2.connect(application_name=application_name)
    connection.autocommit = True
    return connection


def execute(connection, *statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def ask(connection, query):
    """The first column of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


class Discard:
    def write(self, data):
        pass


def milliseconds(connection, query):
    """The time until the whole result is here as text, or None at the time-out."""
    with connection.cursor() as cursor:
        begin = time.perf_counter()
        try:
            cursor.copy_expert("COPY ({}) TO STDOUT".format(query), Discard())
        except psycopg2.errors.QueryCanceled:
            return None
        return (time.perf_counter() - begin) * 1000


def measure(connection, queries, rounds):
    """Rounds over all queries, so that a disturbance hits all of them; the first one warms up."""
    times = {name: [] for name in queries}
    for number in range(rounds + 1):
        for name, query in queries.items():
            if None in times[name]:
                continue
            elapsed = milliseconds(connection, query)
            if elapsed is None or number > 0:
                times[name].append(elapsed)
    return times


def spread(values):
    return "{:.2f} .. {:.2f}".format(min(values), max(values))


def restart(data, *settings):
    """Restarts the server with these settings beside its file's."""
    options = " ".join("-c " + setting for setting in settings)
    log = os.path.join(data, "bench.log")
    subprocess.run(["pg_ctl", "restart", "-s", "-w", "-D", data, "-l", log, "-o", options], check=True)


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
    """The geometric mean of the pairs' ratios, and the 95 % interval around it."""
    logs = [math.log(above / below) for above, below in pairs]
    mean = statistics.mean(logs)
    margin = student_t(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return tuple(math.exp(value) for value in (mean, mean - margin, mean + margin))


def decides(interval, limit):
    """Whether the interval of a ratio is on one side of the limit."""
    _, low, high = interval
    return high <= limit or low > limit


def sample_until(decided, count, sample, seconds=360):
    """Samples that often, and twice and four times as often in all as long as that decides nothing, within this
    time. Not decided after each sample: a run that ends in the first moment of luck is lucky too often."""
    deadline = time.monotonic() + seconds
    taken = 0
    for goal in (count, 2 * count, 4 * count):
        while taken < goal:
            if taken >= count and time.monotonic() > deadline:
                return
            sample()
            taken += 1
        if decided():
            return


def slope(points):
    """The exponent of the power of x that fits y best: 1 = linear."""
    xs = [math.log(x) for x, _ in points]
    ys = [math.log(y) for _, y in points]
    mean_x, mean_y = statistics.mean(xs), statistics.mean(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / sum((x - mean_x) ** 2 for x in xs)


class Targets:
    """What was promised beside what was measured; told at once, and all together at the end."""

    def __init__(self):
        self.lines = []
        self.missed = 0

    def at_most(self, what, value, limit, unit=""):
        self.tell(what, value <= limit, value, "at most {:g}".format(limit), unit)

    def at_least(self, what, value, limit, unit=""):
        self.tell(what, value >= limit, value, "at least {:g}".format(limit), unit)

    def at_most_by_interval(self, what, value, low, high, limit, unit=""):
        """A measurement that is no finer than the target can neither meet nor miss it."""
        verdict = "met" if high <= limit else "MISSED" if low > limit else "NOT SHOWN"
        interval = " ({:.4g} .. {:.4g})".format(low, high)
        self.add(what, value, interval, "at most {:g}".format(limit), unit, verdict)

    def tell(self, what, met, value, limit, unit):
        self.add(what, value, "", limit, unit, "met" if met else "MISSED")

    def add(self, what, value, interval, limit, unit, verdict):
        self.missed += verdict == "MISSED"
        line = "{}: {:.4g}{}{unit}, target {}{unit}: {}".format(what, value, interval, limit, verdict, unit=unit)
        self.lines.append(line)
        print("  -> " + line, flush=True)

    def summary(self):
        if self.lines:
            print("\nTargets")
        for line in self.lines:
            print("  " + line)
