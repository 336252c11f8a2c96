"""Every remote operation on Windows, declared once: its script, its parameters, its answer.

The server sends two base64 lines on standard input: the script, and a request as JSON (:func:`request`). The script
writes one JSON object on standard output: an answer (:func:`read_answer`); over a second hop one line comes before it
(:func:`handed_over_line`), at the moment of the hand-over. Connectors build requests from here, the practice lab
answers to it, and the script tests check both ends against it.

Request
    ``attempt`` echoed · ``op`` · ``ttl_ms`` time to live, checked against the script's own stopwatch immediately
    before each mutation and before a logon that comes ahead of one · ``expect`` {``computer_name``, ``machine_sid``
    or null} checked before anything else · ``params`` · ``secrets`` · ``hop`` null, or {``machine``, ``user``,
    ``auth``: kerberos or ssl, ``secret``}: the script then opens a session to that machine as that user, asks who it
    is, and only then hands the inner request over. Between the two machines the request carries one of two more:
    ``only`` "identity" (without secrets: the script says who the machine is and stops), then ``until``, the end of
    the time to live in ticks of the second machine's clock.

Answer
    ``attempt`` · ``op`` · ``stage`` the last step entered: start, hop, identity, facts, old, write, verify, done ·
    ``code`` Windows' own number at that stage (0 fine; HRESULTs as unsigned 32 bit) · ``reason`` a word of
    :data:`STOPS` when the script itself stopped, else "" · ``wrote`` true as soon as a mutating call was entered ·
    ``write_code`` what the mutating call returned, or null · ``method`` change, reset, set, restart or "" ·
    ``machine`` · ``account`` · ``place`` · ``logon`` · ``directory`` (each an object below or null; the last only for
    operations on a domain) · ``text`` the machine's own sentence, never with a secret in it · ``present_name`` of an
    account that was renamed, else "" · ``elapsed_ms``.

The script reports; what an answer means is decided in ``codes.py``, for real machines and for the lab alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pwserver.core.secrets import Secret

STAGES = ("start", "hop", "identity", "facts", "old", "write", "verify", "done")
Stage = Literal["start", "hop", "identity", "facts", "old", "write", "verify", "done"]

STOPS = {
    "bad_request": "the request is not one this script knows",
    "language_mode": "application control allows only Constrained Language, or PowerShell is older than 5.1",
    "not_admin": "our login is no administrator here, or its token is filtered",
    "wrong_name": "the machine calls itself otherwise",
    "new_machine": "the machine's SID, or the domain's, is not the one of last time",
    "is_dc": "a domain controller: it has no local accounts",
    "no_account": "no such account",
    "account_renamed": "no such account; the one of this SID, or the built-in Administrator, is called present_name",
    "other_account": "another account has this name: its SID is not account_sid (whose name is present_name, or \"\")",
    "is_guest": "the account is Guest (RID 501)",
    "managed": "Windows manages this password: LAPS (8654), gMSA, virtual account",
    "would_lock": "fewer tries than min_left would be left; nothing was tried",
    "account_state": "disabled, locked or expired, seen before the write where it makes the old value unprovable",
    "cannot_prove_old": "the logon that would prove the old value cannot tell",
    "too_young": "minimum age: may change again at account.may_change_at, and reset was not allowed",
    "reset_not_allowed": "the account may not change its own password, and a reset was not allowed (it has a profile)",
    "too_short": "shorter than the machine's minimum length",
    "blank": "the value is empty",
    "no_task": "no task at this path",
    "no_service": "no service of this name (place.suggestion: the name for that display name)",
    "stores_no_password": "the task runs without a stored password",
    "run_as_ambiguous": "it names whom it runs as without a domain, and the machine and its domain both have that name",
    "run_as_differs": "it runs as another identity than the link's account",
    "no_batch_right": "the account lacks 'Log on as a batch job' here",
    "no_service_right": "the account lacks 'Log on as a service' here",
    "cluster_resource": "a cluster owns this service, or may own it; it is never restarted by us",
    "not_running": "the service was stopped; it is never started by us",
    "dependents_running": "other services depend on it and run",
    "start_disabled": "place.hindered is disabled: stopped, it could not start again, so nothing was stopped",
    "dependency_missing": "place.hindered, which it needs, is missing or cannot start, so nothing was stopped",
    "did_not_start": "it was stopped and did not come up again; place.down names all that was left down",
    "still_stopping": "its stop was accepted and has not ended; place.down names all that was left down",
    "dependents_down": "it runs, and what was stopped with it did not all come up again; place.down names it",
    "ttl": "the time to live ran out before the mutation",
    "helper_not_compiled": "Windows could not compile the C# helpers (Add-Type); its words are in text",
    "hop_unreachable": "no session to the second machine; nobody looked at the linked credential",
    "hop_refused": "the second machine, or its domain, did not let the linked credential in; code says why",
    "hop_unclear": "over TLS: access denied, which is a wrong password or a missing right",
    "hop_no_controller": "Kerberos found nothing, and no domain controller of the login's domain answers",
    "hop_broken": "the second session broke after the payload was handed over",
    "not_member": "the machine that asks stands in no domain",
    "no_controller": "no PDC emulator of the domain answers, or it stopped answering",
    "not_pdc": "the controller that was found is not the domain's PDC emulator any more",
    "login_refused": "the domain controller refused the linked credential",
    "login_unclear": "the linked credential opened no controller, and Kerberos did not say whether it was refused",
    "guarded": "the domain's Administrator, or an account that AdminSDHolder watches over",
    "never_changed": "krbtgt, whose password is the domain's own key",
    "no_reset_right": "the linked credential may not reset this account",
    "change_denied": "the linked credential may not reset this account, and it may not change its own password",
    "grace_hour": "set less than 65 minutes ago, and not by us: no logon proves the old value before a reset",
    "internal": "the script met something it does not know; type and line are in text",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(_Part):
    """Who the machine says it is. ``domain_role``: Win32_ComputerSystem.DomainRole (4 and 5 are domain controllers)."""

    computer_name: str
    domain: str
    """The short name of its domain; without one, its workgroup."""
    domain_role: int
    machine_sid: str
    ps_version: str
    elevated: bool
    clock: str
    """Its own time, UTC, ISO 8601 with seconds."""
    domain_dns: str = ""
    """The full name of its domain; "" in a workgroup."""
    dns_suffix: str = ""
    """The suffix of its own DNS name, which need not be its domain's; "" without one."""

    @property
    def full_name(self) -> str:
        """Its name with its domain where it has one, as it is known among machines of the same short name."""
        return ".".join(filter(None, (self.computer_name, self.domain_dns or self.dns_suffix)))


class AccountFacts(_Part):
    """An account as read without any logon. Times are UTC ISO 8601 by the machine's own clock; null: not readable."""

    name: str
    sid: str
    rid: int
    enabled: bool
    locked: bool
    expired: bool
    must_change: bool
    cannot_change: bool
    last_set: str | None
    may_change_at: str | None
    """When the minimum age allows the next change; null: at once."""
    bad_count: int | None
    """Wrong logons as counted. A local count is set back only by the next wrong logon after the window, or a right one:
    it may be of any age."""
    threshold: int | None
    """Lock-out threshold; 0: never locks."""
    window_s: int | None
    min_length: int | None
    has_profile: bool
    managed: str
    """"" or by what: laps, gmsa, virtual, computer."""
    bad_at: str | None = None
    """When the last wrong logon was counted; null: not told, as always of a local account (NetUserGetInfo has none)."""


class PlaceFacts(_Part):
    """A scheduled task or a service as read. ``account_sid`` is what the link's account name resolves to here."""

    name: str
    run_as: str
    run_as_sid: str
    account_sid: str
    stores_password: bool
    right: bool | None
    """The account holds the logon right this place needs; null: not readable."""
    enabled: bool
    state: str
    """Tasks: ready, running, disabled, queued. Services: running, stopped, paused, pending."""
    last_start: str | None
    last_result: int | None
    """Tasks: the last run's result (unsigned 32 bit). Services: the last start's Win32 exit code."""
    managed: str
    cluster: bool
    dependents: tuple[str, ...] = ()
    """Running services that depend on it."""
    suggestion: str = ""
    start_type: int | None = None
    """Services: 2 automatic, 3 manual, 4 disabled."""
    hindered: str = ""
    """The service for which nothing was stopped: it is disabled, or not there."""
    down: tuple[str, ...] = ()
    """What a restart stopped and left down, the service itself first."""


class DirectoryFacts(_Part):
    """A domain as its PDC emulator tells it, beside the account's facts, which are read there and by its clock."""

    controller: str
    """The DNS name of the controller that was asked and written."""
    domain_sid: str
    clock: str
    policy: str
    """The name of the fine-grained policy that counts for the account; "": the domain's own."""
    history: int | None
    can_reset: bool
    """Our login holds the right to reset the account's password."""
    guarded: bool
    """RID 500, krbtgt, or under AdminSDHolder."""
    protected_user: bool
    """In Protected Users: no NTLM logon can prove anything."""
    spns: int
    """Service principal names: new tickets fail until the service that has them restarts."""
    write_stamp: str | None
    """The account's last-set stamp when it is the one that our own write left, also after the logon."""


class LogonFacts(_Part):
    """One LogonUserW call: its type, Windows' code (0 fine), and whose token came back."""

    type: int
    code: int
    sid: str
    stage: Literal["old", "verify"]


class Answer(_Part):
    attempt: str
    op: str
    stage: Stage
    code: int
    reason: str
    wrote: bool
    write_code: int | None
    method: Literal["", "change", "reset", "set", "restart"]
    machine: Machine | None
    account: AccountFacts | None
    place: PlaceFacts | None
    logon: LogonFacts | None
    text: str
    elapsed_ms: int
    directory: DirectoryFacts | None = None
    present_name: str = ""
    """What an account that was looked for under another name is called now."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One remote operation. ``params`` name → JSON type; ``secrets`` name → must it be there."""

    name: str
    script: str
    does: str
    writes: bool
    params: Mapping[str, type | tuple[type, ...]] = field(default_factory=dict)
    secrets: Mapping[str, bool] = field(default_factory=dict)


_NAMED: dict[str, type | tuple[type, ...]] = {"user": str, "account_sid": str}
_ACCOUNT = _NAMED | {"min_left": int}
_PLACE: dict[str, type | tuple[type, ...]] = {"name": str, "account": str, "account_sid": str}

_DOMAIN = _NAMED | {"domain": str, "domain_sid": str, "login": str}
_DOMAIN_TRY = _DOMAIN | {"min_left": int}
_LOGIN = {"login_password": True}

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation("identity", "identity.ps1", "who the machine is; counts nothing, writes nothing", False),
        Operation(
            "read_account", "read_account.ps1", "facts of a local account; no logon", False, _NAMED
        ),
        Operation(
            "verify",
            "verify.ps1",
            "facts, then one network logon with `value`; the token's SID is the account's or it did not count. "
            "Stops with would_lock when fewer than min_left tries would be left (where count and threshold are read).",
            False,
            _ACCOUNT,
            {"value": True},
        ),
        Operation(
            "change",
            "change.ps1",
            "facts; then a change knowing `old` when allowed; else, when there is no profile or reset_allowed, one "
            "logon with `old` and a reset; else stops too_young or reset_not_allowed. Then one logon with `new`. Never "
            "tries `new` before the write.",
            True,
            _ACCOUNT | {"reset_allowed": bool},
            {"old": True, "new": True},
        ),
        Operation(
            "reset",
            "reset.ps1",
            "administrative override: facts, reset to `new` without knowing the old one, unlock when asked, one logon",
            True,
            _ACCOUNT | {"unlock": bool},
            {"new": True},
        ),
        Operation("read_task", "read_task.ps1", "facts of a scheduled task", False, _PLACE),
        Operation(
            "set_task",
            "set_task.ps1",
            "facts; run-as SID is the account's, the batch right is there, a password is stored; then registers the "
            "same definition with `value` (flags UPDATE, IGNORE_REGISTRATION_TRIGGERS and DONT_ADD_PRINCIPAL_ACE) and "
            "reads it back",
            True,
            _PLACE,
            {"value": True},
        ),
        Operation("read_service", "read_service.ps1", "facts of a Windows service", False, _PLACE),
        Operation(
            "set_service",
            "set_service.ps1",
            "facts; run-as SID is the account's, the service right is there; then stores `value`; no restart",
            True,
            _PLACE,
            {"value": True},
        ),
        Operation(
            "restart_service",
            "restart_service.ps1",
            "restarts a running service and, when allowed, its running dependents; what could not start again is not "
            "stopped; waits `stop_s` seconds for stops, then starts again whatever it stopped and answers after "
            "`answer_s` seconds at the latest, whatever the time to live says by then; never starts a stopped one, "
            "never touches a cluster resource",
            True,
            _PLACE | {"dependents": bool, "stop_s": int, "answer_s": int},
        ),
        Operation(
            "read_domain",
            "read_domain.ps1",
            "facts of a domain account, as its PDC emulator tells them to `login`; no logon of the account",
            False,
            _DOMAIN,
            _LOGIN,
        ),
        Operation(
            "verify_domain",
            "verify_domain.ps1",
            "facts, one network logon with `value` in the domain, facts again",
            False,
            _DOMAIN_TRY,
            _LOGIN | {"value": True},
        ),
        Operation(
            "change_domain",
            "change_domain.ps1",
            "facts; where `login` may reset and a logon can prove `old` (set 65 minutes ago, or the stamp is "
            "`own_stamp`): that logon and a reset; else a change knowing `old`. Then one logon with `new`.",
            True,
            _DOMAIN_TRY | {"own_stamp": str},
            _LOGIN | {"old": True, "new": True},
        ),
        Operation(
            "reset_domain",
            "reset_domain.ps1",
            "administrative override: facts, reset to `new` without knowing the old one, unlock when asked, one logon",
            True,
            _DOMAIN_TRY | {"unlock": bool},
            _LOGIN | {"new": True},
        ),
    )
}
"""``name`` is a task's full path (``\\Lab\\Nightly``) or a service's name; ``account`` is ``MACHINE\\user`` or
``DOMAIN\\user``; ``account_sid`` is "" until the account's SID was told. Where the account is the target itself, it is
the SID told at its proof: the script stops when another account has the name.

The operations on a domain run on a machine of that domain and reach its PDC emulator with the linked credential: its
name is ``login``, ``login_password`` its password. ``domain_sid`` is the one of last time or "", ``own_stamp`` the
last-set stamp under which ``old`` was set by us or proved, or ""."""


@dataclass(frozen=True, slots=True)
class Hop:
    """The second machine, and the linked credential that opens it."""

    machine: str
    user: str
    secret: Secret
    auth: Literal["kerberos", "ssl"]


class ContractError(ValueError):
    """A request or an answer that the contract does not know. A foreign answer means: unknown."""


def request(
    op: str,
    *,
    attempt: str,
    ttl_s: float,
    computer_name: str,
    machine_sid: str | None,
    params: Mapping[str, Any] | None = None,
    secrets: Mapping[str, Secret] | None = None,
    hop: Hop | None = None,
) -> bytes:
    """The second line of standard input, not yet base64. It holds secrets in clear: never keep or log it."""
    operation = OPERATIONS[op]
    params, secrets = dict(params or {}), dict(secrets or {})
    if params.keys() != operation.params.keys():
        raise ContractError(f"{op} takes {sorted(operation.params)}, not {sorted(params)}")
    for name, value in params.items():
        if not isinstance(value, operation.params[name]):
            raise ContractError(f"{op}: {name} is a {type(value).__name__}")
    if secrets.keys() != operation.secrets.keys():
        raise ContractError(f"{op} takes the secrets {sorted(operation.secrets)}, not {sorted(secrets)}")
    message = {
        "attempt": attempt,
        "op": op,
        "ttl_ms": int(ttl_s * 1000),
        "expect": {"computer_name": computer_name, "machine_sid": machine_sid},
        "params": params,
        "secrets": {name: secret.open() for name, secret in secrets.items()},
        "hop": hop and {"machine": hop.machine, "user": hop.user, "auth": hop.auth, "secret": hop.secret.open()},
    }
    return json.dumps(message).encode()


BOOTSTRAP_WORDS: Mapping[bytes, str] = {
    b'{"psrv":"language_mode"}': "language_mode",
    b'{"psrv":"old_powershell"}': "language_mode",
    b'{"psrv":"no_input"}': "bad_request",
}
"""What the bootstrap says where it may not even read the request: nothing was handed to a script, nothing was done."""


def handed_over_line(attempt: str) -> bytes:
    """What a script writes immediately before it hands the request to the second machine, and only then."""
    return b'{"psrv":"handed_over","attempt":' + json.dumps(attempt).encode() + b"}\n"


def is_handed_over(output: bytes | bytearray, attempt: str) -> bool:
    """Whether the script announced the hand-over. Anywhere in the output: noise around it does not take it back."""
    return handed_over_line(attempt).rstrip(b"\n") in output


def read_answer(output: bytes, *, attempt: str, op: str) -> Answer:
    """The answer in ``output``, after the line of this attempt's hand-over or nothing.

    Raises :class:`ContractError` when it is truncated, foreign or for another attempt.
    """
    output = output.removeprefix(handed_over_line(attempt))
    if output[:1].isspace():
        raise ContractError("a blank before the answer")
    if (word := BOOTSTRAP_WORDS.get(output.strip())) is not None:
        return Answer(
            attempt=attempt, op=op, stage="start", code=0, reason=word, wrote=False, write_code=None, method="",
            machine=None, account=None, place=None, logon=None, text="", elapsed_ms=0,
        )  # fmt: skip
    try:
        answer = Answer.model_validate_json(output)
    except ValidationError as error:
        raise ContractError(f"not an answer: {error.error_count()} differences") from None
    if answer.attempt != attempt or answer.op != op:
        raise ContractError("an answer to another question")
    if answer.reason and answer.reason not in STOPS:
        raise ContractError("a reason nobody here knows")
    return answer
