"""The lab's devices on the wire: a real SSH server on loopback for each, over the same truth as everything else.

It knows the one command that the connector sends and answers as a device's shell would. Logins are judged and counted
by the model. A device that is off closes every connection at once; its other faults are looked at with every connection
and every command: slow, cut before or after, late, another host key (``certificate``, ``reinstalled``), no shell
(``no-shells``), a command line of its own (``constrained``), refused logins, an SSH server that admits administrators
alone (``no-network``), a login that is not root (``filtered``).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from pwserver.connectors import device_protocol as protocol
from pwserver.lab.listen import listen
from pwserver.lab.model.devices import Device
from pwserver.lab.model.faults import Fault
from pwserver.lab.model.network import Network

log = logging.getLogger(__name__)

T = TypeVar("T")


class Switch:
    """All devices' listeners, served by one thread."""

    def __init__(self, network: Network, folder: Path, host: str, ports: dict[str, int]) -> None:
        self.network, self.addresses = network, dict[str, dict[str, Any]]()
        self._keys = {name: _host_key(folder / "switch", name) for name in network.state.devices}
        self._other = {name: _host_key(folder / "switch", f"{name}.other") for name in network.state.devices}
        self._listeners: dict[str, socket.socket] = {}
        for name, key in self._keys.items():
            listener = listen(host, ports.get(name, 0))
            listener.setblocking(False)
            ports[name] = listener.getsockname()[1]
            self._listeners[name] = listener
            self.addresses[name] = {"host": host, "port": ports[name], "fingerprint": key.get_fingerprint()}
        self._loop, self._ended = asyncio.new_event_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._live, name="lab switch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Closes every listener and connection. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(5)

    close = stop

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        for name in self._listeners:
            self._begin(self._accept(name))
        await self._ended.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners.values():
            listener.close()

    def _begin(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, name: str) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(self._listeners[name])
            self._begin(self._connection(name, sock))

    async def _connection(self, name: str, sock: socket.socket) -> None:
        """One connection from its first byte to its end."""
        self.network.count_request(name)
        fault = self.network.fault(name)
        if fault.off:
            sock.close()
            return
        await asyncio.sleep(fault.slow_ms / 1000)
        key = self._other[name] if fault.certificate or fault.reinstalled else self._keys[name]
        try:
            connection = await asyncssh.run_server(
                sock,
                config=None,
                server_factory=lambda: _Login(self, name),
                server_host_keys=[key],
                process_factory=lambda process: self._command(name, process),
                encoding=None,
                compression_algs=None,
                allow_scp=False,
            )
        except (asyncssh.Error, OSError):
            sock.close()  # it went away, or did not like our key
            return
        except BaseException:
            sock.close()
            raise
        try:
            await connection.wait_closed()
        finally:
            connection.abort()

    def admits(self, name: str, user: str) -> bool:
        """Whether the SSH server lets this user in at all: with ``no-network`` only administrators (AllowUsers)."""
        return not self.network.fault(name).no_network or self.network.device(name).is_admin(user)

    async def ask(self, question: Callable[[], T]) -> T:
        """Asks the truth, which may write to disk, without holding up the other connections."""
        return await self._loop.run_in_executor(None, question)

    async def _command(self, name: str, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """A session. Whatever the client does wrong ends the session and nothing else."""
        try:
            if process.command != protocol.COMMAND:
                process.stderr.write(b"the practice lab knows one command only\n")
                process.exit(127)
                return
            await _Session(self, name, process).run()
        except (asyncssh.Error, OSError, ValueError):
            process.channel.get_connection().abort()


class _Login(asyncssh.SSHServer):
    """Passwords by one question: the server's side of plain password logins would normalise them first."""

    def __init__(self, switch: Switch, name: str) -> None:
        self.switch, self.name = switch, name

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return False

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        self.user = username
        return "", "", "", [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        network, name = self.switch.network, self.name
        if network.fault(name).refuse_login or len(responses) != 1 or not self.switch.admits(name, username):
            return False
        return await self.switch.ask(lambda: network.device(name).check(username, responses[0])) == ""


class _Session:
    """The one command, as the device's shell runs it (``device_protocol``)."""

    def __init__(self, switch: Switch, name: str, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.switch, self.name, self.process = switch, name, process
        self.login = str(process.get_extra_info("username"))
        self.began = time.monotonic()

    @property
    def device(self) -> Device:
        return self.switch.network.device(self.name)

    @property
    def fault(self) -> Fault:
        return self.switch.network.fault(self.name)

    def say(self, *words: object) -> None:
        self.process.stdout.write(" ".join([protocol.MARK, *map(str, words)]).encode() + b"\n")

    def stop(self, attempt: str, reason: str) -> None:
        self.say("stop", attempt, reason)
        self.process.exit(0)

    async def run(self) -> None:
        process = self.process
        await asyncio.sleep(self.fault.slow_ms / 1000)
        if self.fault.no_shells:
            process.exit(1)
            return None
        if self.fault.constrained:
            process.stdout.write(b"% Invalid input detected at the marker.\r\n")
            process.exit(1)
            return None
        attempt, ttl, _unlock, user = (await process.stdin.readline()).decode().split()
        if self.device.last_set(user) is None:
            return self.stop(attempt, "no_account")
        if self.fault.filtered or not self.device.is_admin(self.login):
            return self.stop(attempt, "not_root")
        self._tell(attempt, user)
        self.say("ready", attempt, self.fault.name or self.name, *self._look(user))
        if await process.stdin.readline() != b"go\n":
            process.exit(0)
            return None
        line = (await process.stdin.readline()).decode()
        account, _, value = line.removesuffix("\n").partition(":")
        return await self._set(attempt, int(ttl) / 100, account, value)

    def _tell(self, attempt: str, user: str) -> None:
        """What decides over a login: sshd's settings, and the lock after too many wrong ones, which is pam_faillock."""
        self.say("account", attempt, 1000, "yes", "127.0.0.1", user)
        for setting in ("permitrootlogin no", "passwordauthentication no", "kbdinteractiveauthentication yes"):
            self.say("sshd", attempt, setting)
        if self.fault.no_network:
            for name in filter(self.device.is_admin, self.device.accounts):
                self.say("sshd", attempt, "allowusers", name)
        if self.device.threshold:
            options = (f"deny={self.device.threshold}", f"unlock_time={int(self.device.duration_s)}")
            self.say("faillock", attempt, "preauth", *options)

    def _look(self, user: str) -> tuple[object, ...]:
        """The account's line in the shadow database, and its wrong logins. The digest moves with every set, as a real
        one does with its new salt."""
        device, at = self.device, self.switch.network.now()
        stamp = hashlib.sha256(f"{self.name}\0{user}\0{device.last_set(user)!r}".encode()).hexdigest()
        wrong = ",".join(str(int(each)) for each in device.failures(user)) or "none"
        return "ok", stamp, int((device.last_set(user) or 0) // 86400), 99999, "-", "-", int(at), 0, wrong

    async def _set(self, attempt: str, ttl_s: float, user: str, value: str) -> None:
        fault, device = self.fault, self.device

        def apply() -> str:
            return device.set_password(self.login, user, value)

        def apply_late() -> None:
            if time.monotonic() - self.began < ttl_s:
                apply()

        if fault.cut == "before":
            return self._cut()
        if fault.late_s is not None:
            self.switch.network.later(fault.late_s, apply_late)
            return self._cut()
        if time.monotonic() - self.began >= ttl_s:
            return self.stop(attempt, "ttl")
        words = f"password {value} was used before" if fault.echo else await self.switch.ask(apply)
        if fault.cut == "after":
            return self._cut()
        if words:
            self.process.stderr.write(f"chpasswd: {words}\n".encode())
        self.say("done", attempt, int(bool(words)), *self._look(user))
        self.process.exit(0)
        return None

    def _cut(self) -> None:
        self.process.channel.get_connection().abort()


def serve(network: Network, *, folder: Path, ports: dict[str, int], host: str = "127.0.0.1") -> Switch:
    """Opens the devices' ports and returns at once. ``ports``: device → port, 0 or missing: chosen and put there."""
    return Switch(network, folder, host, ports)


def _host_key(folder: Path, name: str) -> asyncssh.SSHKey:
    """The key kept in ``folder``, made once: a lab that starts again is the device it was."""
    path = folder / f"{name}.key"
    with suppress(FileNotFoundError):
        return asyncssh.read_private_key(path)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(key.export_private_key())
    return key
