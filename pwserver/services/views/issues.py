"""Sync Issues: what waits for an owner, in one title, one row per failing link, and one next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from pwserver.core.marks import digest
from pwserver.core.states import LINK, STATUS, LinkState, Row, Status
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Incident, Membership, SyncAgent, SyncChain, SyncRun, Vault
from pwserver.services.entries import Listed
from pwserver.services.favourites import favourites_of
from pwserver.services.transaction import now
from pwserver.services.views.chain import ChainView, read_chain
from pwserver.services.views.health import VaultHealth, health_words, read_health
from pwserver.services.views.links import LinkView
from pwserver.services.views.said import counted, named


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
    def since(self) -> datetime:
        return self.incident.opened_at if self.incident else self.chain.status_since


STEPS = ("approve", "agent", "edit", "adopt", "retest")
"""When several links want different things, the first of these is the one next step."""


def issue_of(chain: ChainView, entry: Entry) -> IssueView | None:
    """The issue panel of a chain that is out of sync, or None."""
    if chain.status != Status.OUT_OF_SYNC:
        return None
    incident = db.session.scalar(select(Incident).where(Incident.chain_id == chain.id, Incident.closed_at.is_(None)))
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
    if link.step in ("approve", "agent", "edit", "adopt"):
        return link.step
    return {LinkState.REFUSED: "approve", LinkState.BLOCKED: "agent", LinkState.WAITING: "retest"}.get(link.state, "")


TITLES = {
    LinkState.REFUSED: ("{} refused the vault\u2019s password",) * 2,
    LinkState.BLOCKED: ("{} refused our own login",) * 2,
    LinkState.UNKNOWN: ("it is not known yet what {} has",) * 2,
    LinkState.SKIPPED: ("{} was skipped", "{} were skipped"),
    LinkState.UNREACHABLE: ("{} does not answer", "{} do not answer"),
    LinkState.WAITING: ("{} has not got the change yet", "{} have not got the change yet"),
}


def issue_title(links: Sequence[LinkView]) -> str:
    """Names the machines, one clause per kind of trouble: "LAB-05 refused the vault's password, LAB-04 does not
    answer"."""
    clauses = []
    for state, (one, many) in TITLES.items():
        machines = list(dict.fromkeys(link.machine for link in links if link.state == state))
        if not machines:
            continue
        words = one if len(machines) == 1 else many
        if state == LinkState.BLOCKED and not any(link.ours for link in links if link.state == state):
            words = "we may not work on {}"
        clauses.append(words.format(named(machines)))
    if not clauses:
        return "Some links are not right"
    title = ", ".join(clauses)
    return title[0].upper() + title[1:]


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the task list. ``steps``: pairs of kind and entry or agent id that the page makes buttons of."""

    kind: str
    title: str
    text: str
    look: Row
    where: str
    since: datetime | None
    step: str
    entry: Entry | None = None
    chain: ChainView | None = None
    agent: SyncAgent | None = None


@dataclass(frozen=True, slots=True)
class Running:
    entry: Entry
    chain: ChainView
    run: SyncRun


@dataclass(frozen=True, slots=True)
class DashboardView:
    tasks: Sequence[Task]
    more_issues: int
    """Sync Issues that are not among the tasks: the list stops at MOST_TASKS of a kind."""
    more_others: int
    running: Sequence[Running]
    running_in_all: int
    health: Sequence[tuple[Status, int]]
    by_vault: Sequence[VaultHealth]
    favourites: Sequence[Listed]
    total: int
    now: datetime

    @property
    def issues(self) -> int:
        return self.more_issues + sum(1 for task in self.tasks if task.kind == "Sync Issue")

    @property
    def busy(self) -> bool:
        """Something runs, or an issue may end by itself: the page asks again."""
        return bool(self.running)

    @property
    def mark(self) -> str:
        tasks = [(task.kind, task.title, task.text, task.step, task.chain and task.chain.mark) for task in self.tasks]
        running = [(each.entry.id, each.run.id, each.chain.mark) for each in self.running]
        stars = [(row.entry.id, row.status) for row in self.favourites]
        more = (self.more_issues, self.more_others, self.running_in_all)
        return digest([tasks, running, stars, more, self.by_vault])

    @property
    def health_words(self) -> str:
        return health_words(self.health)


def owned_vaults(user: AppUser) -> list[str]:
    return _vaults(user, Membership.owner)


def visible_vaults(user: AppUser) -> list[str]:
    return _vaults(user, Membership.owner | Membership.modify | Membership.read)


def _vaults(user: AppUser, condition: object) -> list[str]:
    query = (
        select(Vault.id)
        .join(Membership, Membership.vault_id == Vault.id)
        .where(Membership.user_id == user.id, Vault.deleted_at.is_(None), condition)  # type: ignore[arg-type]
    )
    return list(db.session.scalars(query))


def count_issues(user: AppUser) -> dict[str, tuple[int, int]]:
    """By vault I own: open issues, and how many of them need a person now. One statement, for every page's menu."""
    query = (
        select(Entry.vault_id, func.count(), func.count().filter(Incident.kind == "needs_override"))
        .select_from(Incident)
        .join(SyncChain, SyncChain.id == Incident.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .join(Membership, Membership.vault_id == Entry.vault_id)
        .where(
            Incident.closed_at.is_(None),
            Entry.deleted_at.is_(None),
            Vault.deleted_at.is_(None),
            Membership.user_id == user.id,
            Membership.owner,
        )
        .group_by(Entry.vault_id)
    )
    return {vault_id: (int(total), int(loud)) for vault_id, total, loud in db.session.execute(query)}


def count_running(user: AppUser) -> int:
    """Runs at work in vaults I may see, for the menu."""
    query = (
        select(func.count())
        .select_from(SyncRun)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .join(Membership, Membership.vault_id == Entry.vault_id)
        .where(
            SyncRun.state == "running",
            Entry.deleted_at.is_(None),
            Vault.deleted_at.is_(None),
            Membership.user_id == user.id,
        )
    )
    return db.session.scalar(query) or 0


def read_dashboard(user: AppUser) -> DashboardView:
    """The task list of an owner, what is running now, and how the passwords stand."""
    mine, seen = owned_vaults(user), visible_vaults(user)
    by_vault = read_health(seen)
    health = [(status, sum(dict(one.counts)[status] for one in by_vault)) for status in STATUS]
    issues, more_issues = _issue_tasks(mine)
    others, more_others = _chain_tasks(mine)
    running, running_in_all = _running(seen)
    return DashboardView(
        tasks=[*issues, *others, *_agent_tasks(user)],
        more_issues=more_issues,
        more_others=more_others,
        running=running,
        running_in_all=running_in_all,
        health=health,
        by_vault=by_vault,
        favourites=favourites_of(user, seen),
        total=sum(number for _status, number in health),
        now=now(),
    )


MOST_TASKS = 10
"""Tasks of one kind that the Dashboard spells out; a list of passwords has the others."""
MOST_RUNNING = 5


def _issue_tasks(vault_ids: Sequence[str]) -> tuple[list[Task], int]:
    """The newest that need a person first, and how many there are besides."""
    rows = db.session.execute(
        select(Incident, Entry, Vault.name)
        .join(SyncChain, SyncChain.id == Incident.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .where(Incident.closed_at.is_(None), Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
        .order_by(Incident.opened_at.desc())
    ).all()
    found = []
    for incident, entry, vault in sorted(rows, key=lambda row: row[0].kind == "unreachable")[:MOST_TASKS]:
        chain = read_chain(entry)
        assert chain is not None
        issue = issue_of(chain, entry)
        silent = incident.kind == "unreachable"
        wrong = issue.links if issue else chain.wrong
        look = issue.look if issue else chain.look
        found.append(
            Task(
                kind="Sync Issue",
                title=f"{entry.name} cannot be reached everywhere" if silent else f"{entry.name} is out of sync",
                text=_issue_text(chain, wrong, silent),
                look=LINK[LinkState.UNREACHABLE] if silent else look,
                where=vault,
                since=incident.opened_at,
                step=issue.step if issue and not silent else "retest" if _is_given_up(wrong) else "",
                entry=entry,
                chain=chain,
            )
        )
    return found, len(rows) - len(found)


WAIT_WORDS = " Nothing to do yet: it goes on by itself when the machine answers."
GIVEN_UP_WORDS = " Three days without an answer: Retest Sync when the machine is back, or take the link out."


def _is_given_up(links: Sequence[LinkView]) -> bool:
    return any(link.given_up for link in links)


def _issue_text(chain: ChainView, wrong: Sequence[LinkView], silent: bool) -> str:
    words = issue_title(wrong) + "." if wrong else ""
    if silent:
        words += GIVEN_UP_WORDS if _is_given_up(wrong) else WAIT_WORDS
    elif chain.busy:
        words += " A run is under way."
    return f"{words} {chain.done} of {counted(len(chain.links), 'link')} in sync.".strip()


def _chain_tasks(vault_ids: Sequence[str]) -> tuple[list[Task], int]:
    """Passwords that can be tested but not changed, and those whose agent is disabled; and how many more there are."""
    rows = db.session.execute(
        select(SyncChain, Entry, Vault.name)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .where(
            SyncChain.status.in_((Status.NOT_CONFIGURED, Status.AGENT_DISABLED)),
            Entry.vault_id.in_(vault_ids),
            Entry.deleted_at.is_(None),
        )
        .order_by(SyncChain.status, Entry.name)
    ).all()
    found = []
    for chain, entry, vault in rows[:MOST_TASKS]:
        disabled = chain.status == Status.AGENT_DISABLED
        trouble = "waits for its agent" if disabled else "can be tested, but not changed"
        found.append(
            Task(
                kind=STATUS[Status(chain.status)].label,
                title=f"{entry.name} {trouble}",
                text=f"{chain.agent.name} is not approved." if disabled else f"{chain.status_detail}.",
                look=STATUS[Status(chain.status)],
                where=vault,
                since=chain.status_since,
                step="edit",
                entry=entry,
            )
        )
    return found, len(rows) - len(found)


def _agent_tasks(user: AppUser) -> list[Task]:
    if not user.org_admin:
        return []
    return [
        Task(
            kind="Pending agent",
            title=f"{agent.name} asks to become a sync agent",
            text="Compare its certificate fingerprint before you approve.",
            look=Row("Pending", "warn", "hdd-network"),
            where=agent.machine or agent.host,
            since=None,
            step="review",
            agent=agent,
        )
        for agent in pending_agents()
    ]


def pending_agents() -> list[SyncAgent]:
    """Agents that checked in and wait for an administrator."""
    return list(db.session.scalars(select(SyncAgent).filter_by(state="pending").order_by(SyncAgent.name)))


def _running(vault_ids: Sequence[str]) -> tuple[list[Running], int]:
    """What runs or is about to, the first of it, and how many passwords that are in all."""
    rows = db.session.execute(
        select(SyncRun, Entry)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .where(SyncRun.state.in_(("running", "queued")), Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
        .order_by(SyncRun.state.desc(), SyncRun.number)
    ).all()
    entries = {entry.id: entry for _run, entry in rows}
    found = []
    for entry in list(entries.values())[:MOST_RUNNING]:
        chain = read_chain(entry)
        if chain is not None and chain.run is not None:
            found.append(Running(entry, chain, chain.run))
    return found, len(entries)
