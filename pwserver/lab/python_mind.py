"""The lab without a PowerShell engine: each operation of the contract in a few lines over the model's calls.

It answers what the shipped scripts would answer. Both ask the same model the same questions in the same order, so that
a difference between them is a bug in one of the two and not a second opinion about Windows.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable
from typing import Any, NoReturn

from pwserver.connectors import contract
from pwserver.connectors.contract import OPERATIONS
from pwserver.lab import calls, mind_accounts, mind_domain, mind_places
from pwserver.lab.mind_places import iso
from pwserver.lab.model.network import Network

PORTS = {"kerberos": 5985, "ssl": 5986}
PROBE_MS, OPEN_MS = 2000, 20_000
LOGIN_SEEN = {5, 86, 1326, 1327, 1328, 1329, 1330, 1331, 1385, 1793, 1907, 1909, 0x8009030C}
"""Codes of New-PSSession that speak of the linked credential; with others it was not looked at."""
FIND_CONTROLLER = 0x40000401
"""FORCE_REDISCOVERY, KDC_REQUIRED, RETURN_DNS_NAME."""
PERHAPS_NO_CONTROLLER = {calls.NO_LOGON_SESSION, 0x80090303, 0x8009030E}
"""Kerberos found no session, no target or no credentials: also what it may end with when no controller answers."""


class Stop(Exception):
    """The operation ends here, with a word of the contract and a code."""


def silent(out: bytes) -> None:
    """Emit nothing: nobody receives what is written before the answer."""


def run(
    network: Network,
    machine: str,
    as_user: str,
    op: str,
    request: dict[str, Any],
    *,
    emit: Callable[[bytes], None] = silent,
) -> dict[str, Any]:
    """Runs ``op`` on ``machine`` in a session of ``as_user`` and returns the answer as the contract declares it.

    ``request`` is the decoded second line of standard input. ``emit`` writes to standard output before the answer.
    Never raises for anything a target can do.
    """
    return Mind(network, machine, as_user, op, request, emit).run()


def later(request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The request as it stands after ``seconds`` of waiting: its time to live has run on."""
    return copy.deepcopy(request) | {"ttl_ms": int(request["ttl_ms"] - seconds * 1000)}


class Mind:
    """One run: the answer as it grows, and what every operation uses."""

    def __init__(
        self,
        network: Network,
        machine: str,
        as_user: str,
        op: str,
        request: dict[str, Any],
        emit: Callable[[bytes], None] = silent,
    ) -> None:
        self.network, self.machine, self.as_user, self.request = network, machine, as_user, request
        self.emit = emit
        self.started = time.monotonic()
        self.params: dict[str, Any] = {}
        self.secrets: dict[str, str] = {}
        self.answer: dict[str, Any] = {
            "attempt": str(request.get("attempt", "")), "op": op, "stage": "start", "code": 0, "reason": "",
            "wrote": False, "write_code": None, "method": "", "machine": None, "account": None, "place": None,
            "logon": None, "text": "", "present_name": "", "elapsed_ms": 0,
        }  # fmt: skip

    def run(self) -> dict[str, Any]:
        try:
            self._check_host()
            self._check_request()
            if self.request["hop"]:
                return self._over(self.request["hop"])
            self._compile()
            self._identify()
            OPS[self.answer["op"]](self)
        except Stop:
            pass
        self.answer["elapsed_ms"] = self.elapsed_ms()
        return self.answer

    # what the operations use

    def ask(self, call: str, /, **args: Any) -> dict[str, Any]:
        return self.network.call(self.machine, self.as_user, call, args)

    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self.started) * 1000)

    def stop(self, reason: str, code: int = 0) -> NoReturn:
        self.answer["reason"], self.answer["code"] = reason, code
        raise Stop

    def in_time(self) -> bool:
        return self.elapsed_ms() < int(self.request["ttl_ms"])

    def enter_write(self, method: str) -> None:
        """The time to live is looked at here, immediately before the mutation that follows."""
        self.answer["stage"] = "write"
        if not self.in_time():
            self.stop("ttl")
        self.answer["method"], self.answer["wrote"] = method, True
        if self.network.fault(self.machine).echo and "new" in self.secrets:
            self.answer["text"] = f"The password {self.secrets['new']} does not meet the policy."
            self.answer["write_code"] = calls.POLICY
            self.stop("", calls.POLICY)

    # before every operation

    def _check_host(self) -> None:
        host = self.ask("PowerShellHost")
        version = tuple(int(part) for part in host["ps_version"].split(".")[:2])
        if host["language_mode"] != "FullLanguage" or version < (5, 1):
            self.stop("language_mode")

    def _check_request(self) -> None:
        operation = OPERATIONS.get(self.answer["op"])
        self.params, self.secrets = self.request.get("params", {}), self.request.get("secrets", {})
        if operation is None or self.request.get("op") != operation.name:
            self.stop("bad_request")
        if self.params.keys() != operation.params.keys() or self.secrets.keys() != operation.secrets.keys():
            self.stop("bad_request")

    def _compile(self) -> None:
        """The C# helpers, as the scripts have them compiled: without LIB, and with warnings that are none."""
        made = self.ask("CompileType", lib="", ignore_warnings=True)
        if made["code"]:
            self.answer["text"] = made["text"]
            self.stop("helper_not_compiled")

    def _identify(self) -> None:
        self.answer["stage"] = "identity"
        name, role = self.ask("GetComputerNameW")["name"], self.ask("DsRoleGetPrimaryDomainInformation")
        expect = self.request["expect"]
        machine = self.answer["machine"] = {
            "computer_name": name,
            "domain": role["domain"],
            "domain_dns": role["dns"],
            "dns_suffix": self.ask("GetComputerNameExW", kind=calls.COMPUTER_NAME_PHYSICAL_DNS_DOMAIN)["name"],
            "domain_role": role["role"],
            "machine_sid": self.ask("NetUserModalsGet", level=2)["sid"],
            "ps_version": self.ask("PowerShellHost")["ps_version"],
            "elevated": self.ask("CheckTokenMembership")["admin"],
            "clock": iso(self.ask("GetSystemTimeAsFileTime")["unix"]),
        }
        if not _is_called(expect["computer_name"].casefold(), machine):
            self.stop("wrong_name")
        if not machine["elevated"]:
            self.stop("not_admin")
        if expect["machine_sid"] is not None and expect["machine_sid"] != machine["machine_sid"]:
            self.stop("new_machine")
        if "user" in self.params and "domain" not in self.params and machine["domain_role"] >= 4:
            self.stop("is_dc")

    # a second machine

    def _over(self, hop: dict[str, Any]) -> dict[str, Any]:
        """A network logon at the second machine, who it is, then the same operation there: its answer is the answer."""
        self.answer["stage"] = "hop"
        if hop["auth"] not in ("kerberos", "ssl"):
            self.stop("bad_request")
        port = self.ask("TcpConnect", computer=hop["machine"], port=PORTS[hop["auth"]], wait_ms=PROBE_MS)
        if port["code"]:
            self.stop("hop_unreachable", port["code"])
        login = {"computer": hop["machine"], "user": hop["user"], "password": hop["secret"], "auth": hop["auth"]}
        opened = self.ask("NewPSSession", **login, open_ms=OPEN_MS, retries=0)
        if code := _remote_code(opened):
            self.stop(self._not_opened(hop, code), code)
        op = self.answer["op"]
        inner, far = self.request | {"hop": None}, (opened["machine"], opened["as_user"])
        who = Mind(self.network, *far, op, inner)
        if who.ask("PowerShellHost")["language_mode"] != "FullLanguage":
            self.stop("language_mode")
        try:
            who._check_request()
            who._compile()
            who._identify()
        except Stop:
            return who.answer
        if not self.in_time():
            self.stop("ttl")
        writes = OPERATIONS[op].writes
        self.emit(contract.handed_over_line(self.answer["attempt"]))
        line = self.ask("InvokeCommand", session=opened["session"], writes=writes)
        if line["run"] == "late":
            delayed = later(inner, self.elapsed_ms() / 1000 + line["late_s"])
            self.network.later(line["late_s"], lambda: run(self.network, *far, op, delayed))
        if line["run"] != "now":
            self.stop("hop_broken", line["code"])
        answer = run(self.network, *far, op, later(inner, self.elapsed_ms() / 1000))
        ended = self.ask("InvokeEnd", session=opened["session"], writes=writes)
        if ended["code"]:
            self.stop("hop_broken", ended["code"])
        return answer


    def _not_opened(self, hop: dict[str, Any], code: int) -> str:
        """The script's word for a session that New-PSSession did not open."""
        if hop["auth"] == "ssl" and _low(code) == calls.DENIED:
            return "hop_unclear"
        if _low(code) in LOGIN_SEEN:
            return "hop_refused"
        if code in PERHAPS_NO_CONTROLLER and self._finds_no_controller(hop["user"]):
            return "hop_no_controller"
        return "hop_unreachable"

    def _finds_no_controller(self, user: str) -> bool:
        return bool(self.ask("DsGetDcNameW", domain=_domain_of(user), flags=FIND_CONTROLLER)["code"])


def _remote_code(opened: dict[str, Any]) -> int:
    """The number of a session that was not opened: the security package's own where WinRM has none for it."""
    told = re.search("0x[0-9a-f]{8}", opened["text"] or "", re.IGNORECASE)
    return int(told[0], 16) if told and opened["code"] == calls.WS_SECURITY_UNMAPPED else int(opened["code"])


def _domain_of(user: str) -> str:
    return user.partition("\\")[0] if "\\" in user else user.rpartition("@")[2]


def _is_called(wanted: str, machine: dict[str, Any]) -> bool:
    """Whether a case-folded name is this machine's; a full name also by its domain, where the machine has one."""
    label, _, domain = wanted.partition(".")
    if wanted and label[:15] != machine["computer_name"].casefold():
        return False
    known = {machine[name].casefold() for name in ("domain_dns", "dns_suffix") if machine[name]}
    return not domain or not known or domain in known


def _low(code: int) -> int:
    """The Win32 code inside an HRESULT."""
    return code & 0xFFFF if code >> 16 == 0x8007 else code


def identity(mind: Mind) -> None:
    mind.answer["stage"] = "done"


OPS: dict[str, Callable[[Mind], None]] = {
    "identity": identity,
    "read_account": mind_accounts.read_account,
    "verify": mind_accounts.verify,
    "change": mind_accounts.change,
    "reset": mind_accounts.reset,
    "read_task": mind_places.read_task,
    "set_task": mind_places.set_task,
    "read_service": mind_places.read_service,
    "set_service": mind_places.set_service,
    "restart_service": mind_places.restart_service,
    "read_domain": mind_domain.read,
    "verify_domain": mind_domain.verify,
    "change_domain": mind_domain.change,
    "reset_domain": mind_domain.reset,
}
