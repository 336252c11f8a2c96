"""Testing a sync agent: one logon with its login, in the budget, and what the answer means.

A refused login is not sent again by itself. A person's click may send it once more (rules 22 and 23), never beyond the
budget of its account.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from pwserver.connectors.base import Answer, Blocked, Credential, Evidence, Key, Outcome, Unknown, ask
from pwserver.connectors.domain import Directory
from pwserver.core.errors import Forbidden, Invalid, Throttled
from pwserver.core.reasons import reason
from pwserver.core.states import Health
from pwserver.extensions import db
from pwserver.models import AppUser, SyncAgent, SyncChain, new_id
from pwserver.services import locking
from pwserver.services.agents import refresh_chains
from pwserver.services.audit import record
from pwserver.services.sync import accounts, answers, credentials, domain_told, requeue
from pwserver.services.sync.reach import digests_of, directory_of, open_version
from pwserver.services.sync.status import timing
from pwserver.services.sync.tries import BY_PERSON
from pwserver.services.transaction import end_read, now, retried, write
from pwserver.sync.chain import NotNow

OURS = frozenset({Key.LOGIN, Key.LINKED})
"""A Windows machine is tested with its login, a directory with its linked credential."""
SECONDS = 20.0
"""For the test of a directory."""
_OUR_WAY_IN = frozenset({"language_mode", "not_admin", "wrong_name", "new_machine", "is_dc"})


@dataclass(frozen=True, slots=True)
class Contact:
    """Plain values for the call, so that no row is touched during it."""

    host: str
    port: int
    pin: str
    machine: str
    machine_sid: str | None
    directory: Directory | None = None


Check = Callable[[Contact, Credential], Evidence]


def can_be_tested(agent: SyncAgent) -> bool:
    """Whether it has what a test logs on with."""
    return bool(
        agent.login_entry_id if agent.transport == "winrm" else agent.transport == "ldaps" and agent.linked_entry_id
    )


def over_winrm(contact: Contact, login: Credential) -> Evidence:
    """The real check: TLS with the pinned certificate, one logon, and who the machine says it is."""
    from pwserver.connectors.session import AgentAddress, check

    address = AgentAddress(contact.host, contact.port, contact.pin, contact.machine)
    answer = check(address, login, machine_sid=contact.machine_sid)
    if answer.reason in _OUR_WAY_IN:
        raise Blocked(answer.reason, text=answer.text)
    if answer.reason or answer.stage != "done" or answer.machine is None:
        raise Unknown(answer.reason or "internal", code=str(answer.code), text=answer.text, spent=())
    machine = answer.machine
    short = machine.domain if machine.domain_dns else ""  # else it is a workgroup's
    return Evidence(
        machine.computer_name, machine_sid=machine.machine_sid, domain=machine.domain_dns, short_domain=short
    )


def over_ldaps(contact: Contact, login: Credential) -> Evidence:
    """The real check of a directory: the linked credential logs on at its PDC emulator, which says whose domain it is
    and has to be that of last time."""
    from pwserver.connectors.directory import check

    assert contact.directory is not None
    evidence = check(contact.directory, login, SECONDS)
    if contact.machine_sid and evidence.machine_sid != contact.machine_sid:
        raise Blocked("new_machine", text=f"The domain's SID is {evidence.machine_sid}.")
    return evidence


def fetch_fingerprint(host: str, port: int, field: str = "host") -> str:
    """The SHA-256 of the certificate that answers there, before anything else is sent. Raises :class:`Invalid`."""
    from pwserver.connectors.session import fetch_fingerprint as fetch

    end_read()
    answer: list[str] = []

    def go() -> Evidence:
        answer.append(fetch(host, port, timeout=10))
        return Evidence(host)

    outcome = ask(go, secrets=())
    if not answer:
        raise Invalid(f"{say(outcome, f'{host}:{port}')} Nothing was saved.", field=field)
    return answer[0].replace(":", "").lower()


def test_agent(actor: AppUser | None, agent: SyncAgent, check: Check | None = None) -> Outcome:  # noqa: PT028  # no test
    """Logs on once and keeps what was said as the agent's health. Raises :class:`Throttled` when over the budget.

    ``check``: the call itself; the real one by default.
    """
    if actor is not None and not (actor.org_admin and actor.active):
        raise Forbidden("Only an organization administrator may do this.")
    if agent.transport == "ssh":
        raise Invalid("This server reaches devices itself; test the passwords of a device instead.")
    check = check or (over_ldaps if agent.transport == "ldaps" else over_winrm)
    agent_id, rev = agent.id, agent.row_version
    contact = Contact(
        agent.host, agent.port, agent.pin, agent.machine, agent.machine_sid or None,
        directory_of(agent) if agent.transport == "ldaps" else None,
    )  # fmt: skip
    login, attempt = _reserve(agent)
    credential = Credential(login.user_name, open_version(login.version_id or ""))
    digests = answers.digests(answers.names_of(db.session, [login.key]), login.key, credential.secret)
    end_read()
    outcome = ask(lambda: check(contact, credential), secrets=[credential.secret])
    _settle(actor, agent_id, rev, login, digests, attempt, outcome)
    return outcome


def _reserve(agent: SyncAgent) -> tuple[credentials.Login, str]:
    with write() as session:
        at, limits = now(), timing()
        row = session.get_one(SyncAgent, agent.id)
        entry_id = row.linked_entry_id if row.transport == "ldaps" else row.login_entry_id
        if entry_id is None:
            what = "linked credential" if row.transport == "ldaps" else "login"
            raise Invalid(f"{row.name} has no {what} yet. Choose or make one first.")
        login = credentials.bind(session, entry_id, row.machine, "", at, limits.busy_account)
        if isinstance(login, NotNow):
            raise Invalid(f"The login of {row.name} is being changed at this moment. Test again in a minute.")
        accounts.lock(session, [login.key])
        no = accounts.may_try(
            session, login.key, None, budget=BY_PERSON, window=limits.try_window, busy_for=limits.busy_account, at=at
        )
        if no is not None:
            raise Throttled(
                f"Another try would risk locking {login.user_name}. Nothing was sent; safe at {no.safe_at:%H:%M} UTC."
            )
        attempt = new_id()
        accounts.reserve(session, login.key, attempt, at)
    return login, attempt


@retried
def _settle(
    actor: AppUser | None,
    agent_id: str,
    rev: int,
    login: credentials.Login,
    digests: answers.Digests,
    attempt: str,
    outcome: Outcome,
) -> None:
    with write() as session:
        locking.alone(session)
        locking.agents(session, SyncAgent.id == agent_id)
        own = session.scalars(select(SyncChain.id).where(SyncChain.agent_id == agent_id)).all()
        locking.passwords_of_chains(session, [*own, *requeue.chains_stopped_by_a_login(session)])
        row = session.get(SyncAgent, agent_id)
        is_same = row is not None and row.row_version == rev
        if row and is_same and outcome.answer == Answer.APPLIED and outcome.evidence:
            domain_told.keep(session, row, outcome.evidence)
        key = accounts.key_of(session, login.key)
        if key != login.key:  # the login's own domain is known by both its names since
            digests = digests_of(key, login.version_id or "")
        accounts.lock(session, [key])
        at = now()
        if not outcome.spent & OURS:
            accounts.give_back(session, attempt, [key])
        said = answers.said_by(session, [key])
        if outcome.answer == Answer.APPLIED:
            said.remember(key, digests, accepted=True, reason="", at=at)
        elif outcome.answer == Answer.BLOCKED and outcome.spent & OURS:
            said.remember(key, digests, accepted=False, reason=outcome.reason, at=at)
        if row is None or not is_same:
            return  # edited meanwhile: this answer was about another address or login
        _keep(row, outcome, login.user_name, at)
        record(session, actor, "agent.tested", subject=row.name, facts={"health": row.health, "reason": outcome.reason})
        session.flush()
        refresh_chains(session, row)
        if outcome.answer == Answer.APPLIED:  # repaired, or another login in its place
            requeue.requeue_waiting_for(session, key, at)
            requeue.carry_on(session, row, at)


def _keep(row: SyncAgent, outcome: Outcome, login: str, at: datetime) -> None:
    health = {
        Answer.APPLIED: Health.HEALTHY,
        Answer.BLOCKED: Health.BLOCKED,
        Answer.REFUSED: Health.BLOCKED,
        Answer.UNREACHABLE: Health.UNREACHABLE,
        Answer.UNKNOWN: Health.UNKNOWN,
    }[outcome.answer]
    if row.health != health:
        row.health_since = at
    row.health = health
    row.health_text = "" if health == Health.HEALTHY else say(outcome, row.machine, login)
    if outcome.answer not in (Answer.UNREACHABLE, Answer.UNKNOWN):
        row.last_contact_at = at
    if outcome.answer == Answer.APPLIED and outcome.evidence and outcome.evidence.machine_sid:
        row.machine_sid = row.machine_sid or outcome.evidence.machine_sid


def say(outcome: Outcome, machine: str, login: str = "our login") -> str:
    """What happened and what to do next, then the machine's own words and code."""
    words = _OWN_WORDS.get(outcome.reason) or reason(outcome.reason).words or _BY_ANSWER[outcome.answer]
    told = words.format(machine=machine, login=login, account=machine, time="")
    parts = [told.removesuffix(" Nothing was changed."), _NEXT.get(outcome.reason, "")]
    if outcome.text:
        parts.append(f"It said: {outcome.text}")
    if outcome.code:
        parts.append(f"({outcome.code})")
    return " ".join(part for part in parts if part)


_NEXT = {
    "no_dns": "Correct the address.",
    "unreachable": "It may be off, or its firewall lets nobody in.",
    "no_answer": "It may be off, or its firewall lets nobody in.",
    "login_refused": "Repair the login, then test again.",
    "login_not_accepted": "Event 4625 in its Security log gives a code. Repair the cause, then test again.",
    "no_ntlm": "Allow Negotiate in its WinRM service, and incoming NTLM in its policy, then test again.",
    "linked_refused": "Repair it, then test again.",
    "linked_state": "Put that account right in the domain, then test again.",
    "wrong_domain": "Correct the addresses or the domain.",
    "pdc_not_listed": "Add it to the domain controllers.",
    "pin_changed": "Compare the new fingerprint at the machine and confirm it under Change address or certificate.",
    "not_admin": "Give it the right, then test again.",
    "language_mode": "Allow the script there, then test again.",
    "wrong_name": "Correct the address, or the name of the machine.",
    "new_machine": "Remove this agent and register the machine anew.",
    "is_dc": "Choose another machine as agent.",
    "out_of_shells": "Test again in a minute.",
}
_OWN_WORDS = {
    # The words of the table speak of a change that was sent; a test sends none.
    "connection_lost": "The line to {machine} broke before it answered. Test again.",
    "deadline": "{machine} did not answer in time. Test again.",
    "answer_foreign": "The answer of {machine} could not be read. Is it really a Windows machine?",
    "is_dc": "{machine} is a domain controller: it has no local accounts.",
}
_BY_ANSWER = {
    Answer.APPLIED: "{machine} answered.",
    Answer.REFUSED: "{machine} refused our login.",
    Answer.BLOCKED: "{machine} did not let us work.",
    Answer.UNREACHABLE: "{machine} does not answer. Nothing was sent.",
    Answer.UNKNOWN: "{machine} gave an answer that we do not understand.",
}
