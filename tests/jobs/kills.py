"""Real kill -9 while a machine is being written, of everything there is, each followed by the truth of the lab.

``python -m tests.jobs.kills`` prints one JSON object and exits 1 when something is wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import select

from pwserver import create_app, queueing, supervisor
from pwserver.config import Config
from pwserver.core.generator import Recipe, generate
from pwserver.core.states import Status
from pwserver.core.timing import FAST
from pwserver.extensions import db
from pwserver.lab import control
from pwserver.models import Entry, EntryVersion, LinkAttempt, SyncLink, SyncRun
from pwserver.services import sync, values
from pwserver.services.transaction import now
from pwserver.sync.settle import STAMP_MARGIN
from tests.jobs.test_supervisor import Running, children

VICTIMS = ("horse", "worker-now", "timer", "queue", "web", "jobs", "lab", "everything", "horse", "queue", "everything")
MACHINES = tuple(f"LAB-{number:02}" for number in range(1, 9))
ACCOUNT = "Administrator"
STUCK_SECONDS = 60


class Sweep:
    """One instance with demo data and the fast timing profile."""

    def __init__(self, folder: Path, spawn: Callable[..., subprocess.Popen[str]]) -> None:
        self.running = Running(spawn, folder)
        self.folder, self.process = folder, self.running.start("--demo")
        self.wait(lambda: self.running.is_up(), "everything is up", 90)
        self.app: Flask = create_app(Config(instance=folder, timing=FAST), pages=False)
        self.stuck: list[str] = []
        self.found = {"kills": 0, "open": 0, "lost": 0, "false_green": 0, "locked": 0, "stuck": 0, "without_outcome": 0}

    def wait(self, holds: Callable[[], object], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"did not happen: {what}"
            assert self.process.poll() is None, f"ended while waiting until {what}"
            time.sleep(0.02)

    def lab(self, verb: str, **args: Any) -> dict[str, Any]:
        return control.ask(self.folder / "lab" / control.SOCKET, verb, **args)

    def entry(self) -> Entry:
        db.session.rollback()
        return db.session.scalars(select(Entry).where(Entry.name == "Lab Administrator")).one()

    def settled(self) -> bool:
        entry = self.entry()
        chain = sync.chain_of(entry)
        assert chain is not None
        status, _ = sync.status_of(entry)
        return status == Status.IN_SYNC and sync.active_run(chain) is None

    def proofs_are_old(self) -> bool:
        """A write too soon after a proof cannot be told by the last-set stamp: the probe would cost a wrong logon."""
        chain = sync.chain_of(self.entry())
        assert chain is not None
        newest = max(link.proved_at for link in sync.active_links(chain) if link.proved_at)
        return now() - newest > STAMP_MARGIN + timedelta(seconds=1)

    def an_attempt_is_open(self, machine: str) -> bool:
        db.session.rollback()
        query = select(SyncLink.settings).join(LinkAttempt, LinkAttempt.link_id == SyncLink.id)
        return any(
            settings.get("machine") == machine
            for settings in db.session.scalars(query.where(LinkAttempt.outcome.is_(None)))
        )

    def kill(self, victim: str) -> None:
        if victim == "everything":
            self.process.kill()
            self.process.wait()
            self.process = self.running.start("--demo")
        elif victim == "horse":
            for pid in children(self.running.pids["worker-now"]):
                os.kill(pid, signal.SIGKILL)
        else:
            os.kill(self.running.pids[victim], signal.SIGKILL)

    def strike(self, victim: str) -> None:
        """Changes the password, kills ``victim`` while a machine is being written, and compares with the truth."""
        # Each time another machine, answering slowly: an account struck again and again would be over its budget.
        slow = MACHINES[1 + self.found["kills"] % (len(MACHINES) - 1)]
        with self.app.app_context():
            self.wait(self.proofs_are_old, "the last proof is older than a stamp's resolution", 30)
            self.lab("fault", machine=slow, word="slow:500")
            run = sync.request_change(None, self.entry(), generate(Recipe()))
            assert run is not None
            queueing.enqueue(run.id, "now")
            self.wait(lambda: self.an_attempt_is_open(slow), "an attempt is open", 30)
            self.found["open"] += self.an_attempt_is_open(slow)
            self.kill(victim)
            self.found["kills"] += 1
            self.wait(lambda: self.running.is_up() and self.running.pids.get("lab"), f"all is up after {victim}", 90)
            self.wait(lambda: self.lab_is_well(slow), "the lab answers", 30)
            try:
                self.wait(self.settled, f"In Sync after kill -9 of {victim}", STUCK_SECONDS)
            except AssertionError:
                self.found["stuck"] += 1
                self.stuck.append(f"after {victim}: {sync.status_of(self.entry())} {self.links()}")
            self.compare()

    def links(self) -> list[str]:
        chain = sync.chain_of(self.entry())
        assert chain is not None
        return [f"{link.state} {link.reason} {link.next_try_at}" for link in sync.active_links(chain)]

    def lab_is_well(self, slow: str) -> bool:
        """Ends the fault. A lab that is just ending may still answer once, so ours must be the one that is up."""
        try:
            self.lab("fault", machine=slow, word="none")
            return self.running.state().get("pid") == self.process.pid
        except control.LabAway:
            return False

    def holds(self, machine: str, value: str) -> bool:
        """Asks the truth; counts as no logon."""
        return bool(self.lab("holds", machine=machine, account=ACCOUNT, value=value)["holds"])

    def compare(self) -> None:
        entry = self.entry()
        green = sync.status_of(entry)[0] == Status.IN_SYNC
        versions = db.session.scalars(select(EntryVersion).where(EntryVersion.entry_id == entry.id)).all()
        newest = sorted(versions, key=lambda version: -version.number)[:4]
        known = [values.reveal(None, entry, version).open() for version in newest]
        current = values.reveal(None, entry).open()
        for machine in MACHINES:
            true = [
                value for value in known if self.lab("holds", machine=machine, account=ACCOUNT, value=value)["holds"]
            ]
            self.found["lost"] += not true
            self.found["false_green"] += green and current not in true
        db.session.rollback()
        open_runs = select(SyncRun.id).where(SyncRun.state == "running")
        loose = select(LinkAttempt.id).where(LinkAttempt.outcome.is_(None), LinkAttempt.run_id.not_in(open_runs))
        self.found["without_outcome"] += len(db.session.scalars(loose).all())
        db.session.rollback()

    def finish(self) -> dict[str, Any]:
        self.found["locked"] = json.dumps(self.lab("state")).count('"locked": true')
        wrong = self.lab("badlogons")
        with self.app.app_context():
            violations = [str(difference) for difference in sync.check()]
            db.session.remove()
            db.engine.dispose()
        self.process.terminate()
        self.process.wait(40)
        return self.found | {
            "wrong_logons": wrong["total"],
            "violations": violations,
            "stuck_at": self.stuck,
        }


def sweep(
    folder: Path, spawn: Callable[..., subprocess.Popen[str]], victims: tuple[str, ...] = VICTIMS
) -> dict[str, Any]:
    """Kills each victim once while an attempt is open; what was found, summed up."""
    made = Sweep(folder, spawn)
    try:
        with made.app.app_context():
            made.wait(made.settled, "the demo is In Sync", 90)
        for victim in victims:
            made.strike(victim)
        return made.finish()
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()


def good(found: dict[str, Any]) -> bool:
    zero = ("lost", "false_green", "locked", "stuck", "without_outcome")
    return not any(found[name] for name in zero) and not found["violations"]


def main() -> int:
    def spawn(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, *arguments], env=os.environ | env, cwd=supervisor.PROJECT, text=True)

    with tempfile.TemporaryDirectory() as folder:
        found = sweep(Path(folder) / "instance", spawn)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if good(found) else 1


if __name__ == "__main__":
    sys.exit(main())
