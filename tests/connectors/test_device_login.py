"""What is concluded from what root can read on a device: the rules of sshd_config(5), shadow(5) and pam_faillock(8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pwserver.connectors import device_protocol as protocol
from pwserver.connectors.device_login import must_change, obstacle
from pwserver.connectors.device_protocol import Fact, State

DAY = 86400
TODAY = 20_700
STATE = State("ok", "digest:" + "0" * 64, TODAY - 10, 99999, None, None, TODAY * DAY + 100, False, (), )  # fmt: skip
WHO = Fact("account", ("1000", "yes", "10.0.0.5", "users", "ops"))
ROOT = Fact("account", ("0", "yes", "10.0.0.5", "root"))
YES = ("passwordauthentication yes", "kbdinteractiveauthentication yes", "permitrootlogin without-password")


def facts(*settings: str, who: Fact = WHO) -> list[Fact]:
    return [who, *(Fact("sshd", tuple(each.split())) for each in settings)]


def why(state: State = STATE, told: Sequence[Fact] = (), user: str = "bob") -> tuple[str, str]:
    found = obstacle(user, state, told)
    return (found.reason, found.text) if found else ("", "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("denyusers alice", "allowusers bob"), ""),
        (("denyusers b?b",), "sshd: DenyUsers b?b."),
        (("denyusers *",), "sshd: DenyUsers *."),
        (("denyusers [b]ob",), ""),
        (("allowusers bob@10.0.0.0/24",), ""),
        (("allowusers bob@10.1.0.0/16",), "sshd: AllowUsers bob@10.1.0.0/16."),
        (("allowusers bob@*.example.org",), ""),
        (("denyusers bob@gate.example.org",), ""),
        (("denyusers bob@10.0.0.?",), "sshd: DenyUsers bob@10.0.0.?."),
        (("allowusers Bob",), "sshd: AllowUsers Bob."),
        (("allowusers alice", "allowusers carol"), "sshd: AllowUsers alice carol."),
        (("denygroups ops",), "sshd: DenyGroups ops."),
        (("allowgroups wheel op*",), ""),
        (("allowgroups wheel",), "sshd: AllowGroups wheel."),
        (("denyusers bob", "allowusers bob"), "sshd: DenyUsers bob."),
        (("authenticationmethods any",), ""),
        (("authenticationmethods publickey,password password",), ""),
        (("authenticationmethods hostbased,password",), "sshd: AuthenticationMethods hostbased,password."),
        (("authenticationmethods keyboard-interactive:pam",), ""),
    ],
)  # fmt: skip
def test_sshds_lists_and_methods_are_read_as_sshd_reads_them(settings: tuple[str, ...], said: str) -> None:
    assert why(told=facts(*YES, *settings)) == (("not_provable", said) if said else ("", ""))


def test_root_with_a_key_only_is_no_other_password() -> None:
    assert why(told=facts(*YES, who=ROOT), user="root") == ("not_provable", "sshd: PermitRootLogin without-password.")
    assert why(told=facts("permitrootlogin yes", who=ROOT), user="root") == ("", "")
    assert why(told=facts(*YES)) == ("", ""), "it concerns root alone"


def test_nothing_is_concluded_from_what_could_not_be_read() -> None:
    assert why(told=[]) == ("", "")
    assert why(told=[WHO]) == ("", "")
    assert why(replace(STATE, failures=None, last=None, maximum=None), [WHO]) == ("", "")
    assert why(told=facts(*YES, "allowgroups wheel", who=Fact("account", ("1000", "yes", "10.0.0.5")))) == ("", "")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (replace(STATE, field="locked"), "account_state"),
        (replace(STATE, field="blank"), "account_state"),
        (replace(STATE, expire=TODAY), "account_expired"),
        (replace(STATE, expire=TODAY + 1), ""),
        (replace(STATE, last=TODAY - 40, maximum=30, inactive=10), ""),
        (replace(STATE, last=TODAY - 41, maximum=30, inactive=10), "account_expired"),
        (replace(STATE, last=0, maximum=30, inactive=10), ""),
        (replace(STATE, closed=True), "account_state"),
    ],
)
def test_the_shadow_line_is_read_as_pam_unix_reads_it(state: State, reason: str) -> None:
    assert why(state, facts(*YES))[0] == reason


def test_nologin_keeps_everyone_but_root_out() -> None:
    assert why(replace(STATE, closed=True), facts("permitrootlogin yes", who=ROOT), "root") == ("", "")


@pytest.mark.parametrize(
    ("last", "maximum", "expired"), [(0, None, True), (TODAY - 30, 30, False), (TODAY - 31, 30, True)]
)
def test_a_password_expires_the_day_after_its_last_day(last: int, maximum: int | None, expired: bool) -> None:
    state = replace(STATE, last=last, maximum=maximum)
    assert must_change(state) is expired
    asking = facts("passwordauthentication no", "kbdinteractiveauthentication yes")
    assert why(state, asking)[0] == ("password_expired" if expired else "")


NOW = STATE.now


@pytest.mark.parametrize(
    ("failures", "options", "locked"),
    [
        ((NOW - 1, NOW - 2, NOW - 3), (), True),
        ((NOW - 1, NOW - 2), (), False),
        ((NOW - 1, NOW - 2, NOW - 902), (), False),
        ((NOW - 601, NOW - 602, NOW - 603), (), False),
        ((NOW - 601, NOW - 602, NOW - 603), ("unlock_time=0",), True),
        ((NOW - 601, NOW - 602, NOW - 603), ("unlock_time=never",), True),
        ((NOW - 1, NOW - 2, NOW - 3), ("deny=5",), False),
        ((NOW - 1, NOW - 2, NOW - 3), ("deny=0",), False),
        ((NOW - 1,), ("preauth", "silent", "deny=1", "unlock_time=60"), True),
        ((NOW - 1, NOW - 100), ("deny=2", "fail_interval=60"), False),
    ],
)
def test_faillock_locks_as_its_own_module_does(
    failures: tuple[int, ...], options: tuple[str, ...], locked: bool
) -> None:
    told = [*facts(*YES), Fact("faillock", options)]
    assert why(replace(STATE, failures=failures), told)[0] == ("account_locked" if locked else "")


def test_faillock_spares_root_unless_told_otherwise_and_is_nothing_outside_sshds_stack() -> None:
    state = replace(STATE, failures=(NOW, NOW, NOW))
    root = facts("permitrootlogin yes", who=ROOT)
    assert why(state, [*root, Fact("faillock", ())], "root") == ("", "")
    assert why(state, [*root, Fact("faillock", ("even_deny_root",))], "root")[0] == "account_locked"
    assert why(state, facts(*YES)) == ("", ""), "no line of pam_faillock in sshd's stack"
    line, conf = Fact("faillock", ("deny=9",)), Fact("faillock", ("deny=2",))
    assert why(state, [*facts(*YES), line, conf]) == ("", ""), "its own line wins over faillock.conf"


def test_a_line_that_could_be_another_attempts_is_no_answer() -> None:
    ready = f"pwserver ready a-1 vm ok {'0' * 64} 20700 99999 - - 1788480000 0 none"
    answer = protocol.read_line(ready, "a-1")
    assert isinstance(answer, protocol.Ready)
    assert (answer.state.failures, answer.state.inactive, answer.state.maximum) == ((), None, 99999)
    assert protocol.read_line("SW-9> % Invalid input", "a-1") is None
    for line in (
        ready.replace("a-1", "a-2"),
        ready.replace(" ok ", " fine "),
        ready.replace("0" * 64, "0"),
        "pwserver",
    ):
        with pytest.raises(protocol.ProtocolError):
            protocol.read_line(line, "a-1")
