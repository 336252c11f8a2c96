"""``python -m tests.e2e.leaks``: recognisable secrets travel the whole product, in real processes, and are then looked
for everywhere. Prints one JSON object; exits 1 when one was found, or when a place was not really read.

A place counts as read when its marker was found there: a harmless word that travelled the same way as the secrets.
"""

from __future__ import annotations

import base64
import html
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from pwserver import supervisor
from pwserver.lab import defaults, truth
from tests.e2e.needles import hits
from tests.jobs.kills import spawn as spawn_alone
from tests.story.browser import Page
from tests.story.instance import Instance, Spawn, wait

NEEDLES = {
    "changed": "Kanarie-7Zq#93<xWv&",
    "set by hand": "Distelfink/4:Rb%81+kTy",
    "corrected": "Zeisig~\"6Pm'52=hNg",
    "wrong administrator": "Rohrdommel-5<Wn#27&bQs",
    "administrator": "Wiedehopf+9Vt%41/dXc",
    "approved": "Neuntoeter\"3Fk'88=mJz",
    "device": "Goldammer:2Hs~64<pLw&",
    "echoed by a machine": "Eisvogel#8Dy/35+uGb",
    "echoed by a device": "Sperber=4Ct%19'xRm<",
    "in a request that broke": "Mauersegler&6Lp~72:kVf",
    "wrong sign-in": "Uferschwalbe-1Nj#56<hTz",
    "own new password": "Waldkauz/7Bs'93=eYq&",
}
"""Each at least 12 characters in any form, so that none is met by chance."""
REASON = "Marke-Haubentaucher-48"
"""Typed into the same form as the administrator's password and the approved value."""
ENTRY = "Computer Lab/Lab Administrator"
OUTSIDE, ECHO = "LAB-05", "LAB-04"
PRINTED = "printed on the console"
"""The first password of a demo login, which the console is meant to show."""
SHOWN = "pages that show"

Haystacks = dict[str, dict[str, bytes]]
"""Kind → place → what was read there."""


class Watch(threading.Thread):
    """Reads the command line and environment of every process of the instance, again and again."""

    def __init__(self, instance: Path) -> None:
        super().__init__(daemon=True)
        self.instance, self.ended = str(instance).encode(), threading.Event()
        self.commands: dict[str, bytes] = {}
        self.environments: dict[str, bytes] = {}

    def run(self) -> None:
        while not self.ended.wait(0.05):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    command, environ = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                except OSError:
                    continue
                if self.instance in command + environ:
                    self.commands[f"{folder.name} {hash(command)}"] = command
                    self.environments[f"{folder.name} {hash(environ)}"] = environ


class Journey(Instance):
    """One demo, the person who sits before it, and everything that they and we got to read."""

    def __init__(self, folder: Path, spawn: Spawn) -> None:
        super().__init__(folder, spawn)
        self.hay: Haystacks = {"redis": {}, "wal": {}, "command output": {}, SHOWN: {}}
        self.said: list[str] = []
        self.watch = Watch(folder)

    def tell(self, *arguments: str, secret: str = "") -> dict[str, Any]:
        """The command line, with a secret on its standard input."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", *arguments, "--json"], cwd=supervisor.PROJECT, text=True, input=secret,
            env=dict(self.running.env), capture_output=True, timeout=90,
        )  # fmt: skip
        self.hay["command output"][f"{len(self.said)} {arguments[:2]}"] = (done.stdout + done.stderr).encode()
        self.said.append(done.stdout)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
        return found

    def look(self, moment: str) -> None:
        """What is only there for a while: the queue and the write-ahead log."""
        with redis.Redis(unix_socket_path=str(self.folder / "queue" / "valkey.sock")) as line:
            keys = [each + b" " + (line.dump(each) or b"") for each in line.keys("*")]
        self.hay["redis"][f"keys {moment}"] = b"\n".join(keys)
        log = (self.folder / "pwserver.db-wal").read_bytes()
        kept = self.hay["wal"]
        for before in [before for before, data in kept.items() if log.startswith(data)]:
            del kept[before]  # it only grew since then
        kept[moment] = log

    @property
    def database(self) -> Path:
        return self.folder / "pwserver.db"

    def ask(self, query: str) -> list[Any]:
        with sqlite3.connect(self.database, timeout=15) as line:
            found = line.execute(query).fetchall()
        line.close()
        return found

    def send(self, path: str, fields: dict[str, Any]) -> Page:
        """Opens a page and sends the form that has these fields."""
        page = self.browser.get(path)
        for button in page.root.find("button"):
            if button.attrs.get("type") == "submit" and "disabled" not in button.attrs and "name" not in button.attrs:
                with suppress(AssertionError, StopIteration):
                    if set(fields) <= page.names(page.form_of(button)):
                        return self.browser.press(button, fields)
        raise AssertionError(f"{path} has no form with {sorted(fields)}")

    def rest(self, entry: str) -> None:
        """Nothing runs or waits for this password."""
        query = (
            "SELECT 1 FROM sync_run r JOIN sync_chain c ON c.id = r.chain_id JOIN entry e ON e.id = c.entry_id"
            f" WHERE e.name = '{entry}' AND r.state <> 'done'"
        )
        try:
            wait(lambda: not self.ask(query), f"{entry} rests", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.links()}") from None

    def links(self) -> list[Any]:
        """How the vault sees it, for the words of a failure."""
        return self.ask("SELECT machine, state, reason, reason_code, reason_text FROM sync_link WHERE active")


# -- the journey


def travel(journey: Journey) -> None:
    """Every way a secret can go, each with one of its own."""
    journey.await_up()
    journey.watch.start()
    for name in ("Lab Administrator", "SW-01"):
        journey.rest(name)
    journey.tell("sync", "change", ENTRY, "--wait", "60", secret=NEEDLES["changed"])
    entries = {name: f"/passwords/{key}" for name, key in journey.ask("SELECT name, id FROM entry")}
    lab, switch = entries["Lab Administrator"], entries["SW-01"]
    _sign_in(journey)
    _echo(journey, lab, switch)
    _approve(journey, lab)
    _show(journey, lab)
    journey.send(f"{switch}/change", {"how": "everywhere", "value": NEEDLES["device"]})
    journey.rest("SW-01")
    _break(journey, lab)
    journey.tell("sync", "correct", ENTRY, secret=NEEDLES["corrected"])
    journey.rest("Lab Administrator")
    journey.look("at the end")


def _sign_in(journey: Journey) -> None:
    email, password = journey.login("olivia")
    for typed in (NEEDLES["wrong sign-in"], password):
        journey.send("/sign-in", {"email": email, "password": typed})
    new = NEEDLES["own new password"]
    journey.send("/account/password", {"old": NEEDLES["wrong sign-in"], "new": new, "again": new})
    journey.send("/account/password", {"old": password, "new": new, "again": new})
    assert b"Your password is changed" in journey.browser.seen[-1][1] + journey.browser.seen[-2][1]


def _approve(journey: Journey, lab: str) -> None:
    """Somebody set another password; an owner types administrators, a wrong one first, and a new value."""
    journey.tell("lab", "set-password", OUTSIDE, defaults.LOGIN, secret=NEEDLES["administrator"])
    journey.tell("lab", "set-password", OUTSIDE, "Administrator", secret=NEEDLES["set by hand"])
    journey.tell("sync", "test", ENTRY, "--wait", "60")
    key = OUTSIDE.casefold()
    way = {f"with:{key}": "typed", f"user:{key}": f"{OUTSIDE}\\{defaults.LOGIN}", "reason": REASON}
    for password, value in (("wrong administrator", {}), ("administrator", {"value": NEEDLES["approved"]})):
        choice = {"value_choice": "new" if value else "keep"} | value
        journey.send(f"{lab}/approve", way | {f"password:{key}": NEEDLES[password]} | choice)
        journey.look(f"while approving by the {password}")
        journey.rest("Lab Administrator")
        journey.look(f"after approving by the {password}")
    assert journey.lab.wrong[f"{OUTSIDE}: {defaults.LOGIN}"] == 1, "the wrong administrator was really tried there"
    assert journey.lab.holds(OUTSIDE, NEEDLES["approved"]), journey.links()


def _show(journey: Journey, lab: str) -> None:
    """Shown and copied: in these two answers the value has to be, and they are kept apart."""
    for word in ("Show", "Copy"):
        journey.browser.get(lab)
        journey.browser.press(word)
        journey.hay[SHOWN][word] = as_read(journey.browser.seen.pop()[1])
    journey.browser.get(lab)


def _echo(journey: Journey, lab: str, switch: str) -> None:
    """A machine and a device refuse the new password, and repeat it in their words."""
    for machine, path, what in ((ECHO, lab, "machine"), ("SW-01", switch, "device")):
        journey.tell("lab", "fault", machine, "echo")
        journey.send(f"{path}/change", {"how": "everywhere", "value": NEEDLES[f"echoed by a {what}"]})
        journey.rest("Lab Administrator" if path == lab else "SW-01")
        journey.look(f"after {machine} refused")
        assert "********" in journey.browser.get(f"{path}/synchronization").text, (
            "its words are shown, without the value"
        )
        journey.tell("lab", "fault", machine, "none")


def _break(journey: Journey, lab: str) -> None:
    """The database breaks in the middle of a request: what is told of the error has no secret in it."""
    journey.browser.get(f"{lab}/change")
    with without_events(journey), suppress(AssertionError):  # "answered 500"
        journey.send(f"{lab}/change", {"how": "everywhere", "value": NEEDLES["in a request that broke"]})
        raise RuntimeError("a request without its table was answered")


@contextmanager
def without_events(journey: Journey) -> Iterator[None]:
    rename = "PRAGMA legacy_alter_table=ON; ALTER TABLE {} RENAME TO {};"
    line = sqlite3.connect(journey.database, timeout=15)
    try:
        line.executescript(rename.format("event", "event_away"))
        yield
    finally:
        line.executescript(rename.format("event_away", "event"))
        line.close()


# -- reading


def crawl(journey: Journey, limit: int = 80) -> None:
    """The pages that links lead to, from the Dashboard and the password that travelled on."""
    lab = journey.ask("SELECT id FROM entry WHERE name = 'Lab Administrator'")[0][0]
    tabs = ("", "/synchronization", "/history", "/change", "/approve")
    done, wanted = set[str](), ["/", *(f"/passwords/{lab}{tab}" for tab in tabs)]
    while wanted and len(done) < limit:
        path = wanted.pop(0)
        if path in done:
            continue
        done.add(path)
        page = journey.browser.get(path)
        hrefs = [node.attrs.get("href", "").partition("#")[0] for node in page.root.find("a")]
        wanted += [href for href in hrefs if href.startswith("/") and not href.startswith(("/static", "/sign-out"))]


def as_read(body: bytes) -> bytes:
    """A page as it came, and as it reads without its tags: a value may be coloured letter by letter."""
    return body + b"\n" + html.unescape(re.sub(rb"<[^>]*>", b"", body).decode()).encode()


def collect(journey: Journey) -> Haystacks:
    """Everything there is to read, by kind."""
    for arguments in (("sync", "status", ENTRY), ("sync", "check"), ("agent", "list"), ("user", "list")):
        journey.tell(*arguments)
    requests = journey.tell("lab", "requests"), journey.tell("lab", "state"), journey.tell("lab", "badlogons")
    crawl(journey)
    journey.watch.ended.set()
    journey.watch.join()
    hay, folder = journey.hay, journey.folder
    journey.ask("PRAGMA wal_checkpoint(TRUNCATE)")
    hay["lab requests"] = {"requests": json.dumps(requests).encode()}
    hay["pages"] = {f"{number} {url}": as_read(body) for number, (url, body) in enumerate(journey.browser.seen)}
    hay["command lines"], hay["environments"] = journey.watch.commands, journey.watch.environments
    hay |= {"database": {}, "logs": {}, "tracebacks": {}, "console": {}, "files": {}}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or name in ("master.key", f"lab/{truth.FILE}"):
            continue  # what is meant to hold the key, and the simulated machines' own memory
        kind = {"pwserver.db": "database", "pwserver.db-wal": "wal", "console.txt": "console"}.get(name, "")
        hay[kind or {"logs": "logs", "queue": "redis"}.get(path.parts[len(folder.parts)], "files")][name] = (
            path.read_bytes()
        )
    hay["tracebacks"] = {name: body for name, body in hay["logs"].items() if b"OperationalError" in body}
    return hay


def markers(journey: Journey) -> dict[str, bytes]:
    """Per kind of place the word that has to be there."""
    run = journey.ask("SELECT id FROM sync_run WHERE kind = 'override' ORDER BY number DESC LIMIT 1")[0][0]
    return {
        "database": REASON.encode(),
        "wal": REASON.encode(),
        "redis": run.encode(),
        "logs": b"no such table: event",
        "tracebacks": b"request_change",  # the function that held the value
        "pages": REASON.encode(),
        SHOWN: b'id="secret-value"',
        "command lines": ENTRY.encode(),
        "environments": str(journey.folder).encode(),
        "command output": ENTRY.encode(),
        "lab requests": OUTSIDE.encode(),
        "console": journey.login("olivia")[0].encode(),
        "files": f":{journey.running.port}".encode(),
    }


def judge(hay: Haystacks, needles: dict[str, str], words: dict[str, bytes]) -> dict[str, Any]:
    """What the command prints. ``hits`` names place, form and secret, and never repeats one."""
    names, found = list(needles), []
    for kind, places in hay.items():
        for hit in hits(places, needles.values()):
            place, what, number = re.match(r"(.*): (.*) of secret (\d+)$", hit, re.DOTALL).groups()  # type: ignore[union-attr]
            name = names[int(number) - 1]
            if (kind, name) not in {(SHOWN, "approved"), ("console", PRINTED)}:
                found.append(f"{kind}, {place}: {what} of {name}")
    stacks = {
        kind: {"bytes": sum(map(len, places.values())), "marker": any(words[kind] in each for each in places.values())}
        for kind, places in hay.items()
    }
    return {"needles": len(needles), "haystacks": stacks, "hits": found}


def good(told: dict[str, Any]) -> bool:
    return not told["hits"] and all(each["marker"] and each["bytes"] for each in told["haystacks"].values())


def search(folder: Path, spawn: Spawn) -> tuple[Haystacks, dict[str, str], dict[str, bytes]]:
    """Travels and collects: all that was read, the needles with those that this instance made, and the markers."""
    journey = Journey(folder, spawn)
    try:
        travel(journey)
        hay = collect(journey)
        key = (folder / "master.key").read_text().strip()
        made = {PRINTED: journey.login("olivia")[1], "master key": key, "its digits": base64.b64decode(key).hex()}
        seed = truth.DEFAULT_SEED
        made |= {
            f"first {label}": defaults.password(seed, label) for label in (defaults.LOGIN, "lab-adm", "psrv", "lab")
        }
        shown = hits(hay[SHOWN], [NEEDLES["approved"]])
        assert len(shown) >= 2, hay[SHOWN]
        return hay, NEEDLES | made, markers(journey)
    finally:
        journey.end()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        told = judge(*search(Path(folder) / "instance", spawn_alone))
    print(json.dumps(told))
    return 0 if good(told) else 1


if __name__ == "__main__":
    sys.exit(main())
