"""What can be wrong with a machine, and the words of the command line for it."""

from __future__ import annotations

import math

from pwserver.core.errors import Invalid
from pwserver.lab.model.accounts import State

WORDS = (
    "off, on, slow:MS, cut-before, cut-after, late:SECONDS, name:OTHER, reinstalled, certificate, filtered, "
    "no-network, constrained, no-shells, refuse-login, no-port, no-winrm, stale-lib, no-compiler, echo or none"
)
_FLAGS = (
    "reinstalled", "certificate", "filtered", "no-network", "constrained", "no-shells", "refuse-login", "no-port",
    "no-winrm", "stale-lib", "no-compiler", "echo",
)  # fmt: skip


class Fault(State):
    """The faults of one machine. ``cut`` and ``late_s`` concern operations that write: reading still gets through."""

    off: bool = False
    slow_ms: int = 0
    cut: str = ""
    """before: the line breaks and nothing is applied. after: it is applied and the answer is lost."""
    late_s: float | None = None
    """The line breaks at once; it is applied so many seconds later, if its time to live allows."""
    name: str = ""
    """The name it gives itself instead of its own."""
    reinstalled: bool = False
    """Another machine SID, and so other SIDs of its accounts."""
    certificate: bool = False
    filtered: bool = False
    """Local administrators but RID 500 get a reduced token over the network."""
    no_network: bool = False
    """A policy denies local accounts the logon over the network."""
    constrained: bool = False
    no_shells: bool = False
    refuse_login: bool = False
    """Every login of ours is answered with 401, without counting as a wrong logon."""
    no_port: bool = False
    """It is on, and refuses the connection to WinRM's port."""
    no_winrm: bool = False
    """Its port takes connections, and nothing behind it answers."""
    stale_lib: bool = False
    """Its LIB variable names a folder that is gone."""
    no_compiler: bool = False
    """csc.exe cannot start, or cannot write to the temporary folder."""
    echo: bool = False
    """Every new password is refused by policy, and repeated in the words that say so."""

    @property
    def is_silent(self) -> bool:
        """WinRM does not answer."""
        return self.off or self.no_port or self.no_winrm

    def words(self) -> str:
        """As typed on the command line; "" without a fault."""
        parts = ["off"] if self.off else []
        parts += [f"slow:{self.slow_ms}"] if self.slow_ms else []
        parts += [f"cut-{self.cut}"] if self.cut else []
        parts += [f"late:{self.late_s:g}"] if self.late_s is not None else []
        parts += [f"name:{self.name}"] if self.name else []
        return ", ".join(parts + [word for word in _FLAGS if getattr(self, word.replace("-", "_"))])


def with_fault(fault: Fault, word: str) -> Fault:
    """``fault`` with the fault ``word`` added (``on`` ends ``off``, ``none`` ends all). Raises Invalid with words."""
    name, colon, value = word.strip().partition(":")
    if name == "none" and not colon:
        return Fault()
    if name in ("on", "off") and not colon:
        return fault.model_copy(update={"off": name == "off"})
    if name in ("cut-before", "cut-after") and not colon:
        return fault.model_copy(update={"cut": name.removeprefix("cut-"), "late_s": None})
    if name in _FLAGS and not colon:
        return fault.model_copy(update={name.replace("-", "_"): True})
    if name == "slow":
        if not (value.isascii() and value.isdigit() and int(value) <= 600_000):
            raise Invalid("slow takes whole milliseconds per request, at most 600000, as in slow:2000.", field="fault")
        return fault.model_copy(update={"slow_ms": int(value)})
    if name == "late":
        seconds = _seconds(value)
        if seconds is None:
            raise Invalid("late takes seconds, at most 3600, as in late:20.", field="fault")
        return fault.model_copy(update={"late_s": seconds, "cut": ""})
    if name == "name":
        if not value or len(value) > 15 or not all(letter.isalnum() or letter == "-" for letter in value):
            raise Invalid("name takes a computer name of at most 15 letters, as in name:LAB-09.", field="fault")
        return fault.model_copy(update={"name": value.upper()})
    raise Invalid(f'There is no fault "{word}". Known are {WORDS}.', field="fault")


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= 3600 else None
