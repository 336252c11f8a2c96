"""Machines and their faults, and coming in over the network: directly and through a second machine."""

import pytest

from pwserver.core.errors import Invalid
from pwserver.lab import calls
from pwserver.lab.calls import CALLS
from pwserver.lab.model.faults import Fault, with_fault
from pwserver.lab.model.network import HANDLERS
from tests.lab.conftest import GOOD, LOGIN

# calls


def test_every_declared_call_is_answered_with_exactly_its_results(lab):
    assert HANDLERS.keys() == CALLS.keys()
    samples = {
        "level": 0,
        "type": 3,
        "flags": 0,
        "logon_type": 1,
        "pid": 1,
        "milliseconds": 1,
        "control": 1,
        "writes": False,
        "definition": {},
        "port": 5985,
        "wait_ms": 1,
        "open_ms": 1,
        "retries": 0,
        "ignore_warnings": False,
    }
    for name, call in CALLS.items():
        args = {arg: samples.get(arg, "x") for arg in call.args}
        assert lab.ask(name, **args).keys() == set(call.results), name


def test_only_an_unknown_call_raises(lab):
    with pytest.raises(KeyError):
        lab.ask("FormatDisk")
    assert lab.ask("NetUserGetInfo")["code"] == 87
    assert lab.ask("GetTask", path="x", more=1)["hresult"] == calls.E_INVALID


# faults


def test_the_words_of_the_command_line_make_faults_and_unmake_them():
    fault = Fault()
    for word in ("off", "slow:250", "late:2.5", "cut-after", "name:lab-09", "certificate", "no-shells"):
        fault = with_fault(fault, word)
    assert fault.words() == "off, slow:250, cut-after, name:LAB-09, certificate, no-shells"
    assert with_fault(fault, "on").words() == "slow:250, cut-after, name:LAB-09, certificate, no-shells"
    assert with_fault(fault, "late:5").words() == "off, slow:250, late:5, name:LAB-09, certificate, no-shells"
    assert with_fault(fault, "none") == Fault()


@pytest.mark.parametrize(
    "word",
    ["", "of", "slow", "slow:", "slow:fast", "slow:-1", "slow:9999999", "late:nan", "late:-1", "late:x", "name:",
     "off:1", "name:has blank", "name:" + "X" * 16, "cut"],
)  # fmt: skip
def test_a_wrong_fault_is_refused_in_words_and_changes_nothing(lab, word):
    with pytest.raises(Invalid) as refused:
        lab.net.set_fault("LAB-02", word)
    assert refused.value.field == "fault"
    assert lab.net.fault("LAB-02") == Fault()


def test_another_name_another_sid_and_a_small_language_are_told(lab):
    real = lab.machine().sid
    for word in ("name:LAB-09", "reinstalled", "constrained"):
        lab.net.set_fault("LAB-02", word)
    assert lab.ask("GetComputerNameW")["name"] == "LAB-09"
    assert lab.ask("NetUserModalsGet", level=2)["sid"] != real
    assert lab.ask("NetUserGetInfo", user="Administrator")["sid"] == lab.machine().sid + "-500"
    assert lab.ask("PowerShellHost")["language_mode"] == "ConstrainedLanguage"
    assert lab.ask("CheckTokenMembership", as_user=f"LAB-02\\{LOGIN}")["admin"] is True
    lab.net.set_fault("LAB-02", "none")
    assert lab.ask("NetUserModalsGet", level=2)["sid"] == real


def test_a_filtered_token_spares_rid_500_and_domain_accounts(lab):
    lab.net.set_fault("LAB-02", "filtered")

    def admin(user):
        return lab.ask("CheckTokenMembership", as_user=user)["admin"]

    assert (admin(f"LAB-02\\{LOGIN}"), admin("LAB-02\\Administrator"), admin("CORP\\lab-adm")) == (False, True, True)


# the wire


def test_a_login_over_the_wire_is_settled_and_counted(lab):
    assert lab.net.ntlm_passwords("LAB-02", LOGIN, "LAB-02") == [lab.password(name=LOGIN)]
    assert lab.net.wire_logon("LAB-02", LOGIN, "", True).as_user == f"LAB-02\\{LOGIN}"
    assert lab.net.wire_logon("LAB-02", LOGIN, ".", False).code == calls.WRONG_LOGON
    assert lab.machine().ntlm == {f"LAB-02\\{LOGIN}": 2}
    assert lab.wrong(account=f"LAB-02\\{LOGIN}") == 1
    assert lab.net.ntlm_passwords("LAB-02", "nobody", "") == []


def test_the_wire_takes_the_old_domain_password_in_the_grace_hour(lab):
    account = lab.account("lab-adm", "DC1")
    old = account.password
    account.store(GOOD, lab.net.now())
    assert lab.net.ntlm_passwords("LAB-02", "lab-adm", "CORP") == [GOOD, old]
    lab.clock.move(hours=2)
    assert lab.net.ntlm_passwords("LAB-02", "lab-adm", "corp.test") == [GOOD]


def test_an_account_without_the_right_to_winrm_is_refused_like_a_wrong_one_but_not_counted(lab):
    lab.machine("SRV-01")
    assert lab.net.wire_logon("SRV-01", "svc-backup", "", True).code == calls.DENIED
    assert lab.machine("SRV-01").bad_logons == {}


def test_a_refused_login_counts_nowhere(lab):
    lab.net.set_fault("LAB-02", "refuse-login")
    assert lab.net.wire_logon("LAB-02", LOGIN, "", True).code == calls.DENIED
    assert (lab.machine().ntlm, lab.machine().bad_logons) == ({}, {})


def test_guest_never_gets_in_by_the_wire(lab):
    lab.account("Guest").disabled = False
    lab.machine().rights["@-501"] = []
    assert lab.net.wire_logon("LAB-02", "nobody", "", False).code == calls.DENIED


# a second machine


def open_session(lab, computer="LAB-02", user=f"LAB-02\\{LOGIN}", password=None, auth="ssl", retries=0):
    password = password or lab.passwords[f"LAB-02\\{LOGIN}"]
    login = {"computer": computer, "user": user, "password": password, "auth": auth}
    return lab.ask("NewPSSession", "LAB-01", **login, open_ms=20_000, retries=retries)


def test_a_second_machine_is_a_network_logon_there(lab):
    opened = open_session(lab, "lab-02.corp.test")
    assert (opened["code"], opened["machine"], opened["as_user"]) == (0, "LAB-02", f"LAB-02\\{LOGIN}")
    assert lab.machine().requests == 1
    assert lab.ask("InvokeCommand", "LAB-01", session=opened["session"], writes=True)["run"] == "now"
    assert lab.ask("InvokeEnd", "LAB-01", session=opened["session"], writes=True)["code"] == 0


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("off", calls.WS_UNREACHABLE), ("certificate", calls.WS_CERTIFICATE), ("no-network", calls.DENIED),
        ("no-shells", calls.WS_NO_SHELLS), ("refuse-login", calls.DENIED), ("no-winrm", calls.WS_TIMED_OUT),
        ("no-port", calls.WS_UNREACHABLE),
    ],
)  # fmt: skip
def test_a_second_machine_fails_with_its_own_code_and_counts_no_wrong_logon(lab, word, code):
    lab.net.set_fault("LAB-02", word)
    assert open_session(lab)["code"] == code
    assert lab.machine().bad_logons == {}


def test_another_certificate_gets_no_login(lab):
    lab.net.set_fault("LAB-02", "certificate")
    open_session(lab)
    assert lab.machine().ntlm == {}


def test_unknown_names_wrong_passwords_and_kerberos_with_a_local_account(lab):
    assert open_session(lab, "LAB-99")["code"] == calls.WS_UNKNOWN_NAME
    assert open_session(lab, "lab-02.other.test")["code"] == calls.WS_UNKNOWN_NAME
    assert open_session(lab, password="wrong")["code"] == calls.DENIED, "over TLS the service gives no cause"
    assert lab.wrong(account=f"LAB-02\\{LOGIN}") == 1
    assert open_session(lab, auth="kerberos")["code"] == calls.NO_LOGON_SERVERS


def test_kerberos_is_strict_and_uses_no_ntlm(lab):
    account = lab.account("lab-adm", "DC1")
    old = account.password
    account.store(GOOD, lab.net.now())
    assert open_session(lab, user="CORP\\lab-adm", password=old, auth="kerberos")["code"] == calls.WRONG_LOGON
    assert open_session(lab, user="CORP\\lab-adm", password=GOOD, auth="kerberos")["code"] == 0
    assert lab.machine().ntlm == {}
    assert open_session(lab, user="CORP\\lab-adm", password=old, auth="ssl")["code"] == 0
    lab.net.set_fault("DC1", "off")
    assert open_session(lab, user="CORP\\lab-adm", password=GOOD, auth="kerberos")["code"] == calls.NO_LOGON_SERVERS


def test_a_slow_second_machine_keeps_its_caller_waiting(lab):
    lab.net.set_fault("LAB-02", "slow:1500")
    open_session(lab)
    assert lab.slept == [1.5]


def test_new_ps_session_tries_five_times_more_unless_it_is_told_not_to(lab):
    lab.net.set_fault("LAB-02", "off")
    open_session(lab, retries=5)
    assert lab.slept == [120.0]


@pytest.mark.parametrize(
    ("word", "code", "seconds"),
    [("none", 0, []), ("off", calls.CONNECT_TIMED_OUT, [2.0]), ("no-port", calls.CONNECT_REFUSED, []),
     ("no-winrm", 0, []), ("slow:5000", 0, [])],
)  # fmt: skip
def test_a_port_is_probed_as_tcp_answers(lab, word, code, seconds):
    lab.net.set_fault("LAB-02", word)
    assert lab.ask("TcpConnect", "LAB-01", computer="LAB-02", port=5985, wait_ms=2000)["code"] == code
    assert lab.slept == seconds
    nobody = lab.ask("TcpConnect", "LAB-01", computer="LAB-99", port=5985, wait_ms=2000)
    assert nobody["code"] == calls.NO_SUCH_HOST


@pytest.mark.parametrize(
    ("word", "run"), [("cut-before", "never"), ("late:20", "late"), ("cut-after", "now"), ("off", "never")]
)
def test_the_line_breaks_for_writes_as_the_fault_says(lab, word, run):
    session = open_session(lab)["session"]
    lab.net.set_fault("LAB-02", word)
    line = lab.ask("InvokeCommand", "LAB-01", session=session, writes=True)
    assert (line["run"], line["code"]) == (run, 0 if run == "now" else calls.WS_BROKEN)
    ended = lab.ask("InvokeEnd", "LAB-01", session=session, writes=True)["code"]
    assert ended == (calls.WS_BROKEN if word in ("cut-after", "off") else 0)
    if word != "off":
        assert lab.ask("InvokeCommand", "LAB-01", session=session, writes=False)["run"] == "now", "a probe gets through"


def test_a_forgotten_session_is_broken(lab):
    assert lab.ask("InvokeCommand", "LAB-01", session="none", writes=False)["run"] == "never"
    assert lab.ask("InvokeEnd", "LAB-01", session="none", writes=False)["code"] == calls.WS_BROKEN


# the device


def test_a_device_counts_wrong_logons_locks_and_lets_only_an_administrator_set_others(lab):
    device = lab.net.device("sw-01")
    assert device.accounts == ["admin", "psrv"]
    assert device.check("admin", lab.passwords["SW-01\\admin"]) == ""
    assert device.set_password("admin", "psrv", GOOD) == "permission denied"
    assert device.set_password("psrv", "nobody", GOOD) == "user nobody does not exist"
    assert "8 characters" in device.set_password("psrv", "admin", "short")
    assert device.set_password("psrv", "admin", GOOD) == ""
    assert device.last_set("admin") == lab.net.now()
    assert (device.check("admin", GOOD), device.check("nobody", GOOD), device.check("Admin", GOOD)) == (
        "",
        "unknown",
        "unknown",
    )
    for _ in range(5):
        assert device.check("admin", "wrong") == "wrong"
    assert device.check("admin", GOOD) == "locked"
    lab.clock.move(seconds=601)
    assert device.check("admin", GOOD) == ""
    assert lab.net.state.devices["SW-01"].bad_logons == {"nobody": 1, "Admin": 1, "admin": 5}
    lab.net.set_fault("SW-01", "off")
    assert device.fault.off
    with pytest.raises(LookupError):
        lab.net.device("LAB-01")
