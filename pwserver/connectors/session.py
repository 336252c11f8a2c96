"""A WinRM session with one agent: the only place that knows pywinrm.

What went wrong is told by how far the line got, never by an error's words:

* before the payload's last bytes went out, nothing can have happened: *unreachable*;
* after them, a broken line or our own deadline is *unknown* for an operation that writes, and *unreachable* for one
  that cannot (its reservation stays);
* over a second hop the script announces its hand-over: until that line nothing was sent to the second machine, and
  from it on the linked credential was let in. Without it *unreachable* is only what the agent itself shows on an
  unbroken connection: an answer, or silence after the script's time to live;
* a 401 ends the session for good: nothing is sent on it any more, by any later call. It does not say why: WinRM
  answers so to a wrong password and to a dozen states of the account, the machine and the domain.

A payload is never sent a second time. No frame of a raised exception holds the payload or the login.

Where another call will follow at once, the agent starts its process while the answer to this one is written down: it
waits for its payload and knows nothing yet. On a Windows machine that start is the longest part of a call.
"""

from __future__ import annotations

import html
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import requests
from winrm.exceptions import InvalidCredentialsError, WinRMOperationTimeoutError, WinRMTransportError, WSManFaultError
from winrm.protocol import Protocol
from winrm.transport import Transport

from pwserver.connectors import contract, ntlm, pinning, scripts
from pwserver.connectors.base import MAX_TEXT, Blocked, Call, ConnectorError, Credential, Key, Unknown, Unreachable
from pwserver.core.scrub import scrub
from pwserver.core.secrets import Secret

T = TypeVar("T")

UTF8 = 65001
ACCESS_DENIED = 5
QUOTA_FAULTS = frozenset({*range(0x803381A5, 0x803381A9), 0x803381AB, *range(0x803381E4, 0x803381EB)})
"""Too many shells, operations or users: by user, by plug-in, by the whole machine."""
READY_SECONDS = 3.0
"""A process that was started ahead and waited longer is not used: the next call starts its own."""
MAX_OUTPUT = 1_000_000
"""Bytes; an answer has a few thousand."""
LATE_START = 2 / 3
"""Of the time by which a call outlasts a script's time to live: how late the script may begin to count it."""


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """Where an agent answers. ``pin``: SHA-256 of its certificate in hex. ``machine``: the name it gives itself."""

    host: str
    port: int
    pin: str
    machine: str


@dataclass(frozen=True, slots=True)
class SessionTiming:
    """Seconds, but ``chunk``: bytes of the payload in one request (a third more on the wire, below the 150 kB that the
    oldest Windows takes in one message)."""

    connect_s: float = 10.0
    operation_s: int = 20
    """How long the agent may hold one request back."""
    grace_s: float = 10.0
    """How much longer one request may take on the way."""
    close_s: float = 5.0
    idle_s: int = 300
    """After this the agent ends a shell that we could not close."""
    idle_over_deadline_s: int = 60
    """A shell outlives the deadline of a long call by this, even when the line is cut."""
    chunk: int = 100_000


class _Payload:
    """The two lines for standard input. It prints nothing of itself."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return "payload"


class _NeverHandedOver(Exception):
    """The agent answered after the script's time to live: nothing went on to the second machine, nor will it."""


class _PinnedTransport(Transport):
    """pywinrm builds a new session whenever it likes; each is guarded, and logs in our way."""

    line: pinning.Line

    def build_session(self) -> requests.Session:
        if self.session is None:
            session = super().build_session()
            pinning.guard(session, self.line)
            session.auth = ntlm.Login(self.line, self.username or "", self.password or "")
        assert self.session is not None
        return self.session


class _Shell:
    """One connection, its login and one command shell on it."""

    def __init__(self, address: AgentAddress, login: Credential, timing: SessionTiming, deadline: float) -> None:
        self.timing, self.deadline = timing, deadline
        self.output = bytearray()
        """Standard output of the command in hand, as far as it came."""
        self.line = pinning.Line(address.host, address.port, address.pin, connect_s=timing.connect_s)
        user = login.user_name
        self._protocol = Protocol(
            self.line.url,
            transport="ntlm",
            username=address.machine + user[1:] if user.startswith(".\\") else user,
            password="",  # it would keep it for good; the transport below has it until the login is accepted
            operation_timeout_sec=timing.operation_s,
            read_timeout_sec=timing.operation_s + 1,  # it must be more; the line's deadline is the one that counts
        )
        self._protocol.transport = _PinnedTransport(
            self.line.url,
            username=self._protocol.username,
            password=login.secret.open(),
            ca_trust_path=None,  # type: ignore[arg-type]  # None is its word for: ask no environment
            read_timeout_sec=timing.operation_s + 1,
            server_cert_validation="ignore",
            auth_method="ntlm",
            send_cbt=True,
            proxy=None,
        )
        self._protocol.transport.line = self.line
        self.shell_id = ""
        self.idle_s = 0

    def open(self, idle_s: int) -> None:
        """Log in and open the shell. A connection that was closed before the login's proof went out is made once more:
        that cost no try, and nothing was sent."""
        self.idle_s = idle_s
        try:
            self.shell_id = self._log_in()
        except (requests.ConnectionError, pinning.Dropped):
            if not self.line.may_start_over:
                raise
            self.line.start_over()
            self.shell_id = self._log_in()
        # The connection is logged in and no other is made: from here on nothing needs the password.
        transport = self._protocol.transport
        transport.password = None
        assert transport.session is not None
        transport.session.auth = None

    def _log_in(self) -> str:
        """The new shell's id: its request follows the login on the same connection."""
        idle = f"PT{self.idle_s}S"
        return self._ask(lambda p: p.open_shell(codepage=UTF8, noprofile=True, idle_timeout=idle))

    def start(self) -> str:
        self.line.handed_over = False
        self.output = bytearray()
        program, arguments = scripts.command_line()
        return self._ask(
            lambda p: p.run_command(self.shell_id, program, arguments, console_mode_stdin=False, skip_cmd_shell=False)
        )

    def hand_over(self, command: str, payload: _Payload) -> None:
        """Sends the payload. ``line.handed_over`` tells afterwards whether its last bytes went out."""
        size, step = len(payload.data), self.timing.chunk
        for begin in range(0, size, step):
            last = begin + step >= size
            self.line.carries_end = last
            try:
                self._send(command, payload.data[begin : begin + step], last)
            except WinRMOperationTimeoutError:
                if not last:
                    raise  # the end was not sent, and is not sent any more
            finally:
                self.line.carries_end = False

    def _send(self, command: str, piece: bytes, end: bool) -> None:
        self._ask(lambda p: p.send_command_input(self.shell_id, command, piece, end=end))

    def receive(self, command: str, over_by: float | None, announced: Callable[[bytearray], bool]) -> tuple[bytes, int]:
        """Standard error and exit status, when the command has ended or talked too much (-1); ``output`` has the rest.

        ``over_by``: the moment by which a script that announced no hand-over makes none any more (None: it makes none).
        Raise _NeverHandedOver when the agent has nothing to tell to a question that was asked after it.
        """
        err = bytearray()
        while True:
            asked = time.monotonic()
            is_over = over_by is not None and asked >= over_by and not announced(self.output)
            hold = self._hold(asked, over_by)
            try:
                more_out, more_err, status, done = self._ask(
                    lambda p: p.get_command_output_raw(self.shell_id, command), hold
                )
            except WinRMOperationTimeoutError:
                if is_over:
                    raise _NeverHandedOver from None
                continue
            self.output += more_out
            err += more_err
            if done or len(self.output) + len(err) > MAX_OUTPUT:
                return bytes(err), status

    def _hold(self, asked: float, over_by: float | None) -> float:
        """How long the agent may hold a question back: not past the moment after which its silence tells something."""
        if over_by is None or asked > self.deadline:
            return self.timing.operation_s
        return 1 if asked >= over_by else over_by - asked

    def finish(self, command: str) -> bool:
        """Tells the agent to forget the command. False when the shell should not be used again."""
        self.deadline = min(self.deadline, time.monotonic() + self.timing.close_s)
        try:
            self._ask(lambda p: p.cleanup_command(self.shell_id, command))
        except Exception:
            return False
        return True

    def close(self, *, politely: bool) -> None:
        """Ends the shell if it still can be told, and the connection. Never raises."""
        transport = self._protocol.transport
        transport.password = None
        try:
            if politely and self.shell_id:
                self.deadline = min(self.deadline, time.monotonic() + self.timing.close_s)
                self._ask(lambda p: p.close_shell(self.shell_id, close_session=False))
        except Exception:  # noqa: S110  # the shell ends by itself after idle_s; there is nobody to tell
            pass
        finally:
            self.shell_id = ""
            transport.close_session()

    def _ask(self, question: Callable[[Protocol], T], hold_s: float | None = None) -> T:
        """One request, within both the call's deadline and what one request may take. ``hold_s``: at most so long."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        hold = max(1, min(self.timing.operation_s, int(left), int(hold_s or left)))
        self._protocol.operation_timeout_sec = hold
        self.line.deadline = min(self.deadline, time.monotonic() + hold + self.timing.grace_s)
        return question(self._protocol)


class AgentSession:
    """One run's session with one agent. Calls come one after the other; it is a context manager."""

    def __init__(self, address: AgentAddress, login: Credential, *, timing: SessionTiming | None = None) -> None:
        self._address, self._login, self._timing = address, login, timing or SessionTiming()
        self._shell: _Shell | None = None
        self._dead: tuple[str, str] | None = None
        self._lock = threading.Lock()
        self._finishing: threading.Thread | None = None
        self._ready: tuple[str, float] | None = None
        """A command of the kept shell that waits for its payload, and since when."""

    def __repr__(self) -> str:
        return f"AgentSession({self._address.machine})"

    def __enter__(self) -> AgentSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def run(
        self,
        op: str,
        *,
        call: Call,
        computer_name: str,
        params: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        hop: contract.Hop | None = None,
    ) -> contract.Answer:
        """Runs one operation of the contract. Raises one of the connector errors."""
        operation = contract.OPERATIONS[op]

        def payload(ttl_s: float) -> _Payload:
            request = contract.request(
                op,
                attempt=call.attempt,
                ttl_s=ttl_s,
                computer_name=computer_name,
                machine_sid=call.machine_sid,
                params=params,
                secrets=secrets,
                hop=hop,
            )
            return _Payload(scripts.stdin_lines(scripts.script(op, hop=hop is not None), request))

        payload(call.ttl_s)  # a request the contract does not know is a bug of ours, seen before anything is sent
        known = [*secrets.values(), self._login.secret, *([hop.secret] if hop else [])]
        with self._lock:
            result = self._attempt(operation, call, payload, _costs(operation, hop), known, hop is not None)
        if isinstance(result, ConnectorError):
            raise result  # here, where no frame holds the payload or what came back for it
        return result

    def close(self) -> None:
        """Ends the shell on the agent and the connection. Never raises; may be called twice."""
        with self._lock:
            self._await_finish()
            self._drop(politely=self._dead is None, deadline=time.monotonic() + self._timing.close_s)

    def _attempt(
        self,
        operation: contract.Operation,
        call: Call,
        payload: Callable[[float], _Payload],
        costs: frozenset[Key],
        known: list[Secret],
        hops: bool,
    ) -> ConnectorError | contract.Answer:
        """One operation; errors are given back, not raised, so that no traceback leads into the frames below.

        ``hops``: the script goes on to a second machine.
        """
        deadline = time.monotonic() + call.deadline_s
        self._await_finish()
        if self._dead is not None:
            return Blocked(self._dead[0], text=self._dead[1])
        started = self._start(deadline)
        if isinstance(started, ConnectorError):
            return started
        shell, command = started

        def announced(output: bytearray) -> bool:
            return contract.is_handed_over(output, call.attempt)

        def left_to_pay() -> frozenset[Key]:
            # the second machine lets the linked credential in before it gets anything
            return costs - {Key.LINKED} if hops and announced(shell.output) else costs

        ttl = min(call.ttl_s, deadline - time.monotonic())
        over_by = time.monotonic() + ttl + LATE_START * (call.deadline_s - call.ttl_s) if hops else None
        try:
            shell.hand_over(command, payload(ttl))
            err, status = shell.receive(command, over_by, announced)
        except _NeverHandedOver:
            self._drop(politely=True, deadline=time.monotonic() + self._timing.close_s)
            return Unreachable("hop_unreachable", code="no hand-over", spent=costs - {Key.TARGET})
        except Exception as error:
            failure = self._meaning(error, shell, operation.writes, left_to_pay())
            self._drop(politely=False)
            return failure
        out = bytes(shell.output)
        answer = _read(out, call.attempt, operation.name, hops)
        self._finish(shell, command, ahead=call.more and answer is not None and answer.stage == "done")
        if answer is not None:
            return answer
        kind = Unknown if operation.writes else Unreachable
        return kind("answer_foreign", code=f"exit {status}", text=_sentence(err or out, known), spent=left_to_pay())

    def _finish(self, shell: _Shell, command: str, *, ahead: bool) -> None:
        """Has the agent forget the command, while whoever asked writes the answer down: nothing of it is lost when this
        request hangs. ``ahead``: and has it start the next one. The connection is that thread's alone until it ended.
        """

        def finish() -> None:
            if not shell.finish(command):
                self._drop(politely=False)
            elif ahead:
                self._start_ahead(shell)

        self._finishing = threading.Thread(target=finish, name="finish", daemon=True)
        self._finishing.start()

    def _start_ahead(self, shell: _Shell) -> None:
        """When this fails, the next call finds the shell gone and opens another one, as ever."""
        try:
            self._ready = shell.start(), time.monotonic()
        except Exception:
            self._drop(politely=False)

    def _await_finish(self) -> None:
        if self._finishing is not None:
            self._finishing.join()  # it gives up after close_s
            self._finishing = None

    def _start(self, deadline: float) -> ConnectorError | tuple[_Shell, str]:
        """A shell and a started command. A kept shell that turns out to be gone is replaced, once."""
        ready, self._ready = self._ready, None
        # A restart goes on in its shell when the line is cut, and must not end with it half-way.
        idle_s = max(self._timing.idle_s, int(deadline - time.monotonic()) + self._timing.idle_over_deadline_s)
        if self._shell is not None and self._shell.idle_s < idle_s:
            self._drop(politely=True, deadline=min(deadline, time.monotonic() + self._timing.close_s))
        if self._shell is not None and ready is not None and time.monotonic() - ready[1] < READY_SECONDS:
            self._shell.deadline = deadline
            return self._shell, ready[0]
        while True:
            kept = self._shell
            try:
                shell = kept or _Shell(self._address, self._login, self._timing, deadline)
            except pinning.NoName as error:
                return Unreachable("no_dns", text=str(error))
            except InvalidCredentialsError:  # pywinrm's word for: no user name
                return Blocked("login_refused", code="no user name")
            shell.deadline, self._shell = deadline, shell
            try:
                if kept is None:
                    shell.open(idle_s)
                return shell, shell.start()
            except Exception as error:
                failure = self._meaning(error, shell, False, frozenset())
                self._drop(politely=isinstance(error, WSManFaultError), deadline=deadline)
            if kept is None or self._dead or time.monotonic() >= deadline:
                return failure

    def _drop(self, *, politely: bool, deadline: float | None = None) -> None:
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.deadline = deadline or shell.deadline
            shell.close(politely=politely)

    def _meaning(self, error: Exception, shell: _Shell, writes: bool, costs: frozenset[Key]) -> ConnectorError:
        """What an error out of pywinrm means, by how far the line got."""
        line = shell.line
        if line.login_refused or isinstance(error, InvalidCredentialsError):
            # Without NTLM's proof sent, nothing was tried: no challenge came, or a second login was asked for.
            reason = "login_not_accepted" if line.login_refused or shell.shell_id else "no_ntlm"
            text = "" if reason != "no_ntlm" or not line.offers else f"It offers {', '.join(line.offers)}."[:MAX_TEXT]
            self._dead = (reason, text)
            if line.handed_over:  # the script may have run: what it did is looked at, not assumed
                kind = Unknown if writes else Unreachable
                return kind("connection_lost", code="401", spent=costs)
            return Blocked(reason, code="401", text=text, spent={Key.LOGIN} if line.login_refused else ())
        if isinstance(error, pinning.OtherCertificate):
            self._dead = ("pin_changed", error.seen)
            return Blocked("pin_changed", text=error.seen)
        code, text = _words(error)
        late = shell.deadline <= time.monotonic() + 0.05
        if line.handed_over:
            facts: dict[str, Any] = {"code": code, "text": text, "spent": costs}
            reason = "deadline" if late else "connection_lost"
            return Unknown(reason, **facts) if writes else Unreachable(reason, **facts)
        spent = {Key.LOGIN} if line.login_open else set()
        fault = error.wsman_fault_code if isinstance(error, WSManFaultError) else None
        if fault == ACCESS_DENIED:
            return Blocked("not_admin", code="5", text=text)
        if fault in QUOTA_FAULTS:
            return Unreachable("out_of_shells", code=code, text=text)
        if isinstance(error, pinning.NoName):
            return Unreachable("no_dns", text=text)
        if not shell.shell_id:
            return Unreachable("unreachable", code=code, text=text, spent=spent)
        return Unreachable("deadline" if late else "connection_lost", code=code, text=text, spent=spent)


def fetch_fingerprint(host: str, port: int, timeout: float = 10.0) -> str:
    """SHA-256 (hex) of the certificate that is shown there, for a person to confirm. No login is sent.

    Raises :class:`Unreachable`.
    """
    try:
        return pinning.fingerprint(host, port, timeout)
    except pinning.NoName as error:
        failure = Unreachable("no_dns", text=str(error))
    except pinning.LineError as error:
        failure = Unreachable("unreachable", text=str(error))
    raise failure


def check(
    address: AgentAddress, login: Credential, *, machine_sid: str | None = None, timing: SessionTiming | None = None
) -> contract.Answer:
    """Logs in at an agent once and asks who it is. Raises one of the connector errors."""
    call = Call(attempt=uuid.uuid4().hex, ttl_s=20, deadline_s=40, machine_sid=machine_sid)
    with AgentSession(address, login, timing=timing) as session:
        return session.run("identity", call=call, computer_name=address.machine, params={}, secrets={})


def _costs(operation: contract.Operation, hop: contract.Hop | None) -> frozenset[Key]:
    """Whose tries may be gone once the payload was handed over and no answer came."""
    logs_on = bool(operation.secrets) or operation.writes
    return frozenset(({Key.TARGET} if logs_on else set()) | ({Key.LINKED} if hop else set()))


def _read(output: bytes, attempt: str, op: str, hops: bool) -> contract.Answer | None:
    if not hops and contract.is_handed_over(output, attempt):
        return None  # there is nothing to hand over
    try:
        return contract.read_answer(output, attempt=attempt, op=op)
    except contract.ContractError:
        return None


def _words(error: Exception) -> tuple[str, str]:
    """A code and a sentence for the journal. Only what the agent's service said itself is quoted."""
    if isinstance(error, WSManFaultError):
        return str(error.wsman_fault_code or error.wmierror_code or error.code), (error.reason or "")[:MAX_TEXT]
    if isinstance(error, WinRMTransportError):
        return f"HTTP {error.code}", ""
    if isinstance(error, pinning.LineError):
        return type(error).__name__, str(error)
    return type(error).__name__, ""


CLIXML = "#< CLIXML"
ERROR_OF_CLIXML = re.compile(r'<S S="Error">(.*?)</S>', re.DOTALL)


def _sentence(output: bytes, secrets: list[Secret]) -> str:
    """The beginning of what came that is no answer, up to the first word that could be encoded data. Of PowerShell's
    serialised errors only their text."""
    words: list[str] = []
    text = output.decode("utf-8", "replace")
    if text.startswith(CLIXML):
        text = html.unescape(" ".join(ERROR_OF_CLIXML.findall(text))).replace("_x000D__x000A_", " ")
    for word in text.split():
        if len(word) > 40:
            break
        words.append(word)
    return scrub(" ".join(words), secrets)[:MAX_TEXT]
