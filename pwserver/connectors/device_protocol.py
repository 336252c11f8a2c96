"""What is said over SSH with a device: one constant command, the lines it reads and the lines it prints.

The command line never differs, so nothing about an account can be read from a process list. Everything comes on
standard input:

1. ``attempt ttl unlock user`` (ttl in hundredths of a second, unlock 0 or 1). The device looks the account up and
   prints ``pwserver ready attempt host state digest`` or ``pwserver stop attempt reason``.
2. ``go`` and, in the same write, ``user:password``. The device compares its own stopwatch with the time to live, hands
   the rest of standard input to ``chpasswd`` unread, and prints ``pwserver done attempt status state digest``.
   An end of input instead of ``go`` means: only reading was asked.

``state``: ok, or why a login cannot tell: locked, expired, closed (``/etc/nologin``), blank. ``digest``: SHA-256 of
the field in ``/etc/shadow``, made there: whoever sets the password, to the same or another value, moves it, because
the salt is new. Of what a password is, the digest tells nothing without that field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MARK = "pwserver"

_SCRIPT = r"""
LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export LC_ALL PATH; unset HISTFILE
say() { printf "pwserver %s\n" "$*"; }
stop() { say stop "$attempt" "$1"; exit 0; }
now() { if IFS=" ." read -r s c r 2>/dev/null < /proc/uptime; then t=$s$c; else t=$(date +%s)00; fi; }
look() {
  line=$($as getent shadow "$user") || return 1
  r=${line#*:}; field=${r%%:*}; r=${r#*:}; last=${r%%:*}; r=${r#*:}; r=${r#*:}; max=${r%%:*}
  r=${r#*:}; r=${r#*:}; idle=${r%%:*}; r=${r#*:}; end=${r%%:*}
  digest=$(printf %s "$field" | sha256sum); digest=${digest%% *}; today=$(($(date +%s) / 86400)); state=ok
  if [ -e /etc/nologin ] && [ "$user" != root ]; then state=closed; fi
  if [ -n "$max" ] && [ -n "$idle" ] && [ -n "$last" ] && [ $((last + max + idle)) -lt $today ]; then state=expired; fi
  if [ -n "$end" ] && [ "$end" -le $today ]; then state=expired; fi
  case $field in "") state=blank;; \!*|\**) state=locked;; esac
}
now; t0=$t
IFS=" " read -r attempt ttl unlock user || exit 0
for tool in getent chpasswd sha256sum; do command -v $tool >/dev/null || stop no_tools; done
if [ "$(id -u)" = 0 ]; then as=; else as="sudo -n"; fi
getent passwd "$user" >/dev/null || stop no_account
$as getent shadow root >/dev/null || stop not_admin
look || stop no_account
say ready "$attempt" "$(uname -n)" $state "$digest"; before=$state
IFS= read -r go || exit 0
[ "$go" = go ] || exit 0
now; [ $((t - t0)) -lt "$ttl" ] || stop ttl
$as chpasswd >&2; status=$?
if [ $before = locked ] && [ "$unlock" = 0 ] && [ $status = 0 ]; then $as usermod -L "$user" >&2; fi
if [ "$unlock" = 1 ] && command -v faillock >/dev/null; then $as faillock --user "$user" --reset >&2; fi
look || stop no_account
say done "$attempt" $status $state "$digest"
"""

COMMAND = f"exec /bin/sh -c '{_SCRIPT.strip()}'"
"""Constant. The single quotes keep any POSIX login shell from touching it; there is none inside."""

STOPS = ("no_tools", "no_account", "not_admin", "ttl")
STATES = ("ok", "locked", "expired", "closed", "blank")

USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
"""What an account of a device may be called: nothing that a shell, ``getent`` or ``chpasswd`` could read otherwise."""

_ATTEMPT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ProtocolError(ValueError):
    """A line that this command does not print."""


@dataclass(frozen=True, slots=True)
class Ready:
    host: str
    state: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Stop:
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    state: str
    stamp: str


def ask_line(attempt: str, ttl_s: float, user: str, *, unlock: bool = False) -> bytes:
    """The first line. Raises :class:`ProtocolError` for a user or attempt that could be read otherwise."""
    if not USER.fullmatch(user) or not _ATTEMPT.fullmatch(attempt):
        raise ProtocolError("a name that cannot be sent")
    return f"{attempt} {int(ttl_s * 100)} {int(unlock)} {user}\n".encode()


def payload(user: str, password: str) -> bytes:
    """``go`` and the line for ``chpasswd``: one write, so it arrives whole or not at all. Holds the secret in clear."""
    if not USER.fullmatch(user) or not password or set(password) & set("\r\n\0"):
        raise ProtocolError("a value that does not fit on one line")
    return f"go\n{user}:{password}\n".encode()


def read_line(line: str, attempt: str) -> Ready | Stop | Done | None:
    """What a line of output says; None for noise (a device's login scripts may print).

    Raises :class:`ProtocolError` for an answer that is another attempt's or no answer of this command.
    """
    words = line.split()
    if not words or words[0] != MARK:
        return None
    if len(words) < 4 or words[2] != attempt:
        raise ProtocolError("an answer to another question")
    kind: str | Literal["ready", "stop", "done"] = words[1]
    rest = words[3:]
    if kind == "stop" and len(rest) == 1 and rest[0] in STOPS:
        return Stop(rest[0])
    if len(rest) == 3 and rest[1] in STATES and _DIGEST.fullmatch(rest[2]):
        if kind == "ready":
            return Ready(rest[0], rest[1], f"digest:{rest[2]}")
        if kind == "done" and rest[0].isdigit():
            return Done(int(rest[0]), rest[1], f"digest:{rest[2]}")
    raise ProtocolError("an answer nobody here knows")
