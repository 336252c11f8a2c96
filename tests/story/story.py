"""What every step of the story knows: the running instance, the machines of the chain, and how to read its page."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Error

from pwserver.lab import defaults, truth
from pwserver.services import demo
from tests.story.browser import Node, Page
from tests.story.chromium import Chromium
from tests.story.instance import Instance, Spawn
from tests.story.receiver import Receiver

OTHERS = ("LAB-02", "LAB-06", "LAB-07", "LAB-08", "LAB-10")
"""Somebody set another password there."""
OFF = ("LAB-03", "LAB-04")
RENAMED, CALLED = "LAB-09", "LAB-19"
CONTROLLER = defaults.CONTROLLER
ADDED = (RENAMED, "LAB-10", CONTROLLER)
MACHINES = (defaults.AGENT, *demo.LINKED, *ADDED[:-1])
"""Those that shall have one password in the end, in the order of the chain."""
ENTRY = "Lab Administrator"


def initial(label: str) -> str:
    return defaults.password(truth.DEFAULT_SEED, label)


class Story:
    """The walk: what the vault's password is now, and the page of the chain."""

    def __init__(self, folder: Path, spawn: Spawn) -> None:
        self.mail = Receiver()
        self.instance = Instance(folder, spawn, Chromium, self.mail.settings)
        self.browser, self.lab = self.instance.browser, self.instance.lab
        self.path = self.vault = ""
        self.value = initial("lab")
        self.outside = {machine: f"Set-by-hand/{number}#{machine}" for number, machine in enumerate(OTHERS)}
        self.measured: dict[str, Any] = {}
        self.instance.knows(self.value, *self.outside.values())
        labels = (defaults.LOGIN, "lab-adm", "svc-backup", "corp-backup", "admin", "psrv")
        self.instance.knows(*(initial(label) for label in labels))

    def end(self) -> None:
        self.instance.end()
        self.mail.stop()

    @property
    def chain(self) -> str:
        return f"{self.path}/synchronization"

    def sign_in_here(self, name: str) -> None:
        email, password = self.instance.login(name)
        self.instance.knows(password)
        self.browser.press("Sign in", {"email": email, "password": password})

    def sign_in_as(self, name: str) -> None:
        self.browser.forget()
        self.browser.get("/sign-in")
        self.sign_in_here(name)

    def open_chain(self) -> Page:
        return self.browser.get(self.chain)

    def at_rest(self) -> Page:
        """The page of the chain while no run walks over it: what may be edited is there."""
        return self.instance.page_when(
            self.chain,
            lambda page: (
                page.can_press("Test now") and ("Cancel this run" not in page.text or "testing, waiting" in page.text)
            ),
            "no run is queued or running",
        )

    def node(self, machine: str, who: str = "") -> Node:
        """The row of a machine in the chain, on the page that is open."""
        rows = self.browser.page.root.find("li", class_="pw-link")
        found = [row for row in rows if row.find("h3")[0].text.startswith(f"{machine} {who}")]
        assert found, f"the chain has no row of {machine} {who}; it says: {self.browser.page.at('sync')}"
        return found[0]

    def row(self, machine: str, who: str = "") -> str:
        """What the chain says of a machine: in its row, and in the issue above, where its words stand once."""
        issues = self.browser.page.root.find("div", class_="pw-issue-row")
        above = [each.text for each in issues if each.find("h3") and each.find("h3")[0].text.startswith(machine)]
        return " ".join([self.node(machine, who).text, *above])

    def says(self, machine: str, *words: str, who: str = "") -> None:
        row = self.row(machine, who)
        for each in words:
            assert each in row, f"{machine} does not say {each!r}: {row}"

    @property
    def status(self) -> str:
        return self.browser.page.at("status-head")

    def await_chain(self, status: str, *, seconds: float = 25, says: str = "") -> Page:
        """The page of the chain once no run is under way and it stands so."""

        def stands(page: Page) -> bool:
            return self.status == status and says in page.text and "Stop after this link" not in page.text

        words = f"{status} {says}".strip()
        return self.instance.page_when(self.chain, stands, f"the chain says {words}", seconds)

    def press(self, words: str, **values: str | Sequence[str]) -> Page:
        page = self.browser.press(words, values)
        assert page.status == 200, f"{words}: {page.status} {page.text}"
        return page

    def change(self, value: str, how: str = "everywhere", **more: Sequence[str]) -> None:
        """The page Change…, as a person fills it in."""
        self.instance.knows(value)
        self.open_chain()
        self.browser.follow("Change…")
        button = "Change it everywhere" if how == "everywhere" else "Correct the stored value"
        self.press(button, value=value, how=how, **more)

    def all_hold(self, value: str, machines: Iterable[str] = MACHINES) -> None:
        """By the lab's truth."""
        wrong = [machine for machine in machines if not self.lab.holds(machine, value)]
        assert not wrong, f"{wrong} do not hold it"

    def all_in_sync(self) -> str:
        """In Sync on the page and in truth; what the page says."""
        self.await_chain("In Sync")
        for machine in MACHINES:
            self.says(machine, "In Sync")
        self.all_hold(self.value)
        return self.status


Step = Callable[[Story], str]


def walk(folder: Path, spawn: Spawn, steps: Sequence[tuple[str, Step]]) -> dict[str, Any]:
    """Walks all steps; after one that is not ok the others are not reached. What it measured stands under measured."""
    story = Story(folder, spawn)
    told: list[dict[str, Any]] = []
    try:
        for number, (name, step) in enumerate(steps, 1):
            row: dict[str, Any] = {"n": number, "name": name, "ok": False, "seconds": 0.0, "saw": "not reached"}
            told.append(row)
            if not all(each["ok"] for each in told[:-1]):
                continue
            began = time.monotonic()
            try:
                row["saw"] = step(story)
                story.instance.look_through()
                row["ok"] = True
            except (AssertionError, OSError, Error) as error:
                row["saw"] = str(error)
            row["seconds"] = round(time.monotonic() - began, 2)
            sys.stderr.write(f"{'ok' if row['ok'] else 'NOT OK':6} {row['seconds']:6.2f} s  {name}: {row['saw']}\n")
    finally:
        story.end()
    return {"steps": told, "measured": story.measured}
