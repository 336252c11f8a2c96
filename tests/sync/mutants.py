"""Engines and journals with one guarantee taken out. Each has to be caught by the machine, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pwserver.connectors.base import Answer, Means
from pwserver.core import states
from pwserver.models import LinkMaybe
from pwserver.services.sync import accounts, credentials, journal, plans, status
from pwserver.sync import chain, engine, settle
from pwserver.sync.chain import After, Link

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
    real = journal.SqlJournal._settle_tries

    def settle_tries(self, session, attempt, granted, row, outcome, at):  # type: ignore[no-untyped-def]
        real(self, session, attempt, granted, row, outcome, at)
        accounts.give_back(session, attempt.id, [row.account_key or granted.target.account_key])

    patch.setattr(journal.SqlJournal, "_settle_tries", settle_tries)


def writes_a_place_before_its_account(patch: Patch) -> None:
    patch.setattr(Link, "proved_at", lambda self, version: True)


def probes_before_the_hard_deadline(patch: Patch) -> None:
    real = plans.to_link

    def to_link(*args):  # type: ignore[no-untyped-def]
        link = real(*args)
        return replace(link, settle_at=None, next_try_at=link.unknown_since or link.next_try_at)

    patch.setattr(plans, "to_link", to_link)
    wait = journal.SqlJournal.wait
    patch.setattr(journal.SqlJournal, "wait", lambda self, until: wait(self, self.now()))


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


def old_proofs_stay_green(patch: Patch) -> None:
    patch.setattr(states, "is_fresh", lambda link, now, fresh: link.proved)


MUTANTS: tuple[Callable[[Patch], None], ...] = (
    forgets_maybe,
    promotes_by_stage,
    gives_back_a_spent_try,
    writes_a_place_before_its_account,
    probes_before_the_hard_deadline,
    compares_stamps_by_greater,
    unknown_is_no,
    unknown_is_yes,
    never_looks_at_the_stamp,
    written_counts_as_proved,
    dependents_first,
    changes_from_what_the_vault_has,
    uses_a_moving_credential,
    no_budget,
    old_proofs_stay_green,
)
