"""Device Password: the password of an account on a device that this server reaches over SSH.

The linked credential (root, or an account with ``sudo -n``) sets it; a login as the account itself proves it, where the
device's SSH server lets the account in at all (``device_login``). The device's last-set date is only a day, so its
stamp is a digest of the shadow field (``device_protocol``): one that moved inside our own write, which ended with
status 0, is that version's, and one that has not moved since shows that the account still holds it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncssh
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pwserver.connectors import device_protocol as protocol
from pwserver.connectors import ssh
from pwserver.connectors.base import (
    ASKS_MORE,
    LOGIN_CLOSED,
    NOT_JUDGED,
    TURNED_AWAY,
    Blocked,
    Call,
    ConnectorError,
    Credential,
    Evidence,
    Key,
    Kind,
    Means,
    Refused,
    Unknown,
    Unreachable,
)
from pwserver.connectors.device_login import Obstacle, must_change, obstacle
from pwserver.core.secrets import Secret

_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*\.?")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


class Settings(BaseModel):
    """What a person types for a Device Password."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    device: str = Field(title="Device", description="Its name, as in SW-01 or sw-01.example.org.")
    user_name: str = Field(title="User name", description="The account on the device whose password this is.")
    address: str = Field("", title="Address", description="Blank: the device's name is looked up.")
    port: int = Field(22, title="Port", description="Where its SSH server listens.")
    host_key: str = Field(
        title="Host key", description="The fingerprint SHA256:… of its key. Compare it at the device before you save."
    )

    @field_validator("device")
    @classmethod
    def _device(cls, value: str) -> str:
        if not value:
            raise ValueError("Type the device's name.")
        if not _is_host(value):
            raise ValueError("This is no host name or IP address.")
        return value

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not _is_host(value):
            raise ValueError("This is no host name or IP address.")
        return value

    @field_validator("user_name")
    @classmethod
    def _user_name(cls, value: str) -> str:
        if not value:
            raise ValueError("Type the user name of the account.")
        if not protocol.USER.fullmatch(value):
            raise ValueError("A user name of a device has letters, digits, _ . and - only, at most 32.")
        return value

    @field_validator("port", mode="before")
    @classmethod
    def _port(cls, value: Any) -> int:
        text = str(value).strip() or "22"
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
            raise ValueError("A port is a number from 1 to 65535; SSH is usually 22.")
        return int(text)

    @field_validator("host_key")
    @classmethod
    def _host_key(cls, value: str) -> str:
        if not value:
            raise ValueError("Fetch the host key, compare it at the device, and keep its fingerprint here.")
        if _FINGERPRINT.fullmatch(value):
            return value
        try:
            return asyncssh.import_public_key(value).get_fingerprint()
        except asyncssh.KeyImportError:
            raise ValueError("This is no fingerprint (SHA256:…) and no public key.") from None


def _is_host(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return len(value) <= 253 and bool(_HOST.fullmatch(value))
    return True


KIND = Kind(
    kind="device_ssh",
    label="Device Password",
    icon="hdd-network",
    settings=Settings,
    is_account=True,
    transports=("ssh",),
    needs_linked=True,
    help="An account on a Linux machine, or a device with sh, chpasswd and sha256sum, reached over SSH. The linked "
    "credential sets its password; a login as the account proves it.",
    machine_of=lambda settings, agent: str(settings.device),
    account_of=lambda settings, agent: f"{settings.device}\\{settings.user_name}",
)

fetch_host_key = ssh.fetch_host_key


_EXPIRED = "Password change required"
"""What OpenSSH prints instead of running a command when the password of the login has expired."""
_TEXT = 400
"""Characters kept of what a device printed instead of our command's words."""


@dataclass(slots=True)
class _Trace:
    """How far a call came: what an exception from anywhere inside means depends on nothing else."""

    ends_at: float
    """When this call gives up, on the monotonic clock."""
    spent: set[Key] = field(default_factory=set)
    payload_sent: bool = False
    wrote: bool | None = None
    heard: bool = False
    """A word of our command came: there is a shell, and it runs it."""
    noise: str = ""
    """What came instead."""


@dataclass(slots=True)
class _Shell:
    """The linked credential's session: the command waits there for ``go``."""

    process: asyncssh.SSHClientProcess[bytes]
    lines: _Lines
    ready: protocol.Ready
    facts: list[protocol.Fact]

    @property
    def stamp(self) -> str:
        return self.ready.state.stamp


class _Lines:
    """The command's answers, line by line. Reads what there is: a prompt that waits is no line and is seen too."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes], attempt: str, trace: _Trace) -> None:
        self.process, self.attempt, self.trace = process, attempt, trace
        self._rest = b""

    async def next(self) -> protocol.Answer:
        """The next answer. Raise LineBroken when the connection broke, Blocked where our command did not run."""
        while True:
            line, end, rest = self._rest.partition(b"\n")
            if not end:
                data = await self.process.stdout.read(4096)
                if not data:
                    break
                self._rest += data
                self._note(data)
                continue
            self._rest = rest
            answer = protocol.read_line(line.decode(errors="replace"), self.attempt)
            if answer is not None:
                self.trace.heard = True
                return answer
        if self.trace.heard:
            raise ssh.LineBroken("the line was cut")
        self._note(await self.process.stderr.read())
        if _EXPIRED in self.trace.noise:
            raise Blocked("linked_expired", text=self.trace.noise)
        await self.process.wait_closed()
        if self.process.exit_status is None and self.process.exit_signal is None and not self.trace.noise:
            raise ssh.LineBroken("the line was cut")
        raise Blocked("no_tools", text=self.trace.noise)

    def _note(self, data: bytes) -> None:
        if not self.trace.heard and len(self.trace.noise) < _TEXT:
            self.trace.noise = f"{self.trace.noise} {data.decode(errors='replace').strip()}".strip()[:_TEXT]


class DeviceConnector:
    """One account on one device (``base.Connector``)."""

    def __init__(self, settings: BaseModel, linked: Credential | None) -> None:
        assert isinstance(settings, Settings)
        self.settings, self.linked = settings, linked
        self.door = ssh.Door(settings.address or settings.device, settings.port, settings.host_key)

    def read(self, call: Call) -> Evidence:
        async def run(trace: _Trace) -> Evidence:
            async with self._shell(call, trace) as shell:
                return self._evidence(shell.stamp)

        return self._run(call, run)

    def verify(self, call: Call, value: Secret) -> Evidence:
        async def run(trace: _Trace) -> Evidence:
            if self.linked is None:
                await self._log_on(value, trace, "value_refused")
                return self._evidence(None, Means.LOGGED_ON)
            async with self._shell(call, trace) as shell:
                stamp, barred = shell.stamp, self._obstacle(shell.ready.state, shell.facts)
                expired = must_change(shell.ready.state)
            held = stamp == call.stamp
            if barred is not None and barred.standing and held:
                return self._evidence(stamp, Means.UNCHANGED, no_logon=barred.text)
            self._raise_obstacle(barred)
            try:
                await self._log_on(value, trace, "value_refused", expired=expired)
            except Refused as error:
                if error.reason == "value_refused" and held:
                    raise Refused(TURNED_AWAY, spent=error.spent, wrote=False) from None
                raise
            return self._evidence(stamp, Means.LOGGED_ON)

        return self._run(call, run)

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        """An old value is proved by a login, or, where the server lets nobody in as the account, by a stamp that has
        not moved since that value was proved or written."""

        async def run(trace: _Trace) -> Evidence:
            async with self._shell(call, trace) as shell:
                barred = self._obstacle(shell.ready.state, shell.facts)
                held = shell.stamp == call.stamp
                if not (barred is not None and barred.standing and held):
                    self._raise_obstacle(barred)
                    expired = must_change(shell.ready.state)
                    try:
                        await self._log_on(old, trace, "old_value_refused", expired=expired)
                    except Refused as error:
                        if not held or error.reason not in {"old_value_refused", *NOT_JUDGED}:
                            raise
                        return await self._set(call, shell, new, trace, turned_away=True)
                return await self._set(call, shell, new, trace)

        return self._run(call, run)

    def reset(self, call: Call, new: Secret) -> Evidence:
        async def run(trace: _Trace) -> Evidence:
            async with self._shell(call, trace) as shell:
                return await self._set(call, shell, new, trace)

        return self._run(call, run)

    def write(self, call: Call, value: Secret) -> Evidence:
        raise NotImplementedError("a device password is an account, not a place")

    def restart(self, call: Call) -> Evidence:
        raise NotImplementedError("a device password is an account, not a place")

    def _run(self, call: Call, work: Callable[[_Trace], Awaitable[Evidence]]) -> Evidence:
        """Run one call to its end or its deadline. Whatever broke is *unreachable* until the payload was sent, and
        *unknown* from then on."""
        trace = _Trace(time.monotonic() + call.deadline_s)

        async def bounded() -> Evidence:
            async with asyncio.timeout(call.deadline_s):
                return await work(trace)

        try:
            return _in_a_loop(bounded())
        except TimeoutError:
            if trace.noise and not trace.heard:
                raise Blocked("no_tools", text=trace.noise, spent=trace.spent) from None
            reason, text = "no_answer", "no answer in time"
        except ssh.NoAddress as error:
            reason, text = "no_dns", error.text
        except ssh.NoAnswer as error:
            reason, text = "no_answer", error.text
        except (ssh.LineBroken, protocol.ProtocolError) as error:
            reason, text = "line_broken", str(error)
        except ssh.WrongKey as error:
            if not trace.payload_sent:
                raise Blocked("pin_changed", text=f"It shows the host key {error.text}.", spent=trace.spent) from None
            reason, text = "line_broken", "another host key"
        except (asyncssh.Error, OSError) as error:
            reason, text = "line_broken", str(error)
        if trace.payload_sent:
            raise Unknown(reason, text=text, spent=trace.spent, wrote=trace.wrote) from None
        raise Unreachable(reason, text=text, spent=trace.spent) from None

    def _evidence(self, stamp: str | None, means: Means | None = None, method: Any = "", **facts: Any) -> Evidence:
        device, user = self.settings.device, self.settings.user_name
        return Evidence(
            host=device,
            means=means,
            stamp=stamp,
            method=method,
            account_id=f"{device}\\{user}".casefold(),
            logged_on=means == Means.LOGGED_ON,
            **facts,
        )

    @asynccontextmanager
    async def _shell(self, call: Call, trace: _Trace) -> AsyncIterator[_Shell]:
        """Log in with the linked credential, start the command and read what the device tells of the account."""
        if self.linked is None:
            raise Blocked("no_linked")
        user = self.linked.user_name.rsplit("\\", 1)[-1]
        trace.spent.add(Key.LINKED)
        try:
            connection = await ssh.login(self.door, user, self.linked.secret)
        except ssh.LoginRefused:
            raise Blocked("linked_refused", spent={Key.LINKED}) from None
        except ssh.MustChange as error:
            raise Blocked("linked_expired", text=error.text) from None
        except ssh.NoPassword as error:
            raise Blocked("no_password_login", text=error.text, spent={Key.LINKED} if error.sent else ()) from None
        except ssh.SshError as error:
            if not error.sent:
                trace.spent.discard(Key.LINKED)
            raise
        trace.spent.discard(Key.LINKED)
        try:
            process = await self._start(connection)
            # Counted from here on the device: what is applied is applied before our hard deadline.
            ttl = max(0.0, min(call.ttl_s, trace.ends_at - time.monotonic()))
            with suppress(BrokenPipeError, ConnectionError):  # it has ended already; its own words tell why
                process.stdin.write(protocol.ask_line(call.attempt, ttl, self.settings.user_name, unlock=call.unlock))
            lines = _Lines(process, call.attempt, trace)
            facts: list[protocol.Fact] = []
            while isinstance(answer := await lines.next(), protocol.Fact):
                facts.append(answer)
            if isinstance(answer, protocol.Stop):
                raise _stopped(answer.reason)
            if not isinstance(answer, protocol.Ready):
                raise ssh.LineBroken("no word from the device")
            yield _Shell(process, lines, answer, facts)
        finally:
            await ssh.close(connection)

    async def _start(self, connection: asyncssh.SSHClientConnection) -> asyncssh.SSHClientProcess[bytes]:
        try:
            return await connection.create_process(protocol.COMMAND, encoding=None)
        except asyncssh.ChannelOpenError as error:
            if error.code == asyncssh.OPEN_REQUEST_SESSION_FAILED:  # it runs no commands at all
                raise Blocked("no_tools", text=error.reason) from None
            raise

    def _obstacle(self, state: protocol.State, facts: Sequence[protocol.Fact]) -> Obstacle | None:
        return obstacle(self.settings.user_name, state, facts)

    def _raise_obstacle(self, barred: Obstacle | None) -> None:
        """Before a login is spent: an account that cannot log in proves nothing, so nothing is tried."""
        if barred is not None:
            safe_in = None if barred.safe_in_s is None else timedelta(seconds=barred.safe_in_s)
            raise Refused(barred.reason, code=barred.code, text=barred.text, wrote=False, safe_in=safe_in)

    async def _log_on(self, value: Secret, trace: _Trace, reason: str, *, expired: bool = False) -> None:
        """One login as the account with ``value``. That it was let in is the proof; nothing is run there.

        ``expired``: its password has to be changed, so questions are not answered: the first would be for another one.
        """
        trace.spent.add(Key.TARGET)
        try:
            await ssh.close(await ssh.login(self.door, self.settings.user_name, value, questions=not expired))
        except ssh.LoginRefused:
            raise Refused(reason, spent={Key.TARGET}, wrote=False) from None
        except ssh.MustChange as error:  # so the password was right
            raise Refused("password_expired", text=error.text) from None
        except ssh.Closed as error:
            raise Refused(LOGIN_CLOSED, text=error.text, spent={Key.TARGET}) from None
        except ssh.AsksMore as error:
            raise Refused(ASKS_MORE, text=error.text, spent={Key.TARGET}) from None
        except ssh.NoPassword as error:
            raise Refused("password_expired" if expired else "not_provable", text=error.text) from None
        except ssh.SshError as error:
            if not error.sent:
                trace.spent.discard(Key.TARGET)
            raise
        trace.spent.discard(Key.TARGET)

    async def _set(
        self, call: Call, shell: _Shell, new: Secret, trace: _Trace, *, turned_away: bool = False
    ) -> Evidence:
        """Hand the value to ``chpasswd``, then prove it by one login, where one can be made.

        ``turned_away``: a login with the right value was refused in this call, so the next one would be, too.
        """
        device, user = shell.process, self.settings.user_name
        device.stdin.write(protocol.payload(user, new.open()))
        trace.payload_sent = True
        device.stdin.write_eof()
        answer = await shell.lines.next()
        if isinstance(answer, protocol.Stop):
            if answer.reason == "ttl":  # the time to live ran out before it wrote
                raise _stopped(answer.reason)
            raise Unknown("no_answer_after_write", text=answer.reason, spent=trace.spent)
        if not isinstance(answer, protocol.Done):
            raise ssh.LineBroken("no word from the device")
        moved = answer.state.stamp != shell.stamp
        if answer.status != 0:
            raise await self._not_set(answer, moved, device, trace)
        trace.wrote = True
        barred = self._obstacle(answer.state, shell.facts)
        if barred is not None or turned_away:
            words = barred.text or f"Its account is {barred.code}." if barred else _TURNED_AWAY
            return self._evidence(answer.state.stamp, Means.WRITTEN, "reset", no_logon=words, turned_away=turned_away)
        try:
            await self._log_on(new, trace, "refused_after_write")
        except Refused as error:
            judged = error.reason == "refused_after_write"
            words = _TURNED_AWAY if judged else error.text
            written = self._evidence(
                answer.state.stamp, Means.WRITTEN, "reset", no_logon=words, turned_away=bool(error.spent)
            )
            if moved or not judged:
                return written
            raise Unknown(
                "refused_after_write", text=error.text, spent={Key.TARGET}, wrote=True, evidence=written
            ) from None
        return self._evidence(answer.state.stamp, Means.LOGGED_ON, "reset")

    async def _not_set(self, answer: protocol.Done, moved: bool, device: Any, trace: _Trace) -> ConnectorError:
        said = (await device.stderr.read()).decode(errors="replace").strip()
        code = f"chpasswd {answer.status}"
        if moved:
            return Unknown("no_answer_after_write", code=code, text=said, spent=trace.spent)
        if "sudo:" in said:
            return Blocked("sudo_asks" if "is required" in said else "not_root", text=said)
        return Refused("policy", code=code, text=said, wrote=False)


_TURNED_AWAY = "It set the password, and then let nobody in with it: another cause keeps the account out."


def _stopped(reason: str) -> ConnectorError:
    if reason == "ttl":
        return Unreachable("ttl", text="It was too late to write; nothing was changed.")
    if reason == "no_account":
        return Refused("no_account", wrote=False)
    return Blocked(reason)


def _in_a_loop(work: Coroutine[Any, Any, Evidence]) -> Evidence:
    """Each call has a loop of its own, so that connectors are plain functions which may run in any thread."""
    return asyncio.run(work)
