"""A quiet day: every password is proved within 24 hours, what was changed outside is found, nobody is disturbed.

The clock stands and is moved minute by minute, for the product and the lab alike; services, timer and runs are the real
ones. The agent ``WIRED`` is asked over the real wire (pywinrm, TLS, NTLM), the other one straight: see ``straight.py``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import func, select

from bench.straight import CountingNetwork, StraightSession
from bench.world import ADMINISTRATOR, Plan, config_of, entry_named, furnish, make_app, olivia
from pwserver.connectors.base import Credential
from pwserver.connectors.session import AgentAddress, AgentSession
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.lab import truth, wire
from pwserver.models import Incident, LinkAttempt, SyncChain, SyncLink, SyncRun
from pwserver.services import sync, timer
from pwserver.services.sync.connect import Connections
from pwserver.services.sync.reach import Connect

WIRED, STRAIGHT = "LAB-01", "LAB-02"
START = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
DAY, STEP = timedelta(hours=24), timedelta(minutes=1)
CHANGED, RESTORED, OFF = range(10), range(10, 13), range(13, 18)
"""The chains to whose machines something happens; one machine each, by turns Default Sync's and another."""


@dataclass
class Clock:
    moment: datetime = START

    def __call__(self) -> datetime:
        return self.moment


@dataclass
class Day:
    """The world of the day while it is played. ``busy``: CPU seconds by what they were spent on."""

    plan: Plan
    clock: Clock
    network: CountingNetwork
    connect: Callable[[], Connect]
    busy: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.busy[what] = round(time.process_time() - began, 1)

    def machine(self, chain: int) -> str:
        """The machine of a chain to which something happens."""
        machines = self.plan.machines(chain)
        return machines[chain % len(machines)]

    def tick(self) -> None:
        """One round of the timer, and all that it found due."""
        for run_id, _ in timer.tick():
            sync.execute(run_id, "bench", self.connect)

    def pass_until(self, end: datetime) -> None:
        while self.clock.moment < end:
            self.clock.moment += STEP
            self.tick()

    def links(self) -> list[SyncLink]:
        query = select(SyncLink).where(SyncLink.active).execution_options(populate_existing=True)
        return list(db.session.scalars(query))


def play(folder: Path, passwords: int, links: int, *, wired: bool = True, in_memory: bool = False) -> dict[str, Any]:
    """Plays the day and tells what was found. With ``wired`` every tenth chain goes over the wire."""
    plan = Plan(passwords, links, (WIRED, *[STRAIGHT] * (SHARE - 1))) if wired else Plan(passwords, links, (STRAIGHT,))
    clock = Clock()
    network = CountingNetwork(plan.network(clock().timestamp()), clock=clock)
    network.pace = 0  # the clock stands: nobody waits for a machine that is off
    lines = wire.serve(network, folder=folder / "lab", names=sorted(set(plan.agents)))
    database = "sqlite://" if in_memory else ""
    app = make_app(config_of(folder / "instance", database_url=database, testing=True), clock)
    try:
        with app.app_context():
            day = Day(plan, clock, network, lambda: Connections(_opener(network)))
            with day.spending("enabling"):
                furnish(plan, lines.addresses)
            return _play(day)
    finally:
        lines.stop()
        network.stop()
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


SHARE = 10
"""Every tenth chain goes over the wire."""


def _opener(network: CountingNetwork) -> Callable[[AgentAddress, Credential], AgentSession]:
    def open_session(address: AgentAddress, login: Credential) -> AgentSession:
        if address.machine == WIRED:
            return AgentSession(address, login)
        return cast(AgentSession, StraightSession(network, address, login))

    return open_session


def _play(day: Day) -> dict[str, Any]:
    clock = day.clock
    with day.spending("first tests"):
        while db.session.scalar(select(func.count()).where(SyncRun.state != "done")):
            day.tick()
            clock.moment += timedelta(seconds=1)
    with day.spending("changes"):
        older = {chain: day.network.machine(day.machine(chain)).sam.find(ADMINISTRATOR) for chain in RESTORED}
        before = {chain: (account.password, account.last_set) for chain, account in older.items() if account}
        for chain in RESTORED:
            _change(day, chain)
    began = clock.moment
    _outside(day, before)
    whole, wrong, logons = day.network.hash(), _wrong(day), day.network.logons.copy()
    due = [each for each in db.session.scalars(select(SyncChain.next_test_at)) if each]
    with day.spending("the day"):
        day.pass_until(began + DAY)
    return _told(day, began, due, whole, _wrong(day) - wrong, day.network.logons - logons)


def _change(day: Day, chain: int) -> None:
    """A change by the product, so that there is an older password to go back to."""
    run = sync.request_change(olivia(), entry_named(day.plan, chain), Secret(f"Newer-{chain:04}-value"))
    assert run is not None
    sync.execute(run.id, "bench", day.connect)


def _outside(day: Day, before: dict[int, tuple[str, float | None]]) -> None:
    """Right after the proofs: somebody sets passwords, snapshots are put back, machines are switched off."""
    for chain in CHANGED:
        day.clock.moment += timedelta(seconds=10)
        truth.set_password(day.network, day.machine(chain), ADMINISTRATOR, f"By-hand-{chain:04}-value")
    for chain in RESTORED:
        account = day.network.machine(day.machine(chain)).sam.find(ADMINISTRATOR)
        assert account is not None
        account.password, account.last_set = before[chain]
    for chain in OFF:
        day.network.set_fault(day.machine(chain), "off")


def _wrong(day: Day) -> Counter[str]:
    """Wrong logons by ``MACHINE\\user``, as each machine counts them."""
    return Counter(
        {
            f"{machine.name}\\{name.rpartition(chr(92))[2]}": count
            for machine in day.network.state.machines.values()
            for name, count in machine.bad_logons.items()
        }
    )


def _told(
    day: Day, began: datetime, due: list[datetime], whole: str, wrong: Counter[str], logons: Counter[str]
) -> dict[str, Any]:
    machines = {name: {day.machine(each) for each in chains} for name, chains in HAPPENED.items()}
    disturbed = set().union(*machines.values())
    links = {link.machine: link for link in day.links()}
    left = [link for name, link in links.items() if name not in disturbed]
    chains = {link.chain_id: link for link in left}
    touched = {links[name].chain_id for name in disturbed}
    quiet = [f"{link.machine}\\{ADMINISTRATOR}" for link in left]
    status = {row.id: row.status for row in db.session.execute(select(SyncChain.id, SyncChain.status))}
    incidents = set(db.session.scalars(select(Incident.chain_id)))
    asked, runs = _asked(began), _runs(began)
    return {
        "passwords": day.plan.passwords,
        "links": len(links),
        "over_the_wire": sum(day.plan.agent(each) == WIRED for each in range(day.plan.passwords)) * day.plan.links,
        "changed_found": _found(links, machines["changed"], status, incidents, {"refused"}, "out_of_sync"),
        "restored_found": _found(links, machines["restored"], status, incidents, {"refused", "unknown"}, "out_of_sync"),
        "off_pending": sum(
            links[name].state == "unreachable" and status[links[name].chain_id] == "pending_sync"
            for name in machines["off"]
        ),
        "proved_within_a_day": sum(
            link.state == "in_sync" and link.proved_at is not None and day.clock.moment - link.proved_at < DAY
            for link in left
        ),
        "unchanged": len(left),
        "in_sync": sum(status[chain_id] == "in_sync" for chain_id in chains if chain_id not in touched),
        "unchanged_chains": len(set(chains) - touched),
        "logons_unchanged": sum(logons[name] for name in quiet),
        "wrong_unchanged": sum(wrong.values()) - sum(wrong[f"{name}\\{ADMINISTRATOR}"] for name in disturbed),
        "wrong_most": max((wrong[f"{name}\\{ADMINISTRATOR}"] for name in disturbed), default=0),
        "incidents_others": len(incidents - {links[name].chain_id for name in disturbed - machines["off"]}),
        "asked_twice": sum(asked[link.id] != 1 for link in left),
        "tested_twice": sum(runs[chain_id] != 1 for chain_id in set(chains) - touched),
        "due_hours": _hours(due, began),
        "due_again": sum(
            each is not None and each > day.clock.moment for each in db.session.scalars(select(SyncChain.next_test_at))
        ),
        "written": day.network.hash() != whole,
        "violations": [str(each) for each in sync.check()],
        "cpu_s": day.busy,
    }


HAPPENED = {"changed": CHANGED, "restored": RESTORED, "off": OFF}


def _found(
    links: dict[str, SyncLink],
    machines: Iterable[str],
    status: dict[str, str],
    incidents: set[str | None],
    states: set[str],
    wanted: str,
) -> int:
    """How many stand in one of ``states``, with their password's status and an incident beside it."""
    return sum(
        links[name].state in states and status[links[name].chain_id] == wanted and links[name].chain_id in incidents
        for name in machines
    )


def _asked(since: datetime) -> Counter[str]:
    query = select(LinkAttempt.link_id, func.count()).where(LinkAttempt.intent_at > since).group_by(LinkAttempt.link_id)
    return Counter({row[0]: row[1] for row in db.session.execute(query)})


def _runs(since: datetime) -> Counter[str]:
    query = select(SyncRun.chain_id, func.count()).where(SyncRun.requested_at > since).group_by(SyncRun.chain_id)
    return Counter({row[0]: row[1] for row in db.session.execute(query)})


def _hours(due: list[datetime], began: datetime) -> dict[str, int]:
    """How many tests are due in each quarter of an hour after ``began``."""
    quarters = Counter(int((each - began).total_seconds() // 900) for each in due)
    return {f"{quarter / 4:.2f}": count for quarter, count in sorted(quarters.items())}
