"""The model that runs are driven against: accounts and places that hold values, and a network that fails on demand.

It knows the truth (which value opens what, every wrong logon, every write) and never asks the product for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from pwserver.connectors.base import Blocked, Call, Credential, Evidence, Key, Means, Refused, Unknown, Unreachable
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import LinkMaybe
from pwserver.services.sync.reach import Place

START = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)

FAULTS = (
    "none",
    "unreachable",
    "policy",
    "login",
    "cut_before",
    "cut_after",
    "late",
    "cannot_tell",
    "bug",
    "crash_before",
    "crash_after",
    "crash_late",
)


class Crash(BaseException):
    """The worker is gone: nothing of it runs on."""


class Lie(BaseException):
    """A guarantee was broken. No Exception, so that nothing on the way takes it for a bug of a connector."""


@dataclass
class TrueAccount:
    value: str
    stamp: datetime
    bad: list[tuple[datetime, bool]] = field(default_factory=list)
    foreign_at: datetime | None = None
    sent: set[str] = field(default_factory=set)
    writes: int = 0

    refused: set[str] = field(default_factory=set)
    ever: set[str] = field(default_factory=set)
    proved: bool = True
    """Somebody logged on with what it holds, and was believed."""
    counted: int = 0
    """Wrong logons since the last right one, as the machine itself counts."""

    def wrong(self, at: datetime, value: str, *, person: bool, excused: bool, told: bool = True) -> None:
        """A wrong logon. It needs an excuse: someone else's change, a claim of a person, or a probe that had to ask.
        ``told`` False: the line broke before anybody heard of it."""
        self.bad.append((at, person))
        self.counted += 1
        if not excused and self.foreign_at is None:
            raise Lie(f"a wrong logon that nobody had to spend: {value}")
        if value in self.refused and not person:
            raise Lie(f"a refused value was sent again by itself: {value}")
        if told:
            self.refused.add(value)


@dataclass
class TruePlace:
    value: str
    account: str


class World:
    """The truth. ``faults`` is what the next calls meet, in order; empty: they work."""

    def __init__(self) -> None:
        self.now = START
        self.accounts: dict[str, TrueAccount] = {}
        self.places: dict[str, TruePlace] = {}
        self.faults: deque[str] = deque()
        self.late: list[tuple[datetime, str, str]] = []
        self.off: set[str] = set()
        """Machines that do not answer at all."""
        self.agents_off: set[str] = set()
        """Agents that do not answer, nor anything behind them."""
        self.mutations = 0
        self.calls = 0
        self.primary_of: dict[str, str] = {}
        self.corrected: set[str] = set()
        self.sids: dict[str, str] = {}
        """Accounts that tell who they are."""
        self.running: set[str] = set()
        """Services that run, and so go on with the old password until they are restarted."""
        self.stopped: set[str] = set()
        self.may_not: dict[str, str] = {}
        """Services that are not restarted, and the reason."""
        self.wont_start: set[str] = set()

    def advance(self, seconds: float) -> None:
        until = self.now + timedelta(seconds=seconds)
        for when, account, value in sorted(self.late):
            if when <= until:
                self.now = max(self.now, when)
                self._set(account, value)
        self.late = [each for each in self.late if each[0] > until]
        self.now = until

    def _set(self, account: str, value: str) -> None:
        found = self.accounts[account]
        found.value, found.stamp = value, self.now
        found.foreign_at = None
        found.refused.clear()
        found.ever.add(value)
        found.proved = False
        found.writes += 1
        self.mutations += 1

    def values(self) -> set[str]:
        """What accounts hold, and what dead attempts may still set."""
        return {account.value for account in self.accounts.values()} | {value for _, _, value in self.late}

    def outside(self, account: str, value: str, clock_back: bool) -> None:
        """Someone sets a password by hand; ``clock_back``: after the machine's clock was set back by a day."""
        found = self.accounts[account]
        found.value, found.foreign_at = value, self.now
        found.stamp = found.stamp - timedelta(days=1) if clock_back else self.now
        found.refused.clear()

    def fault(self) -> str:
        return self.faults.popleft() if self.faults else "none"


class ModelConnector:
    """A link of the model network, spoken to as the engine speaks to any."""

    def __init__(self, world: World, place: Place, login: Credential | None, linked: Credential | None) -> None:
        self.world, self.place, self.login, self.linked = world, place, login, linked
        user = place.settings.get("user_name")
        self.name = (
            f"{place.machine}\\{user}"
            if user
            else f"{place.machine}\\{place.settings.get('path') or place.settings['name']}"
        )

    # -- the way in

    def _enter(self, call: Call) -> str:
        world = self.world
        world.calls += 1
        fault = world.fault()
        if self.place.agent_machine in world.agents_off:
            raise Unreachable("unreachable")
        if fault == "unreachable" or self.place.machine in world.off:
            raise Unreachable("unreachable" if self.place.machine == self.place.agent_machine else "hop_unreachable")
        if fault == "bug":
            raise RuntimeError("a bug of ours")
        for role, credential in ((Key.LOGIN, self.login), (Key.LINKED, self.linked)):
            if credential is None:
                continue
            account = world.accounts[credential.user_name]
            wrong = credential.secret.open() != account.value
            if wrong or (fault == "login" and role == Key.LINKED):
                if wrong:
                    typed = credential.secret.open() == "not it"
                    clicked = typed or call.min_left == 1
                    account.wrong(world.now, credential.secret.open(), person=clicked, excused=typed)
                raise Blocked("linked_refused" if role == Key.LINKED else "login_refused", spent={role})
        if fault == "crash_before":
            raise Crash
        return fault

    def _facts(self, **more: object) -> Evidence:
        found, sid = self.world.accounts.get(self.name), self.world.sids.get(self.name)
        told = f"{self.place.machine.casefold()}#{sid}" if sid else self.name.replace("\\", "#").casefold()
        return Evidence(
            host=self.place.machine,
            stamp=found.stamp.isoformat() if found else None,
            bad_count=found.counted if found else None,
            account_id=told if found else None,
            account_sid=sid,
            **more,  # type: ignore[arg-type]
        )

    def _meant(self, call: Call) -> None:
        """As the scripts do: another account that has the name by now is not touched."""
        if call.account_sid and call.account_sid != self.world.sids.get(self.name):
            raise Blocked("other_account")

    def _logon(
        self, account: TrueAccount, value: Secret, person: bool, *, asks: bool = False, told: bool = True
    ) -> bool:
        if value.open() == account.value:
            account.counted = 0
            return True
        excused = asks or value.open() in self.world.corrected
        account.wrong(self.world.now, value.open(), person=person, excused=excused, told=told)
        return False

    def _may_have_been_sent(self) -> bool:
        """A worker that died between its intent and its call sent nothing; the next one cannot know, and asks."""
        found = db.session.scalar(select(LinkMaybe.link_id).where(LinkMaybe.link_id == self.place.link_id).limit(1))
        db.session.rollback()
        return found is not None

    # -- accounts

    def read(self, call: Call) -> Evidence:
        fault = self._enter(call)
        if fault in ("crash_after", "crash_late"):
            raise Crash
        if fault in ("cut_before", "cut_after", "late", "cannot_tell"):
            raise Unreachable("connection_lost")
        if self.name in self.world.places:
            place = self.world.places[self.name]
            return Evidence(host=self.place.machine, run_as=place.account, right=True, state=self._state())
        self._meant(call)
        return self._facts()

    def verify(self, call: Call, value: Secret) -> Evidence:
        fault = self._enter(call)
        account = self.world.accounts[self.name]
        person = call.min_left == 1
        if value.open() not in account.sent | self.world.corrected and not self._may_have_been_sent():
            raise Lie("a value was tried that was never sent here")
        self._meant(call)
        broken = fault in ("crash_after", "crash_late", "cut_before", "cut_after", "late")
        ok = self._logon(account, value, person, asks=True, told=not broken)
        if fault in ("crash_after", "crash_late"):
            raise Crash
        if fault in ("cut_before", "cut_after", "late"):
            raise Unreachable("connection_lost", spent={Key.TARGET})
        if not ok:
            raise Refused("old_value_refused", spent={Key.TARGET}, evidence=self._facts())
        if fault == "cannot_tell":
            return self._facts(means=Means.WRITTEN)
        account.proved = True
        return self._facts(means=Means.LOGGED_ON, logged_on=True)

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        return self._write_account(call, new, old)

    def reset(self, call: Call, new: Secret) -> Evidence:
        return self._write_account(call, new, None)

    def _write_account(self, call: Call, new: Secret, old: Secret | None) -> Evidence:
        world, account = self.world, self.world.accounts[self.name]
        account.sent.add(new.open())
        fault = self._enter(call)
        self._meant(call)
        primary = world.primary_of[self.name]
        if primary != self.name and old is not None:
            top = world.accounts[primary]
            if top.value != new.open() and top.foreign_at is None:
                raise Lie(f"{self.name} was written before its Default Sync had the value")
        if fault == "policy":
            raise Refused("policy", code="2245", evidence=self._facts())
        if fault == "cut_before":
            raise Unknown("connection_lost")
        if old is not None and not self._logon(account, old, call.min_left == 1):
            raise Refused("old_value_refused", code="86", spent={Key.TARGET}, evidence=self._facts())
        if old is not None and account.value == new.open():
            raise Lie(f"{self.name} was set to what it holds already")
        if fault in ("late", "crash_late"):
            world.late.append((world.now + timedelta(seconds=call.ttl_s - 1), self.name, new.open()))
            if fault == "crash_late":
                raise Crash
            raise Unknown("connection_lost")
        world._set(self.name, new.open())
        if fault == "crash_after":
            raise Crash
        if fault == "cut_after":
            raise Unknown("connection_lost")
        if fault == "cannot_tell":
            return self._facts(means=Means.WRITTEN, method="change")
        account.proved = True
        return self._facts(means=Means.LOGGED_ON, method="change", logged_on=True)

    # -- places

    def write(self, call: Call, value: Secret) -> Evidence:
        world, place = self.world, self.world.places[self.name]
        fault = self._enter(call)
        account = world.accounts[place.account]
        if account.value != value.open() and account.foreign_at is None:
            raise Lie(f"{self.name} was given a password that its account does not have")
        if fault == "policy":
            raise Refused("run_as_differs")
        if fault in ("cut_before", "late"):
            raise Unknown("connection_lost")
        if fault == "crash_late":
            raise Crash
        place.value = value.open()
        world.mutations += 1
        if fault == "crash_after":
            raise Crash
        if fault == "cut_after":
            raise Unknown("connection_lost")
        return Evidence(
            host=self.place.machine, means=Means.WRITTEN, method="set", run_as=place.account, right=True,
            restart_pending=self.name in world.running, state=self._state(),
        )  # fmt: skip

    def _state(self) -> str:
        if self.name in self.world.stopped:
            return "stopped"
        return "running" if self.name in self.world.running else ""

    def restart(self, call: Call) -> Evidence:
        self._enter(call)
        world = self.world
        if self.name in world.may_not:
            raise Refused(world.may_not[self.name])
        if self.name in world.wont_start:
            world.running.discard(self.name)
            world.stopped.add(self.name)
            service = self.name.rpartition("\\")[2]
            left = Evidence(host=self.place.machine, method="restart", state="stopped", down=(service,))
            raise Refused("did_not_start", code="1058", wrote=True, evidence=left)
        return Evidence(host=self.place.machine, method="restart", state="running")


class ModelConnect:
    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(self, place: Place, login: Credential | None, linked: Credential | None) -> ModelConnector:
        return ModelConnector(self.world, place, login, linked)

    def close(self) -> None:
        pass
