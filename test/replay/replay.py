"""Replays the incident with the tools it happened with: an ORM session that
nobody closed, and three `alembic upgrade head` runs that wait for it.

Uses the server that the PG* variables point at; it has pg_unblock preloaded.
Prints a line "ok - ..." or "not ok - ..." for each thing that must hold.
"""

import os
import subprocess
import sys
import time

from sqlalchemy import create_engine, exc, inspect, text
from sqlalchemy.orm import Session

from models import Base, Dataset, Experiment, Feature, Signature

HERE = os.path.dirname(os.path.abspath(__file__))
URL = "postgresql+psycopg2:///?host={PGHOST}&port={PGPORT}&user={PGUSER}&dbname=replay".format(**os.environ)
STUCK_AFTER = 5
HEAD = "4e8b2f6a3c10"
NEW_COLUMNS = {
    "datasets": {"methods", "summary", "results", "conclusions", "dataset_source_type", "data_origin"},
    "experiments": {"targets", "modality", "stage", "biomarker_role", "treatment_arms"},
    "features": {"short_id", "biomarker_role", "phenotype_axes", "data_ownership"},
}

failures = 0


def check(holds, what, found=""):
    global failures
    print("ok - " + what if holds else "not ok - {}\n# found: {}".format(what, found), flush=True)
    failures += not holds


def wait_until(condition, seconds):
    """The last value of condition(): what was waited for, or not in that time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def alembic(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=HERE,
        env={**os.environ, "REPLAY_URL": URL, "PGAPPNAME": "alembic"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def set_up():
    """The database of the application before the migrations; returns the observer's connection."""
    server = create_engine(URL.replace("dbname=replay", "dbname=postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE replay"))
    observer = create_engine(URL, isolation_level="AUTOCOMMIT").connect()
    observer.execute(text("CREATE EXTENSION pg_unblock"))
    Base.metadata.create_all(observer)
    with Session(create_engine(URL)) as session:
        signature = Signature(name="S1", features=[Feature(name="F%d" % i) for i in range(3)])
        session.add(Dataset(name="D1", experiments=[Experiment(name="E1", signatures=[signature])]))
        session.commit()
    stamp = alembic("stamp", "base")
    output, _ = stamp.communicate(timeout=60)
    if stamp.returncode:
        sys.exit(output)
    return observer


def limit_idle_blockers(observer, limit):
    observer.execute(text("ALTER SYSTEM SET pg_unblock.idle_blocker_limit = '%s'" % limit))
    observer.execute(text("SELECT pg_reload_conf()"))


def waiting_migrations(observer):
    return observer.execute(
        text("SELECT pid, query, root_pids FROM unblock.lock_waits WHERE application_name = 'alembic'")
    ).all()


def main():
    observer = set_up()

    leaked = Session(create_engine(URL))
    features = leaked.query(Feature.id).all()
    driver_connection = leaked.connection().connection.dbapi_connection
    culprit = driver_connection.info.backend_pid
    check(len(features) == 3, "the leaked session has read features", features)

    migrations = [alembic("upgrade", "head") for _ in range(3)]
    wait_until(lambda: len(waiting_migrations(observer)) == 3, 30)
    time.sleep(STUCK_AFTER)
    waits = waiting_migrations(observer)
    check(
        len(waits) == 3 and all(migration.poll() is None for migration in migrations),
        "without a limit three migrations are still stuck after %d s" % STUCK_AFTER,
        waits,
    )
    check(
        sum("ALTER TABLE features" in wait.query for wait in waits) == 1,
        "one of them waits with ALTER TABLE features, the others for their turn",
        waits,
    )
    check(
        bool(waits) and all(wait.root_pids == [culprit] for wait in waits),
        "lock_waits traces all of them to pid %d, the leaked session" % culprit,
        waits,
    )
    findings = observer.execute(text("SELECT * FROM unblock.check()")).all()
    check(
        any(
            "session %d" % culprit in finding.finding and "unblock.terminate(%d, " % culprit in finding.remedy
            for finding in findings
        ),
        "check() names the culprit and how to end it",
        findings,
    )

    limit_idle_blockers(observer, "2s")
    outputs = []
    for number, migration in enumerate(migrations, 1):
        try:
            outputs.append(migration.communicate(timeout=30)[0])
        except subprocess.TimeoutExpired:
            migration.kill()
            outputs.append("still stuck")
        check(migration.returncode == 0, "with a limit of 2 s migration %d ends well" % number, outputs[-1])
    check(
        sorted(output.count("Running upgrade") for output in outputs) == [0, 0, 2],
        "one run applied both revisions, the others found nothing left to do",
        outputs,
    )

    revision = observer.execute(text("SELECT array_agg(version_num) FROM alembic_version")).scalar()
    check(revision == [HEAD], "the revision is head", revision)
    inspector = inspect(observer)
    for table, columns in NEW_COLUMNS.items():
        found = {column["name"] for column in inspector.get_columns(table)}
        check(columns <= found, "%s has its new columns" % table, found)
    indexed = [index["column_names"] for index in inspector.get_indexes("features")]
    check(["short_id"] in indexed, "features.short_id is indexed", indexed)

    try:
        leaked.query(Feature.id).all()
        check(False, "the leaked session's next use raises OperationalError", "no error")
    except exc.DBAPIError as error:
        check(
            isinstance(error, exc.OperationalError) and error.connection_invalidated,
            "the leaked session's next use raises OperationalError, connection invalidated",
            repr(error),
        )
    reason = "".join(driver_connection.notices)
    check("idle_blocker_limit" in reason, "its driver connection's notices hold the reason", reason)
    leaked.rollback()
    check(leaked.query(Feature).count() == 3, "after a rollback the same session works again")
    limit_idle_blockers(observer, "0")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
