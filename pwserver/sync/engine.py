"""One pass of a run over its chain. It decides; the journal remembers; the database enforces.

The rules are numbered as in ``docs/guarantees.md``. Every remote call stands between an intent and an outcome that are
each committed, so a worker may die at any point and the next one finds what may have happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from pwserver.connectors.base import Answer, Outcome
from pwserver.core.states import PERSON, LinkState
from pwserver.core.timing import Timing
from pwserver.sync import settle
from pwserver.sync.attempts import SETTLING, GateClosed
from pwserver.sync.chain import (
    After,
    Link,
    RunKind,
    Step,
    Stopping,
    Why,
    WorkerBug,
)
from pwserver.sync.ports import Attempt, Journal, Method
from pwserver.sync.probes import Probes


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


class Walk(Probes):
    """One pass over the chain, in order."""

    def go(self) -> None:
        with contextlib.suppress(GateClosed):
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
            if not self._is_ours(link) or link.id not in self.known:
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
        """The second phase: one at a time, in order; stop at the first that failed, or whose restart a worker did not
        live to see the end of: no service is restarted twice by one run (rules 10 and 21). One that may not be
        restarted keeps nobody from being."""
        for link in self.plan.dependents:
            link = self.plan.link(link.id)
            if not (link.restarts and link.restart_pending and link.has(self.plan.version) and link.id in self.known):
                continue
            if link.state == LinkState.DOWN and not link.restarted:
                continue  # a stopped service is never started
            if link.restarted:
                if link.reason in settle.NOT_RESTARTED:
                    continue
                return
            self._gate()

            def after(attempt: Attempt, outcome: Outcome, now: datetime, link: Link = link) -> After:
                return settle.after_restart(link, outcome)

            outcome = self._attempt(link, Step.RESTART, after, "restart")
            if outcome is None or not (outcome.answer == Answer.APPLIED or outcome.reason in settle.NOT_RESTARTED):
                return

    def _try(self, link: Link, step: Step, method: Method, old: str | None = None) -> None:
        def after(attempt: Attempt, outcome: Outcome, now: datetime) -> After:
            assert attempt.version is not None
            decided = settle.after_write(link, attempt.version, outcome, now, self.timing)
            if decided.state == LinkState.UNKNOWN and outcome.wrote is not False:
                safe = attempt.hard_deadline + timedelta(seconds=self.timing.dead_wait)
                return replace(decided, next_try_at=safe)
            return decided

        self._attempt(link, step, after, method, version=self.plan.version, old=old)

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
        if plan.kind == RunKind.TEST:
            return link.next_try_at if self._testable(link) and not plan.stopped else None
        if link.maybe and link.is_account:
            return link.next_try_at
        if plan.stopped or plan.kind == RunKind.CORRECT:
            return None
        return None if link.has(plan.version) else link.next_try_at

    def _result(self) -> str:
        if self.plan.stopped:
            return self.plan.stopped
        wanted = self.plan.version or self.plan.current
        left = [link for link in self.plan.links if link.state != LinkState.MANAGED and not link.has(wanted)]
        failed = [link for link in self.plan.links if link.state in PERSON]
        return "left" if left or failed else "done"
