"""What a click would do, said before it is done: the words on *Retest Sync*, and what the Approve page offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.extensions import db
from pwserver.models import Entry, LinkMaybe, SyncChain, SyncLink
from pwserver.services.sync import requeue
from pwserver.services.sync.accounts import may_try_each
from pwserver.services.sync.counts import GOOD, goals_of
from pwserver.services.sync.requests import needs_retest
from pwserver.services.sync.status import timing
from pwserver.services.sync.tries import BY_PERSON
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
    return retest_plans([entry])[entry.id]


def retest_plans(entries: Sequence[Entry]) -> dict[str, RetestPlan]:
    """By entry: :func:`retest_plan`. The number of statements is constant."""
    plans = {entry.id: RetestPlan("nothing to do", False) for entry in entries}
    enabled = select(SyncChain.id, SyncChain.entry_id).where(SyncChain.entry_id.in_(plans), SyncChain.enabled)
    chains: dict[str, str] = dict(db.session.execute(enabled).all())
    if not chains:
        return plans
    versions = goals_of(db.session, list(chains), {})
    links = db.session.scalars(
        select(SyncLink)
        .where(SyncLink.chain_id.in_(chains), SyncLink.active)
        .order_by(SyncLink.position, SyncLink.id)
        .execution_options(populate_existing=True)
    ).all()
    ids = [link.id for link in links]
    maybe = set(db.session.scalars(select(LinkMaybe.link_id).where(LinkMaybe.link_id.in_(ids))))
    outstanding: dict[str, list[SyncLink]] = {chain_id: [] for chain_id in chains}
    unproved: dict[str, list[SyncLink]] = {chain_id: [] for chain_id in chains}
    for link in links:
        if requeue.is_outstanding(link, versions[link.chain_id], maybe):
            outstanding[link.chain_id].append(link)
        if needs_retest(link):
            unproved[link.chain_id].append(link)
    safe = _safe_at([link for chain_id in chains for link in outstanding[chain_id] or unproved[chain_id]])
    for chain_id, entry_id in chains.items():
        if left := outstanding[chain_id]:
            plans[entry_id] = _planned(_set_words(left), left, safe)
        elif left := unproved[chain_id]:
            plans[entry_id] = _planned(_test_words(left), left, safe)
    return plans


def _planned(words: str, links: Sequence[SyncLink], safe: Mapping[str, datetime]) -> RetestPlan:
    accounts = [link for link in links if link.is_account]
    times = [safe[link.id] for link in accounts if link.id in safe]
    if not times or len(times) < len(accounts):
        return RetestPlan(words, True)
    first = min(times)
    return RetestPlan(words, False, f"would risk locking {_names(links)}; safe at {first:%H:%M} UTC", first)


def _safe_at(links: Sequence[SyncLink]) -> dict[str, datetime]:
    """By link: when its account may be tried by a person again; those that may be now are left out."""
    keys = {link.id: link.account_key for link in links if link.is_account and link.account_key}
    pace = timing()
    noes = may_try_each(
        db.session, set(keys.values()), None,
        budget=BY_PERSON, window=pace.try_window, busy_for=pace.busy_account, at=now(),
    )  # fmt: skip
    return {link_id: no.safe_at for link_id, key in keys.items() if (no := noes[key]) and not no.busy}


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
    # what a service that is down needs is no password
    links = [link for link in _active(chain) if link.id in out or link.state not in (*GOOD, "down", "managed")]
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
