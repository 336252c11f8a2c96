"""Coming in over the network: a WinRM login at a machine, and a second machine reached from the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from pwserver.lab import calls
from pwserver.lab.model import logons
from pwserver.lab.model.accounts import ADMINISTRATOR
from pwserver.lab.model.faults import Fault
from pwserver.lab.model.machines import ADMINISTRATORS, REMOTE_MANAGEMENT, Machine

if TYPE_CHECKING:
    from pwserver.lab.model.network import Caller, Network

Result = dict[str, Any]
NO_SESSION: Result = {"code": calls.WS_BROKEN}


class WireLogon(NamedTuple):
    """How a login over the wire ended. code 0: ask the network as ``as_user``."""

    code: int
    as_user: str
    sid: str


def is_admin(net: Network, machine: Machine, as_user: str) -> bool:
    """Whether a session of ``as_user`` holds an administrator's whole token."""
    if as_user.casefold() == "nt authority\\system":
        return True
    who = logons.find(net, machine, as_user)
    if who.account is None or ADMINISTRATORS not in machine.held_by(who.sid, who.domain_groups):
        return False
    return not (machine.fault.filtered and not who.is_domain and who.account.rid != ADMINISTRATOR)


def by_whole_token(net: Network, machine: Machine, logon: WireLogon) -> WireLogon:
    """The login as WinRM itself lets it in: in a reduced token (LocalAccountTokenFilterPolicy 0) Administrators only
    denies, so a local administrator gets the same 401 as a wrong password, but for Remote Management Users."""
    if logon.code or is_admin(net, machine, logon.as_user):
        return logon
    who = logons.find(net, machine, logon.as_user)
    if REMOTE_MANAGEMENT in machine.held_by(logon.sid, who.domain_groups):
        return logon
    return WireLogon(calls.DENIED, "", logon.sid)


def log_in(
    net: Network, machine: Machine, user: str, domain: str, opens: logons.Opens, *, ntlm: bool = True
) -> WireLogon:
    """A network logon, then the right to use WinRM: Administrators and Remote Management Users."""
    if machine.fault.refuse_login:
        return WireLogon(calls.DENIED, "", "")
    who = logons.find(net, machine, user, domain)
    if ntlm:
        machine.ntlm[who.label] = machine.ntlm.get(who.label, 0) + 1
    code, sid = logons.log_on(net, machine, who, opens, 3, ntlm=ntlm)
    if code:
        return WireLogon(code, "", "")
    if sid != who.sid or not machine.held_by(sid, who.domain_groups) & {ADMINISTRATORS, REMOTE_MANAGEMENT}:
        return WireLogon(calls.DENIED, "", sid)
    return WireLogon(0, who.label, sid)


def waited(fault: Fault, name: str, args: dict[str, Any], pace: float) -> float:
    """Seconds that a caller waits for a second machine with this fault."""
    if name == "TcpConnect":
        return float(args["wait_ms"]) / 1000 * pace if fault.off else 0.0
    if name == "NewPSSession":
        longest: float = args["open_ms"] / 1000 * (1 + args["retries"]) * pace
        if fault.off or fault.no_winrm:
            return longest
        return 0.0 if fault.no_port else min(fault.slow_ms / 1000, longest)
    return 0.0 if fault.off else fault.slow_ms / 1000


def connect(net: Network, machine: Machine, caller: Caller, computer: str, port: int, wait_ms: int) -> Result:
    """A TCP connection to WinRM's port of ``computer``."""
    target = net.lookup(computer)
    if target is None:
        return {"code": calls.NO_SUCH_HOST}
    if target.fault.off:
        return {"code": calls.CONNECT_TIMED_OUT}
    return {"code": calls.CONNECT_REFUSED if target.fault.no_port else 0}


def new_session(
    net: Network, machine: Machine, caller: Caller, computer: str, user: str, password: str, auth: str,
    open_ms: int, retries: int,
) -> Result:  # fmt: skip
    """Opens a session from ``machine`` to ``computer``. The codes are those that New-PSSession ends with."""
    target = net.lookup(computer)
    if target is None:
        return {"code": calls.WS_UNKNOWN_NAME}
    if target.fault.off or target.fault.no_port:
        return {"code": calls.WS_UNREACHABLE}
    if target.fault.no_winrm or target.fault.slow_ms >= open_ms:
        return {"code": calls.WS_TIMED_OUT}
    net.count_request(target.name)
    if auth == "ssl" and target.fault.certificate:
        return {"code": calls.WS_CERTIFICATE}
    if auth == "kerberos":
        who = logons.find(net, target, user)
        if not who.is_domain or who.owner.fault.off:
            # nobody gives a ticket: the controllers are silent, or the login's domain is none (a machine's own account)
            return {"code": calls.NO_LOGON_SERVERS}
        if _is_anothers(who.owner, computer):
            return {
                "code": calls.WS_SECURITY_UNMAPPED,
                "text": f"The error {calls.SEC_WRONG_PRINCIPAL:#x} occurred while using Kerberos authentication.",
            }
    login = log_in(net, target, user, "", logons.with_password(password), ntlm=auth != "kerberos")
    if login.code:
        # by Kerberos the controller gives its reason; over TLS the machine's service answers 401, whatever the reason
        return {"code": login.code if auth == "kerberos" else calls.DENIED}
    if target.fault.no_shells:
        return {"code": calls.WS_NO_SHELLS}
    session = net.keep_session(target.name, login.as_user)
    return {"session": session, "machine": target.name, "as_user": login.as_user}


def _is_anothers(controller: Machine, computer: str) -> bool:
    """Whether the name that WinRM asks a ticket for is an account's and not the machine's own: it cannot open that."""
    wanted = f"http/{computer}".casefold()
    return any(wanted in map(str.casefold, account.spns) for account in controller.sam.accounts)


def invoke(net: Network, machine: Machine, caller: Caller, session: str, writes: bool) -> Result:
    """What the line to the second machine does to a script that is about to run there."""
    target = net.session_machine(session)
    if target is None or target.fault.is_silent:
        return NO_SESSION | {"run": "never"}
    net.count_request(target.name)
    if writes and target.fault.cut == "before":
        return NO_SESSION | {"run": "never"}
    if writes and target.fault.late_s is not None:
        return NO_SESSION | {"run": "late", "late_s": target.fault.late_s}
    return {"run": "now", "late_s": 0.0}


def invoke_end(net: Network, machine: Machine, caller: Caller, session: str, writes: bool) -> Result:
    target = net.session_machine(session)
    if target is None or target.fault.is_silent or (writes and target.fault.cut == "after"):
        return NO_SESSION
    return {}


HANDLERS: dict[str, Callable[..., Result]] = {
    "TcpConnect": connect,
    "NewPSSession": new_session,
    "InvokeCommand": invoke,
    "InvokeEnd": invoke_end,
}
