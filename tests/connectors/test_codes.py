"""What an answer means: each code of Windows at each stage, and nothing that is only nearly a proof."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pwserver.connectors import codes
from pwserver.connectors.base import (
    Blocked,
    ConnectorError,
    Evidence,
    Key,
    Means,
    Refused,
    Unknown,
    Unreachable,
)
from pwserver.connectors.contract import (
    OPERATIONS,
    STAGES,
    STOPS,
    AccountFacts,
    Answer,
    LogonFacts,
    Machine,
    PlaceFacts,
)
from pwserver.core.reasons import REASONS

SID = "S-1-5-21-1-2-3-1001"
MACHINE = Machine(
    computer_name="LAB-05", domain="CORP", domain_role=1, machine_sid="S-1-5-21-1-2-3", ps_version="5.1",
    elevated=True, clock="2026-11-24T08:58:00Z",
)  # fmt: skip
ACCOUNT = AccountFacts(
    name="bob", sid=SID, rid=1001, enabled=True, locked=False, expired=False, must_change=False, cannot_change=False,
    last_set="2026-11-24T08:57:59Z", may_change_at=None, bad_count=0, threshold=5, window_s=600, min_length=7,
    has_profile=False, managed="",
)  # fmt: skip
PLACE = PlaceFacts(
    name="\\Lab\\Nightly", run_as="LAB-05\\bob", run_as_sid=SID, account_sid=SID, stores_password=True, right=True,
    enabled=True, state="ready", last_start="2026-11-24T01:00:00Z", last_result=0, managed="", cluster=False,
)  # fmt: skip
PLACES = ("read_task", "set_task", "read_service", "set_service", "restart_service")
METHODS = {"change": "change", "reset": "reset", "set_task": "set", "set_service": "set", "restart_service": "restart"}
LOGGING = ("verify", "change", "reset")


def logon(code=0, stage="verify", sid=SID):
    return LogonFacts(type=3, code=code, sid=sid if code == 0 else "", stage=stage)


def answer(op, stage="done", code=0, reason="", **facts):
    """An answer as the script gives it at that stage."""
    wrote = OPERATIONS[op].writes and stage in ("write", "verify", "done")
    given = {
        "attempt": "a", "op": op, "stage": stage, "code": code, "reason": reason, "wrote": wrote,
        "write_code": (code if stage == "write" else 0) if wrote else None,
        "method": METHODS.get(op, "") if wrote else "",
        "machine": None if stage in ("start", "hop") else MACHINE,
        "account": ACCOUNT if "user" in OPERATIONS[op].params and stage not in ("start", "hop", "identity") else None,
        "place": PLACE if op in PLACES and stage not in ("start", "hop", "identity") else None,
        "logon": logon(code, stage if stage == "old" else "verify")
        if op in LOGGING and stage in ("old", "verify", "done")
        else None,
        "text": "", "elapsed_ms": 5,
    }  # fmt: skip
    return Answer(**given | facts)


def said(told, **more):
    """Evidence, or the error that was raised."""
    try:
        return codes.meaning(told, **more)
    except ConnectorError as error:
        return error


def check(told, kind, reason, spent=(), wrote=False):
    error = said(told)
    assert type(error) is kind
    assert error.reason == reason
    assert error.spent == frozenset(spent)
    assert error.wrote is wrote
    assert error.reason in REASONS
    return error


# who it is


def key(**machine):
    """The account's key as told by the same machine, but for ``machine``; its SID goes into the account's."""
    told = MACHINE.model_copy(update=machine)
    account = ACCOUNT.model_copy(update={"sid": f"{told.machine_sid}-1001"})
    return said(answer("read_account", machine=told, account=account)).account_id


def test_two_machines_of_one_short_name_have_two_accounts_each_with_a_budget_of_its_own():
    assert key() != key(machine_sid="S-1-5-21-4-5-6")
    assert key(domain_dns="berlin.example") != key(domain_dns="munich.example")
    assert key(dns_suffix="berlin.example") != key(dns_suffix="munich.example")


def test_a_machine_told_of_under_two_spellings_has_one_account():
    assert key(domain_dns="CORP.test") == key(computer_name="lab-05", domain_dns="corp.test", dns_suffix="other.test")


def test_a_wrong_machine_says_its_full_name():
    machine = MACHINE.model_copy(update={"domain_dns": "munich.example"})
    error = check(answer("change", "identity", 0, "wrong_name", machine=machine), Blocked, "wrong_name")
    assert error.text == "It calls itself LAB-05.munich.example."


@pytest.mark.parametrize(
    ("reason", "name", "text"),
    [
        ("account_renamed", "labroot", "It is called labroot now."),
        ("other_account", "labroot", "The account that was proved here is called labroot now."),
        ("other_account", "", "The account that was proved here does not exist any more."),
    ],
)
def test_a_renamed_account_is_named_and_a_stranger_under_its_name_tells_nothing_of_it(reason, name, text):
    error = check(answer("change", "facts", 0, reason, account=None, present_name=name), Blocked, reason)
    assert error.text == text
    assert error.evidence is not None
    told = error.evidence
    assert (told.account_id, told.account_sid, told.stamp, told.bad_count) == (None, None, None, None)


@pytest.mark.parametrize(
    ("bad_at", "since"),
    [("2026-11-24T08:00:00Z", ", the last at 2026-11-24T08:00:00Z"), (None, "; Windows does not tell since when")],
)
def test_an_account_that_a_try_could_lock_tells_its_count_and_how_old_it_may_be(bad_at, since):
    account = ACCOUNT.model_copy(update={"bad_count": 4, "bad_at": bad_at})
    error = check(answer("verify", "facts", 0, "would_lock", account=account), Refused, "would_lock")
    assert error.text == f"4 of 5 wrong logons are counted there{since}."


# what is proved


@pytest.mark.parametrize("op", LOGGING)
def test_a_logon_with_the_accounts_own_token_is_a_proof(op):
    evidence = said(answer(op))
    assert (evidence.means, evidence.logged_on) == (Means.LOGGED_ON, True)
    assert (evidence.host, evidence.account_id, evidence.account_sid) == ("LAB-05", f"lab-05#{SID}", SID)
    assert (evidence.stamp, evidence.machine_sid) == ("2026-11-24T08:57:59Z", "S-1-5-21-1-2-3")
    assert evidence.method == METHODS.get(op, "")


@pytest.mark.parametrize(
    ("op", "means"),
    [("identity", None), ("read_account", None), ("read_task", None), ("read_service", None)]
    + [("set_task", Means.WRITTEN), ("set_service", Means.WRITTEN), ("restart_service", Means.STARTED)],
)
def test_reading_proves_nothing_and_writing_is_only_written(op, means):
    evidence = said(answer(op))
    assert evidence.means is means
    assert evidence.logged_on is False


def test_a_running_service_waits_for_its_restart():
    assert said(answer("set_service", place=PLACE.model_copy(update={"state": "running"}))).restart_pending is True
    assert said(answer("set_service", place=PLACE.model_copy(update={"state": "stopped"}))).restart_pending is False
    assert said(answer("set_task")).restart_pending is False


LIES = [
    ("no logon", "verify", {"logon": None}),
    ("a guest's token", "verify", {"logon": logon(sid="S-1-5-21-1-2-3-501")}),
    ("no token", "change", {"logon": logon(sid="")}),
    ("an interactive logon", "change", {"logon": LogonFacts(type=2, code=0, sid=SID, stage="verify")}),
    ("the old value's logon", "change", {"logon": logon(stage="old")}),
    ("a failed logon", "reset", {"logon": logon(1326)}),
    ("no write", "change", {"wrote": False, "write_code": None, "method": ""}),
    ("a failed write", "change", {"write_code": 5}),
    ("another method", "reset", {"method": "change"}),
    ("no account", "verify", {"account": None}),
    ("no machine", "verify", {"machine": None}),
    ("no place", "set_task", {"place": None}),
    ("a test that wrote", "verify", {"wrote": True}),
]


@pytest.mark.parametrize(("why", "op", "facts"), LIES, ids=[lie[0] for lie in LIES])
def test_an_answer_that_says_done_and_shows_otherwise_is_unknown(why, op, facts):
    error = said(answer(op, **facts))
    assert isinstance(error, Unknown), why
    assert error.reason == "answer_foreign"


# what was refused


@pytest.mark.parametrize("code", [1326])
def test_a_wrong_password_in_a_test_is_refused_and_spends_the_try(code):
    check(answer("verify", "verify", code), Refused, "value_refused", {Key.TARGET})


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1327, "account_restricted"), (1328, "account_hours"), (1329, "account_workstation"),
        (1330, "password_expired"), (1331, "account_disabled"), (1385, "logon_type_denied"),
        (1793, "account_expired"), (1907, "must_change"), (1909, "account_locked"),
    ],
)  # fmt: skip
def test_a_state_of_the_account_is_no_proof_and_costs_nothing(code, reason):
    check(answer("verify", "verify", code), Refused, reason)
    check(answer("change", "old", code, "cannot_prove_old"), Refused, reason)
    written = said(answer("change", "verify", code))
    assert (written.means, written.logged_on) == (Means.WRITTEN, False)


@pytest.mark.parametrize("op", ["change", "reset"])
def test_set_worked_and_the_logon_was_refused_is_unknown(op):
    check(answer(op, "verify", 1326), Unknown, "refused_after_write", {Key.TARGET}, wrote=True)


@pytest.mark.parametrize("op", ["change", "reset"])
def test_no_domain_controller_after_a_write_is_written_only(op):
    for code in (1311, 1355, 1787, 1789):
        assert said(answer(op, "verify", code)).means == Means.WRITTEN


def test_a_wrong_old_value_is_refused_and_nothing_else_is_done():
    check(answer("change", "write", 86), Refused, "old_value_refused", {Key.TARGET}, wrote=True)
    check(answer("change", "old", 1326), Refused, "old_value_refused", {Key.TARGET})


@pytest.mark.parametrize(
    ("op", "code", "kind", "reason"),
    [
        ("change", 5, Refused, "change_denied"), ("reset", 5, Blocked, "denied"), ("set_service", 5, Blocked, "denied"),
        ("change", 2245, Refused, "policy"), ("change", 1325, Refused, "policy"), ("reset", 2245, Refused, "policy"),
        ("change", 8654, Refused, "managed_by_windows"), ("reset", 8654, Refused, "managed_by_windows"),
        ("change", 2221, Blocked, "no_account"), ("reset", 2351, Blocked, "wrong_name"),
        ("change", 1219, Blocked, "other_session"), ("reset", 1314, Blocked, "denied"),
        ("set_task", 0x80070520, Blocked, "may_not_store"), ("set_task", 0x80070569, Blocked, "no_batch_right"),
        ("set_task", 0x80041310, Blocked, "no_account"),
        ("set_task", 0x80070005, Blocked, "denied"), ("set_task", 0x80070775, Refused, "account_locked"),
        ("set_service", 1057, Blocked, "no_account"), ("set_service", 1060, Blocked, "no_service"),
        ("restart_service", 1051, Refused, "dependents_running"),
    ],
)  # fmt: skip
def test_a_code_at_the_write(op, code, kind, reason):
    check(answer(op, "write", code), kind, reason, wrote=True)


def test_a_change_done_by_a_reset_is_read_as_a_reset():
    check(answer("change", "write", 5, method="reset"), Blocked, "denied", wrote=True)


def test_a_task_without_account_information_may_have_met_a_wrong_password():
    """Its text names no account, and the older interface gives it for a wrong password."""
    check(answer("set_task", "write", 0x8004130F), Unknown, "code_not_known", {Key.TARGET}, wrote=True)


def test_a_task_checks_the_password_itself():
    check(answer("set_task", "write", 0x8007052E), Refused, "value_refused", {Key.TARGET}, wrote=True)


@pytest.mark.parametrize("code", [5, 1314])
def test_our_missing_right_is_never_the_targets_refusal(code):
    check(answer("read_account", "facts", code), Blocked, "denied")


# what the script stopped for

STOPPED = {
    "language_mode": Blocked, "not_admin": Blocked, "wrong_name": Blocked, "new_machine": Blocked, "is_dc": Blocked,
    "no_account": Blocked, "account_renamed": Blocked, "other_account": Blocked,
    "is_guest": Blocked, "managed": Refused, "would_lock": Refused, "too_young": Refused,
    "reset_not_allowed": Refused, "too_short": Refused, "blank": Refused, "no_task": Blocked, "no_service": Blocked,
    "stores_no_password": Blocked, "run_as_differs": Blocked, "no_batch_right": Blocked, "no_service_right": Blocked,
    "cluster_resource": Refused, "not_running": Refused, "dependents_running": Refused, "ttl": Unreachable,
    "account_state": Refused, "cannot_prove_old": Refused, "bad_request": Unknown, "internal": Unknown,
    "hop_unreachable": Unreachable, "hop_refused": Blocked, "hop_broken": Unknown, "did_not_start": Refused,
    "not_member": Blocked, "no_controller": Unreachable, "not_pdc": Unreachable, "login_refused": Blocked,
    "login_unclear": Blocked, "guarded": Blocked, "never_changed": Blocked, "no_reset_right": Blocked,
    "change_denied": Refused, "grace_hour": Refused, "helper_not_compiled": Blocked, "hop_unclear": Blocked,
    "hop_no_controller": Unreachable,
    "start_disabled": Refused, "dependency_missing": Refused,
    "still_stopping": Refused, "dependents_down": Refused,
    "run_as_ambiguous": Blocked,
}  # fmt: skip


def test_every_stop_of_the_contract_has_a_meaning():
    assert STOPPED.keys() == STOPS.keys() == codes.STOPS.keys()
    assert all(row.reason in REASONS for row in codes.STOPS.values())


@pytest.mark.parametrize("reason", sorted(STOPPED.keys() - {"hop_broken"} - codes.LEFT_DOWN))
def test_a_stop_before_the_write_wrote_nothing(reason):
    stage = "hop" if reason.startswith("hop") else "facts"
    error = said(answer("change", stage, 0, reason))
    assert type(error) is STOPPED[reason]
    assert error.wrote is False
    ours = reason in ("hop_refused", "hop_unclear", "login_refused", "login_unclear")
    assert error.spent == (frozenset({Key.LINKED}) if ours else frozenset())


@pytest.mark.parametrize("reason", sorted(STOPPED.keys() - {"hop_broken"} - codes.LEFT_DOWN))
def test_a_stop_after_the_write_is_unknown(reason):
    assert type(said(answer("change", "verify", 0, reason))) is Unknown


def test_minimum_age_says_how_long_by_the_clock_of_the_machine():
    """Which may be minutes away from ours: only the database's clock makes a time of it."""
    young = ACCOUNT.model_copy(update={"may_change_at": "2026-11-25T08:58:00Z"})
    error = check(answer("change", "facts", 0, "too_young", account=young), Refused, "may_change_at")
    assert error.safe_in == timedelta(days=1)


def test_a_locked_account_says_when_it_may_be_safe():
    for told in (answer("verify", "facts", 1909, "account_state"), answer("verify", "verify", 1909)):
        assert check(told, Refused, "account_locked").safe_in == timedelta(seconds=600)
    assert check(answer("verify", "facts", 0, "would_lock"), Refused, "would_lock").safe_in == timedelta(minutes=10)


def test_a_service_that_did_not_come_up_is_said_with_its_code():
    error = check(answer("restart_service", "verify", 1069, "did_not_start"), Refused, "did_not_start", wrote=True)
    assert error.code == "1069"


def test_what_a_restart_left_down_is_known_and_named():
    left = PLACE.model_copy(update={"name": "webd", "down": ("webd", "webcache")})
    for reason in sorted(codes.LEFT_DOWN):
        error = check(answer("restart_service", "verify", 1053, reason, place=left), Refused, reason, wrote=True)
        assert (error.text, error.evidence.down) == ("Stopped with it and not up: webcache.", ("webd", "webcache"))


def test_what_is_not_restarted_says_which_service_stands_against_it():
    place = PLACE.model_copy(update={"name": "webd", "hindered": "webcache"})
    error = check(answer("restart_service", "facts", 1058, "start_disabled", place=place), Refused, "start_disabled")
    assert (error.text, error.wrote) == ("The start type of webcache is Disabled.", False)
    error = said(answer("restart_service", "facts", 1075, "dependency_missing", place=place))
    assert (error.reason, error.text) == ("dependency_missing", "It needs webcache.")


def test_what_the_machine_told_stands_beside_our_words():
    other = MACHINE.model_copy(update={"computer_name": "LAB-09"})
    assert said(answer("change", "identity", 0, "wrong_name", machine=other)).text == "It calls itself LAB-09."
    named = PLACE.model_copy(update={"suggestion": "backupd"})
    assert "backupd" in said(answer("read_service", "facts", 1060, "no_service", place=named)).text


# the second machine


@pytest.mark.parametrize(
    ("code", "kind", "reason", "spent"),
    [
        (1326, Blocked, "linked_refused", {Key.LINKED}), (0x8009030C, Blocked, "linked_refused", {Key.LINKED}),
        (0x8007052E, Blocked, "linked_refused", {Key.LINKED}), (86, Blocked, "linked_refused", {Key.LINKED}),
        (5, Blocked, "not_admin", ()), (0x80070005, Blocked, "not_admin", ()),
        (1327, Blocked, "linked_state", ()), (1328, Blocked, "linked_state", ()), (1330, Blocked, "linked_state", ()),
        (1331, Blocked, "linked_state", ()), (1793, Blocked, "linked_state", ()), (1907, Blocked, "linked_state", ()),
        (1909, Blocked, "linked_state", ()), (1329, Blocked, "linked_restricted", ()),
        (1385, Blocked, "linked_restricted", ()),
    ],
)  # fmt: skip
def test_only_a_code_that_names_the_password_refuses_the_linked_credential(code, kind, reason, spent):
    """By Kerberos a wrong password never is a 5, and an account that is locked or expired has the right one."""
    check(answer("change", "hop", code, "hop_refused"), kind, reason, spent)


@pytest.mark.parametrize("code", [1311, 1355, 1787, 1789, 0x80090311])
def test_where_no_controller_looked_nothing_is_spent_and_it_is_tried_again(code):
    check(answer("change", "hop", code, "hop_unreachable"), Unreachable, "no_logon_server")


@pytest.mark.parametrize("code", [1312, 0x80090303, 0x8009030E])
def test_kerberos_without_an_answering_controller_blames_no_login(code):
    check(answer("change", "hop", code, "hop_no_controller"), Unreachable, "no_logon_server")


def test_access_denied_over_tls_may_be_a_wrong_password():
    """A local account: the machine's service answers 401 whatever the cause, so its try counts."""
    check(answer("change", "hop", 5, "hop_unclear"), Blocked, "linked_denied", {Key.LINKED})


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (0x80338126, Unreachable, "hop_unreachable"), (0x803381B9, Unreachable, "no_dns"),
        (0x803381A5, Unreachable, "out_of_shells"), (0x803381A6, Unreachable, "out_of_shells"),
        (0x80338012, Unreachable, "hop_unreachable"), (995, Unreachable, "hop_unreachable"),
        (12175, Blocked, "hop_certificate"),
        (10060, Unreachable, "hop_unreachable"), (10061, Unreachable, "hop_unreachable"),
        (11001, Unreachable, "no_dns"), (11002, Unreachable, "no_dns"), (11004, Unreachable, "no_dns"),
        (0x80090322, Blocked, "hop_principal"), (1396, Blocked, "hop_principal"), (1397, Blocked, "hop_principal"),
        (1312, Blocked, "no_kerberos"), (0x80090303, Blocked, "no_kerberos"), (0x8009030E, Blocked, "no_kerberos"),
        (0x8033809D, Blocked, "no_kerberos"), (0x803380E2, Blocked, "no_kerberos"),
        (0x80090324, Unreachable, "clock_skew"), (1398, Unreachable, "clock_skew"),
        (0x80338029, Unreachable, "hop_unreachable"),
    ],
)  # fmt: skip
def test_an_unopened_second_hop_spends_nothing(code, kind, reason):
    check(answer("change", "hop", code, "hop_unreachable"), kind, reason)


@pytest.mark.parametrize("op", sorted(op for op in OPERATIONS if not op.endswith("_domain")))
def test_a_line_that_broke_after_the_hand_over_is_unknown_only_for_what_writes(op):
    error = said(answer(op, "hop", 995, "hop_broken"))
    writes = OPERATIONS[op].writes
    assert type(error) is (Unknown if writes else Unreachable)
    assert error.wrote is (None if writes else False)
    assert (Key.TARGET in error.spent) is (op in LOGGING)


# places


@pytest.mark.parametrize("op", ["read_task", "read_service", "set_task", "set_service"])
@pytest.mark.parametrize(
    ("facts", "kind", "reason"),
    [
        ({"managed": "gmsa"}, Refused, "managed_by_windows"),
        ({"stores_password": False}, Blocked, "stores_no_password"),
        ({"account_sid": ""}, Blocked, "no_account"),
        ({"run_as_sid": "S-1-5-21-9-9-9-1"}, Blocked, "run_as_differs"),
    ],
)
def test_a_place_of_another_identity_is_never_green(op, facts, kind, reason):
    error = said(answer(op, place=PLACE.model_copy(update=facts)))
    assert (type(error), error.reason) == (kind, reason)


@pytest.mark.parametrize(("op", "reason"), [("read_task", "no_batch_right"), ("read_service", "no_service_right")])
def test_a_place_whose_account_lacks_the_right_is_blocked(op, reason):
    check(answer(op, place=PLACE.model_copy(update={"right": False})), Blocked, reason)
    assert isinstance(said(answer(op, place=PLACE.model_copy(update={"right": None}))), Evidence)


def test_an_account_that_was_made_anew_is_another_identity():
    error = said(answer("read_task"), account_sid="S-1-5-21-1-2-3-1002")
    assert (type(error), error.reason) == (Blocked, "run_as_differs")
    assert isinstance(said(answer("read_task"), account_sid=SID), Evidence)


# what nobody has seen


KNOWN = {*codes.ACCOUNT_STATES, *codes.NO_DIRECTORY, *codes.FACTS, *codes.OLD, *codes.LOGON, 0}
KNOWN |= {code for table in codes.WRITES.values() for code in table}


@given(
    op=st.sampled_from(sorted(OPERATIONS)),
    stage=st.sampled_from(STAGES[:-1]),
    code=st.integers(1, 2**32 - 1).filter(lambda code: codes.win32(code) not in KNOWN and code not in KNOWN),
)
def test_a_code_that_nobody_has_seen_is_unknown(op, stage, code):
    assert type(said(answer(op, stage, code))) is Unknown


@given(
    op=st.sampled_from(sorted(OPERATIONS)),
    stage=st.sampled_from(STAGES),
    code=st.sampled_from(sorted(KNOWN)),
    reason=st.sampled_from(["", *sorted(STOPS)]),
)
def test_only_a_finished_answer_without_a_code_makes_a_green(op, stage, code, reason):
    """Whatever comes, it is Evidence or one of four answers with a known reason, and a proof needs *done* and 0."""
    outcome = said(answer(op, stage, code, reason))
    if isinstance(outcome, Evidence):
        if outcome.means in (Means.LOGGED_ON, Means.STARTED):
            assert (stage, code, reason) == ("done", 0, "")
    else:
        assert outcome.reason in REASONS
        assert Key.LOGIN not in outcome.spent


def test_codes_are_written_as_windows_writes_them():
    assert [codes.code_text(code) for code in (0, 1326, 0x8007052E)] == ["", "1326", "0x8007052E"]
