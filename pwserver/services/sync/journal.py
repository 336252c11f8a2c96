"""How a run remembers: every method one short transaction that first proves the run is still ours.

This is the engine's :class:`~pwserver.sync.ports.Journal` over the database. Nothing else in a run commits.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any

from sqlalchemy import bindparam, case, delete, func, insert, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import scoped_session

from pwserver.connectors.base import Answer, Evidence, Key, Outcome
from pwserver.core import stopping
from pwserver.core.states import LinkState
from pwserver.core.timing import Timing
from pwserver.extensions import db
from pwserver.models import (
    Entry,
    EntryVersion,
    LinkAttempt,
    LinkMaybe,
    Override,
    SyncAgent,
    SyncChain,
    SyncLink,
    SyncRun,
    new_id,
)
from pwserver.services import locking
from pwserver.services.audit import record
from pwserver.services.sync import accounts
from pwserver.services.sync.credentials import serves
from pwserver.services.sync.plans import RUN_AND_LINK, read_plan
from pwserver.services.sync.reach import Bound, Reacher, digests_of
from pwserver.services.sync.requeue import chains_stopped_by_a_login, follow_up, value_was_edited
from pwserver.services.sync.status import refresh
from pwserver.services.sync.tries import Try, afford, keep_policy, locked, may_end_a_stop, of_target, settle
from pwserver.services.transaction import end_read, now, retried, write
from pwserver.services.values import shift_stages
from pwserver.sync.chain import (
    WRITES,
    After,
    Denied,
    FenceLost,
    Link,
    NotNow,
    Plan,
    Step,
    Stopping,
    Why,
    call_limit,
)
from pwserver.sync.ports import Attempt, Target

Session = scoped_session[Any]

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5
"""Between two tries to write an answer down."""


OPEN_ELSEWHERE = (
    select(LinkAttempt.id)
    .join(SyncRun, SyncRun.id == LinkAttempt.run_id)
    .where(LinkAttempt.outcome.is_(None), LinkAttempt.run_id != bindparam("run"), SyncRun.state == "running")
    .limit(1)
)
USED_BY_ANOTHER = OPEN_ELSEWHERE.where(LinkAttempt.uses_key == bindparam("account"))
WRITTEN_BY_ANOTHER = OPEN_ELSEWHERE.join(SyncLink, SyncLink.id == LinkAttempt.link_id).where(
    SyncLink.account_key == bindparam("account"), LinkAttempt.step.in_(("change", "reset"))
)


class _Overtaken(Exception):
    """A value was refused elsewhere while its acceptance here was about to be written; nothing was."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What the journal itself has to know of an open attempt besides the engine's part."""

    target: Bound
    tries: tuple[Try, ...]
    reserved: frozenset[Key]


class SqlJournal:
    """One claimed run. ``reacher`` binds credentials and connectors; the engine never sees a value."""

    def __init__(self, run_id: str, fence: int, reacher: Reacher, timing: Timing) -> None:
        self.run_id, self.fence, self.reacher, self.timing = run_id, fence, reacher, timing
        self._granted: dict[str, Granted] = {}
        self._left: Plan | None = None
        """As the transaction of the last answer left it, for the next ``plan``: most of it had been read there."""

    # -- reading

    def plan(self) -> Plan:
        plan, self._left = self._left, None
        if plan is None:
            end_read()
            plan = self._read()
            end_read()
        return plan

    def _read(self) -> Plan:
        plan, fence, state = read_plan(db.session, self.run_id, now(), self.timing)
        if fence != self.fence or state != "running":
            raise FenceLost
        return plan

    def now(self) -> datetime:
        at = now()
        end_read()
        return at

    def reach(self, link: Link) -> Target | NotNow:
        found = self.reacher.reach(link.id, now())
        end_read()
        return found

    def release(self) -> None:
        self.reacher.close()

    # -- before

    def intent(self, link: Link, step: Step, target: Target, version: str | None, old: str | None) -> Attempt | Denied:
        assert isinstance(target, Bound)
        if stopping.requested():
            raise Stopping
        return self._intend(link, step, target, version, old)

    @retried
    def _intend(self, link: Link, step: Step, target: Bound, version: str | None, old: str | None) -> Attempt | Denied:
        tries = target.tries(step, version=version, old=old)
        began = monotonic()
        with write() as session:
            at = now()
            hard = at + timedelta(seconds=call_limit(step, self.timing))
            self._hold(session, hard + timedelta(seconds=self.timing.lease_over_deadline))
            tries = locked(session, tries, digests_of, target.account_key, target.uses_key)
            denied = (
                self._gate(session, link, step)
                or self._others(session, link, step, tries, at)
                or afford(session, self.run_id, link, step, tries, at, self.timing)
            )
            if isinstance(denied, Denied):
                return denied
            reserved = denied
            attempt_id = new_id()
            uses = next((each.key for each in tries if each.role == Key.LINKED), None)
            self._add(session, attempt_id, link, step, version, old, uses, at, hard)
            for each in reserved:
                accounts.reserve(session, each.key, attempt_id, at)
        self._granted[attempt_id] = Granted(target, tuple(tries), frozenset(each.role for each in reserved))
        return Attempt(attempt_id, link, step, version, hard, began)

    def _hold(self, session: Session, until: datetime | None = None) -> None:
        """Begins every writing transaction: the password is locked, the fence checked and locked; a take-over waits."""
        locking.password_of_run(session, self.run_id)
        lease: Any = SyncRun.lease_until
        if until is not None:
            lease = case((SyncRun.lease_until > until, SyncRun.lease_until), else_=until)
        ours = (SyncRun.id == self.run_id, SyncRun.fence == self.fence, SyncRun.state == "running")
        if accounts.touched(session, update(SyncRun).where(*ours).values(lease_until=lease)) != 1:
            raise FenceLost

    def _gate(self, session: Session, link: Link, step: Step) -> Denied | None:
        run, row, chain, agent = session.execute(RUN_AND_LINK, {"run": self.run_id, "link": link.id}).one()
        if not serves(agent, chain):
            return Denied(Why.STOPPED, "agent_disabled")
        if step != Step.PROBE and run.cancel_at is not None:
            return Denied(Why.STOPPED, "cancelled")
        if step != Step.PROBE and not chain.enabled:
            return Denied(Why.STOPPED, "disabled")
        if not row.active or row.settings_rev != link.settings_rev:
            return Denied(Why.CHANGED)
        return None

    def _others(self, session: Session, link: Link, step: Step, tries: Sequence[Try], at: datetime) -> Denied | None:
        """Another run is working with this account as its credential, or writing the credential we would use."""
        asked = {Key.LINKED: WRITTEN_BY_ANOTHER}
        if step in WRITES and link.is_account:
            asked[Key.TARGET] = USED_BY_ANOTHER
        for each in tries:
            if each.role in asked and session.scalar(asked[each.role], {"run": self.run_id, "account": each.key}):
                return Denied(Why.BUSY, safe_at=at + timedelta(seconds=self.timing.busy_account))
        return None

    def _add(
        self,
        session: Session,
        attempt_id: str,
        link: Link,
        step: Step,
        version: str | None,
        old: str | None,
        uses: str | None,
        at: datetime,
        hard: datetime,
    ) -> None:
        before = (
            select(func.count())
            .select_from(LinkAttempt)
            .where(LinkAttempt.run_id == self.run_id, LinkAttempt.link_id == link.id)
        )
        session.execute(
            insert(LinkAttempt).values(
                id=attempt_id,
                run_id=self.run_id,
                link_id=link.id,
                n=before.scalar_subquery() + 1,
                step=step,
                version_id=version,
                from_version_id=old,
                settings_rev=link.settings_rev,
                fence=self.fence,
                uses_key=uses,
                intent_at=at,
                hard_deadline=hard,
            )
        )
        if version is not None:
            session.execute(
                update(EntryVersion)
                .where(EntryVersion.id == version, EntryVersion.first_sent_at.is_(None))
                .values(first_sent_at=at)
            )
        if step in WRITES and version is not None:
            accounts.insert_new(session, LinkMaybe, link_id=link.id, version_id=version)

    # -- after

    def outcome(self, attempt: Attempt, outcome: Outcome, after: After) -> None:
        """A target was touched: a database that is away is asked again until the lease ends; then recovery probes."""
        granted = self._granted.pop(attempt.id)
        until = monotonic() + self.timing.lease_over_deadline
        while True:
            try:
                lost = self._keep(attempt, granted, outcome, after)
                break
            except _Overtaken:
                continue
            except OperationalError:
                if monotonic() > until:
                    raise
                log.warning("the answer of attempt %s cannot be written yet; trying again", attempt.id)
                sleep(AGAIN_SECONDS)
        if lost:
            raise FenceLost

    def _keep(self, attempt: Attempt, granted: Granted, outcome: Outcome, after: After) -> bool:
        """The one transaction of an answer. True: the fence was lost, and the answer is kept beside.

        The passwords of other chains are locked only where this answer may set them going again: whoever works on many
        chains at once is not waited for by all the others.
        """
        left = None
        with write() as session:
            ends_a_stop = self._may_end_a_stop(session, attempt, granted, granted.tries, outcome)
            others = chains_stopped_by_a_login(session) if ends_a_stop else []
            locking.password_of_run(session, self.run_id, *others)
            at = now()
            kept = accounts.touched(
                session,
                update(LinkAttempt)
                .where(LinkAttempt.id == attempt.id, LinkAttempt.outcome.is_(None), LinkAttempt.fence == self.fence)
                .values(
                    outcome=str(outcome.answer),
                    reason=outcome.reason,
                    code=outcome.code,
                    text=outcome.text,
                    evidence=as_json(outcome.evidence),
                    finished_at=at,
                ),
            )
            lost = kept != 1
            if lost:
                told = {"outcome": str(outcome.answer), "reason": outcome.reason, "code": outcome.code}
                session.execute(update(LinkAttempt).where(LinkAttempt.id == attempt.id).values(late_outcome=told))
            else:
                self._hold(session)
                row = session.get_one(SyncLink, attempt.link.id)
                tries = locked(session, granted.tries, digests_of, *self._own_keys(session, attempt, granted, outcome))
                if not ends_a_stop and self._may_end_a_stop(session, attempt, granted, tries, outcome):
                    raise _Overtaken  # passwords are locked before accounts
                after = self._identify(session, row, outcome, after)
                key = row.account_key if row.is_account else granted.target.account_key
                settle(session, attempt, of_target(tries, key, digests_of), granted.reserved, outcome, at, digests_of)
                project(session, row, attempt, outcome, after, at)
                if outcome.evidence is not None:
                    keep_policy(session, row, outcome.evidence)
                    _was_in_contact(session, row.chain_id, at)
                refresh(session, row.chain_id)
                left = self._read()
        self._left = left
        return lost

    def _own_keys(self, session: Session, attempt: Attempt, granted: Granted, outcome: Outcome) -> set[str]:
        """The keys that the target goes by: as it was asked, as it is known now, as it tells, as its name means."""
        told = outcome.evidence.account_id if outcome.evidence else None
        row = session.get_one(SyncLink, attempt.link.id)
        tried = [each.key for each in granted.tries if each.role == Key.TARGET]
        named = accounts.key_of(session, _name(row)) if row.is_account and told not in (None, row.account_key) else None
        return {key for key in (told, row.account_key, granted.target.account_key, named, *tried) if key}

    def _may_end_a_stop(
        self, session: Session, attempt: Attempt, granted: Granted, tries: Sequence[Try], outcome: Outcome
    ) -> bool:
        if not locking.is_postgres(session):
            return False  # nothing has to be locked for it
        own = self._own_keys(session, attempt, granted, outcome)
        return may_end_a_stop(session, attempt, tries, own, outcome, digests_of)

    def _identify(self, session: Session, row: SyncLink, outcome: Outcome, after: After) -> After:
        """Once a target told which account it is, that is its key; two links of one account are one too many. A link
        that knew another account goes to a key of its own: what was booked there stays with that account."""
        told = outcome.evidence.account_id if outcome.evidence else None
        if not told or not row.is_account or row.account_key == told:
            return after
        other = accounts.active_link_with(session, told, besides=row.id)
        if row.account_key and not (accounts.has_sid(row.account_key) and accounts.has_sid(told)):
            accounts.unite(session, row.account_key, told)
        if other is not None:
            return After(
                LinkState.BLOCKED, "another_link_has_account", holds=after.holds, maybe=after.maybe, forget_proof=True
            )
        row.account_key = told
        accounts.call_it(session, _name(row), told)
        session.flush()
        return after

    @retried
    def note(self, link: Link, after: After) -> None:
        with write() as session:
            self._hold(session)
            row = session.get_one(SyncLink, link.id, populate_existing=True)
            settled = set(link.maybe) - set(after.maybe)
            unchanged = (row.state, row.reason, row.next_try_at) == (after.state, after.reason, after.next_try_at)
            if unchanged and not settled:
                return
            session.execute(delete(LinkMaybe).where(LinkMaybe.link_id == row.id, LinkMaybe.version_id.in_(settled)))
            if after.forget_proof:
                _forget_proof(row)
            if (row.state, row.reason) != (after.state, after.reason):
                row.state_since = now()
            row.state, row.reason, row.next_try_at = after.state, after.reason, after.next_try_at
            row.reason_text = row.reason_code = ""
            refresh(session, row.chain_id)

    @retried
    def promote(self, version: str) -> None:
        with write() as session:
            locking.value_of(session, session.get_one(EntryVersion, version).entry_id)
            self._hold(session)
            entry_id = session.scalar(
                select(EntryVersion.entry_id).where(EntryVersion.id == version, EntryVersion.stage == "pending")
            )
            if entry_id is None:
                return  # done before, by a worker that died after this commit
            shift_stages(session, entry_id)
            session.execute(update(EntryVersion).where(EntryVersion.id == version).values(stage="current"))
            session.execute(update(Entry).where(Entry.id == entry_id).values(row_version=Entry.row_version + 1))
            run = session.get_one(SyncRun, self.run_id)
            entry = session.get_one(Entry, entry_id)
            record(session, None, "password.promoted", entry=entry, facts={"run": run.number})
            value_was_edited(session, entry, now())
            refresh(session, run.chain_id)

    # -- ending

    @retried
    def wait(self, until: datetime) -> None:
        with write() as session:
            self._hold(session)
            session.execute(
                update(SyncRun)
                .where(SyncRun.id == self.run_id)
                .values(state="waiting", due_at=until, lease_until=None, nudged_at=None, worker="")
            )
            self._end(session)

    @retried
    def done(self, result: str) -> None:
        with write() as session:
            self._hold(session)
            at = now()
            session.execute(
                update(SyncRun)
                .where(SyncRun.id == self.run_id)
                .values(state="done", result=result, finished_at=at, lease_until=None)
            )
            session.execute(delete(Override).where(Override.run_id == self.run_id))
            run = session.get_one(SyncRun, self.run_id, populate_existing=True)
            entry = session.get_one(Entry, session.get_one(SyncChain, run.chain_id).entry_id)
            record(
                session, None, "run.done", entry=entry, facts={"run": run.number, "kind": run.kind, "result": result}
            )
            follow_up(session, run, at)
            self._end(session)

    def _end(self, session: Session) -> None:
        accounts.unlock_for_run(session, self.run_id)
        chain_id = session.scalar(select(SyncRun.chain_id).where(SyncRun.id == self.run_id))
        assert chain_id is not None
        refresh(session, chain_id)


def _name(row: SyncLink) -> str:
    """The name by which an account's link was typed."""
    return accounts.account_name(str(row.settings["user_name"]), row.machine)


def project(session: Session, row: SyncLink, attempt: Attempt, outcome: Outcome, after: After, at: datetime) -> None:
    """Writes an answer's consequences into the link: what it holds and may hold, its proof, its next try.

    It settles only what the attempt knew of: a version that a person claimed meanwhile (*Correct*) stays in question.
    """
    settled = {*attempt.link.maybe, attempt.version} - {*after.maybe, None}
    if settled:
        session.execute(delete(LinkMaybe).where(LinkMaybe.link_id == row.id, LinkMaybe.version_id.in_(settled)))
    for version in after.maybe:
        accounts.insert_new(session, LinkMaybe, link_id=row.id, version_id=version)
    left = select(LinkMaybe.version_id).where(LinkMaybe.link_id == row.id).limit(1)
    claimed = not after.maybe and session.scalar(left) is not None
    if (row.state, row.reason) != (after.state, after.reason):
        row.state_since = at
    row.state, row.reason, row.next_try_at = after.state, after.reason, after.next_try_at
    if claimed:
        row.state, row.reason, row.next_try_at = LinkState.UNKNOWN, "corrected", None
    row.reason_text, row.reason_code = outcome.text, outcome.code
    if outcome.answer in (Answer.UNREACHABLE, Answer.UNKNOWN):
        row.tries, row.first_try_at = attempt.link.tries + 1, attempt.link.first_try_at or at
    else:
        row.tries, row.first_try_at = 0, None
    if after.holds is not None:
        row.holds_version_id = after.holds
    if after.forget_proof:
        _forget_proof(row)
    if after.proof is not None:
        proof = after.proof
        row.proof_version_id, row.proof_rev, row.proof_means = proof.version, proof.rev, proof.means
        row.proof_host, row.proof_stamp = proof.host, proof.stamp
        row.proved_at, row.logon_at = proof.at, proof.logon_at
    if after.written:
        row.written_rev = row.settings_rev
    if after.restart_pending is not None:
        row.restart_pending = after.restart_pending
    evidence = outcome.evidence
    if evidence is not None and outcome.answer != Answer.BLOCKED:  # a stranger must not be taken for the machine
        row.told_machine_sid = evidence.machine_sid or row.told_machine_sid
        row.told_account_sid = evidence.account_sid or row.told_account_sid
    session.flush()


CONTACT_EVERY = timedelta(seconds=5)
"""How exactly it is kept when an agent was last heard of."""


def _was_in_contact(session: Session, chain_id: str, at: datetime) -> None:
    """Whoever has the agent's row just now (another answer of it, an administrator) is not waited for."""
    agent_id = session.get_one(SyncChain, chain_id).agent_id
    heard = session.get_one(SyncAgent, agent_id).last_contact_at
    if heard is not None and timedelta(0) <= at - heard < CONTACT_EVERY:
        return
    free = locking.rows(session, select(SyncAgent.id).where(SyncAgent.id == agent_id), SyncAgent, skip=True)
    session.execute(
        update(SyncAgent)
        .where(SyncAgent.id.in_(free))
        .values(last_contact_at=at)
        .execution_options(synchronize_session=False)
    )


def _forget_proof(row: SyncLink) -> None:
    row.proof_version_id = row.proof_means = row.proof_host = row.proof_stamp = None
    row.proof_rev = None
    row.proved_at = row.logon_at = None


def as_json(evidence: Evidence | None) -> dict[str, Any] | None:
    return (
        None
        if evidence is None
        else {name: value for name, value in asdict(evidence).items() if value not in (None, "", ())}
    )
