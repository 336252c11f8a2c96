"""One Kerberos logon (AS exchange) to prove a password strictly: unlike NTLM and LDAP it never takes the one before.

libkrb5 knows no deadline and reads its settings from the environment, so the logon is made by a child process with its
own settings file, killed when the time is over. The password goes to it on standard input. Where the ``krb5`` package
is not installed there is none, and a directory is proved by a bind and the last-set stamp (rule 38).
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from pwserver.core.secrets import Secret

CHILD = Path(__file__).with_name("kerberos_child.py")
PORT = 88
CONNECT_SECONDS = 3.0

OK, WRONG, UNKNOWN_CLIENT, REVOKED, EXPIRED, SKEW = "ok", "wrong", "no_account", "revoked", "expired", "clock_skew"
SILENT = "silent"
"""No Kerberos answers there, or none that judges this account's password: as if there were none."""
UNCLEAR = "unclear"
"""It was asked, and its answer says nothing that is known here."""

MEANINGS: Mapping[int, str] = {
    6: UNKNOWN_CLIENT,
    14: SILENT,  # the account has no key of a kind that both sides take
    18: REVOKED,
    23: EXPIRED,
    24: WRONG,
    31: WRONG,  # the answer could not be opened with this password
    37: SKEW,
}
"""Kerberos' own error numbers. One whose meaning is not written here says nothing (rule 39)."""

_SETTINGS = """[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
  max_retries = 1
  ticket_lifetime = 5m
[realms]
  {realm} = {{
    kdc = {kdc}
    disable_encrypted_timestamp = false
  }}
"""
_SAFE = re.compile(r"[A-Za-z0-9_.:\[\]-]+")


def is_installed() -> bool:
    return importlib.util.find_spec("krb5") is not None


def log_on(host: str, realm: str, user: str, secret: Secret, seconds: float) -> tuple[str, str]:
    """One logon of ``user`` at the controller ``host``: what it proved, and Kerberos' own number as text.

    It may cost the account one wrong logon: exactly one when it says :data:`WRONG`.
    """
    if not (_SAFE.fullmatch(host) and _SAFE.fullmatch(realm)):
        raise ValueError("no host or realm for a settings file")
    ends = time.monotonic() + seconds
    if not _answers(host, min(seconds, CONNECT_SECONDS)):
        return SILENT, ""
    kdc = f"[{host}]:{PORT}" if ":" in host else f"{host}:{PORT}"
    with tempfile.TemporaryDirectory(prefix="pwserver-krb5-") as folder:
        settings = Path(folder, "krb5.conf")
        settings.write_text(_SETTINGS.format(realm=realm, kdc=kdc))
        environment = {
            "KRB5_CONFIG": str(settings), "KRB5CCNAME": "MEMORY:", "PATH": os.environ.get("PATH", ""), "HOME": folder,
        }  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603  # our own interpreter and file; nothing typed is on the command line
                [sys.executable, "-I", str(CHILD)],
                input=f"{user}@{realm}\n".encode() + secret.open().encode(),
                capture_output=True,
                timeout=max(0.1, ends - time.monotonic()),
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return UNCLEAR, "no answer in time"
    return _meaning(done.stdout.decode(errors="replace").strip())


def _meaning(said: str) -> tuple[str, str]:
    word, _, number = said.partition(" ")
    if word == "ok":
        return OK, ""
    if word == "error" and number.lstrip("-").isdigit():
        return MEANINGS.get(int(number), UNCLEAR), f"KDC {number}"
    return UNCLEAR, ""


def _answers(host: str, seconds: float) -> bool:
    """Whether anything listens there, so that an unanswered logon never had to be guessed about."""
    try:
        socket.create_connection((host, PORT), max(0.1, seconds)).close()
    except OSError:
        return False
    return True
