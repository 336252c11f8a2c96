"""On PostgreSQL an answer waits for the chains that a refused login stopped only where it may set them going again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.services import sync
from pwserver.services.sync import journal, tries
from tests.disasters.conftest import Play
from tests.postgres import Cluster
from tests.sync.build import Stage, make_stage, proved

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(120)]

ADM = "LAB-02\\lab-adm"


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, str]]:
    url = cluster.url(cluster.create())
    made = proved(make_stage(Path(tmp_path_factory.mktemp("stopped")), url=url))
    yield made, url
    with made.app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def play(stage: tuple[Stage, str]) -> Iterator[Play]:
    """*lab* is stopped on LAB-02: the password of *adm*, with which it is reached, was refused."""
    with stage[0].app.app_context():
        found = Play(stage[0].restore())
        found.advance(3600)
        found.world.outside(ADM, "by hand", clock_back=False)
        found.work(found.change("second"))
        assert (found.link("LAB-02").state, found.link("LAB-02").reason) == ("blocked", "linked_refused")
        found.pass_all()
        yield found
        db.session.remove()


@pytest.fixture
def others(stage: tuple[Stage, str], play: Play) -> Callable[[str], Any]:
    """Somebody has this password locked: a timer that refreshes it, an administrator whose agent is tested."""

    @contextmanager
    def held(name: str) -> Iterator[None]:
        with psycopg.connect(stage[1]) as line:
            line.execute("SELECT 1 FROM entry WHERE id = %s FOR NO KEY UPDATE", [play.scene.entries[name]])
            yield
            line.rollback()

    return held


def at_work(play: Play, run_id: str) -> Thread:
    """A worker at this run, in a thread of its own."""

    def work() -> None:
        with play.scene.app.app_context():
            play.work(run_id)

    db.session.remove()
    thread = Thread(target=work)
    thread.start()
    return thread


def asked(play: Play, name: str) -> str:
    return sync.request_test(play.olivia, play.entry(name)).id


def put_back(play: Play) -> None:
    """*adm* has the vault's password again, so that a test of it accepts what was refused."""
    play.world.outside(ADM, "first LAB-02\\lab-adm", clock_back=False)
    play.advance(3600)


def test_an_answer_that_has_to_do_with_no_refused_login_waits_for_nobody(
    play: Play, others: Callable[[str], Any]
) -> None:
    for ask in (lambda: asked(play, "desk"), lambda: play.change("another", "desk")):
        run_id = ask()
        with others("lab"):
            worker = at_work(play, run_id)
            worker.join(8)
            waits = worker.is_alive()
        worker.join()
        assert not waits
        assert play.run(run_id).state == "done"
        assert play.status("desk") in ("in_sync", "pending_sync")
    assert play.truth("LAB-03\\operator") == "another"
    assert play.link("LAB-02").state == "blocked"


def test_the_next_refusal_of_the_same_login_waits_for_nobody_either(play: Play, others: Callable[[str], Any]) -> None:
    """A person asks for a test of *adm*, whose password is still another one."""
    play.advance(3600)
    run_id = asked(play, "adm")
    with others("lab"):
        worker = at_work(play, run_id)
        worker.join(8)
        waits = worker.is_alive()
    worker.join()
    assert not waits
    assert play.link("LAB-02", "adm").state == "refused"


def test_an_answer_that_accepts_a_refused_login_waits_and_sets_going_what_it_stopped(
    play: Play, others: Callable[[str], Any]
) -> None:
    put_back(play)
    run_id = asked(play, "adm")
    with others("lab"):
        worker = at_work(play, run_id)
        worker.join(1.5)
        assert worker.is_alive()
    worker.join(20)
    assert play.link("LAB-02", "adm").state == "in_sync"
    assert play.link("LAB-02").state == "waiting", "it is due again by itself"
    play.settle()
    assert play.truth("LAB-02\\Administrator") == "second"


def test_a_refusal_written_just_before_an_acceptance_is_seen_with_the_locks_that_it_takes(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is committed after the first look and before the accounts are locked: the whole of it is done again,
    so that passwords are never locked after accounts."""
    put_back(play)
    looks: list[bool] = []
    locked: list[set[str]] = []
    at_requeue: list[set[str]] = []
    lab = play.chain().id

    def look(*args: Any) -> bool:
        first = True not in looks
        looks.append(tries.may_end_a_stop(*args))
        return looks[-1] and not first

    def lock(session: Any, run_id: str, *chain_ids: str) -> None:
        locked.append(set(chain_ids))
        password_of_run(session, run_id, *chain_ids)

    def requeue(*args: Any) -> None:
        at_requeue.extend(locked[-2:])
        requeue_waiting_for(*args)

    password_of_run, requeue_waiting_for = journal.locking.password_of_run, tries.requeue_waiting_for
    monkeypatch.setattr(journal, "may_end_a_stop", look)
    monkeypatch.setattr(journal.locking, "password_of_run", lock)
    monkeypatch.setattr(tries, "requeue_waiting_for", requeue)
    play.work(asked(play, "adm"))
    assert looks.count(True) == 3, "the first look missed it, the second saw it, and all was done again"
    assert at_requeue == [{lab}, set()], "what is set going was locked first, before the fence"
    assert play.link("LAB-02").state == "waiting"


def test_a_value_typed_by_a_person_still_sets_going_what_its_refusal_stopped(play: Play) -> None:
    play.advance(3600)
    sync.correct(play.olivia, play.entry("adm"), Secret("by hand"), [play.link("LAB-02", "adm").id])
    play.settle()
    assert play.link("LAB-02").state == "in_sync"
