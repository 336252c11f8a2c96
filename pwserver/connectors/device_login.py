"""Whether a device's SSH server would let an account in at all, from what root can read there.

A login that is refused for such a cause says nothing about the password, so none is made.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pwserver.connectors.device_protocol import Fact, State

DAY = 86400

DENY, UNLOCK_S, INTERVAL_S = 3, 600, 900
"""What pam_faillock goes by where neither its line nor faillock.conf sets it."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why no login can prove the password now. ``standing``: the server's own settings, whatever the password is."""

    reason: str
    text: str = ""
    code: str = ""
    standing: bool = False
    safe_in_s: float | None = None
    """After how many seconds it ends, where that can be read."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who logs in, and from where, as the device sees us."""

    uid: str = ""
    shell: bool = True
    client: str = ""
    name: str = ""
    groups: tuple[str, ...] = ()


def obstacle(user: str, state: State, facts: Sequence[Fact]) -> Obstacle | None:
    """The first cause for which a login as ``user`` is refused, whatever password it brings; None: none is known."""
    account = _account(user, facts)
    return (
        _of_shadow(account, state)
        or _of_faillock(account, state, [fact.words for fact in facts if fact.kind == "faillock"])
        or _of_server(account, state, [fact.words for fact in facts if fact.kind == "sshd"])
    )


def must_change(state: State) -> bool:
    """Whether the password has expired: a login by the password method still proves it, but a server that asks
    questions asks for a new one and lets nobody in."""
    if state.last is None:
        return False
    if state.last == 0:
        return True
    return state.maximum is not None and state.last + state.maximum < state.now // DAY


def _account(user: str, facts: Sequence[Fact]) -> Account:
    words = next((fact.words for fact in facts if fact.kind == "account" and len(fact.words) > 2), None)
    if words is None:
        return Account(name=user)
    return Account(words[0], words[1] != "no", words[2], user, words[3:])


def _of_shadow(account: Account, state: State) -> Obstacle | None:
    today = state.now // DAY
    if state.field != "ok":
        return Obstacle("account_state", code=state.field)
    if state.expire is not None and state.expire <= today:
        return Obstacle("account_expired", text="Its account expired, by the shadow database.")
    if state.last and None not in (state.maximum, state.inactive):
        assert state.maximum is not None
        assert state.inactive is not None
        if state.last + state.maximum + state.inactive < today:
            return Obstacle("account_expired", text="Its password expired longer ago than its inactivity period.")
    if state.closed and account.uid != "0":
        return Obstacle("account_state", text="Its file nologin keeps everyone but root out.", code="closed")
    return None


def _of_faillock(account: Account, state: State, lines: Sequence[tuple[str, ...]]) -> Obstacle | None:
    """As pam_faillock judges: so many valid failures within the interval before the newest, which is younger than the
    time to unlock. Its own line wins over faillock.conf, which comes after it."""
    options: dict[str, str] = {}
    for word in (word for line in lines for word in line):
        name, _, value = word.partition("=")
        options.setdefault(name, value)
    root = account.uid == "0"
    if not lines or not state.failures or (root and not options.keys() & {"even_deny_root", "root_unlock_time"}):
        return None
    newest, deny = max(state.failures), _seconds(options.get("deny"), DENY)
    interval = _seconds(options.get("fail_interval"), INTERVAL_S)
    count = sum(newest - each < interval for each in state.failures)
    if not deny or count < deny:
        return None
    unlock = _seconds(options.get("unlock_time"), UNLOCK_S)
    if root:
        unlock = _seconds(options.get("root_unlock_time"), unlock)
    ends = newest + unlock - state.now if unlock else None
    if ends is not None and ends < 0:
        return None
    return Obstacle("account_locked", text=f"faillock counts {count} failures of {deny}.", safe_in_s=ends)


def _seconds(word: str | None, default: int) -> int:
    """A number of pam_faillock's; ``never`` is 0."""
    if word == "never":
        return 0
    return int(word) if word and word.isascii() and word.isdigit() else default


def _of_server(account: Account, state: State, lines: Iterable[tuple[str, ...]]) -> Obstacle | None:
    """sshd's settings for this account and this client. Without any (they could not be read) nothing is concluded."""
    settings: dict[str, list[str]] = {}
    for word, *values in lines:
        settings.setdefault(word, []).extend(values)
    if not account.shell:
        return Obstacle("not_provable", text="Its login shell cannot be run.", standing=True)
    if not settings:
        return None
    said = _denied(account, settings) or _no_method(account, settings)
    if said:
        return Obstacle("not_provable", text=f"sshd: {said}.", standing=True)
    if must_change(state) and settings.get("passwordauthentication") == ["no"]:
        return Obstacle("password_expired", text="sshd: PasswordAuthentication no, so it would ask for a new one.")
    return None


def _denied(account: Account, settings: dict[str, list[str]]) -> str:
    """sshd's four lists, in its order: each deny wins over each allow."""
    if pattern := _user_in(account, settings.get("denyusers", []), doubt=False):
        return f"DenyUsers {pattern}"
    allowed = settings.get("allowusers", [])
    if allowed and not _user_in(account, allowed, doubt=True):
        return f"AllowUsers {' '.join(allowed)}"
    if not account.groups:
        return ""
    if pattern := _group_in(account, settings.get("denygroups", [])):
        return f"DenyGroups {pattern}"
    allowed = settings.get("allowgroups", [])
    if allowed and not _group_in(account, allowed):
        return f"AllowGroups {' '.join(allowed)}"
    return ""


def _no_method(account: Account, settings: dict[str, list[str]]) -> str:
    root = settings.get("permitrootlogin", ["yes"])
    if account.uid == "0" and root != ["yes"]:
        return f"PermitRootLogin {' '.join(root)}"
    by_question = settings.get("kbdinteractiveauthentication", ["yes"])
    if settings.get("passwordauthentication") == ["no"] and by_question == ["no"]:
        return "PasswordAuthentication no"
    methods = settings.get("authenticationmethods", ["any"])
    if methods != ["any"] and not any(each.split(":")[0] in ("password", "keyboard-interactive") for each in methods):
        return f"AuthenticationMethods {' '.join(methods)}"
    return ""


def _user_in(account: Account, patterns: Iterable[str], *, doubt: bool) -> str:
    """The pattern ``user`` or ``user@host`` that names the account. ``doubt``: whether a host that is a name, which
    only the device can look up, counts as ours."""
    for pattern in patterns:
        user, at, host = pattern.partition("@")
        if _matches(account.name, user) and (not at or _from(account.client, host, doubt)):
            return pattern
    return ""


def _from(client: str, host: str, doubt: bool) -> bool:
    if "/" in host:
        try:
            return ipaddress.ip_address(client) in ipaddress.ip_network(host, strict=False)
        except (ValueError, TypeError):
            return doubt
    return _matches(client, host) or (doubt and any(letter.isalpha() for letter in host) and ":" not in host)


def _group_in(account: Account, patterns: Sequence[str]) -> str:
    """sshd's list of group patterns, of which one with ``!`` takes a group out."""
    for group in account.groups:
        if any(each.startswith("!") and _matches(group, each[1:]) for each in patterns):
            continue
        for pattern in patterns:
            if not pattern.startswith("!") and _matches(group, pattern):
                return pattern
    return ""


def _matches(name: str, pattern: str) -> bool:
    """sshd's patterns know * and ? alone."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))
