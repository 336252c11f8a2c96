"""Who acts: the server's own console, which may do everything, or with ``--as`` a person, with their rights only.

It narrows and it names: whoever may run a command may read the instance folder anyway. The audit names both.
"""

from __future__ import annotations

import click

from pwserver.cli.find import find_entry, find_run, no_entry
from pwserver.core.access import ASK, Right, allows
from pwserver.core.errors import Forbidden, NotFound
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, SyncRun
from pwserver.services import users, vaults

as_option = click.option("--as", "acting", metavar="EMAIL", help="Act as this person, with their rights only.")


def who_acts(acting: str | None) -> AppUser | None:
    """The person of ``--as``; None: the console itself."""
    if acting is None:
        return None
    user = users.find(acting)
    if user is None:
        raise NotFound(f"There is no user {acting}. `flask user list` shows them.")
    if not user.active:
        raise Forbidden(f"{user.email} may not sign in, so nobody acts as them.")
    return user


def entry_for(typed: str, acting: str | None, right: Right) -> tuple[Entry, AppUser | None]:
    """The password that is meant, and who acts on it. One that the person may not see does not exist for them."""
    user, entry = who_acts(acting), find_entry(typed)
    _demand(user, entry, right, no_entry(typed))
    return entry, user


def run_for(typed: str, acting: str | None, right: Right) -> tuple[SyncRun, AppUser | None]:
    user, run = who_acts(acting), find_run(typed)
    _demand(user, db.session.get_one(Entry, run.chain.entry_id), right, NotFound(f"There is no run {typed}."))
    return run, user


def _demand(user: AppUser | None, entry: Entry, right: Right, hidden: NotFound) -> None:
    if user is None:
        return
    held = vaults.right_of(user, entry.vault_id)
    if held is None:
        raise hidden
    if not allows(held, right):
        raise Forbidden(ASK.get(right))
