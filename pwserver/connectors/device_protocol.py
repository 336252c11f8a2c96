"""The protocol over SSH with a device: one constant command, the lines it reads and the lines it prints.

The command line never differs, so nothing about an account can be read from a process list. Everything comes on
standard input:

1. ``attempt ttl unlock user`` (ttl in hundredths of a second, unlock 0 or 1). The device looks the account up, prints
   what decides over a login as the account, one fact a line, as far as it can be read there::

       pwserver account attempt uid shell client group...     shell: yes, or no if it cannot be run
       pwserver sshd attempt keyword value...                 what ``sshd -T`` prints for this account and client
       pwserver faillock attempt option...                    of pam_faillock, where sshd's PAM stack has it

   and then ``pwserver ready attempt host STATE`` or ``pwserver stop attempt reason``.
2. ``go`` and, in the same write, ``user:password``. The device compares its own stopwatch with the time to live, hands
   the rest of standard input to ``chpasswd`` unread, and prints ``pwserver done attempt status STATE``.
   An end of input instead of ``go`` means: only reading was asked.

``STATE``: ``field digest last max inactive expire now closed failures``. ``field``: ok, locked or blank.
``digest``: SHA-256 of the field in ``/etc/shadow``, made there: whoever sets the password, to the same or another
value, moves it, because the salt is new. Of what a password is, the digest tells nothing without that field. Then the
days of shadow(5), the device's clock in Unix seconds, 1 if ``nologin`` keeps everyone but root out, and when the valid
failures of ``faillock --user`` were, or none. ``-``: not set, or it cannot be read there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MARK = "pwserver"

_SCRIPT = r"""
LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export LC_ALL PATH; unset HISTFILE; set -f
say() { printf "pwserver %s\n" "$*"; }
stop() { say stop "$attempt" "$1"; exit 0; }
has() { command -v "$1" >/dev/null 2>&1; }
now() { if IFS=" ." read -r s c r 2>/dev/null < /proc/uptime; then t=$s$c; else t=$(date +%s)00; fi; }
entry() {
  l=; if has getent; then l=$($1 getent "$2" "$user" 2>/dev/null </dev/null); fi
  if [ -n "$l" ]; then printf "%s\n" "$l"; return; fi
  $1 cat "/etc/$2" 2>/dev/null </dev/null | while IFS= read -r l; do
    case $l in ("$user":*) printf "%s\n" "$l"; break;; esac
  done
}
failures() {
  $as faillock --user "$user" 2>/dev/null </dev/null | {
    times=
    while read -r day clock rest; do
      [ "$day" != "$user:" ] || times=none
      case $rest in (*V) at=$(date -d "$day $clock" +%s 2>/dev/null) && times=$times,$at;; esac
    done
    printf %s "${times#none,}"
  }
}
look() {
  line=$(entry "$as" shadow); [ -n "$line" ] || return 1
  IFS=:; set -- $line; unset IFS
  digest=$(printf %s "${2-}" | sha256sum); digest=${digest%% *}
  case ${2-} in ("") field=blank;; (\!*|\**) field=locked;; (*) field=ok;; esac
  closed=0; for file in /etc/nologin /run/nologin; do [ ! -e $file ] || closed=1; done
  tally=-; if has faillock; then tally=$(failures); fi
  state="$field $digest ${3:--} ${5:--} ${7:--} ${8:--} $(date +%s) $closed ${tally:--}"
}
running_server() {
  pid=$$; server=
  while [ "${pid:-0}" -gt 1 ]; do
    title=$(tr "\000" " " 2>/dev/null < /proc/$pid/cmdline)
    case $title in ("sshd: "*"[listener]"*) server=${title#sshd: }; server=${server%%"[listener]"*}; break;; esac
    IFS= read -r title 2>/dev/null < /proc/$pid/stat || break
    set -- ${title##*") "}; pid=$2
  done
  if [ -z "$server" ] && has sshd; then server=$(command -v sshd); fi
}
sshd_says() {
  running_server; [ -n "$server" ] || return 0
  set -- ${SSH_CONNECTION:-- - - -}
  $as $server -T -C "user=$user,host=$1,addr=$1,laddr=$3,lport=$4" 2>/dev/null </dev/null | while read -r word value; do
    case $word in
    (permitrootlogin|passwordauthentication|kbdinteractiveauthentication|authenticationmethods) ;;
    (denyusers|allowusers|denygroups|allowgroups) ;;
    (*) continue;;
    esac
    say sshd "$attempt" "$word" "$value"
  done
}
pam() {
  [ -r "/etc/pam.d/$1" ] || return 0
  while read -r line; do
    case $line in
    (\#*) ;;
    (@include*) set -- $line; pam "$2";;
    (*[[:blank:]]include[[:blank:]]*|*[[:blank:]]substack[[:blank:]]*) set -- $line; pam "$3";;
    (*pam_faillock.so*) used=1; say faillock "$attempt" ${line##*pam_faillock.so};;
    esac
  done < "/etc/pam.d/$1"
}
limits() {
  used=; if has faillock; then pam sshd; fi
  [ -n "$used" ] && [ -r /etc/security/faillock.conf ] || return 0
  while IFS=" =" read -r word value; do
    case $word in (deny|unlock_time|root_unlock_time|fail_interval|even_deny_root)
      say faillock "$attempt" "$word=$value";;
    esac
  done < /etc/security/faillock.conf
}
now; t0=$t
IFS=" " read -r attempt ttl unlock user || exit 0
for tool in chpasswd sha256sum; do has $tool || stop no_tools; done
if [ "$(id -u)" = 0 ]; then as=; else as="sudo -n"; has sudo || stop not_root; fi
passwd=$(entry "" passwd); [ -n "$passwd" ] || stop no_account
if ! look; then
  [ -n "$as" ] || stop no_shadow
  words=$($as chpasswd 2>&1 </dev/null) && stop no_shadow
  case $words in (*password\ is\ required*|*terminal\ is\ required*) stop sudo_asks;; esac
  stop not_root
fi
IFS=:; set -- $passwd; unset IFS
shell=yes; [ -z "${7-}" ] || [ -x "$7" ] || shell=no
uid=$3; set -- ${SSH_CONNECTION:--}
say account "$attempt" "$uid" $shell "$1" $(id -Gn "$user" 2>/dev/null)
sshd_says; limits
say ready "$attempt" "$(uname -n)" $state; before=$field
IFS= read -r go || exit 0
[ "$go" = go ] || exit 0
now; [ $((t - t0)) -lt "$ttl" ] || stop ttl
$as chpasswd >&2; status=$?
if [ $before = locked ] && [ "$unlock" = 0 ] && [ $status = 0 ]; then
  if has usermod; then $as usermod -L "$user" >&2; else $as passwd -l "$user" >&2; fi
fi
if [ "$unlock" = 1 ] && has faillock; then $as faillock --user "$user" --reset >&2; fi
look || stop no_shadow
say done "$attempt" $status $state
"""

COMMAND = f"exec /bin/sh -c '{_SCRIPT.strip()}'"
"""Constant. The single quotes keep any POSIX login shell from touching it; there is none inside."""

STOPS = ("no_tools", "no_account", "no_shadow", "not_root", "sudo_asks", "ttl")
FIELDS = ("ok", "locked", "blank")

USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
"""What an account of a device may be called: nothing that a shell, ``getent`` or ``chpasswd`` could read otherwise."""

_ATTEMPT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"-?[0-9]{1,12}")


class ProtocolError(ValueError):
    """A line that this command does not print."""


@dataclass(frozen=True, slots=True)
class State:
    """An account's line in the shadow database and its failed logins. Days as in shadow(5), times in Unix seconds by
    the device's clock; None: not set, or not readable there."""

    field: str
    stamp: str
    last: int | None
    maximum: int | None
    inactive: int | None
    expire: int | None
    now: int
    closed: bool
    failures: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of what decides over a login, before ``Ready``."""

    kind: Literal["account", "sshd", "faillock"]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    host: str
    state: State


@dataclass(frozen=True, slots=True)
class Stop:
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    state: State


Answer = Fact | Ready | Stop | Done


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


def read_line(line: str, attempt: str) -> Answer | None:
    """Parse a line of output; None for noise (a device's login scripts may print).

    Raise :class:`ProtocolError` for an answer that is another attempt's or no answer of this command.
    """
    words = line.split()
    if not words or words[0] != MARK:
        return None
    if len(words) < 3 or words[2] != attempt:
        raise ProtocolError("an answer to another question")
    kind, rest = words[1], words[3:]
    match kind:
        case "account" | "sshd" | "faillock":
            return Fact(kind, tuple(rest))
        case "stop" if len(rest) == 1 and rest[0] in STOPS:
            return Stop(rest[0])
        case "ready" if len(rest) == 10:
            return Ready(rest[0], _state(rest[1:]))
        case "done" if len(rest) == 10 and rest[0].isdigit():
            return Done(int(rest[0]), _state(rest[1:]))
    raise ProtocolError("an answer that is not known here")


def _state(words: list[str]) -> State:
    field, digest, last, maximum, inactive, expire, now, closed, failures = words
    if field not in FIELDS or not _DIGEST.fullmatch(digest) or not _NUMBER.fullmatch(now):
        raise ProtocolError("an answer that is not known here")
    return State(
        field=field,
        stamp=f"digest:{digest}",
        last=_number(last),
        maximum=_number(maximum),
        inactive=_number(inactive),
        expire=_number(expire),
        now=int(now),
        closed=closed == "1",
        failures=_times(failures),
    )


def _number(word: str) -> int | None:
    """A number; None for what was not read, and for the negative ones by which shadow(5) means none."""
    return int(word) if _NUMBER.fullmatch(word) and int(word) >= 0 else None


def _times(word: str) -> tuple[int, ...] | None:
    if word == "none":
        return ()
    times = word.split(",")
    return tuple(map(int, times)) if all(_NUMBER.fullmatch(each) for each in times) else None
