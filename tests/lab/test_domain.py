"""The lab's CORP: its PDC emulator over LDAP, the hour of grace, and operations on a domain account."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest

from pwserver.lab import calls, truth
from pwserver.lab.model.accounts import Policy
from pwserver.lab.model.descriptors import (
    CHANGE_PASSWORD,
    RESET_PASSWORD,
    SELF,
    allows,
    descriptor,
    sid_bytes,
    sid_text,
)
from tests.lab.conftest import GOOD, OTHER

ACCOUNT = "CORP\\svc-backup"


def run(lab, op, machine="LAB-01", **more):
    """One operation on CORP\\svc-backup, asked by LAB-01 with CORP\\lab-adm."""
    secrets = {"login_password": lab.passwords["CORP\\lab-adm"]} | more.pop("secrets", {})
    return lab.run(f"{op}_domain", machine, user=more.pop("user", "svc-backup"), secrets=secrets, **more)


def change(lab, old=None, new=GOOD, **more):
    return run(lab, "change", secrets={"old": old or lab.passwords[ACCOUNT], "new": new}, **more)


def reset(lab, new=GOOD, **more):
    return run(lab, "reset", secrets={"new": new}, **more)


def verify(lab, value=None, **more):
    return run(lab, "verify", secrets={"value": value or lab.passwords[ACCOUNT]}, **more)


def told(answer):
    return answer.stage, answer.reason, answer.code, answer.wrote


def backup(lab):
    return lab.account("svc-backup", "DC1")


def bound(lab, user="CORP\\lab-adm", password=None):
    answer = lab.ask("LdapBind", "LAB-01", server="dc1.corp.test", user=user, password=password or lab.passwords[user])
    assert answer["code"] == 0
    return answer["session"]


def search(lab, session, base, *names, below=False, filter="(objectClass=*)", dacl=False):
    asked = {"session": session, "base": base, "below": below, "filter": filter, "names": list(names), "dacl": dacl}
    return lab.ask("LdapSearch", "LAB-01", **asked)


def set_password(lab, session, value, old=None, name="svc-backup"):
    def part(op, text):
        return {"op": op, "name": "unicodePwd", "value": b64encode(f'"{text}"'.encode("utf-16-le")).decode()}

    changes = [part("replace", value)] if old is None else [part("delete", old), part("add", value)]
    return lab.ask("LdapModify", "LAB-01", session=session, dn=f"CN={name},CN=Users,DC=corp,DC=test", changes=changes)


# the controller


def test_the_pdc_emulator_is_found_by_either_name_and_not_when_it_is_off(lab):
    for domain in ("CORP", "corp.test"):
        assert lab.ask("DsGetDcNameW", "LAB-01", domain=domain, flags=0) == {"code": 0, "name": "dc1.corp.test"}
    lab.net.set_fault("DC1", "off")
    assert lab.ask("DsGetDcNameW", "LAB-02", domain="CORP", flags=0)["code"] == calls.NO_SUCH_DOMAIN


def test_the_locator_answers_from_what_it_found_last_until_it_is_told_to_look_again(lab):
    """Microsoft, DsGetDcName: cached data is used unless DS_FORCE_REDISCOVERY is given."""
    domain = lab.second_controller()
    for name, flags in (("dc1", 0), ("dc1", 0), ("dc2", 1), ("dc2", 0)):
        assert lab.ask("DsGetDcNameW", "LAB-01", domain="CORP", flags=flags)["name"] == f"{name}.corp.test"
        domain.pdc = "DC2"
    lab.net.set_fault("DC2", "off")
    assert lab.ask("DsGetDcNameW", "LAB-01", domain="CORP", flags=0)["name"] == "dc2.corp.test"
    assert lab.ask("DsGetDcNameW", "LAB-01", domain="CORP", flags=1)["code"] == calls.NO_SUCH_DOMAIN


def test_a_refused_bind_is_one_wrong_logon_at_the_controller(lab):
    answer = lab.ask("LdapBind", "LAB-01", server="dc1.corp.test", user="CORP\\lab-adm", password="not it")
    assert answer["code"] == calls.LDAP_CREDENTIALS
    assert lab.machine("DC1").bad_logons == {"CORP\\lab-adm": 1}
    assert lab.account("lab-adm", "DC1").bad_count == 1


def test_a_login_of_no_domain_is_not_looked_at(lab):
    answer = lab.ask("LdapBind", "LAB-01", server="dc1.corp.test", user="LAB-02\\svc-psrv", password="not it")
    assert answer["code"] == calls.LDAP_LOCAL_ERROR
    assert lab.machine("DC1").bad_logons == {}


def test_no_server_but_a_controller_speaks_ldap(lab):
    for server in ("lab-02.corp.test", "elsewhere.corp.test"):
        answer = lab.ask("LdapBind", "LAB-01", server=server, user="CORP\\lab-adm", password="x")
        assert answer["code"] == calls.LDAP_SERVER_DOWN


def test_a_filter_finds_one_account_and_no_sign_of_it_widens_the_search(lab):
    session = bound(lab)
    one = search(lab, session, "DC=corp,DC=test", "objectSid", below=True, filter="(sAMAccountName=SVC-backup)")
    assert [entry["dn"] for entry in one["entries"]] == ["CN=svc-backup,CN=Users,DC=corp,DC=test"]
    assert sid_text(b64decode(one["entries"][0]["attributes"]["objectSid"][0])).endswith("-1104")
    wide = search(lab, session, "DC=corp,DC=test", "objectSid", below=True, filter="(sAMAccountName=svc\\2a)")
    assert wide["entries"] == []


def test_a_descriptor_is_told_only_to_who_asks_for_the_access_list_alone(lab):
    session, dn = bound(lab), "CN=svc-backup,CN=Users,DC=corp,DC=test"
    assert search(lab, session, dn, "nTSecurityDescriptor")["entries"][0]["attributes"] == {}
    assert search(lab, session, dn, "nTSecurityDescriptor", dacl=True)["entries"][0]["attributes"]


def test_a_descriptor_says_what_the_controller_does(lab):
    """Whoever the list lets reset is let in, and nobody else; the same for a change."""
    controller = lab.machine("DC1")
    helper, ordinary = controller.real("@-1106"), controller.real("@-513")
    controller.sam.delegated = ["@-1106"]
    for admin_count in (False, True):
        account = backup(lab)
        account.admin_count = admin_count
        raw = descriptor(controller, account)
        assert allows(raw, {helper, ordinary}, RESET_PASSWORD) is not admin_count
        assert not allows(raw, {ordinary}, RESET_PASSWORD)
        code = set_password(lab, bound(lab, "CORP\\svc-web"), GOOD + str(admin_count))["code"]
        assert (code == 0) is not admin_count
    for cannot_change in (False, True):
        backup(lab).cannot_change = cannot_change
        assert allows(descriptor(controller, backup(lab)), {SELF, "S-1-1-0"}, CHANGE_PASSWORD) is not cannot_change
    assert sid_text(sid_bytes(helper)) == helper


def test_a_change_asks_for_the_present_password_a_reset_for_none(lab):
    lab.machine("DC1").sam.policy.min_age_s = 0
    first = backup(lab).password
    session = bound(lab)
    assert set_password(lab, session, GOOD, old=first)["code"] == 0
    wrong = set_password(lab, session, OTHER, old=first)  # NTLM still takes it
    assert wrong["message"].startswith("00000056")
    assert lab.log_on(first, "svc-backup", domain="CORP")["code"] == 0
    assert set_password(lab, session, OTHER)["code"] == 0
    assert backup(lab).password == OTHER


@pytest.mark.parametrize(
    ("value", "old", "begins"),
    [("Aa1", None, "0000052D"), ("aaaaaaaaaaaa", None, "0000052D"), ("again", "again", "0000052D")],
)
def test_the_policy_is_said_by_number(lab, value, old, begins):
    first = backup(lab).password
    answer = set_password(lab, bound(lab), first if old else value, old=first if old else None)
    assert answer["code"] == calls.LDAP_CONSTRAINT
    assert answer["message"].startswith(begins)
    assert backup(lab).password == first


# operations


def test_facts_come_from_the_pdc_emulator_and_cost_no_logon(lab):
    answer = run(lab, "read")
    assert told(answer) == ("done", "", 0, False)
    assert answer.directory.controller == "dc1.corp.test"
    assert answer.directory.domain_sid == lab.machine("DC1").sid
    assert answer.account.sid == lab.machine("DC1").sid_of(backup(lab))
    assert (answer.account.threshold, answer.account.window_s, answer.account.min_length) == (5, 1800, 7)
    assert (answer.directory.can_reset, answer.directory.history, answer.directory.policy) == (True, 24, "")
    assert answer.machine.computer_name == "LAB-01"
    assert not any(machine.bad_logons for machine in lab.net.state.machines.values())


def test_a_fine_grained_policy_counts_and_only_who_may_read_it_is_told(lab):
    domain = lab.machine("DC1").sam
    domain.fine["Service accounts"] = Policy(min_length=25, threshold=3, window_s=60)
    backup(lab).fine_policy = "Service accounts"
    answer = run(lab, "read")
    assert (answer.directory.policy, answer.account.min_length, answer.account.threshold) == ("Service accounts", 25, 3)
    assert change(lab, new=GOOD).reason == "too_short"
    lab.machine("DC1").groups = {}
    answer = run(lab, "read")
    assert (answer.directory.policy, answer.account.min_length) == ("Service accounts", None)
    assert answer.account.threshold is None


def test_a_change_is_a_reset_after_one_right_logon(lab):
    answer = change(lab)
    assert told(answer) == ("done", "", 0, True)
    assert answer.method == "reset"
    assert answer.directory.write_stamp == answer.account.last_set
    assert backup(lab).password == GOOD
    assert lab.machine().bad_logons == lab.machine("DC1").bad_logons == {}


def test_without_the_right_it_is_a_change_that_proves_the_old_value(lab):
    lab.machine("DC1").groups = {}
    assert change(lab).method == "change"
    lab.clock.move(days=2)
    wrong = change(lab, old="not it", new=OTHER)
    assert told(wrong) == ("write", "", 86, True)
    assert wrong.write_code == 86
    assert backup(lab).password == GOOD
    assert lab.machine("DC1").bad_logons == {ACCOUNT: 1}


def test_within_the_hour_of_grace_a_password_that_somebody_set_is_not_overwritten(lab):
    """NTLM would take the vault's value as proof, and the reset would undo what a person has just done."""
    ours = backup(lab).password
    backup(lab).store(OTHER, lab.clock().timestamp())
    lab.clock.move(minutes=5)
    assert lab.log_on(ours, "svc-backup", domain="CORP")["code"] == 0
    assert change(lab).reason == "grace_hour"
    assert backup(lab).password == OTHER
    lab.clock.move(minutes=61)
    assert told(change(lab)) == ("old", "", 1326, False)
    assert backup(lab).password == OTHER


def test_our_own_write_of_a_minute_ago_may_be_changed_again(lab):
    stamp = change(lab).directory.write_stamp
    lab.clock.move(minutes=1)
    assert change(lab, old=GOOD, new=OTHER, own_stamp=stamp).stage == "done"
    lab.clock.move(minutes=1)
    assert change(lab, old=OTHER, new=GOOD, own_stamp=stamp).reason == "grace_hour"


def test_somebody_who_sets_it_right_after_our_write_takes_the_proof_away(lab, monkeypatch):
    real = lab.net.call

    def call(machine, as_user, name, args):
        answer = real(machine, as_user, name, args)
        if name == "LogonUserW" and args["password"] == GOOD:
            lab.clock.move(milliseconds=1)
            backup(lab).store(OTHER, lab.clock().timestamp())
        return answer

    monkeypatch.setattr(lab.net, "call", call)
    answer = change(lab)
    assert (answer.stage, answer.logon.code, answer.directory.write_stamp) == ("done", 0, None)


def test_a_wrong_value_costs_exactly_one_wrong_logon(lab):
    assert told(verify(lab, "not it")) == ("verify", "", 1326, False)
    assert backup(lab).bad_count == 1
    assert lab.machine("LAB-01").bad_logons == {ACCOUNT: 1}


def test_a_count_that_leaves_too_few_stops_before_any_try(lab):
    backup(lab).bad_count, backup(lab).last_bad = 3, lab.clock().timestamp()
    for answer in (verify(lab, "not it"), change(lab)):
        assert answer.reason == "would_lock"
    assert backup(lab).bad_count == 3


def test_nothing_is_sent_to_a_controller_that_is_not_the_pdc_emulator(lab):
    lab.machine("DC1").sam.pdc, lab.machine("DC1").sam.pdc_record = "DC2", "DC1"
    before = lab.net.hash()
    for answer in (change(lab), reset(lab)):
        assert told(answer) == ("hop", "not_pdc", 0, False)
    assert lab.net.hash() == before


@pytest.mark.parametrize(
    ("prepare", "reason", "code"),
    [
        (lambda lab: lab.net.set_fault("DC1", "off"), "no_controller", 1355),
        (lambda lab: setattr(lab.machine("LAB-01"), "domain_role", 2), "not_member", 0),
        (lambda lab: setattr(backup(lab), "admin_count", True), "guarded", 0),
        (lambda lab: setattr(backup(lab), "managed", "gmsa"), "managed", 8654),
        (lambda lab: setattr(lab.machine("DC1"), "groups", {}), "no_reset_right", 0),
    ],
)
def test_what_stops_a_reset_stops_it_before_anything_is_written(lab, prepare, reason, code):
    prepare(lab)
    before = lab.net.hash()
    assert told(reset(lab))[1:] == (reason, code, False)
    assert lab.net.hash() == before


def test_what_may_not_be_changed_and_not_reset_says_so(lab):
    lab.machine("DC1").groups = {}
    backup(lab).cannot_change = True
    assert change(lab).reason == "change_denied"


def test_the_domains_own_accounts_are_never_touched(lab):
    assert reset(lab, user="krbtgt").reason == "never_changed"
    assert reset(lab, user="Administrator").reason == "guarded"
    assert reset(lab, user="lab-adm").reason == "guarded"


def test_another_domain_of_that_name_is_noticed(lab):
    assert told(change(lab, domain_sid="S-1-5-21-1-2-3")) == ("hop", "new_machine", 0, False)
    assert change(lab, domain_sid=lab.machine("DC1").sid).stage == "done"


def test_a_refused_linked_credential_is_tried_once(lab):
    answer = run(lab, "change", secrets={"old": "x", "new": GOOD, "login_password": "not it"})
    assert told(answer) == ("hop", "login_refused", 1326, False)
    assert lab.machine("DC1").bad_logons == {"CORP\\lab-adm": 1}


def test_a_linked_credential_of_no_domain_is_said(lab):
    answer = run(lab, "read", login="LAB-02\\svc-psrv")
    assert (answer.reason, answer.wrote) == ("login_unclear", False)


def test_a_member_of_protected_users_is_changed_knowing_the_old_value_and_not_proved(lab):
    backup(lab).protected = True
    answer = change(lab)
    assert (answer.stage, answer.code, answer.method, answer.write_code) == ("verify", 1327, "change", 0)
    assert answer.directory.protected_user


def test_an_override_unlocks_and_one_without_leaves_it_locked(lab):
    backup(lab).locked_at = lab.clock().timestamp()
    assert told(reset(lab)) == ("verify", "", 1909, True)
    assert reset(lab, OTHER, unlock=True).stage == "done"


# commands


def test_the_truth_of_a_domain_account_by_its_full_name(lab):
    truth.set_password(lab.net, "DC1", ACCOUNT, GOOD)
    assert truth.holds(lab.net, "LAB-01", ACCOUNT, GOOD) == {"holds": True}
    truth.set_account(lab.net, "DC1", "svc-backup", {"admin_count": True})
    assert backup(lab).admin_count


def test_wrong_logons_of_a_domain_account_are_counted_wherever_they_were_made(lab):
    verify(lab, "not it")
    verify(lab, "not it 2", machine="LAB-02")
    rows = [each for each in truth.state(lab.net)["machines"] if each["name"] == "DC1"][0]["accounts"]
    assert {each["name"]: each["wrong_logons"] for each in rows}["svc-backup"] == 2
    assert truth.badlogons(lab.net)["total"] == 2
