"""Logons: what opens, what is counted, and the codes that say nothing about the password."""

import pytest

from pwserver.lab import calls
from pwserver.lab.model.accounts import Account
from tests.lab.conftest import GOOD, LOGIN


def test_every_wrong_logon_is_counted_by_account_and_machine(lab):
    lab.log_on("wrong")
    lab.log_on("wrong", machine="LAB-03")
    lab.log_on("wrong", user=LOGIN)
    lab.log_on("wrong", user="nobody")
    assert lab.machine().bad_logons == {"LAB-02\\Administrator": 1, f"LAB-02\\{LOGIN}": 1, "LAB-02\\nobody": 1}
    assert lab.machine("LAB-03").bad_logons == {"LAB-03\\Administrator": 1}


def test_the_threshold_locks_and_the_next_wrong_logon_after_the_window_counts_as_the_first(lab):
    """MS-SAMR 3.1.5.14.6: how long ago the last wrong password was is looked at when the next one comes."""
    for _ in range(9):
        assert lab.log_on("wrong")["code"] == calls.WRONG_LOGON
    lab.clock.move(seconds=601)
    assert lab.ask("NetUserGetInfo", user="Administrator")["bad_count"] == 9, "time alone sets nothing back"
    lab.log_on("wrong")
    assert lab.ask("NetUserGetInfo", user="Administrator")["bad_count"] == 1
    for _ in range(9):
        lab.log_on("wrong")
    assert lab.log_on(lab.password())["code"] == calls.LOCKED
    lab.clock.move(seconds=601)
    assert lab.log_on(lab.password())["code"] == 0
    assert lab.account().bad_count == 0
    assert lab.wrong() == 19, "the lab's own count never forgets"


def test_a_lock_without_end_waits_for_an_administrator(lab):
    lab.machine().sam.policy.duration_s = 0
    for _ in range(10):
        lab.log_on("wrong")
    lab.clock.move(days=30)
    assert lab.log_on(lab.password())["code"] == calls.LOCKED


def test_rid_500_is_spared_where_the_policy_says_so(lab):
    lab.machine().sam.policy.locks_administrator = False
    for _ in range(20):
        lab.log_on("wrong")
    assert lab.log_on(lab.password())["code"] == 0


def test_threshold_zero_never_locks(lab):
    lab.machine().sam.policy.threshold = 0
    for _ in range(30):
        lab.log_on("wrong")
    assert lab.log_on(lab.password())["code"] == 0


def test_an_unknown_name_opens_as_guest_where_guest_is_let_in(lab):
    """The Guest trap: a misspelt account "logs on", and only the token tells whose it is."""
    guest = lab.account("Guest")
    assert lab.log_on("anything", user="Adminstrator")["code"] == calls.WRONG_LOGON
    guest.disabled = False
    assert lab.log_on("anything", user="Adminstrator")["code"] == calls.NOT_GRANTED
    lab.machine().rights["@-501"] = []
    opened = lab.log_on("anything", user="Adminstrator")
    assert (opened["code"], opened["sid"]) == (0, lab.machine().sid + "-501")
    assert lab.log_on("anything", user="Adminstrator", kind=4)["code"] == calls.WRONG_LOGON


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("disabled", True, calls.DISABLED), ("expires", 1.0, calls.ACCOUNT_EXPIRED), ("outside_hours", True, 1328),
        ("other_workstation", True, 1329), ("must_change", True, calls.MUST_CHANGE),
    ],
)  # fmt: skip
def test_restrictions_are_told_to_the_right_password_only(lab, field, value, code):
    lab.account().never_expires = field != "must_change"
    setattr(lab.account(), field, value)
    assert lab.log_on(lab.password())["code"] == code
    assert lab.wrong() == 0
    assert lab.log_on("wrong")["code"] == calls.WRONG_LOGON


def test_an_old_password_expires_unless_it_never_does(lab):
    lab.clock.move(days=60)
    assert lab.log_on(lab.password())["code"] == 0
    lab.account().never_expires = False
    assert lab.log_on(lab.password())["code"] == calls.PASSWORD_EXPIRED
    assert lab.ask("NetUserGetInfo", user="Administrator")["password_expired"] == 1


def test_a_blank_password_opens_nothing_over_the_network(lab):
    lab.machine().sam.accounts.append(Account(name="blank", rid=1060, password="", last_set=0))
    assert lab.log_on("", user="blank")["code"] == calls.RESTRICTED


def test_logon_types_need_their_rights(lab):
    secret = lab.passwords["SRV-01\\svc-backup"]
    assert lab.log_on(secret, "svc-backup", "SRV-01", kind=5)["code"] == 0
    lab.machine("SRV-01").rights["@-1002"] = ["SeBatchLogonRight"]
    assert lab.log_on(secret, "svc-backup", "SRV-01", kind=5)["code"] == calls.NOT_GRANTED
    assert lab.log_on(secret, "svc-backup", "SRV-01", kind=4)["code"] == 0
    lab.machine("SRV-01").rights["@-1002"].append("SeDenyBatchLogonRight")
    assert lab.log_on(secret, "svc-backup", "SRV-01", kind=4)["code"] == calls.NOT_GRANTED
    assert lab.log_on(secret, "svc-backup", "SRV-01", kind=9)["code"] == 1367


def test_a_policy_may_deny_local_accounts_the_network(lab):
    lab.net.set_fault("LAB-02", "no-network")
    assert lab.log_on(lab.password())["code"] == calls.NOT_GRANTED
    assert lab.log_on(lab.passwords["CORP\\lab-adm"], "lab-adm", domain="CORP")["code"] == 0
    assert lab.wrong() == 0


# the domain


def corp(lab, password, kind=3, user="svc-backup", machine="SRV-01"):
    return lab.log_on(password, user, machine, "CORP", kind)["code"]


def test_domain_accounts_open_members_and_count_at_the_member_and_the_domain(lab):
    assert corp(lab, lab.passwords["CORP\\svc-backup"]) == 0
    assert corp(lab, "wrong") == calls.WRONG_LOGON
    assert lab.machine("SRV-01").bad_logons == {"CORP\\svc-backup": 1}
    assert lab.account("svc-backup", "DC1").bad_count == 1


def test_ntlm_takes_the_old_domain_password_for_an_hour_and_kerberos_does_not(lab):
    """The grace hour: a green by NTLM right after a change proves nothing about which of the two is right."""
    old = lab.passwords["CORP\\svc-backup"]
    lab.account("svc-backup", "DC1").store(GOOD, lab.net.now())
    lab.machine("SRV-01").rights["S-1-1-0"].append("SeBatchLogonRight")
    assert corp(lab, old) == 0
    assert corp(lab, old, kind=4) == calls.WRONG_LOGON
    lab.clock.move(minutes=61)
    assert corp(lab, old) == calls.WRONG_LOGON


def test_local_accounts_have_no_grace_hour(lab):
    old = lab.password()
    lab.account().store(GOOD, lab.net.now())
    assert lab.log_on(old)["code"] == calls.WRONG_LOGON


def test_a_domain_forgives_one_of_the_last_two_passwords_but_the_lab_still_counts_it(lab):
    account = lab.account("svc-backup", "DC1")
    first = account.password
    account.store(GOOD, lab.net.now() - 7200)
    assert corp(lab, first) == calls.WRONG_LOGON
    assert account.bad_count == 0
    assert lab.machine("SRV-01").bad_logons == {"CORP\\svc-backup": 1}
    account.store(GOOD + "2", lab.net.now() - 7200)
    account.store(GOOD + "3", lab.net.now() - 7200)
    corp(lab, first)
    assert account.bad_count == 1, "three versions behind counts towards the lock"


def test_protected_users_get_1327_whatever_the_password(lab):
    lab.account("svc-backup", "DC1").protected = True
    assert corp(lab, lab.passwords["CORP\\svc-backup"]) == calls.RESTRICTED
    assert corp(lab, "wrong") == calls.RESTRICTED
    assert lab.machine("SRV-01").bad_logons == {}


def test_without_a_domain_controller_only_the_cache_answers_and_never_a_network_logon(lab):
    secret = lab.passwords["CORP\\svc-backup"]
    lab.machine("SRV-01").rights["S-1-1-0"] += ["SeBatchLogonRight"]
    assert corp(lab, secret, kind=4) == 0
    lab.account("svc-backup", "DC1").store(GOOD, lab.net.now())
    lab.net.set_fault("DC1", "off")
    assert corp(lab, secret) == calls.NO_LOGON_SERVERS
    assert corp(lab, secret, kind=4) == 0, "answered from the cache, by a password that is no longer right"
    assert corp(lab, GOOD, kind=4) == calls.WRONG_LOGON
    assert corp(lab, lab.passwords["CORP\\lab-adm"], kind=4, user="lab-adm") == calls.NO_LOGON_SERVERS


def test_on_a_domain_controller_local_means_the_domain(lab):
    """Why a domain controller is refused: its "local" Administrator is the domain's."""
    assert lab.ask("DsRoleGetPrimaryDomainInformation", "DC1")["role"] == 5
    assert lab.ask("NetUserGetInfo", "DC1", user="lab-adm")["code"] == 0
    lab.ask("NetUserSetInfo", "DC1", user="lab-adm", level=1003, password=GOOD, flags=None)
    assert lab.log_on(GOOD, "lab-adm", "LAB-07", "CORP")["code"] == 0
    assert lab.log_on(GOOD, "CORP\\lab-adm", "LAB-07", "")["code"] == 0
