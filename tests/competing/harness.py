"""Two processes at the same rows at the same moment, again and again.

Each round begins from the same rows. Both processes make everything ready, meet at a barrier, and do one thing each;
then the rows are judged. Nothing is simulated: two processes, two connections, the services as they are.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import BrokenBarrierError
from typing import Any

from pwserver.core.errors import PwserverError
from pwserver.extensions import db
from pwserver.sync.chain import FenceLost
from tests.sync import build
from tests.sync.build import Scene, Stage

MEET_SECONDS = 20
FORK = multiprocessing.get_context("fork")

Act = Callable[[], Any]
"""What is done at the barrier; what it returns is told to the judge as a word."""


@dataclass(frozen=True)
class Duel:
    """``sides``: what each process makes ready. ``judge``: what is wrong with the rows and the two words, or ""."""

    name: str
    sides: tuple[Callable[[Scene], Act], Callable[[Scene], Act]]
    judge: Callable[[Scene, tuple[str, str]], str]


def rounds(stage: Stage, duel: Duel, number: int) -> Generator[str]:
    """What was wrong in each of ``number`` rounds, "" mostly. Whoever has seen enough may stop."""
    with stage.app.app_context(), _opponents(stage, duel) as lines:
        try:
            for _ in range(number):
                scene = stage.restore()
                db.session.remove()
                for line in lines:
                    line.send("go")
                words = (_heard(lines[0]), _heard(lines[1]))
                wrong = next((word for word in words if word.startswith("broke")), "")
                yield wrong or duel.judge(scene, words)
                db.session.remove()
        finally:
            stage.restore()
            db.session.remove()
            db.engine.dispose()


def _heard(line: Connection) -> str:
    assert line.poll(MEET_SECONDS), "a process does not answer"
    return str(line.recv())


@contextmanager
def _opponents(stage: Stage, duel: Duel) -> Iterator[list[Connection]]:
    db.session.remove()
    db.engine.dispose()
    barrier = FORK.Barrier(2)
    lines, processes = [], []
    for side in duel.sides:
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=_live, args=(stage, side, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        lines.append(ours)
        processes.append(process)
    try:
        yield lines
    finally:
        for line in lines:
            with suppress(OSError):
                line.send("end")
            line.close()
        for process in processes:
            process.join(MEET_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()


def _live(stage: Stage, side: Callable[[Scene], Act], barrier: Any, line: Connection) -> None:
    """One of the two processes, with connections of its own."""
    with stage.app.app_context():
        db.engine.dispose(close=False)
        while line.recv() == "go":
            line.send(_strike(stage.scene, side, barrier))
            db.session.remove()


def _strike(scene: Scene, side: Callable[[Scene], Act], barrier: Any) -> str:
    try:
        act = side(scene)
        db.session.rollback()
        barrier.wait(MEET_SECONDS)
        return str(act())
    except (PwserverError, FenceLost) as error:
        return type(error).__name__
    except BrokenBarrierError:
        return "broke: the other one did not come"
    except Exception as error:
        barrier.abort()
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"broke: {type(error).__name__} {getattr(error, 'orig', error)} at {where.name}:{where.lineno}"


def keep(scene: Scene) -> Stage:
    """The stage whose every round begins as the rows are now."""
    template = build.rows_now()
    db.session.remove()
    return Stage(scene.app, template, scene)
