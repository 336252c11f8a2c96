"""Runs all of Password Server from one command: queue, workers, timer, web, and the practice lab of the demo.

``python app.py [--demo]`` ends here. One instance folder has one supervisor: a second start finds the first, prints its
address and ends. Ctrl-C or SIGTERM ends everything; kill -9 of this process does, too, since every child dies with it.
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pwserver import embedded_redis, orphans, ports
from pwserver.config import PROJECT, Config, from_environment
from pwserver.embedded_redis import QueueServer, QueueServerError
from pwserver.processes import Child, end_all

STATE = "running.json"
BUSY_PORT_SECONDS = 10
LEFTOVER_SECONDS = 5.0
"""Longer than a web server takes to end (``webserver.KILL_SECONDS``)."""
START_SECONDS = 60
LOOK_EVERY = 0.2


class CannotStart(Exception):
    """Said on the console as it is."""


@dataclass
class Supervisor:
    config: Config
    children: list[Child] = field(default_factory=list)
    queue: QueueServer | None = None
    stops: int = 0
    """How often it was asked to stop; the second time it waits for nothing."""
    _told: str = ""
    _mark: str = ""

    def run(self) -> int:
        instance = self.config.instance
        instance.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = take_lock(instance)
        if lock is None:
            say(f"Password Server runs already: {running(instance).get('url', self.config.url)}")
            return 0
        self._mark = orphans.mark_of(lock)
        (instance / STATE).unlink(missing_ok=True)  # of an instance that was killed
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            self._start()
            while not self.stops:
                self._look()
                time.sleep(LOOK_EVERY)
        except (CannotStart, QueueServerError) as error:
            if not self.stops:
                say(str(error))
                return 1
        finally:
            self._end()
            os.close(lock)
        return 0

    def _stop(self, *_: object) -> None:
        self.stops += 1

    def _start(self) -> None:
        config = self.config
        config_lab = self._lab() if config.demo else None
        self._end_leftovers()
        self._await_port()
        if not config.redis_url:
            self.queue = embedded_redis.start(config.instance)
        if config_lab is not None:
            config_lab.output.unlink(missing_ok=True)  # type: ignore[union-attr]
            self._add(config_lab)
            self._wait(lambda: ready_file(config_lab.output), "the practice lab")
        said = self._prepare(config_lab)
        for child in programs():
            self._add(child)
        self._wait(lambda: answers(config.host, config.port), "the web server")
        self._tell()
        say(f"\nPassword Server: {config.url}")
        for line in said["lines"]:
            say(line)
        if said["code"]:
            say(f"There is no user yet. Open {config.url}/setup and type this code within an hour: {said['code']}")
        if config.mail_error:
            say(f"No mail is sent: {config.mail_error}")
        say("Ctrl-C ends it.\n")

    def _lab(self) -> Child:
        folder = self.config.instance / "lab"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Child("lab", python("-m", "pwserver.lab", "--folder", str(folder)), output=folder / "ready.json")

    def _prepare(self, lab: Child | None) -> dict[str, Any]:
        command = python("-m", "pwserver.prepare", *([str(lab.output)] if lab else []))
        process = subprocess.Popen(  # noqa: S603  # our own program
            command,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=partial(orphans.die_with_parent, os.getpid()),  # noqa: PLW1509  # we have one thread
        )
        while process.poll() is None:
            if self.stops:
                process.terminate()
            time.sleep(0.02)
        output = process.stdout.read() if process.stdout else b""
        try:
            said: dict[str, Any] = json.loads(output.splitlines()[-1])
        except (ValueError, IndexError):
            raise CannotStart(f"The preparation failed; see {self.config.instance / 'logs' / 'prepare.log'}.") from None
        if "error" in said:
            raise CannotStart(said["error"])
        return said

    def _env(self) -> dict[str, str]:
        """What every process is told. The master key stays where it was found: in our environment, or in its file."""
        config = self.config
        return os.environ | {
            "PWSERVER_INSTANCE": str(config.instance),
            "PWSERVER_HOST": config.host,
            "PWSERVER_PORT": str(config.port),
            "PWSERVER_DEMO": "1" if config.demo else "",
        }

    def _add(self, child: Child) -> None:
        child.env = self._env()
        if child.name == "web":
            child.env[orphans.MARK] = self._mark
        if child.name == "lab":
            for secret in ("PWSERVER_MASTER_KEY", "PWSERVER_SMTP_PASSWORD"):
                child.env.pop(secret, None)  # a simulation has no use for it
        child.start()
        self.children.append(child)

    def _end_leftovers(self) -> None:
        """End web processes of a killed supervisor, which would answer beside the new ones. We hold its lock."""
        if ended := orphans.end_leftovers(self._mark, LEFTOVER_SECONDS):
            say(f"Ended what a killed start had left: process {', '.join(map(str, ended))}.")

    def _await_port(self) -> None:
        """Wait a little for the port: another program may be ending. Raise CannotStart with the name of its holder."""
        host, port = self.config.host, self.config.port
        end = time.monotonic() + BUSY_PORT_SECONDS
        try:
            while not ports.is_free(host, port):
                if time.monotonic() > end or self.stops:
                    found = ports.holder(host, port)
                    raise CannotStart(
                        f"Port {port} on {host} is taken by {found.words if found else 'another program'}. End it, or "
                        "choose another port: PWSERVER_PORT=8081"
                    )
                time.sleep(0.1)
        except OSError as error:
            raise CannotStart(
                f"Password Server cannot listen on port {port} of {host}: {error.strerror}. Choose another address or "
                "port: PWSERVER_HOST=127.0.0.1 PWSERVER_PORT=8081"
            ) from None

    def _wait(self, ready: Any, what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not ready():
            if self.stops:
                raise CannotStart("stopped")
            if time.monotonic() > end:
                raise CannotStart(
                    f"{what} did not start within {START_SECONDS} s; see {self.config.instance / 'logs'}."
                )
            self._look()
            time.sleep(0.05)

    def _look(self) -> None:
        """Starts again what died."""
        if not self.config.redis_url and not self._queue_lives():
            say("the queue server ended; it is started again")
            with suppress(QueueServerError):  # its own words are in its log; the next look tries again
                self.queue = embedded_redis.start(self.config.instance)
        for child in self.children:
            if death := child.watch():
                say(death)
        self._tell()

    def _queue_lives(self) -> bool:
        if self.queue is None:
            return False
        if self.queue.process is not None:
            return self.queue.process.poll() is None
        return embedded_redis.alive(self.queue.socket)  # adopted: its starter may be gone, and it with him

    def _tell(self) -> None:
        """Keeps ``running.json`` true: the address and the processes."""
        pids = {child.name: child.pid for child in self.children}
        with suppress(OSError, ValueError):
            pids |= json.loads((self.config.instance / "jobs.json").read_text())
        if self.queue and self.queue.process:
            pids["queue"] = self.queue.process.pid
        text = json.dumps({"url": self.config.url, "pid": os.getpid(), "processes": pids})
        if text != self._told:
            beside = self.config.instance / f".{STATE}"
            beside.write_text(text + "\n")
            beside.replace(self.config.instance / STATE)
            self._told = text

    def _end(self) -> None:
        end_all(self.children, lambda: self.stops > 1)
        if self.queue:
            embedded_redis.stop(self.queue)
        (self.config.instance / STATE).unlink(missing_ok=True)


def programs() -> list[Child]:
    """Every process but queue and lab."""
    web, jobs = python("-m", "pwserver.webserver"), python("-m", "jobs")
    return [Child("web", web), Child("jobs", jobs, grace=24)]


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def take_lock(instance: Path) -> int | None:
    """The lock of an instance folder, a file to be closed at the end; None when somebody has it."""
    lock = os.open(instance / "running.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def running(instance: Path) -> dict[str, Any]:
    """What the running instance says of itself; empty when none runs."""
    try:
        found: dict[str, Any] = json.loads((instance / STATE).read_text())
    except (OSError, ValueError):
        return {}
    return found


def ready_file(path: Path | None) -> bool:
    """Whether the lab has said that it is ready. Raises :class:`CannotStart` with its own words when it says no."""
    try:
        said = json.loads(path.read_text()) if path else {}
    except (OSError, ValueError):
        return False
    if not said.get("ready"):
        raise CannotStart(str(said.get("error", "the practice lab did not start")))
    return True


def answers(host: str, port: int) -> bool:
    """Whether something answers HTTP there, whatever it says."""
    connection = http.client.HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, port, timeout=5)  # noqa: S104
    try:
        connection.request("HEAD", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python app.py", description="Runs Password Server.")
    parser.add_argument("--demo", action="store_true", help="with the practice lab and demo data, in instance-demo")
    options = parser.parse_args(arguments)
    if options.demo:
        os.environ.setdefault("PWSERVER_INSTANCE", str(PROJECT / "instance-demo"))
        os.environ["PWSERVER_DEMO"] = "1"
    os.chdir(PROJECT)
    return Supervisor(from_environment()).run()


if __name__ == "__main__":
    sys.exit(main())
