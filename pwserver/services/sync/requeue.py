"""Making outstanding work due again by itself: after an override, and when a login of ours is accepted again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import scoped_session

from pwserver.models import Entry, EntryVersion, LinkAttempt, LinkMaybe, SyncAgent, SyncChain, SyncLink, SyncRun, new_id
from pwserver.models.runs import RUN_NUMBER
from pwserver.services import locking
from pwserver.services.sync.accounts import key_of_login
from pwserver.services.sync.credentials import serves
from pwserver.services.sync.status import refresh, timing
from pwserver.sync.settle import GIVEN_UP

Session = scoped_session[Any]

ACTIVE = ("queued", "running", "waiting")

OUR_LOGIN = (
    "login_refused", "login_not_accepted", "linked_refused", "linked_state", "linked_denied", "linked_expired",
    "linked_unclear", "linked_elsewhere", "override_refused", "waiting_for_login",
)  # fmt: skip
"""Reasons of a blocked link that end by themselves once the login is accepted again."""


def add_run(session: Session, chain_id: str, kind: str, **values: Any) -> SyncRun:
    """A queued run with the next number. The partial unique indexes refuse a second instruction."""
    if locking.is_postgres(session):
        number = session.scalar(RUN_NUMBER)  # a run that is not saved after all leaves a gap
    else:
        number = (session.scalar(select(func.max(SyncRun.number))) or 0) + 1
    run = SyncRun(id=new_id(), number=number, chain_id=chain_id, kind=kind, **values)
    session.add(run)
    session.flush()
    return run


def active_instruction(session: Session, chain_id: str) -> SyncRun | None:
    return session.scalar(
        select(SyncRun)
        .where(
            SyncRun.chain_id == chain_id, SyncRun.state.in_(("queued", "running", "waiting")), SyncRun.kind != "test"
        )
        .execution_options(populate_existing=True)
    )


def active_test(session: Session, chain_id: str) -> SyncRun | None:
    return session.scalar(
        select(SyncRun).where(SyncRun.chain_id == chain_id, SyncRun.kind == "test", SyncRun.state.in_(ACTIVE))
    )


def stage_id(session: Session, chain_id: str, stage: str) -> str | None:
    return session.scalar(
        select(EntryVersion.id)
        .join(SyncChain, SyncChain.entry_id == EntryVersion.entry_id)
        .where(SyncChain.id == chain_id, EntryVersion.stage == stage)
    )


def is_nowhere(session: Session, chain_id: str, version_id: str) -> bool:
    """No link of the chain, active or not, holds or may hold this version."""
    links = select(SyncLink.id).where(SyncLink.chain_id == chain_id)
    if session.scalar(
        select(LinkMaybe.link_id).where(LinkMaybe.version_id == version_id, LinkMaybe.link_id.in_(links))
    ):
        return False
    held = select(SyncLink.id).where(SyncLink.chain_id == chain_id, SyncLink.holds_version_id == version_id).limit(1)
    return session.scalar(held) is None


def outstanding_version(session: Session, chain_id: str) -> str | None:
    """The value an ordinary run has to carry on: the pending one unless it is nowhere, else the current one."""
    pending = stage_id(session, chain_id, "pending")
    if pending is not None and not is_nowhere(session, chain_id, pending):
        return pending
    return stage_id(session, chain_id, "current")


def outstanding_links(session: Session, chain_id: str, version_id: str | None) -> list[SyncLink]:
    """Active links that do not hold ``version_id`` for certain; untested ones that start from it do not count."""
    maybe = set(session.scalars(select(LinkMaybe.link_id)))
    links = session.scalars(
        select(SyncLink)
        .where(SyncLink.chain_id == chain_id, SyncLink.active)
        .order_by(SyncLink.position, SyncLink.id)
        .execution_options(populate_existing=True)
    )
    return [link for link in links if is_outstanding(link, version_id, maybe)]


def is_outstanding(link: SyncLink, version_id: str | None, maybe: Collection[str]) -> bool:
    """Whether a link does not hold ``version_id`` for certain. ``maybe``: the links that may hold two."""
    if link.state == "managed":
        return False
    return link.id in maybe or (link.holds_version_id or link.starts_from_version_id) != version_id


def queue_outstanding(session: Session, chain_id: str, at: datetime, due: datetime, **values: Any) -> SyncRun | None:
    """Queues an ordinary run for what is outstanding, unless there is nothing or an instruction is there already."""
    if active_instruction(session, chain_id) is not None:
        return None
    version = outstanding_version(session, chain_id)
    if not outstanding_links(session, chain_id, version):
        return None
    return add_run(session, chain_id, "change", version_id=version, requested_at=at, due_at=due, **values)


def follow_up(session: Session, run: SyncRun, at: datetime) -> None:
    """What has to go on by itself after a run: nothing waits that nobody will ever take up.

    What an override left silent or unknown is carried on by an ordinary run, which never sees its credentials; so are
    places that were skipped until a test proved their account, and links that were added meanwhile.
    """
    if run.kind == "test":
        _carry_on_skipped(session, run, at)
        if run.result == "cancelled" and active_instruction(session, run.chain_id) is None:
            take_up_test(session, run.chain_id, at)
        _test_added(session, run, at)
        return
    if run.kind == "override" and run.result != "cancelled":
        _carry_on_override(session, run, at)
    elif run.kind == "change" and run.result in ("done", "left") and (_added(session, run) or _put_back(session, run)):
        queue_outstanding(session, run.chain_id, at, at)
    if run.result in ("done", "left"):
        _test_added(session, run, at)
    if run.kind != "correct" or run.result == "errored":
        # What only asked has just asked; and an error of ours would only be met again.
        probe_unknown(session, run.chain_id, at, wait=timing().retry.every if run.result == "errored" else 0)
    take_up_test(session, run.chain_id, at)


def probe_unknown(session: Session, chain_id: str, at: datetime, *, wait: float = 0) -> None:
    """An account that may hold two values always has a run that will ask it, whatever became of the one that wrote it.
    That run only asks: what a person cancelled is not carried on. ``wait``: not within these seconds."""
    if active_instruction(session, chain_id) is not None:
        return
    links = session.scalars(
        select(SyncLink).where(
            SyncLink.chain_id == chain_id,
            SyncLink.active,
            SyncLink.is_account,
            (SyncLink.state == "unknown") | (SyncLink.reason == "override_refused"),
            SyncLink.reason != GIVEN_UP,
            select(LinkMaybe.version_id).where(LinkMaybe.link_id == SyncLink.id).exists(),
        )
    ).all()
    if not links:
        return
    due = max(min((link.next_try_at for link in links if link.next_try_at), default=at), at + timedelta(seconds=wait))
    version = outstanding_version(session, chain_id)
    add_run(session, chain_id, "correct", version_id=version, requested_at=at, due_at=due)


def _carry_on_override(session: Session, run: SyncRun, at: datetime) -> None:
    version = outstanding_version(session, run.chain_id)
    left = outstanding_links(session, run.chain_id, version)
    retried = [link for link in left if link.state in ("unknown", "unreachable")]
    if retried:
        due = min((link.next_try_at for link in retried if link.next_try_at), default=at)
        queue_outstanding(session, run.chain_id, at, max(due, at))


def _untested(session: Session, chain_id: str) -> list[SyncLink]:
    """Links that nobody has asked yet."""
    return list(
        session.scalars(
            select(SyncLink).where(
                SyncLink.chain_id == chain_id, SyncLink.active, SyncLink.state == "waiting", SyncLink.reason == "",
                SyncLink.proved_at.is_(None),
            )
        )
    )  # fmt: skip


def _added(session: Session, run: SyncRun) -> list[str]:
    """The links that were added while this run was walking."""
    began = run.started_at
    if began is None or run.result in ("disabled", "agent_disabled"):
        return []
    return [link.id for link in _untested(session, run.chain_id) if link.state_since and link.state_since > began]


def _put_back(session: Session, run: SyncRun) -> bool:
    """Whether a link that was removed came back while this run was walking: the run passed it by."""
    if run.started_at is None:
        return False
    asked = select(LinkAttempt.id).where(LinkAttempt.run_id == run.id, LinkAttempt.link_id == SyncLink.id)
    query = select(SyncLink.id).where(
        SyncLink.chain_id == run.chain_id, SyncLink.active, SyncLink.state.in_(("in_sync", "updated")),
        SyncLink.state_since > run.started_at, ~asked.exists(),
    )  # fmt: skip
    return session.scalar(query.limit(1)) is not None


def _test_added(session: Session, run: SyncRun, at: datetime) -> None:
    """They get a test of their own (rule 34)."""
    if added := _added(session, run):
        queue_test(session, run.chain_id, at, scope=added)


def take_up_test(session: Session, chain_id: str, at: datetime) -> SyncRun | None:
    """After an instruction: the test that gave way to it goes on with what it had not got an answer of yet."""
    last = session.scalar(
        select(SyncRun).where(SyncRun.chain_id == chain_id, SyncRun.kind == "test").order_by(SyncRun.number.desc())
    )
    if last is None or last.result != "cancelled":
        return None
    gave_way = select(SyncRun.id).where(
        SyncRun.chain_id == chain_id, SyncRun.kind != "test", SyncRun.requested_at == last.cancel_at
    )
    if session.scalar(gave_way.limit(1)) is None:
        return None  # a person stopped it
    links = session.scalars(select(SyncLink).where(SyncLink.chain_id == chain_id, SyncLink.active)).all()
    left = [
        link.id
        for link in links
        if link.state not in ("refused", "blocked", "managed")
        and (link.proved_at is None or link.proved_at < last.requested_at)
        and (last.scope is None or link.id in last.scope)
    ]
    return queue_test(session, chain_id, at, scope=left) if left else None


def _carry_on_skipped(session: Session, run: SyncRun, at: datetime) -> None:
    version = outstanding_version(session, run.chain_id)
    links = {link.id: link for link in outstanding_links(session, run.chain_id, version)}
    skipped = [link for link in links.values() if link.state == "skipped" and link.account_link_id]
    accounts = [session.get_one(SyncLink, link.account_link_id) for link in skipped]
    if any(account.holds_version_id == version and account.state == "in_sync" for account in accounts):
        queue_outstanding(session, run.chain_id, at, at)


def requeue_waiting_for(session: Session, key: str, at: datetime) -> None:
    """A login of ours is accepted again: everything it stopped is due again."""

    def is_of(link: SyncLink, agent: SyncAgent) -> bool:
        return any(
            key == key_of_login(session, session.get_one(Entry, entry_id), machine)
            for entry_id, machine in _logins(link, agent)
        )

    _requeue(session, is_of, at)


def value_was_edited(session: Session, entry: Entry, at: datetime) -> None:
    """Another value of a login or linked credential is in force: what its refusal stopped is due again."""
    _requeue(session, lambda link, agent: any(entry.id == each for each, _ in _logins(link, agent)), at)


def lent_another(session: Session, agent: SyncAgent, at: datetime) -> None:
    """An agent has another linked credential: the links without their own that the one before had stopped are due."""
    _requeue(session, lambda link, its: its.id == agent.id and link.linked_entry_id is None, at)


def _logins(link: SyncLink, agent: SyncAgent) -> list[tuple[str, str]]:
    """The credentials of ours that a link is reached with, and the machine each logs on to."""
    used = ((link.linked_entry_id or agent.linked_entry_id, link.machine), (agent.login_entry_id, agent.machine))
    return [(entry_id, machine) for entry_id, machine in used if entry_id]


STOPPED = (SyncLink.active, SyncLink.state == "blocked", SyncLink.reason.in_(OUR_LOGIN))


def chains_stopped_by_a_login(session: Session) -> list[str]:
    """The chains that an accepted login may set going again."""
    return list(session.scalars(select(SyncLink.chain_id).where(*STOPPED).distinct()))


def _requeue(session: Session, is_meant: Callable[[SyncLink, SyncAgent], bool], at: datetime) -> None:
    """Blocked links are due again, in the run that waits for others too. The caller has locked these passwords by now;
    one that was stopped since is locked here. What is not meant is neither touched nor waited for."""
    locked: set[str] = set()
    links = _stopped(session, is_meant)
    while not (chains := {link.chain_id for link in links}) <= locked:
        locking.passwords_of_chains(session, chains)
        locked |= chains
        links = _stopped(session, is_meant)
    for link in links:
        release(session, link, at)
    session.flush()
    for chain_id in sorted(chains):
        due_again(session, chain_id, at)
        refresh(session, chain_id)


def _stopped(session: Session, is_meant: Callable[[SyncLink, SyncAgent], bool]) -> list[SyncLink]:
    blocked = session.execute(
        select(SyncLink, SyncAgent)
        .join(SyncChain, SyncChain.id == SyncLink.chain_id)
        .join(SyncAgent, SyncAgent.id == SyncChain.agent_id)
        .where(*STOPPED)
    ).all()
    return [link for link, agent in blocked if is_meant(link, agent)]


def carry_on(session: Session, agent: SyncAgent, at: datetime) -> None:
    """An agent may be used again: what ended only because it might not goes on; what a person stopped does not."""
    chains = select(SyncChain).where(SyncChain.agent_id == agent.id, SyncChain.enabled)
    for chain in session.scalars(chains.execution_options(populate_existing=True)).all():
        last = select(SyncRun.result).where(SyncRun.chain_id == chain.id, SyncRun.kind != "test")
        ended = session.scalar(last.order_by(SyncRun.number.desc()).limit(1))
        if ended == "agent_disabled" and serves(agent, chain) and queue_outstanding(session, chain.id, at, at):
            refresh(session, chain.id)


def release(session: Session, link: SyncLink, at: datetime) -> None:
    """A link that our refused login had stopped is due again; what may hold two values stays unknown (rule 18)."""
    doubtful = session.scalar(select(LinkMaybe.version_id).where(LinkMaybe.link_id == link.id).limit(1)) is not None
    link.state, link.reason, link.next_try_at = "unknown" if doubtful else "waiting", "", at
    link.reason_text = link.reason_code = ""


def due_again(session: Session, chain_id: str, at: datetime, **values: Any) -> None:
    """What is outstanding is carried on at once, by the run that waits or a new one; else every link is tested.
    ``values``: for a new run."""
    active = active_instruction(session, chain_id)
    if active is not None and active.state == "waiting":
        active.due_at, active.nudged_at = at, None
    elif queue_outstanding(session, chain_id, at, at, **values) is None:
        queue_test(session, chain_id, at, **values)


def supersede_test(session: Session, chain_id: str, at: datetime) -> None:
    """A test that waits, or has not begun, gives way to a newer one."""
    idle = (SyncRun.chain_id == chain_id, SyncRun.kind == "test", SyncRun.state.in_(("queued", "waiting")))
    for run in session.scalars(select(SyncRun).where(*idle)):
        run.state, run.result, run.finished_at = "done", "superseded", at
    session.flush()


def queue_daily_test(session: Session, chain_id: str, at: datetime) -> SyncRun | None:
    """The daily test of a chain. One that still waits for a machine that is off gives way to it: what that one proved
    before is to be proved again."""
    there = active_test(session, chain_id)
    if there is not None and there.state == "waiting":
        supersede_test(session, chain_id, at)
    return queue_test(session, chain_id, at)


def queue_test(session: Session, chain_id: str, at: datetime, **values: Any) -> SyncRun | None:
    """Queues a test unless one is there already; one of chosen links that has not begun takes these in, too."""
    there = active_test(session, chain_id)
    if there is not None:
        if there.scope is not None and there.state != "running":
            more = values.get("scope") or [link.id for link in _untested(session, chain_id)]
            there.scope = list(dict.fromkeys([*there.scope, *more]))
        if there.state == "waiting":  # for a machine that is off; the others do not wait with it
            there.due_at, there.nudged_at = min(there.due_at, values.get("due_at", at)), None
        return None
    values = {"due_at": at} | values
    return add_run(session, chain_id, "test", requested_at=at, **values)
