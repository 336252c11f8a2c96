"""The shell service of one machine: shells, commands, their input and output, quotas, operation time-outs.

It runs exactly one command: the product's own bootstrap, which reads a script and a request from standard input. The
script is known by its hash; any other is answered as a machine answers on which application control forbids it.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import cast
from xml.sax.saxutils import escape

from pwserver.connectors import scripts
from pwserver.connectors.contract import OPERATIONS
from pwserver.lab import engine_mind, python_mind
from pwserver.lab.model.network import Network
from pwserver.lab.wire_soap import (
    ACCESS_DENIED,
    BAD_PARAMETER,
    CMD,
    CMD_PLUGIN,
    NO_SUCH_FILE,
    NO_SUCH_RESOURCE,
    NO_SUCH_SHELL,
    NOT_SUPPORTED,
    SHELL,
    SHELL_PROVIDER,
    TIMED_OUT,
    TOO_MANY_OPERATIONS,
    TOO_MANY_SHELLS,
    Fault,
    Request,
    new_id,
    stream,
)

log = logging.getLogger(__name__)

SHELLS_PER_USER = 30
OPERATIONS_PER_USER = 1500
"""Windows counts a text shell's commands until the shell ends, not until they do."""
ENVELOPE = 100_000
"""Bytes of output in one answer: base64 and the envelope bring it to the 153,600 that clients ask for at most."""
MAX_LINE = scripts.MAX_LINE
BLOCKED = b"This program is blocked by group policy. For more information, contact your system administrator.\r\n"
TOO_LONG = b"The command line is too long.\r\n"
CONSTRAINED = b'{"psrv":"language_mode"}'
NO_INPUT = b'{"psrv":"no_input"}'

Emit = Callable[[bytes], None]
"""Writes a piece of standard output while the script still runs."""
Mind = Callable[[Network, str, str, str, str, bytes, Emit], tuple[bytes, int]]
"""(network, machine, as_user, op, script, request, emit) → the rest of standard output, and the exit status."""


class Cut(Exception):
    """The line to the client breaks here."""


class Command:
    """A started command, its input, and what it wrote so far. Threads write and read its output at the same time."""

    def __init__(self) -> None:
        self.id = new_id()
        self.stdin = bytearray()
        self.closed = False
        self._changed = threading.Condition()
        self._out, self._err = deque[bytes](), b""
        self._status: int | None = None

    @property
    def ended(self) -> bool:
        return self._status is not None

    def write(self, out: bytes) -> None:
        """Append a piece to standard output. What was written earlier may have been received already; an empty piece
        makes the next Receive return with nothing."""
        with self._changed:
            self._append(out)
            self._changed.notify_all()

    def end(self, status: int, out: bytes = b"", err: bytes = b"") -> None:
        """End the command, with the last it writes."""
        with self._changed:
            if out:
                self._append(out)
            self._err, self._status = err, status
            self._changed.notify_all()

    def receive(self, seconds: float) -> tuple[list[bytes], bytes, int | None] | None:
        """Pieces of standard output, standard error and exit status (None: it goes on). Wait ``seconds`` for there to
        be any of it; None when there is nothing."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._out or self.ended, seconds):
                return None
            out, room = [], ENVELOPE
            while self._out and len(self._out[0]) <= room:
                out.append(self._out.popleft())
                room -= len(out[-1])
            return (out, b"", None) if self._out or not self.ended else (out, self._err, self._status)

    def _append(self, out: bytes) -> None:
        self._out += [out[begin : begin + ENVELOPE] for begin in range(0, max(1, len(out)), ENVELOPE)]


@dataclass(slots=True)
class Shell:
    owner: str
    idle_s: float
    used: float
    id: str = field(default_factory=new_id)
    commands: dict[str, Command] = field(default_factory=dict)
    operations: int = 0


def think(
    network: Network, machine: str, as_user: str, op: str, script: str, request: bytes, emit: Emit
) -> tuple[bytes, int]:
    """The mind of the lab: the script itself when an engine is named, else the Python one."""
    if os.environ.get("PWSERVER_LAB_POWERSHELL"):
        return engine_mind.run(cast(engine_mind.Model, network), machine, as_user, script, request, emit=emit)
    answer = python_mind.run(network, machine, as_user, op, json.loads(request), emit=emit)
    return json.dumps(answer).encode(), 0


class ShellService:
    """All shells of one machine."""

    def __init__(self, network: Network, machine: str, mind: Mind) -> None:
        self._network, self._machine, self._mind = network, machine, mind
        self._shells: dict[str, Shell] = {}
        self._lock = threading.Lock()

    def answer(self, user: str, asked: Request) -> tuple[str, str]:
        """Action and body of the answer. Raises :class:`Fault`, and :class:`Cut` when the line is to break."""
        handler = _HANDLERS.get(asked.action)
        if handler is None:
            raise Fault(
                NOT_SUPPORTED,
                "a:ActionNotSupported",
                "The action is not supported by the service.",
                detail="ActionMismatch",
            )
        return handler(self, user, asked)

    def open_shells(self) -> int:
        with self._lock:
            return len(self._shells)

    # one method per action

    def create(self, user: str, asked: Request) -> tuple[str, str]:
        if asked.resource != CMD:
            raise Fault(NO_SUCH_RESOURCE, "a:DestinationUnreachable", "The resource URI is not known here.")
        now = time.monotonic()
        with self._lock:
            self._shells = {key: shell for key, shell in self._shells.items() if now - shell.used < shell.idle_s}
            mine = sum(1 for shell in self._shells.values() if shell.owner == user)
            if mine >= SHELLS_PER_USER or self._network.fault(self._machine).no_shells:
                raise _quota(TOO_MANY_SHELLS, f"a maximum number of {SHELLS_PER_USER} concurrent shells")
            shell = Shell(user, asked.idle_s, now)
            self._shells[shell.id] = shell
        return (
            "http://schemas.xmlsoap.org/ws/2004/09/transfer/CreateResponse",
            f"<x:ResourceCreated><a:Address>{escape(asked.to)}</a:Address><a:ReferenceParameters>"
            f'<w:ResourceURI>{CMD}</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">{shell.id}</w:Selector>'
            f"</w:SelectorSet></a:ReferenceParameters></x:ResourceCreated><rsp:Shell><rsp:ShellId>{shell.id}"
            f"</rsp:ShellId><rsp:ResourceUri>{CMD}</rsp:ResourceUri><rsp:Owner>{escape(self._owner(user))}</rsp:Owner>"
            f"<rsp:ClientIP>127.0.0.1</rsp:ClientIP><rsp:IdleTimeOut>PT{asked.idle_s:.3f}S</rsp:IdleTimeOut>"
            "<rsp:InputStreams>stdin</rsp:InputStreams><rsp:OutputStreams>stdout stderr</rsp:OutputStreams>"
            "<rsp:ShellRunTime>P0DT0H0M0S</rsp:ShellRunTime><rsp:ShellInactivity>P0DT0H0M0S</rsp:ShellInactivity>"
            "</rsp:Shell>",
        )

    def command(self, user: str, asked: Request) -> tuple[str, str]:
        shell = self._shell(user, asked)
        with self._lock:
            total = sum(each.operations for each in self._shells.values() if each.owner == user)
            if total >= OPERATIONS_PER_USER:
                raise _quota(TOO_MANY_OPERATIONS, f"a maximum number of {OPERATIONS_PER_USER} concurrent operations")
            shell.operations += 1
        no_search = asked.options.get("WINRS_SKIP_CMD_SHELL", "FALSE").upper() == "TRUE"
        if no_search and not re.match(r"[A-Za-z]:\\", asked.command):
            text = "There is no such program."
            raise Fault(NO_SUCH_FILE, "w:InternalError", text, "s:Receiver", provider=CMD_PLUGIN)
        command = Command()
        shell.commands[command.id] = command
        if len(asked.command) > MAX_LINE:
            command.end(1, err=TOO_LONG)
        elif asked.command != _our_line():
            command.end(1, err=BLOCKED)
        told = f"<rsp:CommandResponse><rsp:CommandId>{command.id}</rsp:CommandId></rsp:CommandResponse>"
        return f"{SHELL}/CommandResponse", told

    def send(self, user: str, asked: Request) -> tuple[str, str]:
        command = self._command(self._shell(user, asked), asked)
        if not command.closed and not command.ended:
            command.stdin += asked.data
            command.closed = asked.end
            if asked.end:
                self._execute(user, command)
        return f"{SHELL}/SendResponse", "<rsp:SendResponse/>"

    def receive(self, user: str, asked: Request) -> tuple[str, str]:
        command = self._command(self._shell(user, asked), asked)
        received = command.receive(asked.timeout_s)
        if received is None:
            raise Fault(
                TIMED_OUT,
                "w:TimedOut",
                "The WS-Management service cannot complete the operation within the time given in OperationTimeout.",
                "s:Receiver",
            )
        out, err, status = received
        told = "".join(stream("stdout", command.id, piece) for piece in out if piece)
        if status is None:
            state = _state(command, "Running")
        else:
            told += stream("stderr", command.id, err) if err else ""
            told += stream("stdout", command.id, end=True) + stream("stderr", command.id, end=True)
            state = _state(command, "Done", f"<rsp:ExitCode>{status}</rsp:ExitCode>")
        return f"{SHELL}/ReceiveResponse", f"<rsp:ReceiveResponse>{told}{state}</rsp:ReceiveResponse>"

    def signal(self, user: str, asked: Request) -> tuple[str, str]:
        shell = self._shell(user, asked)
        shell.commands.pop(self._command(shell, asked).id)
        return f"{SHELL}/SignalResponse", "<rsp:SignalResponse/>"

    def delete(self, user: str, asked: Request) -> tuple[str, str]:
        shell = self._shell(user, asked)
        with self._lock:
            self._shells.pop(shell.id, None)
        return "http://schemas.xmlsoap.org/ws/2004/09/transfer/DeleteResponse", ""

    # what they use

    def _owner(self, user: str) -> str:
        """A local account is named without its machine."""
        return user.removeprefix(f"{self._machine}\\")

    def _shell(self, user: str, asked: Request) -> Shell:
        with self._lock:
            shell = self._shells.get(asked.shell_id)
            if shell is None or time.monotonic() - shell.used >= shell.idle_s:
                raise Fault(
                    NO_SUCH_SHELL,
                    "w:InvalidSelectors",
                    "There is no shell of this identifier.",
                    detail="UnexpectedSelectors",
                    provider=SHELL_PROVIDER,
                )
            if shell.owner != user:
                raise Fault(ACCESS_DENIED, "w:AccessDenied", "Access is denied.")
            shell.used = time.monotonic()
            return shell

    def _command(self, shell: Shell, asked: Request) -> Command:
        if not asked.command_id:
            text = "No command is named."
            raise Fault(BAD_PARAMETER, "w:InvalidParameter", text, detail="InvalidValue", provider=CMD_PLUGIN)
        command = shell.commands.get(asked.command_id)
        if command is None:
            text = "There is no command of this identifier."
            raise Fault(NO_SUCH_SHELL, "w:InvalidSelectors", text, detail="UnexpectedSelectors")
        return command

    def _execute(self, user: str, command: Command) -> None:
        """What powershell.exe does once its input is complete, and what the machine's faults do to it."""
        lines = bytes(command.stdin).split(b"\r\n")
        command.stdin.clear()
        try:
            script, request = (base64.b64decode(line, validate=True) for line in lines[:2])
        except (ValueError, binascii.Error):
            return command.end(90, NO_INPUT)
        op = engine_mind.known().get(scripts.digest(script.decode("utf-8", "replace")))
        if op is None:
            return command.end(91, CONSTRAINED)

        def work(asked: bytes) -> None:
            try:
                out, status = self._mind(self._network, self._machine, user, op, script.decode(), asked, command.write)
                command.end(status, out)
            except Exception as error:  # a bug of the lab; it must not look like a machine that never answers
                log.error("lab bug: %s in %s on %s", type(error).__name__, op, self._machine)
                command.end(1, err=b"The lab met a bug of its own.\r\n")

        fault = self._network.fault(self._machine)
        if OPERATIONS[op].writes and fault.late_s is not None:
            late = json.dumps(python_mind.later(json.loads(request), fault.late_s)).encode()
            self._network.later(fault.late_s, lambda: work(late))
            raise Cut
        if OPERATIONS[op].writes and fault.cut:
            if fault.cut == "after":
                work(request)
            raise Cut
        threading.Thread(target=work, args=(request,), name=f"lab {self._machine} {op}", daemon=True).start()
        return None


_HANDLERS: dict[str, Callable[[ShellService, str, Request], tuple[str, str]]] = {
    "Create": ShellService.create,
    "Command": ShellService.command,
    "Send": ShellService.send,
    "Receive": ShellService.receive,
    "Signal": ShellService.signal,
    "Delete": ShellService.delete,
}


@cache
def _our_line() -> str:
    program, arguments = scripts.command_line()
    return " ".join((program, *arguments))


def _state(command: Command, word: str, rest: str = "") -> str:
    state = f"{SHELL}/CommandState/{word}"
    return f'<rsp:CommandState CommandId="{command.id}" State="{state}">{rest}</rsp:CommandState>'


def _quota(code: int, limit: str) -> Fault:
    text = (
        f"The WS-Management service cannot process the request. This user is allowed {limit}, which has been exceeded."
    )
    return Fault(code, "w:QuotaLimit", text)
