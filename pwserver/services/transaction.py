"""The two kinds of transaction, and the database's clock.

Reading uses ``db.session`` as it comes: a plain BEGIN. Writing goes through :func:`write`: BEGIN IMMEDIATE on SQLite,
so that a transaction that will write takes the write lock before it reads and can never find its snapshot stale.
Transactions never span a network call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from flask import current_app
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import scoped_session

from pwserver.extensions import db

WRITES = "pwserver_writes"


def prepare_engine(engine: Engine) -> None:
    """Sets a SQLite engine up: WAL, synchronous FULL, foreign keys, and BEGIN in our hands."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        for pragma in (
            "busy_timeout = 15000",
            "journal_mode = WAL",
            "synchronous = FULL",  # a lost commit is a lost password
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITES) else "BEGIN")


@contextmanager
def write() -> Iterator[scoped_session[Any]]:
    """One short writing transaction; commits at the end, rolls back on any exception.

    Whatever the session had read before is expired, so nothing is decided from an older snapshot.
    """
    session = db.session
    if session.new or session.dirty or session.deleted:
        raise RuntimeError("unsaved changes outside of a writing transaction")
    end_read()
    session.connection(execution_options={WRITES: True})
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
    if db.engine.dialect.name == "sqlite":
        told = db.session.execute(text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")).scalar_one()
        return datetime.fromisoformat(told).replace(tzinfo=UTC)
    return db.session.execute(text("SELECT clock_timestamp()")).scalar_one().astimezone(UTC)  # type: ignore[no-any-return]
