"""The whole database copied out of the SQLite file of one machine into PostgreSQL: every row as it is, or none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from flask import Flask
from sqlalchemy import Connection, Table, create_engine, delete, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from pwserver.core.errors import Conflict
from pwserver.extensions import db
from pwserver.models import Base, KeyCanary, SyncRun
from pwserver.models.runs import RUN_NUMBER
from pwserver.services import keys
from pwserver.services.audit import record
from pwserver.services.sync.check import check
from pwserver.services.transaction import write

TABLES = Base.metadata.sorted_tables
"""Whatever a row names stands in a table before its own, or in its own."""
BATCH = 500
WAIT_SECONDS = 2
"""How long somebody else may still have the file open."""
NOTHING = "Nothing was copied."


@dataclass(slots=True)
class Total:
    """What is in a table: the number of rows, and the sum of their digests, which no order changes."""

    rows: int = 0
    digests: int = 0

    def add(self, rows: Iterable[Any]) -> None:
        for row in rows:
            told = json.dumps(list(row), sort_keys=True, default=_plain)
            self.rows += 1
            self.digests = (self.digests + int.from_bytes(sha256(told.encode()).digest())) % 2**256


def _plain(value: datetime | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else value.isoformat()


def copy_into(target: Flask, name: str) -> dict[str, int]:
    """Copies the application's own database, which nobody uses meanwhile, into that of ``target``: PostgreSQL, with
    tables and without rows. ``name``: how the audit calls it. Returns how many rows each table got.

    One transaction; it also counts and compares what arrived, opens it with the master key and runs the check. Raises
    :class:`Conflict` in words, and nothing is there then.
    """
    _demand_good("here", "Start the server once, which puts right what only time has changed; stop it and try again.")
    with write() as session:
        record(session, None, "database.copied", subject=name[:255])
    file = str(db.engine.url.database)
    db.session.remove()
    db.engine.dispose()
    with target.app_context(), _read_alone(file) as source, write() as session:
        return _fill(source, session.connection())


def _fill(source: Connection, target: Connection) -> dict[str, int]:
    _demand_room(source, target)
    with _references_later(target):
        told = {table: _copy(source, target, table) for table in TABLES}
    _count_on(target)
    for table, total in told.items():
        if _total(target, table) != total:
            raise Conflict(f"What arrived in the table {table.name} is not what was sent. {NOTHING}")
    keys.prove()
    _demand_good("there", NOTHING)
    return {table.name: total.rows for table, total in told.items()}


def _demand_good(where: str, after: str) -> None:
    """What only time changes is not asked: no timer has run since the server was stopped."""
    wrong = check(recheck_lag=timedelta.max)
    if wrong:
        found = "; ".join(f"{each.invariant}: {each.subject} {each.what}" for each in wrong[:3])
        raise Conflict(f"`flask sync check` reports {len(wrong)} of the database {where}: {found}. {after}")


@contextmanager
def _read_alone(file: str) -> Iterator[Connection]:
    """The SQLite file, which nobody else has open, nor can open before the end."""
    url = make_url("sqlite://").set(database=file)
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": WAIT_SECONDS})

    @event.listens_for(engine, "connect")
    def on_connect(line: sqlite3.Connection, _record: object) -> None:
        line.isolation_level = None
        line.execute("PRAGMA locking_mode = EXCLUSIVE")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")  # takes the lock; BEGIN alone does not

    with _opened(engine.connect) as source:
        yield source


def _opened(connect: Any) -> Connection:
    try:
        source: Connection = connect()
        source.begin()
    except OperationalError:
        raise Conflict(
            f"Another program has the database open. Stop everything that works in this data folder first. {NOTHING}"
        ) from None
    return source


def _demand_room(source: Connection, target: Connection) -> None:
    """The target speaks UTF-8, has the tables of this release, and no row but the canary of whoever looked at it."""
    encoding = target.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise Conflict(f"The database there is in {encoding}, not in UTF-8. {NOTHING}")
    release = text("SELECT version_num FROM alembic_version")
    here, there = source.scalar(release), target.scalar(release)
    if here != there:
        raise Conflict(
            f"The tables here are of another release ({here}) than those there ({there}). Start the server here once "
            f"with this code and stop it, and take an empty database. {NOTHING}"
        )
    target.execute(delete(KeyCanary))
    full = [table.name for table in TABLES if target.execute(select(text("1")).select_from(table).limit(1)).first()]
    if full:
        raise Conflict(f"The database there is not empty: {', '.join(full)}. Take a new one. {NOTHING}")


@contextmanager
def _references_later(target: Connection) -> Iterator[None]:
    """Foreign keys are looked at when all rows are there: a row may name a later one of its own table, and one day two
    tables may name each other."""
    names = ", ".join(f"'{table.name}'::regclass" for table in TABLES)
    keys_of = f"contype = 'f' AND conrelid IN ({names})"  # our own names
    found = target.execute(
        text(f"SELECT conrelid::regclass, quote_ident(conname) FROM pg_constraint WHERE {keys_of}")  # noqa: S608
    ).all()

    def make(how: str) -> None:
        for table, name in found:
            target.exec_driver_sql(f"ALTER TABLE {table} ALTER CONSTRAINT {name} {how}")

    make("DEFERRABLE INITIALLY DEFERRED")
    yield
    with _in_words("all tables"):
        target.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    make("NOT DEFERRABLE")


def _copy(source: Connection, target: Connection, table: Table) -> Total:
    total = Total()
    found = source.execute(select(table), execution_options={"yield_per": BATCH})
    for rows in found.partitions():
        values = [dict(row._mapping) for row in rows]
        for each in values:
            _demand_fit(table, each)
        with _in_words(table.name):
            target.execute(table.insert(), values)
        total.add(rows)
    return total


def _demand_fit(table: Table, row: dict[str, Any]) -> None:
    """SQLite takes a text of any length, and the sign NUL."""
    for column in table.columns:
        value, longest = row[column.name], getattr(column.type, "length", None)
        if isinstance(value, str) and ("\0" in value or len(value) > (longest or len(value))):
            key = ", ".join(str(row[each.name]) for each in table.primary_key)
            why = "has a NUL" if "\0" in value else f"is longer than {longest} letters"
            raise Conflict(f"PostgreSQL does not take {column.name} of {table.name} {key}: it {why}. {NOTHING}")


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        told = getattr(error.orig, "diag", None)
        double = getattr(error.orig, "sqlstate", "") == "23505"
        detail = f" {told.message_detail} Letters like Ä and ä are one to PostgreSQL." if told and double else ""
        which = told.constraint_name if told else ""
        why = which or type(error.orig).__name__
        raise Conflict(f"PostgreSQL does not take the rows of {what} ({why}).{detail} {NOTHING}") from None


def _count_on(target: Connection) -> None:
    """Numbers that the database gives go on behind the highest."""
    for table in TABLES:
        column = table.autoincrement_column
        if column is not None:
            own = func.pg_get_serial_sequence(table.name, column.name)
            target.execute(select(func.setval(own, func.coalesce(func.max(column), 0) + 1, False)))
    run = SyncRun.__table__.c.number
    target.execute(select(func.setval(RUN_NUMBER.name, func.coalesce(func.max(run), 0) + 1, False)))


def _total(target: Connection, table: Table) -> Total:
    total = Total()
    for rows in target.execute(select(table), execution_options={"yield_per": BATCH}).partitions():
        total.add(rows)
    return total
