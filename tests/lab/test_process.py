"""The lab as a process of its own: it comes up, is asked, is killed, and knows everything afterwards."""

import json
import os
import select
import signal
import subprocess
import sys
import time

import pytest

from pwserver.lab import control

pytestmark = pytest.mark.enable_socket


class Process:
    def __init__(self, folder, *more):
        command = [sys.executable, "-m", "pwserver.lab", "--folder", str(folder), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        assert ready, "the lab said nothing for 30 s"
        self.said = json.loads(self.process.stdout.readline())

    def ask(self, verb, **args):
        return control.ask(self.said["control"], verb, **args)

    def end(self, number=signal.SIGTERM):
        """Seconds it took, and its status."""
        begun = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.process.stdout.close()
        return time.monotonic() - begun, status


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "lab"


@pytest.fixture
def started(folder):
    processes = []

    def start(*more):
        processes.append(Process(folder, *more))
        return processes[-1]

    yield start
    for one in processes:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)
        one.process.stdout.close()


def test_it_comes_up_ends_within_two_seconds_and_remembers(started, folder):
    lab = started()
    assert lab.said["ready"] is True
    assert lab.said["pid"] == lab.process.pid
    assert len(lab.ask("state")["machines"]) == 43
    lab.ask("set-password", machine="LAB-05", account="Administrator", value="Kobold-17 zaehlt")
    seen, addresses = lab.ask("hash"), lab.said["addresses"]
    assert lab.ask("addresses") == addresses
    seconds, status = lab.end()
    assert (seconds < 2, status) == (True, 0)
    again = started()
    assert again.ask("hash") == seen
    kept = [name for name, address in again.said["addresses"].items() if address == addresses[name]]
    assert len(kept) >= len(addresses) - 2, "the ports are remembered, but for one that somebody took meanwhile"


def test_killed_at_once_it_loses_nothing_it_answered(started):
    lab = started()
    lab.ask("set-password", machine="LAB-05", account="Administrator", value="Kobold-17 zaehlt")
    lab.ask("fault", machine="LAB-04", word="off")
    lab.end(signal.SIGKILL)
    again = started()
    assert again.ask("holds", machine="LAB-05", account="Administrator", value="Kobold-17 zaehlt") == {"holds": True}
    assert again.ask("state")["machines"][3]["fault"] == "off"


def test_one_folder_has_one_lab(started):
    first = started()
    second = started()
    assert second.said["ready"] is False
    assert "runs already" in second.said["error"]
    assert second.process.wait(10) == 1
    assert first.ask("badlogons")["total"] == 0


def test_a_damaged_truth_is_said_and_kept(started, folder):
    folder.mkdir()
    (folder / "truth.json").write_text("{")
    lab = started()
    assert lab.said["ready"] is False
    assert "Move it away" in lab.said["error"]
    assert lab.process.wait(10) == 1
    assert (folder / "truth.json").read_text() == "{"


def test_it_is_cheap(started):
    """One process for all machines, well under what the whole product may take."""
    lab = started()
    with open(f"/proc/{lab.said['pid']}/smaps_rollup") as rollup:
        kilobytes = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    assert kilobytes < 120_000
    assert os.path.exists(lab.said["control"])
