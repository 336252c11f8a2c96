"""``flask sync check`` over every application that a test used, once the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from flask import Flask, appcontext_pushed
from sqlalchemy import inspect

from pwserver import create_app
from pwserver.config import Config
from pwserver.core.timing import FAST
from pwserver.extensions import db
from pwserver.models import Base
from pwserver.services import sync
from pwserver.services.sync.check import TIMER_LAG

TABLES = frozenset(Base.metadata.tables)


@contextmanager
def applications_used() -> Iterator[list[Flask]]:
    """Collects our applications whose context is pushed meanwhile, in this process."""
    used: list[Flask] = []

    def remember(app: Flask, **_: object) -> None:
        if "keyring" in app.extensions and app not in used:
            used.append(app)

    with appcontext_pushed.connected_to(remember):
        yield used


def violations_left_in(folder: Path, used: list[Flask]) -> list[str]:
    """The same for an instance folder that only processes of their own used; they have ended."""
    file = folder / "pwserver.db"
    if not file.is_file() or not (folder / "master.key").is_file():
        return []
    if any(app.config["PWSERVER"].instance == folder for app in used):
        return []
    config = Config(instance=folder, testing=True, timing=FAST)
    return violations(create_app(config, pages=False))


def violations(app: Flask) -> list[str]:
    """What is not as it must be in the database of an application; [] as well when it has no tables (yet, or any more).

    An engine that was disposed of is opened again and disposed of again.
    """
    # The clock of a test jumps, and no timer runs beside it.
    lag = timedelta.max if "CLOCK" in app.config else TIMER_LAG
    uri = app.config["SQLALCHEMY_DATABASE_URI"]
    file = uri.removeprefix("sqlite:///")
    in_memory = uri == "sqlite://"
    if uri.startswith("sqlite:///") and not Path(file).is_file():
        return []
    with app.app_context():
        try:
            if not TABLES.issubset(inspect(db.engine).get_table_names()):
                return []
            return [f"{each.invariant}: {each.subject} {each.what}" for each in sync.check(recheck_lag=lag)]
        finally:
            db.session.remove()
            if not in_memory:
                db.engine.dispose()
