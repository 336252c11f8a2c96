"""A real Active Directory domain controller (Samba) on loopback, made anew for each run of the tests.

It takes the well-known ports (a directory has no others), so there is one at a time on a machine: a lock file makes a
second run wait. Only the services that answer LDAP and Kerberos are started.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets as random
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest
from ldap3 import MODIFY_REPLACE, NONE, Connection, Server, Tls

REALM, DOMAIN, DNS = "CORP.TEST", "CORP", "corp.test"
BASE = "DC=corp,DC=test"
ADMIN_PASSWORD = "Adm1n-Pass!x"
FIRST = "Old-Passw0rd1"
"""What every account of a test starts with."""
PORTS = (88, 389, 636)
RESETTER, READER = "psrv-reset", "psrv-read"
"""Linked credentials: one may reset passwords and unlock in the unit *Service*, the other may only read."""
LINKED_PASSWORD = "L1nked-Passw0rd"
USER_CLASS = "bf967aba-0de6-11d0-a285-00aa003049e2"
UNIT = "OU=Service"
LOCK = Path("/tmp/pwserver-samba.lock")

SMB_CONF = """[global]
  netbios name = DC1
  realm = CORP.TEST
  workgroup = CORP
  server role = active directory domain controller
  server services = rpc, ldap, kdc
  interfaces = lo
  bind interfaces only = yes
  private dir = {folder}/private
  lock directory = {folder}
  state directory = {folder}/state
  cache directory = {folder}/cache
  pid directory = {folder}/run
  ncalrpc dir = {folder}/ncalrpc
  ntp signd socket directory = {folder}/ntp
  binddns dir = {folder}/bind-dns
  log file = {folder}/log.%m
  load printers = no
  printing = bsd
  printcap name = /dev/null
"""


def missing() -> str:
    """Why there can be no domain controller here, in words; "" when there can."""
    if os.geteuid() != 0:
        return "the tests against a real directory need root (a domain controller has ports below 1024)"
    if not (shutil.which("samba-tool") and shutil.which("samba")):
        return "the tests against a real directory need Samba: apt-get install samba-ad-dc samba-dsdb-modules"
    return ""


def needed() -> None:
    why = missing()
    if why and os.environ.get("CI") == "true":
        pytest.fail(why)
    if why:
        pytest.skip(why)


def eventually(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Polls until ``holds()``; fails with ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"did not happen: {what}"
        select.select([], [], [], 0.05)


@dataclass
class DomainController:
    """``folder`` holds its data; ``fingerprint`` is the SHA-256 of its certificate."""

    folder: Path
    process: subprocess.Popen[bytes]
    lock: IO[bytes]
    fingerprint: str = ""

    @property
    def ca_pem(self) -> str:
        return (self.folder / "private" / "tls" / "ca.pem").read_text()

    @contextmanager
    def console(self) -> Iterator[Connection]:
        """A connection of the domain's administrator, who sees and does what a test needs."""
        console = _connection("Administrator", ADMIN_PASSWORD)
        try:
            assert console.bind(), console.result
            yield console
        finally:
            console.unbind()

    def make(self, name: str = "", password: str = FIRST, *, unit: str = "CN=Users", control: int = 512) -> str:
        """A new account, enabled, whose password is ``password``; its logon name."""
        name = name or new_name()
        with self.console() as console:
            dn = f"CN={name},{unit},{BASE}"
            attributes = {
                "objectClass": ["top", "person", "organizationalPerson", "user"],
                "sAMAccountName": name,
                "unicodePwd": f'"{password}"'.encode("utf-16-le"),
                "userAccountControl": str(control),
            }
            assert console.add(dn, attributes=attributes), console.result
        return name

    def dn(self, name: str) -> str:
        with self.console() as console:
            assert console.search(BASE, f"(sAMAccountName={name})", attributes=["cn"])
            return str(console.response[0]["dn"])

    def set(self, name: str, **values: str | bytes) -> None:
        """Replaces attributes of an account."""
        dn = self.dn(name)
        with self.console() as console:
            changes = {attribute: [(MODIFY_REPLACE, [value])] for attribute, value in values.items()}
            assert console.modify(dn, changes), console.result

    def set_password(self, name: str, password: str) -> None:
        """Sets a password as somebody else would, behind our back."""
        self.set(name, unicodePwd=f'"{password}"'.encode("utf-16-le"))

    def get(self, name: str, attribute: str) -> str:
        """One attribute of an account, as text; "" when it has none."""
        with self.console() as console:
            assert console.search(BASE, f"(sAMAccountName={name})", attributes=[attribute])
            raw = console.response[0]["raw_attributes"].get(attribute) or [b""]
            return str(raw[0].decode())

    def wrong_logons(self, name: str) -> int:
        return int(self.get(name, "badPwdCount") or 0)

    def binds(self, name: str, password: str) -> bool:
        """Whether a bind with ``password`` is taken. One that is not costs the account a wrong logon."""
        line = _connection(name, password)
        try:
            return bool(line.bind())
        finally:
            line.unbind()

    def age(self, name: str, **much: float) -> None:
        """Moves the last-set stamp of an account into the past, in the database itself: no request can do that."""
        ticks = int(self.get(name, "pwdLastSet")) - int(timedelta(**much).total_seconds() * 10_000_000)
        partition = self.folder / "private" / "sam.ldb.d" / f"{BASE.upper()}.ldb"
        script = (
            "import ldb, sys\n"
            "db = ldb.Ldb(sys.argv[1], flags=ldb.FLG_DONT_CREATE_DB)\n"
            "found = db.search(base=None, scope=ldb.SCOPE_SUBTREE, expression=f'(sAMAccountName={sys.argv[2]})')\n"
            "message = ldb.Message(found[0].dn)\n"
            "message['pwdLastSet'] = ldb.MessageElement(sys.argv[3], ldb.FLAG_MOD_REPLACE, 'pwdLastSet')\n"
            "db.modify(message)\n"
        )
        done = subprocess.run(
            ["/usr/bin/python3", "-c", script, f"tdb://{partition}", name, str(ticks)], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        assert self.get(name, "pwdLastSet") == str(ticks)

    def tool(self, *words: str) -> str:
        """``samba-tool`` on the database itself, as an administrator at its console would."""
        done = subprocess.run(
            ["samba-tool", *words, "-H", f"{self.folder}/private/sam.ldb", "-s", f"{self.folder}/smb.conf"],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.lock.close()


def _connection(name: str, password: str) -> Connection:
    server = Server("127.0.0.1", port=636, use_ssl=True, get_info=NONE, tls=Tls(validate=ssl.CERT_NONE))
    return Connection(server, f"CORP\\{name}", password, check_names=False)


def new_name(prefix: str = "t") -> str:
    return f"{prefix}-{random.token_hex(4)}"


def start(folder: Path) -> DomainController:
    """Provisions and starts one; some ten seconds. The caller stops it."""
    lock = LOCK.open("wb")
    eventually(lambda: _take(lock), "another run's domain controller ends", 300)
    folder.chmod(0o755)
    for name in ("run", "ncalrpc", "cache"):
        (folder / name).mkdir()
    seed = folder / "seed.conf"
    seed.write_text("[global]\n")
    done = subprocess.run(
        [
            "samba-tool", "domain", "provision", f"--configfile={seed}", f"--targetdir={folder}", f"--realm={REALM}",
            f"--domain={DOMAIN}", "--server-role=dc", "--dns-backend=NONE", f"--adminpass={ADMIN_PASSWORD}",
            "--host-name=dc1", "--host-ip=127.0.0.1", "--option=interfaces=lo",
            "--option=bind interfaces only=yes",
        ],
        capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    (folder / "smb.conf").write_text(SMB_CONF.format(folder=folder))
    log = (folder / "samba.out").open("wb")
    process = subprocess.Popen(
        ["samba", "-s", str(folder / "smb.conf"), "-F", "--no-process-group", "--debug-stdout", "-d1"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    log.close()
    dc = DomainController(folder, process, lock)
    try:
        eventually(lambda: process.poll() is not None or _listens(dc), "the domain controller answers", 45)
        assert process.poll() is None, (folder / "samba.out").read_text()[-2000:]
    except BaseException:
        dc.stop()
        raise
    _policies(dc)
    dc.fingerprint = hashlib.sha256(_certificate()).hexdigest()
    return dc


def _policies(dc: DomainController) -> None:
    """The domain's policy, two fine-grained ones, a unit, and who may do what in it."""
    dc.tool(
        "domain", "passwordsettings", "set", "--min-pwd-age=0", "--history-length=3", "--min-pwd-length=7",
        "--account-lockout-threshold=5", "--account-lockout-duration=30", "--reset-account-lockout-after=30",
    )  # fmt: skip
    for name, *rules in (("Long ones", "--min-pwd-length=20"), ("Seldom", "--min-pwd-age=1")):
        dc.tool(
            "domain", "passwordsettings", "pso", "create", name, "10" if rules[0].startswith("--min-pwd-l") else "20",
            *rules,
        )  # fmt: skip
    dc.tool("ou", "add", f"OU=Service,{BASE}")
    for name in (RESETTER, READER):
        dc.make(name, LINKED_PASSWORD)
    sid = dc.tool("user", "show", RESETTER, "--attributes=objectSid").partition("objectSid: ")[2].split()[0]
    sddl = f"(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;{USER_CLASS};{sid})"
    sddl += f"(OA;CIIO;RPWP;28630ebf-41d5-11d1-a9c1-0000f80367c1;{USER_CLASS};{sid})"  # lockoutTime
    dc.tool("dsacl", "set", f"--objectdn=OU=Service,{BASE}", f"--sddl={sddl}")


def _take(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _listens(dc: DomainController) -> bool:
    try:
        for port in PORTS:
            socket.create_connection(("127.0.0.1", port), 1).close()
        _certificate()
    except OSError:
        return False
    return (dc.folder / "private" / "tls" / "ca.pem").exists()


def _certificate() -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", 636), 2) as plain, context.wrap_socket(plain) as line:
        return line.getpeercert(binary_form=True) or b""
