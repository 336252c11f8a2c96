"""Our own deadline, and answers that are none."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from pwserver.connectors.base import Key, Unknown, Unreachable
from pwserver.connectors.session import SessionTiming
from pwserver.core.secrets import Secret
from tests.lab_wire.kit import QUICK, Lab, ask, call, eventually, fails, reset

NEW = Secret("Correct-Horse-9")
ACCOUNT = {"user": "Administrator", "account_sid": "", "min_left": 2}


# time


def stuck(lab: Lab) -> threading.Event:
    """From now on the machine thinks until it is told to stop."""
    released, think = threading.Event(), lab.mind

    def wait(*asked: Any) -> tuple[bytes, int]:
        released.wait(20)
        return think(*asked)

    lab.mind = wait
    return released


def test_our_own_deadline_ends_a_call_that_hangs(lab: Lab) -> None:
    session = lab.session(timing=SessionTiming(operation_s=20))
    ask(session, "identity")
    released = stuck(lab)
    begin = time.monotonic()
    error = fails(Unknown, "deadline", lambda: reset(session, NEW, within=call(deadline_s=0.8)))
    assert error.spent == {Key.TARGET}
    assert time.monotonic() - begin < 10, "the agent may hold a request back for 20 s, we do not wait for that"
    assert lab.saw()[-1] != ("Delete", 200), "after the deadline nothing more is sent"
    released.set()


def test_our_own_deadline_ends_a_call_that_cannot_write_too(lab: Lab) -> None:
    session = lab.session(timing=SessionTiming(operation_s=20))
    ask(session, "identity")
    released, value = stuck(lab), lab.initial("LAB-01\\Administrator")
    error = fails(
        Unreachable, "deadline", lambda: ask(session, "verify", **ACCOUNT, value=value, within=call(deadline_s=0.8))
    )
    assert error.spent == {Key.TARGET}
    released.set()
    assert ask(session, "identity").stage == "done", "on a new connection"


def test_a_machine_that_falls_silent_is_left_at_the_deadline(lab: Lab) -> None:
    """Not at the socket's own time-out, which is as long as the agent may hold a request back."""
    session, released = lab.session(timing=SessionTiming(operation_s=20)), threading.Event()
    ask(session, "identity")
    eventually(lambda: lab.saw("Signal"), "the first command is ended")
    lab.network.sleep = lambda seconds: released.wait(seconds)
    lab.network.set_fault("LAB-01", "slow:30000")
    begin = time.monotonic()
    fails(Unreachable, "deadline", lambda: reset(session, NEW, within=call(deadline_s=0.5)))
    assert time.monotonic() - begin < 10
    released.set()


def test_a_slow_machine_whose_deadline_passes_before_the_payload_is_unreachable(lab: Lab) -> None:
    session = lab.session()
    ask(session, "identity")
    lab.network.set_fault("LAB-01", "slow:1500")
    error = fails(Unreachable, "deadline", lambda: reset(session, NEW, within=call(deadline_s=0.5)))
    assert error.wrote is False
    assert len(lab.saw("Send")) == 1
    lab.network.set_fault("LAB-01", "slow:10")
    assert reset(session, NEW).stage == "done"


def test_an_answer_that_trickles_does_not_stretch_the_deadline(lab: Lab, mute: int) -> None:
    """One byte now and then resets every ordinary socket time-out."""
    context = lab.wire.certificates.context("LAB-01")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    stop = threading.Event()

    def trickle() -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as secured:
            secured.recv(65536)
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                if stop.wait(0.05):
                    return
                try:
                    secured.send(bytes([byte]))
                except OSError:
                    return

    server = threading.Thread(target=trickle, daemon=True)
    server.start()
    session = lab.session(port=listener.getsockname()[1], timing=SessionTiming(operation_s=1, grace_s=0.1))
    fails(Unreachable, "unreachable", lambda: ask(session, "identity", within=call(deadline_s=0.5)))
    stop.set()
    server.join(5)
    listener.close()


# answers that are none


@pytest.mark.parametrize(
    "output",
    [b"", b"{", b'{"hello": 1}', b"Access is denied.", b"\xff\xfe", b"<html></html>", b"null"],
)
def test_an_answer_that_is_none_is_unknown_for_a_write(lab: Lab, output: bytes) -> None:
    """Nothing at all with exit 0, too: some hosts end a command line that is too long like that, and it never ran."""
    lab.mind = lambda *asked: (output, 0)
    session = lab.session()
    error = fails(Unknown, "answer_foreign", lambda: reset(session, NEW))
    assert (error.spent, error.wrote) == ({Key.TARGET}, None)
    value = lab.initial("LAB-01\\Administrator")
    assert fails(Unreachable, "answer_foreign", lambda: ask(session, "verify", **ACCOUNT, value=value)).spent == {
        Key.TARGET
    }


def test_a_truncated_answer_and_one_to_another_attempt_do_not_count(lab: Lab) -> None:
    think = lab.mind
    session = lab.session()
    lab.mind = lambda *asked: (think(*asked)[0][:-20], 0)
    fails(Unknown, "answer_foreign", lambda: reset(session, NEW))
    mine = call(attempt="mine")
    lab.mind = lambda *asked: (think(*asked)[0].replace(b"mine", b"another"), 0)
    fails(Unknown, "answer_foreign", lambda: reset(session, NEW, within=mine))


def test_a_machine_that_talks_without_end_is_stopped(lab: Lab) -> None:
    lab.mind = lambda *asked: (b"x" * 1_100_000, 0)
    fails(Unknown, "answer_foreign", lambda: reset(lab.session(timing=QUICK), NEW))


def test_an_answer_does_not_wait_until_the_agent_has_forgotten_its_command(lab: Lab) -> None:
    """It is written down at once; the next call waits for the end, and one that hangs costs the connection only."""
    session, released, held = lab.session(timing=SessionTiming(close_s=0.5)), threading.Event(), threading.Event()

    def interrupt(machine: str, action: str, moment: str) -> bool:
        if action == "Signal" and moment == "before" and not released.is_set():
            held.set()
            released.wait(20)
        return False

    lab.wire.interrupt = interrupt
    assert ask(session, "identity").stage == "done"
    assert held.wait(10)
    assert not lab.saw("Signal"), "its end is still under way"
    assert ask(session, "identity").stage == "done", "on a new connection"
    assert len(lab.saw("Create")) == 2
    released.set()
    session.close()
