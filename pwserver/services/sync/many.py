"""Many Remote Passwords: lines of machine names, what each becomes, and all of them added in one transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.connectors.windows import user_name as checked_user
from pwserver.core.errors import Conflict, Invalid
from pwserver.extensions import db
from pwserver.models import AccountName, AppUser, Entry, SyncAgent, SyncChain, SyncLink
from pwserver.services.sync.checks import (
    ONE_OWNER,
    check_cycles,
    check_lent,
    check_reach,
    checked_settings,
    fresh_chain,
    links_in_force,
    record_edit,
    target_of,
)
from pwserver.services.sync.links import link_row, next_position
from pwserver.services.sync.requeue import queue_test, stage_id
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import now, write

Session = scoped_session[Any]

KIND = "remote_windows"
MOST = 500
"""Names at once. A longer chain is made in steps."""
LONGEST = 100_000
"""Characters of text that are read at all."""
BETWEEN = re.compile(r"[,;\t]")
COMMENT = re.compile(r"(^|\s)#.*$")
RANGE = re.compile(r"(.*?)(\d{1,6})\.\.(.*?)(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Name:
    """One name as typed. ``line``: where it stands in the text, from 1. ``user``: "" for the one of all."""

    line: int
    text: str
    machine: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """What a name becomes: *add* (``link``: its number in the chain), *out* (it is there already), *wrong*."""

    name: Name
    fate: Literal["add", "out", "wrong"]
    words: str
    link: int = 0
    target: tuple[BaseModel, str, str] | None = None
    """Settings, machine and account key of what is added."""


@dataclass(frozen=True, slots=True)
class Many:
    """The lines in their order."""

    lines: Sequence[Line]

    @property
    def good(self) -> list[Line]:
        return [line for line in self.lines if line.fate == "add"]

    @property
    def wrong(self) -> list[Line]:
        return [line for line in self.lines if line.fate == "wrong"]

    @property
    def left(self) -> str:
        """The text of the lines that are wrong, to be put right."""
        return "\n".join(dict.fromkeys(line.name.text for line in self.wrong))


def names_in(text: str) -> list[Name]:
    """Every name of a text: one a line, or several between commas, semicolons or tabs; ``MACHINE\\user`` names its own
    user; ``LAB-09..LAB-40`` is a range; what follows ``#`` after a blank is a comment."""
    if len(text) > LONGEST:
        raise Invalid(f"That is too much text at once: at most {MOST} names.", field="names")
    found: list[Name] = []
    for number, line in enumerate(text.splitlines(), 1):
        for part in BETWEEN.split(COMMENT.sub("", line)):
            if part.strip():
                found += _names(number, part.strip())
        if len(found) > MOST:
            raise Invalid(f"At most {MOST} names at once; these are more. Add them in parts.", field="names")
    return found


def _names(line: int, text: str) -> Iterator[Name]:
    machine, _, user = text.partition("\\")
    ends = RANGE.fullmatch(machine)
    if ends is None or (ends[3] and ends[3].casefold() != ends[1].casefold()):
        yield Name(line, text, machine.strip(), user.strip())
        return
    first, last, width = int(ends[2]), int(ends[4]), len(ends[2])
    if not first <= last < first + MOST:
        yield Name(line, text, machine.strip(), user.strip())
        return
    for number in range(first, last + 1):
        name = f"{ends[1]}{number:0{width}}"
        yield Name(line, f"{name}\\{user.strip()}" if user else name, name, user.strip())


def read_many(entry: Entry, text: str, user_name: str) -> Many:
    """What the lines would become now. It changes nothing; :class:`Invalid` when the whole cannot be read."""
    chain = fresh_chain(db.session, entry)
    return _plan(db.session, chain, names_in(text), user_name)


def add_many(
    actor: AppUser | None,
    entry: Entry,
    text: str,
    user_name: str,
    *,
    revision: int,
    promised: int,
    linked_entry_id: str | None = None,
) -> Many:
    """Adds every good line as a Remote Windows Password at the end of the chain, all or none. ``promised``: how many
    the form said it would add; another number than that adds nothing. They start unproved and are tested together when
    no run of their chain is running (rule 34)."""
    with write() as session:
        chain = fresh_chain(session, entry, revision)
        check_lent(session, actor, linked_entry_id)
        many = _plan(session, chain, names_in(text), user_name)
        if not many.good:
            raise Invalid("None of these lines can be added. Nothing was saved.", field="names")
        if len(many.good) != promised:
            raise Conflict(f"Nothing was added yet: {_of(many)} can be added. Look at the lines, then add them.")
        _insert(session, chain, many, linked_entry_id)
        queue_test(session, chain.id, now(), requested_by=actor and actor.id)
        names = ", ".join(line.name.machine for line in many.good)
        record_edit(
            session, actor, "sync.links_added", entry, chain, {"links": len(many.good), "names": names, "kind": KIND}
        )
        refresh(session, chain.id)
        return many


def _of(many: Many) -> str:
    return f"{len(many.good)} of {len(many.lines)}"


def _insert(session: Session, chain: SyncChain, many: Many, linked_entry_id: str | None) -> None:
    starts_from, position = stage_id(session, chain.id, "current"), next_position(session, chain)
    for offset, line in enumerate(many.good):
        assert line.target is not None
        settings, machine, key = line.target
        session.add(
            link_row(
                chain, KIND, settings, machine, key, position=position + offset,
                linked_entry_id=linked_entry_id, reset_allowed=False, starts_from_version_id=starts_from,
            )
        )  # fmt: skip
    session.flush()
    check_cycles(session, chain, session.get_one(SyncAgent, chain.agent_id))


def _plan(session: Session, chain: SyncChain, names: Sequence[Name], user_name: str) -> Many:
    agent = session.get_one(SyncAgent, chain.agent_id)
    if agent.transport not in LINK_KINDS[KIND].transports:
        raise Invalid(f"{agent.name} reaches no Windows machines.", field="names")
    if any(not name.user for name in names):
        _check_user(user_name)
    targets = [_target(name, user_name, agent) for name in names]
    wanted = [each[2] for each in targets if not isinstance(each, str)]
    keys = _keys(session, wanted)
    links = links_in_force(session, chain)
    here = {link.account_key: number for number, link in enumerate(links, 1) if link.account_key}
    taken = _taken(session, set(keys.values()))
    seen: dict[str, int] = {}
    lines: list[Line] = []
    for name, target in zip(names, targets, strict=True):
        if isinstance(target, str):
            lines.append(Line(name, "wrong", target))
            continue
        settings, machine, spelled = target
        key = keys[spelled]
        if key in seen:
            lines.append(Line(name, "out", f"left out: the same as line {seen[key]}"))
        elif key in here:
            lines.append(Line(name, "out", f"left out: already link {here[key]} of this chain"))
        elif key in taken:
            lines.append(Line(name, "wrong", ONE_OWNER.format(what="account")))
        else:
            number = len(links) + sum(1 for line in lines if line.fate == "add") + 1
            lines.append(Line(name, "add", f"link {number}", number, (settings, machine, key)))
        seen.setdefault(key, name.line)
    return Many(lines)


def _check_user(user_name: str) -> None:
    try:
        checked_user(user_name.strip())
    except ValueError as error:
        raise Invalid(str(error), field="user_name") from None


def _target(name: Name, user_name: str, agent: SyncAgent) -> tuple[BaseModel, str, str] | str:
    """Settings, machine and the account's name as spelled; or the words why not."""
    try:
        settings = checked_settings(KIND, {"machine": name.machine, "user_name": name.user or user_name})
        machine, spelled = target_of(KIND, settings, agent)
        check_reach(KIND, machine, agent)
    except Invalid as error:
        return error.user_message
    return settings, machine, spelled


def _keys(session: Session, names: Sequence[str]) -> dict[str, str]:
    """Each name's key: what its target told once, else the name itself."""
    told = session.execute(select(AccountName.name, AccountName.key).where(AccountName.name.in_(names))).all()
    return {name: name for name in names} | {row[0]: row[1] for row in told}


def _taken(session: Session, keys: set[str]) -> set[str]:
    rows = session.scalars(
        select(SyncLink.account_key).where(SyncLink.account_key.in_(keys), SyncLink.active, SyncLink.is_account)
    )
    return {key for key in rows if key}
