"""Setting chains up: enable, links, order, settings. Every change bumps the chain's revision, which guards stale forms.

Who decides where a password is sent may read it, so the callers ask for Owner (rule 34).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import scoped_session

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.errors import Conflict, Invalid
from pwserver.core.passwords import TYPES
from pwserver.extensions import db
from pwserver.models import (
    AgentScope,
    AppUser,
    Entry,
    LinkMaybe,
    SyncAgent,
    SyncChain,
    SyncLink,
    SyncRun,
    Vault,
    new_id,
)
from pwserver.services.audit import record
from pwserver.services.sync.accounts import key_of
from pwserver.services.sync.checks import (
    check_cycles,
    check_lent,
    check_order,
    check_reach,
    checked_settings,
    links_in_force,
    refuse_second,
    refuse_while_running,
    said,
    target_of,
)
from pwserver.services.sync.credentials import is_usable
from pwserver.services.sync.requeue import queue_test, stage_id
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import now, write

Session = scoped_session[Any]

SAME_TARGET = frozenset({"restart", "restart_dependents"})
"""Settings that change nothing about where a link is or what it holds."""


def usable_agents(vault: Vault) -> list[SyncAgent]:
    """Approved and tested agents that this vault may use."""
    found = db.session.scalars(
        select(SyncAgent)
        .join(AgentScope, AgentScope.agent_id == SyncAgent.id)
        .where(AgentScope.vault_id == vault.id)
        .order_by(SyncAgent.name)
    )
    return [agent for agent in found if is_usable(agent)]


def chain_of(entry: Entry) -> SyncChain | None:
    return db.session.scalar(select(SyncChain).filter_by(entry_id=entry.id))


def active_links(chain: SyncChain) -> list[SyncLink]:
    """The links in force, in order: Default Sync first."""
    return [link for link in chain.links if link.active]


def active_run(chain: SyncChain) -> SyncRun | None:
    """The instruction under way, else the test under way."""
    runs = db.session.scalars(
        select(SyncRun).where(SyncRun.chain_id == chain.id, SyncRun.state.in_(("queued", "running", "waiting")))
    ).all()
    return min(runs, key=lambda run: (run.kind == "test", run.state != "running"), default=None)


def enable(actor: AppUser, entry: Entry, agent_id: str, on_failure: str = "continue") -> SyncChain:
    """Enables synchronization and queues a test of every link; never refused because of what a test would find."""
    with write() as session:
        at = now()
        agent = _agent(session, entry, agent_id)
        chain = session.scalar(select(SyncChain).where(SyncChain.entry_id == entry.id))
        if chain is not None and chain.enabled:
            raise Conflict("Synchronization is enabled already; here is how it stands.")
        current = stage_id_of(session, entry, "current")
        if chain is None:
            chain = SyncChain(
                id=new_id(), entry_id=entry.id, agent_id=agent.id, enabled=True, on_failure=on_failure, status_since=at
            )
            session.add(chain)
            session.flush()
            _add_primary(session, chain, entry, agent, current)
        else:
            chain.enabled, chain.agent_id, chain.on_failure = True, agent.id, on_failure
            chain.revision += 1
            for link in links_in_force(session, chain):
                check_reach(link.kind, link.machine, agent)
                _meet_anew(link)
                if link.holds_version_id is None and not _in_question(session, link):
                    link.starts_from_version_id = current
        check_cycles(session, chain, agent)
        queue_test(session, chain.id, at, requested_by=actor.id)
        record(session, actor, "sync.enabled", entry=entry, facts={"agent": agent.name})
        refresh(session, chain.id)
        return chain


def _in_question(session: Session, link: SyncLink) -> bool:
    """Whether something was sent to it with an unknown end: it has that, or still what it started from."""
    return session.scalar(select(LinkMaybe.version_id).where(LinkMaybe.link_id == link.id).limit(1)) is not None


def stage_id_of(session: Session, entry: Entry, stage: str) -> str | None:
    from pwserver.models import EntryVersion

    return session.scalar(select(EntryVersion.id).where(EntryVersion.entry_id == entry.id, EntryVersion.stage == stage))


def disable(actor: AppUser, entry: Entry) -> None:
    """Turns synchronization off. Nothing is forgotten; a run under way ends before its next link."""
    with write() as session:
        chain = _chain(session, entry)
        chain.enabled = False
        chain.revision += 1
        end_soon(session, chain.id)
        record(session, actor, "sync.disabled", entry=entry)
        refresh(session, chain.id)


def save_settings(actor: AppUser, entry: Entry, agent_id: str, on_failure: str, *, revision: int) -> None:
    if on_failure not in ("continue", "stop"):
        raise Invalid("Choose what happens when a link fails.", field="on_failure")
    with write() as session:
        chain = _chain(session, entry, revision)
        agent = _agent(session, entry, agent_id)
        if agent.id != chain.agent_id:
            refuse_while_running(session, chain)
            for link in links_in_force(session, chain):
                check_reach(link.kind, link.machine, agent)
        chain.agent_id, chain.on_failure = agent.id, on_failure
        chain.revision += 1
        check_cycles(session, chain, agent)
        record(session, actor, "sync.settings", entry=entry, facts={"agent": agent.name, "on_failure": on_failure})
        refresh(session, chain.id)


def add_link(
    actor: AppUser,
    entry: Entry,
    kind: str,
    settings: Mapping[str, Any],
    *,
    revision: int,
    account_link_id: str | None = None,
    linked_entry_id: str | None = None,
    reset_allowed: bool = False,
) -> SyncLink:
    """Adds a link at the end of the chain. It starts unproved and is tested when no run of its chain is running."""
    with write() as session:
        chain = _chain(session, entry, revision)
        at = now()
        check_lent(session, actor, linked_entry_id)
        link = _new_link(
            session, chain, kind, settings, account_link_id, linked_entry_id, reset_allowed,
            position=max((each.position for each in links_in_force(session, chain)), default=-1) + 1,
            starts_from=stage_id(session, chain.id, "current"),
        )  # fmt: skip
        chain.revision += 1
        queue_test(session, chain.id, at, requested_by=actor.id)
        record(session, actor, "sync.link_added", entry=entry, facts=said(link))
        refresh(session, chain.id)
        return link


def _meet_anew(link: SyncLink) -> None:
    """An owner who saves a link, or turns synchronization on again, after its machine was installed anew, means the
    machine that is there now."""
    if link.reason == "new_machine":
        link.told_machine_sid = link.told_account_sid = None
        link.state, link.reason, link.reason_text, link.reason_code = "waiting", "", "", ""


def edit_link(
    actor: AppUser,
    link: SyncLink,
    settings: Mapping[str, Any],
    *,
    revision: int,
    account_link_id: str | None = None,
    linked_entry_id: str | None = None,
    reset_allowed: bool = False,
) -> SyncLink:
    """Saves a link. Pointed at another account or place it becomes a new row, unproved; the old one is kept inactive
    with what it holds. Refused while a run is queued or running."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = _chain(session, entry, revision)
        row = session.get_one(SyncLink, link.id, populate_existing=True)
        refuse_while_running(session, chain)
        if not row.active:
            raise Conflict("This link was removed meanwhile.")
        if row.position == 0:
            raise Invalid("Default Sync is what General Settings says; change it there.")
        check_lent(session, actor, linked_entry_id, kept=row.linked_entry_id)
        agent = session.get_one(SyncAgent, chain.agent_id)
        checked = checked_settings(row.kind, settings)
        machine, name = target_of(row.kind, checked, agent)
        before = said(row)
        key = key_of(session, name)
        same = key == (row.account_key if row.is_account else row.place_key)
        if not row.is_account and account_link_id != row.account_link_id:
            same = False
        if same:
            check_reach(row.kind, machine, agent)
            stored = checked.model_dump()
            if {k: v for k, v in stored.items() if k not in SAME_TARGET} != {
                k: v for k, v in row.settings.items() if k not in SAME_TARGET
            }:
                row.settings_rev += 1
            row.settings, row.linked_entry_id, row.reset_allowed = stored, linked_entry_id, reset_allowed
            _meet_anew(row)
            saved = row
        else:
            row.active = False
            session.flush()
            saved = _new_link(
                session, chain, row.kind, settings, account_link_id, linked_entry_id, reset_allowed,
                position=row.position, starts_from=stage_id(session, chain.id, "current"),
            )  # fmt: skip
            for place in links_in_force(session, chain):
                if place.account_link_id == row.id:
                    place.account_link_id = saved.id
        check_order(links_in_force(session, chain))
        check_cycles(session, chain, agent)
        chain.revision += 1
        queue_test(session, chain.id, now(), requested_by=actor.id)
        record(session, actor, "sync.link_edited", entry=entry, facts={"from": before, "to": said(saved)})
        refresh(session, chain.id)
        return saved


def remove_link(actor: AppUser, link: SyncLink, *, revision: int) -> None:
    """Takes a link out of the chain; what it holds and may hold is kept."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = _chain(session, entry, revision)
        row = session.get_one(SyncLink, link.id, populate_existing=True)
        refuse_while_running(session, chain)
        if row.position == 0:
            raise Invalid("Default Sync cannot be removed. Turn synchronization off instead.")
        stores = [each for each in links_in_force(session, chain) if each.account_link_id == row.id]
        if stores:
            names = ", ".join(said(each)["name"] for each in stores)
            raise Invalid(f"{names} stores the password of this account. Remove that first, or point it elsewhere.")
        row.active = False
        chain.revision += 1
        record(session, actor, "sync.link_removed", entry=entry, facts=said(row))
        refresh(session, chain.id)


def restore_link(actor: AppUser, link: SyncLink, *, revision: int) -> None:
    """Undoes a removal: the link comes back at the end of the chain, unproved."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = _chain(session, entry, revision)
        row = session.get_one(SyncLink, link.id, populate_existing=True)
        if row.active:
            return
        if not row.is_account and not session.get_one(SyncLink, row.account_link_id).active:
            raise Invalid("Its account is no longer in this chain. Add the account first.")
        if row.account_key:
            row.account_key = key_of(session, row.account_key)  # its target may have told who it is meanwhile
        refuse_second(session, row.kind, row.account_key or row.place_key or "", besides=row.id)
        row.active = True
        row.position = (
            max((each.position for each in links_in_force(session, chain) if each.id != row.id), default=0) + 1
        )
        chain.revision += 1
        queue_test(session, chain.id, now(), requested_by=actor.id)
        record(session, actor, "sync.link_restored", entry=entry, facts=said(row))
        refresh(session, chain.id)


def move_link(actor: AppUser, link: SyncLink, direction: int, *, revision: int) -> None:
    """Moves a link one place up (-1) or down (1). Default Sync stays first; a place stays behind its account."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = _chain(session, entry, revision)
        links = links_in_force(session, chain)
        index = next((i for i, each in enumerate(links) if each.id == link.id), None)
        if index is None:
            raise Conflict("This link was removed meanwhile.")
        other = index + direction
        if index == 0 or other == 0:
            raise Invalid("Default Sync is always first.")
        if other >= len(links):
            raise Invalid("It is the last link already.")
        links[index], links[other] = links[other], links[index]
        check_order(links)
        for position, each in enumerate(links):
            each.position = position
        chain.revision += 1
        record(session, actor, "sync.link_moved", entry=entry, facts=said(link) | {"to": other + 1})


def primary_settings(entry: Entry, agent: SyncAgent) -> tuple[str, dict[str, Any]]:
    """Kind and settings of Default Sync, from General Settings: a local account of the agent's own machine is reached
    there, one of another machine as a Remote Windows Password."""
    kind = TYPES[entry.type].link_kind
    if kind is None:
        raise Invalid("Nothing can change or test this type of password, so it cannot be synchronized.")
    if kind == "device_ssh":
        return kind, {
            "device": entry.machine, "user_name": entry.user_name, "address": entry.address,
            "port": entry.port, "host_key": entry.host_key,
        }  # fmt: skip
    if entry.machine.casefold() == agent.machine.casefold():
        return "standalone_windows", {"user_name": entry.user_name}
    return "remote_windows", {"machine": entry.machine, "user_name": entry.user_name}


def general_settings_changed(session: Session, actor: AppUser, entry: Entry) -> None:
    """Called in the transaction that saves General Settings: Default Sync follows, as a new row when it points
    elsewhere. Refused while a run is queued or running."""
    chain = session.scalar(
        select(SyncChain).where(SyncChain.entry_id == entry.id).execution_options(populate_existing=True)
    )
    if chain is None:
        return
    agent = session.get_one(SyncAgent, chain.agent_id)
    kind, settings = primary_settings(entry, agent)
    row = links_in_force(session, chain)[0]
    checked = checked_settings(kind, settings)
    machine, name = target_of(kind, checked, agent)
    if row.kind == kind and row.settings == checked.model_dump():
        return
    refuse_while_running(session, chain)
    before = said(row)
    if key_of(session, name) == row.account_key and row.kind == kind:
        check_reach(kind, machine, agent)
        row.settings, row.settings_rev = checked.model_dump(), row.settings_rev + 1
        saved = row
    else:
        if _in_question(session, row):
            # Nobody would ever probe the old place again, and its value could never give way.
            raise Conflict(
                f"It is not known yet which password {row.machine} has. Retest Sync first, or put it right on the "
                "Approve page; then point Default Sync elsewhere. Nothing was saved."
            )
        row.active = False
        session.flush()
        saved = _new_link(
            session, chain, kind, settings, None, None, row.reset_allowed,
            position=0, starts_from=stage_id(session, chain.id, "current"),
        )  # fmt: skip
        for place in links_in_force(session, chain):
            if place.account_link_id == row.id:
                place.account_link_id = saved.id
    chain.revision += 1
    queue_test(session, chain.id, now(), requested_by=actor.id)
    record(session, actor, "sync.link_edited", entry=entry, facts={"from": before, "to": said(saved)})
    refresh(session, chain.id)


# -- shared


def _agent(session: Session, entry: Entry, agent_id: str) -> SyncAgent:
    agent = session.get(SyncAgent, agent_id)
    scoped = agent and session.get(AgentScope, (agent.id, entry.vault_id))
    if agent is None or scoped is None:
        raise Invalid("Choose a sync agent that this vault may use.", field="agent_id")
    if not is_usable(agent):
        words = f"{agent.name} is not approved and tested yet. An administrator does both on its page."
        raise Invalid(words, field="agent_id")
    return agent


def _chain(session: Session, entry: Entry, revision: int | None = None) -> SyncChain:
    chain = session.scalar(
        select(SyncChain).where(SyncChain.entry_id == entry.id).execution_options(populate_existing=True)
    )
    if chain is None:
        raise Conflict("Synchronization is not enabled for this password.")
    if revision is not None and chain.revision != revision:
        raise Conflict("Someone else changed this chain meanwhile. Nothing was saved; here is how it stands now.")
    return chain


def _new_link(
    session: Session,
    chain: SyncChain,
    kind: str,
    settings: Mapping[str, Any],
    account_link_id: str | None,
    linked_entry_id: str | None,
    reset_allowed: bool,
    *,
    position: int,
    starts_from: str | None,
) -> SyncLink:
    agent = session.get_one(SyncAgent, chain.agent_id)
    checked = checked_settings(kind, settings)
    row = LINK_KINDS[kind]
    machine, name = target_of(kind, checked, agent)
    check_reach(kind, machine, agent)
    key = key_of(session, name)
    refuse_second(session, kind, key, besides=None)
    if not row.is_account:
        account_link_id = _account_for(session, chain, account_link_id, position)
    link = SyncLink(
        id=new_id(),
        chain_id=chain.id,
        position=position,
        kind=kind,
        settings=checked.model_dump(),
        is_account=row.is_account,
        account_link_id=None if row.is_account else account_link_id,
        linked_entry_id=linked_entry_id,
        reset_allowed=reset_allowed,
        machine=machine,
        account_key=key if row.is_account else None,
        place_key=None if row.is_account else key,
        starts_from_version_id=starts_from,
        state_since=now(),
    )
    session.add(link)
    session.flush()
    check_cycles(session, chain, agent)
    return link


def _account_for(session: Session, chain: SyncChain, account_link_id: str | None, position: int) -> str:
    """The account link whose password a place stores; Default Sync unless another is named. It must come before."""
    links = links_in_force(session, chain)
    if not account_link_id:
        return next(each.id for each in links if each.position == 0)
    for each in links:
        if each.id == account_link_id and each.is_account:
            if each.position >= position:
                raise Invalid("A place comes after the account whose password it stores.", field="account_link_id")
            return each.id
    raise Invalid("Choose an account of this chain.", field="account_link_id")


def _add_primary(session: Session, chain: SyncChain, entry: Entry, agent: SyncAgent, current: str | None) -> None:
    kind, settings = primary_settings(entry, agent)
    _new_link(session, chain, kind, settings, None, None, False, position=0, starts_from=current)


def end_soon(session: Session, chain_id: str) -> None:
    """Waiting runs are taken up at once, to notice that they have to end; unknowns are still probed."""
    session.execute(
        update(SyncRun)
        .where(SyncRun.chain_id == chain_id, SyncRun.state == "waiting")
        .values(due_at=now(), nudged_at=None)
        .execution_options(synchronize_session=False)
    )


def may_hold(session: Session, entry: Entry) -> list[tuple[SyncLink, str, datetime | None]]:
    """Every link, active or not, that holds or may hold a version that is not the current one (rules 35, 44)."""
    chain = session.scalar(select(SyncChain).where(SyncChain.entry_id == entry.id))
    if chain is None:
        return []
    current = stage_id(session, chain.id, "current")
    found: list[tuple[SyncLink, str, datetime | None]] = []
    for link in session.scalars(select(SyncLink).where(SyncLink.chain_id == chain.id).order_by(SyncLink.position)):
        if link.holds_version_id and link.holds_version_id != current:
            found.append((link, link.holds_version_id, link.proved_at))
        maybe = session.scalars(select(LinkMaybe.version_id).where(LinkMaybe.link_id == link.id))
        found.extend((link, version, None) for version in maybe if version != current)
    return found
