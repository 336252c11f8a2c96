"""Plain data the engine decides on. Versions are named by id: no value ever enters this package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pwserver.connectors.base import Answer, Means
from pwserver.core.states import LinkState
from pwserver.core.timing import Timing


class RunKind(StrEnum):
    CHANGE = "change"
    CORRECT = "correct"
    ADOPT = "adopt"
    TEST = "test"
    OVERRIDE = "override"


class Step(StrEnum):
    TEST = "test"
    CHANGE = "change"
    RESET = "reset"
    SET = "set"
    PROBE = "probe"
    RESTART = "restart"
    PROVE = "prove"


WRITES = frozenset({Step.CHANGE, Step.RESET, Step.SET})
"""Steps after which a target may hold the version that was sent."""


def call_limit(step: Step, timing: Timing) -> float:
    """Our own limit of the one call of a step, in seconds. A service may need minutes to stop."""
    return timing.restart if step == Step.RESTART else timing.call


COUNTING = frozenset({Means.LOGGED_ON, Means.READ_BACK, Means.UNCHANGED})
"""Grades that make an account green."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a link was last proved to hold, and how. ``stamp`` is by the target's own clock."""

    version: str
    rev: int
    means: Means
    host: str
    stamp: str | None
    at: datetime
    logon_at: datetime | None


@dataclass(frozen=True, slots=True)
class Link:
    """One link as the engine sees it.

    ``maybe``: versions sent with an unknown end, newest first. ``settle_at``: nothing may probe or write before it,
    since a dead attempt might still act. ``unknown_since``: when the oldest of them was sent. ``last``: the answer of
    its last attempt in this run; None before the first, and after a probe has settled it. ``proved``: what the prove
    step of an override said.
    """

    id: str
    position: int
    is_account: bool
    settings_rev: int
    account_link: str | None
    holds: str | None
    starts_from: str | None
    maybe: tuple[str, ...]
    state: LinkState
    reason: str
    next_try_at: datetime | None
    first_try_at: datetime | None
    tries: int
    proof: Proof | None
    written_rev: int | None
    restart_pending: bool
    restarts: bool
    restarted: bool
    """A restart was tried in this run, however it ended: it is not tried again by itself."""
    settle_at: datetime | None
    unknown_since: datetime | None
    last: Answer | None
    proved: Answer | None
    twins: frozenset[str]
    """Versions with the very value of its base (by digest), the base among them: the same value saved again."""
    asked: bool
    """A person clicked, and it was not tried since: it is due, and may spend a second try."""
    meant: bool
    """The click was for this very link: what it refused before may be sent once more. An approval means what was
    ticked; the rest of its chain is only carried along."""
    in_domain: bool = False
    """An account of a domain, which takes the password before for an hour after a change."""
    down: tuple[str, ...] | None = None
    """What our last restart left down, and was not seen up since: the services besides this one. None: nothing."""

    @property
    def base(self) -> str | None:
        """The version to change from: what it holds, else what it started from. Never simply "previous"."""
        return self.holds or self.starts_from

    def has(self, version: str | None) -> bool:
        """It holds ``version`` and nothing else may be there."""
        return self.holds is not None and self.holds == version and not self.maybe

    def proved_at(self, version: str | None) -> bool:
        """An account with a counting proof of ``version`` under its present settings."""
        return (
            self.has(version)
            and self.proof is not None
            and self.proof.version == version
            and self.proof.rev == self.settings_rev
            and self.proof.means in COUNTING
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain and the run over it, read in one go.

    ``version``: what this run sets. ``current``: the vault's. ``stopped``: cancelled, chain disabled or agent not
    approved: nothing but probing goes on. ``ticked``: an override's links (reset by its credentials), an adopt's
    places, a test's chosen links; None: all.
    """

    run_id: str
    kind: RunKind
    version: str | None
    current: str | None
    links: tuple[Link, ...]
    stop_on_failure: bool
    stopped: str
    ticked: frozenset[str] | None
    whole_chain: bool
    now: datetime

    @property
    def primary(self) -> Link:
        return self.links[0]

    @property
    def dependents(self) -> Sequence[Link]:
        return self.links[1:]

    def link(self, link_id: str) -> Link:
        return next(link for link in self.links if link.id == link_id)

    def is_ticked(self, link: Link) -> bool:
        return self.ticked is None or link.id in self.ticked


@dataclass(frozen=True, slots=True)
class After:
    """How a link stands after an answer: written by the journal in the outcome's transaction.

    ``holds`` None: unchanged. ``maybe``: what remains. ``proof``: a new one; ``forget_proof``: the old one is void.
    """

    state: LinkState
    reason: str = ""
    holds: str | None = None
    maybe: tuple[str, ...] = ()
    proof: Proof | None = None
    forget_proof: bool = False
    next_try_at: datetime | None = None
    written: bool = False
    restart_pending: bool | None = None


class Why(StrEnum):
    """Why an intent was not granted."""

    STOPPED = "stopped"
    BUSY = "busy"
    BUDGET = "over_budget"
    REFUSED_BEFORE = "refused_before"
    LOGIN_REFUSED = "waiting_for_login"
    CHANGED = "link_changed"


@dataclass(frozen=True, slots=True)
class Denied:
    why: Why
    reason: str = ""
    safe_at: datetime | None = None
    since_sent: bool = False
    """REFUSED_BEFORE: the account refused this value after it was last sent there, so it is not there."""


@dataclass(frozen=True, slots=True)
class NotNow:
    """A link cannot be reached out to at this moment, for a reason of ours; nothing was sent.

    ``until`` None: a person has to act first (no linked credential); else it is due again then.
    """

    reason: str
    until: datetime | None = None
    blocked: bool = False


class FenceLost(Exception):
    """Another worker has this run now. Stop at once, write nothing."""


class Stopping(Exception):
    """This worker was asked to end: the link in hand is done, the next one is another worker's."""


class WorkerBug(Exception):
    """Our own code failed in a call. The link is unknown, the run ends *errored*."""


def later(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)
