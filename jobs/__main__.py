"""All jobs of one instance: ``python -m jobs``. Loads the application once, then forks the timer and the workers.

They share what was loaded (a third of the memory), and one that was killed is back at once. Nothing of the database is
shared: each fork forgets the connections it inherited.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs import schedule, worker
from pwserver import queueing
from pwserver.config import from_environment
from pwserver.logging import configure
from pwserver.orphans import die_with_parent

log = logging.getLogger(__name__)

STATE = "jobs.json"
GRACE_SECONDS = worker.STOP_SECONDS + 1
FIRST_WAIT, LONGEST_WAIT, SETTLED = 0.2, 30.0, 20.0


@dataclass
class Fork:
    """One process that shall run: a name and what it does until it is told to end."""

    name: str
    work: Callable[[], int]
    pid: int = 0
    deaths: int = 0
    started_at: float = 0
    again_at: float = 0

    def start(self) -> None:
        parent = os.getpid()
        self.pid, self.started_at = os.fork(), time.monotonic()
        if self.pid == 0:
            os._exit(self._live(parent))

    def _live(self, parent: int) -> int:
        """In the fork; returns its exit status. Never lets the parent's code run on in here."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            die_with_parent(parent)
            configure(self.name, from_environment().instance)
            worker.forget_connections()
            return self.work()
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else 1
        except BaseException:
            log.exception("%s ended by an error of ours", self.name)
            return 1

    def died(self, status: int) -> None:
        now, self.pid = time.monotonic(), 0
        self.deaths = 1 if now - self.started_at > SETTLED else self.deaths + 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self.deaths - 1))
        self.again_at = now + wait
        log.warning("%s ended (%s); it is started again in %g s", self.name, _how(status), wait)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"status {code}"


def forks() -> list[Fork]:
    """The timer, and as many workers per queue as asked for."""
    found = [Fork("timer", lambda: schedule.run(worker.application()))]
    for queue, count in queueing.workers().items():
        for number in range(1, count + 1):
            name = f"worker-{queue}" if number == 1 else f"worker-{queue}-{number}"
            found.append(Fork(name, lambda queue=queue: worker.work(queue)))  # type: ignore[misc]
    return found


class Crew:
    """The forks of this process. ``stops``: how often it was told to end; the second time it waits for nothing."""

    def __init__(self, crew: list[Fork], state: Path) -> None:
        self.crew, self.state, self.stops = crew, state, 0

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while not self.stops:
            self._reap()
            started = [fork for fork in self.crew if not fork.pid and time.monotonic() >= fork.again_at]
            for fork in started:
                fork.start()
            if started:
                self._tell()
            time.sleep(0.1)
        return self._end()

    def _stop(self, *_: object) -> None:
        self.stops += 1

    def _reap(self, tell: bool = True) -> None:
        for fork in self.crew:
            if fork.pid:
                pid, status = os.waitpid(fork.pid, os.WNOHANG)
                if pid and tell:
                    fork.died(status)
                elif pid:
                    fork.pid = 0

    def _tell(self) -> None:
        beside = self.state.with_name(f".{STATE}")
        beside.write_text(json.dumps({fork.name: fork.pid for fork in self.crew}) + "\n")
        beside.replace(self.state)

    def _end(self) -> int:
        """Workers finish the link in hand. What is left after that is killed."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS
        while any(fork.pid for fork in self.crew) and time.monotonic() < end and self.stops < 2:
            self._reap(tell=False)
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        for fork in self.crew:
            if fork.pid:
                os.waitpid(fork.pid, 0)
        self.state.unlink(missing_ok=True)
        return 0

    def _signal(self, number: signal.Signals) -> None:
        for fork in self.crew:
            if fork.pid:
                os.kill(fork.pid, number)


def main() -> int:
    instance = from_environment().instance
    configure("jobs", instance)
    worker.application()
    worker.preload()
    gc.collect()
    gc.freeze()  # pages with nothing but living objects stay shared
    return Crew(forks(), instance / STATE).run()


if __name__ == "__main__":
    sys.exit(main())
