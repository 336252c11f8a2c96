"""The lab's control socket: one JSON request a line, one JSON answer a line, on a Unix socket only its owner may open.

Request ``{"verb": …, "args": {…}}``; answer ``{"ok": true, "result": {…}}`` or ``{"ok": false, "error": words}``.
Secrets travel only inside these messages.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pwserver.core.errors import NotFound, PwserverError
from pwserver.lab import truth
from pwserver.lab.model.network import Network

SOCKET = "control.sock"
MAX_LINE = 1_000_000

VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    "state": truth.state,
    "hash": truth.hash_of,
    "badlogons": truth.badlogons,
    "requests": truth.requests,
    "reset": truth.reset,
    "fault": truth.fault,
    "set-password": truth.set_password,
    "holds": truth.holds,
    "start-service": truth.start_service,
    "run-task": truth.run_task,
    "policy": truth.set_policy,
    "account": truth.set_account,
}


class LabAway(PwserverError):
    """No lab answers on the socket."""

    user_message = "The practice lab does not run. Start it with the demo (make demo), then try again."


class LabRefused(PwserverError):
    """The lab said no; its words."""


class LabMissing(LabRefused, NotFound):
    """The lab has no such machine, account, task or service."""


class ControlServer:
    """Answers on ``folder/control.sock`` until :meth:`stop`. ``extra``: more verbs, such as ``addresses``."""

    def __init__(
        self, network: Network, folder: Path, *, extra: dict[str, Callable[[], dict[str, Any]]] | None = None
    ) -> None:
        self._network, self._extra = network, extra or {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(folder, 0o700)
        self.path = folder / SOCKET
        self._listener = _listen(self.path)
        self._thread = threading.Thread(target=self._accept, name="lab control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(2)
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), name="lab control line", daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as requests:
            line.settimeout(60)
            try:
                while request := requests.readline(MAX_LINE):
                    line.sendall(json.dumps(self._answer(request)).encode() + b"\n")
            except OSError:
                return  # whoever asked has gone

    def _answer(self, request: bytes) -> dict[str, Any]:
        try:
            message = json.loads(request)
            verb, args = message["verb"], message.get("args", {})
            if verb in self._extra and not args:
                return {"ok": True, "result": self._extra[verb]()}
            return {"ok": True, "result": VERBS[verb](self._network, **args)}
        except PwserverError as error:
            return {
                "ok": False,
                "error": error.user_message,
                "field": error.field,
                "missing": isinstance(error, NotFound),
            }
        except (ValueError, KeyError, TypeError):
            return {"ok": False, "error": "The lab does not know this request."}
        except OSError as error:
            return {"ok": False, "error": f"The lab could not write down its truth ({error.strerror or error})."}


def _listen(path: Path) -> socket.socket:
    """Binds the socket by a short way: a Unix socket's address may have 107 bytes only."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _Short(path) as address:
        listener.bind(address)
    os.chmod(path, 0o600)
    listener.listen(64)
    return listener


class _Short:
    """A path to the socket that fits in its address, through the folder's file descriptor where needed."""

    def __init__(self, path: Path) -> None:
        self._path, self._folder = path, -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) < 100:
            return str(self._path)
        self._folder = os.open(self._path.parent, os.O_RDONLY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *ignored: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)


def ask(socket_path: str | Path, verb: str, **args: Any) -> dict[str, Any]:
    """Asks a running lab. Raises :class:`LabAway` when none answers, :class:`LabRefused` with its words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(30)
        try:
            with _Short(Path(socket_path)) as address:
                line.connect(address)
            line.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
            with line.makefile("rb") as answers:
                raw = answers.readline()
        except OSError:
            raise LabAway from None
    if not raw.endswith(b"\n"):
        raise LabAway
    answer = json.loads(raw)
    if not answer["ok"]:
        refused = LabMissing if answer.get("missing") else LabRefused
        raise refused(answer["error"], field=answer.get("field"))
    result: dict[str, Any] = answer["result"]
    return result
