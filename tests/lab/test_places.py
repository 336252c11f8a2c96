"""Tasks and services: they store a copy of a password, and really fail when it is stale."""

import pytest

from pwserver.lab import calls
from pwserver.lab.model import services
from tests.lab.conftest import GOOD, OTHER

TASK = "\\Backup\\Nightly"
RUN_AS = "SRV-01\\svc-backup"
IGNORE = calls.TASK_UPDATE | calls.TASK_IGNORE_REGISTRATION_TRIGGERS | calls.TASK_DONT_ADD_PRINCIPAL_ACE


@pytest.fixture
def server(lab):
    return lab.machine("SRV-01")


def register(lab, password=None, path=TASK, user=RUN_AS, flags=IGNORE, logon_type=1, sddl="D:kept", definition=None):
    task = lab.ask("GetTask", "SRV-01", path=path)
    return lab.ask(
        "RegisterTaskDefinition", "SRV-01", path=path, flags=flags, user=user, password=password, logon_type=logon_type,
        sddl=sddl, definition=definition or task["definition"],
    )["hresult"]  # fmt: skip


def make_stale(lab, value=GOOD):
    lab.account("svc-backup", "SRV-01").store(value, lab.net.now())


def run_task(lab, path=TASK):
    return lab.ask("RunTask", "SRV-01", path=path)["hresult"]


def start(lab, name="backupd", machine="SRV-01"):
    lab.ask("ControlService", machine, name=name, control=1)
    return lab.ask("StartServiceW", machine, name=name)["code"]


# tasks


def test_a_task_with_a_stale_password_really_fails_and_costs_a_wrong_logon(lab, server):
    assert run_task(lab) == 0
    make_stale(lab)
    assert run_task(lab) == calls.E_WRONG_LOGON
    assert server.bad_logons == {RUN_AS: 1}
    task = server.task(TASK)
    assert (task.last_result, task.starts) == (calls.E_WRONG_LOGON, 2)


def test_registering_checks_the_password_and_keeps_everything_else(lab, server):
    make_stale(lab)
    before = lab.ask("GetTask", "SRV-01", path=TASK)
    assert register(lab, "wrong") == calls.E_WRONG_LOGON
    assert server.task(TASK).stored != GOOD
    assert server.bad_logons == {RUN_AS: 1}
    assert register(lab, GOOD, sddl=before["sddl"]) == 0
    assert lab.ask("GetTask", "SRV-01", path=TASK) == before
    assert run_task(lab) == 0


def test_a_script_that_loses_the_definition_or_the_security_is_found_out(lab, server):
    register(lab, server.task(TASK).stored, sddl=None, definition={"principal": {}})
    after = lab.ask("GetTask", "SRV-01", path=TASK)
    assert after["sddl"] == "D:(A;;FA;;;BA)"
    assert "triggers" not in after["definition"]


def test_registering_lets_the_account_read_its_task_unless_told_not_to(lab, server):
    """TASK_CREATION: without TASK_DONT_ADD_PRINCIPAL_ACE the service adds an entry for the account."""
    flags = calls.TASK_UPDATE | calls.TASK_IGNORE_REGISTRATION_TRIGGERS
    register(lab, server.task(TASK).stored, flags=flags)
    assert lab.ask("GetTask", "SRV-01", path=TASK)["sddl"] == f"D:kept(A;;FR;;;{server.sid}-1002)"


def test_without_the_batch_right_a_task_is_saved_and_never_starts(lab, server):
    """0x4131C is a success code: nothing is thrown, and the task is dead."""
    server.rights["@-1002"] = ["SeServiceLogonRight"]
    assert register(lab, server.task(TASK).stored) == calls.S_BATCH_RIGHT_MISSING
    assert run_task(lab) == calls.E_NOT_GRANTED
    assert server.task(TASK).starts == 1
    assert server.bad_logons == {}


@pytest.mark.parametrize(("flags", "starts"), [(IGNORE, 1), (calls.TASK_UPDATE, 2)])
def test_a_missed_run_starts_at_registration_unless_triggers_are_ignored(lab, server, flags, starts):
    server.task(TASK).missed_run = True
    assert register(lab, server.task(TASK).stored, flags=flags) == 0
    assert server.task(TASK).starts == starts


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"user": "SRV-01\\nobody", "password": GOOD}, calls.E_NO_SUCH_NAME), ({"password": ""}, calls.E_INVALID),
        ({"password": None}, calls.E_INVALID), ({"password": GOOD, "flags": calls.TASK_CREATE}, 0x800700B7),
    ],
)  # fmt: skip
def test_what_the_scheduler_refuses_changes_nothing(lab, server, args, code):
    before = lab.net.hash()
    assert register(lab, **args) == code
    assert lab.net.hash() == before


def test_validate_only_stores_nothing_and_create_makes_a_task(lab, server):
    secret = server.task(TASK).stored
    before = lab.net.hash()
    assert register(lab, secret, flags=calls.TASK_VALIDATE_ONLY | calls.TASK_UPDATE) == 0
    assert lab.net.hash() == before
    definition = {"settings": {"enabled": True}}
    made = lab.ask(
        "RegisterTaskDefinition", "SRV-01", path="\\New", flags=calls.TASK_CREATE | calls.TASK_DISABLE, user=RUN_AS,
        password=secret, logon_type=1, sddl=None, definition=definition,
    )  # fmt: skip
    assert made["hresult"] == 0
    assert lab.ask("GetTask", "SRV-01", path="\\New")["state"] == 1
    assert run_task(lab, "\\New") == 0x80041326


def test_a_policy_may_forbid_storing_passwords(lab, server):
    server.forbids_storing = True
    assert register(lab, server.task(TASK).stored) == calls.E_NO_STORE


def test_tasks_without_a_stored_password_never_go_stale(lab, server):
    server.task(TASK).logon_type, server.task(TASK).stored = calls.TASK_LOGON_S4U, None
    make_stale(lab)
    assert run_task(lab) == 0
    server.rights["@-1002"] = []
    assert run_task(lab) == calls.E_NOT_GRANTED
    assert server.bad_logons == {}


def test_missing_tasks_and_callers_without_rights(lab, server):
    assert lab.ask("GetTask", "SRV-01", path="\\Backup\\nothing")["hresult"] == calls.E_NO_TASK
    assert run_task(lab, "\\nothing") == calls.E_NO_TASK
    plain = "SRV-01\\svc-backup"
    assert lab.ask("RunTask", "SRV-01", plain, path=TASK)["hresult"] == calls.E_DENIED
    args = {"path": TASK, "flags": 4, "user": RUN_AS, "password": "x", "logon_type": 1, "sddl": None, "definition": {}}
    assert lab.ask("RegisterTaskDefinition", "SRV-01", plain, **args)["hresult"] == calls.E_DENIED


# services


def test_a_service_with_a_stale_password_runs_on_and_does_not_start_again(lab, server):
    make_stale(lab)
    assert server.service("backupd").state == calls.SERVICE_RUNNING
    assert start(lab) == calls.SERVICE_LOGON_FAILED
    assert server.bad_logons == {RUN_AS: 1}
    service = server.service("backupd")
    assert (service.state, service.exit_code) == (calls.SERVICE_STOPPED, calls.SERVICE_LOGON_FAILED)
    assert services.WRONG_PASSWORD_EVENT in lab.ask("ServiceEvents", "SRV-01", name="backupd")["events"]


def configure(lab, value):
    args = {"name": "backupd", "start_name": None, "password": value}
    assert lab.ask("ChangeServiceConfigW", "SRV-01", **args)["code"] == 0


def test_a_start_falls_back_to_the_password_before_while_that_one_opens_the_account(lab, server):
    """Service Record List: two copies; the second one becomes the first when it was the one that did."""
    old = server.service("backupd").stored
    configure(lab, "complete nonsense")
    assert (start(lab), server.bad_logons) == (0, {RUN_AS: 1})
    assert server.service("backupd").stored == old
    configure(lab, GOOD)
    make_stale(lab)
    assert start(lab) == 0
    assert (server.service("backupd").stored, server.bad_logons) == (GOOD, {RUN_AS: 1})


def test_a_stale_start_costs_two_tries_when_neither_copy_opens_the_account(lab, server):
    configure(lab, "complete nonsense")
    make_stale(lab)
    assert start(lab) == calls.SERVICE_LOGON_FAILED
    assert server.bad_logons == {RUN_AS: 2}


def test_without_the_service_right_it_is_1069_too_and_only_the_event_tells(lab, server):
    server.rights["@-1002"] = ["SeBatchLogonRight"]
    assert start(lab) == calls.SERVICE_LOGON_FAILED
    assert services.NO_RIGHT_EVENT in lab.ask("ServiceEvents", "SRV-01", name="backupd")["events"]
    assert server.bad_logons == {}


def test_the_service_manager_stores_what_it_is_given_and_checks_nothing(lab, server):
    def store(value, start_name=None):
        args = {"name": "backupd", "start_name": start_name, "password": value}
        return lab.ask("ChangeServiceConfigW", "SRV-01", **args)["code"]

    assert store("complete nonsense") == 0
    assert store("other nonsense") == 0
    assert server.bad_logons == {}
    assert start(lab) == calls.SERVICE_LOGON_FAILED
    assert store(lab.passwords[RUN_AS], RUN_AS) == 0
    assert start(lab) == 0
    assert store(None, "SRV-01\\nobody") == 1057
    assert lab.ask("ChangeServiceConfigW", "SRV-01", RUN_AS, name="backupd", start_name=None, password="x")["code"] == 5


def test_stale_starts_lock_the_account_in_the_end(lab, server):
    make_stale(lab)
    for _ in range(10):
        start(lab)
    assert lab.log_on(GOOD, "svc-backup", "SRV-01")["code"] == calls.LOCKED


def test_running_dependents_forbid_a_stop_and_are_named_in_the_order_to_stop_them(lab):
    server = lab.machine("SRV-02")
    server.service("clusdb").depends_on = ["webcache"]
    assert lab.ask("EnumDependentServicesW", "SRV-02", name="webd")["names"] == ["clusdb", "webcache"]
    assert lab.ask("ControlService", "SRV-02", name="webd", control=1)["code"] == calls.DEPENDENTS_RUNNING
    for name in ("clusdb", "webcache", "webd"):
        assert lab.ask("ControlService", "SRV-02", name=name, control=1)["code"] == 0
    assert lab.ask("ControlService", "SRV-02", name="webd", control=1)["code"] == 1062
    assert lab.ask("EnumDependentServicesW", "SRV-02", name="webd")["names"] == []


def test_starting_a_dependent_starts_what_it_needs_and_costs_its_wrong_logon(lab):
    server = lab.machine("SRV-02")
    for name in ("webcache", "webd"):
        lab.ask("ControlService", "SRV-02", name=name, control=1)
    lab.account("svc-web", "SRV-02").store(GOOD, lab.net.now())
    assert lab.ask("StartServiceW", "SRV-02", name="webcache")["code"] == 1068
    assert server.bad_logons == {"SRV-02\\svc-web": 1}
    server.service("webd").stored = GOOD
    assert lab.ask("StartServiceW", "SRV-02", name="webcache")["code"] == 0
    assert server.service("webd").state == calls.SERVICE_RUNNING


def test_states_processes_and_names_are_read(lab, server):
    status = lab.ask("QueryServiceStatusEx", "SRV-01", name="backupd")
    assert lab.ask("GetProcessTimes", "SRV-01", pid=status["pid"])["unix"] == server.service("backupd").started
    assert lab.ask("GetProcessTimes", "SRV-01", pid=0)["code"] == 87
    assert lab.ask("GetServiceKeyNameW", "SRV-01", display="backup daemon")["name"] == "backupd"
    assert lab.ask("QueryServiceConfigW", "SRV-01", name="backupd")["start_name"] == RUN_AS
    assert lab.ask("StartServiceW", "SRV-01", name="backupd")["code"] == 1056
    assert lab.ask("ControlService", "SRV-01", name="backupd", control=2)["code"] == 1052
    server.service("indexd").start_type = 4
    assert start(lab, "indexd") == 1058
    for name, args in {
        "QueryServiceConfigW": {}, "QueryServiceStatusEx": {}, "EnumDependentServicesW": {}, "StartServiceW": {},
        "ControlService": {"control": 1}, "ServiceEvents": {},
        "ChangeServiceConfigW": {"start_name": None, "password": "x"},
    }.items():  # fmt: skip
        assert lab.ask(name, "SRV-01", name="nothing", **args)["code"] == calls.NO_SUCH_SERVICE
    assert lab.ask("GetServiceKeyNameW", "SRV-01", display="nothing")["code"] == calls.NO_SUCH_SERVICE


def test_a_cluster_names_its_resources_in_the_registry(lab):
    names = lab.ask("RegEnumKey", "SRV-02", key=calls.CLUSTER_RESOURCES)["names"]
    key = f"{calls.CLUSTER_RESOURCES}\\{names[0]}\\Parameters"
    assert lab.ask("RegGetValue", "SRV-02", key=key, value="servicename")["value"] == "clusdb"
    assert lab.ask("RegEnumKey", "SRV-01", key=calls.CLUSTER_RESOURCES)["code"] == calls.NOT_FOUND


def test_an_account_with_spns_loses_its_new_clients_until_the_service_restarts(lab):
    server = lab.machine("SRV-01")
    service = server.service("backupd")
    service.start_name, service.spn = "CORP\\svc-web", "HTTP/web.corp.test"
    service.stored = lab.passwords["CORP\\svc-web"]
    account = lab.account("svc-web", "DC1")
    server.rights[lab.machine("DC1").sid_of(account)] = ["SeServiceLogonRight"]
    assert services.spn_answers(lab.net, server, service)
    account.store(OTHER, lab.net.now())
    assert not services.spn_answers(lab.net, server, service)
    service.stored = OTHER
    assert start(lab) == 0
    assert services.spn_answers(lab.net, server, service)
