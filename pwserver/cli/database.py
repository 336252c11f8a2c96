"""``flask database``: the whole database, taken to a server of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import AppGroup
from flask_migrate import upgrade
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from pwserver import foundation, supervisor
from pwserver.cli.output import Away, Exit, Out, command, read_secret
from pwserver.config import Config
from pwserver.core.errors import Conflict, Invalid
from pwserver.extensions import db
from pwserver.services import copying, keys

group = AppGroup("database", short_help="Takes the database to PostgreSQL.", help=__doc__)

SECRET = ("password", "sslpassword")
"""What the part of an address behind the question mark may hold."""


@command(group, "copy-to")
@click.argument("address")
def copy_to(out: Out, address: str) -> Exit:
    """Copies the database of the stopped server into an empty one of PostgreSQL.

    ADDRESS is what DATABASE_URL will be; with - it comes on standard input or by a hidden prompt, as it has to when
    there is a password in it.
    """
    config: Config = current_app.config["PWSERVER"]
    if db.engine.dialect.name != "sqlite":
        raise Conflict(
            "DATABASE_URL names a PostgreSQL database already. Take it out of the environment and try again."
        )
    given, shown = read_address(address)
    with stopped(config.instance), application(replace(config, database_url=given), shown) as target:
        rows = copying.copy_into(target, shown)
    out.table(("Table", "Rows"), list(rows.items()))
    out.say(
        "",
        f"{sum(rows.values())} rows were copied and compared. The master key opens them, and `flask sync check` finds "
        "nothing there.",
        f"Now set DATABASE_URL={shown}" + (" with its password" if shown != given else "") + " and start the server.",
        f"The file {db.engine.url.database} stayed as it was: keep it as a backup, and start no server on it again.",
    )
    out.give({"rows": rows, "database_url": shown})
    return Exit.OK


def read_address(typed: str) -> tuple[str, str]:
    """The address of a PostgreSQL database, and how it may be shown. No error repeats it."""
    given = read_secret("Address", twice=False).open() if typed == "-" else typed
    try:
        url = make_url(Config(database_url=given).database)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() != "postgresql":
        raise Invalid("This is no address of a PostgreSQL database: postgresql://USER@HOST/DATABASE", field="address")
    secret = url.password is not None or any(name in url.query for name in SECRET)
    if secret and typed != "-":
        raise Invalid(
            "There is a password in this address, and what is typed in a command can be read by all users of this "
            "machine. Put - in its place, and give the address on standard input.",
            field="address",
        )
    return given, masked(url) if secret else given


def masked(url: URL) -> str:
    hidden = {name: "***" for name in SECRET if name in url.query}
    shown = url.set(drivername="postgresql").update_query_dict(hidden)
    return shown.render_as_string(hide_password=True)


@contextmanager
def stopped(instance: Path) -> Iterator[None]:
    """No server runs in this data folder, and none starts before the end."""
    lock = supervisor.take_lock(instance)
    if lock is None:
        where = supervisor.running(instance).get("url", str(instance))
        raise Conflict(f"Password Server runs: {where}. Stop it first. {copying.NOTHING}")
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def application(config: Config, shown: str) -> Iterator[Flask]:
    """The application over the new database, which gets its tables where it has none. It leaves no connection open."""
    try:
        made = foundation.lay(config)
    except OperationalError:
        raise Away(f"{shown} does not answer, or does not let us in. {copying.NOTHING}") from None
    try:
        with made.app_context():
            if not keys.is_ready():
                upgrade()
        yield made
    finally:
        with made.app_context():
            db.engine.dispose()
