"""Agents that do not serve, on the Dashboard: one task for all passwords that are *Agent Disabled* by one of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select

from pwserver.core.states import STATUS, Status
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, SyncAgent, SyncChain
from pwserver.services.sync.credentials import is_usable
from pwserver.services.views.said import named
from pwserver.services.views.tasks import Task, Waiting, passwords_wait, waiting

RESTING = SyncChain.status == Status.AGENT_DISABLED


def rest_tasks(user: AppUser, vault_ids: Sequence[str], administrators: Sequence[str]) -> list[Task]:
    """An administrator's part, of every agent that is not approved and tested, and an owner's part, of every one whose
    new certificate is not confirmed. An owner who has the second one is not told of the first as well."""
    totals = db.session.execute(
        select(SyncChain.agent_id, SyncChain.agent_pin, func.count(), func.min(SyncChain.status_since))
        .where(RESTING)
        .group_by(SyncChain.agent_id, SyncChain.agent_pin)
    ).all()
    if not totals:
        return []
    mine = db.session.execute(
        select(SyncChain.agent_id, SyncChain.agent_pin, Entry.id, Entry.name)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .where(RESTING, Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
    ).all()
    ids = {row[0] for row in totals}
    agents = db.session.scalars(select(SyncAgent).where(SyncAgent.id.in_(ids)).order_by(func.lower(SyncAgent.name)))
    who = f"An administrator does that: {named(list(administrators))}"
    found: list[Task] = []
    for agent in agents:
        sums = [(pin, number, since) for agent_id, pin, number, since in totals if agent_id == agent.id]
        own = [(pin, (entry_id, name)) for agent_id, pin, entry_id, name in mine if agent_id == agent.id]
        new_ones = [each for pin, each in own if pin != agent.pin] if agent.state == "approved" else []
        if new_ones:
            others = [(number, since) for pin, number, since in sums if pin != agent.pin]
            found.append(_confirm_task(agent, waiting(new_ones), others))
        if not is_usable(agent) and (user.org_admin or len(own) > len(new_ones)):
            everything = [(number, since) for _pin, number, since in sums]
            found.append(_repair_task(agent, waiting([each for _pin, each in own]), everything, who))
    return found


Sums = Sequence[tuple[int, datetime]]
"""How many passwords rest, and since when the first of them does; by certificate."""


def _confirm_task(agent: SyncAgent, own: Waiting, sums: Sums) -> Task:
    total = sum(number for number, _since in sums)
    return _task(
        agent, own, sums,
        title=f"{agent.name} has a new certificate: {passwords_wait(total)} until an owner confirms it",
        text=f"Compare its fingerprint at {agent.machine} itself, and confirm it on the page of each password. "
        "Until then nothing is tested or changed.",
        step="confirm",
    )  # fmt: skip


def _repair_task(agent: SyncAgent, own: Waiting, sums: Sums, who: str) -> Task:
    total = sum(number for number, _since in sums)
    if agent.state == "disabled":
        trouble, text = "is disabled", "Nothing is tested or changed until it is enabled again."
    elif agent.state == "approved":
        trouble, text = "has to be tested again", "It was changed. Nothing is tested or changed until then."
    else:
        trouble = "has to be approved again"
        text = "It has a new certificate. Nothing is tested or changed until it is approved, and an owner confirms it."
    return _task(
        agent, own, sums,
        title=f"{agent.name} {trouble}: {passwords_wait(total)} for it",
        text=f"{text} What every place holds is remembered.",
        step="open_agent",
        who=who,
    )  # fmt: skip


def _task(agent: SyncAgent, own: Waiting, sums: Sums, *, title: str, text: str, step: str, who: str = "") -> Task:
    return Task(
        kind=STATUS[Status.AGENT_DISABLED].label,
        title=title,
        text=text,
        look=STATUS[Status.AGENT_DISABLED],
        where="",
        since=min(since for _number, since in sums),
        step=step,
        agent=agent,
        waiting=own,
        elsewhere=sum(number for number, _since in sums) - own.number,
        only=Status.AGENT_DISABLED,
        who=who,
    )
