"""A real OpenSSH server on loopback, with real accounts made for one test each."""

from __future__ import annotations

import os
import secrets as random
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pwserver.connectors.base import Call, Credential
from pwserver.connectors.device import DeviceConnector, Settings
from pwserver.core.secrets import Secret
from tests.free_ports import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def eventually(holds: Callable[[], object], what: str, seconds: float = 15) -> None:
    """Polls until ``holds()``; fails with ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"did not happen: {what}"
        select.select([], [], [], 0.02)


def sh(*command: str, stdin: bytes = b"") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr.decode())
    return done.stdout.decode()


@dataclass
class Sshd:
    """``folder`` holds the log, the gates of ``chpasswd`` and the host key; ``port`` is on 127.0.0.1."""

    folder: Path
    port: int
    fingerprint: str
    process: subprocess.Popen[bytes]
    accounts: list[str] = field(default_factory=list)
    inside: tuple[str, ...] = ()
    """How a command is run where this server's accounts are: nothing, or in the namespace with its own /etc."""

    def sh(self, *command: str, stdin: bytes = b"") -> str:
        return sh(*self.inside, *command, stdin=stdin)

    def configure(self, *lines: str) -> None:
        """Adds to the configuration of the running server."""
        with (self.folder / "sshd_config").open("a") as file:
            file.write("\n".join(lines) + "\n")
        listening = self.log().count("Server listening")
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.log().count("Server listening") > listening, "sshd has read its settings again")

    def account(self, password: str, *, root: bool = False) -> str:
        """Makes a real account on this machine; ``root``: a second name of uid 0."""
        name = f"{'pwr' if root else 'pwt'}{random.token_hex(4)}"
        extra = ["--non-unique", "--uid", "0"] if root else []
        self.sh("useradd", "--no-create-home", "--shell", "/bin/sh", *extra, name)
        self.accounts.append(name)
        self.sh("chpasswd", stdin=f"{name}:{password}\n".encode())
        return name

    def remove_accounts(self) -> None:
        for name in self.accounts:
            subprocess.run([*self.inside, "userdel", "--force", name], capture_output=True, check=False)
        self.accounts.clear()

    def log(self) -> str:
        return (self.folder / "sshd.log").read_text(errors="replace")

    def wrong_logins(self, user: str) -> int:
        return sum(
            f"Failed password for {user} " in line or f"Failed keyboard-interactive/pam for {user} " in line
            for line in self.log().splitlines()
        )

    def gate(self, where: str) -> Gate:
        return Gate(self.folder, where)


class Gate:
    """Holds ``chpasswd`` on the device before or after it works, until :meth:`open`."""

    def __init__(self, folder: Path, where: str) -> None:
        self.fifo, self.entered = folder / where, folder / f"{where}.entered"
        self.entered.unlink(missing_ok=True)
        os.mkfifo(self.fifo)

    def wait(self) -> None:
        eventually(self.entered.exists, f"chpasswd came to the gate {self.fifo.name}")

    def open(self) -> None:
        self.fifo.write_text("go\n")
        self.fifo.unlink()


_WRAPPER = """#!/bin/sh
D={folder}
if [ -p $D/before ]; then : > $D/before.entered; read x < $D/before; fi
/usr/sbin/chpasswd; s=$?
if [ -p $D/after ]; then : > $D/after.entered; read x < $D/after; fi
exit $s
"""


PRIVATE = """mount --make-rprivate / && mount --bind "$0/etc" /etc && mkdir -p /run/faillock &&
mount -t tmpfs tmpfs /run/faillock && exec "$@"
"""
"""Runs a command with an /etc and a tally of failed logins of its own."""


def start_sshd(folder: Path, *extra: str, private: bool = False) -> Sshd:
    """Starts a server with these settings. ``private``: over a copy of /etc, for what changes PAM or another file
    there; nothing of it reaches the machine."""
    folder.chmod(0o755)
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "chpasswd"
    wrapper.write_text(_WRAPPER.format(folder=folder))
    wrapper.chmod(0o755)
    for kind in ("ed25519", "rsa"):
        sh("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(folder / f"host_{kind}"))
    fingerprint = sh("ssh-keygen", "-l", "-f", str(folder / "host_ed25519.pub")).split()[1]
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host_ed25519",
        f"HostKey {folder}/host_rsa",
        f"PidFile {folder}/sshd.pid",
        f"SetEnv PATH={folder}/bin:/usr/bin:/bin",
        "LogLevel VERBOSE",
        "UsePAM yes",
        "PermitRootLogin yes",
        "MaxStartups 100",
        "UseDNS no",
        *(extra or ("PasswordAuthentication yes", "KbdInteractiveAuthentication no")),
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    log = folder / "sshd.log"
    log.touch()
    command = [SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(log)]
    if private:
        shutil.copytree("/etc", folder / "etc", symlinks=True)
        command = ["unshare", "--mount", "sh", "-c", PRIVATE, str(folder), *command]
    process = subprocess.Popen(command)
    server = Sshd(folder, port, fingerprint, process)
    if private:
        server.inside = ("nsenter", "--target", str(process.pid), "--mount", "--")
    eventually(lambda: "Server listening" in server.log() or process.poll() is not None, "sshd listens")
    assert process.poll() is None, server.log()
    return server


def needed() -> None:
    why = ""
    if os.geteuid() != 0:
        why = "the tests against a real SSH server need root (they make accounts)"
    elif not os.access(SSHD, os.X_OK):
        why = "the tests against a real SSH server need sshd: apt-get install openssh-server"
    if why:
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


def reachable(folder: Path) -> Path:
    """Makes the way to the folder passable for the accounts of the test."""
    for parent in folder.parents:
        if parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    return folder


@dataclass
class Lab:
    """One account with its linked credential on one server."""

    server: Sshd
    user: str
    old: Secret
    linked: Credential

    def connector(self, **settings: object) -> DeviceConnector:
        linked = settings.pop("linked", self.linked)
        values = {
            "device": "SW-9",
            "address": "127.0.0.1",
            "user_name": self.user,
            "port": self.server.port,
            "host_key": self.server.fingerprint,
        }
        return DeviceConnector(Settings(**(values | settings)), linked)  # type: ignore[arg-type]

    def shadow(self, user: str = "") -> str:
        return self.server.sh("getent", "shadow", user or self.user).split(":")[1]

    def opens(self, password: str) -> bool:
        """By the machine's own crypt(3), with the bytes as they are: no login, no library of ours."""
        import ctypes

        crypt = ctypes.CDLL("libcrypt.so.1").crypt
        crypt.restype = ctypes.c_char_p
        stored = self.shadow().encode()
        return bool(crypt(password.encode(), stored) == stored)


def make_lab(server: Sshd) -> Lab:
    old, admin = "the old one", "linked " + random.token_hex(4)
    linked = Credential(server.account(admin, root=True), Secret(admin))
    return Lab(server, server.account(old), Secret(old), linked)


def call(attempt: str = "a-1", *, ttl_s: float = 20, deadline_s: float = 25, **facts: object) -> Call:
    return Call(attempt=attempt, ttl_s=ttl_s, deadline_s=deadline_s, **facts)  # type: ignore[arg-type]


class Proxy:
    """A TCP relay on loopback that cuts every line at once, by itself at connection number ``cut_at``."""

    def __init__(self, port: int, cut_at: int = 0) -> None:
        self.to, self.cut_at, self.count = port, cut_at, 0
        self.pairs: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            if self.count == self.cut_at:
                client.close()
                self.cut()
                continue
            server = socket.create_connection(("127.0.0.1", self.to))
            self.pairs += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def cut(self) -> None:
        for sock in self.pairs:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        self.pairs.clear()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()
