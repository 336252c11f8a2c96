"""A server begins with SQLite, is stopped, copied into PostgreSQL and started there; its machines notice nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.test_supervisor import Running
from tests.postgres import Cluster

Spawn = Callable[..., "subprocess.Popen[str]"]
NEEDLE = "Postgres-needle-6630"
ENTRY = "Computer Lab/Lab Administrator"
PROJECT = Path(__file__).resolve().parent.parent.parent
FLASK = Path(sys.executable).parent / "flask"

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.sweep,
    pytest.mark.enable_socket,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("own-servers"),
]


class Shell:
    """``flask`` as a person types it on that machine."""

    def __init__(self, running: Running) -> None:
        self.running = running

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"} | self.running.env
        return subprocess.run(
            [FLASK, *arguments], cwd=PROJECT, env=env, input=stdin, capture_output=True, text=True, timeout=60
        )

    def json(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        done = self(*arguments, "--json", stdin=stdin)
        told = json.loads(done.stdout.splitlines()[-1])
        assert isinstance(told, dict)
        return told


def started(running: Running, eventually: Callable[..., None]) -> subprocess.Popen[str]:
    process = running.start("--demo")
    eventually(lambda: running.is_up() or process.poll() is not None, "everything is up", 90)
    assert process.poll() is None
    eventually(running.all_in_sync, "all In Sync", 60)
    return process


def stopped(process: subprocess.Popen[str]) -> None:
    process.terminate()
    assert process.wait(40) == 0


def test_a_server_grows_from_its_file_into_postgresql(
    instance: Path, spawn: Spawn, cluster: Cluster, eventually: Callable[..., None]
) -> None:
    address = cluster.url(cluster.create()).replace("pwserver@", f"pwserver:{NEEDLE}@")
    running = Running(spawn, instance)
    flask = Shell(running)
    process = started(running, eventually)
    early = flask("database", "copy-to", "-", stdin=address)
    assert early.returncode == 1
    assert f"Password Server runs: http://127.0.0.1:{running.port}" in early.stderr
    stopped(process)
    before = flask.json("sync", "status")
    value = flask("entry", "show", ENTRY).stdout

    done = flask("database", "copy-to", "-", stdin=address)
    assert done.returncode == 0, done.stderr
    assert "`flask sync check` finds nothing there" in done.stdout
    assert value.strip() not in done.stdout + done.stderr
    assert NEEDLE not in early.stdout + early.stderr + done.stdout + done.stderr

    running.env["DATABASE_URL"] = address
    process = started(running, eventually)
    after = flask.json("sync", "status")
    assert [(each["entry"], each["good"], each["total"]) for each in after["entries"]] == [
        (each["entry"], each["good"], each["total"]) for each in before["entries"]
    ]
    assert flask("entry", "show", ENTRY).stdout == value
    assert flask("lab", "holds", "LAB-05", "Administrator", stdin=value).returncode == 0
    changed = flask("sync", "change", ENTRY, "--generate", "--wait", "40")
    assert changed.returncode == 0, changed.stdout
    new = flask("entry", "show", ENTRY).stdout
    assert new != value
    assert flask("lab", "holds", "LAB-05", "Administrator", stdin=new).returncode == 0
    assert flask("sync", "check").returncode == 0
    stopped(process)
    told = {path.name: path.read_text(errors="replace") for path in instance.rglob("*") if path.is_file()}
    assert [name for name, text in told.items() if NEEDLE in text] == []
