"""What stands on the Dashboard's task list: one thing to do, or one thing that many passwords wait for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pwserver.core.states import Row
from pwserver.models import Entry, SyncAgent
from pwserver.services.views.chain import ChainView
from pwserver.services.views.said import counted

MOST_TASKS = 10
"""Tasks of one kind that the Dashboard spells out; a list of passwords has the others."""
MOST_NAMES = 5
"""Passwords that a task names, of those that wait for one thing."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Passwords that wait for one thing, in vaults of one person: how many, and the first of them as (id, name)."""

    number: int = 0
    first: Sequence[tuple[str, str]] = ()

    @property
    def more(self) -> int:
        return self.number - len(self.first)


def waiting(names: Iterable[tuple[str, str]]) -> Waiting:
    """Of (entry id, name); by name."""
    ordered = sorted(names, key=lambda each: (each[1].casefold(), each[0]))
    return Waiting(len(ordered), tuple(ordered[:MOST_NAMES]))


def passwords_wait(number: int) -> str:
    return f"{counted(number, 'password')} {'waits' if number == 1 else 'wait'}"


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the task list. ``step``: what the page makes a button of; ``entry``, ``agent`` or ``credential``: of
    what. ``waiting``: who waits for it, ``elsewhere``: how many more do in vaults of others, ``only``: where a search
    has all of them. ``who``: who can do it, said to those who may not."""

    kind: str
    title: str
    text: str
    look: Row
    where: str
    since: datetime | None
    step: str
    entry: Entry | None = None
    chain: ChainView | None = None
    agent: SyncAgent | None = None
    credential: Entry | None = None
    waiting: Waiting = field(default_factory=Waiting)
    elsewhere: int = 0
    only: str = ""
    who: str = ""

    @property
    def mark(self) -> tuple[Any, ...]:
        """Changes whenever the row does."""
        chain = self.chain and self.chain.mark
        return (self.kind, self.title, self.text, self.step, self.who, self.waiting, self.elsewhere, chain)
