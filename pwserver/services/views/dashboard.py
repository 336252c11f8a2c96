"""The Dashboard: what needs me, what is running, how the passwords stand. As many statements for many as for few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from pwserver.core.marks import digest
from pwserver.core.states import LINK, STATUS, LinkState, Row, Status
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Incident, SyncAgent, SyncChain, SyncRun, Vault
from pwserver.services import users
from pwserver.services.entries import Listed
from pwserver.services.favourites import favourites_of
from pwserver.services.transaction import now
from pwserver.services.views.causes import Cause, cause_tasks, read_causes
from pwserver.services.views.chain import ChainView, read_chains
from pwserver.services.views.counting import owned_and_visible
from pwserver.services.views.health import VaultHealth, health_words, read_health
from pwserver.services.views.issues import issue_title, issue_with
from pwserver.services.views.links import LinkView
from pwserver.services.views.resting import rest_tasks
from pwserver.services.views.said import counted
from pwserver.services.views.tasks import MOST_TASKS, Task, Waiting, waiting

MOST_RUNNING = 5


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
        running = [(each.entry.id, each.run.id, each.chain.mark) for each in self.running]
        stars = [(row.entry.id, row.status) for row in self.favourites]
        more = (self.more_issues, self.more_others, self.running_in_all)
        return digest([[task.mark for task in self.tasks], running, stars, more, self.by_vault])

    @property
    def health_words(self) -> str:
        return health_words(self.health)


def read_dashboard(user: AppUser) -> DashboardView:
    """The task list of an owner, what is running now, and how the passwords stand."""
    mine, seen = owned_and_visible(user)
    by_vault = read_health(seen)
    health = [(status, sum(dict(one.counts)[status] for one in by_vault)) for status in STATUS]
    issues = _read_issues(user, mine)
    running = _read_running(seen)
    first_running = running[:MOST_RUNNING]
    chains = read_chains([*(entry for _incident, entry, _vault in issues.alone), *first_running])
    administrators = [each.name for each in users.administrators()]
    others = [*rest_tasks(user, mine, administrators), *_not_configured_tasks(mine)]
    agents = _pending_tasks(user, besides={task.agent.id for task in others if task.agent is not None})
    return DashboardView(
        tasks=[*_issue_tasks(user, issues, chains, administrators), *others[:MOST_TASKS], *agents],
        more_issues=issues.more,
        more_others=len(others) - len(others[:MOST_TASKS]),
        running=[Running(entry, chains[entry.id], run) for entry in first_running if (run := chains[entry.id].run)],
        running_in_all=len(running),
        health=health,
        by_vault=by_vault,
        favourites=favourites_of(user, seen),
        total=sum(number for _status, number in health),
        now=now(),
    )


@dataclass(frozen=True, slots=True)
class _Issues:
    """The Sync Issues that are spelled out, in their ``order`` (ids of incidents), and how many ``more`` there are."""

    order: Sequence[str]
    more: int
    alone: Sequence[tuple[Incident, Entry, str]]
    """Those of one password, with it and the name of its vault."""
    causes: Mapping[str, Cause]
    behind: Mapping[str, Waiting]
    """By cause: which of this person's passwords wait for it."""


def _read_issues(user: AppUser, vault_ids: Sequence[str]) -> _Issues:
    """What needs a person first, the newest before the others."""
    rows = db.session.execute(
        select(Incident, Entry, Vault.name)
        .join(SyncChain, SyncChain.id == Incident.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .where(Incident.closed_at.is_(None), Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
    ).all()
    causes = read_causes(user, {incident.cause_id for incident, _entry, _vault in rows if incident.cause_id})
    behind: dict[str, list[tuple[str, str]]] = {}
    alone = []
    for incident, entry, vault in rows:
        if incident.cause_id in causes:
            behind.setdefault(incident.cause_id, []).append((entry.id, entry.name))
        else:
            alone.append((incident, entry, vault))
    subjects = [*(cause.incident for cause in causes.values()), *(row[0] for row in alone)]
    subjects.sort(key=lambda incident: (incident.kind != "unreachable", incident.opened_at), reverse=True)
    order = [incident.id for incident in subjects[:MOST_TASKS]]
    return _Issues(
        order=order,
        more=len(subjects) - len(order),
        alone=[row for row in alone if row[0].id in order],
        causes={key: cause for key, cause in causes.items() if key in order},
        behind={key: waiting(names) for key, names in behind.items()},
    )


def _issue_tasks(
    user: AppUser, issues: _Issues, chains: Mapping[str, ChainView], administrators: Sequence[str]
) -> list[Task]:
    found = cause_tasks(user, issues.causes, issues.behind, administrators)
    for incident, entry, vault in issues.alone:
        found[incident.id] = _chain_task(incident, entry, vault, chains[entry.id])
    return [found[each] for each in issues.order]


def _chain_task(incident: Incident, entry: Entry, vault: str, chain: ChainView) -> Task:
    issue = issue_with(chain, entry, incident) if chain.status == Status.OUT_OF_SYNC else None
    silent = incident.kind == "unreachable"
    wrong = issue.links if issue else chain.wrong
    look = issue.look if issue else chain.look
    title = f"{entry.name} is out of sync"
    if silent:
        title = f"{entry.name} cannot be reached everywhere" if _is_away(wrong) else f"{entry.name} is not done yet"
    return Task(
        kind="Sync Issue",
        title=title,
        text=_issue_text(chain, wrong, silent),
        look=LINK[LinkState.UNREACHABLE] if silent else look,
        where=vault,
        since=incident.opened_at,
        step=issue.step if issue and not silent else "retest" if _is_given_up(wrong) else "",
        entry=entry,
        chain=chain,
        credential=issue.credential if issue else None,
    )


WAIT_WORDS = " Nothing to do yet: it goes on by itself when the machine answers."
GIVEN_UP_WORDS = " Three days without an answer: Retest Sync when the machine is back, or take the link out."


def _is_given_up(links: Sequence[LinkView]) -> bool:
    return any(link.given_up for link in links)


def _is_away(links: Sequence[LinkView]) -> bool:
    """Whether a machine does not answer. One that only waits for a count or a clock can be reached."""
    return any(link.state == LinkState.UNREACHABLE for link in links)


def _issue_text(chain: ChainView, wrong: Sequence[LinkView], silent: bool) -> str:
    words = issue_title(wrong) + "." if wrong else ""
    if silent:
        words += GIVEN_UP_WORDS if _is_given_up(wrong) else WAIT_WORDS if _is_away(wrong) else ""
    elif chain.busy:
        words += " A run is under way."
    return f"{words} {chain.done} of {counted(len(chain.links), 'link')} in sync.".strip()


def _not_configured_tasks(vault_ids: Sequence[str]) -> list[Task]:
    """Passwords that can be tested but not changed."""
    rows = db.session.execute(
        select(SyncChain, Entry, Vault.name)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .join(Vault, Vault.id == Entry.vault_id)
        .where(
            SyncChain.status == Status.NOT_CONFIGURED, Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None)
        )
        .order_by(Entry.name)
    )  # fmt: skip
    return [
        Task(
            kind=STATUS[Status.NOT_CONFIGURED].label,
            title=f"{entry.name} can be tested, but not changed",
            text=f"{chain.status_detail}.",
            look=STATUS[Status.NOT_CONFIGURED],
            where=vault,
            since=chain.status_since,
            step="edit",
            entry=entry,
        )
        for chain, entry, vault in rows
    ]


def _pending_tasks(user: AppUser, besides: set[str]) -> list[Task]:
    """Agents that ask to become one; ``besides``: those that have their task already, for passwords wait for them."""
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
        if agent.id not in besides
    ]


def pending_agents() -> list[SyncAgent]:
    """Agents that checked in and wait for an administrator."""
    return list(db.session.scalars(select(SyncAgent).filter_by(state="pending").order_by(SyncAgent.name)))


def _read_running(vault_ids: Sequence[str]) -> list[Entry]:
    """The passwords for which something runs or is about to."""
    rows = db.session.execute(
        select(SyncRun.id, Entry)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .where(SyncRun.state.in_(("running", "queued")), Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
        .order_by(SyncRun.state.desc(), SyncRun.number)
    )
    return list({entry.id: entry for _run, entry in rows}.values())
