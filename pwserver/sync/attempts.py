"""One attempt of a run, and what is noted when none can be made (rule 11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pwserver.connectors.base import Outcome
from pwserver.core.states import LinkState
from pwserver.core.timing import Timing
from pwserver.sync import settle
from pwserver.sync.chain import After, Denied, Link, NotNow, RunKind, Step, Why, WorkerBug
from pwserver.sync.ports import Attempt, Journal, Method

SETTLING = "settling"


class GateClosed(Exception):
    """The run was cancelled, the chain disabled, or the agent is no longer approved: nothing new begins."""


class Attempts:
    """The state of one pass: the journal, the timing, and nothing it could not read again."""

    def __init__(self, journal: Journal, timing: Timing) -> None:
        self.journal, self.timing = journal, timing
        self.plan = journal.plan()
        self.known = frozenset(link.id for link in self.plan.links)
        """A link that is added during this pass is tested first, not changed by it (rule 34)."""
        self.reached: set[str] = set()

    def _attempt(
        self,
        link: Link,
        step: Step,
        after: Callable[[Attempt, Outcome, datetime], After],
        method: Method,
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
        outcome = target.ask(attempt, method, old=old, new=version, more=self._more_after(link))
        now = self.journal.now()
        self.journal.outcome(attempt, outcome, self._goal(after(attempt, outcome, now)))
        self._look_again()
        if outcome.bug:
            raise WorkerBug
        return outcome

    def _more_after(self, link: Link) -> bool:
        """Whether this pass will most likely go on to another link."""
        rest = [other for other in self.plan.links if other.position > link.position]
        if self.plan.kind == RunKind.TEST:
            return any(self.plan.is_ticked(other) for other in rest)
        return any(not other.has(self.plan.version) for other in rest)

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
                raise GateClosed
            case Why.CHANGED:
                self._look_again()
            case Why.BUSY | Why.BUDGET:
                state = LinkState.UNKNOWN if link.maybe else link.state
                if state == LinkState.IN_SYNC and self.plan.kind != RunKind.TEST:
                    state = LinkState.WAITING
                why = denied.reason or denied.why
                self._note(link, After(state, why, maybe=link.maybe, next_try_at=denied.safe_at))
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
            raise GateClosed
