"""Recognisable secrets travel the whole product, in real processes; afterwards they are nowhere but sealed."""

from __future__ import annotations

import base64
import http.cookiejar
import json
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from tests.e2e.needles import forms, hits
from tests.jobs.conftest import PROJECT, spawn  # noqa: F401  # a fixture
from tests.jobs.test_supervisor import Running

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(180), pytest.mark.xdist_group("supervisor")]

CHANGED, BY_HAND, CORRECTED = "Kanarie-7Zq#93<xWv&", "Distelfink/4:Rb%81+kTy", "Zeisig~\"6Pm'52=hNg"
MARKER = "LAB-05"
ENTRY = "Computer Lab/Lab Administrator"


class Watch(threading.Thread):
    """Reads the command line and environment of every process of the instance, again and again."""

    def __init__(self, instance: Path) -> None:
        super().__init__(daemon=True)
        self.instance, self.seen, self.ended = instance, {}, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.02):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    command, environ = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                except OSError:
                    continue
                if str(self.instance).encode() in command + environ:
                    self.seen[f"process {folder.name} {hash(command + environ)}"] = command + b"\n" + environ


class Visitor:
    """A browser without a picture: signs in and fetches pages."""

    def __init__(self, base: str) -> None:
        self.base, self.pages = base, {}
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(jar)

    def get(self, path: str) -> str:
        with self.opener.open(self.base + path, timeout=20) as response:
            self.pages[path] = response.read() + str(response.headers).encode()
        return self.pages[path].decode()

    def sign_in(self, email: str, password: str) -> None:
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self.get("/sign-in"))
        assert token
        form = {"csrf_token": token[1], "email": email, "password": password}
        data = urllib.parse.urlencode(form).encode()
        with self.opener.open(self.base + "/sign-in", data, timeout=20) as response:
            assert response.url.rstrip("/") == self.base, "signed in"


class Demo(Running):
    def flask(self, *arguments: str, secret: str = "") -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "flask", *arguments, "--json"], cwd=PROJECT, env=dict(self.env), text=True,
            input=secret, capture_output=True, timeout=60,
        )  # fmt: skip
        self.said.append(done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}

    said: list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("canary") / "instance"


@pytest.fixture
def demo(spawn: Callable[..., subprocess.Popen[str]], folder: Path, eventually) -> Iterator[Demo]:  # type: ignore[no-untyped-def]  # noqa: F811
    running = Demo(spawn, folder)
    running.said = []
    process = running.start("--demo")
    eventually(lambda: running.is_up() and "@" in running.out.read_text(), "the demo is up", 60)
    yield running
    process.terminate()
    process.wait(30)


def files(folder: Path) -> dict[str, bytes]:
    """Everything in the instance but the simulated machines' own truth: they do know their passwords."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / "lab")
    }


def queue(folder: Path) -> bytes:
    """Every key of the queue with its value, as the server tells them."""
    with redis.Redis(unix_socket_path=str(folder / "queue" / "valkey.sock")) as connection:
        return b"\n".join(each + b" " + (connection.dump(each) or b"") for each in connection.keys("*"))


def test_a_secret_is_nowhere_but_sealed_after_it_travelled_the_whole_product(demo: Demo) -> None:
    watch = Watch(demo.instance)
    watch.start()
    assert demo.flask("sync", "change", ENTRY, "--wait", "40", secret=CHANGED)["status"] == "in_sync"
    demo.flask("lab", "set-password", "LAB-05", "Administrator", secret=BY_HAND)
    demo.flask("sync", "test", ENTRY, "--wait", "40")
    demo.flask("sync", "correct", ENTRY, secret=CORRECTED)
    while_running = queue(demo.instance)
    login = re.search(r"(olivia@\S+)\s+(\S+)", demo.out.read_text())
    assert login
    visitor = Visitor(f"http://127.0.0.1:{demo.port}")
    visitor.sign_in(login[1], login[2])
    entry = re.search(r"/passwords/([0-9a-f-]{36})", visitor.get("/") + visitor.get("/vaults"))
    vault = re.search(r"/vaults/([0-9a-f-]{36})", visitor.pages["/vaults"].decode())
    assert vault
    entry = entry or re.search(r"/passwords/([0-9a-f-]{36})", visitor.get(f"/vaults/{vault[1]}"))
    assert entry
    for page in ("", "/synchronization", "/history", "/change"):
        visitor.get(f"/passwords/{entry[1]}{page}")
    visitor.get("/runs")
    watch.ended.set()
    watch.join()
    haystacks = files(demo.instance) | watch.seen | visitor.pages
    haystacks |= {"queue": while_running + queue(demo.instance), "command line": "\n".join(demo.said).encode()}
    assert hits(haystacks, [CHANGED, BY_HAND, CORRECTED]) == []
    # Every place was really read: what travels there in clear was found.
    for place in ("pwserver.db-wal", "pwserver.db"):
        assert MARKER.encode() in haystacks["pwserver.db"] + haystacks.get(place, b"")
    assert any("logs/" in place for place in haystacks)
    assert b"rq:" in haystacks["queue"]
    assert MARKER in visitor.pages[f"/passwords/{entry[1]}/synchronization"].decode()
    assert any(b"pwserver" in data for data in watch.seen.values())
    # And a leak of any kind would be seen in any of them.
    for place in ("pwserver.db", "queue", "command line", "/runs", next(iter(watch.seen))):
        leaked = dict(haystacks) | {place: haystacks[place] + base64.b64encode(b"x" + CHANGED.encode("utf-16-le"))}
        assert hits(leaked, [CHANGED]) == [f"{place}: base64 of UTF-16LE of secret 1"]


@pytest.mark.parametrize(
    "leak",
    [
        lambda word: word.encode(),
        lambda word: word.encode("utf-16-le"),
        lambda word: base64.b64encode(word.encode()),
        lambda word: base64.b64encode(b"a" + word.encode() + b"bc"),
        lambda word: base64.urlsafe_b64encode(b"ab" + word.encode("utf-16-le") + b"b"),
        lambda word: quote(word, safe="").encode(),
        lambda word: json.dumps({"p": word}).encode(),
        lambda word: word.encode().hex().encode(),
    ],
)
@pytest.mark.parametrize("word", [CHANGED, BY_HAND, CORRECTED])
def test_a_planted_leak_is_seen_in_every_form(leak: Callable[[str], bytes], word: str) -> None:
    assert hits({"here": b"before " + leak(word) + b" after"}, [word])
    assert not hits({"here": b"before after"}, [word])
    assert all(len(needle) >= 12 for needle in forms(word)), "long enough not to be met by chance"
