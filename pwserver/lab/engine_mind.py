"""The lab with a PowerShell engine: the shipped script itself runs, and its Windows parts ask the lab's model.

The engine is started as powershell.exe would be, with the same switches, bootstrap and standard input. Before the
shipped text, which stays as it is, stand the doubles: PowerShell ones (``doubles/windows.ps1``) and native libraries
built from ``doubles/natives.c``. Both ask over a Unix socket, one line per call, and are answered by ``network.call``.

The engine is named by ``PWSERVER_LAB_POWERSHELL``, or is ``pwsh`` on PATH.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from pwserver.connectors import scripts
from pwserver.connectors.contract import OPERATIONS

DOUBLES = Path(__file__).parent / "doubles"
LIBRARIES = ("advapi32", "authz", "kernel32", "netapi32")
LIMIT_S = 120
"""An engine that runs longer is ended. One that runs many operations gets a second more for each."""


class Model(Protocol):
    """What the engine mind needs of the lab's network."""

    def call(self, machine: str, as_user: str, name: str, args: Mapping[str, Any]) -> dict[str, Any]: ...

    def later(self, seconds: float, function: Callable[[], object]) -> object: ...


class NoEngine(RuntimeError):
    """There is no PowerShell engine here, or no C compiler for the doubles."""


class ForeignScript(ValueError):
    """A script that this product does not ship. The lab runs no other."""


def engine() -> str | None:
    """The PowerShell engine to use, or None."""
    return os.environ.get("PWSERVER_LAB_POWERSHELL") or shutil.which("pwsh")


@dataclass(frozen=True, slots=True)
class Case:
    """One operation to run. Raises :class:`ForeignScript` for a script that is not one of ours."""

    network: Model
    machine: str
    as_user: str
    script_text: str
    request: bytes

    @property
    def op(self) -> str:
        op = known().get(scripts.digest(self.script_text))
        if op is None:
            raise ForeignScript("This script is not one of the product's; the lab does not run it.")
        return op

    @property
    def time_zone(self) -> str:
        return str(self.network.call(self.machine, self.as_user, "GetDynamicTimeZoneInformation", {})["name"])


@cache
def known() -> dict[str, str]:
    """Digest of every shipped script → its operation."""
    return {digest: name.removeprefix("hop:") for name, digest in scripts.digests().items()}


def run(
    network: Model,
    machine: str,
    as_user: str,
    script_text: str,
    request: bytes,
    *,
    before: str = "",
    emit: Callable[[bytes], None] | None = None,
) -> tuple[bytes, int]:
    """Runs a shipped script on ``machine`` as ``as_user``: what it wrote on standard output, and its exit status.

    ``before`` is PowerShell put between the doubles and the script; tests use it to look inside. ``emit`` gets standard
    output piece by piece while the script runs; then nothing of it is returned. Raises :class:`ForeignScript` and
    :class:`NoEngine`.
    """
    case = Case(network, machine, as_user, script_text, request)
    with _Answering([case]) as path:
        text = (DOUBLES / "windows.ps1").read_text() + before + script_text
        if emit is not None:
            return b"", _stream(path, text, request, case.time_zone, emit)
        done = _start(path, text, request, case.time_zone)
    return done.stdout, done.returncode


def run_many(cases: Sequence[Case]) -> list[bytes]:
    """Runs many operations in one engine, one after the other: what each wrote. Much quicker than :func:`run`.

    A process has one time zone, so each time zone has an engine of its own.
    """
    zones = [case.time_zone for case in cases]
    if len(set(zones)) > 1:
        parts = {zone: iter(run_many([case for case in cases if case.time_zone == zone])) for zone in set(zones)}
        return [next(parts[zone]) for zone in zones]
    answering = _Answering(cases)
    with answering as path:
        text = (DOUBLES / "windows.ps1").read_text() + (DOUBLES / "batch.ps1").read_text()
        done = _start(path, text, b"{}", zones[0], limit_s=LIMIT_S + len(cases))
    if len(answering.said) != len(cases):
        raise RuntimeError(f"the engine ended after {len(answering.said)} of {len(cases)}: {done.stderr[-2000:]!r}")
    return answering.said


def _start(
    path: str, text: str, request: bytes, time_zone: str, *, limit_s: float = LIMIT_S
) -> subprocess.CompletedProcess[bytes]:
    command, environment = _engine(path, time_zone)
    return subprocess.run(  # noqa: S603  the engine is named by whoever runs the lab
        command,
        input=scripts.stdin_lines(text, request),
        capture_output=True,
        env=environment,
        timeout=limit_s,
        check=False,
    )


def _stream(path: str, text: str, request: bytes, time_zone: str, emit: Callable[[bytes], None]) -> int:
    """Exit status of the engine. Each piece of its standard output is emitted as soon as it is there."""
    command, environment = _engine(path, time_zone)
    with subprocess.Popen(  # noqa: S603  the engine is named by whoever runs the lab
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it ended before it read everything
                process.stdin.write(scripts.stdin_lines(text, request))
                process.stdin.close()
            while piece := os.read(process.stdout.fileno(), 65536):
                emit(piece)
            return process.wait()
        finally:
            limit.cancel()


def _engine(path: str, time_zone: str) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of an engine whose doubles ask at the socket ``path``. Raises NoEngine."""
    program = engine()
    if program is None:
        raise NoEngine("Set PWSERVER_LAB_POWERSHELL to a PowerShell engine, or install pwsh.")
    places = {"PSRV_LAB_DOUBLES": str(DOUBLES), "LD_LIBRARY_PATH": str(libraries())}
    places |= {"PSRV_LAB_SOCKET": path, "TZ": time_zone}
    return [program, *scripts.command_line()[1]], os.environ | places


@cache
def libraries() -> Path:
    """The folder of the native doubles, built once per version of their source. Raises :class:`NoEngine`."""
    source = DOUBLES / "natives.c"
    compiler = shutil.which("gcc") or shutil.which("cc")
    name = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pwserver-lab" / name
    if folder.is_dir():
        return folder
    if compiler is None:
        raise NoEngine("The doubles of Windows' libraries need a C compiler (gcc).")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        first = Path(made, f"{LIBRARIES[0]}.dll")
        build = [compiler, "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", str(first), str(source)]
        subprocess.run(build, check=True, capture_output=True)  # noqa: S603  our own source
        for other in LIBRARIES[1:]:
            shutil.copy(first, Path(made, f"{other}.dll"))
        with contextlib.suppress(OSError):  # somebody else was quicker
            shutil.copytree(made, f"{folder}.new", dirs_exist_ok=True)
            os.rename(f"{folder}.new", folder)
    return folder


class _Answering:
    """Answers the doubles. A second hop changes which machine is asked, and as whom, until it is left."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.waiting = list(cases)
        self.said: list[bytes] = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self._begin(cases[0])  # refuses a foreign script before anything is opened

    def _begin(self, case: Case) -> None:
        self.network, self.op = case.network, case.op
        self.place = [(case.machine, case.as_user)]
        self.sessions: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> str:
        self.folder = tempfile.TemporaryDirectory(prefix="psrv-")
        self.listener = socket.socket(socket.AF_UNIX)
        path = os.path.join(self.folder.name, "lab")
        self.listener.bind(path)
        self.listener.listen(8)
        self.threads[0].start()
        return path

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)
        self.folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            for line in stream:
                question = json.loads(line)
                with self.lock:
                    answer = self._answer(question["name"], question["args"])
                text = "\t".join(_plain(answer)) if question.get("plain") else json.dumps(answer)
                stream.write(text.encode() + b"\n")
                stream.flush()

    def _answer(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        if name == "lab:next":
            return self._next()
        if name == "lab:said":
            self.said.append(args["text"].encode())
            return {}
        if name == "lab:enter":
            return self._enter(**args)
        if name == "lab:leave":
            self.place.pop()
            if "only" in json.loads(args["payload"]):
                return {"code": 0}
            return self._ask("InvokeEnd", {"session": args["session"], "writes": OPERATIONS[self.op].writes})
        if name in ("RegOpenKeyEx", "RegEnumKey", "RegQueryInfoKey", "RegGetValue"):
            args = args | {"key": "HKLM\\" + args["key"]}
        answer = self._ask(name, args)
        if name == "NewPSSession" and answer["code"] == 0:
            self.sessions[answer["session"]] = (answer["machine"], answer["as_user"])
        return answer

    def _next(self) -> dict[str, Any]:
        if not self.waiting:
            return {"script": None}
        case = self.waiting.pop(0)
        self._begin(case)
        host = self._ask("PowerShellHost", {})
        return host | {"script": case.script_text, "request": case.request.decode()}

    def _ask(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        return self.network.call(*self.place[-1], name, args)

    def _enter(self, session: str, script: str, payload: str) -> dict[str, Any]:
        there = self.sessions[session]
        if "only" not in json.loads(payload):
            line = self._ask("InvokeCommand", {"session": session, "writes": OPERATIONS[self.op].writes})
            if line["run"] == "late":
                self.network.later(line["late_s"], lambda: run(self.network, *there, script, payload.encode()))
            if line["run"] != "now":
                return {"code": line["code"] or 1}
        self.place.append(there)
        return self._ask("PowerShellHost", {}) | {"code": 0}


def _plain(answer: Mapping[str, Any]) -> Iterator[str]:
    """For the native doubles: names and values that need no parser. Lists are joined by a unit separator."""
    for name, value in answer.items():
        if isinstance(value, bool):
            value = int(value)
        if isinstance(value, (list, tuple)):
            value = "\x1f".join(value)
        yield f"{name}={'' if value is None else value}"
