"""What the engine is given: how it remembers, how it reaches out. Implemented in ``pwserver.services.sync``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from pwserver.connectors.base import Outcome
from pwserver.sync.chain import After, Denied, Link, NotNow, Plan, Step

Method = Literal["read", "verify", "change", "reset", "write", "restart"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A granted intent. Its outcome is accepted once, and only under the fence it was granted under."""

    id: str
    link: Link
    step: Step
    version: str | None
    hard_deadline: datetime
    began: float
    """When the intent was granted, by this process's monotonic clock."""


class Target(Protocol):
    """A link within reach. It opens values itself, at the last moment; the engine only names versions."""

    def ask(
        self, attempt: Attempt, method: Method, *, old: str | None = None, new: str | None = None, more: bool = False
    ) -> Outcome:
        """One remote call; answers, never raises for anything a target can do. ``more``: see ``Call``."""


class Journal(Protocol):
    """Every method is one short committed transaction that first proves the run is still ours, else FenceLost."""

    def plan(self) -> Plan:
        """The chain and its run, read fresh."""

    def now(self) -> datetime:
        """The database's clock."""

    def reach(self, link: Link) -> Target | NotNow:
        """Binds session and credentials, late. No network yet."""

    def intent(self, link: Link, step: Step, target: Target, version: str | None, old: str | None) -> Attempt | Denied:
        """Write-ahead: gate, first_sent_at, maybe (writes only) and the reservation of tries, all or nothing. Raises
        Stopping when this worker was asked to end."""

    def outcome(self, attempt: Attempt, outcome: Outcome, after: After) -> None:
        """The answer with the link's projection and the status; FenceLost keeps it as late_outcome."""

    def note(self, link: Link, after: After) -> None:
        """A state without an attempt: skipped, waiting, over budget."""

    def promote(self, version: str) -> None:
        """pending → current, current → previous, previous → old; exactly one row each, by id."""

    def wait(self, until: datetime) -> None:
        """Gives the run back, to be taken up again at ``until``."""

    def done(self, result: str) -> None:
        """Ends the run. What it left is outstanding; an override queues an ordinary run for it."""

    def release(self) -> None:
        """Closes sessions; nothing of ours is open during a wait."""
