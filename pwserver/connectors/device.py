"""Device Password: the password of an account on a device that this server reaches over SSH.

The linked credential (root, or who may use ``sudo -n``) sets it; a login as the account itself proves it. The device's
last-set date is only a day, so its stamp is a digest of the shadow field (``device_protocol``).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pwserver.connectors import device_protocol as protocol
from pwserver.connectors import ssh
from pwserver.connectors.base import (
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
    help="An account on a switch, a firewall or a Linux machine, reached over SSH. The linked credential sets its "
    "password; a login as the account proves it.",
    machine_of=lambda settings, agent: str(settings.device),
    account_of=lambda settings, agent: f"{settings.device}\\{settings.user_name}",
)

fetch_host_key = ssh.fetch_host_key


@dataclass(slots=True)
class _Trace:
    """How far a call came: what an exception from anywhere inside means depends on nothing else."""

    ends_at: float
    """When this call gives up, on the monotonic clock."""
    spent: set[Key] = field(default_factory=set)
    payload_sent: bool = False
    wrote: bool | None = None


@dataclass(slots=True)
class _Shell:
    """The linked credential's session: the command waits there for ``go``."""

    process: asyncssh.SSHClientProcess[bytes]
    ready: protocol.Ready


class DeviceConnector:
    """One account on one device (``base.Connector``)."""

    def __init__(self, settings: BaseModel, linked: Credential | None) -> None:
        assert isinstance(settings, Settings)
        self.settings, self.linked = settings, linked
        self.door = ssh.Door(settings.address or settings.device, settings.port, settings.host_key)

    def read(self, call: Call) -> Evidence:
        async def run(trace: _Trace) -> Evidence:
            async with self._shell(call, trace) as shell:
                return self._evidence(shell.ready.stamp)

        return self._run(call, run)

    def verify(self, call: Call, value: Secret) -> Evidence:
        async def run(trace: _Trace) -> Evidence:
            stamp = None
            if self.linked:
                async with self._shell(call, trace) as shell:
                    self._must_be_able_to_tell(shell.ready.state)
                    stamp = shell.ready.stamp
            await self._log_on(value, trace, "value_refused")
            return self._evidence(stamp, Means.LOGGED_ON)

        return self._run(call, run)

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        async def run(trace: _Trace) -> Evidence:
            async with self._shell(call, trace) as shell:
                self._must_be_able_to_tell(shell.ready.state)
                await self._log_on(old, trace, "old_value_refused")
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
        """Runs one call to its end or its deadline. Whatever broke is *unreachable* until the payload was sent, and
        *unknown* from then on."""
        trace = _Trace(time.monotonic() + call.deadline_s)

        async def bounded() -> Evidence:
            async with asyncio.timeout(call.deadline_s):
                return await work(trace)

        try:
            return _in_a_loop(bounded())
        except TimeoutError:
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

    def _evidence(self, stamp: str | None, means: Means | None = None, method: Any = "") -> Evidence:
        device, user = self.settings.device, self.settings.user_name
        return Evidence(
            host=device,
            means=means,
            stamp=stamp,
            method=method,
            account_id=f"{device}\\{user}".casefold(),
            logged_on=means == Means.LOGGED_ON,
        )

    @asynccontextmanager
    async def _shell(self, call: Call, trace: _Trace) -> AsyncIterator[_Shell]:
        """The linked credential logs in, starts the command and hears what the device says about the account."""
        if self.linked is None:
            raise Blocked("no_linked")
        user = self.linked.user_name.rsplit("\\", 1)[-1]
        trace.spent.add(Key.LINKED)
        try:
            connection = await ssh.login(self.door, user, self.linked.secret)
        except ssh.LoginRefused:
            raise Blocked("linked_refused", spent={Key.LINKED}) from None
        except ssh.NoPassword as error:
            raise Blocked("no_password_login", text=error.text, spent={Key.LINKED} if error.sent else ()) from None
        except ssh.SshError as error:
            if not error.sent:
                trace.spent.discard(Key.LINKED)
            raise
        trace.spent.discard(Key.LINKED)
        try:
            process = await connection.create_process(protocol.COMMAND, encoding=None)
            # Counted from here on the device: what is applied is applied before our hard deadline.
            ttl = max(0.0, min(call.ttl_s, trace.ends_at - time.monotonic()))
            process.stdin.write(protocol.ask_line(call.attempt, ttl, self.settings.user_name, unlock=call.unlock))
            answer = await self._answer(call, process)
            if not isinstance(answer, protocol.Ready):
                raise ssh.LineBroken("no word from the device")
            yield _Shell(process, answer)
        finally:
            await ssh.close(connection)

    async def _answer(self, call: Call, process: Any) -> protocol.Ready | protocol.Done:
        """The command's next answer. Its stops are raised as what they mean: nothing was written."""
        while line := await process.stdout.readline():
            answer = protocol.read_line(line.decode(errors="replace"), call.attempt)
            if isinstance(answer, protocol.Stop):
                raise _stopped(answer.reason)
            if answer is not None:
                return answer
        raise ssh.LineBroken("the line was cut")

    def _must_be_able_to_tell(self, state: str) -> None:
        """Before a login is spent: an account that cannot log in proves nothing, so nothing is tried."""
        if state != "ok":
            raise Refused("account_state", code=state, wrote=False)

    async def _log_on(self, value: Secret, trace: _Trace, reason: str) -> None:
        """One login as the account with ``value``. That it was let in is the proof; nothing is run there."""
        trace.spent.add(Key.TARGET)
        try:
            await ssh.close(await ssh.login(self.door, self.settings.user_name, value))
        except ssh.LoginRefused:
            raise Refused(reason, spent={Key.TARGET}, wrote=False) from None
        except ssh.NoPassword as error:
            raise Refused("cannot_prove_old", text=error.text, spent={Key.TARGET} if error.sent else ()) from None
        except ssh.SshError as error:
            if not error.sent:
                trace.spent.discard(Key.TARGET)
            raise
        trace.spent.discard(Key.TARGET)

    async def _set(self, call: Call, shell: _Shell, new: Secret, trace: _Trace) -> Evidence:
        """Hands the value to ``chpasswd``, then proves it by one login."""
        device, user = shell.process, self.settings.user_name
        device.stdin.write(protocol.payload(user, new.open()))
        trace.payload_sent = True
        device.stdin.write_eof()
        try:
            answer = await self._answer(call, device)
        except Unreachable:  # its own word that the time to live ran out before it wrote
            raise
        except ConnectorError as error:  # it wrote, and then no longer found the account
            raise Unknown("no_answer_after_write", text=error.reason, spent=trace.spent) from None
        if not isinstance(answer, protocol.Done):
            raise ssh.LineBroken("no word from the device")
        if answer.status != 0:
            said = (await device.stderr.read()).decode(errors="replace").strip()
            if answer.stamp != shell.ready.stamp:
                raise Unknown("no_answer_after_write", code=f"chpasswd {answer.status}", text=said, spent=trace.spent)
            if "sudo:" in said:
                raise Blocked("not_admin", text=said)
            raise Refused("policy", code=f"chpasswd {answer.status}", text=said, wrote=False)
        trace.wrote = True
        evidence = self._evidence(answer.stamp, Means.WRITTEN, "reset")
        if answer.state != "ok":
            return evidence
        try:
            await self._log_on(new, trace, "refused_after_write")
        except Refused as error:
            if error.reason == "cannot_prove_old":
                return evidence
            raise Unknown(
                "refused_after_write", text=error.text, spent={Key.TARGET}, wrote=True, evidence=evidence
            ) from None
        return self._evidence(answer.stamp, Means.LOGGED_ON, "reset")


def _stopped(reason: str) -> ConnectorError:
    if reason == "ttl":
        return Unreachable("ttl", text="It was too late to write; nothing was changed.")
    if reason == "no_account":
        return Refused("no_account", wrote=False)
    return Blocked(reason)


def _in_a_loop(work: Coroutine[Any, Any, Evidence]) -> Evidence:
    """Each call has a loop of its own, so that connectors are plain functions which may run in any thread."""
    return asyncio.run(work)
