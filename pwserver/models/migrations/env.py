"""Alembic's environment: runs migrations on the application's own engine."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from flask import current_app

from pwserver.extensions import db
from pwserver.models import Base
from pwserver.models.base import UtcTime


def render(kind: str, thing: Any, _context: object) -> str | Literal[False]:
    """Our times are plain DATETIME columns in a migration, so that it does not import the models of a later day."""
    return "sa.DateTime()" if kind == "type" and isinstance(thing, UtcTime) else False


def run() -> None:
    """Every migration in one transaction; SQLite's tables are rebuilt where it cannot alter them."""
    with db.engine.connect() as connection:
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
