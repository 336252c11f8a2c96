"""One pass of a run over its chain. It decides; the journal remembers; the database enforces.

The rules are numbered as in ``docs/guarantees.md``. Every remote call stands between an intent and an outcome that are
each committed, so a worker may die at any point and the next one finds what may have happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from pwserver.connectors.base import Answer, Key, Outcome
from pwserver.core.states import LinkState
from pwserver.core.timing import Timing
from pwserver.sync import settle
from pwserver.sync.chain import (
    After,
    Denied,
    Link,
    NotNow,
    RunKind,
    Step,
    Stopping,
    Why,
    WorkerBug,
)
from pwserver.sync.ports import Attempt, Journal, Target

SETTLING = "settling"
SELF_RETRIED = frozenset({Answer.UNREACHABLE, Answer.UNKNOWN})


def walk(journal: Journal, timing: Timing) -> None:
    """Walks the chain once and ends the run or gives it back with the time it is due again."""
    try:
        Walk(journal, timing).go()
    except WorkerBug:
        journal.done("errored")
    except Stopping:
        journal.wait(journal.now())
    finally:
        journal.release()


class _GateClosed(Exception):
    """The run was cancelled, the chain disabled, or the agent is no longer approved: nothing new begins."""


class Walk:
    """The state of one pass: the journal, the timing, and nothing it could not read again."""

    def __init__(self, journal: Journal, timing: Timing) -> None:
        self.journal, self.timing = journal, timing
        self.plan = journal.plan()
        self.reached: set[str] = set()

    def go(self) -> None:
        with contextlib.suppress(_GateClosed):
            self._pass()
        self._end()

    def _pass(self) -> None:
        if self.plan.kind != RunKind.TEST:
            self._settle_unknowns()
            self._promote_if_held()
        self._gate()
        match self.plan.kind:
            case RunKind.TEST:
                self._test()
            case RunKind.CORRECT:
                pass  # it only settles which links already have the value
            case RunKind.ADOPT:
                self._dependents(self.plan.dependents)
            case RunKind.OVERRIDE:
                if self._prove_credentials():
                    self._carry()
            case RunKind.CHANGE:
                self._carry()

    # -- the order of a change (rules 7 to 10)

    def _carry(self) -> None:
        plan = self.plan
        narrow = plan.kind == RunKind.OVERRIDE and not plan.whole_chain and not plan.is_ticked(plan.primary)
        if not narrow:
            self._account(plan.primary)
            self._promote_if_held()
            if not self.plan.primary.has(plan.version):
                return
        elif not plan.primary.has(plan.version):
            return
        self._dependents(self.plan.dependents)
        self._restarts()

    def _promote_if_held(self) -> None:
        """As soon as Default Sync holds the value, it is the vault's, even when the run was cancelled meanwhile."""
        plan = self.plan
        if plan.version is not None and plan.version != plan.current and plan.primary.has(plan.version):
            self.journal.promote(plan.version)
            self._look_again()

    def _dependents(self, links: Iterable[Link]) -> None:
        for stale in links:
            self._gate()
            link = self.plan.link(stale.id)
            if not self._is_ours(link):
                continue
            if link.is_account:
                self._account(link)
            else:
                self._place(link)
            if self.plan.stop_on_failure and self._failed(self.plan.link(link.id)):
                return

    def _is_ours(self, link: Link) -> bool:
        """Whether this run may write this link at all."""
        if self.plan.kind == RunKind.ADOPT:
            return not link.is_account and self.plan.is_ticked(link)
        if self.plan.kind == RunKind.OVERRIDE and not self.plan.whole_chain:
            return self.plan.is_ticked(link)
        return True

    def _failed(self, link: Link) -> bool:
        return link.state != LinkState.MANAGED and not link.has(self.plan.version)

    def _account(self, link: Link) -> None:
        plan = self.plan
        self.reached.add(link.id)
        forced = plan.kind == RunKind.OVERRIDE and plan.is_ticked(link)
        if not self._due(link):
            return
        if link.has(plan.version) and not forced:
            if link.asked and not link.proved_at(plan.version):
                self._prove_start(link)  # written, and no logon could tell so far: a person asks again
            return
        if forced:
            if link.proved == Answer.APPLIED and link.last is None:
                self._force(link)
        elif link.maybe:
            return  # an unknown is settled before anything is written again
        elif plan.version in link.twins:
            self._prove_start(link)
        else:
            self._try(link, Step.CHANGE, "change", old=link.base)

    def _force(self, link: Link) -> None:
        """A reset by one-time credentials: it needs no old value, and makes an unknown moot, once the dead are dead."""
        if link.settle_at and link.settle_at > self.plan.now:
            self._note(link, After(LinkState.UNKNOWN, SETTLING, maybe=link.maybe, next_try_at=link.settle_at))
            return
        self._try(link, Step.RESET, "reset")

    def _prove_start(self, link: Link) -> None:
        """A link that should hold this value already (never proved, or the same value saved anew): one logon, no write
        (rule 15)."""

        def after(attempt: Attempt, outcome: Outcome, now: datetime) -> After:
            assert attempt.version is not None
            return settle.after_test(link, attempt.version, outcome, now, self.timing)

        self._attempt(link, Step.TEST, after, "verify", version=self.plan.version)

    def _place(self, link: Link) -> None:
        plan = self.plan
        self.reached.add(link.id)
        assert link.account_link is not None
        account = plan.link(link.account_link)
        if not account.proved_at(plan.version):
            if not link.has(plan.version):
                self._note(link, After(LinkState.SKIPPED, "account_not_done", maybe=link.maybe))
            return
        written = link.has(plan.version) and link.written_rev == link.settings_rev
        started = link.has(plan.version) and link.proof is not None and link.proof.rev == link.settings_rev
        if (written or started) and plan.kind != RunKind.ADOPT:
            return
        if written or not self._due(link):
            return
        if link.settle_at and link.settle_at > plan.now:
            self._note(link, After(LinkState.UNKNOWN, SETTLING, maybe=link.maybe, next_try_at=link.settle_at))
            return
        self._try(link, Step.SET, "write")

    def _restarts(self) -> None:
        """The second phase: one at a time, in order; stop at the first that does not come up, or whose restart a worker
        did not live to see the end of: no service is restarted twice by one run (rules 10 and 21)."""
        for link in self.plan.dependents:
            link = self.plan.link(link.id)
            if not (link.restarts and link.restart_pending and link.has(self.plan.version)):
                continue
            if link.restarted:
                return
            self._gate()

            def after(attempt: Attempt, outcome: Outcome, now: datetime, link: Link = link) -> After:
                if outcome.answer == Answer.APPLIED:
                    return After(LinkState.IN_SYNC, holds=link.holds, restart_pending=False)
                return After(LinkState.UPDATED, outcome.reason, holds=link.holds, restart_pending=True)

            outcome = self._attempt(link, Step.RESTART, after, "restart")
            if outcome is None or outcome.answer != Answer.APPLIED:
                return

    def _due(self, link: Link) -> bool:
        """A link is tried once in a run, and again only when it was silent or unknown and its time has come."""
        if link.state == LinkState.MANAGED and not link.asked:
            return False
        if link.last is None or link.asked:
            return True
        if link.next_try_at is not None:
            return link.next_try_at <= self.plan.now
        return link.last in SELF_RETRIED and link.reason != settle.GIVEN_UP

    def _try(self, link: Link, step: Step, method: str, old: str | None = None) -> None:
        def after(attempt: Attempt, outcome: Outcome, now: datetime) -> After:
            assert attempt.version is not None
            decided = settle.after_write(link, attempt.version, outcome, now, self.timing)
            if decided.state == LinkState.UNKNOWN and outcome.wrote is not False:
                safe = attempt.hard_deadline + timedelta(seconds=self.timing.dead_wait)
                return replace(decided, next_try_at=safe)
            return decided

        self._attempt(link, step, after, method, version=self.plan.version, old=old)

    # -- unknowns (rules 18 to 20)

    def _settle_unknowns(self) -> None:
        for stale in self.plan.links:
            link = self.plan.link(stale.id)
            if link.maybe and link.is_account and not self._will_force(link):
                self.reached.add(link.id)
                self._probe(link)

    def _will_force(self, link: Link) -> bool:
        return self.plan.kind == RunKind.OVERRIDE and self.plan.is_ticked(link) and not self.plan.stopped

    def _probe(self, link: Link) -> None:
        now = self.plan.now
        if link.settle_at and link.settle_at > now:
            self._note(link, After(LinkState.UNKNOWN, SETTLING, maybe=link.maybe, next_try_at=link.settle_at))
            return
        if link.next_try_at and link.next_try_at > now and not link.asked:
            return
        told: list[Outcome] = []

        def after_reading(attempt: Attempt, outcome: Outcome, at: datetime) -> After:
            if outcome.answer != Answer.APPLIED or outcome.evidence is None:
                return settle.after_failed_probe(link, outcome, at, self.timing)
            told.append(outcome)
            if settle.stamp_tells(link, outcome.evidence.stamp):
                return settle.after_unmoved(link, outcome.evidence, at)
            return After(LinkState.UNKNOWN, "asking", maybe=link.maybe)

        self._attempt(link, Step.PROBE, after_reading, "read")
        link = self.plan.link(link.id)
        if told and link.maybe:
            assert told[0].evidence is not None
            self._probe_by_logon(link, settle.stamp_tells(link, told[0].evidence.stamp))

    def _probe_by_logon(self, link: Link, moved: bool | None) -> None:
        """The stamp moved, or cannot tell: one logon with the newest value that may be there."""
        version = link.maybe[0]

        def after(attempt: Attempt, outcome: Outcome, at: datetime) -> After:
            return settle.after_probe_logon(link, version, moved, outcome, at, self.timing)

        def refused_since(reason: str) -> After:
            refused = Outcome(Answer.REFUSED, reason, spent=frozenset({Key.TARGET}))
            return settle.after_probe_logon(link, version, moved, refused, self.plan.now, self.timing)

        self._attempt(link, Step.PROBE, after, "verify", version=version, refused_since=refused_since)

    # -- tests (rules 25 to 27)

    def _test(self) -> None:
        for stale in self.plan.links:
            self._gate()
            link = self.plan.link(stale.id)
            self.reached.add(link.id)
            if not self._testable(link) or not self._due(link):
                continue
            if link.is_account:
                self._test_account(link)
            else:
                self._test_place(link)

    def _testable(self, link: Link) -> bool:
        chosen = self.plan.ticked is not None and link.id in self.plan.ticked
        if link.maybe or (self.plan.ticked is not None and not chosen):
            return False
        if link.is_account and link.base != self.plan.current:
            return False
        if not link.is_account and link.holds not in (None, self.plan.current):
            return False
        return chosen or link.state not in (LinkState.REFUSED, LinkState.BLOCKED)

    def _test_account(self, link: Link) -> None:
        version = link.base
        assert version is not None
        unmoved: list[bool] = []

        def ask(target: Target, attempt: Attempt) -> Outcome:
            if not self._logon_is_due(link):
                read = target.ask(attempt, "read")
                if read.answer != Answer.APPLIED or read.evidence is None:
                    return read
                if settle.stamp_tells(link, read.evidence.stamp):
                    unmoved.append(True)
                    return read
            return target.ask(attempt, "verify", new=version)

        def after(attempt: Attempt, outcome: Outcome, now: datetime) -> After:
            if unmoved and outcome.evidence:
                return settle.after_unmoved(link, outcome.evidence, now)
            return settle.after_test(link, version, outcome, now, self.timing)

        self._attempt(link, Step.TEST, after, ask, version=version)

    def _logon_is_due(self, link: Link) -> bool:
        proof = link.proof
        if proof is None or proof.version != link.base or proof.rev != link.settings_rev or proof.logon_at is None:
            return True
        return self.plan.now - proof.logon_at > timedelta(seconds=self.timing.logon_every)

    def _test_place(self, link: Link) -> None:
        assert link.account_link is not None
        account = self.plan.link(link.account_link)
        version = self.plan.current
        if version is None or not account.proved_at(version) or account.state in (LinkState.REFUSED, LinkState.BLOCKED):
            return

        def after(attempt: Attempt, outcome: Outcome, now: datetime) -> After:
            return settle.after_place_test(link, account, version, outcome, now, self.timing)

        self._attempt(link, Step.TEST, after, "read", version=version)

    # -- the override's credentials (rule 30)

    def _prove_credentials(self) -> bool:
        """Each ticked link's machine is asked who it is through the credential, once, before anything is touched.

        A refused credential ends the run with nothing touched. A silent machine is left out; when it is Default
        Sync's and that is to be set, nothing is touched.
        """
        if any(self.plan.is_ticked(link) and link.proved == Answer.BLOCKED for link in self.plan.links):
            return False  # before a worker died, or before the run had to wait
        for link in self.plan.links:
            if not self.plan.is_ticked(link) or link.proved is not None:
                continue
            self.reached.add(link.id)
            self._gate()

            def after(attempt: Attempt, outcome: Outcome, now: datetime, link: Link = link) -> After:
                if outcome.answer == Answer.BLOCKED:
                    return After(LinkState.BLOCKED, outcome.reason, maybe=link.maybe)
                if outcome.answer == Answer.UNREACHABLE and not link.maybe:
                    return After(LinkState.UNREACHABLE, outcome.reason, next_try_at=now)
                return After(link.state, link.reason, maybe=link.maybe)

            outcome = self._attempt(link, Step.PROVE, after, "read")
            if outcome is None and self.plan.link(link.id).reason == Why.LOGIN_REFUSED:
                return False  # it was refused some day before: not sent again, and nothing is touched
            if outcome is None or outcome.answer == Answer.APPLIED:
                continue
            if outcome.answer == Answer.BLOCKED or link.id == self.plan.primary.id:
                return False
        return True

    # -- one attempt (rule 11)

    def _attempt(
        self,
        link: Link,
        step: Step,
        after: Callable[[Attempt, Outcome, datetime], After],
        how: Callable[[Target, Attempt], Outcome] | str,
        *,
        version: str | None = None,
        old: str | None = None,
        refused_since: Callable[[str], After] | None = None,
    ) -> Outcome | None:
        """Reach → intent → one call → outcome. None when nothing was sent; the link then says why."""
        target = self.journal.reach(link)
        if isinstance(target, NotNow):
            self._not_now(link, target)
            return None
        attempt = self.journal.intent(link, step, target, version, old)
        if isinstance(attempt, Denied):
            if attempt.since_sent and refused_since is not None:
                self._note(link, refused_since(attempt.reason))  # the answer is known: no second wrong logon for it
            else:
                self._denied(link, step, attempt)
            return None
        if callable(how):
            outcome = how(target, attempt)
        else:
            outcome = target.ask(attempt, how, old=old, new=version)  # type: ignore[arg-type]
        now = self.journal.now()
        self.journal.outcome(attempt, outcome, self._goal(after(attempt, outcome, now)))
        self._look_again()
        if outcome.bug:
            raise WorkerBug
        return outcome

    def _goal(self, after: After) -> After:
        """A link that was proved to hold something else than the vault's value is not in sync, however well proved."""
        wanted = self.plan.version or self.plan.current
        if after.state == LinkState.IN_SYNC and after.holds is not None and after.holds != wanted:
            return replace(after, state=LinkState.WAITING)
        return after

    def _not_now(self, link: Link, why: NotNow) -> None:
        state = LinkState.BLOCKED if why.blocked else LinkState.UNKNOWN if link.maybe else LinkState.WAITING
        self._note(link, After(state, why.reason, maybe=link.maybe, next_try_at=why.until))

    def _denied(self, link: Link, step: Step, denied: Denied) -> None:
        match denied.why:
            case Why.STOPPED if step == Step.PROBE:
                again = settle.retry_at(link, self.plan.now, self.timing.retry)
                self._note(link, After(LinkState.UNKNOWN, denied.reason, maybe=link.maybe, next_try_at=again))
            case Why.STOPPED:
                raise _GateClosed
            case Why.CHANGED:
                self._look_again()
            case Why.BUSY | Why.BUDGET:
                state = LinkState.UNKNOWN if link.maybe else link.state
                if state == LinkState.IN_SYNC and self.plan.kind != RunKind.TEST:
                    state = LinkState.WAITING
                self._note(link, After(state, denied.why, maybe=link.maybe, next_try_at=denied.safe_at))
            case Why.REFUSED_BEFORE:
                state = LinkState.UNKNOWN if link.maybe else LinkState.REFUSED
                self._note(link, After(state, denied.reason or denied.why, maybe=link.maybe))
            case Why.LOGIN_REFUSED:
                self._note(link, After(LinkState.BLOCKED, denied.why, maybe=link.maybe))

    def _note(self, link: Link, after: After) -> None:
        self.journal.note(link, after)
        self._look_again()

    def _look_again(self) -> None:
        self.plan = self.journal.plan()

    def _gate(self) -> None:
        """By the plan as it was read when the last call had ended; what came since, every intent asks for itself."""
        if self.plan.stopped:
            raise _GateClosed

    # -- the end of a pass

    def _end(self) -> None:
        self._look_again()
        due = [when for link in self.plan.links if (when := self._due_again(link)) is not None]
        if due:
            soonest = self.plan.now + timedelta(seconds=self.timing.busy_account)
            self.journal.wait(max(min(due), soonest))
        else:
            self.journal.done(self._result())

    def _due_again(self, link: Link) -> datetime | None:
        """When this run has to take this link up again by itself; None: never, or not before something else ends."""
        plan = self.plan
        if link.state == LinkState.MANAGED or link.id not in self.reached:
            return None
        if plan.kind == RunKind.OVERRIDE:
            waits = plan.is_ticked(link) and link.reason in (SETTLING, Why.BUSY) and not plan.stopped
            return link.next_try_at if waits else None
        if link.maybe and link.is_account:
            return link.next_try_at
        if plan.stopped or plan.kind == RunKind.CORRECT:
            return None
        if plan.kind == RunKind.TEST:
            return link.next_try_at if self._testable(link) else None
        return None if link.has(plan.version) else link.next_try_at

    def _result(self) -> str:
        if self.plan.stopped:
            return self.plan.stopped
        wanted = self.plan.version or self.plan.current
        left = [link for link in self.plan.links if link.state != LinkState.MANAGED and not link.has(wanted)]
        failed = [link for link in self.plan.links if link.state in (LinkState.REFUSED, LinkState.BLOCKED)]
        return "left" if left or failed else "done"
