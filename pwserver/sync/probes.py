"""The parts of a run that only look: probes of what is unknown (rules 18 to 20), and tests (rules 25 to 27)."""

from __future__ import annotations

from datetime import datetime, timedelta

from pwserver.connectors.base import Answer, Key, Outcome
from pwserver.core.states import LinkState
from pwserver.sync import settle
from pwserver.sync.attempts import SETTLING, Attempts
from pwserver.sync.chain import After, Link, RunKind, Step
from pwserver.sync.ports import Attempt

SELF_RETRIED = frozenset({Answer.UNREACHABLE, Answer.UNKNOWN})


class Probes(Attempts):
    """Probes and tests of single links."""

    def _due(self, link: Link) -> bool:
        """A link is tried once in a run, and again only when it was silent or unknown and its time has come."""
        if link.state == LinkState.MANAGED and not link.asked:
            return False
        if link.last is None or link.asked:
            return True
        if link.next_try_at is not None:
            return link.next_try_at <= self.plan.now
        return link.last in SELF_RETRIED and link.reason != settle.GIVEN_UP

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
        """Reading costs nothing, so it needs no try of the budget; a logon follows only when that cannot tell."""
        version = link.base
        assert version is not None
        if not self._logon_is_due(link):
            if not self._has_moved(link, version):
                return
            link = self.plan.link(link.id)

        def after(attempt: Attempt, outcome: Outcome, now: datetime) -> After:
            return settle.after_test(link, version, outcome, now, self.timing)

        self._attempt(link, Step.TEST, after, "verify", version=version)

    def _has_moved(self, link: Link, version: str) -> bool:
        """Reads the last-set stamp. False: it has not moved since the last proof, or nothing was read."""
        moved: list[bool] = []

        def after(attempt: Attempt, outcome: Outcome, now: datetime) -> After:
            if outcome.answer != Answer.APPLIED or outcome.evidence is None:
                return settle.after_test(link, version, outcome, now, self.timing)
            if settle.stamp_tells(link, outcome.evidence.stamp):
                return settle.after_unmoved(link, outcome.evidence, now)
            moved.append(True)
            return After(link.state, link.reason, next_try_at=link.next_try_at)

        self._attempt(link, Step.TEST, after, "read")
        return bool(moved)

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

        self._attempt(link, Step.TEST, after, "read")
