"""The two kinds of transaction, and the database's clock.

Reading uses ``db.session`` as it comes: one snapshot on either database (a plain BEGIN on SQLite, REPEATABLE READ on
PostgreSQL). Writing goes through :func:`write`: BEGIN IMMEDIATE on SQLite, so that a transaction that will write takes
the write lock before it reads and can never find its snapshot stale; READ COMMITTED on PostgreSQL, with the row locks
of ``locking``. Transactions never span a network call.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import current_app
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import scoped_session

from pwserver.extensions import db

WRITES = "pwserver_writes"
WAIT_SECONDS = 15
"""How long a transaction waits for a lock of another one, on either database."""
IDLE_SECONDS = 60
"""A transaction in which nothing happens for so long belongs to a process that was stopped; PostgreSQL ends it, for
others wait for its locks."""
POSTGRES = {
    "isolation_level": "REPEATABLE READ",
    "pool_pre_ping": True,
    "connect_args": {
        "connect_timeout": 10,
        "options": f"-c lock_timeout={WAIT_SECONDS}s -c idle_in_transaction_session_timeout={IDLE_SECONDS}s",
    },
}
"""Engine options; a connection that broke while it was not used is replaced before its next use."""
LOST_RACE = frozenset({"40001", "40P01", "55P03"})
"""SQLSTATE of a serialization failure, of a deadlock, and of a lock that was not to be had in time: rolled back whole,
and good to be done again."""
TRIES = 5

P = ParamSpec("P")
R = TypeVar("R")


def options_for(url: str) -> dict[str, Any]:
    """What an engine for this database is made with."""
    return POSTGRES if url.startswith("postgresql") else {}


def prepare_engine(engine: Engine) -> None:
    """Sets a SQLite engine up: WAL, synchronous FULL, foreign keys, and BEGIN in our hands."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        connection.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")  # a lost commit is a lost password
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITES) else "BEGIN")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for a second process that switches the same new file: it says at once that it is locked."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextmanager
def write() -> Iterator[scoped_session[Any]]:
    """One short writing transaction; commits at the end, rolls back on any exception.

    Whatever the session had read before is expired, so nothing is decided from an older snapshot.
    """
    session = db.session
    if session.new or session.dirty or session.deleted:
        raise RuntimeError("unsaved changes outside of a writing transaction")
    end_read()
    options: dict[str, Any] = {WRITES: True}
    if session.get_bind().dialect.name == "postgresql":
        options["isolation_level"] = "READ COMMITTED"
    session.connection(execution_options=options)
    session.info[WRITES] = True
    hook = current_app.config.get("COMMIT_HOOK")
    try:
        yield session
        session.flush()
        if hook:
            hook("before")
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.info.pop(WRITES, None)
    if hook:
        hook("after")


def retried(act: Callable[P, R]) -> Callable[P, R]:
    """For what is one writing transaction and nothing else: done again when it lost a race for locks, which left
    nothing behind."""

    @wraps(act)
    def again(*args: P.args, **kwargs: P.kwargs) -> R:
        for left in range(TRIES - 1, -1, -1):
            try:
                return act(*args, **kwargs)
            except DBAPIError as error:
                if not (left and lost_race(error)):
                    raise
        raise AssertionError

    return again


def lost_race(error: DBAPIError) -> bool:
    """Whether the database undid a transaction for the sake of another one that was at the same rows."""
    return getattr(error.orig, "sqlstate", None) in LOST_RACE


def met_another(error: DBAPIError) -> bool:
    """Whether a transaction failed because somebody else did the same, or something about the same rows, at the same
    moment: nothing of it was saved, and a person may look and repeat it."""
    return lost_race(error) or _is_double(error)


def _is_double(error: DBAPIError) -> bool:
    """Whether a unique index refused a row. Any other constraint is a bug of ours."""
    sqlite = getattr(error.orig, "sqlite_errorname", "")
    return sqlite in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY") or (
        getattr(error.orig, "sqlstate", "") == "23505"
    )


def end_read() -> None:
    """Ends the current read transaction, so that no lock or snapshot is held during a slow call."""
    if db.session.info.get(WRITES):
        raise RuntimeError("a writing transaction would be lost")
    db.session.rollback()


def now() -> datetime:
    """The database's clock, UTC. Tests may set ``CLOCK`` in the app's config."""
    clock = current_app.config.get("CLOCK")
    if clock:
        frozen: datetime = clock()
        return frozen
    if db.engine.dialect.name == "sqlite":  # a library in this process: it would ask the same clock
        return datetime.now(UTC)
    return db.session.execute(text("SELECT clock_timestamp()")).scalar_one().astimezone(UTC)  # type: ignore[no-any-return]
