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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import select

from pwserver import create_app, queueing, supervisor
from pwserver.config import from_environment
from pwserver.core.generator import Recipe, generate
from pwserver.core.states import Status
from pwserver.extensions import db
from pwserver.lab import control, defaults
from pwserver.models import Entry, LinkAttempt, SyncChain, SyncLink, SyncRun
from pwserver.services import sync
from pwserver.services.transaction import now
from pwserver.sync.settle import STAMP_MARGIN
from tests.depth import deep
from tests.jobs.test_supervisor import Running, children
from tests.sync.sweep import openable

ALL = ("horse", "worker-now", "timer", "queue", "web", "jobs", "lab", "everything", "horse", "queue", "everything")
LEAST = {"web", "worker-now", "horse", "timer", "queue", "everything"}
VICTIMS = deep(("horse", "worker-now", "everything"), ALL)
"""Quick: the process that writes, the one that starts it again, and all at once; one for each kind of target."""
STUCK_SECONDS = 60


@dataclass(frozen=True)
class Aim:
    """A password to change, and the machine that answers slowly while somebody is killed."""

    entry: str
    machine: str


def aims() -> list[Aim]:
    """One for each victim. Passwords take turns, so that the proofs of the others grow old meanwhile; the machines of
    the laboratory too: an account that is struck again and again would be over its budget."""
    lab = cycle(Aim("Lab Administrator", f"LAB-{number:02}") for number in range(2, 9))
    turns = cycle([lab, cycle([Aim("svc-backup", "SRV-01")]), cycle([Aim("SW-01", "SW-01")])])
    return [next(turn) for turn in islice(turns, len(ALL))]


class Killing:
    """One instance with demo data and the fast timing profile."""

    def __init__(
        self, folder: Path, spawn: Callable[..., subprocess.Popen[str]], env: dict[str, str] | None = None
    ) -> None:
        self.running = Running(spawn, folder, env)
        self.folder, self.process = folder, self.running.start("--demo")
        self.wait(lambda: self.running.is_up(), "everything is up", 90)
        self.app: Flask = create_app(from_environment(self.running.env), pages=False)
        self.stuck: list[str] = []
        self.found = {"kills": 0, "open": 0, "lost": 0, "false_green": 0, "locked": 0, "stuck": 0, "without_outcome": 0}

    def wait(self, holds: Callable[[], object], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"did not happen: {what}; {self.console()}"
            assert self.process.poll() is None, f"ended while waiting until {what}; {self.console()}"
            time.sleep(0.02)

    def console(self) -> str:
        return f"the console says: {self.running.out.read_text()}"

    def lab(self, verb: str, **args: Any) -> dict[str, Any]:
        return control.ask(self.folder / "lab" / control.SOCKET, verb, **args)

    def entry(self, name: str) -> Entry:
        db.session.rollback()
        return db.session.scalars(select(Entry).where(Entry.name == name)).one()

    def settled(self) -> bool:
        """Every chain is In Sync and nothing runs or waits."""
        db.session.rollback()
        statuses = set(db.session.scalars(select(SyncChain.status)))
        active = db.session.scalar(select(SyncRun.id).where(SyncRun.state != "done").limit(1))
        return statuses == {Status.IN_SYNC} and active is None

    def proof_is_old(self, machine: str) -> bool:
        """A write too soon after a proof cannot be told by the last-set stamp: the probe would cost a wrong logon."""
        db.session.rollback()
        proofs = db.session.scalars(select(SyncLink.proved_at).where(SyncLink.machine == machine, SyncLink.is_account))
        return all(now() - proved > STAMP_MARGIN + timedelta(seconds=1) for proved in proofs.all() if proved)

    def an_attempt_is_open(self, machine: str) -> bool:
        db.session.rollback()
        query = select(LinkAttempt.id).join(SyncLink, SyncLink.id == LinkAttempt.link_id)
        return db.session.scalar(query.where(LinkAttempt.outcome.is_(None), SyncLink.machine == machine)) is not None

    def kill(self, victim: str) -> None:
        if victim == "everything":
            self.process.kill()
            self.process.wait()
            self.process = self.running.start("--demo")
        elif victim == "horse":
            for worker in self.processes("worker-now"):
                for pid in children(worker):
                    os.kill(pid, signal.SIGKILL)
        else:
            for pid in self.processes(victim):
                os.kill(pid, signal.SIGKILL)

    def processes(self, name: str) -> list[int]:
        """One, or all the workers of a queue."""
        return [pid for each, pid in self.running.pids.items() if each == name or each.startswith(f"{name}-")]

    def strike(self, victim: str, aim: Aim) -> None:
        """Changes the password, kills ``victim`` while a machine is being written, and compares with the truth."""
        slow = aim.machine
        with self.app.app_context():
            self.wait(lambda: self.proof_is_old(slow), "the last proof is older than a stamp's resolution", 30)
            self.lab("fault", machine=slow, word="slow:500")
            run = sync.request_change(None, self.entry(aim.entry), generate(Recipe()))
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
                self.stuck.append(f"after {victim}, {aim.entry}: {self.standing()}")
            self.compare()

    def standing(self) -> list[str]:
        """What is not settled: chains, runs, links."""
        db.session.rollback()
        chains = [f"{chain.entry.name} {chain.status}" for chain in db.session.scalars(select(SyncChain))]
        runs = [
            f"run {run.number} {run.kind} {run.state} due {run.due_at} lease {run.lease_until} nudged {run.nudged_at}"
            for run in db.session.scalars(select(SyncRun).where(SyncRun.state != "done"))
        ]
        rows = db.session.scalars(select(SyncLink).where(SyncLink.active))
        links = [
            f"{row.machine} {row.state} {row.reason} {row.next_try_at} proved {row.proved_at}"
            for row in rows
            if row.state != "in_sync"
        ]
        return [f"at {now()}", *chains, *runs, *links]

    def lab_is_well(self, slow: str) -> bool:
        """Ends the fault. A lab that is just ending may still answer once, so ours must be the one that is up."""
        try:
            self.lab("fault", machine=slow, word="none")
            return self.running.state().get("pid") == self.process.pid
        except control.LabAway:
            return False

    def holds(self, link: SyncLink, value: str) -> bool:
        """Asks the truth; counts as no logon."""
        settings = link.settings
        where = settings.get("user_name") or settings.get("path") or f"service:{settings['name']}"
        machine = defaults.CONTROLLER if link.kind == "domain" else link.machine
        return bool(self.lab("holds", machine=machine, account=where, value=value)["holds"])

    def compare(self) -> None:
        """Vault and truth, of every link of every chain."""
        db.session.rollback()
        for chain in db.session.scalars(select(SyncChain)).all():
            known, current = openable(chain.entry)
            for link in sync.active_links(chain):
                self.found["lost"] += link.is_account and not any(self.holds(link, value) for value in known)
                self.found["false_green"] += chain.status == Status.IN_SYNC and not self.holds(link, current)
        db.session.rollback()
        running = select(SyncRun.id).where(SyncRun.state == "running")
        loose = select(LinkAttempt.id).where(LinkAttempt.outcome.is_(None), LinkAttempt.run_id.not_in(running))
        self.found["without_outcome"] += len(db.session.scalars(loose).all())
        db.session.rollback()

    def locked(self) -> int:
        """By the lab's own count."""
        state = self.lab("state")
        return sum(each["locked"] for holder in state["machines"] + state["devices"] for each in holder["accounts"])

    def finish(self) -> dict[str, Any]:
        self.found["locked"] = self.locked()
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


def kill_all(folder: Path, spawn: Callable[..., subprocess.Popen[str]], victims: Sequence[str] = ALL) -> dict[str, Any]:
    """Kills each victim once while an attempt is open; what was found, summed up."""
    made = Killing(folder, spawn)
    return strike_all(made, victims)


def strike_all(made: Killing, victims: Sequence[str]) -> dict[str, Any]:
    try:
        with made.app.app_context():
            made.wait(made.settled, "the demo is In Sync", 90)
        for victim, aim in zip(victims, aims(), strict=False):
            made.strike(victim, aim)
        return made.finish()
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()


def good(found: dict[str, Any]) -> bool:
    zero = ("lost", "false_green", "locked", "stuck", "without_outcome")
    return found["open"] == found["kills"] and not any(found[name] for name in zero) and not found["violations"]


def spawn(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    """A Python process of ours that knows no setting but ``env``."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PWSERVER_")}
    return subprocess.Popen([sys.executable, *arguments], env=environ | env, cwd=supervisor.PROJECT, text=True)


def report() -> dict[str, Any]:
    """All kills, in an instance of their own."""
    with tempfile.TemporaryDirectory() as folder:
        return kill_all(Path(folder) / "instance", spawn)


if __name__ == "__main__":
    told = report()
    print(json.dumps(told))
    sys.exit(not good(told))
