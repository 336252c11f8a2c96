"""The real thing in a folder of its own: supervisor, queue, workers, timer, web and lab; and the truth of that lab."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pwserver import supervisor
from pwserver.lab import control
from pwserver.sync import settle
from tests.e2e.needles import hits
from tests.jobs.test_supervisor import Running
from tests.story.browser import Browser, Page

if TYPE_CHECKING:
    from tests.story.chromium import Chromium

Spawn = Callable[..., "subprocess.Popen[str]"]
STAMP_S = settle.STAMP_MARGIN.total_seconds() + 1.5
"""Stamps nearer to each other than this may be taken for the same."""
TRACES = (b"Traceback (most recent", b"Internal Server Error", b"werkzeug", b"sqlalchemy", b"jinja2")
"""What a page shows only when something broke inside."""


def wait(holds: Callable[[], Any], what: str, seconds: float = 20, every: float = 0.1) -> Any:
    """Polls until it holds and returns what it said."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"did not happen within {seconds:g} s: {what}"
        select.select([], [], [], every)
    return found


class Lab:
    """The truth of the lab, asked as ``flask lab`` asks it; and what can be made wrong there."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def __call__(self, verb: str, **args: Any) -> dict[str, Any]:
        return control.ask(self._socket, verb, **args)

    def fault(self, machine: str, word: str) -> None:
        self("fault", machine=machine, word=word)

    def set_password(self, machine: str, account: str, value: str) -> None:
        """As somebody at its console; not within a stamp's resolution of what was set before, which hides it."""
        wait(lambda: time.time() - self._last_set(machine, account) > STAMP_S, "the last change is some time ago")
        self("set-password", machine=machine, account=account, value=value)

    def _last_set(self, machine: str, account: str) -> float:
        there = next(each for each in self("state")["machines"] if each["name"] == machine)
        last = next(each["last_set"] for each in there["accounts"] if each["name"] == account)
        return datetime.fromisoformat(last).timestamp()

    def holds(self, machine: str, value: str, account: str = "Administrator") -> bool:
        return bool(self("holds", machine=machine, account=account, value=value)["holds"])

    @property
    def hash(self) -> str:
        return str(self("hash")["hash"])

    @property
    def wrong(self) -> dict[str, int]:
        """``MACHINE: account`` → wrong logons counted there."""
        rows = self("badlogons")["accounts"]
        return {f"{row['machine']}: {row['account'].rpartition(chr(92))[2]}": row["count"] for row in rows}

    def counts(self) -> dict[str, tuple[int, int]]:
        """Machine → HTTP requests, NTLM authentications."""
        return {row["machine"]: (row["requests"], sum(row["ntlm"].values())) for row in self("requests")["machines"]}


class Instance:
    """One started demo and the person who sits before it."""

    def __init__(
        self,
        folder: Path,
        spawn: Spawn,
        sits_before: Callable[[str], Browser | Chromium] = Browser,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.running = Running(spawn, folder)
        self.running.env |= settings or {}
        self.folder, self.process = folder, self.running.start("--demo")
        self.lab = Lab(folder / "lab" / control.SOCKET)
        self.browser = sits_before(f"http://127.0.0.1:{self.running.port}")
        self.secrets: list[str] = []

    def await_up(self) -> None:
        def is_up() -> bool:
            assert self.process.poll() is None, "it ended at once"
            return self.running.is_up() and "@" in self.running.out.read_text()

        wait(is_up, "the demo is up", 90)

    def login(self, name: str) -> tuple[str, str]:
        """Email and password of a person of the demo, as the console prints them."""
        found = re.search(rf"({name}@\S+)\s+(\S+)", self.running.out.read_text())
        assert found, f"the console names no login of {name}"
        return found[1], found[2]

    def knows(self, *secrets: str) -> None:
        """From now on these are looked for in everything that comes back."""
        self.secrets += [each for each in secrets if each not in self.secrets]

    def look_through(self) -> None:
        """No secret and no trace of an error in anything that the browser got since the last time."""
        haystacks = {f"{number} {url}": body for number, (url, body) in enumerate(self.browser.seen)}
        self.browser.seen.clear()
        found = hits(haystacks, self.secrets)
        assert not found, f"a page shows a secret: {found[:3]}"
        broken = [url for url, body in haystacks.items() if any(trace in body for trace in TRACES)]
        assert not broken, f"a page shows an error from inside: {broken[:3]}"

    def logs_are_clean(self) -> None:
        for path in sorted((self.folder / "logs").glob("*")):
            data = path.read_bytes()
            assert not hits({path.name: data}, self.secrets), f"{path.name} has a secret"
            assert b"Traceback" not in data, f"{path.name}: {data[data.index(b'Traceback') :][:2000].decode()}"

    def flask(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "flask", *arguments, "--json"], cwd=supervisor.PROJECT, text=True,
            env=dict(self.running.env), capture_output=True, timeout=60,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def page_when(self, path: str, holds: Callable[[Page], Any], what: str, seconds: float = 25) -> Page:
        """Looks at a page until it says what is waited for. Chromium does not load it again: it must say so itself."""
        try:
            wait(lambda: holds(self.browser.stay(path)), what, seconds, every=0.15)
        except AssertionError as error:
            said = self.browser.page.at("sync") or self.browser.page.text
            raise AssertionError(f"{error}; it says: {said}") from None
        return self.browser.page

    def end(self) -> None:
        self.browser.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
