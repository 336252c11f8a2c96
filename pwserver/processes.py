"""Child processes of the supervisor: started, watched, started again, ended. Nothing here knows what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from pwserver.orphans import die_with_parent

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
SETTLED = 20.0
"""Seconds of life after which a child's next death waits the shortest time again."""


@dataclass
class Child:
    """One process that shall run. ``env``: its whole environment, or ours when empty. ``grace``: seconds it may take to
    end after SIGTERM."""

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    grace: float = 5
    output: Path | None = None
    """Where its standard output goes; else to ours."""
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started_at: float = 0
    again_at: float = 0

    @property
    def pid(self) -> int:
        return self.process.pid if self.process and self.process.poll() is None else 0

    def start(self) -> None:
        """Starts it in a session of its own: Ctrl-C reaches the supervisor alone, and a group can be ended whole."""
        stream: IO[Any] | None = self.output.open("wb") if self.output else None
        try:
            self.process = subprocess.Popen(  # noqa: S603  # our own programs
                self.command,
                env=self.env or None,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  # the supervisor has one thread
            )
        finally:
            if stream:
                stream.close()
        self.started_at = time.monotonic()

    def watch(self) -> str:
        """Starts it again when it died, after a wait that doubles with every death. Returns words for a new death."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            status, self.process = self.process.returncode, None
            self.deaths = 1 if now - self.started_at > SETTLED else self.deaths + 1
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self.deaths - 1))
            self.again_at = now + wait
            how = f"signal {-status}" if status < 0 else f"status {status}"
            return f"{self.name} ended ({how}); it is started again in {wait:g} s"
        if self.process is None and now >= self.again_at:
            self.start()
        return ""

    def ask_to_end(self) -> None:
        if self.pid:
            self.process.terminate()  # type: ignore[union-attr]

    def kill(self) -> None:
        """Ends it and everything it started."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait()


def end_all(children: list[Child], hurry: Any) -> None:
    """Asks all to end and waits for each its grace; ``hurry()`` true: not any longer. What is left is killed."""
    began = time.monotonic()
    for child in children:
        child.ask_to_end()
    while any(child.pid and time.monotonic() - began < child.grace for child in children) and not hurry():
        time.sleep(0.02)
    for child in children:
        child.kill()
