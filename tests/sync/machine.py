"""Everything that can happen to three chains, in any order, with a fault at every step; and what must hold after each.

The real services run over a real (in-memory) database; only the network is a model. Between passes people save,
correct, retest, approve, give up, cancel, disable, remove; somebody changes a password by hand; time goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select

from pwserver.connectors.base import Credential
from pwserver.core.errors import PwserverError
from pwserver.core.secrets import Secret
from pwserver.core.states import Status, derive_status
from pwserver.extensions import db
from pwserver.models import EntryVersion, SyncChain, SyncLink, SyncRun
from pwserver.services import sync, timer
from pwserver.services.sync.status import read_facts
from pwserver.services.transaction import now
from pwserver.sync.chain import FenceLost
from tests.sync import build
from tests.sync.book import Page, Values, read_book
from tests.sync.world import FAULTS, Crash

PENDING = select(EntryVersion.id, EntryVersion.sealed).where(EntryVersion.stage == "pending")
KEYS = ("lab", "lab", "lab", "desk", "adm")
entries = st.sampled_from(KEYS)
faults = st.lists(st.sampled_from(("none", "none", "none", *FAULTS)), max_size=5)
crashes = st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 12), st.sampled_from(("before", "after"))))


class Machine(RuleBasedStateMachine):
    """``stage`` is set by the test that runs it: the app, and the database to start every example from."""

    stage: build.Stage

    def __init__(self) -> None:
        super().__init__()
        self.context = self.stage.app.app_context()
        self.context.push()
        self.scene = self.stage.restore()
        self.world = self.scene.world
        self.values = Values()
        self.computed: dict[str, tuple[Page, datetime]] = {}
        self.count = 0

    def teardown(self) -> None:
        self.stage.app.config.pop("COMMIT_HOOK", None)
        db.session.remove()
        self.context.pop()

    # -- people

    def _new(self) -> Secret:
        self.count += 1
        return Secret(f"value {self.count}")

    def _ask(self, act: Callable[[], object], *, may_replace: bool = False) -> None:
        """A request that may be refused in words; anything else that escapes is a failure. A change under way whose
        value some account has, or will have yet, never gives way to it, unless an owner approves another one."""
        pending = {version.id: self.values(version) for version in db.session.execute(PENDING)}
        db.session.rollback()
        try:
            act()
        except PwserverError:
            pass
        finally:
            db.session.rollback()
        if pending and not may_replace:
            aside = select(EntryVersion.id).where(
                EntryVersion.id.in_(pending), EntryVersion.stage.in_(("old", "discarded"))
            )
            for version_id in db.session.scalars(aside):
                assert pending[version_id] not in self.world.values(), "laid aside, though an account has it or will"
            db.session.rollback()

    @rule(key=entries)
    def change(self, key: str) -> None:
        value = self._new()
        self._ask(lambda: sync.request_change(self.scene.person(), self.scene.entry(key), value))

    @rule(plan=faults)
    def change_a_credential_and_what_it_opens(self, plan: list[str]) -> None:
        """The linked credential of LAB-02 is changed at the moment LAB-02's links are to be changed with it."""
        for key in ("adm", "lab"):
            self.change(key)
        self._work(plan, None)

    @rule(key=entries, right=st.booleans())
    def correct(self, key: str, right: bool) -> None:
        """Someone tells the vault what a password is: rightly, or wrongly."""
        links = self._links(key)
        account = self._account(links[0])
        value = Secret(self.world.accounts[account].value) if right else self._new()
        self.world.corrected.add(value.open())
        ticked = [links[0].id]
        self._ask(lambda: sync.correct(self.scene.person(), self.scene.entry(key), value, ticked))

    @rule(key=entries)
    def retest(self, key: str) -> None:
        self._ask(lambda: sync.retest(self.scene.person(), self.scene.entry(key)))

    @rule(key=entries)
    def test(self, key: str) -> None:
        self._ask(lambda: sync.request_test(self.scene.person(), self.scene.entry(key)))

    @rule(key=entries, which=st.sampled_from(("keep", "pending", "new")), typed=st.sampled_from(("", "right", "wrong")))
    def approve(self, key: str, which: str, typed: str) -> None:
        links = self._links(key)
        ticked = [link.id for link in links if link.is_account and link.state != "in_sync"] or [links[0].id]
        credentials = {}
        if typed:
            secret = "our login" if typed == "right" else "not it"
            credentials = {link.machine.casefold(): Credential("M\\adm", Secret(secret)) for link in links}
        form = sync.Approval(ticked, which, "2 a.m.", new=self._new(), credentials=credentials)
        self._ask(lambda: sync.approve(self.scene.person(), self.scene.entry(key), form), may_replace=True)

    @rule(key=entries)
    def click_and_click_again(self, key: str) -> None:
        """A person at 2 a.m. who does not believe it."""
        for _ in range(3):
            self._ask(lambda: sync.retest(self.scene.person(), self.scene.entry(key)))
            self._work([], None)

    @rule(key=entries)
    def give_up(self, key: str) -> None:
        self._ask(lambda: sync.give_up(self.scene.person(), self.scene.entry(key)))

    @rule(key=entries)
    def adopt(self, key: str) -> None:
        places = [link.id for link in self._links(key) if not link.is_account]
        self._ask(lambda: sync.adopt(self.scene.person(), self.scene.entry(key), places))

    @rule(key=entries)
    def cancel(self, key: str) -> None:
        run = sync.active_run(sync.chain_of(self.scene.entry(key)))
        if run is not None:
            self._ask(lambda: sync.cancel(self.scene.person(), run))

    @rule(key=entries)
    def toggle(self, key: str) -> None:
        entry = self.scene.entry(key)
        chain = sync.chain_of(entry)
        assert chain is not None
        if chain.enabled:
            self._ask(lambda: sync.disable(self.scene.person(), entry))
        else:
            self._ask(lambda: sync.enable(self.scene.person(), entry, chain.agent_id))

    @rule(number=st.integers(1, 3))
    def remove_or_restore(self, number: int) -> None:
        entry = self.scene.entry("lab")
        chain = sync.chain_of(entry)
        assert chain is not None
        rows = sorted(chain.links, key=lambda link: link.id)
        link = [row for row in rows if row.kind != "standalone_windows"][number - 1]
        act = sync.remove_link if link.active else sync.restore_link
        self._ask(lambda: act(self.scene.person(), link, revision=chain.revision))

    @rule(key=entries, number=st.integers(0, 3), clock_back=st.booleans())
    def outside(self, key: str, number: int, clock_back: bool) -> None:
        """Somebody sets a password by hand, at the machine (not within the two seconds that stamps cannot tell)."""
        self.world.advance(15)
        accounts = [self._account(link) for link in self._links(key) if link.is_account]
        account = accounts[number % len(accounts)]
        self.count += 1
        self.world.outside(account, f"by hand {self.count}", clock_back)

    # -- time and workers

    @rule(seconds=st.sampled_from((1, 6, 35, 75, 130, 420, 1900, 4000, 90000)))
    def time_goes_on(self, seconds: int) -> None:
        self.world.advance(seconds)
        timer.tick()
        proofs = select(SyncChain.id).where(SyncChain.status == Status.IN_SYNC, SyncChain.recheck_at <= now())
        assert db.session.scalar(proofs.limit(1)) is None, "time alone makes a proof too old, and the timer says so"
        db.session.rollback()

    @rule(plan=faults, crash=crashes)
    def work(self, plan: list[str], crash: tuple[int, str] | None) -> None:
        self._work(plan, crash)

    @rule(plan=faults, crash=crashes)
    def work_later(self, plan: list[str], crash: tuple[int, str] | None) -> None:
        self.world.advance(75)
        self._work(plan, crash)

    @precondition(lambda self: self.count > 0)
    @rule()
    def run_it_twice(self) -> None:
        """The same run executed again changes nothing (rule 21)."""
        done = db.session.scalars(select(SyncRun.id).where(SyncRun.state == "done")).all()
        before = (self.world.mutations, self.world.calls)
        for run_id in done:
            assert not sync.execute(run_id, "again", self.scene.connect), "a run that is done was done again"
        assert (self.world.mutations, self.world.calls) == before

    def _work(self, plan: list[str], crash: tuple[int, str] | None) -> None:
        self.world.faults = deque(plan)
        left = [crash[0]] if crash else []

        def hook(where: str) -> None:
            if left and crash and where == crash[1]:
                left[0] -= 1
                if left[0] < 0:
                    left.clear()
                    raise Crash

        runs = db.session.scalars(select(SyncRun.id).where(SyncRun.state != "done").order_by(SyncRun.number)).all()
        db.session.rollback()
        self.stage.app.config["COMMIT_HOOK"] = hook
        try:
            for run_id in runs:
                self._execute(run_id)
        finally:
            self.stage.app.config.pop("COMMIT_HOOK")
            self.world.faults.clear()
            db.session.rollback()

    def _execute(self, run_id: str) -> None:
        try:
            sync.execute(run_id, "worker", self.scene.connect)
        except (Crash, FenceLost):
            db.session.rollback()

    # -- what must hold

    def _links(self, key: str) -> list[SyncLink]:
        chain = sync.chain_of(self.scene.entry(key))
        assert chain is not None
        return sync.active_links(chain)

    @staticmethod
    def _account(link: Any) -> str:
        return f"{link.machine}\\{link.settings['user_name']}"

    @invariant()
    def nothing_is_lost_and_nothing_lies(self) -> None:
        try:
            for page in read_book():
                self._check_page(page)
                self._check_cache(page)
        finally:
            db.session.rollback()
        self._check_budget()

    def _check_page(self, page: Page) -> None:
        opened = {version.id: self.values(version) for version in page.versions}
        kept = {opened[version.id] for version in page.versions if version.stage != "discarded"}
        (current,) = page.staged("current")
        self._check_promotion(page, current, opened)
        for link in page.links:
            if not link.is_account:
                continue
            name = self._account(link)
            account = self.world.accounts[name]
            if account.foreign_at is None:
                assert account.value in kept, f"{name}: no stored version opens it any more"
                possible = {opened.get(version_id) for version_id in page.maybe.get(link.id, ())}
                possible.add(opened.get(link.holds_version_id or link.starts_from_version_id))
                if link.active or link.holds_version_id:
                    assert account.value in possible, f"{name}: the vault does not know what it may hold"
            fresh = link.proved_at and (account.foreign_at is None or account.foreign_at <= link.proved_at)
            settled = link.active and link.id not in page.maybe and link.state == "in_sync" and link.proof_version_id
            if fresh and settled:
                assert account.value == opened[link.proof_version_id], f"{name}: a green that lies"
        if page.chain.status == Status.IN_SYNC:
            self._check_green(page, opened[current.id])

    def _check_promotion(self, page: Page, current: Any, opened: dict[str, str]) -> None:
        """A changed value is the vault's only once Default Sync took it (rule 8)."""
        if page.chain.enabled and current.origin in ("change", "override"):
            primary = self.world.accounts[self._account(page.active[0])]
            assert opened[current.id] in primary.ever, "promoted, but Default Sync never took it"

    def _check_green(self, page: Page, value: str) -> None:
        chain, name = page.chain, self._account(page.active[0])
        for link in page.active:
            assert link.proved_at is not None
            if chain.recheck_at and chain.recheck_at > now():
                age = now() - link.proved_at
                assert age < timedelta(seconds=build.EXACT.proof_fresh), f"{name}: a proof too old for a green"
            if link.is_account:
                account = self.world.accounts[self._account(link)]
                by_hand = account.foreign_at is not None and account.foreign_at > link.proved_at
                assert by_hand or account.value == value, f"{name}'s chain is called In Sync and is not"
                assert by_hand or account.proved, f"{name}'s chain is called In Sync, and nobody logged on"
            else:
                place = self.world.places[f"{link.machine}\\{link.settings.get('path') or link.settings['name']}"]
                assert place.value == value, f"{place} is called In Sync and is not"

    def _check_cache(self, page: Page) -> None:
        """Recomputed by the product's own function, whenever a fact or the time is another than when it was last right.

        A running run writes the status down when it ends, and what time changes is the timer's."""
        chain, at = page.chain, now()
        if any(run.state == "running" for run in page.runs) or (chain.recheck_at and chain.recheck_at <= at):
            return
        if self.computed.get(chain.id) != (page, at):
            facts = read_facts(db.session, db.session.get_one(SyncChain, chain.id))
            status = derive_status(facts.chain, at, timedelta(seconds=build.EXACT.proof_fresh))
            assert chain.status == status, "the cached status differs from the facts"
            self.computed[chain.id] = (page, at)

    def _check_budget(self) -> None:
        window = timedelta(seconds=build.EXACT.try_window)
        for name, account in self.world.accounts.items():
            for start, _ in account.bad:
                tries = [person for at, person in account.bad if start <= at < start + window]
                assert len(tries) <= 2, f"{name}: {len(tries)} wrong logons within {window}"
                assert sum(1 for person in tries if not person) <= 1, f"{name}: two wrong logons by the server itself"
