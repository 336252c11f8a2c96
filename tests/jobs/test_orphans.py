"""Killed in the first milliseconds after a fork: nothing lives on, and a start ends what did."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pwserver import embedded_redis, orphans, queueing, webserver
from pwserver.embedded_redis import client
from tests.depth import deep
from tests.free_ports import free_port
from tests.jobs.conftest import living, spawning
from tests.jobs.test_supervisor import children

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(120), pytest.mark.xdist_group("orphans")]

Spawn = Callable[..., "subprocess.Popen[str]"]
MILLISECONDS = (*range(0, 20, deep(4, 1)), 20)
"""How long a fork lives before its starter is killed."""
LATER_SECONDS = webserver.KILL_SECONDS + 2.0
"""A web process that does not end when asked is given that long by its server; without the server too."""

NURSERY = """
import ctypes, os, signal, sys
from jobs import worker
from pwserver import orphans, webserver
from pwserver.processes import Child

ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: an orphan becomes our child, not that of process 1
webserver.application(), worker.application(), worker.preload()


def supervise():
    # As the supervisor does: its handler stands while it starts a program.
    signal.signal(signal.SIGTERM, lambda *_: None)
    Child("program", [sys.executable, "-c", "import time; time.sleep(600)"]).start()
    signal.pause()


def crew():
    from jobs.__main__ import Crew, Fork
    Crew([Fork("timer", lambda: signal.pause() or 0)], worker.from_environment().instance / "jobs.json").run()


def deaf():
    # Its fork ignores the signal, as one that is not ready for it yet, or whose request takes for ever.
    parent = os.getpid()
    if os.fork() == 0:
        orphans.die_with_parent(parent, signal.SIG_IGN)
        orphans.exit_after_parent(parent, 0.2)
    signal.pause()


def come_late(starter):
    # Every fork of the starter comes to its first line only when the starter is dead.
    def wait():
        while os.getppid() == starter:
            os.sched_yield()
    os.register_at_fork(after_in_child=wait)


def work():
    worker.work("now")


starters = {"web": webserver.main, "crew": crew, "worker": work, "supervisor": supervise, "deaf": deaf}
print("ready", flush=True)
for line in sys.stdin:
    what, port, late = line.split()
    pid = os.fork()
    if pid == 0:
        os.environ["PWSERVER_PORT"] = port
        os.close(0)
        if late == "late":
            come_late(os.getpid())
        starters[what]()
        os._exit(0)
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
    # Orphans are ours now; those that ended are taken away, so that what is left is what lives.
    while sys.stdin.readline().strip() != "next":
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pass
        print("reaped", flush=True)
"""


class Nursery:
    """A process with the applications loaded. Each trial is a real starter, forked from it in a millisecond."""

    def __init__(self, spawn: Spawn, instance: Path) -> None:
        env = {"PWSERVER_INSTANCE": str(instance), "PWSERVER_TIMING": "fast", "BENCH_FILE": str(instance / "bench")}
        self.process = spawn("-c", NURSERY, env=env, stdin=subprocess.PIPE)
        self.expect("ready")

    def expect(self, word: str) -> str:
        """Reads until it says so. What the starters say meanwhile is passed over."""
        assert self.process.stdout is not None
        heard = []
        for line in iter(self.process.stdout.readline, ""):
            if line.strip() == word or (word == "pid" and line.strip().isdigit()):
                return line.strip()
            heard.append(line)
        raise AssertionError(f"the nursery ended before it said {word!r}: {''.join(heard)}")

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def trial(self, what: str, milliseconds: int, begin: Callable[[], object] = bool, late: bool = False) -> list[int]:
        """Kill a starter so long after its first fork appeared; return what of its forks is alive seconds later.

        ``begin`` makes it fork, when starting does not. ``late``: a fork comes to its first line after the kill.
        """
        self.tell(f"{what} {free_port()} {'late' if late else 'soon'}")
        starter = int(self.expect("pid"))
        begin()
        end = time.monotonic() + 20
        while not (forks := children(starter)):
            assert time.monotonic() < end, f"{what} forked nothing"
        select.select([], [], [], milliseconds / 1000)
        os.kill(starter, signal.SIGKILL)
        self.expect("ended")
        end = time.monotonic() + LATER_SECONDS
        while (left := self.alive()) and time.monotonic() < end:
            select.select([], [], [], 0.01)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.tell("next")
        assert forks
        return left

    def alive(self) -> list[int]:
        """The processes that have become children of the nursery, since their starter is dead."""
        self.tell("reap")
        self.expect("reaped")
        return [pid for pid in children(self.process.pid) if living(pid)]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nursery, Path]]:
    instance = tmp_path_factory.mktemp("nursery") / "instance"
    instance.mkdir(mode=0o700)
    with spawning() as spawn:
        prepared = spawn("-m", "pwserver.prepare", env={"PWSERVER_INSTANCE": str(instance)})
        assert prepared.wait(60) == 0
        yield Nursery(spawn, instance), instance


Made = tuple[Nursery, Path]


@pytest.mark.parametrize("what", ["web", "crew", "supervisor"])
def test_a_starter_killed_in_the_first_milliseconds_of_its_fork_leaves_nothing(nursery: Made, what: str) -> None:
    left = {ms: found for ms in MILLISECONDS for _ in range(deep(1, 3)) if (found := nursery[0].trial(what, ms))}
    assert left == {}, "milliseconds from the fork to the kill: what lived on"


@pytest.mark.parametrize("what", ["web", "crew", "supervisor"])
def test_a_fork_whose_starter_died_before_its_first_line_ends(nursery: Made, what: str) -> None:
    assert nursery[0].trial(what, 0, late=True) == []


def test_a_fork_that_is_deaf_to_the_signal_ends_all_the_same(nursery: Made) -> None:
    assert nursery[0].trial("deaf", 20) == []


@pytest.fixture
def work(nursery: Made) -> Iterator[Callable[[], None]]:
    """Gives the worker of the nursery something to do, for half a minute or until it is asked to end."""
    server = embedded_redis.start(nursery[1])
    with client(server.socket) as line:

        def enqueue() -> None:
            line.flushall()
            queueing.queue("now", line).enqueue_call(
                "tests.jobs.job_bench.hold", args=("a",), timeout=-1, result_ttl=0, description="hold"
            )

        yield enqueue
    embedded_redis.stop(server)


def test_a_worker_killed_in_the_first_milliseconds_of_its_fork_leaves_nothing(
    nursery: Made, work: Callable[[], None]
) -> None:
    left = {ms: found for ms in MILLISECONDS if (found := nursery[0].trial("worker", ms, work))}
    assert left == {}, "milliseconds from the fork to the kill: what lived on"


def test_a_run_whose_worker_died_before_its_first_line_is_not_begun(nursery: Made, work: Callable[[], None]) -> None:
    assert nursery[0].trial("worker", 0, work, late=True) == []


def test_only_the_web_server_of_the_same_lock_and_user_is_a_leftover(spawn: Spawn, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    with (tmp_path / "a").open() as first, (tmp_path / "b").open() as second:
        marks = [orphans.mark_of(each.fileno()) for each in (first, second)]
    code = "import signal; signal.signal(15, lambda *_: None); print('up', flush=True); [signal.pause() for _ in 'ab']"
    ours, other = (spawn("-c", code, env={orphans.MARK: mark}) for mark in marks)
    unmarked = spawn("-c", code)
    for process in (ours, other, unmarked):
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
    assert orphans.leftovers(marks[0]) == [ours.pid]
    assert orphans.end_leftovers(marks[0], 0.2) == [ours.pid]
    assert ours.wait(5) == -signal.SIGKILL, "it does not end when asked"
    assert orphans.leftovers(marks[0]) == []
    assert other.poll() is None
    assert unmarked.poll() is None
