"""Alembic's environment: where the database is, and who may migrate when.

Alembic reads the current revision first and acts on it afterwards. Two runs at
once would both read the old one; the second, let through when the first has
committed, fails with "column already exists". Runs therefore take turns: each
locks alembic_version before it reads the revision, and one that had to wait
finds head and has nothing left to do. This lock is held while a migration
waits for a table, so the runs behind wait for the same idle session.
"""

import logging
import os

from alembic import context
from sqlalchemy import create_engine, inspect, pool, text

logging.basicConfig()
logging.getLogger("alembic").setLevel(logging.INFO)

engine = create_engine(os.environ["REPLAY_URL"], poolclass=pool.NullPool)

with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        if inspect(connection).has_table("alembic_version"):
            connection.execute(text("LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE"))
        context.run_migrations()
