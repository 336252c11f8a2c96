"""The sweep: a worker dies at every commit of a run, the network fails at every call, and all ends well by itself.

The machine next door tries random orders; here every single point is tried, one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from pwserver.connectors.base import Credential
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Override, SyncRun
from pwserver.services import sync, timer
from tests.sync.build import Scene, Stage, make_stage
from tests.sync.world import FAULTS, Crash

NEW = "value after the sweep"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(Path(tmp_path_factory.mktemp("sweep")))


@pytest.fixture
def scene(stage: Stage) -> Iterator[Scene]:
    with stage.app.app_context():
        yield proved(stage)
        stage.app.config.pop("COMMIT_HOOK", None)
        db.session.remove()


def proved(stage: Stage) -> Scene:
    """A scene whose accounts were all proved a while ago (longer than a last-set stamp's resolution)."""
    scene = stage.restore()
    work(scene)
    scene.world.advance(60)
    return scene


def work(scene: Scene, *, die_at: int | None = None, where: str = "before") -> int:
    """One pass over every run that is not done; returns the commits it made. Dies at commit number ``die_at``."""
    made = 0

    def hook(at: str) -> None:
        nonlocal made
        if at != where:
            return
        if made == die_at:
            raise Crash
        made += 1

    runs = db.session.scalars(select(SyncRun.id).where(SyncRun.state != "done").order_by(SyncRun.number)).all()
    db.session.rollback()
    scene.app.config["COMMIT_HOOK"] = hook
    try:
        for run_id in runs:
            sync.execute(run_id, "worker", scene.connect)
    except Crash:
        db.session.rollback()
    finally:
        scene.app.config.pop("COMMIT_HOOK")
    return made


def converge(scene: Scene, case: object, rounds: int = 60) -> None:
    """Time passes, the timer ticks, workers work: nothing else. Ends when the chain is In Sync."""
    for _ in range(rounds):
        chain = sync.chain_of(scene.entry("lab"))
        assert chain is not None
        if chain.status == "in_sync" and sync.active_run(chain) is None:
            break
        db.session.rollback()
        scene.world.advance(20)
        timer.tick()
        work(scene)
    chain = sync.chain_of(scene.entry("lab"))
    assert chain is not None
    rows = [(link.machine, link.state, link.reason) for link in chain.links]
    assert (chain.status, chain.status_detail) == ("in_sync", ""), (case, rows)
    db.session.rollback()


def request_change(scene: Scene) -> None:
    sync.request_change(scene.person(), scene.entry("lab"), Secret(NEW))


def approve_new(scene: Scene) -> None:
    """Somebody changed LAB-01 by hand; an owner approves a new password with typed credentials."""
    scene.world.outside("LAB-01\\Administrator", "by hand", clock_back=False)
    links = [link.id for link in sync.active_links(sync.chain_of(scene.entry("lab")))]
    typed = {name: Credential("M\\adm", Secret("our login")) for name in ("lab-01", "lab-02")}
    sync.approve(
        scene.person(), scene.entry("lab"), sync.Approval(links, "new", "swept", new=Secret(NEW), credentials=typed)
    )


def correct(scene: Scene) -> None:
    """Somebody changed LAB-01 by hand and tells the vault; Retest then carries it to the others."""
    scene.world.outside("LAB-01\\Administrator", NEW, clock_back=False)
    scene.world.corrected.add(NEW)
    first = sync.active_links(sync.chain_of(scene.entry("lab")))[0].id
    sync.correct(scene.person(), scene.entry("lab"), Secret(NEW), [first])
    work(scene)
    sync.retest(scene.person(), scene.entry("lab"))


INSTRUCTIONS = (request_change, approve_new, correct)
Instruction = Callable[[Scene], None]


def assert_all_have_it(scene: Scene, spent: int = 0) -> None:
    truth = {name: account.value for name, account in scene.world.accounts.items() if "Administrator" in name}
    assert set(truth.values()) == {NEW}, truth
    assert {place.value for place in scene.world.places.values()} == {NEW}
    wrong = {name: account.bad for name, account in scene.world.accounts.items() if account.bad}
    assert sum(len(tries) for tries in wrong.values()) <= spent, wrong
    assert db.session.scalars(select(Override)).first() is None
    assert sync.check() == []
    db.session.rollback()


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.timeout(300)
def test_a_worker_that_dies_at_any_commit_leaves_nothing_that_does_not_heal(
    stage: Stage, scene: Scene, instruction: Instruction, where: str
) -> None:
    instruction(scene)
    commits = work(scene, where=where)
    assert commits >= 8
    for die_at in range(commits):
        fresh = proved(stage)
        instruction(fresh)
        work(fresh, die_at=die_at, where=where)
        if instruction is approve_new:
            _approve_again_if_it_ended(fresh)
        converge(fresh, die_at)
        assert_all_have_it(fresh, spent=1 if instruction is approve_new else 0)


def _approve_again_if_it_ended(scene: Scene) -> None:
    """An override makes one pass. When its worker died before Default Sync was set, the account still holds what was
    set by hand: nothing heals that by itself, and the owner approves once more."""
    for _ in range(8):
        scene.world.advance(30)
        timer.tick()
        work(scene)
    chain = sync.chain_of(scene.entry("lab"))
    assert chain is not None
    if sync.active_run(chain) is None and chain.status == "out_of_sync":
        links = [link.id for link in sync.active_links(chain)]
        db.session.rollback()
        typed = {name: Credential("M\\adm", Secret("our login")) for name in ("lab-01", "lab-02")}
        form = sync.Approval(links, "new", "once more", new=Secret(NEW), credentials=typed)
        sync.approve(scene.person(), scene.entry("lab"), form)


SELF_HEALING = [fault for fault in FAULTS if fault not in ("none", "policy", "login", "bug")]


@pytest.mark.parametrize("fault", SELF_HEALING)
@pytest.mark.timeout(300)
def test_a_call_that_fails_at_any_link_heals_by_itself(stage: Stage, scene: Scene, fault: str) -> None:
    calls = scene.world.calls
    request_change(scene)
    work(scene)
    calls = scene.world.calls - calls
    assert calls == 4
    for at in range(calls):
        fresh = proved(stage)
        request_change(fresh)
        fresh.world.faults = deque(["none"] * at + [fault])
        work(fresh)
        fresh.world.faults.clear()
        if fault == "cannot_tell":
            fresh.world.advance(60)
            sync.retest(fresh.person(), fresh.entry("lab"))
        converge(fresh, at)
        assert_all_have_it(fresh)
