"""The timer: what is due is nudged, whatever is away."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from jobs import schedule, sync, worker
from pwserver.services import timer, watch
from pwserver.services.mail import outbox

Spawn = Callable[..., "subprocess.Popen[str]"]


def test_every_due_run_is_nudged_into_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, ...]] = []
    monkeypatch.setattr(timer, "tick", lambda room: [("a", "now"), ("b", "later")][: room + 1])
    monkeypatch.setattr(schedule.queueing, "room", lambda: 1)
    monkeypatch.setattr(outbox, "due", lambda: [("c", "now")])
    monkeypatch.setattr(watch, "look", lambda: None)
    take = lambda run, queue, *job: given.append((run, queue, *job)) or queue == "now"  # noqa: E731
    monkeypatch.setattr(schedule.queueing, "enqueue", take)
    assert schedule.beat() == 1, "counts the runs that the queue took"
    assert given == [("a", "now"), ("b", "later"), ("c", "now", "jobs.mail.send")]


def test_a_database_that_is_away_does_not_end_the_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0

    def beat() -> int:
        nonlocal rounds
        rounds += 1
        if rounds > 2:
            os.kill(os.getpid(), signal.SIGTERM)
        raise OperationalError("SELECT 1", {}, Exception("database is locked"))

    class Pace:
        class timing:  # noqa: N801
            tick = 0.01

    app = Flask("timer")
    app.config["PWSERVER"] = Pace
    monkeypatch.setattr(schedule, "beat", beat)
    monkeypatch.setattr(watch, "begin", lambda: None)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert schedule.run(app) == 0
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert rounds == 3


def test_a_bug_in_a_run_leaves_no_words_in_the_queue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def execute(run_id: str, worker: str) -> bool:
        raise ValueError("Zebra-93kq")

    monkeypatch.setattr(worker, "application", lambda: Flask("worker"))
    monkeypatch.setattr("pwserver.services.sync.execute", execute)
    sync.run("run-1")
    assert "run run-1 ended by an error of ours: ValueError at test_schedule.py" in caplog.text
    assert "Zebra-93kq" not in caplog.text


def test_each_log_line_is_json_without_the_locals_of_a_traceback(spawn: Spawn, instance: Path) -> None:
    code = """
import logging, pathlib, sys
from pwserver.logging import configure
from pwserver.core.secrets import Secret
configure("probe", pathlib.Path(sys.argv[1]))
def fails(value):
    raise KeyError("gone")
try:
    fails(Secret("Zebra-93kq"))
except KeyError:
    logging.getLogger("x").exception("it failed %s", Secret("Zebra-93kq"))
"""
    assert spawn("-c", code, str(instance)).wait(20) == 0
    lines = (instance / "logs" / "probe.log").read_text()
    assert '"event": "it failed Secret(********)"' in lines
    assert '"exc_type": "KeyError"' in lines
    assert "Zebra-93kq" not in lines
    assert (instance / "logs").stat().st_mode & 0o077 == 0
