"""One command starts all, a second start finds the first, and nothing outlives it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, select

from pwserver import ports, supervisor
from pwserver.config import from_environment
from pwserver.core.states import Status
from pwserver.models import SyncChain
from tests.free_ports import free_port
from tests.invariants import violations_left_in
from tests.jobs.conftest import spawning

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("supervisor"),
    pytest.mark.budget(25, "one instance for all of these; the test that ends it pays for the others"),
]

Spawn = Callable[..., "subprocess.Popen[str]"]
UP = 60


class Running:
    """One started instance; ``pids`` by name, ``all_pids`` with every descendant."""

    def __init__(self, spawn: Spawn, instance: Path, env: dict[str, str] | None = None) -> None:
        """``env``: more settings, as of servers of one's own."""
        self.spawn, self.instance, self.port = spawn, instance, free_port()
        self.env = {"PWSERVER_INSTANCE": str(instance), "PWSERVER_PORT": str(self.port), "PWSERVER_TIMING": "fast"}
        self.env |= env or {}
        own_queue = {"queue"} if "REDIS_URL" not in self.env else set()
        self.needs = {"web", "jobs", "timer", "worker-now", "worker-later"} | own_queue
        self.out = instance / "console.txt"
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        code = (
            f"import os, sys; os.dup2(os.open({str(self.out)!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)\n"
            "from pwserver.supervisor import main; sys.exit(main(sys.argv[1:]))"
        )
        self.process = self.spawn("-c", code, *arguments, env=self.env)
        return self.process

    def state(self) -> dict[str, Any]:
        return supervisor.running(self.instance)

    @property
    def pids(self) -> dict[str, int]:
        found: dict[str, int] = self.state().get("processes", {})
        return found

    def all_in_sync(self) -> bool:
        """By its database: to look by the command line costs a second of processor time."""
        engine = create_engine(from_environment(self.env).database, poolclass=NullPool)
        with engine.connect() as line:
            return set(line.scalars(select(SyncChain.status))) == {Status.IN_SYNC}

    def is_up(self) -> bool:
        there = {name for name, pid in self.pids.items() if pid}
        return self.needs <= there and self.status() in range(200, 500)

    def status(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def all_pids(self) -> list[int]:
        return descendants(self.state()["pid"])


def children(pid: int) -> list[int]:
    """The processes that this one forked; one that ended while it was looked at has none."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    return [pid, *(each for child in children(pid) for each in descendants(child))]


@pytest.fixture(scope="module")
def one_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with spawning() as spawn:
        yield Running(spawn, tmp_path_factory.mktemp("supervised") / "instance")


@pytest.fixture
def instance_up(
    one_instance: Running, eventually: Callable[..., None]
) -> Iterator[tuple[Running, subprocess.Popen[str]]]:
    """The one instance of these tests, which takes seconds to start: it is started when the last test has ended it."""
    if one_instance.process is None or one_instance.process.poll() is not None:
        one_instance.start()
    process = one_instance.process
    assert process is not None
    eventually(lambda: one_instance.is_up() or process.poll() is not None, "everything is up", UP)
    assert process.poll() is None, one_instance.out.read_text()
    yield one_instance, process
    if violations := violations_left_in(one_instance.instance, []):
        pytest.fail(str(violations))


Up = tuple[Running, "subprocess.Popen[str]"]


def test_a_second_start_finds_the_first_and_a_killed_web_worker_is_replaced(
    instance_up: Up, spawn: Spawn, eventually: Callable[..., None]
) -> None:
    running, _ = instance_up
    second = spawn("-m", "pwserver.supervisor", env=running.env | {"PWSERVER_PORT": str(free_port())})
    said = second.communicate(timeout=30)[0]
    assert second.returncode == 0
    assert f"runs already: http://127.0.0.1:{running.port}" in said
    web = running.pids["web"]
    workers = descendants(web)[1:]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    eventually(lambda: len(set(descendants(web)[1:]) - {workers[0]}) == 2, "there are two again", UP)
    assert running.status()


def test_each_process_comes_back_after_kill_9(instance_up: Up, eventually: Callable[..., None]) -> None:
    running, process = instance_up
    for name in ("timer", "worker-now", "worker-later", "queue", "jobs", "web"):
        before = running.pids
        os.kill(before[name], signal.SIGKILL)
        eventually(
            lambda name=name, before=before: running.pids.get(name) not in (before[name], 0, None) and running.is_up(),
            f"{name} came back",
            UP,
        )
        assert process.poll() is None


def test_kill_9_of_the_supervisor_takes_everything_along_and_the_next_start_works(
    instance_up: Up, eventually: Callable[..., None], lives: Callable[[int], bool]
) -> None:
    running, process = instance_up
    stuck = descendants(running.pids["web"])
    pids = [pid for pid in running.all_pids() if pid not in stuck]
    os.kill(stuck[0], signal.SIGSTOP)  # it hears no signal, and its forks keep the port
    process.kill()
    process.wait()
    eventually(lambda: not any(lives(pid) for pid in pids), "no orphan is left", 30)
    assert not ports.is_free("127.0.0.1", running.port)
    again = running.start()

    def is_up_again() -> bool:
        """By its own state: what is left of the killed one answers, too."""
        return running.state().get("pid") == again.pid and running.is_up()

    eventually(lambda: is_up_again() or again.poll() is not None, "it is up again", UP)
    assert again.poll() is None, running.out.read_text()
    assert (
        f"Ended what a killed start had left: process {', '.join(map(str, sorted(stuck)))}." in running.out.read_text()
    )
    assert not any(lives(pid) for pid in stuck)


def test_sigterm_ends_everything_and_leaves_no_orphan(
    instance_up: Up, eventually: Callable[..., None], lives: Callable[[int], bool]
) -> None:
    running, process = instance_up
    eventually(lambda: "Ctrl-C" in running.out.read_text(), "the console says where it is")
    console = running.out.read_text()
    assert console.count(f"http://127.0.0.1:{running.port}\n") == 1
    assert "type this code" in console, "there is no user yet: the first one needs the code"
    state = json.loads((running.instance / "running.json").read_text())
    assert (state["pid"], state["url"]) == (process.pid, f"http://127.0.0.1:{running.port}")
    pids = running.all_pids()
    assert len(pids) >= 8
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    eventually(lambda: not any(lives(pid) for pid in pids), "no process is left")
    assert running.state() == {}


def test_a_taken_port_is_said_and_nothing_is_left(spawn: Spawn, instance: Path, lives: Callable[[int], bool]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = spawn(
            "-m", "pwserver.supervisor", env={"PWSERVER_INSTANCE": str(instance), "PWSERVER_PORT": str(port)}
        )
        said = process.communicate(timeout=40)[0]
    assert process.returncode == 1
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert f"Port {port} on 127.0.0.1 is taken by {name} (process {os.getpid()})" in said
    assert "PWSERVER_PORT" in said
    assert not (instance / "running.json").exists()


def test_what_cannot_start_says_why(spawn: Spawn, instance: Path) -> None:
    env = {"PWSERVER_INSTANCE": str(instance), "PWSERVER_PORT": str(free_port()), "PWSERVER_MASTER_KEY": "too short"}
    process = spawn("-m", "pwserver.supervisor", env=env)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "master key must be 32 bytes" in said
    assert "Traceback" not in said
