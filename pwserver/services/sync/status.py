"""Sync Status: a cache of a pure function of facts, written by one function (rule 40)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from flask import current_app
from sqlalchemy import bindparam, select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.base import Means
from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.states import ChainFacts, LinkFacts, LinkState, Status, derive_status
from pwserver.core.timing import Timing
from pwserver.extensions import db
from pwserver.models import Entry, EntryVersion, LinkMaybe, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services.audit import record
from pwserver.services.sync import incidents
from pwserver.services.sync.credentials import serves
from pwserver.services.transaction import now
from pwserver.sync.chain import COUNTING

Session = scoped_session[Any]

PLACE_MEANS = frozenset({Means.WRITTEN, Means.STARTED})
STANDING = (LinkState.IN_SYNC, LinkState.UPDATED)
"""Links with these are tested day by day, and their proofs must not grow old."""


def timing() -> Timing:
    found: Timing = current_app.config["PWSERVER"].timing
    return found


def status_of(entry: Entry) -> tuple[Status, str]:
    """The status of an entry and its detail in a few words, from the cache."""
    chain = db.session.scalar(select(SyncChain).filter_by(entry_id=entry.id))
    if chain is not None:
        return Status(chain.status), chain.status_detail
    from pwserver.core.passwords import TYPES

    return (Status.NOT_SYNCED if TYPES[entry.type].link_kind else Status.UNSYNCABLE), ""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a chain with what the detail and the clock need."""

    chain: ChainFacts
    links: Sequence[SyncLink]
    current: str | None


LINKS = (
    select(SyncLink)
    .where(SyncLink.chain_id == bindparam("chain"), SyncLink.active)
    .order_by(SyncLink.position, SyncLink.id)
    .execution_options(populate_existing=True)
)
MAYBES = (
    select(LinkMaybe.link_id, LinkMaybe.version_id)
    .join(SyncLink, SyncLink.id == LinkMaybe.link_id)
    .where(SyncLink.chain_id == bindparam("chain"), SyncLink.active)
)
STAGES = select(EntryVersion.id, EntryVersion.stage).where(
    EntryVersion.entry_id == bindparam("entry"), EntryVersion.stage.in_(("current", "pending"))
)
ACTIVE = select(SyncRun.kind, SyncRun.state).where(SyncRun.chain_id == bindparam("chain"), SyncRun.state != "done")


def read_facts(session: Session, chain: SyncChain) -> Facts:
    """Everything the status of a chain depends on, read in the caller's transaction."""
    agent = session.get(SyncAgent, chain.agent_id)
    links = session.scalars(LINKS, {"chain": chain.id}).all()
    maybe: dict[str, list[str]] = defaultdict(list)
    for link_id, version_id in session.execute(MAYBES, {"chain": chain.id}):
        maybe[link_id].append(version_id)
    stages: dict[str, str] = {row.stage: row.id for row in session.execute(STAGES, {"entry": chain.entry_id})}
    current, pending = stages.get("current"), stages.get("pending")
    active = session.execute(ACTIVE, {"chain": chain.id}).all()
    states = {state for kind, state in active if kind != "test"}
    testing = {state for kind, state in active if kind == "test"}
    facts = ChainFacts(
        syncable=True,
        enabled=chain.enabled,
        running="running" in states or "running" in testing,
        queued="queued" in states or "queued" in testing,
        agent_usable=agent is not None and serves(agent, chain),
        pending_somewhere=pending is not None
        and any(link.holds_version_id == pending or pending in maybe.get(link.id, ()) for link in links),
        links=[_link_facts(link, links, maybe, current, agent) for link in links],
    )
    return Facts(facts, links, current)


def _link_facts(
    link: SyncLink,
    links: Sequence[SyncLink],
    maybe: Mapping[str, Sequence[str]],
    current: str | None,
    agent: SyncAgent | None,
) -> LinkFacts:
    holds = current is not None and link.holds_version_id == current
    proved = holds and link.proof_version_id == current and link.proof_rev == link.settings_rev
    if link.is_account:
        proved = proved and link.proof_means in COUNTING
        proved_at = link.proved_at
    else:
        account = next((other for other in links if other.id == link.account_link_id), None)
        proved = (
            proved
            and link.proof_means in PLACE_MEANS
            and account is not None
            and account.holds_version_id == current
            and account.proof_version_id == current
        )
        times = [link.proved_at, account.proved_at if account else None]
        proved_at = min(time for time in times if time) if all(times) else None
    return LinkFacts(
        state=LinkState(link.state),
        holds_current=holds,
        maybe=link.id in maybe,
        proved=proved,
        proved_at=proved_at,
        configured=is_configured(link, agent),
        never_proved_from_current=link.holds_version_id is None and link.starts_from_version_id == current,
    )


def is_configured(link: SyncLink, agent: SyncAgent | None) -> bool:
    """Whether a link has what a change needs."""
    kind = LINK_KINDS[link.kind]
    linked = link.linked_entry_id or (agent and agent.linked_entry_id)
    return bool(linked) or not kind.needs_linked


def next_test(link_id: str, at: datetime) -> datetime:
    """When a chain proved at ``at`` is tested again: due after 20 h, spread over 2 h by its id."""
    spread = crc32(link_id.encode()) % 1000 / 1000
    return at + timedelta(seconds=timing().test_due + spread * timing().test_spread)


def _next_daily_test(chain: SyncChain, links: Sequence[SyncLink], at: datetime) -> datetime:
    """By the oldest proof among the links that stand, so that a link proved later than the others puts nobody off.

    Where that time is past already (the test is under way, was stopped, or could not tell) the timer's next day stays.
    """
    standing = [link.proved_at for link in links if link.proved_at and link.state in STANDING]
    due = next_test(chain.id, min(standing, default=at))
    if chain.next_test_at is None or (standing and due > at):
        return due
    return chain.next_test_at


@dataclass(frozen=True, slots=True)
class Computed:
    """What the facts give: the status, and its detail in a few words."""

    status: Status
    detail: str
    facts: Facts


def compute(session: Session, chain: SyncChain, at: datetime) -> Computed:
    """The status as the facts give it, whatever the cache says."""
    facts = read_facts(session, chain)
    status = derive_status(facts.chain, at, timedelta(seconds=timing().proof_fresh))
    counts = _done(session, chain.id) if status == Status.OUT_OF_SYNC else (0, 0)
    return Computed(status, describe(status, facts, counts), facts)


def _done(session: Session, chain_id: str) -> tuple[int, int]:
    from pwserver.services.sync.counts import link_counts  # imported late: it stands on what refreshes statuses

    return link_counts(session, [chain_id]).get(chain_id, (0, 0))


def refresh(session: Session, chain_id: str) -> Status:
    """Recomputes and stores the status of a chain at the end of a transaction that changed a fact."""
    session.flush()
    chain = session.get_one(SyncChain, chain_id)
    at = now()
    found = compute(session, chain, at)
    status, detail, facts = found.status, found.detail, found.facts
    fresh = timedelta(seconds=timing().proof_fresh)
    proofs = [link.proved_at for link in facts.chain.links if link.proved_at]
    chain.recheck_at = min(proofs) + fresh if proofs and status == Status.IN_SYNC else None
    if chain.enabled:
        chain.next_test_at = _next_daily_test(chain, facts.links, at)
    if chain.status != status:
        was, chain.status, chain.status_since = chain.status, status, at
        entry = session.get_one(Entry, chain.entry_id)
        record(session, None, "status", entry=entry, facts={"from": was, "to": str(status), "detail": detail})
    chain.status_detail = detail
    incidents.follow(session, chain, status, facts.links, at)
    session.flush()
    return status


def describe(status: Status, facts: Facts, counts: tuple[int, int]) -> str:
    """The reason in a few words, for the column: "LAB-05 refused, LAB-04 no answer", after a change "39 of 40".

    ``counts``: the links, and those done, as the chain's page counts them."""
    if status == Status.NOT_CONFIGURED:
        missing = [
            link.machine for link, fact in zip(facts.links, facts.chain.links, strict=True) if not fact.configured
        ]
        return f"{_names(missing)}: no linked credential"
    if status != Status.OUT_OF_SYNC:
        return ""
    parts = [f"{counts[1]} of {counts[0]}"]
    for state, words in WORDS.items():
        machines = [link.machine for link in facts.links if link.state == state]
        if machines:
            parts.append(f"{_names(machines)} {words}")
    return ", ".join(parts)


WORDS = {
    LinkState.DOWN: "stopped, not up",
    LinkState.REFUSED: "refused",
    LinkState.BLOCKED: "blocked",
    LinkState.UNKNOWN: "unknown",
    LinkState.UNREACHABLE: "no answer",
}


def _names(machines: Sequence[str]) -> str:
    unique = list(dict.fromkeys(machines))
    return ", ".join(unique[:2]) + (f" and {len(unique) - 2} more" if len(unique) > 2 else "")
