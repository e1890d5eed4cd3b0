"""Sessions that wait for locks, a thousand of them from one process."""

import contextlib
import resource
import time

from async_client import Client
from measuring import ask


def wait_until(connection, condition, seconds=120, pause=0.05):
    deadline = time.monotonic() + seconds
    while not ask(connection, condition):
        if time.monotonic() > deadline:
            raise TimeoutError("not true after {} s: {}".format(seconds, condition))
        time.sleep(pause)


class Crowd:
    """The clients of one scenario; they end with it."""

    def __init__(self, observer):
        self.observer = observer
        self.clients = []

    def client(self, options=""):
        self.clients.append(Client("application_name=bench " + options))
        return self.clients[-1]

    def wait_for_waiters(self, count):
        wait_until(
            self.observer,
            "SELECT count(*) >= {} FROM pg_stat_activity"
            " WHERE application_name = 'bench' AND wait_event_type = 'Lock'".format(count),
        )


@contextlib.contextmanager
def crowd(observer):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    members = Crowd(observer)
    try:
        yield members
    finally:
        ask(observer, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'bench'")
        wait_until(observer, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'bench'")
        for client in members.clients:
            client.connection.close()


def row_pile(members, waiters):
    """All want the row that the first one has updated."""
    members.client().run("BEGIN; UPDATE hot SET n = n + 1 WHERE id = 1")
    for _ in range(waiters):
        members.client().send("UPDATE hot SET n = n + 1 WHERE id = 1")
    members.wait_for_waiters(waiters)


def table_queue(members, readers):
    """An idle reader, an ALTER TABLE behind it, readers behind that."""
    members.client().run("BEGIN; SELECT count(*) FROM hot")
    members.client().send("ALTER TABLE hot ADD COLUMN later text")
    members.wait_for_waiters(1)
    for _ in range(readers):
        members.client().send("SELECT count(*) FROM hot")
    members.wait_for_waiters(readers + 1)


def chain(members, length):
    """Each has updated a row and wants the one of its predecessor."""
    members.client().run("BEGIN; UPDATE hot SET n = n + 1 WHERE id = 1")
    for row in range(2, length + 2):
        client = members.client()
        client.run("BEGIN; UPDATE hot SET n = n + 1 WHERE id = {}".format(row))
        client.send("UPDATE hot SET n = n + 1 WHERE id = {}".format(row - 1))
    members.wait_for_waiters(length)


def idle(members, sessions):
    for _ in range(sessions):
        members.client().run("SELECT 1")
