"""One cause of many on the Dashboard: an agent or a linked credential that passwords wait for is one task (rule 41)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal, or_, select
from sqlalchemy.orm import aliased

from pwserver.core.access import Right, allows
from pwserver.core.reasons import reason
from pwserver.core.states import LINK, LinkState, Status
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Incident, SyncAgent, SyncLink
from pwserver.services import vaults
from pwserver.services.sync.incidents import OF_LINKED
from pwserver.services.views.said import named
from pwserver.services.views.tasks import Task, Waiting, passwords_wait
from pwserver.sync.settle import GIVEN_UP


@dataclass(frozen=True, slots=True)
class CredentialTrouble:
    """``words`` follow the credential's name; ``next`` is what its owner does."""

    words: str
    next: str


NOT_OPENED = {
    "linked_refused": CredentialTrouble("was refused", reason("linked_refused").next),
    "linked_state": CredentialTrouble("may not log on", reason("linked_state").next),
    "linked_denied": CredentialTrouble(
        "was denied access", "Check its password, and its rights on the machines that denied it, then Retest Sync."
    ),
    "linked_unclear": CredentialTrouble("was not let in", "Test what waits for it: each link says what it met."),
}
"""What became of a linked credential, by the reason of the links that it left waiting."""


def credential_troubles(cause_ids: Collection[str]) -> dict[str, CredentialTrouble]:
    """By incident: what the machines said of its credential. If they differ, no more than that it was not let in."""
    query = (
        select(Incident.cause_id, SyncLink.reason)
        .join(SyncLink, SyncLink.chain_id == Incident.chain_id)
        .where(Incident.cause_id.in_(cause_ids), Incident.closed_at.is_(None))
        .where(SyncLink.active, SyncLink.reason.in_(OF_LINKED))
    )
    said: dict[str | None, set[str]] = {}
    for cause_id, what in db.session.execute(query.distinct()):
        said.setdefault(cause_id, set()).add(what)
    unclear = {"linked_unclear"}
    found = {each: said.get(each, unclear) for each in cause_ids}
    return {each: NOT_OPENED[next(iter(whats if len(whats) == 1 else unclear))] for each, whats in found.items()}


@dataclass(frozen=True, slots=True)
class Cause:
    """An open incident of an agent or a credential, and how many passwords wait for it in all."""

    incident: Incident
    agent: SyncAgent | None
    credential: Entry | None
    total: int

    @property
    def is_silent(self) -> bool:
        return self.incident.kind == "unreachable"


def read_causes(user: AppUser, cause_ids: Collection[str]) -> dict[str, Cause]:
    """By incident: these causes, as far as many wait for them, and for an administrator each that they have to repair.

    What one password alone waits for is told with that password."""
    waiting = aliased(Incident)
    total = (
        select(func.count())
        .where(waiting.cause_id == Incident.id, waiting.closed_at.is_(None))
        .correlate(Incident)
        .scalar_subquery()
    )
    theirs = Incident.agent_id.is_not(None) & (Incident.kind == "needs_override") & literal(user.org_admin)
    rows = db.session.execute(
        select(Incident, SyncAgent, Entry, total)
        .outerjoin(SyncAgent, SyncAgent.id == Incident.agent_id)
        .outerjoin(Entry, Entry.id == Incident.credential_id)
        .where(or_(Incident.id.in_(cause_ids), theirs), Incident.closed_at.is_(None))
    )
    found = {row[0].id: Cause(*row) for row in rows}
    return {key: cause for key, cause in found.items() if cause.total > 1 or (cause.total and key not in cause_ids)}


def cause_tasks(
    user: AppUser, causes: Mapping[str, Cause], mine: Mapping[str, Waiting], administrators: Sequence[str]
) -> dict[str, Task]:
    """By incident. ``mine``: who waits for it in vaults that this person owns. ``administrators``: their names."""
    if not causes:
        return {}
    given_up = _given_up([key for key, cause in causes.items() if cause.is_silent])
    homes = [cause.credential.vault_id for cause in causes.values() if cause.credential is not None]
    rights = vaults.rights_of(user, homes) if homes else {}
    owners = vaults.owners_of(homes) if homes else {}
    troubles = credential_troubles([key for key, cause in causes.items() if cause.credential is not None])
    found: dict[str, Task] = {}
    for key, cause in causes.items():
        own = mine.get(key, Waiting())
        if cause.agent is not None:
            found[key] = _agent_task(cause, cause.agent, own, key in given_up, administrators)
        elif cause.credential is not None:
            home = cause.credential.vault_id
            repairers = [each.name for each in owners.get(home, [])] or administrators
            found[key] = _credential_task(cause, cause.credential, troubles[key], own, rights.get(home), repairers)
    return found


def _given_up(causes: Collection[str]) -> set[str | None]:
    """Those for which something was tried for so long that it is not tried again by itself."""
    if not causes:
        return set()
    query = (
        select(Incident.cause_id)
        .join(SyncLink, SyncLink.chain_id == Incident.chain_id)
        .where(Incident.cause_id.in_(causes), Incident.closed_at.is_(None))
        .where(SyncLink.active, SyncLink.reason == GIVEN_UP)
    )
    return set(db.session.scalars(query.distinct()))


def _agent_task(cause: Cause, agent: SyncAgent, own: Waiting, given_up: bool, administrators: Sequence[str]) -> Task:
    name = agent.name
    if not cause.is_silent:
        trouble, text = "refused our login", f"It was sent once. {reason('login_not_accepted').next}"
    elif given_up:
        trouble, text = "does not answer", "Three days without an answer. Repair it, or point the passwords elsewhere."
    else:
        trouble, text = "does not answer", "Nothing to do yet: they go on by themselves when it answers."
    return Task(
        kind="Sync Issue",
        title=f"{name} {trouble}: {passwords_wait(cause.total)} for it",
        text=text,
        look=LINK[LinkState.UNREACHABLE if cause.is_silent else LinkState.BLOCKED],
        where="",
        since=cause.incident.opened_at,
        step="" if cause.is_silent and not given_up else "repair_agent",
        agent=agent,
        waiting=own,
        elsewhere=cause.total - own.number,
        who=f"An administrator repairs it: {named(list(administrators))}",
        only=Status.OUT_OF_SYNC,
    )


def _credential_task(
    cause: Cause,
    credential: Entry,
    trouble: CredentialTrouble,
    own: Waiting,
    right: Right | None,
    repairers: Sequence[str],
) -> Task:
    """It is named, and opened, only to those who may read it."""
    name = f"The linked credential {credential.name}" if allows(right, Right.READ) else "A linked credential"
    return Task(
        kind="Sync Issue",
        title=f"{name} {trouble.words}: {passwords_wait(cause.total)} for it",
        text=f"It was sent once and is not sent again by itself. {trouble.next}",
        look=LINK[LinkState.BLOCKED],
        where="",
        since=cause.incident.opened_at,
        step="edit_credential" if allows(right, Right.MODIFY) else "ask",
        credential=credential if allows(right, Right.READ) else None,
        waiting=own,
        elsewhere=cause.total - own.number,
        who=f"An owner of its vault repairs it: {named(list(repairers))}",
        only=Status.OUT_OF_SYNC,
    )
