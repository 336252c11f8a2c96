"""``flask entry``: a stored password, shown."""

from __future__ import annotations

import sys

import click
from flask.cli import AppGroup

from pwserver.cli.find import find_entry, name_of
from pwserver.cli.output import Exit, Out, command
from pwserver.core.errors import NotFound
from pwserver.services import entries, values

group = AppGroup("entry", short_help="Shows a stored password (audited).", help=__doc__)


@command(group, "show")
@click.argument("entry")
@click.option("--version", type=int, metavar="NUMBER", help="Another version than the current one.")
def show(out: Out, entry: str, version: int | None) -> Exit:
    """Writes the password of ENTRY to standard output, and that it was shown into the audit."""
    found = find_entry(entry)
    wanted = values.current_version(found)
    if version is not None:
        chosen = next((each for each in entries.versions(found) if each.number == version), None)
        if chosen is None:
            raise NotFound(f"{name_of(found)} has no version {version}.")
        wanted = chosen
    number, stage, user, machine = wanted.number, wanted.stage, found.user_name, found.machine
    name = name_of(found)
    value = values.reveal(None, found, wanted)
    if out.as_json:
        facts = {"entry": name, "user_name": user, "machine": machine, "version": number, "stage": stage}
        out.give(facts | {"value": value.open()})
    else:
        sys.stdout.buffer.write(value.open().encode() + b"\n")
    return Exit.OK
