"""Whether a port is free, and which program has it, read from the kernel's tables."""

from __future__ import annotations

import errno
import ipaddress
import os
import pwd
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TABLES = ("tcp", "tcp6")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a port. ``pid`` 0: a process of ``user`` that we may not look into."""

    pid: int
    name: str
    user: str

    @property
    def words(self) -> str:
        return f"{self.name} (process {self.pid})" if self.pid else f"a program of user {self.user}"


def is_free(host: str, port: int) -> bool:
    """Whether we could listen there now. Raise OSError where waiting would not help: no such address, no right."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def holder(host: str, port: int) -> Holder | None:
    """The process with a socket that is in our way there, one that listens first; None when there is none to see."""
    ours = _address(socket.getaddrinfo(host, None)[0][4][0])
    rows = [row for row in _rows(port) if ours.is_unspecified or row.address in (ours, *ANY)]
    rows.sort(key=lambda row: not row.listens)
    for row in rows:
        if pid := _process_of(row.inode):
            return Holder(pid, _name(pid), _user(row.uid))
    return Holder(0, "", _user(rows[0].uid)) if rows else None


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
ANY = (ipaddress.IPv4Address(0), ipaddress.IPv6Address(0))


def _address(given: bytes | str | int) -> Address:
    """An IPv4 address that is written as IPv6 is the IPv4 one."""
    found = ipaddress.ip_address(given)
    return getattr(found, "ipv4_mapped", None) or found


@dataclass(frozen=True, slots=True)
class _Row:
    address: Address
    inode: str
    uid: int
    listens: bool


def _rows(port: int) -> Iterator[_Row]:
    """The lines of the kernel's tables with this local port; inode 0 is a connection that no process has any more."""
    for table in TABLES:
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                address, _, number = fields[1].partition(":")
                if int(number, 16) == port and fields[9] != "0":
                    yield _Row(_in_order(address), fields[9], int(fields[7]), fields[3] == "0A")


def _in_order(digits: str) -> Address:
    """The kernel prints each 32-bit word in the machine's own byte order."""
    words = [bytes.fromhex(digits[at : at + 8]) for at in range(0, len(digits), 8)]
    return _address(b"".join(word[::-1] if sys.byteorder == "little" else word for word in words))


def _process_of(inode: str) -> int:
    """0 when it is a process that we may not look into."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(os.readlink(each) == f"socket:[{inode}]" for each in path.joinpath("fd").iterdir()):
                return int(path.name)
    return 0


def _name(pid: int) -> str:
    """Its program, without arguments: they may have secrets."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a program"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
