"""Local accounts: changes, resets, policy, and the count of every wrong try."""

import pytest

from pwserver.lab import calls
from pwserver.lab.model.accounts import DAY, Policy, is_complex
from tests.lab.conftest import GOOD, LOGIN, OTHER


def change(lab, old, new=GOOD, user="Administrator", machine="LAB-02"):
    return lab.ask("NetUserChangePassword", machine, user=user, old=old, new=new)["code"]


def reset(lab, new=GOOD, user="Administrator", machine="LAB-02", **more):
    return lab.ask("NetUserSetInfo", machine, user=user, level=1003, password=new, flags=None, **more)["code"]


def test_a_change_knowing_the_old_password_takes(lab):
    assert change(lab, lab.password()) == 0
    assert lab.log_on(GOOD)["code"] == 0
    assert lab.account().last_set == lab.net.now()


def test_a_wrong_old_password_costs_a_try_and_changes_nothing(lab):
    before = lab.net.hash()
    assert change(lab, "not it") == calls.WRONG_OLD
    assert (lab.wrong(), lab.account().bad_count) == (1, 1)
    assert lab.net.hash() == before


def test_minimum_age_forbids_a_second_change_the_same_day_but_no_reset(lab):
    assert change(lab, lab.password()) == 0
    assert change(lab, GOOD, OTHER) == calls.POLICY
    assert reset(lab, OTHER) == 0
    lab.clock.move(seconds=DAY)
    assert change(lab, OTHER, GOOD + "x") == 0


@pytest.mark.parametrize("new", ["Aa1-xyz"[:6], "alllowercase", "Administrator-9", ""])
def test_a_value_that_the_policy_refuses_changes_nothing(lab, new):
    old = lab.password()
    assert change(lab, old, new) == calls.POLICY
    assert reset(lab, new) == calls.POLICY
    assert lab.password() == old
    assert lab.wrong() == 0


def test_history_forbids_a_change_back_but_not_a_reset(lab):
    old = lab.password()
    lab.machine().sam.policy.min_age_s = 0
    assert change(lab, old, GOOD) == 0
    assert change(lab, GOOD, old) == calls.POLICY
    assert change(lab, GOOD, GOOD) == calls.POLICY
    assert reset(lab, old) == 0


def test_an_account_that_may_not_change_its_password_is_denied(lab):
    lab.account().cannot_change = True
    assert change(lab, lab.password()) == calls.DENIED
    assert lab.wrong() == 0


@pytest.mark.parametrize(
    ("field", "code"), [("disabled", calls.DISABLED), ("managed", calls.MANAGED), ("expires", calls.ACCOUNT_EXPIRED)]
)
def test_a_change_of_a_closed_account_says_so(lab, field, code):
    setattr(lab.account(), field, {"disabled": True, "managed": "laps", "expires": 1.0}[field])
    assert change(lab, lab.password()) == code


def test_an_account_that_laps_manages_refuses_everyone_else_with_8654(lab):
    from pwserver.lab.model.machines import Laps

    lab.machine().laps = Laps()
    assert reset(lab) == calls.MANAGED
    assert change(lab, lab.password()) == calls.MANAGED
    assert reset(lab, user=LOGIN) == 0, "LAPS manages RID 500 only"
    lab.machine().laps = Laps(roots={calls.LAPS_POLICY: {"BackupDirectory": 2, "AdministratorAccountName": LOGIN}})
    assert reset(lab) == 0
    assert lab.ask("RegGetValue", key=calls.LAPS_POLICY, value="BackupDirectory")["value"] == 2


def test_a_reset_needs_an_administrator(lab):
    as_user = "LAB-02\\plain"
    lab.machine().sam.accounts.append(lab.account().model_copy(update={"name": "plain", "rid": 1050}))
    args = {"user": "Administrator", "level": 1003, "password": GOOD, "flags": None}
    assert lab.ask("NetUserSetInfo", as_user=as_user, **args)["code"] == calls.DENIED
    assert lab.ask("CheckTokenMembership", as_user=as_user)["admin"] is False


def test_a_reset_does_not_unlock_and_clearing_the_flag_does(lab):
    for _ in range(10):
        lab.log_on("wrong one")
    assert reset(lab) == 0
    assert lab.log_on(GOOD)["code"] == calls.LOCKED
    flags = lab.ask("NetUserGetInfo", user="Administrator")["flags"]
    assert flags & calls.UF_LOCKED
    lab.ask("NetUserSetInfo", user="Administrator", level=1008, password=None, flags=flags & ~calls.UF_LOCKED)
    assert lab.log_on(GOOD)["code"] == 0


def test_must_change_is_read_logs_nobody_on_and_allows_a_change_at_once(lab):
    account = lab.account()
    account.last_set, account.must_change, account.never_expires = lab.net.now(), True, False
    facts = lab.ask("NetUserGetInfo", user="Administrator")
    assert (facts["password_expired"], facts["password_age_s"]) == (1, None)
    assert lab.log_on(account.password)["code"] == calls.MUST_CHANGE
    assert change(lab, account.password) == 0
    assert lab.log_on(GOOD)["code"] == 0


def test_where_a_password_never_expires_nobody_has_to_change_it(lab):
    """MS-SAMR 3.1.5.14.4: the flag is looked at before the stamp."""
    account = lab.account()
    account.must_change = True
    facts = lab.ask("NetUserGetInfo", user="Administrator")
    assert (facts["password_expired"], facts["password_age_s"]) == (0, None)
    assert lab.log_on(account.password)["code"] == 0


def test_facts_are_read_without_counting_anything(lab):
    facts = lab.ask("NetUserGetInfo", user="administrator")
    assert facts["sid"] == lab.machine().sid + "-500"
    assert facts["password_age_s"] == 30 * DAY
    assert facts["account_expires"] == -1
    assert lab.ask("NetUserGetInfo", user="nobody")["code"] == calls.NO_SUCH_USER
    assert lab.ask("NetUserModalsGet", level=0)["min_age_s"] == DAY
    assert lab.ask("NetUserModalsGet", level=3)["threshold"] == 10
    assert lab.ask("NetUserModalsGet", level=2)["sid"] == lab.machine().sid
    assert lab.ask("NetUserModalsGet", level=9)["code"] == 124
    assert lab.wrong() == 0


def test_the_default_policy_is_windows_own(lab):
    policy = Policy()
    assert (policy.min_length, policy.history, policy.min_age_s, policy.complexity) == (7, 24, DAY, True)


@pytest.mark.parametrize(
    ("value", "meets"),
    [
        ("Abcdef1", True),
        ("abcdef1", False),
        ("abcdef1!", True),
        ("ABCdef", False),
        ("\u6f22abcd1", True),
        ("ab \U0001f600 1x", True),
    ],
)
def test_complexity_asks_for_three_kinds_of_characters(value, meets):
    assert is_complex(value, "Administrator") is meets


@pytest.mark.parametrize("value", ["q\"uote'`$()1A", "\u20acuro \U0001f600 Zw3", "A1" + "x" * 125, "e\u0301 nfd Zw3!"])
def test_values_are_kept_byte_exact(lab, value):
    assert change(lab, lab.password(), value) == 0
    assert lab.password() == value
    assert lab.log_on(value)["code"] == 0
    assert lab.log_on(value + " ")["code"] == calls.WRONG_LOGON


def test_rights_are_read_for_users_and_groups(lab):
    rights = lab.ask("LsaEnumerateAccountRights", "SRV-01", sid=lab.machine("SRV-01").sid + "-1002")
    assert rights["rights"] == ["SeBatchLogonRight", "SeServiceLogonRight"]
    assert lab.ask("LsaEnumerateAccountRights", sid="S-1-5-32-544")["rights"]
    assert lab.ask("LsaEnumerateAccountRights", sid="S-1-5-21-1")["code"] == calls.NOT_FOUND


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("Administrator", "-500"), (".\\Administrator", "-500"), ("lab-02\\ADMINISTRATOR", "-500"),
        ("NT AUTHORITY\\SYSTEM", "S-1-5-18"),
        ("CORP\\lab-adm", "-1105"), ("lab-adm@corp.test", "-1105"), ("lab-adm", "-1105"), ("Users", "S-1-5-32-545"),
    ],
)  # fmt: skip
def test_names_become_sids(lab, name, end):
    found = lab.ask("LookupAccountNameW", name=name)
    assert (found["code"], found["sid"].endswith(end)) == (0, True)
    back = lab.ask("LookupAccountSidW", sid=found["sid"])
    assert back["code"] == 0


@pytest.mark.parametrize("name", ["nobody", "LAB-03\\Administrator", "OTHER\\x", "CORP\\nobody"])
def test_unknown_names_have_no_sid(lab, name):
    assert lab.ask("LookupAccountNameW", name=name)["code"] == calls.NO_SUCH_NAME


def test_the_machine_and_virtual_accounts_have_sids(lab):
    assert lab.ask("LookupAccountNameW", name="LAB-02")["sid"] == lab.machine().sid
    assert lab.ask("LookupAccountNameW", name="NT SERVICE\\backupd")["sid"].startswith("S-1-5-80-")
