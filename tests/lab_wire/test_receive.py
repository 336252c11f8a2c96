"""Output in the forms in which Windows sends it: in pieces, with nothing yet, and with an end of each stream."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from winrm.exceptions import WinRMOperationTimeoutError
from winrm.protocol import Protocol

from pwserver.connectors import scripts
from pwserver.core.secrets import Secret
from pwserver.lab.wire_soap import SHELL
from tests.lab_wire.kit import Lab, eventually, reset
from tests.lab_wire.test_wire import our_input, plain


class Held:
    """A script that writes a line, and its answer only when it is released."""

    def __init__(self, lab: Lab, early: bytes) -> None:
        self._think, self._early, self.released = lab.mind, early, threading.Event()
        lab.mind = self.run

    def run(self, *asked: Any) -> tuple[bytes, int]:
        asked[6](self._early)
        self.released.wait(20)
        return self._think(*asked)


def started(protocol: Protocol) -> tuple[str, str]:
    program, arguments = scripts.command_line()
    shell = protocol.open_shell()
    command = protocol.run_command(shell, program, arguments, console_mode_stdin=False)
    protocol.send_command_input(shell, command, our_input(), end=True)
    return shell, command


def test_what_a_script_writes_is_received_while_it_runs(lab: Lab) -> None:
    held = Held(lab, b"early\n")
    protocol = plain(lab, operation_timeout_sec=1, read_timeout_sec=5)
    shell, command = started(protocol)
    assert protocol.get_command_output_raw(shell, command) == (b"early\n", b"", -1, False)
    with pytest.raises(WinRMOperationTimeoutError):
        protocol.get_command_output_raw(shell, command)
    held.released.set()
    out, err, status, done = protocol.get_command_output_raw(shell, command)
    assert (out[:1], err, status, done) == (b"{", b"", 0, True)


def test_output_longer_than_an_envelope_comes_in_pieces(lab: Lab) -> None:
    lab.mind = lambda *asked: (b"x" * 250_000, 7)
    protocol = plain(lab)
    shell, command = started(protocol)
    pieces = [protocol.get_command_output_raw(shell, command) for _ in range(3)]
    assert [(len(out), status, done) for out, _, status, done in pieces] == [
        (100_000, -1, False),
        (100_000, -1, False),
        (50_000, 7, True),
    ]


def test_a_session_puts_the_pieces_of_an_answer_together(lab: Lab) -> None:
    """The first piece arrives alone, then nothing for longer than one receive may last, then the rest."""
    think = lab.mind

    def in_pieces(*asked: Any) -> tuple[bytes, int]:
        out, status = think(*asked)
        asked[6](out[:100])
        eventually(lambda: ("Receive", 500) in lab.saw(), "a receive that found nothing")
        return out[100:], status

    lab.mind = in_pieces
    assert reset(lab.session(), Secret("Correct-Horse-9")).stage == "done"
    assert [status for _, status in lab.saw("Receive")] == [200, 500, 200]


def test_an_empty_running_and_two_timeouts_come_before_an_answer(lab: Lab) -> None:
    think = lab.mind

    def slowly(*asked: Any) -> tuple[bytes, int]:
        asked[6](b"")
        eventually(lambda: lab.saw("Receive").count(("Receive", 500)) == 2, "two receives that timed out")
        return think(*asked)

    lab.mind = slowly
    assert reset(lab.session(), Secret("Correct-Horse-9")).stage == "done"
    assert [status for _, status in lab.saw("Receive")] == [200, 500, 500, 200]


def test_pieces_keep_their_borders(lab: Lab) -> None:
    """One stream element for each piece that was written, as Windows sends it."""
    written = threading.Event()

    def in_words(*asked: Any) -> tuple[bytes, int]:
        for word in (b"hi", b"", b"\n"):
            asked[6](word)
        written.set()
        return b"", 0

    lab.mind = in_words
    protocol = plain(lab)
    shell, command = started(protocol)
    assert written.wait(10)
    eventually(lambda: lab.wire.shells["LAB-01"]._shells[shell].commands[command].ended, "the script has ended")
    answers: list[bytes] = []
    send = protocol.transport.send_message
    protocol.transport.send_message = lambda message: answers.append(send(message)) or answers[-1]  # type: ignore[method-assign,func-returns-value]
    protocol.get_command_output_raw(shell, command)
    streams = [(node.text or "", node.get("End")) for node in ET.fromstring(answers[0]).iter(f"{{{SHELL}}}Stream")]
    assert streams == [("aGk=", None), ("Cg==", None), ("", "true"), ("", "true")]
