"""Random lock work: sessions that get in each other's way.

Work goes on statement by statement, and the next one is sent when everybody
either is done or waits for a lock: a seed makes the same graph each time.
Nothing is ever committed.
"""

import random
import select
import time
from collections import Counter

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR

from async_client import Client

TABLES = ("t1", "t2", "t3")
TABLE_MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
ROW_MODES = ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE")

TIMEOUT = 60


class Session(Client):
    def __init__(self, database):
        super().__init__("dbname={} application_name=oracle".format(database))
        self.database = database
        self.pid = self.connection.info.backend_pid
        self.busy = False
        self.work = None  # what it began last, of WORK
        self.savepoints = 0

    def start(self, statement):
        self.send(statement)
        self.busy = True

    def look(self):
        """Notices that the statement is over, well or not."""
        try:
            self.busy = not self.done()
        except psycopg2.DatabaseError:
            self.busy = False
            if self.connection.closed:
                raise

    def in_transaction(self):
        return self.connection.info.transaction_status != TRANSACTION_STATUS_IDLE

    def failed(self):
        return self.connection.info.transaction_status == TRANSACTION_STATUS_INERROR


def look_at(sessions, milliseconds=0):
    """Drains what has come in; waits that long for the first word of a busy session."""
    poller = select.poll()
    busy = {session.connection.fileno(): session for session in sessions if session.busy}
    for descriptor in busy:
        poller.register(descriptor, select.POLLIN)
    for descriptor, _ in poller.poll(milliseconds):
        busy[descriptor].look()


def wait_for(condition, what):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("not within {} s: {}".format(TIMEOUT, what))


class Workload:
    """One graph in the making."""

    def __init__(self, seed, pools, observer):
        self.random = random.Random(seed)
        self.seed = seed
        self.observer = observer
        self.sessions = self.choose_sessions(pools)
        # So that graphs differ: each has work that it likes, and work that it hardly does.
        self.weights = [max(1, weight * self.random.choice((0, 10, 10, 40))) for _, weight in WORK]
        self.tables = TABLES[: self.random.randint(1, len(TABLES))]
        self.keys = self.random.randint(1, 4)
        self.at_rest = []  # they do nothing more
        self.prepared = 0
        self.indexes = []  # (database, name)
        self.rollbacks_to_savepoints = 0

    def choose_sessions(self, pools):
        count = self.random.randint(6, 24)
        away = self.random.choice((0, self.random.randint(1, count // 2)))
        return pools[0][: count - away] + pools[1][:away]

    def run(self):
        for _ in range(self.random.randint(2, 6) * len(self.sessions)):
            free = [session for session in self.sessions if not session.busy and session not in self.at_rest]
            if not free:
                return
            self.step(self.random.choice(free))
            self.settle()

    def occurrences(self, reference):
        """What of its work is in the graph, or has left its mark there."""
        found = Counter({"rollbacks to a savepoint": self.rollbacks_to_savepoints})
        for session in self.sessions:
            found["sessions with savepoints"] += (
                session.pid in reference.nodes and session.in_transaction() and session.savepoints > 0
            )
            found["inserts that wait for a unique key"] += session.work is Workload.insert_key and any(
                wait.locktype == "transactionid" for wait in reference.waits_of[session.pid]
            )
        return found

    def busy_pids(self):
        return [session.pid for session in self.sessions if session.busy]

    def settle(self):
        wait_for(self.settled, "everybody done or waiting for a lock")

    def settled(self):
        look_at(self.sessions, 1)
        busy = self.busy_pids()
        return not busy or not self.observer.ask("SELECT unsettled(%s)", busy)

    def step(self, session):
        session.work = None
        if session.failed():
            self.leave(session)
        elif not session.in_transaction() and self.random.random() < 0.25:
            work = self.random.choice((self.index_concurrently, self.keep_advisory))
            session.start(work(session))
        else:
            if session.in_transaction():
                begin = ""
            else:
                begin = "BEGIN; "
                session.savepoints = 0
            session.work = self.random.choices(WORK, self.weights)[0][0]
            session.start(begin + session.work(self, session))

    def leave(self, session):
        if session.savepoints and self.random.random() < 0.7:
            session.start(self.roll_back_to_savepoint())
        else:
            session.start("ROLLBACK")

    # What a session can do, each a statement. Those in WORK are done in a transaction.

    def table(self):
        return self.random.choice(self.tables)

    def key(self):
        return self.random.randint(1, self.keys)

    def lock_table(self, session):
        return "LOCK TABLE {} IN {} MODE".format(self.table(), self.random.choice(TABLE_MODES))

    def lock_row(self, session):
        return "SELECT FROM {} WHERE id = {} FOR {}".format(
            self.table(), self.key(), self.random.choice(ROW_MODES)
        )

    def change_row(self, session):
        change = self.random.choice(("UPDATE {} SET n = n + 1", "UPDATE {} SET id = id + 1000", "DELETE FROM {}"))
        return "{} WHERE id = {}".format(change.format(self.table()), self.key())

    def insert_key(self, session):
        return "INSERT INTO {} VALUES ({})".format(self.table(), 100 + self.key())

    def insert_child(self, session):
        return "INSERT INTO child VALUES ({})".format(self.key())

    def advisory_key(self):
        return str(self.key()) if self.random.random() < 0.5 else "{}, {}".format(self.key(), self.key())

    def advisory(self, session):
        return "SELECT pg_advisory_xact_lock{}({})".format(
            self.random.choice(("", "_shared")), self.advisory_key()
        )

    def session_advisory(self, session):
        return "SELECT pg_advisory_lock{}({})".format(self.random.choice(("", "_shared")), self.advisory_key())

    def keep_advisory(self, session):
        self.at_rest.append(session)
        return self.session_advisory(session)

    def object(self, session):
        # A database is a shared object: the only one that sessions of two databases fight for.
        if len({session.database for session in self.sessions}) > 1:
            return "COMMENT ON DATABASE oracle IS ''"
        return self.random.choice(("DROP SCHEMA area", "CREATE TABLE area.made ()", "COMMENT ON SCHEMA area IS ''"))

    def change_table(self, session):
        return self.random.choice(
            (
                "ALTER TABLE {} ADD COLUMN later int",
                "ALTER TABLE {} ALTER n SET STATISTICS 50",
                "CREATE INDEX ON {} (n)",
                "TRUNCATE {} CASCADE",
            )
        ).format(self.table())

    def index_concurrently(self, session):
        name = "made_{}".format(len(self.indexes))
        self.indexes.append((session.database, name))
        return "CREATE INDEX CONCURRENTLY {} ON {} (n)".format(name, self.table())

    def parallel(self, session):
        work = self.random.choice(
            (
                "count(hold({key} + part % {spread}))",
                "count(hold_shared({key} + part % {spread}))",
                "count(hold_table('{table}'))",
                "count(hold(10 * {key} + part)), count(hold_table('{table}'))",
            )
        ).format(key=self.key(), spread=self.random.randint(1, 4), table=self.table())
        leader = self.random.choice(("on", "off"))
        return "SET LOCAL parallel_leader_participation = {}; SELECT {} FROM wide".format(leader, work)

    def savepoint(self, session):
        session.savepoints += 1
        return "SAVEPOINT s"

    def end_savepoint(self, session):
        if not session.savepoints:
            return self.savepoint(session)
        if self.random.random() < 0.5:
            return self.roll_back_to_savepoint()
        session.savepoints -= 1
        return "RELEASE s"

    def roll_back_to_savepoint(self):
        self.rollbacks_to_savepoints += 1
        return "ROLLBACK TO s"

    def prepare(self, session):
        self.prepared += 1
        gid = "{} {}".format(self.seed, self.prepared)
        # A transaction that has just begun holds nothing yet.
        lock = "" if session.in_transaction() else self.lock_table(session) + "; "
        return "{}PREPARE TRANSACTION '{}'".format(lock, gid)

    def roll_back(self, session):
        return "ROLLBACK"

    def give_up(self, session):
        """Takes somebody out of a queue, and goes on."""
        busy = self.busy_pids()
        if busy:
            self.observer.ask("SELECT pg_cancel_backend(%s)", self.random.choice(busy))
        return "SELECT"

    def unwind(self, admins):
        """Ends everybody's work. The sessions stay."""
        wait_for(self.cancelled, "everybody cancelled")
        for session in self.sessions:
            session.start("ROLLBACK; SELECT pg_advisory_unlock_all()")
        wait_for(self.quiet, "everybody rolled back")
        for database, admin in admins.items():
            for gid in admin.asks("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
                admin.run("ROLLBACK PREPARED '{}'".format(gid))
        for database, name in self.indexes:
            admins[database].run("DROP INDEX IF EXISTS {}".format(name))

    def cancelled(self):
        self.observer.asks("SELECT pg_cancel_backend(pid) FROM unnest(%s::int[]) pid", self.busy_pids())
        # A statement that another one's cancellation lets go on may start to wait anew.
        look_at(self.sessions, 10)
        return not self.busy_pids()

    def quiet(self):
        look_at(self.sessions, 10)
        return not self.busy_pids()


WORK = [
    (Workload.lock_table, 10),
    (Workload.lock_row, 10),
    (Workload.change_row, 10),
    (Workload.advisory, 8),
    (Workload.insert_key, 6),
    (Workload.insert_child, 4),
    (Workload.session_advisory, 3),
    (Workload.object, 4),
    (Workload.change_table, 3),
    (Workload.parallel, 3),
    (Workload.savepoint, 3),
    (Workload.end_savepoint, 3),
    (Workload.prepare, 6),
    (Workload.roll_back, 1),
    (Workload.give_up, 1),
]
