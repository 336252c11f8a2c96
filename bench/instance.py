"""A real instance in a folder of its own: supervisor, queue, workers, timer and web; and its lab, a process too."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import func
from sqlalchemy import select as sql

from bench.world import Plan, config_of, furnish, make_app
from pwserver import supervisor
from pwserver.config import PROJECT
from pwserver.extensions import db
from pwserver.lab import control, truth
from pwserver.lab.model.accounts import Policy
from pwserver.models import SyncRun
from pwserver.services.transaction import end_read
from tests.free_ports import free_port
from tests.jobs.test_supervisor import descendants

PROGRAMS = frozenset({"web", "jobs", "timer", "worker-now", "worker-later", "queue"})


def wait(holds: Callable[[], Any], what: str, seconds: float = 60, every: float = 0.05) -> Any:
    """Polls until it holds and returns what it said."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > end:
            raise TimeoutError(f"did not happen within {seconds:g} s: {what}")
        select.select([], [], [], every)
    return found


@dataclass
class Instance:
    """``app`` is this process's own view of its database; the work is done by the instance's processes."""

    folder: Path
    plan: Plan
    env: dict[str, str] = field(default_factory=dict)
    app: Flask | None = None
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    @property
    def instance(self) -> Path:
        return self.folder / "instance"

    def lab(self, verb: str, **args: Any) -> dict[str, Any]:
        return control.ask(self.folder / "lab" / control.SOCKET, verb, **args)

    def start(self) -> float:
        """Starts it and waits until it serves; returns the seconds that took."""
        self.port = free_port()
        own = {"PWSERVER_INSTANCE": str(self.instance), "PWSERVER_PORT": str(self.port), "PYTHONPATH": str(PROJECT)}
        env = {name: value for name, value in os.environ.items() if not name.startswith("PWSERVER_")} | own | self.env
        code = "import sys; from pwserver.supervisor import main; sys.exit(main([]))"
        began = time.monotonic()
        with (self.folder / "console.txt").open("ab") as console:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], env=env, cwd=PROJECT, stdout=console, stderr=console,
                start_new_session=True,
            )  # fmt: skip
        wait(self._serves, "the instance is up", every=0.01)
        return time.monotonic() - began

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "console.txt").read_text()
        pids = supervisor.running(self.instance).get("processes", {})
        return {name for name, pid in pids.items() if pid} >= PROGRAMS and supervisor.answers("127.0.0.1", self.port)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def pids(self) -> list[int]:
        return descendants(supervisor.running(self.instance)["pid"])

    def await_idle(self, seconds: float = 300, every: float = 0.05) -> None:
        """Until no run is left. To be called in the context of ``app``."""

        def idle() -> bool:
            end_read()
            left = db.session.scalar(sql(func.count()).where(SyncRun.state != "done"))
            end_read()
            return not left

        wait(idle, "every run has ended", seconds, every)


@contextmanager
def running(folder: Path, plan: Plan, **env: str) -> Iterator[Instance]:
    """An instance with the plan's chains, its first tests done, while the context lasts (that of its app, too)."""
    here = Instance(folder, plan, env)
    with _lab(folder, plan) as addresses:
        here.app = make_app(config_of(here.instance))
        with here.app.app_context():
            furnish(plan, addresses)
            end_read()
            try:
                here.start()
                here.await_idle()
                yield here
            finally:
                here.stop()
                db.session.remove()
                db.engine.dispose()


@contextmanager
def _lab(folder: Path, plan: Plan) -> Iterator[dict[str, Any]]:
    state = plan.network(time.time())
    for machine in state.machines.values():  # passwords change more often here than a day apart
        machine.sam.policy = Policy(**machine.sam.policy.model_dump() | {"min_age_s": 0, "history": 0})
    at = folder / "lab"
    at.mkdir(parents=True)
    truth.save(at / truth.FILE, state)
    command = [sys.executable, "-m", "pwserver.lab", "--folder", str(at)]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        assert said["ready"], said
        yield said["addresses"]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
