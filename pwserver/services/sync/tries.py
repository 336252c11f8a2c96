"""What one attempt may cost, and what it did cost: the lock-out budget at an intent and at its outcome (rule 22)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import scoped_session

from pwserver.connectors.base import NOT_JUDGED, Answer, Evidence, Key, Outcome
from pwserver.core.timing import Timing
from pwserver.models import Account, SyncLink, SyncRun
from pwserver.services import locking
from pwserver.services.sync import accounts, answers
from pwserver.services.sync.requeue import requeue_waiting_for
from pwserver.sync.chain import Denied, Link, Step, Why
from pwserver.sync.ports import Attempt

Session = scoped_session[Any]

DigestsOf = Callable[[str, str], answers.Digests]
"""Of an account's key and a stored version."""
LINKED_STATE = "linked_state"
LOGIN_BUDGET = "login_over_budget"
"""It is a login of ours that another try would risk locking, not the link's account."""
BY_ITSELF, BY_PERSON = 1, 2
"""Tries within the window."""


@dataclass(frozen=True, slots=True)
class Try:
    """A try that an attempt may cost: whose, and the digests of the value it tries (none: nothing that could be
    refused, as in a reset)."""

    role: Key
    key: str
    digests: answers.Digests
    version: str | None = None
    """The stored version that is tried; None: a typed credential."""


def afford(
    session: Session, run_id: str, link: Link, step: Step, tries: Sequence[Try], at: datetime, timing: Timing
) -> list[Try] | Denied:
    """Which tries have to be reserved, or why nothing may be sent."""
    said = answers.said_by(session, [each.key for each in tries])
    reserved = []
    for each in tries:
        refused = _refused(session, said, run_id, link, each, at)
        if refused is not None:
            return refused
        own = each.role == Key.TARGET and step != Step.SET
        if not own and said.is_accepted(each.key, each.digests):
            continue  # our login, or the value a place stores: accepted before, so it costs no wrong logon
        no = accounts.may_try(
            session,
            each.key,
            run_id,
            budget=BY_PERSON if link.asked else BY_ITSELF,
            window=timing.try_window,
            busy_for=timing.busy_account,
            at=at,
        )
        if no is not None:
            if no.busy:
                return Denied(Why.BUSY, safe_at=no.safe_at)
            return Denied(Why.BUDGET, "" if each.role == Key.TARGET else LOGIN_BUDGET, safe_at=no.safe_at)
        reserved.append(each)
    return reserved


def _refused(session: Session, said: answers.Said, run_id: str, link: Link, each: Try, at: datetime) -> Denied | None:
    """Why this value is not sent again: it was refused, no send since makes that refusal void, and no person asks."""
    refusal = said.refusal(each.key, each.digests)
    if refusal is None:
        return None
    if link.is_account and accounts.was_sent_since(session, link.id, each.version, refusal.at):
        return None
    if each.role != Key.TARGET:
        again = _tested_again(session, run_id, link, refusal.at)
        return None if again else Denied(Why.LOGIN_REFUSED, refusal.reason)
    if link.asked and link.meant:
        return None
    sent = accounts.was_sent_since(session, link.id, each.version, link.unknown_since or at)
    return Denied(Why.REFUSED_BEFORE, refusal.reason, since_sent=sent)


def _tested_again(session: Session, run_id: str, link: Link, refused_at: datetime) -> bool:
    """A person's click after the refusal tests our credential again, once: its next refusal is later than that click,
    and stops the other links as the first one did (rule 23)."""
    clicked = session.scalar(select(SyncRun.clicked_at).where(SyncRun.id == run_id))
    return link.asked and clicked is not None and refused_at < clicked


def settle(
    session: Session,
    attempt: Attempt,
    tries: Sequence[Try],
    reserved: frozenset[Key],
    outcome: Outcome,
    at: datetime,
    digests_of: DigestsOf,
) -> None:
    """Gives back what was not spent, and remembers which of our values were accepted or refused. ``tries``: under the
    keys of today (see :func:`under`)."""
    spent = {each.key for each in tries if each.role in outcome.spent}  # two roles may be one account: one try
    accounts.give_back(session, attempt.id, {each.key for each in tries if each.role in reserved} - spent)
    for each in tries:
        if each.role in outcome.spent and each.role not in reserved and outcome.answer != Answer.UNKNOWN:
            accounts.reserve(session, each.key, attempt.id, at)  # it cost a try against all expectation: booked
    said = answers.said_by(session, [each.key for each in tries])
    for each in tries:
        if outcome.reason in NOT_JUDGED and each.role == Key.TARGET:
            continue  # it may have been counted, but no value was judged
        if each.digests and _stops(each, outcome):
            said.remember(each.key, each.digests, accepted=False, reason=outcome.reason, at=at)
        elif _accepts(said, attempt, each, outcome, at, digests_of):
            requeue_waiting_for(session, each.key, at)


def _stops(each: Try, outcome: Outcome) -> bool:
    """Whether this answer keeps the value from being sent again: a refusal, or a state of the linked credential's
    account, which every machine would answer. The state costs no try."""
    if outcome.answer == Answer.BLOCKED and outcome.reason == LINKED_STATE:
        return each.role == Key.LINKED
    return each.role in outcome.spent and outcome.answer in (Answer.REFUSED, Answer.BLOCKED)


def may_end_a_stop(
    session: Session,
    attempt: Attempt,
    tries: Sequence[Try],
    own: Iterable[str],
    outcome: Outcome,
    digests_of: DigestsOf,
) -> bool:
    """Whether this answer may accept a value that was refused before (:func:`_accepts` decides): only that sets going
    again what a refusal stopped, in other chains too. ``own``: every key that the target goes by."""
    if outcome.evidence is None:
        return False
    values = [(each.key, each.digests) for each in tries if each.role != Key.TARGET]
    if attempt.version and outcome.evidence.logged_on:
        values += [(key, digests_of(key, attempt.version)) for key in own]
    said = answers.said_by(session, [key for key, _ in values])
    return any(said.refusal(key, value) is not None for key, value in values)


def _accepts(
    said: answers.Said,
    attempt: Attempt,
    each: Try,
    outcome: Outcome,
    at: datetime,
    digests_of: DigestsOf,
) -> bool:
    """Keeps that a value was taken. True when the account had refused it before."""
    if each.role == Key.TARGET:
        if not (attempt.version and outcome.evidence and outcome.evidence.logged_on):
            return False
        return said.accept_only(each.key, digests_of(each.key, attempt.version), at)
    if not outcome.evidence or outcome.answer not in (Answer.APPLIED, Answer.REFUSED):
        return False  # the machine did not answer through this login
    return said.remember(each.key, each.digests, accepted=True, reason="", at=at)


def locked(session: Session, tries: Sequence[Try], digests_of: DigestsOf, *also: str | None) -> list[Try]:
    """The tries under the keys that their accounts have by now (names may have proved to be one since they were bound),
    with these accounts locked, and ``also`` more."""
    while True:
        keys = accounts.keys_of(session, [each.key for each in tries])
        tries = [_under(each, keys[each.key], digests_of) for each in tries]
        accounts.lock(session, [*also, *keys.values()])
        if not locking.is_postgres(session) or _are_of_today(session, tries):
            return list(tries)


def _are_of_today(session: Session, tries: Sequence[Try]) -> bool:
    """Whoever unites two keys has both locked: what is so under our lock stays so."""
    keys = accounts.keys_of(session, [each.key for each in tries])
    return all(name == key for name, key in keys.items())


def of_target(tries: Sequence[Try], key: str | None, digests_of: DigestsOf) -> list[Try]:
    """The target's own try under the key that it has told of itself."""
    return [_under(each, key, digests_of) if key and each.role == Key.TARGET else each for each in tries]


def _under(each: Try, key: str, digests_of: DigestsOf) -> Try:
    if each.key == key:
        return each
    return replace(each, key=key, digests=digests_of(key, each.version) if each.version else each.digests)


def keep_policy(session: Session, row: SyncLink, evidence: Evidence) -> None:
    """What the target told of its own lock-out count: its policy is kept for the budget, and a count of zero shows that
    the tries of calls with an unknown end were not spent. The caller has locked the account."""
    if not row.account_key or not row.is_account:
        return
    if evidence.threshold is not None:
        session.execute(
            update(Account)
            .where(Account.key == row.account_key)
            .values(threshold=evidence.threshold, window_s=evidence.window_s)
        )
    if evidence.bad_count == 0:
        accounts.forgive(session, row.account_key)
