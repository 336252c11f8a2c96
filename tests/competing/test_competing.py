"""Two workers, or two people, at the same rows at the same moment: exactly one of them has it, and nothing is lost.

Every statement that the rules lean on is attacked by two processes, on both databases; then without its WHERE, and
without its lock, to see that the attack would have found that out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from pwserver.extensions import db
from pwserver.models import Entry, EntryVersion, SyncRun
from pwserver.services import locking
from pwserver.services.sync import accounts, claim, journal, requeue
from pwserver.services.values import shift_stages
from pwserver.sync.chain import FenceLost
from tests.competing import duels
from tests.competing.duels import (
    ACCOUNT,
    AGENT,
    BUDGET,
    CLAIM,
    CREDENTIAL,
    DOUBLE_CLICK,
    FENCE,
    NUMBER,
    PROMOTION,
    STATUS,
)
from tests.competing.harness import Duel, keep, rounds
from tests.depth import deep
from tests.sync import build
from tests.sync.build import Stage

ROUNDS = deep(40, 500)
FEWER = deep(20, 60)
"""For what stands beside the four statements that everything hangs on; those get all."""
UNTIL_CAUGHT = 500
"""A mutant is played until it is caught; so many rounds at most, at any depth."""

pytestmark = [pytest.mark.timeout(300)]
Patch = pytest.MonkeyPatch


Stages = dict[str, Stage]


@pytest.fixture(scope="session")
def stages(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """The scene in a database that two processes can share: before its first tests, and after."""
    folder = Path(tmp_path_factory.mktemp("competing"))
    url = new_database() or f"sqlite:///{folder / 'shared.db'}"
    fresh = build.make_stage(folder, url=url)
    yield {"unproved": fresh, "proved": build.proved(fresh)}
    with fresh.app.app_context():
        db.session.remove()
        db.engine.dispose()


def begun(stages: Stages, duel: Duel) -> Stage:
    stage = stages["unproved" if duel in duels.UNPROVED else "proved"]
    with stage.app.app_context():
        scene = stage.restore()
        scene.world.advance(60)
        duels.BEGIN[duel](scene)
        return keep(scene)


@pytest.mark.parametrize("duel", duels.BEGIN, ids=lambda duel: duel.name)
def test_two_at_once_and_every_round_ends_as_if_one_had_been_first(stages: Stages, duel: Duel) -> None:
    number = ROUNDS if duel in duels.FOUR else FEWER
    wrong = [each for each in rounds(begun(stages, duel), duel, number) if each]
    assert wrong == []


# -- every one of them without what protects it


def no_password_lock(patch: Patch) -> None:
    for name in ("password", "password_of_run", "passwords_of_chains", "value_of"):
        patch.setattr(locking, name, lambda *args: None)


def no_account_lock(patch: Patch) -> None:
    def lock(session: Any, keys: Any) -> None:
        for key in sorted({key for key in keys if key}):
            accounts.insert_new(session, accounts.Account, key=key)

    patch.setattr(accounts, "lock", lock)


def no_agent_lock(patch: Patch) -> None:
    def agents(session: Any, condition: Any) -> list[str]:
        return list(session.scalars(select(locking.SyncAgent.id).where(condition)))

    patch.setattr(locking, "agents", agents)


def claims_whatever_state_it_is_in(patch: Patch) -> None:
    """UPDATE … WHERE id: nothing else is asked."""
    patch.setattr(claim, "touched", _by_id_only(accounts.touched))


def _by_id_only(real: Callable[..., int]) -> Callable[..., int]:
    def touched(session: Any, statement: Any) -> int:
        run_id = statement.whereclause.clauses[0].right.value
        return real(session, update(SyncRun).where(SyncRun.id == run_id).values(**_values(statement)))

    return touched


def _values(statement: Any) -> dict[str, Any]:
    return {column.name: value for column, value in statement._values.items()}


def claims_by_looking_first(patch: Patch) -> None:
    """SELECT, and then UPDATE what was found: the UPDATE itself asks nothing, and nothing is locked."""
    no_password_lock(patch)
    no_agent_lock(patch)

    def touched(session: Any, statement: Any) -> int:
        if session.scalar(select(SyncRun.id).where(statement.whereclause)) is None:
            return 0
        return _by_id_only(accounts.touched)(session, statement)

    patch.setattr(claim, "touched", touched)


def writes_under_any_fence(patch: Patch) -> None:
    def hold(self: Any, session: Any, until: Any = None) -> None:
        locking.password_of_run(session, self.run_id)
        session.execute(update(SyncRun).where(SyncRun.id == self.run_id).values(lease_until=until))

    patch.setattr(journal.SqlJournal, "_hold", hold)


def looks_at_the_fence_only(patch: Patch) -> None:
    """The fence is read and not locked."""
    no_password_lock(patch)

    def hold(self: Any, session: Any, until: Any = None) -> None:
        found = select(SyncRun.id).where(
            SyncRun.id == self.run_id, SyncRun.fence == self.fence, SyncRun.state == "running"
        )
        if session.scalar(found) is None:
            raise FenceLost

    patch.setattr(journal.SqlJournal, "_hold", hold)


def counts_no_tries(patch: Patch) -> None:
    patch.setattr(accounts, "may_try", lambda *args, **more: None)


def promotes_whatever_stage_it_has(patch: Patch) -> None:
    def promote(self: Any, version: str) -> None:
        with journal.write() as session:
            self._hold(session)
            entry_id = session.scalar(select(EntryVersion.entry_id).where(EntryVersion.id == version))
            shift_stages(session, entry_id)
            session.execute(update(EntryVersion).where(EntryVersion.id == version).values(stage="current"))
            session.execute(update(Entry).where(Entry.id == entry_id).values(row_version=Entry.row_version + 1))

    patch.setattr(journal.SqlJournal, "promote", promote)


def takes_accounts_that_others_have(patch: Patch) -> None:
    def lock_for_run(session: Any, run_id: str, keys: Any) -> bool:
        accounts.lock(session, keys)
        session.execute(update(accounts.Account).where(accounts.Account.key.in_(keys)).values(writer_run_id=run_id))
        return True

    patch.setattr(accounts, "lock_for_run", lock_for_run)


def asks_nobody_for_the_agent(patch: Patch) -> None:
    patch.setattr(claim, "_agent_is_taken", lambda *args: False)


def asks_nobody_for_the_credential(patch: Patch) -> None:
    patch.setattr(journal.SqlJournal, "_others", lambda *args: None)


def numbers_by_the_highest(patch: Patch) -> None:
    def add_run(session: Any, chain_id: str, kind: str, **values: Any) -> SyncRun:
        number = (session.scalar(select(func.max(SyncRun.number))) or 0) + 1
        run = SyncRun(id=requeue.new_id(), number=number, chain_id=chain_id, kind=kind, **values)
        session.add(run)
        session.flush()
        return run

    from pwserver.services.sync import requests

    patch.setattr(requests, "add_run", add_run)


@dataclass(frozen=True)
class Mutant:
    """``serial``: SQLite does not show it, since BEGIN IMMEDIATE lets one in at a time whatever is locked.
    ``by_chance``: nor does it show it always: the lease is not extended either, which tells only who comes second."""

    duel: Duel
    break_it: Callable[[Patch], None]
    serial: bool = False
    by_chance: bool = False


WITHOUT_WHERE = (
    Mutant(CLAIM, claims_whatever_state_it_is_in),
    Mutant(FENCE, writes_under_any_fence),
    Mutant(BUDGET, counts_no_tries),
    Mutant(PROMOTION, promotes_whatever_stage_it_has),
    Mutant(ACCOUNT, takes_accounts_that_others_have),
    Mutant(AGENT, asks_nobody_for_the_agent),
    Mutant(CREDENTIAL, asks_nobody_for_the_credential),
)
WITHOUT_LOCK = (
    Mutant(CLAIM, claims_by_looking_first, serial=True),
    Mutant(FENCE, looks_at_the_fence_only, by_chance=True),
    Mutant(BUDGET, no_account_lock, serial=True),
    Mutant(PROMOTION, looks_at_the_fence_only, serial=True),
    Mutant(ACCOUNT, no_account_lock, serial=True),
    Mutant(AGENT, no_agent_lock, serial=True),
    Mutant(CREDENTIAL, no_account_lock, serial=True),
    Mutant(DOUBLE_CLICK, no_password_lock, serial=True),
    Mutant(STATUS, no_password_lock, serial=True),
    Mutant(NUMBER, numbers_by_the_highest, serial=True),
)


@pytest.mark.breaks_invariants
@pytest.mark.mutant
@pytest.mark.parametrize(
    "mutant", WITHOUT_WHERE + WITHOUT_LOCK, ids=lambda each: f"{each.duel.name}-{each.break_it.__name__}"
)
def test_a_statement_without_what_protects_it_is_caught(
    stages: Stages, database: str, mutant: Mutant, monkeypatch: Patch
) -> None:
    if mutant.by_chance and database == "sqlite":
        return
    stage = begun(stages, mutant.duel)
    mutant.break_it(monkeypatch)
    if mutant.serial and database == "sqlite":
        with closing(rounds(stage, mutant.duel, UNTIL_CAUGHT)) as played:
            assert [word for word in islice(played, 20) if word] == [], "one at a time, even so"
        return
    with closing(rounds(stage, mutant.duel, UNTIL_CAUGHT)) as played:
        assert any(played)
