"""Domain Password through LAB-01, a member of CORP: connector, session, wire, script, the lab's domain controller."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pwserver.connectors.base import Answer, Connector, Credential, Evidence, Key, Means, Outcome, ask
from pwserver.connectors.kinds import CONNECTORS, LINK_KINDS
from pwserver.core.secrets import Secret
from pwserver.lab.model.accounts import Account
from tests.lab_wire.kit import Lab, call

NEW = Secret("Aa1\"'`$()€😀")
ACCOUNT = "CORP\\svc-backup"
MINUTE = 60.0


def connector(
    lab: Lab, *, login: Credential | None = None, domain: str = "CORP", user: str = "svc-backup"
) -> Connector:
    linked = login or Credential("lab-adm", lab.initial("CORP\\lab-adm"))
    session = lab.sessions[0] if lab.sessions else lab.session()
    settings = LINK_KINDS["domain"].settings.model_validate({"domain": domain, "user_name": user})
    return CONNECTORS["domain"](session, settings, "LAB-01", linked)


def account(lab: Lab) -> Account:
    found = lab.network.machine("DC1").sam.find("svc-backup")
    assert found is not None
    return found


def set_outside(lab: Lab, minutes: float, value: str = "Set-by-somebody-1") -> None:
    account(lab).store(value, time.time() - minutes * MINUTE)


def all_bad_logons(lab: Lab) -> int:
    return sum(sum(machine.bad_logons.values()) for machine in lab.network.state.machines.values())


def outcome(go: Any) -> Outcome:
    found = ask(go, secrets=())
    assert not found.bug
    return found


def test_a_clean_change_is_a_reset_at_the_pdc_emulator_and_costs_no_wrong_logon(lab: Lab) -> None:
    link = connector(lab)
    old = lab.initial(ACCOUNT)
    facts = link.read(call())
    assert (facts.host, facts.means, facts.logged_on) == ("dc1.corp.test", None, False)
    changed = link.change(call(stamp=facts.stamp), old, NEW)
    assert (changed.host, changed.means, changed.method) == ("dc1.corp.test", Means.LOGGED_ON, "reset")
    controller = lab.network.machine("DC1")
    assert changed.account_id == changed.account_sid == controller.sid_of(account(lab))
    assert changed.machine_sid == controller.sid
    assert link.verify(call(stamp=changed.stamp, machine_sid=changed.machine_sid), NEW).means is Means.LOGGED_ON
    assert account(lab).password == NEW.open()
    assert all_bad_logons(lab) == 0


@pytest.mark.parametrize("which", ["Set-by-somebody-1", "the one before"])
def test_a_password_changed_outside_five_minutes_ago_is_not_green_by_either_value(lab: Lab, which: str) -> None:
    """Both open it by NTLM, so a logon proves neither."""
    account(lab).password = "the one before"
    set_outside(lab, 5)
    found = outcome(lambda: connector(lab).verify(call(), Secret(which)))
    assert (found.answer, found.reason, found.wrote) == (Answer.UNKNOWN, "grace_hour", False)
    assert found.spent == frozenset()
    assert isinstance(found.evidence, Evidence)
    assert found.evidence.means is None
    assert found.safe_in is not None
    assert 59 * MINUTE < found.safe_in.total_seconds() < 61 * MINUTE
    assert all_bad_logons(lab) == 0


def test_after_the_hour_of_grace_a_logon_proves_and_the_one_before_is_refused(lab: Lab) -> None:
    account(lab).password = "the one before"
    set_outside(lab, 66)
    link = connector(lab)
    assert link.verify(call(), Secret("Set-by-somebody-1")).means is Means.LOGGED_ON
    found = outcome(lambda: link.verify(call(), Secret("the one before")))
    assert (found.answer, found.reason, found.spent) == (Answer.REFUSED, "value_refused", {Key.TARGET})


def test_within_the_hour_a_logon_counts_only_under_the_stamp_of_our_own_write(lab: Lab) -> None:
    set_outside(lab, 5)
    link = connector(lab)
    stamp = link.read(call()).stamp
    assert link.verify(call(stamp=stamp), Secret("Set-by-somebody-1")).means is Means.LOGGED_ON
    found = outcome(lambda: link.verify(call(stamp="2020-01-01T00:00:00+00:00"), Secret("Set-by-somebody-1")))
    assert (found.answer, found.reason) == (Answer.UNKNOWN, "grace_hour")


def test_a_deliberate_change_of_somebody_else_is_not_overwritten_within_the_hour(lab: Lab) -> None:
    set_outside(lab, 5)
    link = connector(lab)
    found = outcome(lambda: link.change(call(), lab.initial(ACCOUNT), NEW))
    assert (found.answer, found.reason, found.wrote) == (Answer.REFUSED, "grace_hour_before_write", False)
    assert found.safe_in is not None
    assert account(lab).password == "Set-by-somebody-1"
    assert link.reset(call(), NEW).means is Means.LOGGED_ON  # a person may


def test_a_wrong_value_costs_exactly_one_wrong_logon(lab: Lab) -> None:
    found = outcome(lambda: connector(lab).verify(call(), Secret("Not-This-One-1")))
    assert (found.answer, found.reason, found.spent) == (Answer.REFUSED, "value_refused", {Key.TARGET})
    assert account(lab).bad_count == all_bad_logons(lab) == 1


def test_a_wrong_old_value_costs_exactly_one_and_nothing_is_changed(lab: Lab) -> None:
    found = outcome(lambda: connector(lab).change(call(), Secret("Not-This-One-1"), NEW))
    assert (found.answer, found.reason, found.spent) == (Answer.REFUSED, "old_value_refused", {Key.TARGET})
    assert account(lab).bad_count == 1
    assert account(lab).password == lab.initial(ACCOUNT).open()


def test_our_own_refused_login_is_never_told_as_the_targets_and_is_sent_once(lab: Lab) -> None:
    link = connector(lab, login=Credential("CORP\\lab-adm", Secret("not it")))
    found = outcome(lambda: link.change(call(), lab.initial(ACCOUNT), NEW))
    assert (found.answer, found.reason, found.spent) == (Answer.BLOCKED, "linked_refused", {Key.LINKED})
    assert lab.bad_logons("DC1") == all_bad_logons(lab) == 1


def test_a_login_of_no_domain_is_blocked_and_keeps_its_try(lab: Lab) -> None:
    link = connector(lab, login=Credential("LAB-02\\svc-psrv", lab.initial("LAB-02\\svc-psrv")))
    found = outcome(lambda: link.read(call()))
    assert (found.answer, found.reason, found.spent) == (Answer.BLOCKED, "linked_unclear", {Key.LINKED})


@pytest.mark.parametrize(
    ("change", "answer", "reason"),
    [
        ({"disabled": True}, Answer.REFUSED, "account_disabled"),
        ({"expires": 1.0}, Answer.REFUSED, "account_expired"),
        ({"must_change": True, "never_expires": False}, Answer.REFUSED, "must_change"),
        ({"outside_hours": True}, Answer.REFUSED, "account_hours"),
        ({"protected": True}, Answer.REFUSED, "account_restricted"),
        ({"managed": "gmsa"}, Answer.REFUSED, "managed_by_windows"),
        ({"admin_count": True}, Answer.BLOCKED, "guarded_account"),
        ({"groups": ["@-512"]}, Answer.BLOCKED, "guarded_account"),  # not marked yet: Windows comes round every hour
        ({"bad_count": 3, "last_bad": time.time()}, Answer.REFUSED, "would_lock"),
        ({"locked_at": time.time()}, Answer.REFUSED, "account_locked"),
    ],
)
def test_a_state_that_cannot_be_proved_is_said_and_costs_nothing(
    lab: Lab, change: dict[str, Any], answer: Answer, reason: str
) -> None:
    for name, value in change.items():
        setattr(account(lab), name, value)
    found = outcome(lambda: connector(lab).verify(call(), lab.initial(ACCOUNT)))
    assert (found.answer, found.reason, found.spent) == (answer, reason, frozenset())
    assert all_bad_logons(lab) == 0


def lost_the_role(lab: Lab) -> None:
    """DC2 has it now, and the record in DNS still names DC1."""
    domain = lab.network.machine("DC1").sam
    domain.pdc, domain.pdc_record = "DC2", "DC1"


@pytest.mark.parametrize(
    ("prepare", "answer", "reason"),
    [
        (lambda lab: lab.network.set_fault("DC1", "off"), Answer.UNREACHABLE, "pdc_silent"),
        (lost_the_role, Answer.UNREACHABLE, "not_pdc"),
        (lambda lab: setattr(lab.network.machine("DC1"), "groups", {}), Answer.BLOCKED, "denied"),
        (lambda lab: setattr(lab.network.machine("LAB-01"), "domain_role", 2), Answer.BLOCKED, "not_member"),
    ],
)
def test_what_stands_against_a_reset_is_said_and_nothing_is_sent(
    lab: Lab, prepare: Any, answer: Answer, reason: str
) -> None:
    prepare(lab)
    before = lab.network.hash()
    found = outcome(lambda: connector(lab).reset(call(), NEW))
    assert (found.answer, found.reason, found.wrote, found.spent) == (answer, reason, False, frozenset())
    assert lab.network.hash() == before


def test_another_domain_of_the_same_name_gets_no_password(lab: Lab) -> None:
    found = outcome(lambda: connector(lab).reset(call(machine_sid="S-1-5-21-1-2-3"), NEW))
    assert (found.answer, found.reason) == (Answer.BLOCKED, "new_machine")
    assert lab.network.machine("DC1").sid in found.text


@pytest.mark.parametrize(("word", "applied"), [("cut-before", False), ("cut-after", True)])
def test_a_line_that_breaks_at_the_controller_is_unknown_whatever_it_did(lab: Lab, word: str, applied: bool) -> None:
    lab.network.set_fault("DC1", word)
    found = outcome(lambda: connector(lab).reset(call(), NEW))
    assert (found.answer, found.wrote) == (Answer.UNKNOWN, True)
    assert (account(lab).password == NEW.open()) is applied


def test_a_member_of_protected_users_is_written_and_never_green(lab: Lab) -> None:
    """NTLM is closed to it, and a code that says nothing about a password proves none."""
    account(lab).protected = True
    changed = connector(lab).change(call(), lab.initial(ACCOUNT), NEW)
    assert (changed.means, changed.method, changed.logged_on) == (Means.WRITTEN, "change", False)


def test_service_names_are_told_before_a_change(lab: Lab) -> None:
    account(lab).spns = ["HTTP/a", "HTTP/b"]
    assert "2 service names (SPN)" in connector(lab).read(call()).notes


def test_one_account_under_every_spelling(lab: Lab) -> None:
    spellings = [("CORP", "svc-backup"), ("corp.test", "SVC-BACKUP"), ("Corp", "Svc-Backup")]
    told = [connector(lab, domain=domain, user=user).read(call()) for domain, user in spellings]
    assert len({each.account_id for each in told}) == 1


def test_its_places_take_the_value_of_a_domain_account(lab: Lab) -> None:
    """A task and a service of SRV-01 that run as CORP\\svc-backup, with the linked credential by Kerberos."""
    server = lab.network.machine("SRV-01")
    sid = lab.network.machine("DC1").sid_of(account(lab))
    server.rights[sid] = ["SeBatchLogonRight", "SeServiceLogonRight"]
    for place in (*server.tasks, *server.services):
        setattr(place, "run_as" if place in server.tasks else "start_name", ACCOUNT)
    changed = connector(lab).change(call(), lab.initial(ACCOUNT), NEW)
    linked = Credential("CORP\\lab-adm", lab.initial("CORP\\lab-adm"))
    for kind, settings in (
        ("scheduled_task", {"machine": "SRV-01", "path": "\\Backup\\Nightly"}),
        ("windows_service", {"machine": "SRV-01", "name": "backupd", "restart": "never"}),
    ):
        made = LINK_KINDS[kind].settings.model_validate(settings)
        place = CONNECTORS[kind](lab.sessions[0], made, "LAB-01", linked)
        written = place.write(call(account=ACCOUNT, account_sid=changed.account_sid), NEW)
        assert (written.host, written.run_as_sid) == ("SRV-01", sid)
    assert server.tasks[0].stored == NEW.open()
    assert next(each.stored for each in server.services if each.name == "backupd") == NEW.open()
    assert all_bad_logons(lab) == 0
