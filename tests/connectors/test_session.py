"""What a session does when all is well: every operation, values byte for byte, one shell, one login."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pwserver.connectors.contract import OPERATIONS, Hop
from pwserver.connectors.session import check, fetch_fingerprint
from pwserver.core.errors import Invalid
from pwserver.core.secrets import Secret, check_value
from tests.lab_wire.kit import QUICK, Lab, ask, call, eventually, reset

HOSTILE = [
    "Aa1\"'`$()",
    "Aa1$(Get-Date);exit",
    "Aa1 €ëß 😀 日本",
    "Aa1%PATH%!x!^&|<>",
    'Aa1\\"</rsp:Stream>]]>&amp;',
    "Aa1{0}#{x}\t;--",
    "Aa1 e\u0301 \u00e9 \ufb01 \u212b",
    "Aa1" + "x" * 124,
    "Aa1" + "😀" * 62,
]

ACCOUNT = {"user": "Administrator", "account_sid": "", "min_left": 2}
TASK = {"name": "\\Backup\\Nightly", "account": "SRV-01\\svc-backup", "account_sid": ""}
SERVICE = TASK | {"name": "backupd"}
DOMAIN = {"domain": "CORP", "domain_sid": "", "user": "svc-backup", "account_sid": "", "login": "CORP\\lab-adm"}
NEW = Secret("Correct-Horse-9")


def test_every_operation_of_the_contract_is_answered_over_the_wire(lab: Lab) -> None:
    admin, backup = lab.initial("SRV-01\\Administrator"), lab.initial("SRV-01\\svc-backup")
    linked, in_domain = lab.initial("CORP\\lab-adm"), lab.initial("CORP\\svc-backup")
    asked: dict[str, dict[str, Any]] = {
        "identity": {},
        "read_account": {"user": "Administrator", "account_sid": ""},
        "verify": ACCOUNT | {"value": admin},
        "change": ACCOUNT | {"reset_allowed": False, "old": admin, "new": NEW},
        "reset": ACCOUNT | {"unlock": False, "new": NEW},
        "read_task": TASK,
        "set_task": TASK | {"value": backup},
        "read_service": SERVICE,
        "set_service": SERVICE | {"value": backup},
        "restart_service": SERVICE | {"dependents": False, "stop_s": 480, "answer_s": 530},
        "read_domain": DOMAIN | {"login_password": linked},
        "verify_domain": DOMAIN | {"min_left": 2, "login_password": linked, "value": in_domain},
        "change_domain": DOMAIN
        | {"min_left": 2, "own_stamp": "", "login_password": linked, "old": in_domain, "new": NEW},
        "reset_domain": DOMAIN | {"min_left": 2, "unlock": False, "login_password": linked, "new": NEW},
    }
    assert asked.keys() == OPERATIONS.keys()
    session = lab.session("SRV-01")
    answers = {op: ask(session, op, "SRV-01", **values) for op, values in asked.items()}
    assert {op: (answer.stage, answer.reason) for op, answer in answers.items()} == dict.fromkeys(asked, ("done", ""))
    assert {op for op, answer in answers.items() if answer.wrote} == {op for op in asked if OPERATIONS[op].writes}
    assert lab.password("SRV-01", "Administrator") == NEW.open()


def test_a_second_machine_is_reached_through_the_agent(lab: Lab) -> None:
    hop = Hop("LAB-02", "LAB-02\\svc-psrv", lab.initial("LAB-02\\svc-psrv"), "ssl")
    answer = reset(lab.session(), NEW, "LAB-02", hop=hop)
    assert (answer.stage, answer.machine.computer_name) == ("done", "LAB-02")
    assert lab.password("LAB-02", "Administrator") == NEW.open()
    assert lab.password("LAB-01", "Administrator") != NEW.open()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_value_arrives_byte_for_byte(lab: Lab, text: str) -> None:
    answer = reset(lab.session(), check_value(Secret(text)))
    assert answer.stage == "done"
    assert lab.password("LAB-01", "Administrator") == text


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_legal_value_arrives_byte_for_byte(lab: Lab, text: str) -> None:
    value = Secret(f"Aa1{text}z")
    try:
        check_value(value)
    except Invalid:
        return
    arrived = []

    def remember(*asked: Any) -> tuple[bytes, int]:
        arrived.append(json.loads(asked[5])["secrets"]["value"])
        return b"", 1

    session = lab.session() if not lab.sessions else lab.sessions[0]
    lab.mind = remember
    with pytest.raises(Exception, match="answer_foreign"):
        ask(session, "verify", **ACCOUNT, value=value)
    assert arrived == [value.open()]


def test_one_login_and_one_shell_serve_a_whole_run(lab: Lab) -> None:
    session = lab.session()
    for _ in range(3):
        ask(session, "identity")
    session.close()
    assert [what for what, _ in lab.saw()] == (
        ["challenge", "Create"] + ["Command", "Send", "Receive", "Signal"] * 3 + ["Delete"]
    )
    assert sum(lab.network.machine("LAB-01").ntlm.values()) == 1
    assert lab.wire.shells["LAB-01"].open_shells() == 0


def test_an_operation_that_takes_longer_than_one_receive_is_waited_for(lab: Lab) -> None:
    think = lab.mind

    def slow(*asked: Any) -> tuple[bytes, int]:
        eventually(lambda: ("Receive", 500) in lab.saw(), "a receive that timed out")
        return think(*asked)

    lab.mind = slow
    assert ask(lab.session(), "identity").stage == "done"


def test_the_time_to_live_never_reaches_past_the_hard_deadline(lab: Lab) -> None:
    """Or a mutation could still happen when another worker already probes."""
    think, sent = lab.mind, []

    def look(*asked: Any) -> tuple[bytes, int]:
        sent.append(json.loads(asked[5])["ttl_ms"])
        return think(*asked)

    lab.mind = look
    session = lab.session()
    ask(session, "identity", within=call(ttl_s=60, deadline_s=5))
    ask(session, "identity", within=call(ttl_s=2, deadline_s=5))
    assert 500 < sent[0] <= 5000
    assert sent[1] == 2000


@pytest.mark.parametrize("name", ["svc-psrv", ".\\svc-psrv", "LAB-01\\svc-psrv", "lab-01\\SVC-PSRV"])
def test_our_login_may_be_written_in_any_way_windows_knows(lab: Lab, name: str) -> None:
    login = type(lab.login())(name, lab.login().secret)
    assert ask(lab.session(login=login), "identity").machine.elevated


def test_proxies_and_certificate_bundles_of_the_environment_are_ignored(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
    monkeypatch.setenv("CURL_CA_BUNDLE", "/no/such/file")
    assert ask(lab.session(), "identity").stage == "done"


def test_registering_an_agent_reads_its_fingerprint_without_any_login(lab: Lab) -> None:
    address = lab.address()
    assert fetch_fingerprint(address.host, address.port) == address.pin
    assert lab.saw() == []
    answer = check(address, lab.login(), timing=QUICK)
    assert (answer.op, answer.machine and answer.machine.computer_name) == ("identity", "LAB-01")
