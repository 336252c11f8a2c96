"""One scene per test: real services over a real database (in memory), a model network, a clock that stands.

``play`` starts with every link proved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pwserver.connectors.base import Call, Credential, Evidence, Refused
from pwserver.core.secrets import Sealed, Secret, bound_to
from pwserver.extensions import db
from pwserver.models import (
    AccountTry,
    Entry,
    EntryVersion,
    LinkAttempt,
    LinkMaybe,
    Override,
    SyncAgent,
    SyncChain,
    SyncLink,
    SyncRun,
)
from pwserver.services import sync, timer
from pwserver.services.agents import refresh_chains
from pwserver.services.keys import keyring
from pwserver.services.sync.reach import Place
from pwserver.services.transaction import write
from pwserver.sync.chain import FenceLost
from tests.sync.build import Scene, Stage, make_stage
from tests.sync.world import Crash, ModelConnect, ModelConnector, World

DEAD = 100
"""Seconds after which a worker that was in a call is dead, its lease over and its script's time to live too."""


@dataclass
class Sent:
    """One remote call as it arrived."""

    method: str
    place: str
    version: str | None
    login: str | None
    linked: str | None
    call: Call


class Watched(ModelConnector):
    """Tells the play of every call, and lets it do something in the middle of one."""

    play: Play

    def _told(self, method: str, call: Call, value: Secret | None) -> None:
        opened = [each and each.secret.open() for each in (self.login, self.linked)]
        self.play.sent.append(Sent(method, self.name, value and value.open(), *opened, call))

    def _around(self, method: str, call: Call, value: Secret | None, go: Callable[[], Evidence]) -> Evidence:
        self._told(method, call, value)
        for act in self.play.take(method, self.name, "before"):
            act()
        evidence = go()
        for act in self.play.take(method, self.name, "after"):
            act()
        return evidence

    def read(self, call: Call) -> Evidence:
        return self._around("read", call, None, lambda: super(Watched, self).read(call))

    def verify(self, call: Call, value: Secret) -> Evidence:
        return self._around("verify", call, value, lambda: super(Watched, self).verify(call, value))

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        return self._around("change", call, new, lambda: super(Watched, self).change(call, old, new))

    def reset(self, call: Call, new: Secret) -> Evidence:
        return self._around("reset", call, new, lambda: super(Watched, self).reset(call, new))

    def write(self, call: Call, value: Secret) -> Evidence:
        return self._around("write", call, value, lambda: super(Watched, self).write(call, value))

    def restart(self, call: Call) -> Evidence:
        return self._around("restart", call, None, lambda: super(Watched, self).restart(call))


class WatchedConnect(ModelConnect):
    def __init__(self, world: World, play: Play) -> None:
        super().__init__(world)
        self.play = play

    def __call__(self, place: Place, login: Credential | None, linked: Credential | None) -> Watched:
        made = Watched(self.world, place, login, linked)
        made.play = self.play
        return made


@dataclass
class Play:
    """What a test says: who does what, what breaks when, what is true afterwards."""

    scene: Scene
    sent: list[Sent] = field(default_factory=list)
    _acts: list[tuple[str, str, str, Callable[[], Any]]] = field(default_factory=list)
    commits: int = 0
    known_differences: set[str] = field(default_factory=set)

    @property
    def world(self) -> World:
        return self.scene.world

    # -- people

    def entry(self, name: str = "lab") -> Entry:
        return self.scene.entry(name)

    @property
    def olivia(self) -> Any:
        return self.scene.person()

    def change(self, value: str, name: str = "lab") -> str:
        run = sync.request_change(self.olivia, self.entry(name), Secret(value))
        assert run is not None
        return run.id

    def correct(self, value: str, *machines: str, name: str = "lab") -> str:
        self.world.corrected.add(value)
        run = sync.correct(
            self.olivia, self.entry(name), Secret(value), [self.link(each, name).id for each in machines]
        )
        assert run is not None
        return run.id

    def approve(
        self, *machines: str, value: str = "keep", new: str = "", typed: str | None = None, name: str = "lab"
    ) -> str:
        links = [self.link(each, name) for each in machines]
        credentials = {}
        if typed is not None:
            credentials = {link.machine.casefold(): Credential("M\\adm", Secret(typed)) for link in links}
        form = sync.Approval(
            [link.id for link in links], value, "2 a.m.", new=Secret(new) if new else None, credentials=credentials
        )
        return sync.approve(self.olivia, self.entry(name), form).id

    def login_is(self, value: str) -> None:
        """What M's account really has."""
        self.world.outside("M\\adm", value, clock_back=False)

    # -- what happens

    def fault(self, *faults: str) -> None:
        self.world.faults = deque(faults)

    def during(self, method: str, act: Callable[[], Any], *, place: str = "", when: str = "before") -> None:
        """Does ``act`` once, in the middle of the next such call."""
        self._acts.append((method, place, when, act))

    def take(self, method: str, place: str, when: str) -> list[Callable[[], Any]]:
        due = [each for each in self._acts if each[0] == method and each[1] in ("", place) and each[2] == when]
        for each in due:
            self._acts.remove(each)
        return [each[3] for each in due]

    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    def work(self, run_id: str, *, worker: str = "worker", crash: tuple[int, str] | None = None) -> bool:
        """One pass. ``crash``: (n, before or after): dies at the n-th commit. True: it was taken."""
        self.commits = 0

        def hook(where: str) -> None:
            if where == "before":
                self.commits += 1
            if crash and (self.commits - 1, where) == crash:
                raise Crash

        config = self.scene.app.config
        outer = config.get("COMMIT_HOOK")
        config["COMMIT_HOOK"] = hook
        try:
            return sync.execute(run_id, worker, lambda: WatchedConnect(self.world, self))
        except (Crash, FenceLost):
            db.session.rollback()
            return False
        finally:
            config["COMMIT_HOOK"] = outer
            if outer is None:
                config.pop("COMMIT_HOOK")

    def tick(self) -> list[tuple[str, str]]:
        return timer.tick()

    def open_runs(self) -> list[str]:
        found = db.session.scalars(select(SyncRun.id).where(SyncRun.state != "done").order_by(SyncRun.number)).all()
        db.session.rollback()
        return list(found)

    def pass_all(self) -> None:
        """What is due is worked once."""
        for run_id in self.open_runs():
            self.work(run_id)

    def settle(self, hours: float = 1, step: float = 45) -> None:
        """Workers and timer go on for a while with a network that works."""
        self.world.faults.clear()
        for _ in range(int(hours * 3600 / step)):
            if not self.open_runs():
                return
            self.tick()
            self.pass_all()
            self.advance(step)

    # -- what is true

    @property
    def session(self) -> Any:
        return db.session

    @property
    def dead_wait(self) -> timedelta:
        return timedelta(seconds=self.scene.app.config["PWSERVER"].timing.dead_wait)

    def chain(self, name: str = "lab") -> SyncChain:
        found = db.session.scalar(
            select(SyncChain).filter_by(entry_id=self.scene.entries[name]).execution_options(populate_existing=True)
        )
        assert found is not None
        return found

    def link(self, machine: str, name: str = "lab", *, place: bool = False) -> SyncLink:
        chain = self.chain(name)
        return db.session.scalars(
            select(SyncLink)
            .where(
                SyncLink.chain_id == chain.id, SyncLink.machine == machine, SyncLink.active,
                SyncLink.is_account.is_not(place),
            )
            .execution_options(populate_existing=True)
        ).one()  # fmt: skip

    def run(self, run_id: str) -> SyncRun:
        return db.session.get_one(SyncRun, run_id, populate_existing=True)

    def attempts(self, link: SyncLink) -> list[LinkAttempt]:
        return list(
            db.session.scalars(
                select(LinkAttempt)
                .where(LinkAttempt.link_id == link.id)
                .order_by(LinkAttempt.intent_at, LinkAttempt.n)
                .execution_options(populate_existing=True)
            )
        )

    def maybe(self, link: SyncLink) -> list[str]:
        rows = db.session.scalars(select(LinkMaybe.version_id).where(LinkMaybe.link_id == link.id)).all()
        return sorted(self.value(each) or "" for each in rows)

    def value(self, version_id: str | None) -> str | None:
        if version_id is None:
            return None
        sealed = db.session.get_one(EntryVersion, version_id).sealed
        return keyring().open(Sealed(sealed), bound_to("entry_version", version_id, "sealed")).open()

    def stages(self, name: str = "lab") -> dict[str, list[str]]:
        """Stage → its values, oldest first."""
        found: dict[str, list[str]] = {}
        rows = db.session.execute(
            select(EntryVersion.stage, EntryVersion.id)
            .where(EntryVersion.entry_id == self.scene.entries[name])
            .order_by(EntryVersion.number)
        ).all()
        for stage, version_id in rows:
            found.setdefault(stage, []).append(self.value(version_id) or "")
        return found

    def current(self, name: str = "lab") -> str:
        return self.stages(name)["current"][0]

    def pending(self, name: str = "lab") -> str | None:
        return next(iter(self.stages(name).get("pending", [])), None)

    def truth(self, account: str) -> str:
        return self.world.accounts[account].value

    def wrong_logons(self, account: str) -> int:
        return len(self.world.accounts[account].bad)

    def tries(self, key: str) -> int:
        return len(db.session.scalars(select(AccountTry.attempt_id).where(AccountTry.key == key)).all())

    def status(self, name: str = "lab") -> str:
        return self.chain(name).status

    def overrides(self) -> int:
        return len(db.session.scalars(select(Override.run_id)).all())

    def agent(self, **values: Any) -> SyncAgent:
        with write() as session:
            agent = session.scalars(select(SyncAgent).where(SyncAgent.transport == "winrm")).one()
            for name, value in values.items():
                setattr(agent, name, value)
            session.flush()
            refresh_chains(session, agent)
        return agent

    def writes(self) -> list[Sent]:
        return [each for each in self.sent if each.method in ("change", "reset", "write")]


FIRST = "first LAB-01\\Administrator"
OTHER = "LAB-02\\Administrator"
PRIMARY = "LAB-01\\Administrator"


@pytest.fixture(scope="session")
def stage(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(Path(tmp_path_factory.mktemp("disasters")), url=new_database())


@pytest.fixture(scope="session")
def proved_stage(stage: Stage) -> Stage:
    return stage.after(prove_all)


@pytest.fixture(scope="session")
def synced_stage(proved_stage: Stage) -> Stage:
    return proved_stage.after(change_all)


def prove_all(scene: Scene) -> None:
    play = Play(scene)
    play.pass_all()
    play.advance(60)


def change_all(scene: Scene) -> None:
    play = Play(scene)
    run = play.change("second")
    play.work(run)
    assert play.run(run).result == "done", [link.state for link in sync.active_links(play.chain())]
    play.advance(3600)


def counted_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAB-02 counts so many wrong logons that a change is not tried."""
    kept = ModelConnector._write_account

    def write_account(self: ModelConnector, call: Call, new: Secret, old: Secret | None) -> Evidence:
        if self.name == OTHER:
            self._enter(call)
            text = "4 of 5 wrong logons are counted there; Windows does not tell since when."
            raise Refused("would_lock", text=text, safe_in=timedelta(seconds=1800), evidence=self._facts())
        return kept(self, call, new, old)

    monkeypatch.setattr(ModelConnector, "_write_account", write_account)


def playing(stage: Stage) -> Iterator[Play]:
    with stage.app.app_context():
        yield Play(stage.restore())
        stage.app.config.pop("COMMIT_HOOK", None)
        db.session.remove()


@pytest.fixture
def untouched(stage: Stage) -> Iterator[Play]:
    """The scene before anything was tested."""
    yield from playing(stage)


@pytest.fixture
def play(proved_stage: Stage) -> Iterator[Play]:
    """Every link proved, and everything in sync but the places, which are written by the first change."""
    yield from playing(proved_stage)


@pytest.fixture
def synced(synced_stage: Stage) -> Iterator[Play]:
    """After one clean change: all places hold *second*."""
    yield from playing(synced_stage)
