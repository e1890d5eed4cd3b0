"""A connection that does not wait for its statement.

An asynchronous psycopg2 connection returns as soon as a statement is sent, so
that one process can have a thousand sessions wait for locks without waiting
with them.
"""

import select

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ


class Client:
    def __init__(self, dsn):
        self.connection = psycopg2.connect(dsn, async_=True)
        self.finish()
        self.cursor = self.connection.cursor()

    def send(self, statement):
        self.cursor.execute(statement)

    def run(self, statement):
        self.send(statement)
        self.finish()

    def done(self):
        """Whether the statement is over; raises its error."""
        return self.connection.poll() == POLL_OK

    def finish(self):
        while (state := self.connection.poll()) != POLL_OK:
            # Not select(), which ends at file descriptor 1023.
            poller = select.poll()
            poller.register(self.connection.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT)
            poller.poll()
