"""Rows to the engine's plain data: one chain and its run, read in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.base import Answer, Means
from pwserver.core.states import LinkState
from pwserver.core.timing import Timing
from pwserver.models import EntryVersion, LinkAttempt, LinkMaybe, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services.sync.credentials import serves
from pwserver.sync.chain import Link, Plan, Proof, RunKind

Session = scoped_session[Any]


def read_plan(session: Session, run_id: str, at: datetime, timing: Timing) -> tuple[Plan, int, str]:
    """The plan with the run's fence and state, which say whether it is still the caller's."""
    run, chain, agent = session.execute(
        select(SyncRun, SyncChain, SyncAgent)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .join(SyncAgent, SyncAgent.id == SyncChain.agent_id)
        .where(SyncRun.id == run_id)
        .execution_options(populate_existing=True)
    ).one()
    links = session.scalars(
        select(SyncLink)
        .where(SyncLink.chain_id == chain.id, SyncLink.active)
        .order_by(SyncLink.position, SyncLink.id)
        .execution_options(populate_existing=True)
    ).all()
    versions = session.execute(
        select(EntryVersion.id, EntryVersion.stage, EntryVersion.digest).where(EntryVersion.entry_id == chain.entry_id)
    ).all()
    current = next((version.id for version in versions if version.stage == "current"), None)
    twins = {each.id: frozenset(other.id for other in versions if other.digest == each.digest) for each in versions}
    ids = [link.id for link in links]
    maybes = _maybes(session, ids)
    unknowns = _unknown_writes(session, list(maybes))
    tried = _attempts(session, run_id)
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
            replace(
                to_link(link, maybes.get(link.id, ()), unknowns.get(link.id, ()), tried.get(link.id, ()), run, timing),
                twins=twins.get(link.holds_version_id or link.starts_from_version_id or "", frozenset()),
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


def _maybes(session: Session, ids: Sequence[str]) -> dict[str, list[str]]:
    """Per link, the versions that may be there, newest first."""
    rows = session.execute(
        select(LinkMaybe.link_id, LinkMaybe.version_id)
        .join(EntryVersion, EntryVersion.id == LinkMaybe.version_id)
        .where(LinkMaybe.link_id.in_(ids))
        .order_by(EntryVersion.number.desc())
    )
    found: dict[str, list[str]] = {}
    for link_id, version_id in rows:
        found.setdefault(link_id, []).append(version_id)
    return found


def _unknown_writes(session: Session, ids: Sequence[str]) -> dict[str, list[LinkAttempt]]:
    """Per link that may hold two values: its writes with an unknown end, whatever run they were of."""
    found: dict[str, list[LinkAttempt]] = {}
    if not ids:
        return found
    rows = session.scalars(
        select(LinkAttempt)
        .where(
            LinkAttempt.link_id.in_(ids),
            LinkAttempt.step.in_(("change", "reset", "set")),
            (LinkAttempt.outcome == "unknown") | LinkAttempt.outcome.is_(None),
        )
        .order_by(LinkAttempt.intent_at)
        .execution_options(populate_existing=True)
    )
    for attempt in rows:
        found.setdefault(attempt.link_id, []).append(attempt)
    return found


def _attempts(session: Session, run_id: str) -> dict[str, list[LinkAttempt]]:
    found: dict[str, list[LinkAttempt]] = {}
    rows = session.scalars(
        select(LinkAttempt)
        .where(LinkAttempt.run_id == run_id)
        .order_by(LinkAttempt.n)
        .execution_options(populate_existing=True)
    )
    for attempt in rows:
        found.setdefault(attempt.link_id, []).append(attempt)
    return found


def to_link(
    row: SyncLink,
    maybe: Sequence[str],
    unknowns: Sequence[LinkAttempt],
    tried: Sequence[LinkAttempt],
    run: SyncRun,
    timing: Timing,
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
        settle_at=max(ends, default=None),
        unknown_since=min((attempt.intent_at for attempt in open_writes), default=None),
        last=Answer(last.outcome) if last and last.outcome and not settled else None,
        proved=Answer(proved[-1].outcome) if proved and proved[-1].outcome else None,
        twins=frozenset(),
        asked=clicked is not None and all(attempt.intent_at < clicked for attempt in steps if _may_cost(attempt)),
        meant=run.kind != "override" or run.scope is None or row.id in run.scope,
        in_domain=row.kind == "domain",
    )


def _wants_a_logon(attempt: LinkAttempt, row: SyncLink) -> bool:
    """A test that read a moved stamp, and whose worker did not live to log on: the link is not tested yet."""
    if attempt.step != "test" or attempt.version_id is not None or not row.is_account:
        return False
    return attempt.outcome == "applied" and (row.proved_at is None or row.proved_at < attempt.intent_at)


def _may_cost(attempt: LinkAttempt) -> bool:
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
