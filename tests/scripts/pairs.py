"""The codes of Windows that each operation may meet, and at which call: what the script tests have to cover."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pwserver.connectors import codes

LOGON = (1326, 1327, 1328, 1329, 1330, 1331, 1385, 1793, 1907, 1909, 1311, 1355, 1787, 1789, 1314, 31)
CHANGE = (5, 86, 1326, 2245, 1325, 8654, 2221, 2351, 1219, 1314, 1331, 1909, 1907, 1355, 59)
RESET = (5, 2245, 1325, 8654, 2221, 2351, 1314, 1355, 59)
FACTS = (5, 2221, 2351, 1722)
FIND_TASK = (0x80070002, 0x80070003, 0x80070005, 0x800706BA)
REGISTER = (
    0x8007052E, 0x8007052F, 0x80070532, 0x80070533, 0x80070569, 0x80070701, 0x80070773, 0x80070775, 0x8007051F,
    0x80070520, 0x80070534, 0x8004130F, 0x80041310, 0x80070005, 0x80070057,
)  # fmt: skip
FIND_SERVICE = (5, 1060)
CONFIGURE = (5, 1057, 1060, 1072, 1314, 59)
STOP = (5, 1051, 1052, 1053, 1061)
START = (1069, 1057, 1058, 1068, 1053, 1055)
HOP = (
    5, 1326, 1327, 1330, 1331, 1385, 1793, 1907, 1909, 1311, 1355, 12175, 0x80338126, 0x803381B9, 0x803381A5,
    0x803381A6, 0x80338012, 995, 1312, 0x8033809D, 0x8009030E, 0x80090311, 0x80090322, 0x80072F8F,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """``code`` comes back from ``call`` while ``op`` runs; ``road`` says which way through a change."""

    op: str
    call: str
    code: int
    road: str = ""

    @property
    def name(self) -> str:
        return f"{self.op}-{self.road or self.call}-{self.code:#x}"


DESIGN = (
    1326, 1327, 1328, 1329, 1330, 1907, 1385, 1331, 1793, 1909, 1311, 1355, 1787, 1789, 86, 2245, 1325, 5, 1314, 2221,
    2351, 1219, 0x80070520, 1069, 1057, 1051, 0x8004130F, 0x80041310, 8654,
)  # fmt: skip
"""Codes that an operation of this version may meet by the design papers; each must be in some pair."""


def hresult(code: int) -> int:
    """A Win32 code as the task scheduler gives it."""
    return code if code > 0xFFFF else 0x80070000 | code


def declared(written: Iterable[int], table: Iterable[int]) -> list[int]:
    """The codes listed here and those that the table of meanings declares, so that none there stays unrun."""
    return sorted({*written, *table})


def pairs() -> list[Pair]:
    """Every operation with every code at every call where it can come."""
    logon = declared(LOGON, codes.LOGON)
    writes = {op: [*table] for op, table in codes.WRITES.items()}
    made = [Pair("verify", "LogonUserW", code) for code in logon]
    made += [Pair("change", "NetUserChangePassword", code) for code in declared(CHANGE, writes["change"])]
    made += [Pair("change", "LogonUserW", code) for code in declared(logon, codes.CANNOT_TELL)]
    made += [Pair("change", "LogonUserW", code, "old") for code in declared(logon, codes.OLD)]
    made += [Pair("change", "NetUserSetInfo", code, "by_reset") for code in declared(RESET, writes["reset"])]
    made += [Pair("reset", "NetUserSetInfo", code) for code in declared(RESET, writes["reset"])]
    made += [Pair("reset", "LogonUserW", code) for code in declared(logon, codes.CANNOT_TELL)]
    facts = declared(FACTS, codes.FACTS)
    made += [Pair(op, "NetUserGetInfo", code) for op in ("read_account", "verify", "change", "reset") for code in facts]
    made += [Pair(op, "GetTask", code) for op in ("read_task", "set_task") for code in FIND_TASK]
    made += [
        Pair("set_task", "RegisterTaskDefinition", code)
        for code in declared(REGISTER, map(hresult, writes["set_task"]))
    ]
    services = ("read_service", "set_service", "restart_service")
    made += [Pair(op, "QueryServiceConfigW", code) for op in services for code in FIND_SERVICE]
    made += [Pair("set_service", "ChangeServiceConfigW", code) for code in declared(CONFIGURE, writes["set_service"])]
    made += [Pair("restart_service", "ControlService", code) for code in declared(STOP, writes["restart_service"])]
    made += [Pair("restart_service", "StartServiceW", code) for code in START]
    made += [
        Pair(op, "NewPSSession", code, "hop") for op in ("change", "read_task") for code in declared(HOP, codes.HOP)
    ]
    return made


def successes() -> list[Pair]:
    """HRESULTs of a registration that stored the task all the same: COM hides from a script which one it was."""
    return [Pair("set_task", "RegisterTaskDefinition", code) for code in (0x4131B, 0x4131C)]
