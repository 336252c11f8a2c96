"""What every command shares: tables or JSON, exit statuses, secrets from standard input, errors in words."""

from __future__ import annotations

import functools
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any

import click
from flask import current_app
from sqlalchemy.exc import DBAPIError

from pwserver.core.errors import Conflict, NotFound, PwserverError
from pwserver.core.secrets import KeyringError, Secret
from pwserver.lab.control import LabAway
from pwserver.services import audit, keys
from pwserver.services.transaction import met_another

MAX_SECRET = 4096
"""Bytes read from standard input; every value that anything can store is shorter."""


class Exit(IntEnum):
    """``NOT_WELL`` also when something was refused. ``USAGE`` is click's own. ``AWAY``: no database, no lab, no key."""

    OK = 0
    NOT_WELL = 1
    USAGE = 2
    NOT_FOUND = 3
    AWAY = 4


class Away(PwserverError):
    """What the command needs does not run or is not there."""


class CannotStart(click.ClickException):
    """The application itself does not start, as with a wrong master key."""

    exit_code = int(Exit.AWAY)


class Out:
    """Where a command's answer goes: lines for people, or one JSON object."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, *lines: str) -> None:
        """Lines for people; nothing with ``--json``."""
        if not self.as_json:
            for line in lines:
                click.echo(line)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        if not self.as_json:
            click.echo(table(head, rows))

    def give(self, facts: dict[str, Any]) -> None:
        """The answer for programs; nothing without ``--json``."""
        if self.as_json:
            click.echo(json.dumps(facts))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Left-aligned columns, two blanks between them."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def iso(moment: datetime | None) -> str | None:
    """A moment for programs: UTC, whole seconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else None


def command(group: click.Group, name: str, *, database: bool = True) -> Callable[[Callable[..., Exit]], click.Command]:
    """Makes a command of ``function(out, ...) -> Exit``, with ``--json`` and our errors in words.

    ``database`` False: it works without one (the lab).
    """

    def wrap(function: Callable[..., Exit]) -> click.Command:
        @functools.wraps(function)
        def run(*args: Any, as_json: bool, **options: Any) -> None:
            out = Out(as_json)
            try:
                if database:
                    _demand_database()
                    audit.at_console(whoami())
                status = function(out, *args, **options)
            except PwserverError as error:
                status = _say_error(out, error)
            except DBAPIError as error:
                if not met_another(error):
                    raise
                status = _say_error(out, Conflict("Someone else changed this at the same moment. Nothing was saved."))
            click.get_current_context().exit(int(status))

        flag = click.option("--json", "as_json", is_flag=True, help="One JSON object with stable keys.")
        return group.command(name)(flag(run))

    return wrap


def whoami() -> str:
    """The system's name of who runs this, for the audit: who may run it may read the instance folder."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return f"uid {os.getuid()}"


def _demand_database() -> None:
    if not keys.is_ready():
        config = current_app.config["PWSERVER"]
        raise Away(
            f"There is no database of Password Server in {config.instance} yet. Start the server once, or name its "
            "folder in PWSERVER_INSTANCE."
        )


def _say_error(out: Out, error: PwserverError) -> Exit:
    click.echo(error.user_message, err=True)
    out.give({"error": error.user_message, "field": error.field})
    if isinstance(error, NotFound):
        return Exit.NOT_FOUND
    if isinstance(error, (Away, LabAway, KeyringError)):
        return Exit.AWAY
    return Exit.NOT_WELL


def read_secrets(names: Sequence[str]) -> list[Secret]:
    """Several secrets: one a line of standard input, in this order; at a terminal a hidden prompt for each."""
    if len(names) < 2 or sys.stdin.isatty():
        return [read_secret(name, twice=False) for name in names]
    lines = read_secret(names[0]).open().split("\n")
    if len(lines) != len(names) or not all(lines):
        raise click.UsageError(f"Standard input has to have {len(names)} lines: {'; '.join(names)}.")
    return [Secret(line.removesuffix("\r")) for line in lines]


def read_secret(what: str, *, twice: bool = True) -> Secret:
    """A secret from standard input, byte-exact but for one line end after it; at a terminal by a hidden prompt.

    ``twice``: a prompt asks for it again. Ends the command with a usage error when there is none.
    """
    if sys.stdin.isatty():
        return Secret(click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True))
    raw = sys.stdin.buffer.read(MAX_SECRET + 1)
    if len(raw) > MAX_SECRET:
        raise click.UsageError(f"Standard input has more than {MAX_SECRET} bytes; a password has fewer.")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise click.UsageError("Standard input is not UTF-8.") from None
    text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
    if not text:
        raise click.UsageError(f"{what}: nothing came on standard input.")
    return Secret(text)
