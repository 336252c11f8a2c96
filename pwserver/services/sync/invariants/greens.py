"""No green that lies: In Sync recomputed from the rows by rule 37, with nothing of the code that writes the status."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import scoped_session

from pwserver.models import EntryVersion, LinkAttempt, LinkMaybe, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services.sync.invariants.caches import waits_for_timer
from pwserver.services.sync.invariants.violation import Violation

Session = scoped_session[Any]

GRADES = ("logged on", "read back", "unchanged since proved")
FRESH = timedelta(hours=24)
CLOCK = timedelta(seconds=5)
"""A proof this far ahead of the database's clock is not from the future yet."""
BAD = {
    "down": "is a service that is stopped, though it ran when we wrote it",
    "refused": "was refused",
    "blocked": "is blocked",
    "unknown": "is unknown",
    "skipped": "was skipped",
}


def check(session: Session, at: datetime, recheck_lag: timedelta) -> Iterator[Violation]:
    green = select(SyncChain).where(SyncChain.status == "in_sync").execution_options(populate_existing=True)
    for chain in session.scalars(green).all():
        for why in _chain(session, chain):
            yield Violation("in_sync", chain.entry.name, f"says In Sync, but {why}")
        late = waits_for_timer(chain, at, recheck_lag)
        for link, why in _links(session, chain, at, late):
            yield Violation("in_sync", f"{chain.entry.name}, {link.machine}", f"says In Sync, but {why}")


def _chain(session: Session, chain: SyncChain) -> Iterator[str]:
    if not chain.enabled:
        yield "synchronization is not enabled"
    agent = session.execute(select(SyncAgent.state, SyncAgent.pin).where(SyncAgent.id == chain.agent_id)).one()
    if agent.state != "approved":
        yield "its agent is not approved"
    if agent.pin != chain.agent_pin:
        yield "no owner has confirmed the certificate of its agent"
    active = select(SyncRun.number).where(SyncRun.chain_id == chain.id, SyncRun.state.in_(("queued", "running")))
    for number in session.scalars(active):
        yield f"run {number} has not ended"
    somewhere = (
        select(EntryVersion.number)
        .join(SyncLink, SyncLink.chain_id == chain.id)
        .outerjoin(LinkMaybe, LinkMaybe.link_id == SyncLink.id)
        .where(
            EntryVersion.entry_id == chain.entry_id,
            EntryVersion.stage == "pending",
            or_(SyncLink.holds_version_id == EntryVersion.id, LinkMaybe.version_id == EntryVersion.id),
        )
        .distinct()
    )
    for number in session.scalars(somewhere):
        yield f"some place has, or may have, the pending version {number}"


def _links(session: Session, chain: SyncChain, at: datetime, late: bool) -> Iterator[tuple[SyncLink, str]]:
    links = session.scalars(
        select(SyncLink)
        .where(SyncLink.chain_id == chain.id, SyncLink.active, SyncLink.state != "managed")
        .execution_options(populate_existing=True)
    ).all()
    version = select(EntryVersion.id).where(EntryVersion.entry_id == chain.entry_id, EntryVersion.stage == "current")
    current = session.scalars(version.limit(1)).first()
    doubtful = set(session.scalars(select(LinkMaybe.link_id).where(LinkMaybe.link_id.in_([each.id for each in links]))))
    answered = _answered(session, links)
    for link in links:
        why = _why_not(link, links, current, doubtful, at, late)
        if why is None and link.id not in answered:
            why = "no answer of the machine stands behind its proof"
        if why is not None:
            yield link, why


def _why_not(
    link: SyncLink, links: Sequence[SyncLink], current: str | None, doubtful: set[str], at: datetime, late: bool
) -> str | None:
    """The first sentence of rule 37 that a link does not meet; None: it is green by right."""
    if link.state in BAD:
        return f"it {BAD[link.state]}"
    if link.id in doubtful:
        return "it may hold another password"
    if current is None or link.holds_version_id != current:
        return "it does not hold the current password"
    if link.proof_version_id != current:
        return "it was not proved to hold the current password"
    if link.proof_rev != link.settings_rev:
        return "it was proved under other settings"
    if link.proved_at is None or link.proved_at > at + CLOCK:
        return "its proof has no time, or one in the future"
    if link.proved_at <= at - FRESH and not late:
        return "its proof is older than 24 hours"
    if link.is_account:
        return None if link.proof_means in GRADES else f'its proof is no more than "{link.proof_means}"'
    account = next((each for each in links if each.id == link.account_link_id and each.is_account), None)
    if account is None or _why_not(account, links, current, doubtful, at, late):
        return "its account is not proved"
    if link.proof_means == "written only" and link.written_rev == link.settings_rev:
        return None
    if link.proof_means == "started since the last change":
        return None
    return "it was neither written by us under these settings nor started since the last change"


def _answered(session: Session, links: Sequence[SyncLink]) -> set[str]:
    """The links for which the journal has an attempt, answered *applied*, during which their proof was made: with the
    value that it proves, or by reading alone."""
    behind = (
        select(LinkAttempt.link_id)
        .join(SyncLink, SyncLink.id == LinkAttempt.link_id)
        .where(
            SyncLink.id.in_([each.id for each in links]),
            LinkAttempt.outcome == "applied",
            LinkAttempt.step.not_in(("restart", "prove")),
            LinkAttempt.settings_rev == SyncLink.proof_rev,
            LinkAttempt.intent_at <= SyncLink.proved_at,
            LinkAttempt.finished_at >= SyncLink.proved_at,
            or_(LinkAttempt.version_id.is_(None), LinkAttempt.version_id == SyncLink.proof_version_id),
        )
    )
    return set(session.scalars(behind))
