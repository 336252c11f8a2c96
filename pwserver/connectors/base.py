"""What a connector is, what it is told, and the five answers it gives.

A connector returns :class:`Evidence` or raises one of :class:`Refused`, :class:`Blocked`, :class:`Unreachable`,
:class:`Unknown`. :func:`ask` is the wrapper around every call: it bounds and scrubs the machine's own words, and turns
whatever else escapes into *unknown* with ``bug`` set.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from pwserver.core.scrub import scrub
from pwserver.core.secrets import Secret
from pwserver.core.timing import NORMAL

log = logging.getLogger(__name__)

MAX_TEXT = 400
"""Characters kept of a machine's own sentence."""


class Answer(StrEnum):
    APPLIED = "applied"
    """The target took the value, or was proved to hold it."""
    REFUSED = "refused"
    """The target said no to this account's value. A person decides."""
    BLOCKED = "blocked"
    """Our own way in was refused: agent login, linked or override credential, missing right, wrong machine."""
    UNREACHABLE = "unreachable"
    """Nothing was sent."""
    UNKNOWN = "unknown"
    """It may or may not have happened."""


class Means(StrEnum):
    """The grades of a proof, strongest first."""

    LOGGED_ON = "logged on"
    READ_BACK = "read back"
    UNCHANGED = "unchanged since proved"
    STARTED = "started since the last change"
    WRITTEN = "written only"


class Key(StrEnum):
    """Whose tries an attempt may cost."""

    TARGET = "target"
    LOGIN = "login"
    LINKED = "linked"
    """The linked credential, or the override credential in its place."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the target said. Times in ``stamp`` are by the target's own clock."""

    host: str
    """The machine that answered, by the name it gave itself."""
    means: Means | None = None
    """None: facts only, nothing proved."""
    stamp: str | None = None
    """When the password was last set: UTC ISO 8601, or ``digest:...`` where the target's stamp is coarse."""
    method: Literal["", "change", "reset", "set", "restart"] = ""
    machine_sid: str | None = None
    account_id: str | None = None
    """The identity as the machine told it: ``computer.domain#S-1-5-…`` of a local account, ``S-1-5-…`` of a domain's,
    ``device\\user``."""
    account_sid: str | None = None
    run_as_sid: str | None = None
    run_as: str | None = None
    right: bool | None = None
    last_start: str | None = None
    last_result: int | None = None
    bad_count: int | None = None
    bad_at: str | None = None
    """When the last of these wrong logons was; None: not told."""
    threshold: int | None = None
    window_s: int | None = None
    restart_pending: bool = False
    state: str = ""
    """Of a task or service, as read: see ``contract.PlaceFacts``."""
    running: tuple[str, ...] = ()
    """Running services that depend on it."""
    down: tuple[str, ...] = ()
    """Services that a restart stopped and left down."""
    logged_on: bool = False
    """A logon with the value was made and counted."""
    by: str = ""
    """How a domain account's logon was made: Kerberos, or a bind that counts with the last-set stamp."""
    notes: str = ""
    """What a person should know of the account besides."""
    no_logon: str = ""
    """Why no logon could prove the value, in the machine's own terms."""
    turned_away: bool = False
    """A logon with the right value was refused, for another cause than the value; it may have been counted."""
    domain: str = ""
    """Tests of agents: the full name of the domain it stands in or is, "" for none or where it was not told."""
    short_domain: str = ""


TURNED_AWAY = "turned_away"
"""A refused logon that says nothing about the value: the account's password has not been set since its last proof."""
ASKS_MORE = "asks_more"
"""After the password the target asks for more, so that no logon can prove one."""
LOGIN_CLOSED = "login_closed"
"""The target ended the connection when the password came, and did not refuse it."""
NOT_JUDGED = frozenset({TURNED_AWAY, ASKS_MORE, LOGIN_CLOSED})
"""Refusals that may have been counted, and yet judge no value."""


class ConnectorError(Exception):
    """One of the four answers that are no *applied*. ``reason`` is a row of ``core/reasons.py``."""

    answer: Answer

    def __init__(
        self,
        reason: str,
        *,
        code: str = "",
        text: str = "",
        spent: Iterable[Key] = (),
        wrote: bool | None = False,
        safe_in: timedelta | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.code, self.text = reason, code, text
        self.spent, self.wrote, self.safe_in, self.evidence = frozenset(spent), wrote, safe_in, evidence


class Refused(ConnectorError):
    answer = Answer.REFUSED


class Blocked(ConnectorError):
    answer = Answer.BLOCKED


class Unreachable(ConnectorError):
    answer = Answer.UNREACHABLE


class Unknown(ConnectorError):
    answer = Answer.UNKNOWN

    def __init__(self, reason: str, **facts: Any) -> None:
        super().__init__(reason, **({"spent": tuple(Key), "wrote": None} | facts))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer, as the journal keeps it.

    ``spent``: the keys whose reserved try is not given back. ``wrote``: whether a mutating call was entered (None: not
    known). ``safe_in``: after how long this may be tried again (minimum age, lock-out), told by the target's own clock:
    whoever keeps the time that follows goes by the database's. ``bug``: our own code failed.
    """

    answer: Answer
    reason: str = ""
    code: str = ""
    text: str = ""
    evidence: Evidence | None = None
    spent: frozenset[Key] = frozenset()
    wrote: bool | None = False
    safe_in: timedelta | None = None
    bug: bool = False

    @property
    def refuses_value(self) -> bool:
        """Whether the target judged this account's value and said no to it."""
        return self.answer == Answer.REFUSED and Key.TARGET in self.spent and self.reason not in NOT_JUDGED


@dataclass(frozen=True, slots=True)
class Credential:
    """A login of ours. ``user_name`` as typed: ``MACHINE\\user``, ``DOMAIN\\user`` or a bare name."""

    user_name: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class Call:
    """What every connector call is told besides its values.

    ``ttl_s``: the script's time to live. ``deadline_s``: our own limit for the whole call, after which nothing more
    happens on our side. ``min_left``: tries that must be left on the account where count and threshold are read.
    ``stamp``: the last-set stamp under which the value that is to be proved was last set or proved, if it was.
    ``account``: for places, whose password it stores (``MACHINE\\user``). ``account_sid``: of that account when it was
    told; for accounts, the SID told at the link's proof, "" before one: another account of that name is not touched.
    ``more``: another call through the same session will most likely follow at once.
    ``stop_s``, ``answer_s``: for restarts, how long a stop is waited for, and when the script answers at the latest.
    """

    attempt: str
    ttl_s: float
    deadline_s: float
    machine_sid: str | None = None
    min_left: int = 2
    reset_allowed: bool = False
    unlock: bool = False
    account: str = ""
    account_sid: str = ""
    stamp: str | None = None
    more: bool = False
    stop_s: float = NORMAL.restart_stop
    answer_s: float = NORMAL.restart_answer


class Connector(Protocol):
    """One link's target, with its session and credentials bound. Every method is one remote call."""

    def read(self, call: Call) -> Evidence:
        """Facts without any logon on the target's account; ``means`` stays None. Costs none of its tries."""

    def verify(self, call: Call, value: Secret) -> Evidence:
        """One logon with ``value`` (account links). Costs at most one try."""

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        """Set ``new`` knowing ``old``, which is proved on the way, then log on once (account links)."""

    def reset(self, call: Call, new: Secret) -> Evidence:
        """Set ``new`` by the credential alone, then log on once (account links; the override)."""

    def write(self, call: Call, value: Secret) -> Evidence:
        """Store ``value`` (place links)."""

    def restart(self, call: Call) -> Evidence:
        """Restart by the link's policy (service links)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A link kind: how it is called, what it is told, and by agents of which transports it can be reached."""

    kind: str
    label: str
    icon: str
    settings: type[BaseModel]
    is_account: bool
    transports: tuple[Literal["winrm", "ssh", "ldaps"], ...]
    needs_linked: bool
    help: str
    machine_of: Callable[[Any, str], str]
    """(settings, the agent's machine) → the machine it lives on."""
    account_of: Callable[[Any, str], str]
    """(settings, the agent's machine) → ``machine\\user`` for accounts, ``machine\\path`` for places."""


def ask(call: Callable[[], Evidence], *, secrets: Iterable[Secret]) -> Outcome:
    """Makes one connector call and returns its answer; never raises for anything a target can do."""
    known = list(secrets)
    try:
        evidence = call()
        spent = frozenset({Key.TARGET} if evidence.turned_away else ())
        outcome = Outcome(Answer.APPLIED, text=evidence.no_logon, evidence=evidence, spent=spent, wrote=None)
    except ConnectorError as error:
        outcome = Outcome(
            error.answer, error.reason, error.code, error.text, error.evidence, error.spent, error.wrote, error.safe_in
        )
    except Exception as error:  # a bug of ours: said as such, and the link is unknown, never guessed
        where = traceback.extract_tb(error.__traceback__)[-1]
        log.error("connector bug: %s at %s:%s", type(error).__name__, where.filename, where.lineno)
        outcome = Outcome(Answer.UNKNOWN, "bug", type(error).__name__, spent=frozenset(Key), wrote=None, bug=True)
    return replace(outcome, text=scrub(outcome.text, known)[:MAX_TEXT], code=scrub(outcome.code, known)[:60])


STAMP_TOLERANCE = timedelta(seconds=2)


def same_stamp(one: str, other: str) -> bool:
    """Whether two last-set stamps are the same: within two seconds, either way; digests exactly."""
    if one.startswith("digest:") or other.startswith("digest:"):
        return one == other
    return abs(datetime.fromisoformat(one) - datetime.fromisoformat(other)) <= STAMP_TOLERANCE
