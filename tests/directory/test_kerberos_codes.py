"""What Kerberos' error numbers mean: from a real domain controller where it says them, else from one that says nothing
but the number. Whatever it is, at most one wrong logon, and a clock says nothing about a password."""

from __future__ import annotations

import pytest

from pwserver.connectors import kerberos
from pwserver.connectors.base import Answer, Key, Means
from pwserver.core.secrets import Secret
from tests.directory import samba
from tests.directory.conftest import needs_kerberos
from tests.directory.kdc import saying
from tests.directory.samba import FIRST, UNIT
from tests.directory.test_directory import SECOND, change, lock, old_enough, reset, verify

NOTHING = frozenset()
EXPIRED_LONG_AGO = "131000000000000000"
WRONG = "Wrong-Passw0rd"


@pytest.fixture(autouse=True)
def kerberos_is_here() -> None:
    needs_kerberos()


def log_on(name: str, value: str = FIRST) -> tuple[str, str]:
    return kerberos.log_on("127.0.0.1", samba.REALM, name, Secret(value), 10)


# -- the real one


def test_a_real_controller_says_right_wrong_and_nobody(dc):
    name = dc.make()
    assert log_on(name) == (kerberos.OK, "")
    assert log_on(name, WRONG) == (kerberos.WRONG, "KDC 24")
    assert dc.wrong_logons(name) == 1
    assert log_on("nobody-here") == (kerberos.UNKNOWN_CLIENT, "KDC 6")


@pytest.mark.parametrize("state", ["disabled", "expired", "locked"])
def test_a_real_controller_says_18_of_an_account_that_is_closed_and_counts_nothing(state, dc):
    name = closed(dc, state)
    before = dc.wrong_logons(name)
    assert log_on(name) == (kerberos.REVOKED, "KDC 18")
    assert dc.wrong_logons(name) == before


@pytest.mark.parametrize("state", ["disabled", "expired", "locked"])
def test_a_wrong_password_at_a_closed_account_counts_exactly_where_it_is_called_wrong(state, dc):
    """What the budget goes by: 24 is one wrong logon, 18 none, whatever else is the matter with the account."""
    name = closed(dc, state)
    before = dc.wrong_logons(name)
    said, _ = log_on(name, WRONG)
    assert said in (kerberos.WRONG, kerberos.REVOKED)
    assert dc.wrong_logons(name) - before == (said == kerberos.WRONG)


def closed(dc, state: str) -> str:
    name = dc.make()
    if state == "disabled":
        dc.set(name, userAccountControl="514")
    elif state == "expired":
        dc.set(name, accountExpires=EXPIRED_LONG_AGO)
    else:
        lock(dc, name)
    return name


def test_a_real_controller_says_23_where_the_password_has_to_be_changed(dc):
    name = dc.make()
    dc.set(name, pwdLastSet="0")
    assert log_on(name) == (kerberos.EXPIRED, "KDC 23")
    assert dc.wrong_logons(name) == 0


# -- numbers that come after the account was read: it was disabled, or the clock ran away, in that very moment

SAID = {
    18: (Answer.REFUSED, "account_state"),
    23: (Answer.REFUSED, "password_expired"),
    37: (Answer.UNKNOWN, "clock_skew"),
}


@pytest.mark.parametrize("code", [6, 14, 18, 23, 24, 31, 37])
def test_every_number_of_the_table_arrives_as_that_number(code, monkeypatch):
    with saying(code, monkeypatch) as asked:
        assert log_on("svc-backup") == (kerberos.MEANINGS[code], f"KDC {code}")
    assert asked


@pytest.mark.parametrize("code", [12, 29, 60, 68])
def test_a_number_that_is_not_in_the_table_says_nothing(code, monkeypatch):
    with saying(code, monkeypatch):
        assert log_on("svc-backup")[0] == kerberos.UNCLEAR


@pytest.mark.parametrize("code", SAID)
def test_a_test_is_told_so_and_spends_nothing(code, dc, connect, monkeypatch):
    name = old_enough(dc, dc.make())
    with saying(code, monkeypatch) as asked:
        outcome = verify(connect(name))
    assert (outcome.answer, outcome.reason, outcome.code) == (*SAID[code], f"KDC {code}")
    assert (outcome.spent, outcome.wrote) == (NOTHING, False)
    assert asked
    assert dc.wrong_logons(name) == 0


@pytest.mark.parametrize("code", SAID)
def test_before_a_reset_nothing_is_written(code, dc, connect, monkeypatch):
    name = old_enough(dc, dc.make(unit=UNIT))
    stamp = dc.get(name, "pwdLastSet")
    with saying(code, monkeypatch):
        outcome = change(connect(name))
    assert (outcome.answer, outcome.reason) == SAID[code]
    assert (outcome.spent, outcome.wrote) == (NOTHING, False)
    assert dc.get(name, "pwdLastSet") == stamp
    assert dc.binds(name, FIRST)


@pytest.mark.parametrize("code", SAID)
def test_after_a_reset_it_is_written_and_not_called_proved(code, dc, connect, monkeypatch):
    name = dc.make(unit=UNIT)
    with saying(code, monkeypatch):
        outcome = reset(connect(name))
    assert (outcome.answer, outcome.evidence.means, outcome.evidence.logged_on) == (
        Answer.APPLIED, Means.WRITTEN, False,
    )  # fmt: skip
    assert dc.binds(name, SECOND)


def test_a_wrong_password_after_a_reset_is_unknown_and_one_try(dc, connect, monkeypatch):
    """The directory took it and Kerberos does not: nothing is guessed."""
    name = dc.make(unit=UNIT)
    with saying(24, monkeypatch):
        outcome = reset(connect(name))
    assert (outcome.answer, outcome.reason, outcome.spent) == (
        Answer.UNKNOWN, "refused_after_write", frozenset({Key.TARGET}),
    )  # fmt: skip
    assert outcome.wrote is True


def test_what_nobody_here_has_seen_is_unknown_and_its_try_stays(dc, connect, monkeypatch):
    name = old_enough(dc, dc.make())
    with saying(60, monkeypatch):
        outcome = verify(connect(name))
    assert (outcome.answer, outcome.reason, outcome.spent) == (
        Answer.UNKNOWN, "code_not_known", frozenset({Key.TARGET}),
    )  # fmt: skip


def test_no_key_that_both_sides_take_falls_back_to_a_bind_with_the_stamp(dc, connect, monkeypatch):
    name = dc.make()
    with saying(14, monkeypatch):
        assert verify(connect(name)).reason == "grace_hour"
        dc.age(name, hours=2)
        assert verify(connect(name)).answer == Answer.APPLIED
