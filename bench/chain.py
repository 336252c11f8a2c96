"""A chain of Remote links through one agent, beside two bare loops that do the same operations."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import winrm

from bench.instance import Instance, running
from bench.world import ADMINISTRATOR, LINKED_LOGIN, SEED, Plan, entry_named, olivia
from pwserver import queueing
from pwserver.connectors import contract, scripts
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.lab import defaults
from pwserver.models import SyncRun
from pwserver.services import sync
from pwserver.services.transaction import end_read

PRODUCT, BARE = 0, 1
"""The chains: one is the product's, the machines of the other are the bare loops'."""
PER_LINK = 4
"""Requests for one operation in an open shell: command, send, receive, signal."""


def measure(folder: Path, *, links: int = 50, slow_ms: int = 20, rounds: int = 3) -> dict[str, Any]:
    """``chain_vs_run_ps``, ``chain_vs_reused_shell`` and ``ours_per_link`` (ms), medians over the rounds."""
    plan = Plan(2, links)
    took: dict[str, list[float]] = {"product": [], "run_ps": [], "reused_shell": []}
    gaps: dict[str, list[float]] = {"product": [], "reused_shell": []}
    with running(folder, plan) as here:
        here.lab("fault", machine=defaults.AGENT, word=f"slow:{slow_ms}")
        bare = Bare(here)
        loops = {"product": lambda: change(here), "run_ps": bare.run_ps, "reused_shell": bare.reused}
        for number in range(rounds):
            for name, work in loops.items():
                since = time.time()
                took[name].append(timed(work))
                if name in gaps:
                    gaps[name] += without_request(here, since, links)
            bare.check(number)
    product = statistics.median(took["product"])
    return {
        "chain_vs_run_ps": ratio(product, took["run_ps"]),
        "chain_vs_reused_shell": ratio(product, took["reused_shell"]),
        "ours_per_link": spread(gaps["product"]),
        "bare_per_link": spread(gaps["reused_shell"]),
        "chain": {"links": links, "slow_ms": slow_ms, "seconds": {name: rounded(each) for name, each in took.items()}},
    }


def timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def ratio(product: float, others: list[float]) -> float:
    return round(product / statistics.median(others), 3)


def rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": round(statistics.median(ordered), 1), "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1)}


def change(here: Instance) -> None:
    """*Change it everywhere*, from the request to the end of its run, by the instance's worker."""
    run = sync.request_change(olivia(), entry_named(here.plan, PRODUCT), Secret(f"Product-{uuid.uuid4().hex[:12]}-1"))
    assert run is not None
    run_id = run.id
    end_read()
    queueing.enqueue(run_id, queueing.NOW)
    here.await_idle(every=0.05)
    ended = db.session.get_one(SyncRun, run_id, populate_existing=True)
    assert (ended.state, ended.result) == ("done", "done"), (ended.state, ended.result)
    end_read()


def without_request(here: Instance, since: float, links: int) -> list[float]:
    """For each link, the milliseconds in which no request of it was at the agent: from the answer to each of its
    four requests to the next request."""
    told = here.lab("requests", since=since)
    came, answered = ([at for at, machine in told[log] if machine == defaults.AGENT] for log in ("log", "answered"))
    gaps = [(following - at) * 1000 for at, following in zip(answered, came[1:], strict=False)]
    # Logging in and opening the shell come before, closing it after: what is between is four requests for each link.
    gaps = gaps[len(came) - 1 - PER_LINK * links : -1]
    return [sum(gaps[at : at + PER_LINK]) for at in range(0, len(gaps) - PER_LINK + 1, PER_LINK)]


class Bare:
    """The same operations by pywinrm alone: nothing is remembered, checked or proved; one value after the other."""

    def __init__(self, here: Instance) -> None:
        plan, address = here.plan, here.lab("addresses")[defaults.AGENT]
        self.here, self.machines = here, plan.machines(BARE)
        self.value = plan.first(BARE)
        self.session = winrm.Session(
            f"https://{address['host']}:{address['port']}/wsman",
            auth=(f"{defaults.AGENT}\\{defaults.LOGIN}", defaults.password(SEED, defaults.LOGIN)),
            transport="ntlm",
            server_cert_validation="ignore",
        )

    def run_ps(self) -> None:
        """What ``Session.run_ps`` does for each machine: a login, a shell, a command, its end; see the README."""
        self._each(self._in_own_shell)

    def reused(self) -> None:
        protocol = self.session.protocol
        shell = protocol.open_shell(codepage=65001)
        self._each(lambda payload: self._in_shell(shell, payload))
        protocol.close_shell(shell)

    def check(self, number: int) -> None:
        """Each machine has the last value: the loops did what they are compared for."""
        for machine in self.machines:
            held = self.here.lab("holds", machine=machine, account=ADMINISTRATOR, value=self.value.open())
            assert held["holds"], (number, machine)

    def _each(self, do: Callable[[bytes], bytes]) -> None:
        new = Secret(f"Bare-{uuid.uuid4().hex[:12]}-1")
        for machine in self.machines:
            attempt = uuid.uuid4().hex
            answer = contract.read_answer(do(self._payload(machine, attempt, new)), attempt=attempt, op="change")
            assert (answer.stage, answer.code) == ("done", 0), answer
        self.value = new

    def _payload(self, machine: str, attempt: str, new: Secret) -> bytes:
        login = Secret(defaults.password(SEED, LINKED_LOGIN))
        request = contract.request(
            "change",
            attempt=attempt,
            ttl_s=45,
            computer_name=machine,
            machine_sid=None,
            params={"user": ADMINISTRATOR, "account_sid": "", "min_left": 2, "reset_allowed": False},
            secrets={"old": self.value, "new": new},
            hop=contract.Hop(machine, f"{defaults.DOMAIN}\\{LINKED_LOGIN}", login, "kerberos"),
        )
        return scripts.stdin_lines(scripts.script("change", hop=True), request)

    def _in_own_shell(self, payload: bytes) -> bytes:
        protocol = self.session.protocol
        shell = protocol.open_shell(codepage=65001)
        answer = self._in_shell(shell, payload)
        protocol.close_shell(shell)
        return answer

    def _in_shell(self, shell: str, payload: bytes) -> bytes:
        protocol, (program, arguments) = self.session.protocol, scripts.command_line()
        command = protocol.run_command(shell, program, arguments, console_mode_stdin=False)
        protocol.send_command_input(shell, command, payload, end=True)
        out, _, _ = protocol.get_command_output(shell, command)
        protocol.cleanup_command(shell, command)
        return bytes(out)
