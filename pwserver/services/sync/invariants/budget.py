"""The lock-out budget, counted again try by try (rule 22)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import scoped_session

from pwserver.models import Account, AccountName, AccountTry, LinkAttempt, SyncLink, SyncRun
from pwserver.services.sync.invariants.violation import Violation
from pwserver.services.sync.status import timing

Session = scoped_session[Any]

ITSELF, PERSON = 1, 2
"""Tries within the window that the server spends by itself, and that a person's click may bring it to."""


@dataclass(frozen=True, slots=True)
class _Booked:
    """A try that is not given back. ``limit``: who asked for it could bring the window to so many."""

    attempt: str
    key: str
    at: datetime
    limit: int
    reserved: bool
    """False: booked with the answer, since it cost a try against all expectation."""


def check(session: Session) -> Iterator[Violation]:
    shortest = timedelta(seconds=timing().try_window)
    told = select(Account.key, Account.window_s).where(Account.window_s > shortest.total_seconds())
    longer = {key: seconds for key, seconds in session.execute(told) if seconds}
    for key, rows in groupby(_booked(session), key=lambda each: each.key):
        tries = sorted(rows, key=lambda each: (each.at, each.limit))
        found = {each: before for each, before in _too_many(tries, shortest) if _is_judged(session, each)}
        if key in longer:
            since = _told_since(session, key, longer[key])
            wide = _too_many(tries, timedelta(seconds=longer[key]))
            found |= {each: before for each, before in wide if since and each.at > since and _is_judged(session, each)}
        for each, before in found.items():
            yield Violation("budget", key, f"was tried at {each.at:%Y-%m-%d %H:%M:%S} after {before} in that window")


def _too_many(tries: list[_Booked], window: timedelta) -> Iterator[tuple[_Booked, int]]:
    """The tries that were not within the budget, with how many the rolling window before them has."""
    for index, each in enumerate(tries):
        before = sum(1 for other in tries[:index] if other.at > each.at - window)
        if before >= each.limit:
            yield each, before


def _is_judged(session: Session, each: _Booked) -> bool:
    """Not what was booked only with its answer; nor what came before the account told who it is: until then each of
    its names had a count of its own, and these were united."""
    if not each.reserved:
        return False
    known = _identity_known_since(session, each.key)
    return known is None or each.at > known


def _booked(session: Session) -> Iterator[_Booked]:
    rows = session.execute(
        select(
            AccountTry.attempt_id, AccountTry.key, AccountTry.at, LinkAttempt.intent_at, SyncRun.id, SyncRun.clicked_at
        )
        .outerjoin(LinkAttempt, LinkAttempt.id == AccountTry.attempt_id)
        .outerjoin(SyncRun, SyncRun.id == LinkAttempt.run_id)
        .order_by(AccountTry.key)
    )  # fmt: skip
    for attempt, key, at, intent_at, run_id, clicked_at in rows:
        person = run_id is None or clicked_at is not None  # of no run: the test of an agent, a person's click
        yield _Booked(attempt, key, at, PERSON if person else ITSELF, intent_at is None or at == intent_at)


def _identity_known_since(session: Session, key: str) -> datetime | None:
    """When the last of its links was told that it is this account, or the last of its names proved to be one; None:
    the key is a name that always stood alone."""
    told = LinkAttempt.evidence["account_id"].as_string() == key
    first = select(func.min(LinkAttempt.finished_at).label("at")).where(told).group_by(LinkAttempt.link_id).subquery()
    united = session.scalar(select(func.max(AccountName.united_at)).where(AccountName.key == key))
    told_at = session.scalar(select(func.max(first.c.at)))
    return max((at for at in (united, told_at) if at), default=None)


def _told_since(session: Session, key: str, window: int) -> datetime | None:
    """When an account's machine first told this window of its lock-out policy."""
    told = (
        select(func.min(LinkAttempt.finished_at))
        .join(SyncLink, SyncLink.id == LinkAttempt.link_id)
        .where(SyncLink.account_key == key, LinkAttempt.evidence["window_s"].as_integer() == window)
    )
    found: datetime | None = session.scalar(told)
    return found
