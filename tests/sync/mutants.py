"""Engines and journals with one guarantee taken out. Each has to be caught by the machine, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from pwserver.connectors.base import Answer, Means
from pwserver.core import states
from pwserver.models import LinkAttempt, LinkMaybe, SyncRun
from pwserver.services.sync import accounts, answers, claim, credentials, journal, plans, requests, status
from pwserver.sync import chain, engine, settle
from pwserver.sync.chain import WRITES, After, Link, Step
from tests.sync import openings, world
from tests.sync.openings import Opening

Patch = pytest.MonkeyPatch


def forgets_maybe(patch: Patch) -> None:
    """The intent does not note what is about to be sent."""
    real = accounts.insert_new

    def insert(session, table, **values):  # type: ignore[no-untyped-def]
        if table is not LinkMaybe:
            real(session, table, **values)

    patch.setattr(accounts, "insert_new", insert)


def promotes_by_stage(patch: Patch) -> None:
    """Whatever is pending becomes current, whether or not Default Sync took it."""

    def promote(self) -> None:  # type: ignore[no-untyped-def]
        if self.plan.version is not None and self.plan.version != self.plan.current:
            self.journal.promote(self.plan.version)
            self._look_again()

    patch.setattr(engine.Walk, "_promote_if_held", promote)


def gives_back_a_spent_try(patch: Patch) -> None:
    """Every reservation is returned, whatever the answer was."""
    real = journal.settle

    def settle_tries(session, attempt, spent, *rest):  # type: ignore[no-untyped-def]
        real(session, attempt, spent, *rest)
        accounts.give_back(session, attempt.id, [each.key for each in spent])

    patch.setattr(journal, "settle", settle_tries)


def writes_a_place_before_its_account(patch: Patch) -> None:
    patch.setattr(Link, "proved_at", lambda self, version: True)


def probes_before_the_hard_deadline(patch: Patch) -> None:
    real = plans.to_link
    patch.setattr(plans, "to_link", lambda *args: replace(real(*args), settle_at=None))


def forces_before_the_hard_deadline(patch: Patch) -> None:
    """An owner's one-time credentials make an unknown moot, though what was sent may still be on its way."""
    patch.setattr(engine.Walk, "_force", lambda self, link: self._try(link, Step.RESET, "reset"))


def compares_stamps_by_greater(patch: Patch) -> None:
    patch.setattr(settle, "same_stamp", lambda new, old: not new > old)


def unknown_is_no(patch: Patch) -> None:
    """A cut connection is taken for "nothing happened"."""
    real = settle.after_write

    def after(link, version, outcome, now, timing):  # type: ignore[no-untyped-def]
        if outcome.answer == Answer.UNKNOWN:
            outcome = replace(outcome, answer=Answer.UNREACHABLE, wrote=False)
        return real(link, version, outcome, now, timing)

    patch.setattr(settle, "after_write", after)


def unknown_is_yes(patch: Patch) -> None:
    """A cut connection is taken for "it surely happened"."""
    real = settle.after_write

    def after(link, version, outcome, now, timing):  # type: ignore[no-untyped-def]
        if outcome.answer == Answer.UNKNOWN:
            return After(states.LinkState.IN_SYNC, holds=version)
        return real(link, version, outcome, now, timing)

    patch.setattr(settle, "after_write", after)


def never_looks_at_the_stamp(patch: Patch) -> None:
    patch.setattr(settle, "stamp_tells", lambda link, stamp: link.proof is not None)


def written_counts_as_proved(patch: Patch) -> None:
    counting = chain.COUNTING | {Means.WRITTEN}
    for module in (chain, settle, status):
        patch.setattr(module, "COUNTING", counting)


def dependents_first(patch: Patch) -> None:
    """Default Sync is no longer waited for."""
    real = engine.Walk._carry

    def carry(self) -> None:  # type: ignore[no-untyped-def]
        for link in self.plan.dependents:
            if link.is_account:
                self._account(link)
        real(self)

    patch.setattr(engine.Walk, "_carry", carry)


def changes_from_what_the_vault_has(patch: Patch) -> None:
    """The old value is the vault's current one instead of what this link holds."""
    real = engine.Walk._try

    def attempt(self, link, step, method, old=None):  # type: ignore[no-untyped-def]
        return real(self, link, step, method, old=old and self.plan.current)

    patch.setattr(engine.Walk, "_try", attempt)


def uses_a_moving_credential(patch: Patch) -> None:
    patch.setattr(credentials, "is_moving", lambda session, chain_id: False)


def no_budget(patch: Patch) -> None:
    patch.setattr(accounts, "may_try", lambda *args, **more: None)


def tries_a_refused_value_again(patch: Patch) -> None:
    patch.setattr(answers.Said, "refusal", lambda *args: None)
    real = settle.after_write

    def after(link, version, outcome, now, timing):  # type: ignore[no-untyped-def]
        decided = real(link, version, outcome, now, timing)
        if decided.state == states.LinkState.REFUSED:
            return replace(decided, next_try_at=now + timing.retry.delay(1))
        return decided

    patch.setattr(settle, "after_write", after)


def old_proofs_stay_green(patch: Patch) -> None:
    patch.setattr(states, "is_fresh", lambda link, now, fresh: link.proved)


def everything_is_nowhere(patch: Patch) -> None:
    """A pending value gives way even while some place may have it."""
    for module in (requests, requests.requeue):
        patch.setattr(module, "is_nowhere", lambda *args: True)


def forgets_one_commit(patch: Patch) -> None:
    """The first intent to write is granted, and the database has lost it."""
    real_intent, real_write, lost = journal.SqlJournal.intent, journal.write, []

    @contextmanager
    def write() -> Iterator[Any]:
        with real_write() as session:
            yield session
            session.rollback()

    def intent(self, link, step, *rest):  # type: ignore[no-untyped-def]
        if step not in WRITES or lost:
            return real_intent(self, link, step, *rest)
        lost.append(step)
        with patch.context() as once:
            once.setattr(journal, "write", write)
            return real_intent(self, link, step, *rest)

    patch.setattr(journal.SqlJournal, "intent", intent)


def takes_the_dead_for_silent(patch: Patch) -> None:
    """What a dead worker may have sent is struck out when its run is taken over."""
    real = claim.bury

    def bury(session, run_id, fence, at):  # type: ignore[no-untyped-def]
        left_open = select(LinkAttempt.link_id).where(LinkAttempt.run_id == run_id, LinkAttempt.outcome.is_(None))
        session.execute(delete(LinkMaybe).where(LinkMaybe.link_id.in_(left_open)))
        real(session, run_id, fence, at)

    patch.setattr(claim, "bury", bury)


def forgets_the_status(patch: Patch) -> None:
    """A run ends, and nobody writes down what that makes of its chain."""
    patch.setattr(journal, "refresh", lambda session, chain_id: None)


def takes_up_what_is_done(patch: Patch) -> None:
    real = claim._claim

    def take(session, run_id, worker, timing):  # type: ignore[no-untyped-def]
        done = update(SyncRun).where(SyncRun.id == run_id, SyncRun.state == "done")
        session.execute(done.values(state="waiting", due_at=claim.now()))
        return real(session, run_id, worker, timing)

    patch.setattr(claim, "_claim", take)


def a_connector_that_lies(patch: Patch) -> None:
    """It says *applied*, and set nothing."""

    def write(self, call, new, old):  # type: ignore[no-untyped-def]
        return self._facts(means=Means.LOGGED_ON, method="change", logged_on=True)

    patch.setattr(world.ModelConnector, "_write_account", write)


@dataclass(frozen=True)
class Mutant:
    """``opening``: moves after which it is caught; ``alarm``: by which of the things that must hold."""

    break_it: Callable[[Patch], None]
    opening: Opening
    alarm: str


PROMOTED = "promoted, but Default Sync never took it"
LOST = "the vault does not know what it may hold"
NEEDLESS = "a wrong logon that nobody had to spend"
GREEN = "a green that lies"

MUTANTS = (
    Mutant(forgets_maybe, openings.the_line_is_cut_after_the_change, LOST),
    Mutant(forgets_one_commit, openings.the_line_is_cut_after_the_change, LOST),
    Mutant(takes_the_dead_for_silent, openings.a_worker_dies_in_a_call, LOST),
    Mutant(unknown_is_no, openings.the_line_is_cut_after_the_change, LOST),
    Mutant(unknown_is_yes, openings.the_line_is_cut_before_the_change, PROMOTED),
    Mutant(promotes_by_stage, openings.default_sync_is_off, PROMOTED),
    Mutant(dependents_first, openings.every_place_takes_it, "before its Default Sync had the value"),
    Mutant(a_connector_that_lies, openings.one_machine_takes_it, PROMOTED),
    Mutant(forgets_the_status, openings.one_machine_takes_it, "the cached status differs from the facts"),
    Mutant(takes_up_what_is_done, openings.one_machine_takes_it, "a run that is done was done again"),
    Mutant(writes_a_place_before_its_account, openings.a_remote_is_off_once, "that its account does not have"),
    Mutant(changes_from_what_the_vault_has, openings.a_remote_is_off_once, NEEDLESS),
    Mutant(uses_a_moving_credential, openings.a_credential_may_hold_two_values, NEEDLESS),
    Mutant(probes_before_the_hard_deadline, openings.a_late_write_lands_while_a_click_waits, LOST),
    Mutant(forces_before_the_hard_deadline, openings.approved_while_a_late_write_is_on_its_way, LOST),
    Mutant(everything_is_nowhere, openings.given_up_while_a_late_write_is_on_its_way, "laid aside"),
    Mutant(everything_is_nowhere, openings.saved_anew_while_a_late_write_is_on_its_way, "laid aside"),
    Mutant(never_looks_at_the_stamp, openings.changed_by_hand_and_tested, GREEN),
    Mutant(compares_stamps_by_greater, openings.changed_by_hand_under_a_clock_set_back, GREEN),
    Mutant(gives_back_a_spent_try, openings.changed_by_hand_and_clicked_again_and_again, "3 wrong logons within"),
    Mutant(no_budget, openings.changed_by_hand_and_clicked_again_and_again, "3 wrong logons within"),
    Mutant(tries_a_refused_value_again, openings.changed_by_hand_then_everywhere, "a refused value was sent again"),
    Mutant(written_counts_as_proved, openings.written_and_nobody_could_log_on, "nobody logged on"),
    Mutant(old_proofs_stay_green, openings.a_day_without_an_answer, "time alone makes a proof too old"),
)
