"""A whole chain as a page shows it: its links with their states, the run over it, what is left, how it folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from pwserver.core.marks import digest
from pwserver.core.states import STATUS, Health, LinkState, Row, Status
from pwserver.extensions import db
from pwserver.models import Entry, EntryVersion, LinkAttempt, LinkMaybe, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services.sync.chains import why_at_rest
from pwserver.services.sync.counts import WRITING, goal, runs_to_show, somewhere
from pwserver.services.transaction import now
from pwserver.services.views.links import Around, LinkView, link_view, login_words
from pwserver.services.views.said import Said, counted, named, say

LONG = 12
"""Chains with more links fold runs of equal good ones."""
FOLD = 6
"""How many equal good links in a row make a fold."""


@dataclass(frozen=True, slots=True)
class Band:
    """Links in a row; ``folded``: equal and good, shown as one line that opens."""

    links: Sequence[LinkView]
    folded: bool = False

    @property
    def first(self) -> LinkView:
        return self.links[0]

    @property
    def last(self) -> LinkView:
        return self.links[-1]

    @property
    def ids(self) -> list[str]:
        return [link.id for link in self.links]

    @property
    def evidence(self) -> Said:
        """How all are known, and from when to when; nothing where they are not known alike."""
        words = {tuple(part for part in link.evidence.parts if isinstance(part, str)) for link in self.links}
        times = sorted(part for link in self.links for part in link.evidence.parts if isinstance(part, datetime))
        if len(words) != 1 or len(times) != len(self.links):
            return Said()
        span = say(times[0], " to ", times[-1]) if times[0] != times[-1] else say(times[0])
        parts = self.first.evidence.parts
        return sum((span if isinstance(part, datetime) else say(part) for part in parts), Said())


@dataclass(frozen=True, slots=True)
class ChainView:
    id: str
    entry_id: str
    status: Status
    look: Row
    status_since: datetime
    status_detail: str
    enabled: bool
    revision: int
    agent: SyncAgent
    at_rest: str
    """Why nothing is sent for this chain, by its agent ("" when it serves); see ``why_at_rest``."""
    confirmed_pin: str
    """The agent's certificate that an owner goes by."""
    on_failure: str
    links: Sequence[LinkView]
    run: SyncRun | None
    pending: int | None
    current: int | None
    can_give_up: bool
    next_test_at: datetime | None
    now: datetime

    @property
    def mark(self) -> str:
        """Changes whenever anything shown here changes but how long it has lasted; polls send it back."""
        run = self.run and (self.run.id, self.run.state, self.run.due_at, self.run.cancel_at is not None)
        facts = [str(self.status), self.status_detail, self.revision, self.enabled, run]
        return digest([facts, [link.shown for link in self.links]])

    @property
    def marks(self) -> dict[str, str]:
        """The same for each link, by its id."""
        return {link.id: link.mark for link in self.links}

    @property
    def busy(self) -> bool:
        """A run is queued or running, so the page has something to wait for."""
        return self.run is not None and (self.run.state in ("queued", "running") or self.at_work is not None)

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.state == "running"

    @property
    def done(self) -> int:
        return sum(1 for link in self.links if link.done)

    @property
    def at_work(self) -> LinkView | None:
        return next((link for link in self.links if link.at_work), None)

    @property
    def wrong(self) -> list[LinkView]:
        """What is not as it should be, what waits for a person first."""
        order = (
            LinkState.DOWN,
            LinkState.REFUSED,
            LinkState.BLOCKED,
            LinkState.UNKNOWN,
            LinkState.SKIPPED,
            LinkState.UNREACHABLE,
        )
        found = [link for link in self.links if link.state in order]
        return sorted(found, key=lambda link: (order.index(link.state), link.number))

    @property
    def adoptable(self) -> list[LinkView]:
        return [link for link in self.links if link.can_adopt]

    @property
    def is_long(self) -> bool:
        return len(self.links) > LONG

    @property
    def bands(self) -> list[Band]:
        """The links in order; in a long chain, more than five equal good ones in a row are one band."""
        if not self.is_long:
            return [Band([link]) for link in self.links]
        found: list[list[LinkView]] = []
        for link in self.links:
            if found and _alike(found[-1][-1], link):
                found[-1].append(link)
            else:
                found.append([link])
        return [
            band
            for row in found
            for band in ([Band(row, folded=True)] if len(row) >= FOLD else [Band([link]) for link in row])
        ]

    def band_of(self, first: str, count: int) -> Band | None:
        """The folded band of so many links that begins with this one, if it still does."""
        folded = (each for each in self.bands if each.folded)
        return next((each for each in folded if (each.first.id, len(each.links)) == (first, count)), None)

    @property
    def tally(self) -> list[str]:
        """How the links stand, beside "5 of 10 links done"."""
        counts: dict[str, int] = {}
        for link in self.links:
            if not link.done:
                words = TALLY[link.state]
                counts[words] = counts.get(words, 0) + 1
        return [f"{number} {words}" for words, number in counts.items()]

    @property
    def strip_words(self) -> str:
        """The strip, said: which links are not in sync, by number."""
        groups: dict[str, list[str]] = {}
        for link in self.links:
            groups.setdefault(link.look.label.lower(), []).append(str(link.number))
        said = [f"{named(numbers, 4)} {label}" for label, numbers in groups.items()]
        return f"{counted(len(self.links), 'link')} in order: {'; '.join(said)}"

    def what_now(self) -> str:
        """One sentence for the live region: what is at work and how far it is."""
        link = self.at_work
        so_far = f"{self.done} of {len(self.links)} links done."
        if self.run is None:
            return f"{self.look.label}. {so_far}"
        return f"{link.name}: {link.look.label.lower()}. {so_far}" if link else so_far


TALLY = {
    LinkState.TESTING: "at work",
    LinkState.CHANGING: "at work",
    LinkState.UNREACHABLE: "retrying",
    LinkState.DOWN: "stopped, not up",
    LinkState.REFUSED: "refused",
    LinkState.BLOCKED: "blocked",
    LinkState.UNKNOWN: "unknown",
    LinkState.SKIPPED: "skipped",
    LinkState.WAITING: "waiting",
}


def _alike(one: LinkView, other: LinkView) -> bool:
    if one.primary or not (one.good and other.good) or one.restart_pending or other.restart_pending:
        return False
    return (one.kind, one.who, one.state, one.of) == (other.kind, other.who, other.state, other.of)


def read_chain(entry: Entry, run: SyncRun | None = None) -> ChainView | None:
    """The chain of an entry, or None. ``run``: the run whose durations stand beside the links; else the active one."""
    return read_chains([entry], run).get(entry.id)


def read_chains(entries: Sequence[Entry], run: SyncRun | None = None) -> dict[str, ChainView]:
    """By entry: the chains of those that have one. The number of statements is constant."""
    query = select(SyncChain).where(SyncChain.entry_id.in_([entry.id for entry in entries]))
    agent = joinedload(SyncChain.agent)
    logins = (agent.joinedload(SyncAgent.login_entry), agent.joinedload(SyncAgent.linked_entry))
    chains = db.session.scalars(query.options(*logins)).all()
    if not chains:
        return {}
    facts = _read(chains, run)
    return {chain.entry_id: _view(chain, facts) for chain in chains}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known about some chains: by chain, by entry, by link, or over all of them."""

    at: datetime
    links: Mapping[str, Sequence[SyncLink]]
    active: Mapping[str, SyncRun]
    stages: Mapping[tuple[str, str], str]
    """By entry and stage: the version; each stage but *old* and *discarded* has one at most."""
    numbers: Mapping[str, int]
    somewhere: frozenset[str]
    """The pending versions that some link holds or may hold."""
    open: Mapping[str, LinkAttempt]
    wrote: Mapping[str, datetime]
    maybe: frozenset[str]
    last: Mapping[str, LinkAttempt]


def _read(chains: Sequence[SyncChain], run: SyncRun | None) -> _Facts:
    session, at = db.session, now()
    chain_ids = [chain.id for chain in chains]
    rows = session.scalars(
        select(SyncLink)
        .options(joinedload(SyncLink.linked_entry))
        .where(SyncLink.chain_id.in_(chain_ids), SyncLink.active)
        .order_by(SyncLink.position, SyncLink.id)
    ).all()
    links: dict[str, list[SyncLink]] = {chain_id: [] for chain_id in chain_ids}
    for link in rows:
        links[link.chain_id].append(link)
    ids = [link.id for link in rows]
    active = runs_to_show(session, chain_ids)
    versions = session.execute(
        select(EntryVersion.id, EntryVersion.entry_id, EntryVersion.stage, EntryVersion.number).where(
            EntryVersion.entry_id.in_([chain.entry_id for chain in chains])
        )
    ).all()
    stages = {(entry_id, stage): version for version, entry_id, stage, _number in versions}
    pending = [version for (_entry, stage), version in stages.items() if stage == "pending"]
    open_ones = session.scalars(
        select(LinkAttempt)
        .join(SyncRun, SyncRun.id == LinkAttempt.run_id)
        .where(LinkAttempt.link_id.in_(ids), LinkAttempt.outcome.is_(None), SyncRun.state == "running")
    )
    shown = [run.id] if run is not None else [each.id for each in active.values()]
    return _Facts(
        at=at,
        links=links,
        active=active,
        stages=stages,
        numbers={version: number for version, _entry, _stage, number in versions},
        somewhere=frozenset(somewhere(session, pending)),
        open={attempt.link_id: attempt for attempt in open_ones},
        wrote=_wrote(ids),
        maybe=frozenset(session.scalars(select(LinkMaybe.link_id).where(LinkMaybe.link_id.in_(ids)))),
        last=last_attempts(shown),
    )


def _view(chain: SyncChain, facts: _Facts) -> ChainView:
    links, active = facts.links[chain.id], facts.active.get(chain.id)
    around = _around(chain, links, active, facts)
    views = [link_view(link, around) for link in links]
    pending = facts.stages.get((chain.entry_id, "pending"))
    can_give_up = pending is not None and pending not in facts.somewhere
    running = active is not None and (active.state == "running" or active.kind == "override")
    return ChainView(
        id=chain.id,
        entry_id=chain.entry_id,
        status=Status(chain.status),
        look=STATUS[Status(chain.status)],
        status_since=chain.status_since,
        status_detail=chain.status_detail,
        enabled=chain.enabled,
        revision=chain.revision,
        agent=chain.agent,
        at_rest=why_at_rest(chain),
        confirmed_pin=chain.agent_pin,
        on_failure=chain.on_failure,
        links=views,
        run=active,
        pending=around.numbers.get(pending or ""),
        current=around.numbers.get(around.current or ""),
        can_give_up=can_give_up and not running,
        next_test_at=chain.next_test_at,
        now=facts.at,
    )


def _around(chain: SyncChain, links: Sequence[SyncLink], active: SyncRun | None, facts: _Facts) -> Around:
    current = facts.stages.get((chain.entry_id, "current"))
    writing = active is not None and active.kind in WRITING
    scope = frozenset(link.id for link in links)
    if active is not None and active.scope is not None and not (active.kind == "override" and active.whole_chain):
        scope = frozenset(active.scope)
    return Around(
        links=links,
        goal=goal(current, facts.stages.get((chain.entry_id, "pending")), facts.somewhere, active),
        current=current,
        now=facts.at,
        walking=scope if writing else frozenset(),
        waiting_run=active is not None and active.state == "waiting",
        numbers=facts.numbers,
        open=facts.open,
        wrote=facts.wrote,
        maybe=facts.maybe,
        login=login_words(chain.agent.linked_entry or chain.agent.login_entry),
        linked=chain.agent.linked_entry,
        login_stopped=chain.agent.health == Health.BLOCKED,
        last=facts.last,
    )


def _wrote(ids: Sequence[str]) -> dict[str, datetime]:
    """When each place was last written by us."""
    rows = db.session.execute(
        select(LinkAttempt.link_id, func.max(LinkAttempt.finished_at))
        .where(LinkAttempt.link_id.in_(ids), LinkAttempt.step == "set", LinkAttempt.outcome == "applied")
        .group_by(LinkAttempt.link_id)
    )
    return {link_id: at for link_id, at in rows if at}


def last_attempts(run_ids: Sequence[str]) -> dict[str, LinkAttempt]:
    """By link: its last attempt in these runs, which are of different chains."""
    query = select(LinkAttempt).where(LinkAttempt.run_id.in_(run_ids)).order_by(LinkAttempt.intent_at)
    return {attempt.link_id: attempt for attempt in db.session.scalars(query)} if run_ids else {}


RUN_DOES = {
    "change": "changing the password",
    "correct": "asking which places have which value",
    "adopt": "writing places",
    "test": "testing",
    "override": "administrative override",
    "rollback": "rolling back",
}


def run_title(run: SyncRun) -> str:
    """What a run is, in the words of its heading."""
    words = RUN_DOES[run.kind]
    return {
        "queued": f"Run {run.number}: {words}, about to begin",
        "running": f"Run {run.number}: {words}",
        "waiting": f"Run {run.number}: {words}, waiting",
    }.get(run.state, f"Run {run.number}: {words}, ended")


def next_test_words(chain: ChainView) -> Said:
    if chain.next_test_at is None:
        return say("after the first proof")
    return say(chain.next_test_at, ". It reads; a logon only where something moved.")
