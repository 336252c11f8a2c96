"""Answers calls about local accounts from Samba's libnetapi and a real smbd, one line of JSON for each line of JSON.

Runs with Debian's own Python (for python3-samba), as root, in mount, network and process namespaces of its own, with
an empty folder as its only argument. Imports nothing of this project.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ADDRESS, NAME = "127.0.0.77", "SAM01"
ADMIN, ADMIN_PASSWORD = "labadm", "Verwalter-41 im Haus"
READY_S = 30
SETTINGS = """[global]
  server role = standalone server
  netbios name = {name}
  workgroup = WG
  interfaces = lo
  bind interfaces only = yes
  smb ports = 445
  disable netbios = yes
  server min protocol = SMB2
  passdb backend = tdbsam
  admin users = {admin}
  load printers = no
  unix password sync = no
  pam password change = no
  private dir = {folder}/private
  state directory = {folder}/state
  cache directory = {folder}/cache
  lock directory = {folder}/lock
  pid directory = {folder}/pid
  ncalrpc dir = {folder}/ncalrpc
  log file = {folder}/log.%m
"""

u32, text, pointer = ctypes.c_uint32, ctypes.c_char_p, ctypes.c_void_p

# lmaccess.h; Samba's level 3 has no password
_ONE = [("name", text), ("password", text), ("password_age", u32), ("priv", u32), ("home_dir", text),
        ("comment", text), ("flags", u32), ("script_path", text)]  # fmt: skip
_TWO = [*_ONE, ("auth_flags", u32), ("full_name", text), ("usr_comment", text), ("parms", text),
        ("workstations", text), ("last_logon", u32), ("last_logoff", u32), ("acct_expires", u32), ("max_storage", u32),
        ("units_per_week", u32), ("logon_hours", pointer), ("bad_pw_count", u32), ("num_logons", u32),
        ("logon_server", text), ("country_code", u32), ("code_page", u32)]  # fmt: skip
_REST = [("primary_group_id", u32), ("profile", text), ("home_dir_drive", text), ("password_expired", u32)]
USER: dict[int, list[tuple[str, Any]]] = {
    1: _ONE,
    2: _TWO,
    3: [*(field for field in _TWO if field[0] != "password"), ("user_id", u32), *_REST],
    4: [*_TWO, ("user_sid", pointer), *_REST],
    11: [("name", text), ("comment", text), ("usr_comment", text), ("full_name", text), ("priv", u32),
         ("auth_flags", u32), ("password_age", u32), ("home_dir", text), ("parms", text), ("last_logon", u32),
         ("last_logoff", u32), ("bad_pw_count", u32), ("num_logons", u32), ("logon_server", text),
         ("country_code", u32), ("workstations", text), ("max_storage", u32), ("units_per_week", u32),
         ("logon_hours", pointer), ("code_page", u32)],
    20: [("name", text), ("full_name", text), ("comment", text), ("flags", u32), ("user_id", u32)],
    23: [("name", text), ("full_name", text), ("comment", text), ("flags", u32), ("user_sid", pointer)],
}  # fmt: skip
MODALS: dict[int, list[tuple[str, Any]]] = {
    0: [("min_passwd_len", u32), ("max_passwd_age", u32), ("min_passwd_age", u32), ("force_logoff", u32),
        ("password_hist_len", u32)],
    1: [("role", u32), ("primary", text)],
    2: [("domain_name", text), ("domain_id", pointer)],
    3: [("lockout_duration", u32), ("lockout_observation_window", u32), ("lockout_threshold", u32)],
}  # fmt: skip


def structure(fields: list[tuple[str, Any]]) -> type[ctypes.Structure]:
    return type("Info", (ctypes.Structure,), {"_fields_": fields})


def contents(buffer: ctypes.c_void_p, fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """What Samba wrote there: numbers, texts, and SIDs as text. Other pointers are left out."""
    info = ctypes.cast(buffer, ctypes.POINTER(structure(fields))).contents
    read: dict[str, Any] = {}
    for name, kind in fields:
        value = getattr(info, name)
        if kind is text:
            read[name] = (value or b"").decode()
        elif kind is u32:
            read[name] = value
        elif name in ("user_sid", "domain_id") and value:
            read[name] = sid_text(value)
    return read


def sid_text(address: int) -> str:
    count = ctypes.c_ubyte.from_address(address + 1).value
    raw = ctypes.string_at(address, 8 + 4 * count)
    parts = [int.from_bytes(raw[at : at + 4], "little") for at in range(8, 8 + 4 * count, 4)]
    return "-".join(str(part) for part in ("S", raw[0], int.from_bytes(raw[2:8], "big"), *parts))


class Server:
    """A stand-alone smbd with its own account database, on the loopback address of this namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder, folder / "etc" / "samba" / "smb.conf"

    def start(self, users: dict[str, str], policies: dict[str, int]) -> dict[str, Any]:
        """Make the accounts and start smbd. Raise if it does not answer in time."""
        for name in ("private", "state", "cache", "lock", "pid", "ncalrpc", "etc/samba", "log"):
            (self.folder / name).mkdir(mode=0o755, parents=True)
        self.conf.write_text(SETTINGS.format(name=NAME, admin=ADMIN, folder=self.folder))
        self._replace_etc({ADMIN: ADMIN_PASSWORD} | users)
        self.run("mount", "--bind", str(self.folder / "log"), "/var/log/samba")
        Path("/run/samba").mkdir(exist_ok=True)
        self.run("mount", "-t", "tmpfs", "none", "/run/samba")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{ADDRESS}/8", "dev", "lo")
        for name, value in policies.items():  # first: a history begins with them
            self.policy(name, value)
        for name, password in ({ADMIN: ADMIN_PASSWORD} | users).items():
            self.run("smbpasswd", "-c", str(self.conf), "-a", "-s", name, given=f"{password}\n{password}\n")
        self.run("net", "-s", str(self.conf), "groupmap", "add", "sid=S-1-5-32-544", "ntgroup=Administrators",
                 "unixgroup=root", "type=builtin")  # fmt: skip
        self.run("net", "-s", str(self.conf), "sam", "addmem", "Administrators", ADMIN)
        with (self.folder / "smbd.out").open("w") as out:
            # in the foreground smbd ends with its standard input: that must not be ours
            command = ["smbd", "-s", str(self.conf), "-F", "--debug-stdout"]
            self.smbd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out)
        self._wait()
        api.connect(self.conf)
        code = api.modals(0)["code"]
        if code != 0:
            raise RuntimeError(f"smbd answers {code}: {(self.folder / 'smbd.out').read_text()[-2000:]}")
        version = subprocess.run(["smbd", "--version"], capture_output=True, text=True, check=True).stdout
        sid = self.run("net", "-s", str(self.conf), "getlocalsid").rsplit(" ", 1)[-1].strip()
        return {"version": version.split()[1].split("-")[0], "sid": sid}

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.smbd.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((ADDRESS, 445), 1):
                return
            time.sleep(0.1)
        raise RuntimeError(f"smbd does not listen: {(self.folder / 'smbd.out').read_text()[-2000:]}")

    def _replace_etc(self, users: dict[str, str]) -> None:
        """An /etc of our own in this namespace, with the Unix accounts that Samba's need. A file bound over /etc/passwd
        alone would be gone as soon as another program replaces that file."""
        etc = self.conf.parent.parent
        passwd = [f"{name}:x:{61001 + at}:61001::/nonexistent:/usr/sbin/nologin" for at, name in enumerate(users)]
        for name, rows in (("passwd", passwd), ("group", ["labusers:x:61001:"])):
            (etc / name).write_text(Path("/etc", name).read_text() + "\n".join(rows) + "\n")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        shutil.copy("/etc/ld.so.cache", etc)
        self.run("mount", "--bind", str(etc), "/etc")

    def run(self, *command: str, given: str = "") -> str:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout} {done.stderr}")
        return done.stdout

    def pdbedit(self, user: str, options: list[str]) -> dict[str, Any]:
        self.run("pdbedit", "-s", str(self.conf), "-u", user, *options)
        return {}

    def must_change(self, user: str) -> dict[str, Any]:
        self.run("net", "-s", str(self.conf), "sam", "set", "pwdmustchangenow", user, "yes")
        return {}

    def policy(self, name: str, value: int) -> dict[str, Any]:
        self.run("pdbedit", "-s", str(self.conf), "-P", name, "-C", str(value))
        return {}

    def change(self, user: str, old: str, new: str) -> dict[str, Any]:
        """A change over the network with smbpasswd: whether it was taken."""
        command = ["smbpasswd", "-c", str(self.conf), "-r", ADDRESS, "-U", user, "-s"]
        done = subprocess.run(command, input=f"{old}\n{new}\n{new}\n", capture_output=True, text=True, check=False)
        return {"taken": done.returncode == 0, "words": (done.stdout + done.stderr).strip()}

    def sddl(self, raw: str, domain: str) -> dict[str, Any]:
        """A self-relative security descriptor, in hexadecimal, as Samba reads it."""
        from samba.dcerpc import security
        from samba.ndr import ndr_unpack

        read = ndr_unpack(security.descriptor, bytes.fromhex(raw))
        return {"sddl": read.as_sddl(security.dom_sid(domain))}

    def logon(self, user: str, password: str) -> dict[str, Any]:
        """A network logon by NTLM: the NTSTATUS, 0 when it was let in."""
        from samba import NTSTATUSError, param
        from samba.credentials import Credentials
        from samba.samba3 import libsmb_samba_internal as smb

        settings = param.LoadParm()
        settings.load(str(self.conf))
        who = Credentials()
        who.set_username(user)
        who.set_password(password)
        who.set_domain(NAME)
        who.set_workstation("OPINION")
        who.set_kerberos_state(0)
        try:
            smb.Conn(ADDRESS, "IPC$", settings, who)
        except NTSTATUSError as error:
            return {"status": error.args[0] & 0xFFFFFFFF}
        return {"status": 0}


class NetApi:
    """Samba's libnetapi, asked over the network: as an administrator, or as who logged in last."""

    context: ctypes.c_void_p | None = None

    def connect(self, conf: Path) -> None:
        os.environ["SMB_CONF_PATH"] = str(conf)  # read when the library starts
        self.library = ctypes.CDLL("libnetapi.so.1")
        self.log_in(ADMIN, ADMIN_PASSWORD)

    def log_in(self, user: str, password: str) -> dict[str, Any]:
        """Ask as another account from now on: with a new context, since the old one keeps its connections."""
        if self.context is not None:
            self.library.libnetapi_free(self.context)
        self.context = pointer()
        if self.library.libnetapi_init(ctypes.byref(self.context)) != 0:
            raise RuntimeError("libnetapi does not start")
        self.library.libnetapi_set_debuglevel(self.context, b"0")
        self.library.libnetapi_set_username(self.context, user.encode())
        self.library.libnetapi_set_password(self.context, password.encode())
        self.library.libnetapi_set_workgroup(self.context, NAME.encode())
        return {}

    def log_in_as_admin(self) -> dict[str, Any]:
        return self.log_in(ADMIN, ADMIN_PASSWORD)

    def modals(self, level: int) -> dict[str, Any]:
        buffer = pointer()
        code = self.library.NetUserModalsGet(ADDRESS.encode(), level, ctypes.byref(buffer))
        return {"code": code} | (contents(buffer, MODALS[level]) if code == 0 else {})

    def user(self, user: str, level: int) -> dict[str, Any]:
        buffer = pointer()
        code = self.library.NetUserGetInfo(ADDRESS.encode(), user.encode(), level, ctypes.byref(buffer))
        return {"code": code} | (contents(buffer, USER[level]) if code == 0 else {})

    def set_password(self, user: str, password: str) -> dict[str, Any]:
        return self._set(user, 1003, structure([("password", text)])(password.encode()))

    def set_flags(self, user: str, flags: int) -> dict[str, Any]:
        return self._set(user, 1008, structure([("flags", u32)])(flags))

    def _set(self, user: str, level: int, info: ctypes.Structure) -> dict[str, Any]:
        error = u32()
        code = self.library.NetUserSetInfo(
            ADDRESS.encode(), user.encode(), level, ctypes.byref(info), ctypes.byref(error)
        )
        return {"code": code}

    def change_password(self, user: str, old: str, new: str) -> dict[str, Any]:
        return {"code": self.library.NetUserChangePassword(ADDRESS.encode(), user.encode(), old.encode(), new.encode())}

    def local_groups(self, user: str) -> dict[str, Any]:
        buffer, read, total = pointer(), u32(), u32()
        out = (ctypes.byref(buffer), 0xFFFFFFFF, ctypes.byref(read), ctypes.byref(total))
        code = self.library.NetUserGetLocalGroups(ADDRESS.encode(), user.encode(), 0, 1, *out)
        if code != 0 or not buffer:
            return {"code": code, "groups": []}
        names = ctypes.cast(buffer, ctypes.POINTER(text))
        return {"code": code, "groups": [(names[at] or b"").decode() for at in range(read.value)]}


api = NetApi()


def serve(folder: Path) -> None:
    server = Server(folder)
    known: dict[str, Callable[..., dict[str, Any]]] = {
        name: getattr(holder, name)
        for holder, names in (
            (server, ("start", "policy", "pdbedit", "must_change", "change", "logon", "sddl")),
            (api, ("log_in", "log_in_as_admin", "modals", "user")),
            (api, ("set_password", "set_flags", "change_password", "local_groups")),
        )
        for name in names
    }
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = {"answer": known[question["name"]](**question["args"])}
        except Exception as error:
            answer = {"raised": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
