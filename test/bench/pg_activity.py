"""The queries behind pg_activity's lists of waiting and blocking sessions, from the installed package."""

import re
from pathlib import Path

import pgactivity
from psycopg2 import sql

NO_FILTER = {"min_duration": 0, "dbname_filter": None}


def queries(connection):
    """By name; with the placeholders filled in as pg_activity does when it is started without options."""
    title = "pg_activity {}, ".format(pgactivity.__version__)
    return {title + name: query(connection, name) for name in ("waiting", "blocking")}


def query(connection, name):
    template = sql.SQL(newest(name, connection.server_version).read_text())
    statement = template.format(duration_column=sql.Identifier("query_start"))
    with connection.cursor() as cursor:
        return cursor.mogrify(statement, NO_FILTER).decode().rstrip().rstrip(";")


def newest(name, server_version):
    """Files are named for the first server version that they fit: get_waiting_post_090200.sql."""
    fitting = {}
    for path in Path(pgactivity.__file__).parent.glob("queries/get_{}_post_*.sql".format(name)):
        first_version = int(re.search(r"(\d+)\.sql$", path.name).group(1))
        if first_version <= server_version:
            fitting[first_version] = path
    return fitting[max(fitting)]
