"""Devices that lack a tool, or whose login is not root: what is there is used, what is missing is said in Linux words.

Real sudo; BusyBox in a root of its own.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from pwserver.connectors import device_protocol as protocol
from pwserver.connectors.base import Blocked, Credential, Means, Refused
from pwserver.core.reasons import REASONS
from pwserver.core.secrets import Secret
from tests.ssh.sshd_lab import Lab, Sshd, call, make_lab, needed

pytestmark = [pytest.mark.sshd, pytest.mark.xdist_group("sshd"), pytest.mark.enable_socket]

NEW = Secret("the new one")
REFUSED = "ALL=(root) /bin/true\nDefaults !authenticate"
ENOUGH = "/usr/sbin/chpasswd, /usr/sbin/usermod -L *, /usr/bin/getent shadow *"
ALL = f"{ENOUGH}, /usr/sbin/sshd *, /usr/sbin/faillock --user *"


def by_sudo(server: Sshd, rule: str) -> Lab:
    """A lab whose linked credential is no root; ``rule``: what sudoers says of it."""
    lab = make_lab(server)
    plain = server.account("not root")
    server.sh("sh", "-c", f"printf '%s\n' '{plain} {rule}' > /etc/sudoers.d/pwserver")
    lab.linked = Credential(plain, Secret("not root"))
    return lab


@pytest.mark.parametrize(
    ("rule", "reason"),
    [("ALL=(ALL) ALL", "sudo_asks"), ("ALL=(root) NOPASSWD: /bin/true", "sudo_asks"), (REFUSED, "not_root")],
)
def test_a_login_that_sudo_does_not_serve_is_said_in_linux_words(sshd_private: Sshd, rule: str, reason: str) -> None:
    """It was "no administrator there, or Windows gives it a reduced token"."""
    lab = by_sudo(sshd_private, rule)
    with pytest.raises(Blocked) as blocked:
        lab.connector().reset(call(), NEW)
    assert blocked.value.reason == reason
    assert "Windows" not in REASONS[reason].words + REASONS[reason].next
    assert lab.opens("the old one")


@pytest.mark.parametrize(("commands", "reads_sshd"), [(ENOUGH, False), (ALL, True)])
def test_sudo_with_the_documented_commands_is_enough(sshd_private: Sshd, commands: str, reads_sshd: bool) -> None:
    lab = by_sudo(sshd_private, f"ALL=(root) NOPASSWD: {commands}")
    assert lab.connector().change(call(), lab.old, NEW).means == Means.LOGGED_ON
    sshd_private.configure(f"DenyUsers {lab.user}")
    with pytest.raises(Refused) as refused:
        lab.connector().verify(call(), NEW)
    assert refused.value.reason == ("not_provable" if reads_sshd else "value_refused")
    assert lab.connector().reset(call(), Secret("once more")).means == Means.WRITTEN
    assert lab.opens("once more")


def test_an_expired_password_answers_no_questions_though_sshds_settings_cannot_be_read(sshd_private: Sshd) -> None:
    lab = by_sudo(sshd_private, f"ALL=(root) NOPASSWD: {ENOUGH}")
    asks = ("PasswordAuthentication no", "KbdInteractiveAuthentication yes")
    sshd_private.configure(f"Match User {lab.user}", *(f"  {line}" for line in asks))
    lab.server.sh("chage", "--lastday", "0", lab.user)
    with pytest.raises(Refused, match="password_expired") as refused:
        lab.connector().verify(call(), lab.old)
    assert refused.value.spent == frozenset()
    assert f"keyboard-interactive for {lab.user}" not in lab.server.log()


def test_an_account_that_has_no_line_in_the_shadow_database(sshd_private: Sshd) -> None:
    lab = make_lab(sshd_private)
    sshd_private.sh("sed", "-i", f"/^{lab.user}:/d", "/etc/shadow")
    with pytest.raises(Blocked, match="no_shadow"):
        lab.connector().read(call())


# -- BusyBox

APPLETS = ("cat", "date", "id", "printf", "sh", "sha256sum", "tr", "uname")
PAM = "auth required pam_unix.so\naccount required pam_unix.so\npassword required pam_unix.so sha512\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The root of a small machine: BusyBox and chpasswd. No getent, no faillock, no sshd, no /proc."""
    needed()
    busybox = shutil.which("busybox")
    assert busybox, "apt-get install busybox"
    for folder in ("bin", "dev", "etc/pam.d", "usr/sbin", "run", "tmp"):
        (tmp_path / folder).mkdir(parents=True)
    for binary in (
        busybox,
        "/usr/sbin/chpasswd",
        *map(str, Path("/lib/x86_64-linux-gnu/security").glob("pam_unix.so")),
    ):
        into(tmp_path, binary)
    for name in APPLETS:
        (tmp_path / "bin" / name).symlink_to(busybox)
    os.mknod(tmp_path / "dev" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "etc" / "pam.d" / "chpasswd").write_text(PAM)
    (tmp_path / "etc" / "pam.d" / "other").write_text(PAM)
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\na.b:x:1000:1000::/:/bin/sh\naxb:x:1001:1001::/:\n")
    (tmp_path / "etc" / "group").write_text("root:x:0:\n")
    (tmp_path / "etc" / "shadow").write_text("axb:$6$x$other:20000::::::\na.b:$6$x$first:20000:0:90:7:14:30000:\n")
    return tmp_path


def into(root: Path, binary: str) -> None:
    """Copies a program with the libraries it is linked with."""
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout.split()
    for path in (binary, *(word for word in linked if word.startswith("/"))):
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def answers(root: Path, *lines: str) -> list[protocol.Answer | None]:
    done = subprocess.run(
        ["/usr/sbin/chroot", str(root), "/bin/sh", "-c", protocol.COMMAND],
        input="".join(f"{line}\n" for line in lines), capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return [protocol.read_line(line, "a-1") for line in done.stdout.splitlines()]


def test_busybox_without_getent_faillock_and_sshd_is_read_as_far_as_it_goes(small: Path) -> None:
    facts, ready, done = answers(small, "a-1 2000 0 a.b", "go", "a.b:the new one")
    assert isinstance(facts, protocol.Fact)
    assert (facts.kind, facts.words[:2]) == ("account", ("1000", "yes"))
    assert isinstance(ready, protocol.Ready)
    state = ready.state
    assert (state.field, state.last, state.maximum, state.inactive, state.expire) == ("ok", 20000, 90, 14, 30000)
    assert (state.closed, state.failures) == (False, None)
    assert isinstance(done, protocol.Done)
    assert done.status == 0
    assert done.state.stamp != state.stamp
    assert "axb:$6$x$other:" in (small / "etc" / "shadow").read_text(), "a dot is no pattern"


def test_a_machine_without_chpasswd_is_said_before_anything_is_sent(small: Path) -> None:
    (small / "usr" / "sbin" / "chpasswd").unlink()
    assert answers(small, "a-1 2000 0 a.b") == [protocol.Stop("no_tools")]
    assert answers(small, "a-1 2000 0 nobody-here") == [protocol.Stop("no_tools")]
