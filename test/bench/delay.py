"""How late sessions are ended: pg_unblock's limits beside the server's own timeout, at the same time on one server.

A delay lasts from the moment at which a limit is reached to the moment at which the client can read of its end.
Server and client read the same clock. The enforcer leaves 20 ms between two looks, so how close together sessions
reach their limits is part of the result.
"""

import contextlib
import os
import random
import select
import statistics
import time

import waiters
from measuring import connect, execute, progress, spread

LIMIT = 1  # second
# Seconds from one start to the next, on average. A session's exit takes up to 30 ms of CPU time where page faults are
# slow: closer together, each end would wait for those of others, whatever the mechanism.
SPACING = 0.06

TIMEOUT = "idle_in_transaction_session_timeout"
IDLE = "pg_unblock.idle_in_transaction_limit"
BLOCKER = "pg_unblock.idle_blocker_limit"
ROLES = {TIMEOUT: "under_timeout", IDLE: "under_idle_limit", BLOCKER: "under_blocker_limit"}

# What a client reads with its FATAL, by which nobody is taken for ended by another setting than theirs.
REASONS = {TIMEOUT: b"due to idle-in-transaction timeout", IDLE: IDLE.encode(), BLOCKER: BLOCKER.encode()}

# Targets in ms, for the limit beside which the server's own timeout shows what the machine adds.
MOST_MEDIAN = 20
MOST_PERCENTILE = 100


def bench_delay(plan, targets):
    observer = connect()
    delays = {}
    with limited_roles(observer):
        progress("Delay after a limit, {} sessions each".format(plan.delay_sessions))
        delays |= measure_delays(observer, {TIMEOUT: plan.delay_sessions, IDLE: plan.delay_sessions})
        progress("Delay after a limit, {} sessions that block another".format(plan.delay_blockers))
        delays |= measure_delays(observer, {BLOCKER: plan.delay_blockers})
    print_delays(delays, targets)


@contextlib.contextmanager
def limited_roles(observer):
    """A role under each setting, and no fuse, which would stop the enforcer after the first 30."""
    for setting, role in ROLES.items():
        execute(
            observer,
            "CREATE ROLE {} LOGIN IN ROLE pg_read_all_data, pg_write_all_data".format(role),
            "ALTER ROLE {} SET {} = '{}s'".format(role, setting, LIMIT),
        )
    execute(observer, "ALTER SYSTEM SET pg_unblock.max_actions_per_minute = 0", "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        execute(observer, "ALTER SYSTEM RESET pg_unblock.max_actions_per_minute", "SELECT pg_reload_conf()")
        execute(observer, *("DROP ROLE " + role for role in ROLES.values()))


def measure_delays(observer, counts):
    """For each setting the delays in ms of that many sessions."""
    with waiters.crowd(observer) as members:
        sessions = []
        for setting, count in counts.items():
            kind = Blocker if setting == BLOCKER else Session
            sessions += [kind(members, setting, number + 1) for number in range(count)]
        # In an order of its own, so that a disturbance hits all settings alike.
        random.shuffle(sessions)
        watch_until_ended(sessions)
        delays = {setting: [] for setting in counts}
        for session in sessions:
            delays[session.setting].append((session.ended - session.reached()) * 1000)
    for setting, values in delays.items():
        early = [value for value in values if value < 0]
        assert not early, "{} ended {} sessions early, by up to {:.3f} ms".format(setting, len(early), -min(early))
    return delays


def watch_until_ended(sessions):
    """Starts one after the other at random moments and reads what they are told, all in one loop, so that nobody's
    end waits for a thread of this process."""
    begin = time.monotonic()
    starts = sorted(begin + random.uniform(0, SPACING * len(sessions)) for _ in sessions)
    to_start = list(zip(starts, sessions))[::-1]
    by_socket = {session.socket: session for session in sessions}
    poller = select.poll()
    for socket in by_socket:
        poller.register(socket, select.POLLIN)
    while by_socket:
        while to_start and to_start[-1][0] <= time.monotonic():
            to_start.pop()[1].start()
        until = to_start[-1][0] if to_start else starts[-1] + LIMIT + 60
        events = poller.poll(max(until - time.monotonic(), 0) * 1000)
        moment = time.time()
        if not events and not to_start:
            raise TimeoutError("{} sessions have not been ended".format(len(by_socket)))
        for socket, _ in events:
            by_socket[socket].read(moment)
            if by_socket[socket].ended:
                poller.unregister(socket)
                del by_socket[socket]


def rehearsed(client, statement):
    """A session's first statement of a kind takes ms, which would be between its time stamp and its effect."""
    client.run("BEGIN; {}; ROLLBACK".format(statement))
    return client


class Session:
    """Idle in a transaction until it is ended. Moments are seconds since 1970."""

    STATEMENT = "SELECT extract(epoch FROM clock_timestamp())::float8"

    def __init__(self, members, setting, number):
        self.setting = setting
        self.number = number
        self.client = rehearsed(members.client("user=" + ROLES[setting]), self.STATEMENT.format(number))
        self.socket = self.client.connection.fileno()
        self.idle_since = None
        self.told = b""
        self.ended = None

    def start(self):
        self.client.send("BEGIN; " + self.STATEMENT.format(self.number))

    def read(self, moment):
        if self.idle_since is not None:
            self.read_end(moment)
        elif self.client.done():
            self.idle_since = self.client.cursor.fetchone()[0]
            self.is_idle()

    def read_end(self, moment):
        """Past libpq, which has nothing left to read here and would report an end after the connection's only."""
        text = os.read(self.socket, 65536)
        self.told += text
        assert text, "the connection has ended without a reason: {}".format(self.told)
        if b"FATAL" in self.told:
            assert REASONS[self.setting] in self.told, "not ended by {}: {}".format(self.setting, self.told)
            self.ended = moment

    def is_idle(self):
        pass

    def reached(self):
        """A little earlier than for the server, whose count begins after the statement: no delay is told too short."""
        return self.idle_since + LIMIT


class Blocker(Session):
    """Holds a row of its own, which another session wants as soon as this one is idle."""

    STATEMENT = "UPDATE hot SET n = n + 1 WHERE id = {} RETURNING extract(epoch FROM clock_timestamp())::float8"
    # By the time that a row is returned the wait is over.
    WAIT = "UPDATE hot SET n = n + 1 WHERE id = {} RETURNING extract(epoch FROM statement_timestamp())::float8"

    def __init__(self, members, setting, number):
        super().__init__(members, setting, number)
        self.waiter = rehearsed(members.client(), self.WAIT.format(number))

    def is_idle(self):
        self.waiter.send(self.WAIT.format(self.number))

    def reached(self):
        """Its own idleness is the older one."""
        self.waiter.finish()
        return self.waiter.cursor.fetchone()[0] + LIMIT


def print_delays(delays, targets):
    title = "Delay after a limit of {} s".format(LIMIT)
    print("\n{:<58}{:>12}{:>20}{:>20}".format(title, "median", "99th percentile", "min .. max"))
    figures = {}
    for setting, values in delays.items():
        figures[setting] = figures_of(values)
        name = "{}, {} sessions".format(setting, len(values))
        print("  {:<56}{:>9.2f} ms{:>17.2f} ms{:>20}".format(name, *figures[setting], spread(values)))
        if setting == IDLE:
            sides = list(zip(figures[IDLE], figures[TIMEOUT]))
            differences = [ours - theirs for ours, theirs in sides]
            ratios = [ours / theirs for ours, theirs in sides]
            print("  {:<56}{:>9.2f} ms{:>17.2f} ms".format("  later than the server's own by", *differences))
            print("  {:<56}{:>12.2f}{:>20.2f}".format("  ratio", *ratios))
    median, percentile = figures[IDLE]
    targets.at_most("median delay, " + IDLE, median, MOST_MEDIAN, " ms")
    targets.at_most("99th percentile of delays, " + IDLE, percentile, MOST_PERCENTILE, " ms")


def figures_of(values):
    """The median and the 99th percentile."""
    return statistics.median(values), statistics.quantiles(values, n=100, method="inclusive")[98]
