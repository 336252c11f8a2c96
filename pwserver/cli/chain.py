"""``flask sync``: the links of a chain, added, edited, ordered and removed as on its page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pwserver import queueing
from pwserver.cli.acting import as_option, entry_for
from pwserver.cli.find import find_agent, find_entry, find_link, name_of
from pwserver.cli.output import Exit, Out, command
from pwserver.cli.sync import group
from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.access import Right
from pwserver.core.errors import Conflict, Invalid, NotFound
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, SyncChain, SyncLink
from pwserver.services import sync
from pwserver.services.sync.many import Many
from pwserver.services.views.links import who_of

settings_argument = click.argument("settings", nargs=-1, metavar="[FIELD=VALUE]...")
whose_option = click.option(
    "--whose", type=int, metavar="NUMBER", help="The account link whose password a place stores; 1 if none."
)
linked_option = click.option(
    "--linked", metavar="ENTRY", help="The linked credential, a password here; 'agent': as the agent."
)
WORDS = {"add": "adds", "out": "", "wrong": "wrong:"}


@command(group, "enable")
@click.argument("entry")
@click.option("--agent", required=True, metavar="NAME", help="A sync agent that the vault may use.")
@linked_option
@click.option("--stop", is_flag=True, help="Stop at a link that fails; else the chain goes on with the next.")
@as_option
def enable(out: Out, entry: str, agent: str, linked: str | None, stop: bool, acting: str | None) -> Exit:
    """Turns synchronization of ENTRY on and tests every link; nothing is written.

    --linked: Default Sync's own linked credential. An account of another device is refused.
    """
    found, user = entry_for(entry, acting, Right.OWNER)
    chosen = find_agent(agent)
    chain = sync.enable(user, found, chosen.id, "stop" if stop else "continue", _linked(linked))
    link = sync.active_links(chain)[0]
    return _done(out, found, link, "is Default Sync. It is tested once; nothing is written")


@command(group, "add")
@click.argument("entry")
@click.argument("kind", type=click.Choice(sorted(LINK_KINDS)))
@settings_argument
@whose_option
@linked_option
@click.option("--allow-reset", is_flag=True, help="A reset may be used where the account may not change itself.")
@as_option
def add(
    out: Out, entry: str, kind: str, settings: tuple[str, ...], whose: int | None, linked: str | None,
    allow_reset: bool, acting: str | None,
) -> Exit:  # fmt: skip
    """Adds a link to the chain of ENTRY: `add ENTRY remote_windows machine=LAB-09 user_name=Administrator`.

    It starts unproved and is tested when no run of the chain is running.
    """
    found, user, chain = _chain(entry, acting)
    link = sync.add_link(
        user, found, kind, _settings(settings), revision=chain.revision, account_link_id=_whose(chain, whose),
        linked_entry_id=_linked(linked), reset_allowed=allow_reset,
    )  # fmt: skip
    return _done(out, found, link, "was added. It is tested once; nothing is written")


@command(group, "edit")
@click.argument("entry")
@click.argument("number", type=int)
@settings_argument
@whose_option
@linked_option
@click.option("--allow-reset/--no-reset", default=None, help="Whether a reset may be used.")
@as_option
def edit(
    out: Out, entry: str, number: int, settings: tuple[str, ...], whose: int | None, linked: str | None,
    allow_reset: bool | None, acting: str | None,
) -> Exit:  # fmt: skip
    """Saves link NUMBER of ENTRY; what is not named stays. Pointed elsewhere it starts unproved.

    Of link 1, Default Sync, the linked credential; where it points is what General Settings says.
    """
    found, user, chain = _chain(entry, acting)
    link = find_link(chain, number)
    saved = sync.edit_link(
        user, link, dict(link.settings) | _settings(settings), revision=chain.revision,
        account_link_id=link.account_link_id if whose is None else _whose(chain, whose),
        linked_entry_id=link.linked_entry_id if linked is None else _linked(linked),
        reset_allowed=link.reset_allowed if allow_reset is None else allow_reset,
    )  # fmt: skip
    return _done(out, found, saved, "was saved. It is tested once; nothing is written")


@command(group, "remove")
@click.argument("entry")
@click.argument("number", type=int)
@as_option
def remove(out: Out, entry: str, number: int, acting: str | None) -> Exit:
    """Takes link NUMBER out of the chain of ENTRY. What it holds is remembered; `restore` puts it back."""
    found, user, chain = _chain(entry, acting)
    link = find_link(chain, number)
    sync.remove_link(user, link, revision=chain.revision)
    return _done(out, found, link, f"was removed. To put it back: flask sync restore '{name_of(found)}' {link.id}")


@command(group, "restore")
@click.argument("entry")
@click.argument("link_id", metavar="ID")
@as_option
def restore(out: Out, entry: str, link_id: str, acting: str | None) -> Exit:
    """Puts a removed link back into the chain of ENTRY, where it was."""
    found, user, chain = _chain(entry, acting)
    link = db.session.get(SyncLink, link_id)
    if link is None or link.chain_id != chain.id:
        raise NotFound(f"No link {link_id} was removed from this chain.")
    sync.restore_link(user, link, revision=chain.revision)
    return _done(out, found, link, "is back. It is tested once; nothing is written")


@command(group, "move")
@click.argument("entry")
@click.argument("number", type=int)
@click.argument("to", type=int)
@as_option
def move(out: Out, entry: str, number: int, to: int, acting: str | None) -> Exit:
    """Makes link NUMBER of ENTRY the link TO. Default Sync stays first; a place stays behind its account."""
    found, user, chain = _chain(entry, acting)
    link = find_link(chain, number)
    find_link(chain, to)
    order = [each.id for each in sync.active_links(chain) if each.id != link.id]
    order.insert(to - 1, link.id)
    sync.order_links(user, found, order, revision=chain.revision)
    return _done(out, found, link, f"is link {to}")


@command(group, "add-many")
@click.argument("entry")
@click.option("--file", "path", required=True, metavar="FILE", help="One name a line; '-' for standard input.")
@click.option("--user", "name", metavar="NAME", help="The account on all of them; that of ENTRY if none.")
@linked_option
@click.option("--skip-wrong", is_flag=True, help="Add the good lines though others are wrong.")
@as_option
def add_many(
    out: Out, entry: str, path: str, name: str | None, linked: str | None, skip_wrong: bool, acting: str | None
) -> Exit:
    """Adds a Remote Windows Password for every machine name in FILE, all in one go, or none when a line is wrong.

    Names may stand in lines or between commas; MACHINE\\user, ranges (LAB-09..LAB-40) and # comments are understood.
    """
    found, user, chain = _chain(entry, acting)
    text, account = _text(path), name or found.user_name
    many = sync.read_many(found, text, account)
    out.table(("Line", "Name", "", ""), [(e.name.line, e.name.text, WORDS[e.fate], e.words) for e in many.lines])
    facts = {"entry": name_of(found), "lines": _line_facts(many)}
    if many.wrong and not skip_wrong:
        out.say(f"Nothing was added: {len(many.wrong)} of {len(many.lines)} are wrong. Or give --skip-wrong.")
        out.give(facts | {"added": 0})
        return Exit.NOT_WELL
    sync.add_many(
        user, found, text, account, revision=chain.revision, promised=len(many.good), linked_entry_id=_linked(linked)
    )
    _nudge(found)
    out.say(f"{len(many.good)} links were added. Each is tested once; nothing is written.")
    out.give(facts | {"added": len(many.good)})
    return Exit.OK


def _line_facts(many: Many) -> list[dict[str, Any]]:
    return [
        {"line": each.name.line, "name": each.name.text, "fate": each.fate, "words": each.words} for each in many.lines
    ]


def _text(path: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return raw.decode()
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Invalid(f"{path} is not UTF-8.") from None


def _chain(entry: str, acting: str | None) -> tuple[Entry, AppUser | None, SyncChain]:
    """Who decides where a password is sent may read it: that is an owner's (rule 34)."""
    found, user = entry_for(entry, acting, Right.OWNER)
    chain = sync.chain_of(found)
    if chain is None:
        raise Conflict("Synchronization is not enabled for this password.")
    return found, user, chain


def _settings(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair} is not FIELD=VALUE, as in machine=LAB-09.")
        found[name] = value
    return found


def _whose(chain: SyncChain, number: int | None) -> str | None:
    return None if number is None else find_link(chain, number).id


def _linked(typed: str | None) -> str | None:
    return None if typed in (None, "agent") else find_entry(str(typed)).id


def _nudge(entry: Entry) -> None:
    run = sync.run_of(entry)
    if run is not None and run.state != "done":
        queueing.enqueue(run.id, queueing.NOW)


def _done(out: Out, entry: Entry, link: SyncLink, words: str) -> Exit:
    chain = sync.chain_of(entry)
    ids = [each.id for each in sync.active_links(chain)] if chain else []
    number = ids.index(link.id) + 1 if link.id in ids else None
    facts = {"id": link.id, "number": number, "kind": link.kind, "machine": link.machine, "name": who_of(link)}
    out.say(f"{name_of(entry)}: {link.machine} {who_of(link)} {words}.")
    out.give({"entry": name_of(entry), "link": facts, "links": len(ids)})
    _nudge(entry)
    return Exit.OK
