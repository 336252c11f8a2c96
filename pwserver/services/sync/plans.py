"""Rows to the engine's plain data: one chain and its run, read in one go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import bindparam, select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.base import Answer, Means
from pwserver.core.states import LinkState
from pwserver.core.timing import Timing
from pwserver.models import EntryVersion, LinkAttempt, LinkMaybe, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services.sync.credentials import serves
from pwserver.sync.chain import Link, Plan, Proof, RunKind
from pwserver.sync.settle import LEFT_DOWN

Session = scoped_session[Any]


RUN = (
    select(SyncRun, SyncChain, SyncAgent)
    .join(SyncChain, SyncChain.id == SyncRun.chain_id)
    .join(SyncAgent, SyncAgent.id == SyncChain.agent_id)
    .where(SyncRun.id == bindparam("run"))
    .execution_options(populate_existing=True)
)
RUN_AND_LINK = (
    select(SyncRun, SyncLink, SyncChain, SyncAgent)
    .join(SyncChain, SyncChain.id == SyncRun.chain_id)
    .join(SyncAgent, SyncAgent.id == SyncChain.agent_id)
    .join(SyncLink, SyncLink.chain_id == SyncChain.id)
    .where(SyncRun.id == bindparam("run"), SyncLink.id == bindparam("link"))
    .execution_options(populate_existing=True)
)
"""What reaching out to a link, and its intent, look at."""
LINKS = (
    select(SyncLink)
    .where(SyncLink.chain_id == bindparam("chain"), SyncLink.active)
    .order_by(SyncLink.position, SyncLink.id)
)
VERSIONS = select(EntryVersion.id, EntryVersion.stage, EntryVersion.digest).where(
    EntryVersion.entry_id == bindparam("entry")
)
MAYBES = (
    select(LinkMaybe.link_id, LinkMaybe.version_id)
    .join(EntryVersion, EntryVersion.id == LinkMaybe.version_id)
    .join(SyncLink, SyncLink.id == LinkMaybe.link_id)
    .where(SyncLink.chain_id == bindparam("chain"), SyncLink.active)
    .order_by(EntryVersion.number.desc())
)
TRIED = select(
    LinkAttempt.link_id, LinkAttempt.step, LinkAttempt.version_id, LinkAttempt.outcome, LinkAttempt.code,
    LinkAttempt.intent_at, LinkAttempt.hard_deadline,
)  # fmt: skip
"""What is asked of an attempt: a run of a long chain has many, and they are read again after each answer."""
OF_RUN = TRIED.where(LinkAttempt.run_id == bindparam("run")).order_by(LinkAttempt.n)
UNKNOWN_WRITES = TRIED.where(
    LinkAttempt.link_id.in_(bindparam("links", expanding=True)),
    LinkAttempt.step.in_(("change", "reset", "set")),
    (LinkAttempt.outcome == "unknown") | LinkAttempt.outcome.is_(None),
).order_by(LinkAttempt.intent_at)


RESTARTS = (
    select(LinkAttempt.link_id, LinkAttempt.reason, LinkAttempt.evidence)
    .where(LinkAttempt.link_id.in_(bindparam("links", expanding=True)), LinkAttempt.step == "restart")
    .order_by(LinkAttempt.intent_at)
)


class Tried(Protocol):
    """A row of ``TRIED``."""

    link_id: str
    step: str
    version_id: str | None
    outcome: str | None
    code: str
    intent_at: datetime
    hard_deadline: datetime


def read_plan(session: Session, run_id: str, at: datetime, timing: Timing) -> tuple[Plan, int, str]:
    """The plan with the run's fence and state, which say whether it is still the caller's. Links that the transaction
    has read already are not read again."""
    run, chain, agent = session.execute(RUN, {"run": run_id}).one()
    of_chain = {"chain": chain.id}
    links = session.scalars(LINKS, of_chain).all()
    versions = session.execute(VERSIONS, {"entry": chain.entry_id}).all()
    current = next((version.id for version in versions if version.stage == "current"), None)
    twins = {each.id: frozenset(other.id for other in versions if other.digest == each.digest) for each in versions}
    maybes: dict[str, list[str]] = defaultdict(list)
    """Per link, the versions that may be there, newest first."""
    for link_id, version_id in session.execute(MAYBES, of_chain):
        maybes[link_id].append(version_id)
    # Per link that may hold two values: its writes with an unknown end, whatever run they were of.
    unknowns = _by_link(session.execute(UNKNOWN_WRITES, {"links": list(maybes)}) if maybes else ())
    tried = _by_link(session.execute(OF_RUN, {"run": run_id}))
    down = _left_down(session, links)
    stopped = ""
    if run.cancel_at is not None:
        stopped = run.result or "cancelled"
    elif not chain.enabled:
        stopped = "disabled"
    elif not serves(agent, chain):
        stopped = "agent_disabled"
    plan = Plan(
        run_id=run.id,
        kind=RunKind(run.kind),
        version=run.version_id,
        current=current,
        links=tuple(
            to_link(
                link,
                maybes.get(link.id, ()),
                unknowns.get(link.id, ()),
                tried.get(link.id, ()),
                run,
                timing,
                twins.get(link.holds_version_id or link.starts_from_version_id or "", frozenset()),
                down.get(link.id),
            )
            for link in links
        ),
        stop_on_failure=chain.on_failure == "stop",
        stopped=stopped,
        ticked=None if run.scope is None else frozenset(run.scope),
        whole_chain=run.whole_chain,
        now=at,
    )
    return plan, run.fence, run.state


def _by_link(rows: Iterable[Any]) -> dict[str, list[Tried]]:
    found: dict[str, list[Tried]] = defaultdict(list)
    for row in rows:
        found[row.link_id].append(row)
    return found


def _left_down(session: Session, links: Sequence[SyncLink]) -> dict[str, tuple[str, ...] | None]:
    """By link whose last restart left something down: the services besides its own."""
    names = {link.id: str(link.settings.get("name", "")).casefold() for link in links if link.restart_pending}
    if not names:
        return {}
    found: dict[str, tuple[str, ...] | None] = {}
    for link_id, reason, evidence in session.execute(RESTARTS, {"links": list(names)}):
        down = (evidence or {}).get("down", ())
        others = tuple(name for name in down if name.casefold() != names[link_id])
        found[link_id] = others if reason in LEFT_DOWN else None
    return found


def to_link(
    row: SyncLink,
    maybe: Sequence[str],
    unknowns: Sequence[Tried],
    tried: Sequence[Tried],
    run: SyncRun,
    timing: Timing,
    twins: frozenset[str],
    down: tuple[str, ...] | None = None,
) -> Link:
    # Only the writes of values still in question count; one from before the last proof was settled by it, even when
    # the same value was sent again later.
    since = row.proved_at
    open_writes = [each for each in unknowns if each.version_id in maybe and (not since or each.intent_at >= since)]
    ends = [attempt.hard_deadline + timedelta(seconds=timing.dead_wait) for attempt in open_writes]
    clicked = run.clicked_at
    steps = [attempt for attempt in tried if attempt.step != "prove" and not _wants_a_logon(attempt, row)]
    last = steps[-1] if steps else None
    # A probe that found neither value leaves the link refused: a person decides, this run does not try on.
    settled = last is not None and last.step == "probe" and not maybe and row.state != "refused"
    proved = [attempt for attempt in tried if attempt.step == "prove" and attempt.code != "worker_died"]
    # The hours of retrying are counted within a run: a new instruction has all of them again. A test that the server
    # makes by itself counts on: else a machine that is off would be new to it every day.
    counts_on = bool(tried) or (run.kind == "test" and clicked is None)
    return Link(
        id=row.id,
        position=row.position,
        is_account=row.is_account,
        settings_rev=row.settings_rev,
        account_link=row.account_link_id,
        holds=row.holds_version_id,
        starts_from=row.starts_from_version_id,
        maybe=tuple(maybe),
        state=LinkState(row.state),
        reason=row.reason,
        next_try_at=row.next_try_at,
        first_try_at=row.first_try_at if counts_on else None,
        tries=row.tries if counts_on else 0,
        proof=_proof(row),
        written_rev=row.written_rev,
        restart_pending=row.restart_pending,
        restarted=any(attempt.step == "restart" for attempt in tried),
        restarts=row.settings.get("restart", "never") != "never",
        down=down,
        settle_at=max(ends, default=None),
        unknown_since=min((attempt.intent_at for attempt in open_writes), default=None),
        last=Answer(last.outcome) if last and last.outcome and not settled else None,
        proved=Answer(proved[-1].outcome) if proved and proved[-1].outcome else None,
        twins=twins,
        asked=clicked is not None and all(attempt.intent_at < clicked for attempt in steps if _may_cost(attempt)),
        meant=run.kind != "override" or run.scope is None or row.id in run.scope,
        in_domain=row.kind == "domain",
    )


def _wants_a_logon(attempt: Tried, row: SyncLink) -> bool:
    """A test that read a moved stamp, and whose worker did not live to log on: the link is not tested yet."""
    if attempt.step != "test" or attempt.version_id is not None or not row.is_account:
        return False
    return attempt.outcome == "applied" and (row.proved_at is None or row.proved_at < attempt.intent_at)


def _may_cost(attempt: Tried) -> bool:
    """Reading before a probe's logon costs nothing, so it does not use a person's click up."""
    return attempt.step != "probe" or attempt.version_id is not None


def _proof(row: SyncLink) -> Proof | None:
    if row.proof_version_id is None or row.proved_at is None or row.proof_rev is None or row.proof_means is None:
        return None
    return Proof(
        row.proof_version_id,
        row.proof_rev,
        Means(row.proof_means),
        row.proof_host or "",
        row.proof_stamp,
        row.proved_at,
        row.logon_at,
    )
