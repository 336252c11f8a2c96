"""Sync Issues: what waits for an owner, in one title, one row per failing link, and one next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from pwserver.core.states import STATUS, LinkState, Row, Status
from pwserver.extensions import db
from pwserver.models import Entry, Incident
from pwserver.services.views.chain import ChainView
from pwserver.services.views.links import LinkView
from pwserver.services.views.said import named


@dataclass(frozen=True, slots=True)
class IssueView:
    """``step``: approve, agent, retest or "" (nothing to do yet): the one thing to do next."""

    chain: ChainView
    entry: Entry
    incident: Incident | None
    title: str
    look: Row
    links: Sequence[LinkView]
    step: str

    @property
    def credential(self) -> Entry | None:
        """The linked credential that the next step leads to."""
        return next((link.credential for link in self.links if link.step == self.step == "credential"), None)

    @property
    def since(self) -> datetime:
        return self.incident.opened_at if self.incident else self.chain.status_since


STEPS = ("approve", "agent", "credential", "edit", "adopt", "retest")
"""When several links want different things, the first of these is the one next step."""


def issue_of(chain: ChainView, entry: Entry) -> IssueView | None:
    """The issue panel of a chain that is out of sync, or None."""
    if chain.status != Status.OUT_OF_SYNC:
        return None
    incident = db.session.scalar(select(Incident).where(Incident.chain_id == chain.id, Incident.closed_at.is_(None)))
    return issue_with(chain, entry, incident)


def issue_with(chain: ChainView, entry: Entry, incident: Incident | None) -> IssueView:
    """The same, of a chain that is out of sync, when its open incident is known."""
    wrong = chain.wrong or [link for link in chain.links if not link.done]
    return IssueView(
        chain=chain,
        entry=entry,
        incident=incident,
        title=issue_title(wrong),
        look=wrong[0].look if wrong else STATUS[Status.OUT_OF_SYNC],
        links=wrong,
        step=next((step for step in STEPS if any(step_of(link) == step for link in wrong)), ""),
    )


def step_of(link: LinkView) -> str:
    """The next step of one link. Refused: a person decides. Blocked: our way in is repaired. Silent: nothing."""
    if link.retries and link.state != LinkState.BLOCKED:
        return ""
    if link.step in ("approve", "agent", "credential", "edit", "adopt"):
        return link.step
    steps = {LinkState.REFUSED: "approve", LinkState.BLOCKED: "agent"}
    return steps.get(link.state, "retest" if link.state in (LinkState.DOWN, LinkState.WAITING) else "")


TITLES = {
    LinkState.DOWN: ("a service on {} is stopped and not up", "services on {} are stopped and not up"),
    LinkState.REFUSED: ("{} refused the vault\u2019s password",) * 2,
    LinkState.BLOCKED: ("", ""),
    LinkState.UNKNOWN: ("it is not known yet what {} has",) * 2,
    LinkState.SKIPPED: ("{} was skipped", "{} were skipped"),
    LinkState.UNREACHABLE: ("{} does not answer", "{} do not answer"),
    LinkState.WAITING: ("{} has not got the change yet", "{} have not got the change yet"),
}


BLOCKED = (
    ("{} refused our own login",) * 2,
    ("{} waits for our login", "{} wait for our login"),
    ("we may not work on {}",) * 2,
)


def _blocked(links: Sequence[LinkView]) -> list[str]:
    """One clause per cause: what refused our login, what only waits for it, where we lack a right."""
    blocked = [link for link in links if link.state == LinkState.BLOCKED]
    refused = [link for link in blocked if link.ours and not link.waits]
    causes = (refused, [link for link in blocked if link.waits], [link for link in blocked if not link.ours])
    clauses = []
    for (one, many), each in zip(BLOCKED, causes, strict=True):
        machines = list(dict.fromkeys(link.machine for link in each))
        if machines:
            clauses.append((one if len(machines) == 1 else many).format(named(machines)))
    return clauses


def issue_title(links: Sequence[LinkView]) -> str:
    """Names the machines, one clause per kind of trouble: "LAB-05 refused the vault's password, LAB-04 does not
    answer"."""
    clauses = []
    for state, (one, many) in TITLES.items():
        machines = list(dict.fromkeys(link.machine for link in links if link.state == state))
        if not machines:
            continue
        if state == LinkState.BLOCKED:
            clauses += _blocked(links)
            continue
        clauses.append((one if len(machines) == 1 else many).format(named(machines)))
    if not clauses:
        return "Some links are not right"
    title = ", ".join(clauses)
    return title[0].upper() + title[1:]
