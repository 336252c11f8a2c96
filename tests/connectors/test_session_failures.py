"""Every way in which a session ends badly, and what may be concluded from it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pwserver.connectors.base import Blocked, Credential, Key, Unknown, Unreachable
from pwserver.connectors.contract import Hop
from pwserver.connectors.session import AgentAddress, AgentSession, SessionTiming, fetch_fingerprint
from pwserver.core.reasons import reason
from pwserver.core.secrets import Secret
from pwserver.lab import wire_shells
from pwserver.lab.model.machines import REMOTE_MANAGEMENT
from tests.lab_wire.kit import Lab, ask, call, eventually, fails, reset, unchanged

NEW = Secret("Correct-Horse-9")
ACCOUNT = {"user": "Administrator", "account_sid": "", "min_left": 2}


# the certificate


@pytest.mark.parametrize("pin", ["0" * 64, "", "beef"])
def test_no_login_is_sent_to_a_machine_with_another_certificate(lab: Lab, pin: str) -> None:
    session = lab.session(pin=pin)
    fails(Blocked, "pin_changed", lambda: ask(session, "identity"))
    lab.wire.stop()
    fails(Blocked, "pin_changed", lambda: ask(session, "identity"))
    session.close()
    assert lab.saw() == []
    assert lab.network.machine("LAB-01").requests == 0


def test_a_renewed_certificate_is_told_with_its_fingerprint(lab: Lab) -> None:
    lab.network.set_fault("LAB-01", "certificate")
    error = fails(Blocked, "pin_changed", lambda: ask(lab.session(), "identity"))
    assert error.text == fetch_fingerprint("127.0.0.1", lab.address().port)
    assert error.spent == frozenset()
    assert lab.saw() == []


def test_a_pin_may_be_written_with_colons_and_capitals(lab: Lab) -> None:
    pin = lab.address().pin.upper()
    pin = ":".join(pin[at : at + 2] for at in range(0, 64, 2))
    assert ask(lab.session(pin=pin), "identity").stage == "done"


# our login


def test_a_refused_login_costs_exactly_one_try_and_ends_the_session(lab: Lab) -> None:
    session = lab.session(login=Credential("LAB-01\\svc-psrv", Secret("wrong")))
    first = fails(Blocked, "login_not_accepted", lambda: reset(session, NEW))
    assert first.spent == {Key.LOGIN}
    sent = lab.saw()
    again = fails(Blocked, "login_not_accepted", lambda: ask(session, "identity"))
    assert again.spent == frozenset()
    session.close()
    assert lab.saw() == sent == [("challenge", 401), ("refused login", 401)]
    assert lab.bad_logons("LAB-01") == 1
    assert unchanged(lab)


def state_of(lab: Lab, machine: str, user: str, **changed: Any) -> None:
    account = lab.network.machine(machine).sam.find(user)
    assert account is not None
    for name, value in changed.items():
        setattr(account, name, value)


STATES: dict[str, Callable[[Lab], object]] = {
    "locked": lambda lab: state_of(lab, "LAB-01", "svc-psrv", locked_at=lab.network.now()),
    "disabled": lambda lab: state_of(lab, "LAB-01", "svc-psrv", disabled=True),
    "expired": lambda lab: state_of(lab, "LAB-01", "svc-psrv", expires=1.0),
    "must change": lambda lab: state_of(lab, "LAB-01", "svc-psrv", must_change=True, never_expires=False),
    "network logon denied": lambda lab: lab.network.set_fault("LAB-01", "no-network"),
    "reduced token": lambda lab: lab.network.set_fault("LAB-01", "filtered"),
    "no administrator": lambda lab: setattr(lab.network.machine("LAB-01"), "groups", {}),
    "no cause at all": lambda lab: lab.network.set_fault("LAB-01", "refuse-login"),
    "domain: no logon server": lambda lab: lab.network.set_fault("DC1", "off"),
    "domain: NTLM closed": lambda lab: state_of(lab, "DC1", "lab-adm", protected=True),
}


@pytest.mark.parametrize("state", sorted(STATES))
def test_a_401_is_never_told_as_a_wrong_password(lab: Lab, state: str) -> None:
    """WinRM answers all of them like a wrong password, and says no more. The password is right in each."""
    user = "CORP\\lab-adm" if state.startswith("domain") else "LAB-01\\svc-psrv"
    STATES[state](lab)
    session = lab.session(login=Credential(user, lab.initial(user)))
    error = fails(Blocked, "login_not_accepted", lambda: reset(session, NEW))
    assert (error.code, error.spent, error.wrote) == ("401", {Key.LOGIN}, False)
    assert lab.saw() == [("challenge", 401), ("refused login", 401)]
    words = reason("login_not_accepted").words
    assert "may be a wrong password" in words
    assert "refused" not in words
    assert unchanged(lab)


def test_a_reduced_token_comes_in_by_remote_management_users(lab: Lab) -> None:
    """Then the script itself finds out that it is no administrator."""
    machine = lab.network.machine("LAB-01")
    account = machine.sam.find("svc-psrv")
    assert account is not None
    machine.groups[REMOTE_MANAGEMENT] = [machine.sid_of(account)]
    lab.network.set_fault("LAB-01", "filtered")
    assert reset(lab.session(), NEW).reason == "not_admin"
    assert unchanged(lab)


def test_a_login_that_was_sent_and_not_answered_may_have_cost_a_try(lab: Lab) -> None:
    lab.wire.interrupt = lambda machine, action, moment: action == "Create" and moment == "before"
    error = fails(Unreachable, "unreachable", lambda: ask(lab.session(), "identity"))
    assert error.spent == {Key.LOGIN}


# nobody there


def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    session = AgentSession(AgentAddress("lab-77.example", 5986, "0" * 64, "LAB-77"), Credential("x", Secret("y")))
    fails(Unreachable, "no_dns", lambda: ask(session, "identity"))
    fails(Unreachable, "no_dns", lambda: fetch_fingerprint("lab-77.example", 5986))


def test_a_name_service_that_hangs_does_not_hang_us(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(30) and [])
    timing = SessionTiming(connect_s=0.1)
    address = AgentAddress("lab-77.example", 5986, "0" * 64, "LAB-77")
    fails(
        Unreachable,
        "no_dns",
        lambda: ask(AgentSession(address, Credential("x", Secret("y")), timing=timing), "identity"),
    )
    released.set()


def test_a_closed_port_and_a_machine_that_is_off(lab: Lab) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    fails(Unreachable, "unreachable", lambda: ask(lab.session(port=port), "identity"))
    lab.network.set_fault("LAB-01", "off")
    error = fails(Unreachable, "unreachable", lambda: reset(lab.session(), NEW))
    assert error.spent == frozenset()
    assert lab.saw() == []


def test_a_port_that_accepts_and_says_nothing(lab: Lab, mute: int) -> None:
    session = lab.session(port=mute, timing=SessionTiming(connect_s=0.1))
    fails(Unreachable, "unreachable", lambda: ask(session, "identity"))


# the line breaks


@pytest.mark.parametrize(
    ("action", "moment"), [("Create", "before"), ("Create", "after"), ("Command", "before"), ("Command", "after")]
)
def test_a_break_before_the_payload_means_nothing_was_sent(lab: Lab, action: str, moment: str) -> None:
    lab.wire.interrupt = lambda machine, what, when: (what, when) == (action, moment)
    with pytest.raises(Unreachable) as raised:
        reset(lab.session(), NEW)
    assert raised.value.wrote is False
    assert Key.TARGET not in raised.value.spent
    assert lab.saw("Send") == []
    assert unchanged(lab)


def test_a_break_in_the_middle_of_the_payload_means_nothing_was_sent(lab: Lab) -> None:
    lab.wire.interrupt = lambda machine, what, when: (what, when) == ("Send", "before")
    session = lab.session(timing=SessionTiming(chunk=1000))
    fails(Unreachable, "connection_lost", lambda: reset(session, NEW))
    assert lab.saw("Send") == [("Send", 0)]
    assert unchanged(lab)


@pytest.mark.parametrize(
    ("action", "moment"), [("Send", "before"), ("Send", "after"), ("Receive", "before"), ("Receive", "after")]
)
def test_a_break_after_the_last_byte_is_unknown_and_the_payload_is_not_sent_again(
    lab: Lab, action: str, moment: str
) -> None:
    lab.wire.interrupt = lambda machine, what, when: (what, when) == (action, moment)
    session = lab.session()
    error = fails(Unknown, "connection_lost", lambda: reset(session, NEW))
    assert (error.wrote, error.spent) == (None, {Key.TARGET})
    lab.wire.interrupt = None
    assert len(lab.saw("Send")) == 1
    assert ask(session, "identity").stage == "done", "the session goes on with a new shell"
    assert len(lab.saw("Send")) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_call_that_cannot_write_is_unreachable_however_it_breaks(lab: Lab, moment: str) -> None:
    lab.wire.interrupt = lambda machine, what, when: (what, when) == ("Receive", moment)
    value = lab.initial("LAB-01\\Administrator")
    error = fails(Unreachable, "connection_lost", lambda: ask(lab.session(), "verify", **ACCOUNT, value=value))
    assert error.spent == {Key.TARGET}, "the logon may have been made: its try stays reserved"
    assert fails(Unreachable, "connection_lost", lambda: ask(lab.session(), "identity")).spent == frozenset()


def test_a_break_over_a_second_hop_may_have_cost_the_linked_credential_too(lab: Lab) -> None:
    lab.wire.interrupt = lambda machine, what, when: what == "Receive"
    hop = Hop("LAB-02", "LAB-02\\svc-psrv", lab.initial("LAB-02\\svc-psrv"), "ssl")
    error = fails(Unknown, "connection_lost", lambda: reset(lab.session(), NEW, "LAB-02", hop=hop))
    assert error.spent == {Key.TARGET, Key.LINKED}


@pytest.mark.parametrize("action", ["Signal", "Delete"])
def test_a_break_after_the_answer_changes_nothing(lab: Lab, action: str) -> None:
    lab.wire.interrupt = lambda machine, what, when: what == action
    session = lab.session()
    assert reset(session, NEW).stage == "done"
    session.close()
    lab.wire.interrupt = None
    assert ask(session, "identity").stage == "done"


def test_a_connection_lost_between_two_calls_is_replaced_before_anything_is_sent(lab: Lab) -> None:
    session = lab.session()
    ask(session, "identity")
    for connection in list(lab.wire._open):
        connection.hang_up()
    eventually(lambda: not lab.wire._open, "the old connection is gone")
    assert reset(session, NEW).stage == "done"
    assert len(lab.saw("Send")) == 2
    assert len(lab.saw("Create")) == 2
    assert lab.bad_logons("LAB-01") == 0


def test_an_earlier_call_does_not_count_as_handed_over(lab: Lab) -> None:
    session = lab.session(timing=SessionTiming(chunk=1000))
    ask(session, "identity")
    lab.wire.interrupt = lambda machine, what, when: (what, when) == ("Send", "before")
    fails(Unreachable, "connection_lost", lambda: reset(session, NEW))
    assert unchanged(lab)


def test_a_shell_that_the_machine_forgot_is_replaced(lab: Lab) -> None:
    session = lab.session()
    ask(session, "identity")
    eventually(lambda: lab.saw("Signal"), "the first command is ended")
    lab.wire.shells["LAB-01"]._shells.clear()
    assert ask(session, "identity").stage == "done"
    assert lab.saw("Command", "Create") == [
        ("Create", 200),
        ("Command", 200),
        ("Command", 500),
        ("Create", 200),
        ("Command", 200),
    ]


def test_a_dead_machine_is_tried_once_more_for_a_kept_shell_and_not_for_ever(lab: Lab) -> None:
    session = lab.session()
    ask(session, "identity")
    lab.network.set_fault("LAB-01", "off")
    fails(Unreachable, "unreachable", lambda: reset(session, NEW))


# faults of the lab's machine


def test_cut_before_is_unknown_and_was_not_applied(lab: Lab) -> None:
    lab.network.set_fault("LAB-01", "cut-before")
    fails(Unknown, "connection_lost", lambda: reset(lab.session(), NEW))
    assert unchanged(lab)


def test_cut_after_is_unknown_and_was_applied(lab: Lab) -> None:
    lab.network.set_fault("LAB-01", "cut-after")
    session = lab.session()
    fails(Unknown, "connection_lost", lambda: reset(session, NEW))
    assert lab.password("LAB-01", "Administrator") == NEW.open()
    assert ask(session, "verify", **ACCOUNT, value=NEW).stage == "done", "a probe gets through"


@pytest.fixture
def afterwards(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Callable[[], object]]]:
    """What the lab put off until later, with the seconds; the test does it when it likes."""
    put_off: list[tuple[float, Callable[[], object]]] = []
    monkeypatch.setattr(lab.network, "later", lambda seconds, function: put_off.append((seconds, function)))
    return put_off


def test_late_is_unknown_and_applied_afterwards(lab: Lab, afterwards: list[tuple[float, Callable[[], object]]]) -> None:
    lab.network.set_fault("LAB-01", "late:5")
    fails(Unknown, "connection_lost", lambda: reset(lab.session(), NEW, within=call(ttl_s=30)))
    assert unchanged(lab)
    [(seconds, apply)] = afterwards
    apply()
    assert (seconds, lab.password("LAB-01", "Administrator")) == (5, NEW.open())


def test_late_beyond_its_time_to_live_is_never_applied(
    lab: Lab, afterwards: list[tuple[float, Callable[[], object]]]
) -> None:
    lab.network.set_fault("LAB-01", "late:31")
    fails(Unknown, "connection_lost", lambda: reset(lab.session(), NEW, within=call(ttl_s=30)))
    [(_, apply)] = afterwards
    apply()
    assert unchanged(lab)


@pytest.mark.parametrize("word", ["name:LAB-09", "reinstalled", "constrained"])
def test_a_machine_that_is_not_as_it_should_be_answers_so(lab: Lab, word: str) -> None:
    sid = ask(lab.session(), "identity").machine.machine_sid
    lab.network.set_fault("LAB-01", word)
    answer = reset(lab.session(), NEW, within=call(machine_sid=sid))
    expected = {"name:LAB-09": "wrong_name", "reinstalled": "new_machine"}
    assert answer.reason == expected.get(word, "language_mode")
    assert unchanged(lab)


def test_out_of_shells_costs_nothing(lab: Lab) -> None:
    lab.network.set_fault("LAB-01", "no-shells")
    error = fails(Unreachable, "out_of_shells", lambda: reset(lab.session(), NEW))
    assert (error.code, error.spent) == ("2150859173", frozenset())


def test_the_count_of_operations_of_a_text_shell_is_escaped_by_a_new_shell(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_shells, "OPERATIONS_PER_USER", 2)
    session = lab.session()
    assert [ask(session, "identity").stage for _ in range(5)] == ["done"] * 5
    assert lab.bad_logons("LAB-01") == 0
