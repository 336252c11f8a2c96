"""The sweep: workers and timer die at every commit, and at every call before and after the target applied it.

Nothing here names the points: a clean run of each :class:`Story` is filmed, every commit and every call it makes is a
boundary, and of each the database and the world are kept as a death there leaves them. From each of these time passes,
the timer ticks, workers work, people go on with the story; then the model network's truth is compared with the vault.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import func, select

from pwserver.connectors.base import Call, Credential
from pwserver.core.errors import PwserverError
from pwserver.core.secrets import Sealed, Secret, bound_to
from pwserver.core.states import Status
from pwserver.core.timing import FAST
from pwserver.extensions import db
from pwserver.models import Entry, EntryVersion, LinkAttempt, Override, SyncChain, SyncLink, SyncRun
from pwserver.services import sync, timer
from pwserver.services.keys import keyring
from pwserver.services.transaction import write
from pwserver.sync.chain import RunKind, Step
from pwserver.sync.ports import Journal, Method
from tests.sync import build
from tests.sync.build import Scene, Stage
from tests.sync.world import Lie, ModelConnect, ModelConnector, World

NEW = "value after the sweep"
STUCK_SECONDS = 60
"""By the model's clock, in the fast profile, after a death: by then nothing runs or waits any more."""
LOCKS_AT = 3
"""Wrong logons in a row. Stricter than any policy of the lab, and one more than a person may spend."""
QUICK = replace(FAST, retry=replace(FAST.retry, jitter=0))
READING = frozenset({"plan", "now", "reach", "release"})
"""What a journal does without a commit."""


# -- what happens


def proved(stage: Stage) -> Scene:
    """A scene whose accounts were all proved a while ago (longer than a last-set stamp's resolution)."""
    scene = stage.restore()
    work(scene)
    scene.world.advance(60)
    return scene


def work(scene: Scene) -> None:
    """One pass over every run that is not done, until the worker dies."""
    runs = db.session.scalars(select(SyncRun.id).where(SyncRun.state != "done").order_by(SyncRun.number)).all()
    db.session.rollback()
    for run_id in runs:
        sync.execute(run_id, "worker", scene.connect)


def converge(scene: Scene, *, seconds: float = STUCK_SECONDS, step: float = 1, eye: Eye | None = None) -> bool:
    """Time passes, the timer ticks, workers work: nothing else. Whether all came to an end in time."""
    until = scene.world.now.timestamp() + seconds
    while not final():
        if scene.world.now.timestamp() > until:
            return False
        timer.tick()
        work(scene)
        if eye:
            eye()
        scene.world.advance(step)
    return True


def final() -> bool:
    """Nothing runs or waits."""
    found = db.session.scalar(select(SyncRun.id).where(SyncRun.state != "done").limit(1))
    db.session.rollback()
    return found is None


# -- what people do


def request_change(scene: Scene) -> None:
    sync.request_change(scene.person(), scene.entry("lab"), Secret(NEW))


def approve_new(scene: Scene) -> None:
    """Somebody changed LAB-01 by hand; an owner approves a new password with typed credentials."""
    scene.world.outside("LAB-01\\Administrator", "by hand", clock_back=False)
    _approve(scene)


def approve_again_if_it_ended(scene: Scene) -> None:
    """An override makes one pass. When its worker died before Default Sync was set, the account still holds what was
    set by hand: nothing heals that by itself, and the owner approves once more."""
    if chain(scene).status == Status.OUT_OF_SYNC:
        _approve(scene)


def _approve(scene: Scene) -> None:
    links = [link.id for link in sync.active_links(chain(scene))]
    db.session.rollback()
    typed = {name: Credential("M\\adm", Secret("our login")) for name in ("lab-01", "lab-02")}
    form = sync.Approval(links, "new", "swept", new=Secret(NEW), credentials=typed)
    sync.approve(scene.person(), scene.entry("lab"), form)


def correct(scene: Scene) -> None:
    """Somebody changed LAB-01 by hand and tells the vault."""
    scene.world.outside("LAB-01\\Administrator", NEW, clock_back=False)
    scene.world.corrected.add(NEW)
    first = sync.active_links(chain(scene))[0].id
    sync.correct(scene.person(), scene.entry("lab"), Secret(NEW), [first])


def retest(scene: Scene) -> None:
    sync.retest(scene.person(), scene.entry("lab"))


def retest_if_asked(scene: Scene) -> None:
    """After an answer that could not tell, a person asks again."""
    if chain(scene).status != Status.IN_SYNC:
        retest(scene)


def ask_for_a_test(scene: Scene) -> None:
    sync.request_test(scene.person(), scene.entry("lab"))


def adopt(scene: Scene) -> None:
    places = [link.id for link in sync.active_links(chain(scene)) if not link.is_account]
    sync.adopt(scene.person(), scene.entry("lab"), places)


def change_and_restart(scene: Scene) -> None:
    """The service on LAB-01 runs, and its link says that it may be restarted."""
    scene.world.running.add("LAB-01\\imaging")
    with write() as session:
        link = session.scalars(select(SyncLink).where(SyncLink.kind == "windows_service")).one()
        link.settings = dict(link.settings) | {"restart": "service"}
    request_change(scene)


def chain(scene: Scene) -> SyncChain:
    found = sync.chain_of(scene.entry("lab"))
    assert found is not None
    return found


@dataclass(frozen=True)
class Story:
    """What people do, one after the other, each when the one before has come to an end; ``faults``: what the calls
    meet by themselves; ``spent``: wrong logons it may cost in all; ``new``: all places have the new value after it."""

    name: str
    acts: tuple[Callable[[Scene], None], ...]
    faults: tuple[str, ...] = ()
    spent: int = 0
    new: bool = True


STORIES = (
    Story("change", (request_change,)),
    Story("change, first answer lost", (request_change,), faults=("cut_after",)),
    Story("change, first request lost", (request_change,), faults=("cut_before",)),
    Story("change, first machine off", (request_change,), faults=("unreachable",)),
    Story("change and restart", (change_and_restart,)),
    Story("approve", (approve_new, approve_again_if_it_ended), spent=1),
    Story("correct and retest", (correct, retest)),
    Story("change, second answer lost", (request_change,), faults=("none", "cut_after")),
    Story("adopt and test", (adopt, ask_for_a_test), new=False),
)


# -- the points of a story


@dataclass(frozen=True)
class State:
    """What a death leaves: the database, the world, and which act of the story had begun."""

    database: build.Rows
    world: World
    act: int


class Film:
    """Watches a clean run. ``points``: where somebody may die, by number of the state that is left then; points between
    which nothing was committed or applied share one. ``commits`` and ``methods``: who commits, and what is called, in
    order; ``used``: all that the story used of the engine."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.points: dict[str, int] = {}
        self.states: list[State] = []
        self.commits: list[str] = []
        self.methods: list[str] = []
        self.used: set[str] = set()
        self._known: dict[str, int] = {}
        self._frame, self._act = -1, -1
        self._database = build.rows_now()

    def begin(self, act: int) -> None:
        """People have acted; what workers and timer do from now on is filmed."""
        self._act = act
        self._committed()
        self.scene.app.config["COMMIT_HOOK"] = self._commit

    def end(self) -> None:
        self.scene.app.config.pop("COMMIT_HOOK", None)

    def _committed(self) -> None:
        self._frame += 1
        self._database = build.rows_now()

    def _commit(self, at: str) -> None:
        """A commit is whole or nothing: whoever dies before its end leaves the database as it was before it."""
        if at == "after":
            self._committed()
            self.point(f"after commit {len(self.commits)}: {self.commits[-1]}")
        else:
            self.commits.append(_committing())
            self.point(f"before commit {len(self.commits)}: {self.commits[-1]}")

    def point(self, name: str, late: tuple[float, str, str] | None = None) -> None:
        """``late``: seconds, account and value of a write that the target applies after the death."""
        world = copy.deepcopy(self.scene.world)
        if late:
            world.fault()
            world.accounts[late[1]].sent.add(late[2])
            world.late.append((world.now + timedelta(seconds=late[0]), *late[1:]))
        left = f"{self._frame} {sorted((name, repr(what)) for name, what in vars(world).items())}"
        if left not in self._known:
            self._known[left] = len(self.states)
            self.states.append(State(self._database, world, self._act))
        self.points[name] = self._known[left]


def _committing() -> str:
    """Which of the journal's methods is committing; else the function of ours that is."""
    frame, found = sys._getframe(2), ""
    while frame := frame.f_back:  # type: ignore[assignment]
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
        if module == "pwserver.services.sync.journal":
            found = name.removeprefix("SqlJournal.")
        elif not found and module.startswith("pwserver.services"):
            found = name
    return found


class FilmedConnector(ModelConnector):
    """Every call the engine can make is a boundary before and after; a write may also be applied after a death."""

    film: Film

    def _filmed(self, method: str, call: Call, *values: Any, **named: Any) -> Any:
        film = self.film
        film.methods.append(method)
        number = f"call {len(film.methods)}: {method}"
        film.point(f"before {number}")
        if method in ("change", "reset"):
            film.point(f"late {number}", (call.ttl_s - 1, self.name, values[-1].open()))
        try:
            return getattr(super(), method)(call, *values, **named)
        finally:
            film.point(f"after {number}")


for _method in get_args(Method):
    setattr(FilmedConnector, _method, partialmethod(FilmedConnector._filmed, _method))


class FilmedConnect(ModelConnect):
    def __init__(self, film: Film) -> None:
        super().__init__(film.scene.world)
        self.film = film

    def __call__(self, *arguments: Any) -> ModelConnector:
        made = FilmedConnector(self.world, *arguments)
        made.film = self.film
        return made


@dataclass
class FilmedScene(Scene):
    film: Film | None = None

    def connect(self) -> ModelConnect:
        assert self.film is not None
        return FilmedConnect(self.film)


def film(stage: Stage, story: Story) -> Film:
    """Tells a story without a death. Raises AssertionError when it does not end well by itself."""
    scene = stage.restore()
    filmed = FilmedScene(**vars(scene))
    made = filmed.film = Film(filmed)
    scene.world.faults = deque(story.faults)
    try:
        verdict = tell(filmed, story, made)
    finally:
        made.end()
    assert not verdict.wrong, (story.name, verdict.wrong)
    steps, kinds = (set(db.session.scalars(select(each))) for each in (LinkAttempt.step, SyncRun.kind))
    db.session.rollback()
    made.used = {*made.commits, *made.methods, *steps, *kinds}
    return made


# -- what is wrong


COUNTS = ("lost", "false_green", "locked", "stuck", "without_outcome")


@dataclass
class Verdict:
    """By count, what is wrong in words; ``broken``: a guarantee that has no count of its own."""

    lost: set[str] = field(default_factory=set)
    false_green: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    without_outcome: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)

    @property
    def wrong(self) -> dict[str, list[str]]:
        return {name: sorted(words) for name, words in vars(self).items() if words}


class Eye:
    """Looks at truth and vault, again and again: what was ever wrong stays said."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.verdict = scene, Verdict()

    def __call__(self) -> None:
        """What may be wrong at no moment. A password changed by hand is excused until somebody has looked."""
        for entry in db.session.scalars(select(Entry).join(SyncChain, SyncChain.entry_id == Entry.id)):
            found = sync.chain_of(entry)
            assert found is not None
            known, current = openable(entry)
            for link in sync.active_links(found):
                name, value, by_hand = self._truth(link)
                if by_hand:
                    continue
                if link.is_account and value not in known:
                    self.verdict.lost.add(name)
                if found.status == Status.IN_SYNC and value != current:
                    self.verdict.false_green.add(name)
        for name, account in self.scene.world.accounts.items():
            if account.counted >= LOCKS_AT:
                self.verdict.locked.add(name)
        db.session.rollback()

    def _truth(self, link: SyncLink) -> tuple[str, str, bool]:
        world, settings = self.scene.world, link.settings
        if link.is_account:
            name = f"{link.machine}\\{settings['user_name']}"
            account = world.accounts[name]
            return name, account.value, account.foreign_at is not None
        name = f"{link.machine}\\{settings.get('path') or settings['name']}"
        place = world.places[name]
        return name, place.value, world.accounts[place.account].foreign_at is not None

    def at_the_end(self, story: Story) -> Verdict:
        """Everything, once all came to an end with every target up."""
        self()
        for found in db.session.scalars(select(SyncChain)):
            if found.status != Status.IN_SYNC:
                rows = [f"{link.machine} {link.state} {link.reason}" for link in sync.active_links(found)]
                self.verdict.stuck.add(f"{found.entry.name} is {found.status}: {rows}")
        opened = select(LinkAttempt.id).where(LinkAttempt.outcome.is_(None))
        self.verdict.without_outcome |= set(db.session.scalars(opened))
        self.verdict.broken |= {str(difference) for difference in sync.check()}
        if db.session.scalar(select(func.count()).select_from(Override)):
            self.verdict.broken.add("typed credentials are still there")
        world = self.scene.world
        spent = sum(len(account.bad) for account in world.accounts.values())
        if spent > story.spent:
            self.verdict.broken.add(f"{spent} wrong logons, {story.spent} allowed")
        if story.new:
            old = [name for name, account in world.accounts.items() if "Admin" in name and account.value != NEW]
            old += [name for name, place in world.places.items() if place.value != NEW]
            self.verdict.broken |= {f"{name} does not have the new value" for name in old}
        db.session.rollback()
        return self.verdict


def openable(entry: Entry) -> tuple[set[str], str]:
    """The values of an entry that really open, discarded ones left out; and the current one ("" if it does not)."""
    known, current = set(), ""
    versions = select(EntryVersion).where(EntryVersion.entry_id == entry.id, EntryVersion.stage != "discarded")
    for version in db.session.scalars(versions.execution_options(populate_existing=True)):
        try:
            value = keyring().open(Sealed(version.sealed), bound_to("entry_version", version.id, "sealed")).open()
        except PwserverError:
            continue
        known.add(value)
        current = value if version.stage == "current" else current
    return known, current


# -- the sweep


def tell(scene: Scene, story: Story, film: Film | None = None, *, begun: int = -1) -> Verdict:
    """Goes on with a story whose act ``begun`` was the last, and judges its end. What breaks a guarantee on the way
    ends it."""
    eye = Eye(scene)
    try:
        for number in range(begun if begun >= 0 else 0, len(story.acts)):
            if number != begun:
                story.acts[number](scene)
            if film:
                film.begin(number)
            if not converge(scene, eye=eye):
                eye.verdict.stuck.add(f"not final after {STUCK_SECONDS} s")
            if film:
                film.end()
        return eye.at_the_end(story)
    except (Lie, Exception) as error:
        db.session.rollback()
        eye.verdict.broken.add(f"{type(error).__name__}: {error}")
        return eye.verdict


def recover(stage: Stage, story: Story, state: State) -> Verdict:
    """Goes on from what a death left."""
    scene = Stage(stage.app, state.database, replace(stage.scene, world=state.world)).restore()
    return tell(scene, story, begun=state.act)


def needed() -> set[str]:
    """What the stories have to use between them: each kind of run, each step, each commit of the journal."""
    commits = {name for name in vars(Journal) if not name.startswith("_")} - READING
    return commits | set(get_args(Method)) | {str(kind) for kind in RunKind} | {str(step) for step in Step}


def stage_for(folder: Path, url: str = "") -> Stage:
    """The stage of the sweep: every link proved, in the fast profile. Its app's context has to be pushed to use it."""
    stage = build.proved(build.make_stage(folder, QUICK, url))
    stage.scene.world.advance(60)
    return stage


def missing(films: Iterable[Film]) -> list[str]:
    """What the engine can do and no story used."""
    return sorted(needed() - set[str]().union(*(film.used for film in films)))


def sweep_one(stage: Stage, story: Story, film: Film, *, every: int = 1) -> tuple[Counter[str], list[str]]:
    """All points of a story, or those of every n-th state that a death can leave. The counts, with ``boundaries``, and
    what is wrong in words."""
    found, words = Counter[str](), list[str]()
    verdicts = {state: recover(stage, story, film.states[state]) for state in range(0, len(film.states), every)}
    for point, state in film.points.items():
        if state not in verdicts:
            continue
        verdict = verdicts[state]
        found["boundaries"] += 1
        found.update({name: len(getattr(verdict, name)) for name in COUNTS})
        words += [f"{story.name}, {point}: {name}: {what}" for name, all_ in verdict.wrong.items() for what in all_]
    return found, words


def sweep(stage: Stage, stories: Sequence[Story] = STORIES) -> tuple[dict[str, int], list[str]]:
    """All stories, all points."""
    films = [film(stage, story) for story in stories]
    found, words = Counter[str](), [f"no story uses {each}" for each in missing(films)]
    for story, made in zip(stories, films, strict=True):
        counts, wrong = sweep_one(stage, story, made)
        found, words = found + counts, words + wrong
    return {name: found[name] for name in ("boundaries", *COUNTS)}, words


def report() -> tuple[dict[str, int], list[str]]:
    """The whole sweep in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        stage = stage_for(Path(folder))
        with stage.app.app_context():
            try:
                return sweep(stage)
            finally:
                db.session.remove()
