"""What a click would do, said before it is done: the words on *Retest Sync*, and what the Approve page offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.extensions import db
from pwserver.models import Entry, SyncChain, SyncLink
from pwserver.services.sync import requeue
from pwserver.services.sync.accounts import may_try
from pwserver.services.sync.requests import needs_retest
from pwserver.services.sync.status import timing
from pwserver.services.transaction import now

Session = scoped_session[Any]

CHANGED_OUTSIDE = frozenset({"holds_another", "old_value_refused", "value_refused"})
"""Reasons that mean: it does not hold what we set or knew, so somebody else set another."""


@dataclass(frozen=True, slots=True)
class RetestPlan:
    """``words``: what the button says it does. ``possible`` False: nothing to do, or over the budget (``why_not``)."""

    words: str
    possible: bool
    why_not: str = ""
    safe_at: datetime | None = None


def retest_plan(entry: Entry) -> RetestPlan:
    """What Retest Sync would do now, with the lock-out budget of the accounts it would touch."""
    chain = db.session.scalar(select(SyncChain).filter_by(entry_id=entry.id))
    if chain is None or not chain.enabled:
        return RetestPlan("nothing to do", False)
    version = requeue.outstanding_version(db.session, chain.id)
    left = requeue.outstanding_links(db.session, chain.id, version)
    writes = bool(left)
    links = left or [link for link in _active(chain) if needs_retest(link)]
    if not links:
        return RetestPlan("nothing to do", False)
    blocked_until = [safe for link in links if (safe := _safe_at(link)) is not None]
    words = _set_words(links) if writes else _test_words(links)
    if len(blocked_until) == len([link for link in links if link.is_account]) and blocked_until:
        safe = min(blocked_until)
        names = _names(links)
        return RetestPlan(words, False, f"would risk locking {names}; safe at {safe:%H:%M} UTC", safe)
    return RetestPlan(words, True)


def _safe_at(link: SyncLink) -> datetime | None:
    """When this account may be tried by a person again; None: now."""
    if not link.is_account or not link.account_key:
        return None
    pace = timing()
    no = may_try(
        db.session, link.account_key, None, budget=2, window=pace.try_window, busy_for=pace.busy_account, at=now()
    )
    return no.safe_at if no and not no.busy else None


def _active(chain: SyncChain) -> list[SyncLink]:
    return [link for link in chain.links if link.active]


def _names(links: Sequence[SyncLink]) -> str:
    unique = list(dict.fromkeys(link.machine for link in links))
    return ", ".join(unique[:3]) + (f" and {len(unique) - 3} more" if len(unique) > 3 else "")


def _set_words(links: Sequence[SyncLink]) -> str:
    return f"set the password on {_names(links)}"


def _test_words(links: Sequence[SyncLink]) -> str:
    logons = sum(1 for link in links if link.is_account)
    count = "no logon" if logons == 0 else "one logon" if logons == 1 else f"{logons} logons"
    return f"test {_names(links)}, {count}"


@dataclass(frozen=True, slots=True)
class Offer:
    """One link on the Approve page. ``why_not``: said when it cannot be ticked."""

    link: SyncLink
    ticked: bool
    tickable: bool
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class ApprovePlan:
    """``choices``: of keep, pending, new; ``chosen`` is preselected (rule 30)."""

    offers: Sequence[Offer]
    choices: Sequence[str]
    chosen: str
    changed_outside: bool


def approve_plan(entry: Entry) -> ApprovePlan:
    """The links that are not right, and which password to offer: the vault's when only dependents failed, a new one
    when Default Sync failed, the pending one when there is one that some place has or may have."""
    chain = db.session.scalar(select(SyncChain).filter_by(entry_id=entry.id))
    if chain is None:
        return ApprovePlan((), ("keep",), "keep", False)
    version = requeue.outstanding_version(db.session, chain.id)
    out = {link.id for link in requeue.outstanding_links(db.session, chain.id, version)}
    links = [link for link in _active(chain) if link.id in out or link.state not in ("in_sync", "updated", "managed")]
    offers = [_offer(link) for link in links]
    pending = requeue.stage_id(db.session, chain.id, "pending")
    choices = ["keep", *(["pending"] if pending else []), "new"]
    primary_failed = any(link.position == 0 for link in links)
    chosen = "pending" if pending and pending == version else "new" if primary_failed else "keep"
    outside = any(link.reason in CHANGED_OUTSIDE for link in links)
    return ApprovePlan(offers, choices, chosen, outside)


def _offer(link: SyncLink) -> Offer:
    if link.state == "unreachable":
        return Offer(link, False, False, "Left out: it does not answer, so credentials do not help.")
    if link.state == "unknown" and link.reason == "settling":
        return Offer(link, True, True, "Its last call may still act; Approve waits for its end first.")
    # What was typed there was refused: it is not right yet, and is left out of the next approval by nobody's wish.
    again = link.reason == "override_refused"
    return Offer(link, again or link.state in ("refused", "unknown", "skipped"), True)
