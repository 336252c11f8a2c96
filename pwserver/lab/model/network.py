"""The network: all machines behind one lock, one clock and one door, :meth:`Network.call`."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from pwserver.lab import calls
from pwserver.lab.model import directory, hosts, logons, sam, services, sessions, tasks
from pwserver.lab.model.accounts import State
from pwserver.lab.model.devices import Device, DeviceState
from pwserver.lab.model.faults import Fault, with_fault
from pwserver.lab.model.machines import Machine
from pwserver.lab.model.sessions import WireLogon

HANDLERS: dict[str, Callable[..., dict[str, Any]]] = (
    hosts.HANDLERS | sam.HANDLERS | tasks.HANDLERS | services.HANDLERS | sessions.HANDLERS | directory.HANDLERS
)
SYSTEM = "NT AUTHORITY\\SYSTEM"
NOT_TRUTH = {
    "requests", "ntlm", "bad_logons", "bad_count", "last_bad", "locked_at", "fault", "cached", "located", "next_pid",
    "pid",
}  # fmt: skip
"""What the hash leaves out: counters, locks, caches and faults. They are no change that somebody made to a target."""


class NetworkState(State):
    """Everything the lab knows, as written to disk."""

    seed: str = ""
    domains: dict[str, str] = Field(default_factory=dict)
    """DNS name of a domain → its NetBIOS name."""
    machines: dict[str, Machine] = Field(default_factory=dict)
    devices: dict[str, DeviceState] = Field(default_factory=dict)
    initial: dict[str, str] = Field(default_factory=dict)
    """``MACHINE\\account`` → the password it began with."""
    next_pid: int = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose session asks."""

    as_user: str
    admin: bool


def utc_now() -> datetime:
    return datetime.now(UTC)


class Network:
    """A simulated network. ``save`` is called with the state after every change, under the lock."""

    def __init__(
        self,
        state: NetworkState,
        *,
        clock: Callable[[], datetime] = utc_now,
        save: Callable[[NetworkState], None] | None = None,
        fresh: Callable[[float], NetworkState] | None = None,
    ) -> None:
        self.state, self.clock, self.sleep = state, clock, time.sleep
        self.pace = 1.0
        """By how much Windows' own time-outs are shortened; a machine's slowness is not."""
        self._save, self._dirty, self._lock = save, False, threading.RLock()
        self._depth = 0
        beginning = state.model_dump_json()
        self._fresh = fresh or (lambda now: NetworkState.model_validate_json(beginning))
        self._sessions: dict[str, tuple[str, str]] = {}
        self._looked_at: NetworkState | None = None
        self._controllers: list[Machine] = []
        self._timers: set[threading.Timer] = set()
        self.arrivals: deque[tuple[float, str]] = deque(maxlen=10_000)
        """When requests came, and at which machine; for measuring, gone with this process."""
        self.departures: deque[tuple[float, str]] = deque(maxlen=10_000)
        """When an agent answered one, and which."""

    # the door

    def call(self, machine: str, as_user: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
        """Answers one call of :mod:`pwserver.lab.calls`. KeyError for an unknown name only."""
        declared, handler = calls.CALLS[name], HANDLERS[name]
        if args.keys() != declared.args.keys():
            return calls.blank(name) | {declared.results[0]: 87 if declared.results[0] == "code" else calls.E_INVALID}
        self._be_slow(name, args)
        with self.changing(mark=False):
            asked = self.machine(machine)
            caller = Caller(as_user, sessions.is_admin(self, asked, as_user))
            return calls.blank(name) | handler(self, asked, caller, **args)

    def _be_slow(self, name: str, args: dict[str, Any]) -> None:
        """A wait, or a slow or dead second machine, keeps its caller waiting without holding up the network."""
        if name == "Sleep":
            self.sleep(args["milliseconds"] / 1000)
            return
        target = None
        if name in ("TcpConnect", "NewPSSession"):
            target = self.lookup(str(args["computer"]))
        elif name == "InvokeCommand":
            target = self.session_machine(str(args["session"]))
        if target is not None and (seconds := sessions.waited(target.fault, name, args, self.pace)):
            self.sleep(seconds)

    @contextmanager
    def changing(self, *, mark: bool = True) -> Iterator[NetworkState]:
        """The state, locked; written to disk at the end when it was changed (``mark``: it will be)."""
        with self._lock:
            self._depth += 1
            self._dirty = self._dirty or mark
            try:
                yield self.state
            finally:
                self._depth -= 1
                if self._depth == 0 and self._dirty and self._save is not None:
                    self._save(self.state)
                    self._dirty = False

    def changed(self) -> None:
        """Told by the model when it changed something that must survive."""
        self._dirty = True

    def flush(self) -> None:
        """Writes the counters too, which by themselves are written with the next change only."""
        with self.changing():
            pass

    # who is there

    def machine(self, name: str) -> Machine:
        found = self.lookup(name)
        if found is None:
            raise LookupError(f"the lab has no machine {name}")
        return found

    def lookup(self, name: str) -> Machine | None:
        """A machine by its name, with or without a domain of this network behind it."""
        short, _, domain = name.strip().partition(".")
        if domain and domain.casefold() not in self.state.domains:
            return None
        return self.state.machines.get(short.upper())

    def device(self, name: str) -> Device:
        """Raises LookupError when there is none of this name."""
        state = self.state.devices.get(name.upper())
        if state is None:
            raise LookupError(f"the lab has no device {name}")
        return Device(self, state)

    def controllers(self) -> list[Machine]:
        if self._looked_at is not self.state:  # no machine becomes one, and every name of a domain is looked up here
            self._looked_at = self.state
            self._controllers = [machine for machine in self.state.machines.values() if machine.is_dc]
        return self._controllers

    def controller(self, domain: str) -> Machine | None:
        """The domain controller of a domain by its NetBIOS or DNS name."""
        wanted = self.state.domains.get(domain.casefold(), domain).casefold()
        return next((machine for machine in self.controllers() if machine.sam.name.casefold() == wanted), None)

    def dns_of(self, controller: Machine) -> str:
        """The DNS name of a controller's domain."""
        named = (dns for dns, name in self.state.domains.items() if name == controller.sam.name)
        return next(named, controller.sam.name.lower())

    def suffix_of(self, machine: Machine) -> str:
        """The suffix of a machine's own DNS name: of its domain unless it has another one; none in a workgroup."""
        if machine.dns_suffix is not None:
            return machine.dns_suffix
        named = (dns for dns, name in self.state.domains.items() if name == machine.domain)
        return next(named, "") if machine.is_member or machine.is_dc else ""

    def now(self) -> float:
        return self.clock().timestamp()

    def next_pid(self) -> int:
        self.state.next_pid += 4
        return self.state.next_pid

    # faults

    def fault(self, name: str) -> Fault:
        """The faults of a machine or device. LookupError when there is none of this name."""
        return self._holder(name).fault

    def set_fault(self, name: str, word: str) -> Fault:
        """Adds a fault by its word on the command line. Raises core.errors.Invalid for an unknown word."""
        with self.changing():
            holder = self._holder(name)
            holder.fault = with_fault(holder.fault, word)
            return holder.fault

    def _holder(self, name: str) -> Machine | DeviceState:
        return self.state.devices.get(name.upper()) or self.machine(name)

    # the wire

    def count_request(self, name: str) -> None:
        with self._lock:
            self._holder(name).requests += 1
            self.arrivals.append((self.now(), name))

    def note_answer(self, name: str) -> None:
        with self._lock:
            self.departures.append((self.now(), name))

    def count_ntlm(self, name: str, account: str) -> None:
        """One NTLM authentication that did not go through :meth:`wire_logon`."""
        with self._lock:
            machine = self.machine(name)
            machine.ntlm[account] = machine.ntlm.get(account, 0) + 1

    def ntlm_passwords(self, machine: str, user: str, domain: str) -> list[str]:
        """What NTLM may be answered with now; empty for an unknown account. Counts nothing."""
        with self._lock:
            return logons.accepted_passwords(self, logons.find(self, self.machine(machine), user, domain), ntlm=True)

    def wire_logon(self, machine: str, user: str, domain: str, proved: bool) -> WireLogon:
        """Settles and counts one NTLM login whose proof the wire has checked."""
        with self.changing(mark=False):
            there = self.machine(machine)
            logon = sessions.log_in(self, there, user, domain, lambda accepted: proved)
            return sessions.by_whole_token(self, there, logon)

    def keep_session(self, machine: str, as_user: str) -> str:
        session = uuid.uuid4().hex
        self._sessions[session] = (machine, as_user)
        while len(self._sessions) > 1000:
            self._sessions.pop(next(iter(self._sessions)))
        return session

    def session_machine(self, session: str) -> Machine | None:
        kept = self._sessions.get(session)
        return self.state.machines.get(kept[0]) if kept else None

    def session_user(self, session: str) -> str:
        """As whom a session was opened."""
        return self._sessions[session][1]

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """Runs ``function`` so many seconds from now on a thread of its own; cancelled by :meth:`stop`."""

        def run() -> None:
            self._timers.discard(timer)
            function()

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def stop(self) -> None:
        """Cancels what was to happen later and writes everything down."""
        for timer in list(self._timers):
            timer.cancel()
        self._timers.clear()
        self.flush()

    # the whole

    def hash(self) -> str:
        """The same exactly as long as nobody changed anything on a target."""
        with self._lock:
            truth = _without(self.state.model_dump(mode="json"), NOT_TRUTH)
        return hashlib.sha256(json.dumps(truth, sort_keys=True).encode()).hexdigest()

    def reset(self) -> None:
        """Everything as it was at the beginning: passwords, counters, faults."""
        for timer in list(self._timers):
            timer.cancel()
        self._timers.clear()
        with self.changing():
            self.state = self._fresh(self.now())
            self._sessions.clear()


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(content, names) for name, content in value.items() if name not in names}
    if isinstance(value, list):
        return [_without(content, names) for content in value]
    return value
