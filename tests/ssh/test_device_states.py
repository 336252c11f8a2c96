"""States in which a real OpenSSH server turns the right password away, or ends a login early.

Each was taken for another password, or for a line that broke.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pwserver.connectors.base import Blocked, Credential, Key, Means, Refused
from pwserver.core.secrets import Secret
from tests.ssh.sshd_lab import Lab, Sshd, call, eventually, make_lab

pytestmark = [pytest.mark.sshd, pytest.mark.xdist_group("sshd"), pytest.mark.enable_socket]

NEW, NEXT = Secret("the new one"), Secret("the one after it")
PASSWORDS = ("PasswordAuthentication yes", "KbdInteractiveAuthentication no")


def no_logins(lab: Lab) -> bool:
    """Whether nobody came to the door as the account. sshd names each such login, however it ends."""
    log = lab.server.log()
    return not any(f"{words} {lab.user} " in log for words in ("for", "user", "User"))


def root(lab: Lab) -> tuple[str, ...]:
    lab.user = lab.server.account(lab.old.open(), root=True)
    return (f"Match User {lab.user}", "  PermitRootLogin prohibit-password")


def group(lab: Lab) -> tuple[str, ...]:
    return (f"AllowGroups {lab.linked.user_name} admins-of-*",)


def host(lab: Lab) -> tuple[str, ...]:
    return (f"DenyUsers {lab.user}@127.0.0.0/8",)


def shell(lab: Lab) -> tuple[str, ...]:
    lab.server.sh("usermod", "--shell", "/opt/no/such/shell", lab.user)
    return ()


STANDING: dict[str, tuple[Callable[[Lab], tuple[str, ...]], str]] = {
    "root with a key only": (root, "sshd: PermitRootLogin without-password."),
    "DenyUsers": (lambda lab: (f"DenyUsers nobody {lab.user}",), "sshd: DenyUsers {user}."),
    "DenyUsers from here": (host, "sshd: DenyUsers {user}@127.0.0.0/8."),
    "AllowUsers": (
        lambda lab: (f"AllowUsers {lab.linked.user_name} x{lab.user}",),
        "sshd: AllowUsers {linked} x{user}.",
    ),
    "AllowGroups": (group, "sshd: AllowGroups {linked} admins-of-*."),
    "two factors": (
        lambda lab: (f"Match User {lab.user}", "  AuthenticationMethods publickey,password"),
        "sshd: AuthenticationMethods publickey,password.",
    ),
    "no password login": (
        lambda lab: (f"Match User {lab.user}", "  PasswordAuthentication no"),
        "sshd: PasswordAuthentication no.",
    ),
    "no login shell": (shell, "Its login shell cannot be run."),
}


@pytest.mark.parametrize("case", STANDING)
def test_a_right_password_that_sshd_never_admits_is_never_taken_for_another_one(sshd_private: Sshd, case: str) -> None:
    """After Approve the vault's current password was the wrong one, and the page said that nothing is lost."""
    lab = make_lab(sshd_private)
    make, words = STANDING[case]
    if lines := make(lab):
        sshd_private.configure(*lines)
    words = words.format(user=lab.user, linked=lab.linked.user_name)
    for action in (
        lambda: lab.connector().verify(call(), lab.old),
        lambda: lab.connector().change(call(), lab.old, NEW),
    ):
        with pytest.raises(Refused) as refused:
            action()
        assert (refused.value.reason, refused.value.text) == ("not_provable", words)
        assert refused.value.spent == frozenset()
    assert lab.opens("the old one")

    written = lab.connector().reset(call(), NEW)
    assert (written.means, written.no_logon, written.logged_on) == (Means.WRITTEN, words, False)
    assert lab.opens(NEW.open())
    assert lab.connector().read(call()).stamp == written.stamp
    held = lab.connector().verify(call(stamp=written.stamp), NEW)
    assert (held.means, held.stamp) == (Means.UNCHANGED, written.stamp)
    carried = lab.connector().change(call(stamp=written.stamp), NEW, NEXT)
    assert carried.means == Means.WRITTEN
    assert lab.opens(NEXT.open())
    with pytest.raises(Refused, match="not_provable"):
        lab.connector().change(call(stamp=written.stamp), NEW, Secret("never to be set"))
    assert lab.opens(NEXT.open()), "its stamp moved since: what somebody else set there is not overwritten"
    assert no_logins(lab)


def test_what_pam_alone_turns_away_is_written_and_its_unmoved_stamp_carries_on(sshd_private: Sshd) -> None:
    """pam_access is no setting of sshd's, so the login is made; the digest shows that the value is right."""
    lab = make_lab(sshd_private)
    sshd_private.sh("sh", "-c", f"echo '-:{lab.user}:ALL' >> /etc/security/access.conf")
    sshd_private.sh("sed", "-i", "1i account required pam_access.so", "/etc/pam.d/sshd")
    written = lab.connector().reset(call(), NEW)
    assert (written.means, written.turned_away) == (Means.WRITTEN, True)
    assert lab.opens(NEW.open())
    with pytest.raises(Refused, match="login_closed") as refused:
        lab.connector().verify(call(stamp=written.stamp), NEW)
    assert refused.value.spent == {Key.TARGET}
    carried = lab.connector().change(call(stamp=written.stamp), NEW, NEXT)
    assert (carried.means, carried.turned_away) == (Means.WRITTEN, True)
    assert lab.opens(NEXT.open())


def test_a_login_refused_under_an_unmoved_stamp_is_no_other_password(sshd_private: Sshd) -> None:
    """PAM refuses the login as it refuses a wrong password."""
    lab = make_lab(sshd_private)
    held = lab.connector().read(call()).stamp
    sshd_private.sh("sed", "-i", "1i auth requisite pam_deny.so", "/etc/pam.d/sshd")
    lab.linked = admitted(lab)
    with pytest.raises(Refused, match="turned_away") as refused:
        lab.connector().verify(call(stamp=held), lab.old)
    assert refused.value.spent == {Key.TARGET}
    assert lab.connector().change(call(stamp=held), lab.old, NEW).means == Means.WRITTEN
    assert lab.opens(NEW.open())
    written = lab.connector().reset(call(), NEXT)
    assert (written.means, written.turned_away) == (Means.WRITTEN, True)
    assert lab.opens(NEXT.open())


def admitted(lab: Lab) -> Credential:
    """The linked credential, let past the rule that keeps everyone else out."""
    user = lab.linked.user_name
    rule = f"1i auth [success=1 default=ignore] pam_succeed_if.so quiet user = {user}"
    lab.server.sh("sed", "-i", rule, "/etc/pam.d/sshd")
    return lab.linked


def test_an_account_locked_by_faillock_is_read_and_costs_no_login(sshd_private: Sshd) -> None:
    lab = make_lab(sshd_private)
    sshd_private.sh(
        "sed", "-i", "-e", "1i auth required pam_faillock.so preauth silent",
        "-e", "1i auth [success=1 default=ignore] pam_unix.so",
        "-e", "1i auth [default=die] pam_faillock.so authfail",
        "-e", "1i auth required pam_permit.so",
        "-e", "1i account required pam_faillock.so", "-e", "/common-auth/d", "/etc/pam.d/sshd",
    )  # fmt: skip
    sshd_private.sh("sh", "-c", "printf 'deny = 2\\nunlock_time = 300\\n' >> /etc/security/faillock.conf")
    for number in range(2):
        with pytest.raises(Refused, match="value_refused"):
            lab.connector().verify(call(), Secret(f"wrong {number}"))
    wrong = lab.server.log().count("Failed password")
    with pytest.raises(Refused) as refused:
        lab.connector().verify(call(), lab.old)
    assert (refused.value.reason, refused.value.spent) == ("account_locked", frozenset())
    assert refused.value.text == "faillock counts 2 failures of 2."
    assert refused.value.safe_in is not None
    assert 200 < refused.value.safe_in.total_seconds() <= 300
    assert lab.connector().reset(call(), NEW).means == Means.WRITTEN, "set, and not tried: the lock stands"
    assert lab.connector().reset(call(unlock=True), NEXT).means == Means.LOGGED_ON
    assert lab.server.log().count("Failed password") == wrong


def test_an_expired_password_is_read_where_the_server_would_ask_for_another(sshd_asking: Sshd) -> None:
    lab = make_lab(sshd_asking)
    lab.server.sh("chage", "--lastday", "0", lab.user)
    with pytest.raises(Refused, match="password_expired") as refused:
        lab.connector().verify(call(), lab.old)
    assert refused.value.spent == frozenset()
    assert no_logins(lab)
    assert lab.connector().reset(call(), NEW).means == Means.LOGGED_ON


def test_a_password_past_its_inactivity_period_is_expired_without_a_login(lab: Lab) -> None:
    lab.server.sh("chage", "--lastday", "2020-01-01", "--maxdays", "30", "--inactive", "7", lab.user)
    with pytest.raises(Refused, match="account_expired") as refused:
        lab.connector().verify(call(), lab.old)
    assert refused.value.spent == frozenset()
    assert no_logins(lab)


@pytest.mark.parametrize("kind", ["sshd", "sshd_asking"])
def test_the_expired_password_of_our_login_is_no_broken_line(request: pytest.FixtureRequest, kind: str) -> None:
    """It was retried for three days."""
    lab = make_lab(request.getfixturevalue(kind))
    lab.server.sh("chage", "--lastday", "0", lab.linked.user_name)
    with pytest.raises(Blocked, match="linked_expired") as blocked:
        lab.connector().reset(call(), NEW)
    assert blocked.value.spent == frozenset()
    assert lab.opens("the old one")


CLI = """#!/bin/sh
printf 'SW-9 line 1, no shell here\\r\\nSW-9>'
{then}
"""


@pytest.mark.parametrize("then", ["exit 1", "exec sleep 60"])
def test_a_command_line_that_is_no_shell_is_said_at_the_first_test(sshd_private: Sshd, then: str) -> None:
    """It was "not known yet whether it was taken", and retried."""
    lab = make_lab(sshd_private)
    cli = sshd_private.folder / "cli"
    cli.write_text(CLI.format(then=then))
    cli.chmod(0o755)
    sshd_private.configure(f"Match User {lab.linked.user_name}", f"  ForceCommand {cli}")
    for action in (
        lambda: lab.connector().verify(call(deadline_s=4), lab.old),
        lambda: lab.connector().reset(call(deadline_s=4), NEW),
    ):
        with pytest.raises(Blocked, match="no_tools") as blocked:
            action()
        assert blocked.value.spent == frozenset()
        assert "no shell here" in blocked.value.text
    assert no_logins(lab)
    assert lab.opens("the old one")


def test_a_login_without_a_shell_is_no_broken_line(lab: Lab) -> None:
    plain = lab.server.account("no shell")
    lab.server.sh("usermod", "--shell", "/usr/sbin/nologin", plain)
    with pytest.raises(Blocked, match="no_tools") as blocked:
        lab.connector(linked=Credential(plain, Secret("no shell"))).reset(call(), NEW)
    assert "not available" in blocked.value.text


def test_a_server_that_offers_our_login_no_password_sends_nothing(sshd_private: Sshd) -> None:
    lab = make_lab(sshd_private)
    sshd_private.configure(f"Match User {lab.linked.user_name}", "  PasswordAuthentication no")
    with pytest.raises(Blocked, match="no_password_login") as blocked:
        lab.connector().reset(call(), NEW)
    assert blocked.value.spent == frozenset()
    assert lab.opens("the old one")


def test_a_wrong_password_is_still_refused_and_counted(sshd_private: Sshd) -> None:
    lab = make_lab(sshd_private)
    stamp = lab.connector().read(call()).stamp
    sshd_private.sh("chpasswd", stdin=f"{lab.user}:set by another\n".encode())
    with pytest.raises(Refused, match="old_value_refused") as refused:
        lab.connector().change(call(stamp=stamp), lab.old, NEW)
    assert refused.value.spent == {Key.TARGET}
    eventually(lambda: lab.server.wrong_logins(lab.user) == 1, "the log names the wrong login")
    assert lab.opens("set by another")
