"""What mails about Sync Issues say: a chain that needs its owners or is merely silent, a cause of many, and the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from pwserver.core.access import Right, allows
from pwserver.core.reasons import reason
from pwserver.core.states import PERSON, LinkState
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Incident, SyncAgent, SyncChain, Vault
from pwserver.services import vaults
from pwserver.services.mail.alerts import OVER_UNSENT, chains_of, firsts_to, owners_of
from pwserver.services.mail.outbox import Moot
from pwserver.services.sync.preview import retest_plan
from pwserver.services.transaction import now
from pwserver.services.users import administrators
from pwserver.services.views.causes import credential_troubles
from pwserver.services.views.chain import ChainView, read_chain
from pwserver.services.views.issues import STEPS, issue_title, step_of
from pwserver.services.views.links import LinkView
from pwserver.services.views.said import clock, counted, lasted, named

Facts = dict[str, Any]
LINES = 10
"""How many links or passwords are listed; the rest is counted."""
LOUD = tuple(PERSON)
SILENT = (LinkState.UNREACHABLE, LinkState.WAITING)


@dataclass(frozen=True, slots=True)
class Line:
    """One link of the list: its state, its machine, what it is, and what is known."""

    state: str
    tone: str
    machine: str
    who: str
    words: str


def write_begin(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    """The first mail of an incident, or its turn into one that needs a person."""
    incident = _incident(ids)
    if incident.closed_at is not None:
        raise Moot(OVER_UNSENT)
    if incident.kind != ids["template"]:
        raise Moot("It turned into something that needs a person before this mail could be sent; another one says so.")
    chains = chains_of(db.session, incident)
    if not chains:
        raise Moot(OVER_UNSENT)
    if incident.chain_id or (len(chains) == 1 and _owns(user, chains[0])):
        return ids["template"], _chain_facts(_own_incident(incident, chains[0]), chains[0], user)
    return f"cause_{incident.kind}", _cause_facts(incident, chains, user)


def write_over(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    """That it is over, to whoever had one of the first."""
    incident = _incident(ids)
    had = firsts_to(db.session, incident, user)
    assert incident.closed_at is not None
    chains = chains_of(db.session, incident)
    facts: Facts = {
        "closed": clock(incident.closed_at, now()),
        "lasted": lasted((incident.closed_at - incident.opened_at).total_seconds()),
        "why": incident.closed_why,
    }
    spoke_of_a_cause = any(row.ids.get("written", "").startswith("cause") for row in had)
    if incident.chain_id or (not spoke_of_a_cause and len(chains) == 1 and _owns(user, chains[0])):
        own = _own_incident(incident, chains[0])
        view = read_chain(chains[0].entry)
        return "over", facts | _place(chains[0], user) | {"incident": own, "links": len(view.links) if view else 0}
    cause = _cause_facts(incident, chains, user)
    return "cause_over", facts | cause | {"headline": _headline(incident, cause)}


def _incident(ids: Mapping[str, str]) -> Incident:
    found = db.session.get(Incident, ids["incident"], populate_existing=True)
    if found is None:
        raise Moot("The agent it was about was removed.")
    return found


def _headline(incident: Incident, cause: Facts) -> str:
    """That it works again only where a chain was proved to; else no more than that nothing waits for it."""
    if cause["agent"]:
        name = f"the sync agent {cause['agent'].name}"
    else:
        name = f"the linked credential {cause['credential'].name}" if cause["credential"] else "a linked credential"
    if incident.closed_why != "in_sync":
        return f"Nothing waits for {name} any more"
    return f"{name[0].upper()}{name[1:]} works again"


def _own_incident(incident: Incident, chain: SyncChain) -> Incident:
    """A chain's own incident, whose page the mail's links open."""
    if incident.chain_id:
        return incident
    query = select(Incident).where(Incident.chain_id == chain.id, Incident.cause_id == incident.id)
    return db.session.scalars(query.order_by(Incident.opened_at.desc()).limit(1)).one()


def _owns(user: AppUser, chain: SyncChain) -> bool:
    return user.id in {owner.id for owner in owners_of(chain.entry.vault_id)}


def _place(chain: SyncChain, user: AppUser) -> Facts:
    """The password, its vault, who gets this and why. Raises :class:`Moot` for somebody who is no owner any more."""
    entry = chain.entry
    vault = db.session.get_one(Vault, entry.vault_id)
    owners = owners_of(vault.id)
    everybody = owners or administrators()
    if user.id not in {each.id for each in everybody}:
        raise Moot(f"{user.name} is no owner of {vault.name} any more.")
    return {"entry": entry, "vault": vault, "orphan": not owners, "sent_to": named([each.name for each in everybody])}


# -- one chain


def _chain_facts(incident: Incident, chain: SyncChain, user: AppUser) -> Facts:
    place = _place(chain, user)
    view = read_chain(chain.entry)
    assert view is not None
    waiting = [link for link in view.links if link.state == LinkState.WAITING and link.retries and link.why.parts]
    wrong = [*view.wrong, *waiting] or [link for link in view.links if not link.done]
    told = LOUD if incident.kind == "needs_override" else SILENT  # what follows from it is in the list below
    shown = [link for link in wrong if link.state in told] or wrong
    step = next((step for step in STEPS if any(step_of(link) == step for link in wrong)), "")
    plan = retest_plan(chain.entry)
    return place | {
        "incident": incident,
        "title": issue_title(shown),
        "machines": named(list(dict.fromkeys(link.machine for link in shown))),
        "happened": [_happened(link, view.now) for link in shown[:3]],
        "after": _unique(_sentence(link.after.plain(view.now)) for link in shown[:3]),
        "outside": named(list(dict.fromkeys(link.machine for link in wrong if link.outside))),
        "step": step,
        "silent": any(link.state == LinkState.UNREACHABLE for link in wrong),
        "given_up": any(link.given_up for link in wrong),
        "retest": plan.words if plan.possible else "",
        "done": view.done,
        "total": len(view.links),
        "lines": [_line(link, view.now) for link in wrong[:LINES]],
        "more": max(0, len(wrong) - LINES),
        "others": _others(view, wrong),
    }


def _happened(link: LinkView, at: datetime) -> str:
    """What happened at one link, with the machine's own sentence and code last."""
    words = _sentence(link.why.plain(at)) or f"{link.machine}: {link.look.label.lower()}."
    told = f" {link.machine} said: {_sentence(link.told)}" if link.told else ""
    return f"{words}{told}" + (f" ({link.code})" if link.code else "")


def _line(link: LinkView, at: datetime) -> Line:
    return Line(link.look.label, link.look.tone, link.machine, link.who, link.evidence.plain(at))


def _others(view: ChainView, wrong: Sequence[LinkView]) -> str:
    """The links that are as they should be, counted."""
    number = sum(1 for link in view.links if link.done)
    return f"{'the' if wrong else 'all'} {counted(number, 'other')}" if number else ""


def _sentence(text: str) -> str:
    """Ends with a full stop, so that another sentence may follow."""
    text = text.strip()
    return text if not text or text[-1] in ".?:" else f"{text}."


def _unique(sentences: Any) -> list[str]:
    return list(dict.fromkeys(each for each in sentences if each))


# -- one cause of many


def _cause_facts(incident: Incident, chains: Sequence[SyncChain], user: AppUser) -> Facts:
    mine = [chain for chain in chains if _owns(user, chain)]
    repairs = bool(incident.agent_id) and user.org_admin
    orphaned = user.org_admin and any(not owners_of(chain.entry.vault_id) for chain in chains)
    if not (mine or repairs or orphaned):
        raise Moot(f"{user.name} owns none of the passwords concerned any more.")
    agent = db.session.get(SyncAgent, incident.agent_id) if incident.agent_id else None
    credential = db.session.get(Entry, incident.credential_id) if incident.credential_id else None
    readable = credential is not None and allows(vaults.right_of(user, credential.vault_id), Right.READ)
    trouble = credential_troubles([incident.id])[incident.id] if credential else None
    return {
        "incident": incident,
        "agent": agent,
        "credential": credential if readable else None,
        "by_credential": credential is not None,
        "repairs": repairs,
        "orphaned": orphaned,
        "waiting": counted(len(chains), "password"),
        "one": len(chains) == 1,
        "mine": [_named(chain) for chain in mine[:LINES]],
        "more": max(0, len(mine) - LINES),
        "elsewhere": len(chains) - len(mine),
        "trouble": trouble.words if trouble else "",
        "reason": _sentence(trouble.next if trouble else reason("login_not_accepted").next),
    }


def _named(chain: SyncChain) -> str:
    return f"{chain.entry.name}, in {db.session.get_one(Vault, chain.entry.vault_id).name}"
