"""The hand-over to a second machine, as the script announces it: what an end with and without that line means."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pwserver.connectors import contract
from pwserver.connectors.base import Key, Unknown, Unreachable
from pwserver.connectors.contract import Hop
from pwserver.connectors.session import SessionTiming
from pwserver.core.secrets import Secret
from tests.lab_wire.kit import Lab, ask, call, fails, reset

NEW = Secret("Correct-Horse-9")
ACCOUNT = {"user": "Administrator", "account_sid": "", "min_left": 2}
WITHIN = {"ttl_s": 0.2, "deadline_s": 7.0}
"""Over after 4.7 s. A receive in hand may last a second longer, the one after it another second."""


def hop(lab: Lab) -> Hop:
    return Hop("LAB-02", "LAB-02\\svc-psrv", lab.initial("LAB-02\\svc-psrv"), "ssl")


def unwritten(lab: Lab) -> bool:
    return lab.password("LAB-02", "Administrator") == lab.initial("LAB-02\\Administrator").open()


@pytest.fixture
def hang(lab: Lab) -> Callable[..., threading.Event]:
    """From now on the script writes ``early`` and goes on only when it is released."""
    released, think = threading.Event(), lab.mind

    def begin(early: bytes = b"") -> threading.Event:
        def run(*asked: Any) -> tuple[bytes, int]:
            asked[6](early)
            released.wait(20)
            return think(*asked)

        lab.mind = run
        return released

    return begin


def test_an_answer_after_the_hand_over_is_read(lab: Lab) -> None:
    answer = reset(lab.session(), NEW, "LAB-02", hop=hop(lab))
    assert (answer.stage, answer.machine.computer_name) == ("done", "LAB-02")
    assert lab.password("LAB-02", "Administrator") == NEW.open()


def test_a_second_machine_that_keeps_the_script_waiting_beyond_its_time_to_live_was_sent_nothing(
    lab: Lab, hang: Callable[..., threading.Event]
) -> None:
    session = lab.session(timing=SessionTiming(operation_s=1))
    ask(session, "identity")
    released = hang()
    begin = time.monotonic()
    error = fails(
        Unreachable, "hop_unreachable", lambda: reset(session, NEW, "LAB-02", hop=hop(lab), within=call(**WITHIN))
    )
    assert (error.wrote, error.spent) == (False, {Key.LINKED}), "its login may have been refused just then"
    assert time.monotonic() - begin > 0.2 + (7.0 - 0.2) * 2 / 3, "not before the script could not hand over any more"
    released.set()


def test_with_the_line_the_same_silence_is_unknown_and_costs_the_linked_credential_nothing(
    lab: Lab, hang: Callable[..., threading.Event]
) -> None:
    session = lab.session(timing=SessionTiming(operation_s=1))
    ask(session, "identity")
    released = hang(contract.handed_over_line("mine"))
    within = call(attempt="mine", **WITHIN)
    error = fails(Unknown, "deadline", lambda: reset(session, NEW, "LAB-02", hop=hop(lab), within=within))
    assert (error.wrote, error.spent) == (None, {Key.TARGET}), "its way in was open"
    released.set()


def test_a_machine_without_a_second_hop_that_falls_silent_is_unknown_as_ever(
    lab: Lab, hang: Callable[..., threading.Event]
) -> None:
    session = lab.session(timing=SessionTiming(operation_s=1))
    ask(session, "identity")
    released = hang()
    fails(Unknown, "deadline", lambda: reset(session, NEW, within=call(**WITHIN)))
    released.set()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_cut_connection_is_unknown_whether_the_line_came_or_not(lab: Lab, moment: str) -> None:
    """Behind the cut the script may be handing over just now."""
    lab.wire.interrupt = lambda machine, what, when: (what, when) == ("Receive", moment)
    error = fails(Unknown, "connection_lost", lambda: reset(lab.session(), NEW, "LAB-02", hop=hop(lab)))
    assert error.spent == {Key.TARGET, Key.LINKED}


def test_a_cut_after_the_line_costs_the_linked_credential_nothing(
    lab: Lab, hang: Callable[..., threading.Event]
) -> None:
    released = hang(contract.handed_over_line("mine"))
    receives: list[str] = []

    def cut(machine: str, action: str, moment: str) -> bool:
        receives.extend([moment] if action == "Receive" else [])
        return receives.count("before") > 1 and moment == "before"

    lab.wire.interrupt = cut
    mine = call(attempt="mine")
    error = fails(Unknown, "connection_lost", lambda: reset(lab.session(), NEW, "LAB-02", hop=hop(lab), within=mine))
    assert error.spent == {Key.TARGET}
    released.set()


def test_a_line_that_broke_behind_the_agent_is_unknown(lab: Lab) -> None:
    lab.network.set_fault("LAB-02", "cut-before")
    answer = reset(lab.session(), NEW, "LAB-02", hop=hop(lab))
    assert (answer.stage, answer.reason) == ("hop", "hop_broken")
    assert unwritten(lab)


@pytest.mark.parametrize("word", ["off", "no-port", "no-winrm", "slow:70000"])
def test_a_dead_second_machine_is_answered_by_the_script_itself(lab: Lab, word: str) -> None:
    lab.network.pace = 0.01
    lab.network.set_fault("LAB-02", word)
    answer = reset(lab.session(), NEW, "LAB-02", hop=hop(lab))
    assert (answer.stage, answer.reason, answer.wrote) == ("hop", "hop_unreachable", False)
    assert unwritten(lab)


# what stands before an answer


@pytest.mark.parametrize(
    "before",
    [b"noise\n", b"\n", contract.handed_over_line("another"), contract.handed_over_line("mine") * 2,
     contract.handed_over_line("mine") + b"noise\n"],
)  # fmt: skip
def test_nothing_but_the_line_of_this_attempt_may_stand_before_an_answer(lab: Lab, before: bytes) -> None:
    think = lab.mind

    def run(*asked: Any) -> tuple[bytes, int]:
        said: list[bytes] = []
        out, status = think(*asked[:6], said.append)
        return before + out, status

    lab.mind = run
    error = fails(
        Unknown,
        "answer_foreign",
        lambda: reset(lab.session(), NEW, "LAB-02", hop=hop(lab), within=call(attempt="mine")),
    )
    open_way = b"mine" in before
    assert error.spent == ({Key.TARGET} if open_way else {Key.TARGET, Key.LINKED})


def test_a_script_without_a_second_hop_has_nothing_to_hand_over(lab: Lab) -> None:
    think = lab.mind
    lab.mind = lambda *asked: (contract.handed_over_line("mine") + think(*asked)[0], 0)
    fails(Unknown, "answer_foreign", lambda: reset(lab.session(), NEW, within=call(attempt="mine")))


# answers in another language


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"Der Zugriff wurde verweigert.\r\n", "Der Zugriff wurde verweigert."),
        ("Acc\u00e8s refus\u00e9.".encode("cp850"), "Acc\ufffds refus\ufffd."),
        (
            b'#< CLIXML\r\n<Objs Version="1.1.0.1"><S S="Error">Add-Type : boom_x000D__x000A_</S></Objs>',
            "Add-Type : boom",
        ),
        (
            b"Windows PowerShell\r\nCopyright (C) Microsoft Corporation.",
            "Windows PowerShell Copyright (C) Microsoft Corporation.",
        ),
    ],
)
def test_an_answer_in_another_language_loses_nothing_and_is_quoted(lab: Lab, output: bytes, words: str) -> None:
    lab.mind = lambda *asked: (output, 1)
    session = lab.session()
    error = fails(Unknown, "answer_foreign", lambda: reset(session, NEW))
    assert (error.text, error.code, error.spent) == (words, "exit 1", {Key.TARGET})
    value = lab.initial("LAB-01\\Administrator")
    read = fails(Unreachable, "answer_foreign", lambda: ask(session, "verify", **ACCOUNT, value=value))
    assert (read.text, read.wrote) == (words, False)


def test_a_secret_in_what_is_no_answer_is_not_quoted(lab: Lab) -> None:
    lab.mind = lambda *asked: (b"You sent " + NEW.open().encode(), 1)
    error = fails(Unknown, "answer_foreign", lambda: reset(lab.session(), NEW))
    assert NEW.open() not in error.text
