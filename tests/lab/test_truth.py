"""The truth on disk, the verbs that ask and change it, and the control socket."""

import json
import socket
import stat
import threading

import pytest

from pwserver.core.errors import Invalid, NotFound
from pwserver.lab import calls, control, defaults, truth
from tests.lab.conftest import GOOD, LOGIN, Clock

TASK = "\\Backup\\Nightly"


@pytest.fixture
def net(tmp_path):
    return truth.open_network(tmp_path / "lab", clock=Clock())


def reopened(net, tmp_path):
    return truth.open_network(tmp_path / "lab", clock=net.clock)


def test_the_truth_survives_a_restart_to_the_last_wrong_logon(net, tmp_path):
    truth.set_password(net, "LAB-05", "Administrator", GOOD)
    truth.fault(net, "LAB-04", "off")
    net.call("LAB-05", "x", "LogonUserW", {"user": "Administrator", "domain": ".", "password": "no", "type": 3})
    net.device("SW-01").check("admin", "wrong")
    again = reopened(net, tmp_path)
    assert truth.holds(again, "LAB-05", "Administrator", GOOD) == {"holds": True}
    assert again.fault("LAB-04").off
    assert truth.badlogons(again)["accounts"] == [
        {"machine": "LAB-05", "account": "LAB-05\\Administrator", "count": 1},
        {"machine": "SW-01", "account": "admin", "count": 1},
    ]
    assert again.hash() == net.hash()


def test_counters_are_written_when_the_lab_ends(net, tmp_path):
    net.count_request("LAB-01")
    net.count_ntlm("LAB-01", "LAB-01\\svc-psrv")
    assert truth.requests(net) == {
        "total": 1, "ntlm": 1, "machines": [{"machine": "LAB-01", "requests": 1, "ntlm": {"LAB-01\\svc-psrv": 1}}]
    }  # fmt: skip
    came = net.now()
    assert truth.requests(net, since=came - 1)["log"] == [[came, "LAB-01"]]
    assert truth.requests(net, since=came)["log"] == []
    net.note_answer("LAB-01")
    assert truth.requests(net, since=came - 1)["answered"] == [[net.now(), "LAB-01"]]
    net.stop()
    assert truth.requests(reopened(net, tmp_path))["total"] == 1


def test_only_its_owner_may_read_the_truth(net, tmp_path):
    assert stat.S_IMODE((tmp_path / "lab").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "lab" / truth.FILE).stat().st_mode) == 0o600


def test_a_damaged_truth_is_said_and_not_overwritten(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / truth.FILE).write_text('{"seed": 1')
    with pytest.raises(truth.DamagedTruth, match="Move it away"):
        truth.open_network(folder)
    assert (folder / truth.FILE).read_text() == '{"seed": 1'


def test_a_crash_while_writing_leaves_the_old_truth(net, tmp_path, monkeypatch):
    monkeypatch.setattr(truth.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        truth.set_password(net, "LAB-05", "Administrator", GOOD)
    monkeypatch.undo()
    assert truth.holds(reopened(net, tmp_path), "LAB-05", "Administrator", GOOD) == {"holds": False}


# the hash


def ask(net, machine, call, **args):
    return net.call(machine, "NT AUTHORITY\\SYSTEM", call, args)


def log_on(net, password):
    ask(net, "LAB-02", "LogonUserW", user="Administrator", domain=".", password=password, type=3)


@pytest.mark.parametrize(
    "harmless",
    [
        lambda net: log_on(net, "wrong"),
        lambda net: [log_on(net, "wrong") for _ in range(12)],
        lambda net: log_on(net, defaults.initial_passwords(net)["LAB-02\\Administrator"]),
        lambda net: net.count_request("LAB-02"),
        lambda net: net.wire_logon("LAB-02", LOGIN, "", True),
        lambda net: truth.fault(net, "LAB-02", "off"),
        lambda net: net.clock.move(days=1),
        lambda net: truth.state(net),
        lambda net: net.device("SW-01").check("admin", "wrong"),
        lambda net: ask(net, "LAB-02", "NetUserChangePassword", user="Administrator", old="wrong", new=GOOD),
    ],
)
def test_the_hash_stays_as_long_as_nobody_changes_a_target(net, harmless):
    before = net.hash()
    harmless(net)
    assert net.hash() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda net: truth.set_password(net, "LAB-02", "Administrator", GOOD),
        lambda net: truth.set_password(net, "SW-01", "admin", GOOD),
        lambda net: truth.run_task(net, "SRV-01", TASK),
        lambda net: truth.start_service(net, "SRV-01", "backupd"),
        lambda net: truth.set_policy(net, "LAB-02", {"min_length": 14}),
        lambda net: truth.set_account(net, "LAB-02", "Administrator", {"disabled": True}),
        lambda net: ask(net, "SRV-01", "ChangeServiceConfigW", name="backupd", start_name=None, password="x"),
    ],
)
def test_the_hash_moves_with_every_change_of_a_target_and_reset_brings_it_back(net, change):
    before = net.hash()
    net.clock.move(seconds=0.5)
    change(net)
    assert net.hash() != before
    net.clock.move(seconds=-0.5)
    truth.reset(net)
    assert net.hash() == before


def test_the_same_password_again_is_a_change_for_its_stamp_moves(net):
    before = net.hash()
    truth.set_password(net, "LAB-02", "Administrator", defaults.initial_passwords(net)["LAB-02\\Administrator"])
    assert net.hash() != before


# the verbs


def test_reset_ends_faults_counts_and_what_was_to_happen_late(net):
    truth.fault(net, "LAB-02", "off")
    log_on(net, "wrong")
    happened = threading.Event()
    net.later(3600, happened.set)
    truth.reset(net)
    assert truth.badlogons(net) == {"total": 0, "accounts": []}
    assert truth.state(net)["machines"][1]["on"] is True
    assert not net._timers


def test_holds_tells_accounts_tasks_services_and_devices_and_counts_nothing(net):
    secret = defaults.initial_passwords(net)["SRV-01\\svc-backup"]
    for account in ("svc-backup", "SRV-01\\svc-backup", TASK, "service:backupd"):
        assert truth.holds(net, "SRV-01", account, secret) == {"holds": True}
        assert truth.holds(net, "SRV-01", account, secret + " ") == {"holds": False}
    truth.set_password(net, "srv-01", "svc-backup", GOOD)
    assert truth.holds(net, "SRV-01", TASK, secret) == {"holds": True}, "a copy stays stale"
    assert truth.holds(net, "SW-01", "admin", defaults.initial_passwords(net)["SW-01\\admin"]) == {"holds": True}
    assert truth.holds(net, "DC1", "CORP\\lab-adm", "no") == {"holds": False}
    assert truth.badlogons(net)["total"] == 0


def test_stale_copies_fail_and_the_state_shows_them(net):
    truth.set_password(net, "SRV-01", "svc-backup", GOOD)
    assert truth.start_service(net, "SRV-01", "backupd")["code"] == calls.SERVICE_LOGON_FAILED
    assert truth.run_task(net, "SRV-01", TASK)["code"] == calls.E_WRONG_LOGON
    server = next(one for one in truth.state(net)["machines"] if one["name"] == "SRV-01")
    assert server["tasks"][0]["stored_is_right"] is False
    assert (server["services"][0]["state"], server["services"][0]["exit_code"]) == ("stopped", 1069)
    account = next(one for one in server["accounts"] if one["name"] == "svc-backup")
    assert (account["wrong_logons"], account["initial"]) == (2, False)


def test_the_state_shows_no_password(net):
    shown = json.dumps(truth.state(net))
    assert not [label for label, secret in defaults.initial_passwords(net).items() if secret in shown]


def test_policies_and_accounts_are_edited_for_a_rehearsal(net):
    assert truth.set_policy(net, "LAB-05", {"min_length": 14, "min_age_s": 0})["policy"]["min_length"] == 14
    truth.set_account(net, "LAB-05", "Administrator", {"locked": True, "profile": True, "cannot_change": True})
    machine = net.machine("LAB-05")
    assert machine.profiles == ["@-500"]
    assert machine.sam.accounts[0].is_locked(machine.sam.policy, net.now())
    truth.set_account(net, "LAB-05", "Administrator", {"locked": False, "profile": False})
    assert (machine.profiles, machine.sam.accounts[0].locked_at) == ([], None)
    for settings in ({"min_length": "many"}, {"nothing": 1}):
        with pytest.raises(Invalid):
            truth.set_policy(net, "LAB-05", settings)
    with pytest.raises(Invalid, match="password"):
        truth.set_account(net, "LAB-05", "Administrator", {"password": "x"})


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        (truth.fault, ("LAB-99", "off")), (truth.holds, ("LAB-02", "nobody", "x")),
        (truth.holds, ("LAB-02", "\\no", "x")),
        (truth.set_password, ("LAB-02", "nobody", "x")), (truth.start_service, ("LAB-02", "no")),
        (truth.run_task, ("SW-01", "\\no")), (truth.run_task, ("LAB-99", "\\no")), (truth.set_policy, ("SW-01", {})),
        (truth.set_account, ("SW-01", "admin", {})), (truth.holds, ("SW-01", "nobody", "x")),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_in_words(net, verb, args):
    before = net.hash()
    with pytest.raises(NotFound) as said:
        verb(net, *args)
    assert "no " in said.value.user_message
    assert net.hash() == before


def test_an_empty_password_is_refused(net):
    with pytest.raises(Invalid):
        truth.set_password(net, "LAB-02", "Administrator", "")


# the socket


@pytest.fixture
def served(net, tmp_path, socket_enabled):
    server = control.ControlServer(net, tmp_path / "lab", extra={"addresses": lambda: {"LAB-01": {"port": 1}}})
    yield server.path
    server.stop()


def test_other_processes_ask_the_running_lab(net, served):
    assert control.ask(served, "hash") == {"hash": net.hash()}
    assert control.ask(served, "fault", machine="lab-04", word="off") == {"machine": "LAB-04", "fault": "off"}
    control.ask(served, "set-password", machine="LAB-05", account="Administrator", value="q\"'\u20ac\U0001f600")
    assert control.ask(served, "holds", machine="LAB-05", account="Administrator", value="q\"'\u20ac\U0001f600")[
        "holds"
    ]
    assert control.ask(served, "addresses") == {"LAB-01": {"port": 1}}
    assert stat.S_IMODE(served.stat().st_mode) == 0o600


def test_a_wrong_request_is_answered_in_words_and_the_lab_goes_on(served):
    for verb, args in (
        ("format", {}),
        ("holds", {}),
        ("fault", {"machine": "LAB-99", "word": "off"}),
        ("addresses", {"x": 1}),
    ):
        with pytest.raises(control.LabRefused):
            control.ask(served, verb, **args)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(served))
        line.sendall(b"not json\n")
        assert b"does not know" in line.makefile("rb").readline()
    assert control.ask(served, "badlogons")["total"] == 0


def test_what_is_not_in_the_lab_is_told_apart_from_what_it_refuses(served):
    with pytest.raises(control.LabMissing):
        control.ask(served, "fault", machine="LAB-99", word="off")
    with pytest.raises(control.LabRefused) as refused:
        control.ask(served, "fault", machine="LAB-02", word="of")
    assert not isinstance(refused.value, NotFound)
    assert refused.value.field == "fault"


def test_a_full_disk_is_said_and_not_taken_for_a_lab_that_is_away(served, monkeypatch):
    def full(path, state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(truth, "save", full)
    with pytest.raises(control.LabRefused, match="No space left"):
        control.ask(served, "set-password", machine="LAB-05", account="Administrator", value=GOOD)


def test_no_lab_is_said_as_such(tmp_path, socket_enabled):
    with pytest.raises(control.LabAway, match="does not run"):
        control.ask(tmp_path / "control.sock", "hash")


def test_a_socket_deep_in_the_tree_works_too(net, tmp_path, socket_enabled):
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    server = control.ControlServer(net, deep)
    assert control.ask(server.path, "hash") == {"hash": net.hash()}
    server.stop()
    assert not server.path.exists()


def test_many_at_once_lose_nothing(net):
    """One lock: forty wrong logons from eight threads are forty in the count and in the file."""

    def wrong():
        for _ in range(5):
            net.call("LAB-02", "x", "LogonUserW", {"user": "nobody", "domain": ".", "password": "no", "type": 3})

    threads = [threading.Thread(target=wrong) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert truth.badlogons(net)["total"] == 40
