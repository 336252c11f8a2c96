"""A worker's fork does what waits in its queue, one run after the other, for a while."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from jobs import sync
from pwserver import queueing
from pwserver.core import stopping


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were passed over, of three in the queue ``later``."""
    waiting, passed = ["run-2", "run-3"], []
    monkeypatch.setattr(sync, "_pass", passed.append)
    monkeypatch.setattr(sync, "get_current_job", lambda: SimpleNamespace(origin="later"))
    monkeypatch.setattr(queueing, "take", lambda name: waiting.pop(0) if name == "later" and waiting else None)
    return passed


def test_what_waits_in_the_queue_is_done_by_the_same_fork(done: list[str]) -> None:
    sync.run("run-1")
    assert done == ["run-1", "run-2", "run-3"]


def test_a_fork_that_worked_long_enough_leaves_the_rest_to_the_next(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "GOES_ON_SECONDS", 0)
    sync.run("run-1")
    assert done == ["run-1"]


def test_a_worker_that_is_asked_to_end_begins_nothing_more(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "requested", lambda: True)
    sync.run("run-1")
    assert done == ["run-1"]


def test_outside_of_a_worker_one_run_is_one_run(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "get_current_job", lambda: None)
    sync.run("run-1")
    assert done == ["run-1"]
