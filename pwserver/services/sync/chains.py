"""Setting chains up: enable, disable, agent, Default Sync. Every change bumps the chain's revision, which guards stale
forms. The other links are set up in ``links``.

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
from pwserver.services import locking
from pwserver.services.sync.accounts import key_of
from pwserver.services.sync.checks import (
    check_cycles,
    check_device,
    check_lent,
    check_reach,
    checked_settings,
    fresh_chain,
    links_in_force,
    record_edit,
    refuse_while_running,
    said,
    target_of,
)
from pwserver.services.sync.credentials import is_usable, names_another_device, serves
from pwserver.services.sync.links import lend, meet_anew, new_link
from pwserver.services.sync.requeue import due_again, queue_test, stage_id, supersede_test
from pwserver.services.sync.resting import follow_agent
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import now, write

Session = scoped_session[Any]


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


def run_of(entry: Entry) -> SyncRun | None:
    """What is under way for an entry, if anything is."""
    chain = chain_of(entry)
    return active_run(chain) if chain else None


def is_of_another_device(credential: Entry, kind: str, machine: str, settings: Mapping[str, Any]) -> bool:
    """Whether a credential is never to be offered to a link of this kind and machine."""
    return names_another_device(db.session, credential, kind, machine, settings)


def enable(
    actor: AppUser | None, entry: Entry, agent_id: str, on_failure: str = "continue", linked_entry_id: str | None = None
) -> SyncChain:
    """Enable synchronization and queue a test of every link; never refused because of what a test would find.

    ``linked_entry_id``: Default Sync's own linked credential, where its kind needs one; None: as the agent.
    """
    with write() as session:
        locking.alone(session)
        locking.password(session, entry.id)
        at = now()
        agent = _agent(session, entry, agent_id)
        chain = session.scalar(select(SyncChain).where(SyncChain.entry_id == entry.id))
        if chain is not None and chain.enabled:
            raise Conflict("Synchronization is enabled already; here is how it stands.")
        current = stage_id_of(session, entry, "current")
        asked: dict[str, Any] = {}
        if chain is None:
            chain = SyncChain(
                id=new_id(), entry_id=entry.id, agent_id=agent.id, agent_pin=agent.pin, enabled=True,
                on_failure=on_failure, status_since=at,
            )  # fmt: skip
            session.add(chain)
            session.flush()
            check_lent(session, actor, linked_entry_id)
            _add_primary(session, chain, entry, agent, current, linked_entry_id)
        else:
            if chain.agent_id != agent.id:
                chain.agent_pin = agent.pin  # the same agent with another certificate waits to be confirmed (rule 34)
            chain.enabled, chain.agent_id, chain.on_failure = True, agent.id, on_failure
            links = links_in_force(session, chain)
            _lend_primary(session, actor, links[0], agent, linked_entry_id)
            for link in links:
                check_reach(link.kind, link.machine, agent)
                meet_anew(link)
                if link.holds_version_id is None and not _in_question(session, link):
                    link.starts_from_version_id = current
            # Each by name, and at a person's wish: what was refused or blocked before is tested anew, too.
            asked = {"scope": [link.id for link in links], "clicked_at": at}
            supersede_test(session, chain.id, at)
        check_cycles(session, chain, agent)
        queue_test(session, chain.id, at, requested_by=actor and actor.id, **asked)
        facts = {"agent": agent.name, "pin": chain.agent_pin, "linked": _named(session, linked_entry_id)}
        record_edit(session, actor, "sync.enabled", entry, chain, facts)
        refresh(session, chain.id)
        follow_agent(session, agent.id, at)
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
        chain = fresh_chain(session, entry)
        chain.enabled = False
        end_soon(session, chain.id)
        record_edit(session, actor, "sync.disabled", entry, chain, {})
        refresh(session, chain.id)
        follow_agent(session, chain.agent_id, now())


def _lend_primary(
    session: Session, actor: AppUser | None, row: SyncLink, agent: SyncAgent, linked_entry_id: str | None
) -> bool:
    """Give Default Sync its own linked credential, or the agent's. True: what the one before stopped is due again."""
    if not LINK_KINDS[row.kind].needs_linked:
        return False
    check_lent(session, actor, linked_entry_id, kept=row.linked_entry_id)
    check_device(session, row.kind, row.machine, row.settings, linked_entry_id, agent)
    return lend(session, row, linked_entry_id)


def _named(session: Session, entry_id: str | None) -> str:
    return session.get_one(Entry, entry_id).name if entry_id else ""


def save_settings(
    actor: AppUser | None,
    entry: Entry,
    agent_id: str,
    on_failure: str,
    linked_entry_id: str | None = None,
    *,
    revision: int,
) -> None:
    """``linked_entry_id``: Default Sync's own linked credential; None: as the agent."""
    if on_failure not in ("continue", "stop"):
        raise Invalid("Choose what happens when a link fails.", field="on_failure")
    with write() as session:
        chain = fresh_chain(session, entry, revision)
        agent, before = _agent(session, entry, agent_id), chain.agent_id
        if agent.id != before:
            refuse_while_running(session, chain)
            for link in links_in_force(session, chain):
                check_reach(link.kind, link.machine, agent)
            chain.agent_pin = agent.pin
        chain.agent_id, chain.on_failure = agent.id, on_failure
        primary = links_in_force(session, chain)[0]
        if primary.linked_entry_id != linked_entry_id:
            refuse_while_running(session, chain)
        released = _lend_primary(session, actor, primary, agent, linked_entry_id)
        check_cycles(session, chain, agent)
        facts = {"agent": agent.name, "on_failure": on_failure, "linked": _named(session, linked_entry_id)}
        record_edit(session, actor, "sync.settings", entry, chain, facts)
        if released and chain.enabled:
            due_again(session, chain.id, now(), requested_by=actor and actor.id)
        refresh(session, chain.id)
        if agent.id != before:
            follow_agent(session, before, now())


def confirm_certificate(actor: AppUser, entry: Entry, pin: str) -> SyncRun | None:
    """An owner goes by the agent's new certificate ``pin``, which was on the page they confirmed. What is outstanding
    is carried on, else every link is tested. Raises :class:`Conflict` when the agent shows yet another one."""
    with write() as session:
        chain = fresh_chain(session, entry)
        agent = session.get_one(SyncAgent, chain.agent_id, populate_existing=True)
        if agent.pin != pin:
            raise Conflict(f"{agent.name} has yet another certificate by now. Compare its fingerprint once more.")
        if chain.agent_pin == pin:
            return active_run(chain)
        facts = {"agent": agent.name, "before": chain.agent_pin, "pin": pin}
        chain.agent_pin = pin
        record_edit(session, actor, "sync.certificate_confirmed", entry, chain, facts)
        if serves(agent, chain) and chain.enabled:
            due_again(session, chain.id, now(), requested_by=actor.id)
        refresh(session, chain.id)
        follow_agent(session, agent.id, now())
        return active_run(chain)


def why_at_rest(chain: SyncChain) -> str:
    """Why nothing is sent for this chain, by its agent: "state", "untested", "certificate", or "" when it serves."""
    agent = chain.agent
    if serves(agent, chain):
        return ""
    if agent.state != "approved":
        return "state"
    return "certificate" if agent.pin != chain.agent_pin else "untested"


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
    if kind == "domain":
        return kind, {"domain": entry.machine, "user_name": entry.user_name}
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
        lent = _still_good(session, row.linked_entry_id, kind, machine, checked.model_dump())
        saved = new_link(
            session, chain, kind, settings, None, lent, row.reset_allowed,
            position=0, starts_from=stage_id(session, chain.id, "current"),
        )  # fmt: skip
        for place in links_in_force(session, chain):
            if place.account_link_id == row.id:
                place.account_link_id = saved.id
    queue_test(session, chain.id, now(), requested_by=actor.id)
    record_edit(session, actor, "sync.link_edited", entry, chain, {"from": before, "to": said(saved)})
    refresh(session, chain.id)


def _still_good(
    session: Session, entry_id: str | None, kind: str, machine: str, settings: Mapping[str, Any]
) -> str | None:
    """The linked credential that Default Sync keeps when it points elsewhere; None: it was the one of that device."""
    if entry_id is None or not LINK_KINDS[kind].needs_linked:
        return None
    entry = session.get_one(Entry, entry_id)
    return None if names_another_device(session, entry, kind, machine, settings) else entry_id


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


def _add_primary(
    session: Session, chain: SyncChain, entry: Entry, agent: SyncAgent, current: str | None, lent: str | None
) -> None:
    kind, settings = primary_settings(entry, agent)
    lent = lent if LINK_KINDS[kind].needs_linked else None
    link = new_link(session, chain, kind, settings, None, lent, False, position=0, starts_from=current)
    check_device(session, kind, link.machine, link.settings, lent, agent)


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
