"""A network device with accounts of its own: only the truth; the SSH in front of it is elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pwserver.lab.model.accounts import State, utf16_units
from pwserver.lab.model.faults import Fault

if TYPE_CHECKING:
    from pwserver.lab.model.network import Network


class DeviceAccount(State):
    name: str
    password: str
    last_set: float
    is_admin: bool = False
    """May set the passwords of others."""
    bad_count: int = 0
    locked_at: float | None = None


class DeviceState(State):
    """``threshold`` wrong logons in a row lock an account for ``duration_s``; 0 never."""

    name: str
    accounts: list[DeviceAccount] = Field(default_factory=list)
    min_length: int = 8
    threshold: int = 5
    duration_s: float = 600.0
    fault: Fault = Field(default_factory=Fault)
    bad_logons: dict[str, int] = Field(default_factory=dict)
    requests: int = 0

    def find(self, user: str) -> DeviceAccount | None:
        """Device users are told apart by case."""
        return next((account for account in self.accounts if account.name == user), None)


class Device:
    """One device of a network, safe to use from any thread."""

    def __init__(self, net: Network, state: DeviceState) -> None:
        self._net, self._state = net, state
        self.name = state.name

    @property
    def accounts(self) -> list[str]:
        return [account.name for account in self._state.accounts]

    @property
    def fault(self) -> Fault:
        return self._state.fault

    def check(self, user: str, password: str) -> str:
        """One login: "" when it opens, else wrong, locked or unknown. Wrong and unknown are counted."""
        with self._net.changing():
            account, now = self._state.find(user), self._net.now()
            if account is None:
                self._count(user)
                return "unknown"
            if account.locked_at is not None and now - account.locked_at >= self._state.duration_s:
                account.locked_at, account.bad_count = None, 0
            right = account.password == password
            if not right:
                self._count(user)
            if account.locked_at is not None:
                return "locked"
            if right:
                account.bad_count = 0
                return ""
            account.bad_count += 1
            if self._state.threshold and account.bad_count >= self._state.threshold:
                account.locked_at = now
            return "wrong"

    def set_password(self, as_user: str, user: str, password: str) -> str:
        """Sets a password as ``as_user`` (an administrator, or the account itself): "" or the device's own words."""
        with self._net.changing():
            caller, account = self._state.find(as_user), self._state.find(user)
            if caller is None or not (caller.is_admin or caller is account):
                return "permission denied"
            if account is None:
                return f"user {user} does not exist"
            if utf16_units(password) < self._state.min_length:
                return f"password is too short, {self._state.min_length} characters are needed"
            account.password, account.last_set = password, self._net.now()
            account.locked_at, account.bad_count = None, 0
            return ""

    def is_admin(self, user: str) -> bool:
        account = self._state.find(user)
        return account is not None and account.is_admin

    def locked(self, user: str) -> bool:
        """Whether too many wrong logons keep it out now. Counts nothing."""
        account = self._state.find(user)
        if account is None or account.locked_at is None:
            return False
        return self._net.now() - account.locked_at < self._state.duration_s

    @property
    def threshold(self) -> int:
        return self._state.threshold

    @property
    def duration_s(self) -> float:
        return self._state.duration_s

    def failures(self, user: str) -> list[float]:
        """When the wrong logons in a row were, Unix seconds; those before the one that locked it at that one's time."""
        account = self._state.find(user)
        if account is None or not account.bad_count:
            return []
        at = account.locked_at if account.locked_at is not None else self._net.now()
        return [at] * account.bad_count

    def last_set(self, user: str) -> float | None:
        """When its password was last set, Unix seconds."""
        account = self._state.find(user)
        return account.last_set if account else None

    def _count(self, user: str) -> None:
        self._state.bad_logons[user] = self._state.bad_logons.get(user, 0) + 1
