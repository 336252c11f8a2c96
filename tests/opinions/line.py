"""A child process that answers each line with one line of JSON, with a deadline for each."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ANSWER_S = 90


class NoAnswer(RuntimeError):
    """The process ended, raised an error, or did not answer in time."""


class Line:
    """Starts the process; ``calls`` counts what it was asked."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.calls = 0
        self._rest = b""
        self._errors = folder / "errors"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # a server that ends may signal its whole group, which must not be ours
            )

    def ask(self, question: str) -> Any:
        """What it answers to one line. Raise NoAnswer."""
        self.calls += 1
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(question.encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise NoAnswer(self._why("it ended")) from error
        reply = self.next()
        if "raised" in reply:
            raise NoAnswer(str(reply["raised"]))
        return reply["answer"]

    def next(self) -> dict[str, Any]:
        """The next line of JSON that it writes; other lines are passed over. Raise NoAnswer."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                if line.startswith(b"{"):
                    return dict(json.loads(line))
                continue
            assert self.process.stdout is not None
            if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise NoAnswer(self._why(f"no answer in {ANSWER_S} s"))
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise NoAnswer(self._why("it ended"))
            self._rest += more

    def _why(self, text: str) -> str:
        return f"{text}: {self._errors.read_text(errors='replace')[-1500:]}"

    def end(self) -> None:
        """Close its input and wait; kill it when it does not end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait(20)
        self.process.stdout.close()
