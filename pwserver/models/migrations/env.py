"""Alembic's environment: runs migrations on the application's own engine."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from flask import current_app
from sqlalchemy import Connection

from pwserver.extensions import db
from pwserver.models import Base
from pwserver.models.base import UtcTime

WRITES: dict[str, Any] = {"pwserver_writes": True}
"""BEGIN IMMEDIATE on SQLite; named here, since a migration knows no service."""
ONE_AT_A_TIME = 7239104


def connect() -> Connection:
    """A connection on which one process at a time brings the database up to date: a second one waits, and then finds it
    done."""
    options = WRITES
    if db.engine.dialect.name == "postgresql":
        options = WRITES | {"isolation_level": "READ COMMITTED"}  # after the wait it sees what the first one did
    connection = db.engine.connect().execution_options(**options)
    if db.engine.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})")
    return connection


def render(kind: str, thing: Any, _context: object) -> str | Literal[False]:
    """Our times are plain DATETIME columns in a migration, so that it does not import the models of a later day."""
    return "sa.DateTime()" if kind == "type" and isinstance(thing, UtcTime) else False


def run() -> None:
    """Every migration in one transaction; SQLite's tables are rebuilt where it cannot alter them."""
    with connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
            render_item=render,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


assert current_app
run()
