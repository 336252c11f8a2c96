"""The Python mind: what each operation of the contract answers, applied and stopped, in the order of the scripts."""

from pathlib import Path

import pytest

from pwserver.connectors.contract import OPERATIONS, STOPS
from pwserver.lab import calls, python_mind
from pwserver.lab.model.accounts import DAY
from pwserver.lab.model.machines import ADMINISTRATORS, Laps
from tests.lab.conftest import GOOD, LOGIN, OTHER

USER = "Administrator"


def told(answer):
    """(stage, reason, code, wrote)"""
    return answer.stage, answer.reason, answer.code, answer.wrote


def change(lab, old=None, new=GOOD, **more):
    secrets = {"old": lab.password() if old is None else old, "new": new}
    return lab.run("change", user=USER, secrets=secrets, **more)


def verify(lab, value=None, **more):
    return lab.run("verify", **({"user": USER} | more), secrets={"value": lab.password() if value is None else value})


# before everything


def test_every_operation_has_its_lines():
    assert python_mind.OPS.keys() == OPERATIONS.keys()


def test_identity_says_who_it_is(lab):
    answer = lab.run("identity")
    assert told(answer) == ("done", "", 0, False)
    assert answer.attempt == "attempt-1"
    machine = answer.machine
    assert (machine.computer_name, machine.domain, machine.domain_role) == ("LAB-02", "CORP", 1)
    assert (machine.machine_sid, machine.clock) == (lab.machine().sid, "2026-11-24T09:00:00Z")


@pytest.mark.parametrize("change_of", [{"op": "format"}, {"params": {"user": 1}}, {"secrets": {"value": "x"}}])
def test_a_request_it_does_not_know_is_a_bad_request(lab, change_of):
    request = {
        "attempt": "a", "op": "identity", "ttl_ms": 9000, "expect": {"computer_name": "", "machine_sid": None},
        "params": {}, "secrets": {}, "hop": None,
    }  # fmt: skip
    answer = python_mind.run(
        lab.net, "LAB-02", f"LAB-02\\{LOGIN}", change_of.get("op", "identity"), request | change_of
    )
    assert (answer["reason"], answer["stage"]) == ("bad_request", "start")


def test_constrained_language_and_an_old_powershell_stop_before_anything(lab):
    lab.net.set_fault("LAB-02", "constrained")
    assert told(change(lab)) == ("start", "language_mode", 0, False)
    lab.net.set_fault("LAB-02", "none")
    lab.machine().ps_version = "4.0"
    assert told(change(lab)) == ("start", "language_mode", 0, False)


def test_the_wrong_machine_is_never_written(lab):
    before = lab.net.hash()
    assert told(change(lab, expect="LAB-09")) == ("identity", "wrong_name", 0, False)
    lab.net.set_fault("LAB-02", "name:LAB-09")
    answer = change(lab)
    assert told(answer) == ("identity", "wrong_name", 0, False)
    assert answer.machine.computer_name == "LAB-09"
    assert lab.net.hash() == before
    assert lab.wrong() == 0


def test_a_name_with_its_domain_or_in_small_letters_is_the_same_name(lab):
    assert told(lab.run("identity", expect="lab-02.corp.test")) == ("done", "", 0, False)


def test_a_reinstalled_machine_is_never_written(lab):
    sid = lab.machine().sid
    lab.net.set_fault("LAB-02", "reinstalled")
    assert told(change(lab, sid=sid)) == ("identity", "new_machine", 0, False)


def test_a_filtered_token_is_no_administrator(lab):
    lab.net.set_fault("LAB-02", "filtered")
    assert told(change(lab)) == ("identity", "not_admin", 0, False)


def test_a_domain_controller_has_no_local_accounts(lab):
    answer = lab.run("verify", "DC1", user=USER, secrets={"value": "anything"})
    assert told(answer) == ("identity", "is_dc", 0, False)
    assert lab.machine("DC1").bad_logons == {}
    assert told(lab.run("identity", "DC1")) == ("done", "", 0, False)


# reading and verifying


def test_facts_are_told_without_a_logon(lab):
    answer = lab.run("read_account", user="administrator")
    account = answer.account
    assert (account.name, account.rid, account.enabled, account.locked) == (USER, 500, True, False)
    assert (account.last_set, account.may_change_at) == ("2026-10-25T09:00:00Z", None)
    assert (account.threshold, account.window_s, account.min_length, account.bad_count) == (10, 600, 7, 0)
    assert answer.logon is None
    assert told(lab.run("read_account", user="nobody")) == ("facts", "no_account", 2221, False)
    assert told(lab.run("read_account", user="Guest")) == ("facts", "is_guest", 0, False)


def test_rid_500_is_found_whatever_it_is_called(lab):
    lab.account().name = "labroot"
    assert lab.run("read_account", user="#500").account.name == "labroot"
    renamed = lab.run("read_account", user=USER)
    assert (renamed.reason, renamed.present_name) == ("account_renamed", "labroot")
    lab.machine().sam.accounts = lab.machine().sam.accounts[1:]
    assert lab.run("read_account", user=USER).reason == "no_account"
    assert lab.run("read_account", user="#500").reason == "no_account"


def test_an_account_that_took_over_the_name_is_neither_tried_nor_set(lab):
    proved = lab.run("read_account", user=USER).account.sid
    decoy = lab.account().model_copy(update={"rid": 1205, "password": "Decoy-17 zaehlt"})
    lab.account().name = "labroot"
    lab.machine().sam.accounts.append(decoy)
    before = lab.net.hash()
    for answer in (
        verify(lab, "Decoy-17 zaehlt", account_sid=proved), change(lab, old="Decoy-17 zaehlt", account_sid=proved),
        lab.run("reset", user=USER, account_sid=proved, secrets={"new": GOOD}),
    ):  # fmt: skip
        assert told(answer) == ("facts", "other_account", 0, False)
        assert (answer.account, answer.present_name) == (None, "labroot")
    assert (lab.net.hash(), lab.wrong()) == (before, 0)


def test_verify_is_one_logon(lab):
    answer = verify(lab)
    assert told(answer) == ("done", "", 0, False)
    assert (answer.logon.type, answer.logon.stage, answer.logon.sid) == (3, "verify", answer.account.sid)
    assert told(verify(lab, "wrong")) == ("verify", "", calls.WRONG_LOGON, False)
    assert lab.wrong() == 1


def test_nothing_is_tried_when_too_few_tries_would_be_left(lab):
    for _ in range(8):
        lab.log_on("wrong")
    assert told(verify(lab, min_left=2)) == ("facts", "would_lock", 0, False)
    assert told(change(lab, min_left=2)) == ("facts", "would_lock", 0, False)
    assert lab.wrong() == 8
    assert told(verify(lab, min_left=1)) == ("done", "", 0, False)


@pytest.mark.parametrize(
    ("field", "value", "code"), [("disabled", True, calls.DISABLED), ("expires", 1.0, calls.ACCOUNT_EXPIRED)]
)
def test_a_closed_account_is_not_tried(lab, field, value, code):
    setattr(lab.account(), field, value)
    assert told(verify(lab)) == ("facts", "account_state", code, False)


def test_a_locked_account_is_not_tried(lab):
    lab.account().locked_at = lab.net.now()
    assert told(verify(lab)) == ("facts", "account_state", calls.LOCKED, False)
    assert told(change(lab)) == ("facts", "account_state", calls.LOCKED, False)


def test_what_laps_manages_is_left_alone(lab):
    lab.machine().laps = Laps()
    for answer in (verify(lab), change(lab), lab.run("reset", user=USER, secrets={"new": GOOD})):
        assert told(answer) == ("facts", "managed", calls.MANAGED, False)
    assert lab.run("read_account", user=USER).account.managed == "laps"
    lab.machine().laps = Laps(roots={calls.LAPS_POLICY: {"BackupDirectory": 2, "AdministratorAccountName": LOGIN}})
    assert lab.run("read_account", user=USER).account.managed == ""
    assert told(verify(lab, "")) == ("facts", "blank", 0, False)


@pytest.mark.parametrize(("rid", "reason"), [(501, "is_guest"), (1001, "internal")])
def test_a_logon_that_ends_with_another_token_proves_nothing(lab, monkeypatch, rid, reason):
    real = lab.net.call

    def renamed_meanwhile(machine, as_user, name, args):
        if name == "LogonUserW":
            return {"code": 0, "sid": f"{lab.machine().sid}-{rid}"}
        return real(machine, as_user, name, args)

    monkeypatch.setattr(lab.net, "call", renamed_meanwhile)
    assert told(verify(lab, "anything")) == ("verify", reason, 0, False)
    lab.account().cannot_change = True
    assert told(change(lab, "anything")) == ("old", "is_guest" if rid == 501 else "cannot_prove_old", 0, False)


# changing


def test_a_clean_change_costs_no_wrong_logon_and_tells_the_new_stamp(lab):
    answer = change(lab)
    assert told(answer) == ("done", "", 0, True)
    assert (answer.method, answer.write_code) == ("change", 0)
    assert answer.account.last_set == "2026-11-24T09:00:00Z"
    assert answer.logon.stage == "verify"
    assert lab.password() == GOOD
    assert lab.wrong() == 0


def test_a_password_somebody_else_set_is_never_overwritten(lab):
    lab.account().store(OTHER, lab.net.now() - 2 * DAY)
    assert told(change(lab, "the vault's idea")) == ("write", "", calls.WRONG_OLD, True)
    lab.account().last_set = lab.net.now()
    assert told(change(lab, "the vault's idea")) == ("old", "", calls.WRONG_LOGON, False)
    assert lab.password() == OTHER
    assert lab.wrong() == 2


def test_within_the_minimum_age_it_resets_where_that_harms_nothing(lab):
    first = lab.password()
    assert change(lab).method == "change"
    answer = change(lab, GOOD, OTHER)
    assert (told(answer), answer.method) == (("done", "", 0, True), "reset")
    lab.machine().profiles = ["@-500"]
    answer = change(lab, OTHER, first)
    assert told(answer) == ("facts", "too_young", 0, False)
    assert answer.account.may_change_at == "2026-11-25T09:00:00Z"
    assert change(lab, OTHER, first, reset_allowed=True).method == "reset"
    assert lab.wrong() == 0


def test_an_account_that_may_not_change_itself_is_reset_only_where_allowed(lab):
    lab.account().cannot_change = True
    lab.machine().profiles = ["@-500"]
    assert told(change(lab)) == ("facts", "reset_not_allowed", 0, False)
    assert change(lab, reset_allowed=True).method == "reset"


@pytest.mark.parametrize(("new", "reason"), [("", "blank"), ("Aa1-xy", "too_short")])
def test_a_value_too_short_is_seen_before_any_try(lab, new, reason):
    assert told(change(lab, "wrong", new)) == ("facts", reason, 0, False)
    assert told(lab.run("reset", user=USER, secrets={"new": new})) == ("facts", reason, 0, False)
    assert lab.wrong() == 0


def test_a_policy_refusal_is_windows_own_code(lab):
    answer = change(lab, new="alllowercase")
    assert (told(answer), answer.write_code) == (("write", "", calls.POLICY, True), calls.POLICY)


@pytest.mark.parametrize("op", ["change", "reset"])
def test_nothing_is_written_after_the_time_to_live(lab, op):
    secrets = {"change": {"old": lab.password(), "new": GOOD}, "reset": {"new": GOOD}}[op]
    before = lab.net.hash()
    assert told(lab.run(op, user=USER, secrets=secrets, ttl_ms=0)) == ("write", "ttl", 0, False)
    assert lab.net.hash() == before


@pytest.mark.parametrize("field", ["must_change", "outside_hours"])
def test_a_logon_that_cannot_tell_does_not_allow_a_reset(lab, field):
    account = lab.account()
    account.cannot_change, account.never_expires = True, field != "must_change"
    setattr(account, field, True)
    code = calls.MUST_CHANGE if field == "must_change" else 1328
    assert told(change(lab)) == ("old", "cannot_prove_old", code, False)


def test_a_disabled_account_is_changed_only_where_the_change_itself_proves_the_old_value(lab):
    lab.account().disabled = True
    assert told(change(lab)) == ("write", "", calls.DISABLED, True)
    lab.account().cannot_change = True
    assert told(change(lab)) == ("facts", "account_state", calls.DISABLED, False)


def test_set_worked_and_the_logon_was_refused_is_told_as_both(lab):
    lab.account().outside_hours = True
    answer = change(lab)
    assert (told(answer), answer.write_code) == (("verify", "", 1328, True), 0)
    assert lab.password() == GOOD


# overriding


def test_a_reset_needs_no_old_value_and_unlocks_when_asked(lab):
    lab.account().locked_at = lab.net.now()
    answer = lab.run("reset", user=USER, secrets={"new": GOOD})
    assert (told(answer), answer.write_code) == (("verify", "", calls.LOCKED, True), 0)
    answer = lab.run("reset", user=USER, secrets={"new": OTHER}, unlock=True)
    assert (told(answer), answer.method) == (("done", "", 0, True), "reset")
    assert not answer.account.locked
    assert told(lab.run("reset", user=USER, secrets={"new": "alllower"})) == ("write", "", calls.POLICY, True)


# places

TASK = {"name": "\\Backup\\Nightly", "account": "SRV-01\\svc-backup"}
SERVICE = {"name": "backupd", "account": "SRV-01\\svc-backup"}


@pytest.fixture
def server(lab):
    return lab.machine("SRV-01")


def set_task(lab, value=None, **more):
    value = lab.passwords["SRV-01\\svc-backup"] if value is None else value
    return lab.run("set_task", "SRV-01", secrets={"value": value}, **(TASK | more))


def set_service(lab, value=GOOD, **more):
    return lab.run("set_service", "SRV-01", secrets={"value": value}, **(SERVICE | more))


def restart(lab, machine="SRV-01", **more):
    return lab.run("restart_service", machine, **(SERVICE | more))


def test_a_task_is_read(lab, server):
    answer = lab.run("read_task", "SRV-01", **TASK)
    place = answer.place
    assert told(answer) == ("done", "", 0, False)
    assert (place.run_as, place.run_as_sid, place.account_sid) == (
        TASK["account"],
        server.sid + "-1002",
        server.sid + "-1002",
    )
    assert (place.stores_password, place.right, place.enabled, place.state) == (True, True, True, "ready")
    assert (place.last_start, place.last_result) == ("2026-11-23T21:00:00Z", 0)
    assert told(lab.run("read_task", "SRV-01", **(TASK | {"name": "\\no"}))) == (
        "facts",
        "no_task",
        calls.E_NO_TASK,
        False,
    )


def test_a_service_is_read(lab, server):
    place = lab.run("read_service", "SRV-01", **SERVICE).place
    assert (place.state, place.last_start, place.last_result) == ("running", "2026-11-17T09:00:00Z", 0)
    assert (place.right, place.cluster, place.dependents) == (True, False, ())
    answer = lab.run("read_service", "SRV-01", **(SERVICE | {"name": "Backup Daemon"}))
    assert (told(answer), answer.place.suggestion) == (("facts", "no_service", 1060, False), "backupd")
    place = lab.run("read_service", "SRV-02", name="webcache", account="SRV-02\\svc-web").place
    assert (place.managed, place.run_as_sid, place.right, place.stores_password) == ("system", "S-1-5-18", None, False)


def test_a_task_takes_the_value_and_keeps_its_definition(lab, server):
    definition = lab.ask("GetTask", "SRV-01", path=TASK["name"])
    lab.account("svc-backup", "SRV-01").store(GOOD, lab.net.now())
    answer = set_task(lab, GOOD)
    assert (told(answer), answer.method, answer.write_code) == (("done", "", 0, True), "set", 0)
    assert server.task(TASK["name"]).stored == GOOD
    assert lab.ask("GetTask", "SRV-01", path=TASK["name"]) == definition
    assert server.bad_logons == {}


def test_a_task_does_not_take_a_wrong_value(lab, server):
    answer = set_task(lab, "wrong")
    assert (told(answer), answer.write_code) == (("write", "", calls.E_WRONG_LOGON, True), calls.E_WRONG_LOGON)


def test_a_name_that_the_machine_and_its_domain_have_is_nobodys(lab, server):
    server.task(TASK["name"]).shows = "bare"
    assert told(set_task(lab)) == ("facts", "run_as_ambiguous", 0, False)
    server.task(TASK["name"]).shows = "sid"
    assert told(set_task(lab)) == ("done", "", 0, True)


def test_a_missed_run_is_not_started_by_us(lab, server):
    server.task(TASK["name"]).missed_run = True
    assert told(set_task(lab)) == ("done", "", 0, True)
    assert server.task(TASK["name"]).starts == 1


@pytest.mark.parametrize("set_it", [set_task, set_service])
def test_an_identity_is_never_switched(lab, server, set_it):
    before = lab.net.hash()
    assert told(set_it(lab, account="CORP\\svc-backup")) == ("facts", "run_as_differs", 0, False)
    assert told(set_it(lab, account_sid="S-1-5-21-1-2-3-1002")) == ("facts", "run_as_differs", 0, False)
    assert told(set_it(lab, account="SRV-01\\nobody")) == ("facts", "no_account", 1332, False)
    assert told(set_it(lab, "")) == ("facts", "blank", 0, False)
    assert told(set_it(lab, ttl_ms=0)) == ("write", "ttl", 0, False)
    assert lab.net.hash() == before


def test_a_place_without_its_right_is_left_alone(lab, server):
    server.rights["@-1002"] = []
    assert told(set_task(lab)) == ("facts", "no_batch_right", 0, False)
    assert told(set_service(lab)) == ("facts", "no_service_right", 0, False)
    assert told(restart(lab)) == ("facts", "no_service_right", 0, False)


def test_a_denied_right_is_no_right(lab, server):
    server.rights["@-1002"].append("SeDenyBatchLogonRight")
    assert told(set_task(lab)) == ("facts", "no_batch_right", 0, False)


def test_tasks_that_store_nothing_and_managed_identities_are_recognised(lab, server):
    server.task(TASK["name"]).logon_type = calls.TASK_LOGON_S4U
    assert told(set_task(lab)) == ("facts", "stores_no_password", 0, False)
    server.task(TASK["name"]).run_as = "CORP\\gmsa$"
    answer = set_task(lab)
    assert (told(answer), answer.place.managed) == (("facts", "managed", 0, False), "gmsa")
    server.service("backupd").start_name = "NT SERVICE\\backupd"
    answer = set_service(lab)
    assert (answer.reason, answer.place.managed) == ("managed", "virtual")


def test_a_service_takes_the_value_under_its_own_name_and_runs_on(lab, server):
    started = server.service("backupd").started
    answer = set_service(lab)
    assert (told(answer), answer.method) == (("done", "", 0, True), "set")
    service = server.service("backupd")
    assert (service.stored, service.start_name, service.started) == (GOOD, SERVICE["account"], started)
    assert server.bad_logons == {}


def test_a_restart_brings_everything_up_again(lab):
    web = {"name": "webd", "account": "SRV-02\\svc-web"}
    assert told(restart(lab, "SRV-02", **web)) == ("facts", "dependents_running", 1051, False)
    answer = restart(lab, "SRV-02", dependents=True, **web)
    assert (told(answer), answer.method) == (("done", "", 0, True), "restart")
    services = lab.machine("SRV-02").services
    assert [(one.name, one.state, one.starts) for one in services] == [
        ("webd", 4, 2),
        ("webcache", 4, 2),
        ("clusdb", 4, 1),
        ("ClusSvc", 4, 1),
    ]


WEB = {"name": "webd", "account": "SRV-02\\svc-web", "dependents": True}


def states(lab):
    return {one.name: one.state for one in lab.machine("SRV-02").services if one.name in ("webd", "webcache")}


def test_a_service_that_takes_minutes_to_stop_is_up_afterwards(lab):
    lab.machine("SRV-02").service("webd").stop_s = 200
    assert told(restart(lab, "SRV-02", ttl_ms=15_000, **WEB)) == ("done", "", 0, True)
    assert states(lab) == {"webd": 4, "webcache": 4}
    assert sum(lab.slept) == 200


def test_a_service_that_stops_after_the_wait_for_it_is_started_all_the_same(lab):
    lab.machine("SRV-02").service("webd").stop_s = 500
    assert told(restart(lab, "SRV-02", **WEB)) == ("done", "", 0, True)
    assert states(lab) == {"webd": 4, "webcache": 4}


def test_a_service_that_never_stops_is_said_to_be_still_stopping_within_ten_minutes(lab):
    lab.machine("SRV-02").service("webd").stop_s = 9_000
    answer = restart(lab, "SRV-02", **WEB)
    assert told(answer) == ("verify", "still_stopping", 1053, True)
    assert answer.place.down == ("webd", "webcache")
    assert 480 < sum(lab.slept) <= 540


def test_what_could_not_start_again_is_not_stopped(lab):
    server = lab.machine("SRV-02")
    server.service("webd").start_type = 4
    answer = restart(lab, "SRV-02", **WEB)
    assert (told(answer), answer.place.hindered) == (("facts", "start_disabled", 1058, False), "webd")
    server.service("webd").start_type, server.service("webd").depends_on = 2, ["gone"]
    answer = restart(lab, "SRV-02", **WEB)
    assert (told(answer), answer.place.hindered) == (("facts", "dependency_missing", 1075, False), "gone")
    assert states(lab) == {"webd": 4, "webcache": 4}


def test_a_dependent_that_does_not_come_up_again_is_named(lab):
    cache = lab.machine("SRV-02").service("webcache")
    cache.start_name, cache.stored = "SRV-02\\svc-web", "stale"
    answer = restart(lab, "SRV-02", **WEB)
    assert (told(answer), answer.place.down) == (("verify", "dependents_down", 1069, True), ("webcache",))


def test_a_stale_service_that_does_not_come_up_costs_one_wrong_logon_not_one_per_dependent(lab):
    web = {"name": "webd", "account": "SRV-02\\svc-web"}
    lab.account("svc-web", "SRV-02").store(GOOD, lab.net.now())
    answer = restart(lab, "SRV-02", dependents=True, **web)
    assert (told(answer), answer.write_code) == (("verify", "did_not_start", 1069, True), 1069)
    assert answer.place.down == ("webd", "webcache")
    assert lab.machine("SRV-02").bad_logons == {"SRV-02\\svc-web": 1}


def test_a_stopped_service_and_a_cluster_are_never_touched(lab, server):
    cluster = restart(lab, "SRV-02", name="clusdb", account="SRV-02\\svc-web")
    assert told(cluster) == ("facts", "cluster_resource", 0, False)
    lab.ask("ControlService", "SRV-01", name="backupd", control=1)
    assert told(restart(lab)) == ("facts", "not_running", 0, False)
    assert told(restart(lab, name="nothing")) == ("facts", "no_service", 1060, False)


def test_a_restart_out_of_time_stops_nothing(lab, server):
    assert told(restart(lab, ttl_ms=0)) == ("write", "ttl", 0, False)
    assert server.service("backupd").starts == 1


def test_when_a_stop_fails_what_was_stopped_is_started_again(lab, monkeypatch):
    web = {"name": "webd", "account": "SRV-02\\svc-web"}
    real = lab.net.call

    def stubborn(machine, as_user, name, args):
        if name == "ControlService" and args["name"] == "webd":
            return {"code": 1053}
        return real(machine, as_user, name, args)

    monkeypatch.setattr(lab.net, "call", stubborn)
    answer = restart(lab, "SRV-02", dependents=True, **web)
    assert (told(answer), answer.write_code) == (("write", "", 1053, True), 1053)
    assert [one.state for one in lab.machine("SRV-02").services] == [4, 4, 4, 4]


# a second machine


def test_over_a_second_hop_the_second_machine_answers(lab):
    answer = change(lab, hop=lab.hop())
    assert told(answer) == ("done", "", 0, True)
    assert answer.machine.computer_name == "LAB-02"
    assert lab.password() == GOOD
    assert lab.machine("LAB-01").bad_logons == lab.machine().bad_logons == {}


@pytest.mark.parametrize(
    ("word", "reason", "code"),
    [
        ("off", "hop_unreachable", calls.CONNECT_TIMED_OUT), ("certificate", "hop_unreachable", calls.WS_CERTIFICATE),
        ("no-shells", "hop_unreachable", calls.WS_NO_SHELLS), ("refuse-login", "hop_unclear", calls.DENIED),
        ("no-network", "hop_unclear", calls.DENIED), ("constrained", "language_mode", 0),
        ("no-port", "hop_unreachable", calls.CONNECT_REFUSED), ("no-winrm", "hop_unreachable", calls.WS_TIMED_OUT),
        ("cut-before", "hop_broken", calls.WS_BROKEN), ("late:20", "hop_broken", calls.WS_BROKEN),
    ],
)  # fmt: skip
def test_a_second_machine_with_a_fault_is_not_written(lab, word, reason, code):
    before = lab.net.hash()
    lab.net.set_fault("LAB-02", word)
    assert told(change(lab, hop=lab.hop())) == ("hop", reason, code, False)
    assert lab.net.hash() == before
    assert lab.machine().bad_logons == {}


@pytest.mark.parametrize("hop", [True, False])
def test_a_machine_that_echoes_refuses_the_new_password_and_repeats_it(lab, hop):
    lab.net.set_fault("LAB-02", "echo")
    before = lab.password()
    answer = change(lab, hop=lab.hop() if hop else None)
    assert told(answer) == ("write", "", calls.POLICY, True)
    assert GOOD in answer.text
    assert lab.password() == before


def test_a_wrong_linked_credential_costs_one_try_and_only_its_own(lab):
    answer = change(lab, hop=lab.hop(secret="wrong"))
    assert told(answer) == ("hop", "hop_unclear", calls.DENIED, False)
    assert lab.machine().bad_logons == {f"LAB-02\\{LOGIN}": 1}
    assert told(change(lab, hop=lab.hop() | {"machine": "LAB-99"})) == (
        "hop",
        "hop_unreachable",
        calls.NO_SUCH_HOST,
        False,
    )
    assert told(change(lab, hop=lab.hop() | {"auth": "basic"})) == ("hop", "bad_request", 0, False)
    assert told(change(lab, hop=lab.hop(), ttl_ms=0)) == ("hop", "ttl", 0, False)


def test_a_second_machine_that_is_another_one_gets_no_password(lab):
    lab.net.set_fault("LAB-02", "name:LAB-09")
    answer = change(lab, hop=lab.hop())
    assert told(answer) == ("identity", "wrong_name", 0, False)
    assert answer.machine.computer_name == "LAB-09"


def test_the_line_cut_after_the_second_machine_applied_it(lab):
    lab.net.set_fault("LAB-02", "cut-after")
    assert told(change(lab, hop=lab.hop())) == ("hop", "hop_broken", calls.WS_BROKEN, False)
    assert lab.password() == GOOD
    assert told(verify(lab, GOOD, hop=lab.hop())) == ("done", "", 0, False), "a probe gets through"


@pytest.mark.parametrize(("ttl_ms", "applied"), [(30_000, True), (10_000, False)])
def test_what_is_applied_late_is_applied_within_its_time_to_live_or_never(lab, ttl_ms, applied):
    lab.net.set_fault("LAB-02", "late:20")
    change(lab, hop=lab.hop(), ttl_ms=ttl_ms)
    [(seconds, apply)] = lab.waiting
    assert seconds == 20
    assert lab.password() != GOOD
    apply()
    assert (lab.password() == GOOD) is applied


def by_kerberos(lab, machine="LAB-02", secret=None, user="CORP\\lab-adm"):
    return lab.hop(machine) | {"user": user, "secret": secret or lab.passwords["CORP\\lab-adm"], "auth": "kerberos"}


@pytest.mark.parametrize(
    ("values", "code"),
    [({"disabled": True}, calls.DISABLED), ({"expires": 1.0}, calls.ACCOUNT_EXPIRED),
     ({"must_change": True, "never_expires": False}, calls.MUST_CHANGE)],
)  # fmt: skip
def test_by_kerberos_the_controller_gives_the_state_of_the_linked_account(lab, values, code):
    account = lab.account("lab-adm", "DC1")
    for name, value in values.items():
        setattr(account, name, value)
    assert told(change(lab, hop=by_kerberos(lab))) == ("hop", "hop_refused", code, False)


def test_by_kerberos_a_wrong_password_is_never_access_denied(lab):
    assert told(change(lab, hop=by_kerberos(lab, secret="wrong"))) == ("hop", "hop_refused", calls.WRONG_LOGON, False)
    lab.machine().groups[ADMINISTRATORS] = ["@-500", "@-1001"]
    assert told(change(lab, hop=by_kerberos(lab))) == ("hop", "hop_refused", calls.DENIED, False)


@pytest.mark.parametrize("user", ["CORP\\lab-adm", "lab-adm@corp.test", "LAB-01\\svc-psrv", "ELSEWHERE\\adm"])
def test_where_no_controller_of_the_domain_answers_nobody_looks_at_the_login(lab, user):
    lab.net.set_fault("DC1", "off")
    answer = change(lab, hop=by_kerberos(lab, user=user))
    assert told(answer) == ("hop", "hop_unreachable", calls.NO_LOGON_SERVERS, False)
    assert lab.machine().bad_logons == {}
    lab.net.set_fault("DC1", "on")
    if "@" in user or user.startswith("CORP"):
        assert told(change(lab, hop=by_kerberos(lab, user=user)))[0] == "done"


@pytest.mark.parametrize("code", [1312, 0x80090303, 0x8009030E])
def test_a_code_of_kerberos_that_may_be_a_silent_controller_is_asked_after(lab, code, monkeypatch):
    real = lab.net.call

    def call(machine, as_user, name, args):
        return calls.blank(name) | {"code": code} if name == "NewPSSession" else real(machine, as_user, name, args)

    monkeypatch.setattr(lab.net, "call", call)
    assert told(change(lab, hop=by_kerberos(lab))) == ("hop", "hop_unreachable", code, False)
    lab.net.set_fault("DC1", "off")
    assert told(change(lab, hop=by_kerberos(lab))) == ("hop", "hop_no_controller", code, False)


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("off", [2.0]), ("no-port", []), ("no-winrm", [20.0]), ("slow:5000", [5.0, 5.0]), ("slow:70000", [20.0])],
)
def test_a_dead_second_hop_costs_the_time_it_costs_and_no_more(lab, word, seconds):
    """With New-PSSession's own five retries it would outlive our call, which then counts as unknown."""
    lab.net.set_fault("LAB-02", word)
    change(lab, hop=lab.hop())
    assert lab.slept == seconds


def test_the_time_outs_of_windows_may_be_shortened(lab):
    lab.net.pace = 0.1
    lab.net.set_fault("LAB-02", "off")
    change(lab, hop=lab.hop())
    assert lab.slept == [0.2]


def test_the_hand_over_is_announced_only_when_it_happens(lab):
    def announced(**given):
        lines = []
        request = {
            "attempt": "a-1", "op": "reset", "ttl_ms": 30_000, "hop": lab.hop(), "secrets": {"new": GOOD},
            "expect": {"computer_name": "LAB-02", "machine_sid": None},
            "params": {"user": "Administrator", "account_sid": "", "min_left": 2, "unlock": False},
        } | given  # fmt: skip
        python_mind.run(lab.net, "LAB-01", f"LAB-01\\{LOGIN}", "reset", request, emit=lines.append)
        return lines

    assert announced() == [b'{"psrv":"handed_over","attempt":"a-1"}\n']
    assert announced(expect={"computer_name": "LAB-09", "machine_sid": None}) == []
    assert announced(hop=lab.hop(secret="wrong")) == []
    assert announced(ttl_ms=0) == []
    lab.net.set_fault("LAB-02", "cut-before")
    assert len(announced()) == 1, "the line broke after it"


@pytest.mark.parametrize("hop", [True, False])
def test_a_helper_that_is_not_compiled_is_an_answer(lab, hop):
    lab.net.set_fault("LAB-02", "no-compiler")
    answer = change(lab, hop=lab.hop() if hop else None)
    assert told(answer) == ("start", "helper_not_compiled", 0, False)
    assert "Access is denied" in answer.text
    lab.net.set_fault("LAB-02", "none")
    lab.net.set_fault("LAB-02", "stale-lib")
    assert told(change(lab, hop=lab.hop() if hop else None))[0] == "done"


def test_a_domain_login_goes_by_kerberos(lab):
    hop = lab.hop() | {"user": "CORP\\lab-adm", "secret": lab.passwords["CORP\\lab-adm"], "auth": "kerberos"}
    assert told(change(lab, hop=hop)) == ("done", "", 0, True)
    assert lab.machine().ntlm == {}


@pytest.mark.parametrize("reason", STOPS)
def test_every_stop_of_the_contract_is_met_here_or_in_the_domain(reason):
    """A new reason in the contract must be met by the Python mind too."""
    texts = [Path(__file__).with_name(name).read_text() for name in ("test_python_mind.py", "test_domain.py")]
    assert sum(text.count(f'"{reason}"') for text in texts) >= 1
