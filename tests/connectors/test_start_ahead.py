"""The next process is started while the answer to this call is written down."""

from __future__ import annotations

import pytest

from pwserver.connectors import session as module
from pwserver.connectors.base import Unknown
from pwserver.connectors.contract import Hop
from pwserver.core.secrets import Secret
from tests.lab_wire.kit import Lab, ask, call, eventually, fails, reset

COMMANDS = ("Command", "Send", "Receive", "Signal")


def commands(lab: Lab) -> list[str]:
    return [what for what, _ in lab.saw() if what in COMMANDS]


def test_the_process_of_the_next_call_waits_for_its_payload_already(lab: Lab) -> None:
    session = lab.session()
    reset(session, Secret("First-value-1"), within=call(more=True))
    eventually(lambda: commands(lab) == [*COMMANDS, "Command"], "a process was started ahead")
    assert lab.password("LAB-01", "Administrator") == "First-value-1"
    reset(session, Secret("Second-value-2"))
    session.close()
    assert commands(lab) == [*COMMANDS, *COMMANDS], "the second call used it, and nothing was started for a third one"
    assert lab.password("LAB-01", "Administrator") == "Second-value-2"
    assert lab.wire.shells["LAB-01"].open_shells() == 0


def test_a_process_that_nobody_needs_ends_with_the_shell(lab: Lab) -> None:
    session = lab.session()
    ask(session, "identity", within=call(more=True))
    session.close()
    assert commands(lab) == [*COMMANDS, "Command"]
    assert lab.wire.shells["LAB-01"].open_shells() == 0


def test_after_anything_but_success_nothing_more_is_sent_on_the_line(lab: Lab) -> None:
    """Rule 23: a refused linked credential ends what is sent on that connection."""
    session = lab.session()
    hop = Hop("LAB-02", "LAB-02\\svc-psrv", Secret("wrong"), "ssl")
    answer = reset(session, Secret("First-value-1"), "LAB-02", hop=hop, within=call(more=True))
    assert answer.stage != "done"
    session.close()
    assert commands(lab) == [*COMMANDS]


def test_a_process_that_waited_too_long_is_not_used(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whether it is there still; a new one tells at its start, before any payload."""
    session = lab.session()
    ask(session, "identity", within=call(more=True))
    eventually(lambda: commands(lab) == [*COMMANDS, "Command"], "a process was started ahead")
    monkeypatch.setattr(module, "READY_SECONDS", 0)
    assert ask(session, "identity").stage == "done"
    session.close()
    assert commands(lab) == [*COMMANDS, "Command", *COMMANDS]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_agent_that_cannot_start_ahead_is_asked_as_ever(lab: Lab, moment: str) -> None:
    """The line broke there: the next call finds no shell, and opens another one before it hands anything over."""
    session = lab.session()
    seen: list[str] = []

    def interrupt(machine: str, what: str, when: str) -> bool:
        seen.append(what)
        return (what, when) == ("Command", moment) and "Signal" in seen

    lab.wire.interrupt = interrupt
    ask(session, "identity", within=call(more=True))
    eventually(lambda: commands(lab) == [*COMMANDS, "Command"], "the start ahead")
    lab.wire.interrupt = None
    assert reset(session, Secret("First-value-1")).stage == "done"
    assert [what for what, _ in lab.saw("Create", "Send")] == ["Create", "Send", "Create", "Send"]


def test_a_process_started_ahead_that_died_gets_no_second_payload(lab: Lab) -> None:
    """Its shell is gone with it, and the payload is on the way: what became of it is asked, not sent again."""
    session = lab.session()
    ask(session, "identity", within=call(more=True))
    eventually(lambda: commands(lab) == [*COMMANDS, "Command"], "a process was started ahead")
    lab.wire.shells["LAB-01"]._shells.clear()
    fails(Unknown, "connection_lost", lambda: reset(session, Secret("First-value-1")))
    assert len(lab.saw("Send")) == 2
    assert lab.password("LAB-01", "Administrator") != "First-value-1"
