"""What an answer about a domain account means: the table of codes, and what a logon proves there (rule 38)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from pwserver.connectors import codes, contract
from pwserver.connectors.base import ConnectorError, Evidence, Means, Unknown, same_stamp

GRACE = timedelta(minutes=65)
"""Longer than a domain takes the password before, after a change."""
LOCAL = {
    "read_domain": "read_account", "verify_domain": "verify", "change_domain": "change", "reset_domain": "reset",
}  # fmt: skip
"""The operation on a local account whose codes mean the same."""
BY = "network logon and last-set stamp"


def meaning(answer: contract.Answer, *, own_stamp: str | None = None) -> Evidence:
    """What ``answer`` means. ``own_stamp``: the last-set stamp under which the value that was tried was set by us, or
    proved. Raises the four other answers.

    The codes mean what they mean for a local account; who answers is the domain controller, and times are by its clock.
    """
    plain = answer.model_copy(update={"op": LOCAL[answer.op], "machine": _by_its_clock(answer)})
    try:
        told = codes.meaning(plain)
    except ConnectorError as error:
        error.evidence = _of_domain(answer, error.evidence) if error.evidence else None
        if error.reason == "grace_hour_before_write":
            error.safe_in = _settled_in(answer)
        raise
    evidence = _of_domain(answer, told)
    if answer.directory is None or answer.account is None:
        raise Unknown("answer_foreign")
    if told.means is not Means.LOGGED_ON:
        return evidence
    if answer.op == "verify_domain":
        return _proved(answer, evidence, own_stamp)
    # our own write: the stamp that it left was still there after the logon
    return evidence if answer.directory.write_stamp else replace(evidence, means=Means.WRITTEN)


def _proved(answer: contract.Answer, evidence: Evidence, own_stamp: str | None) -> Evidence:
    """A logon proves the present password when it was set by us, or before that hour of grace."""
    if evidence.stamp is None:
        raise Unknown("cannot_tell", spent=(), wrote=False, evidence=replace(evidence, means=None))
    settled_in = _settled_in(answer)
    if (own_stamp and same_stamp(own_stamp, evidence.stamp)) or (settled_in is not None and settled_in <= timedelta(0)):
        return evidence
    raise Unknown("grace_hour", spent=(), wrote=False, safe_in=settled_in, evidence=replace(evidence, means=None))


def _settled_in(answer: contract.Answer) -> timedelta | None:
    """After how long only the present password will be taken; not positive: it is so already."""
    if answer.account is None or answer.account.last_set is None or answer.directory is None:
        return None
    age = datetime.fromisoformat(answer.directory.clock) - datetime.fromisoformat(answer.account.last_set)
    return GRACE - age


def _by_its_clock(answer: contract.Answer) -> contract.Machine | None:
    """The machine that asked, with the clock by which the account's times are told."""
    if answer.machine is None or answer.directory is None or not answer.directory.clock:
        return answer.machine
    return answer.machine.model_copy(update={"clock": answer.directory.clock})


def _of_domain(answer: contract.Answer, evidence: Evidence) -> Evidence:
    """The controller is the host, and the account is known by its SID wherever it is seen."""
    directory, account = answer.directory, answer.account
    if directory is None:
        return replace(evidence, machine_sid=None)
    names = "service name" if directory.spns == 1 else "service names"
    words = f"{directory.spns} {names} (SPN): its services take the new password at their restart"
    return replace(
        evidence,
        host=directory.controller,
        machine_sid=directory.domain_sid,
        account_id=account.sid if account else None,
        by=BY if evidence.logged_on else "",
        notes=words if directory.spns else "",
    )
