"""One whole story on a real directory, through the services: registered, approved, changed, tested, overridden."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from pwserver.core.errors import Invalid
from pwserver.core.secrets import Secret
from pwserver.core.states import Health, Status
from pwserver.extensions import db
from pwserver.models import AccountTry, Entry, LinkAttempt, SyncAgent, SyncLink, SyncRun
from pwserver.services import agent_test, agents, directories, entries, sync, vaults
from pwserver.services.directories import Typed
from tests.conftest import Cast, Clock
from tests.directory import samba
from tests.directory.conftest import needs_kerberos
from tests.directory.kdc import saying
from tests.directory.samba import FIRST, UNIT, DomainController

SECOND, THIRD = "New-Passw0rd2", "Their-Passw0rd3"


@pytest.fixture
def now_clock(clock: Clock, ctx: Flask) -> Clock:
    """The app goes by today, as the domain controller does, and gives a call as long as in life."""
    clock.moment = datetime.now(UTC)
    ctx.config["PWSERVER"] = replace(
        ctx.config["PWSERVER"], timing=replace(ctx.config["PWSERVER"].timing, call=30, ttl=25)
    )
    return clock


def registered(cast: Cast, dc: DomainController) -> SyncAgent:
    """By its certificate's fingerprint, with a linked credential, tested, approved, and lent to *Computer Lab*."""
    typed = Typed(samba.DNS, "corp", ("127.0.0.1",))
    agent = directories.register(cast.ada, "", typed, directories.look_up(typed))
    assert (agent.name, agent.state, agent.pin) == ("CORP", "pending", dc.fingerprint)
    with pytest.raises(Invalid, match="linked credential first"):
        agents.approve(cast.ada, agent, row_version=agent.row_version)
    login = entries.create_entry(
        cast.ada,
        vaults.system_vault(),
        entries.Settings("CORP resets", "domain", samba.RESETTER, "CORP"),
        Secret(samba.LINKED_PASSWORD),
    )
    agents.set_linked(cast.ada, agent, login.id, row_version=agent.row_version)
    agent_test.test_agent(cast.ada, agent)
    assert (agent.health, agent.health_text) == (Health.HEALTHY, "")
    assert agent.machine_sid.startswith("S-1-5-21-")
    agents.approve(cast.ada, agent, row_version=agent.row_version)
    directories.set_accounts(
        cast.ada, agent, "CORP", [f"OU=Service,{samba.BASE}"], [cast.vault.id], row_version=agent.row_version
    )
    return agent


def add_entry(cast: Cast, user: str) -> Entry:
    settings = entries.Settings(f"CORP {user}", "domain", user, "CORP")
    return entries.create_entry(cast.olivia, cast.vault, settings, Secret(FIRST))


def go(entry: Entry) -> SyncRun:
    chain = sync.chain_of(entry)
    assert chain is not None
    run = sync.active_run(chain)
    assert run is not None
    assert sync.execute(run.id, "test")
    db.session.expire_all()
    return run


def link_of(entry: Entry) -> SyncLink:
    chain = sync.chain_of(entry)
    assert chain is not None
    return sync.active_links(chain)[0]


def status(entry: Entry) -> Status:
    return sync.status_of(entry)[0]


def last_evidence(entry: Entry) -> dict[str, object]:
    attempts = db.session.scalars(db.select(LinkAttempt).filter_by(link_id=link_of(entry).id)).all()
    return max(attempts, key=lambda each: (each.intent_at, each.n)).evidence or {}


def last_answer(entry: Entry) -> str | None:
    attempts = db.session.scalars(db.select(LinkAttempt).filter_by(link_id=link_of(entry).id)).all()
    return max(attempts, key=lambda each: (each.intent_at, each.n)).outcome


def test_a_domain_account_from_registering_its_directory_to_approve(
    now_clock: Clock, cast: Cast, dc: DomainController, means: str
) -> None:
    user = dc.make(unit=UNIT)
    dc.age(user, hours=3)
    agent = registered(cast, dc)
    entry = add_entry(cast, user)
    sync.enable(cast.olivia, entry, agent.id)
    go(entry)
    link = link_of(entry)
    assert (status(entry), link.kind, link.machine) == (Status.IN_SYNC, "domain", "CORP")
    assert link.account_key == link.told_account_sid
    assert link.proof_means == "logged on"
    by = "Kerberos" if means == "kerberos" else "bind and last-set stamp"
    assert (last_evidence(entry)["by"], last_evidence(entry)["host"]) == (by, "dc1.corp.test")

    now_clock.tick(seconds=60)
    sync.request_change(cast.olivia, entry, Secret(SECOND))
    run = go(entry)
    assert (run.result, status(entry)) == ("done", Status.IN_SYNC)
    assert last_evidence(entry)["method"] == "reset"
    assert dc.binds(user, SECOND)
    assert dc.wrong_logons(user) == 0

    now_clock.tick(minutes=31)
    dc.set_password(user, THIRD)
    dc.age(user, seconds=5)  # not in the very second of our own write
    sync.request_test(cast.olivia, entry)
    go(entry)
    assert status(entry) == Status.OUT_OF_SYNC, "somebody changed it: never green, though the one before still binds"
    reason = link_of(entry).reason
    assert reason == ("value_refused" if means == "kerberos" else "grace_hour")
    assert dc.wrong_logons(user) == (1 if means == "kerberos" else 0)
    assert tries(link_of(entry)) == (1 if means == "kerberos" else 0)

    form = sync.Approval([link_of(entry).id], "keep", "put it right")
    sync.approve(cast.olivia, entry, form)
    run = go(entry)
    assert (run.kind, run.result, status(entry)) == ("override", "done", Status.IN_SYNC)
    assert dc.binds(user, SECOND)
    assert not dc.binds(user, FIRST)


def tries(link: SyncLink) -> int:
    return len(db.session.scalars(db.select(AccountTry.attempt_id).where(AccountTry.key == link.account_key)).all())


@pytest.mark.usefixtures("by_bind")
def test_within_the_grace_hour_it_is_tested_again_after_it_and_then_green(
    now_clock: Clock, cast: Cast, dc: DomainController
) -> None:
    user = dc.make(unit=UNIT)
    agent = registered(cast, dc)
    entry = add_entry(cast, user)
    sync.enable(cast.olivia, entry, agent.id)
    run = go(entry)
    link = link_of(entry)
    assert (link.state, link.reason, status(entry)) == ("unknown", "grace_hour", Status.OUT_OF_SYNC)
    assert run.state == "waiting"
    assert timedelta(minutes=60) < run.due_at - now_clock.moment < timedelta(minutes=70)
    dc.age(user, minutes=66)
    now_clock.moment = run.due_at + timedelta(seconds=1)
    go(entry)
    assert (link_of(entry).state, status(entry)) == ("in_sync", Status.IN_SYNC)


def test_clocks_too_far_apart_say_nothing_about_a_password_and_it_goes_on_by_itself(
    now_clock: Clock, cast: Cast, dc: DomainController, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_kerberos()
    user = dc.make(unit=UNIT)
    dc.age(user, hours=3)
    agent = registered(cast, dc)
    entry = add_entry(cast, user)
    sync.enable(cast.olivia, entry, agent.id)
    with saying(37, monkeypatch):
        run = go(entry)
    link = link_of(entry)
    assert (link.state, link.reason, last_answer(entry)) == ("waiting", "clock_skew", "unknown")
    assert (run.state, status(entry)) == ("waiting", Status.PENDING_SYNC)
    assert tries(link) == 0, "no password was looked at"
    now_clock.moment = run.due_at + timedelta(seconds=1)
    go(entry)
    assert (link_of(entry).state, status(entry)) == ("in_sync", Status.IN_SYNC)
    assert dc.wrong_logons(user) == 0


def test_a_change_waits_for_the_clocks(
    now_clock: Clock, cast: Cast, dc: DomainController, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_kerberos()
    user = dc.make(unit=UNIT)
    dc.age(user, hours=3)
    agent = registered(cast, dc)
    entry = add_entry(cast, user)
    sync.enable(cast.olivia, entry, agent.id)
    go(entry)
    now_clock.tick(minutes=1)
    sync.request_change(cast.olivia, entry, Secret(SECOND))
    with saying(37, monkeypatch):
        run = go(entry)
    assert (run.state, link_of(entry).reason, last_answer(entry)) == ("waiting", "clock_skew", "unknown")
    assert dc.binds(user, FIRST)
    now_clock.moment = run.due_at + timedelta(seconds=1)
    go(entry)
    assert (link_of(entry).state, status(entry)) == ("in_sync", Status.IN_SYNC)
    assert dc.binds(user, SECOND)
    assert dc.wrong_logons(user) == 0


def test_what_is_not_on_the_list_is_blocked_and_said(now_clock: Clock, cast: Cast, dc: DomainController) -> None:
    user = dc.make()
    agent = registered(cast, dc)
    entry = add_entry(cast, user)
    sync.enable(cast.olivia, entry, agent.id)
    go(entry)
    assert (link_of(entry).state, link_of(entry).reason) == ("blocked", "account_not_listed")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("domain", {"domain": "corp"}),
        ("domain", {"domain": "corp test"}),
        ("short_name", {"short_name": "corp.test"}),
        ("controllers", {"controllers": ()}),
        ("controllers", {"controllers": ("ldaps://dc1",)}),
        ("port", {"port": 0}),
        ("ca_pem", {"controllers": ("dc1.corp.test", "dc2.corp.test")}),
        ("ca_pem", {"ca_pem": "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----"}),
        ("ca_pem", {"ca_pem": "none"}),
    ],
)
def test_what_cannot_be_a_directory_is_said_beside_its_field(
    ctx: Flask, cast: Cast, field: str, change: dict[str, object]
) -> None:
    typed = replace(Typed("corp.test", "CORP", ("dc1.corp.test",)), **change)  # type: ignore[arg-type]
    with pytest.raises(Invalid) as told:
        directories.register(cast.ada, "", typed, "ab" * 32)
    assert told.value.field == field


@pytest.mark.parametrize("line", ["krbtgt", "OU=Service,DC=other,DC=test", "a/b", "DC=corp,DC=test"])
def test_accounts_that_cannot_be_listed_are_said(ctx: Flask, cast: Cast, line: str) -> None:
    agent = directories.register(cast.ada, "", Typed("corp.test", "CORP", ("dc1.corp.test",)), "ab" * 32)
    with pytest.raises(Invalid) as told:
        directories.set_accounts(cast.ada, agent, "CORP", [line], [], row_version=agent.row_version)
    assert told.value.field == "accounts"


def test_another_certificate_waits_for_approval_and_for_the_owners(
    now_clock: Clock, cast: Cast, dc: DomainController
) -> None:
    user = dc.make(unit=UNIT)
    dc.age(user, hours=3)
    agent = registered(cast, dc)
    entry = add_entry(cast, user)
    sync.enable(cast.olivia, entry, agent.id)
    go(entry)
    typed = Typed(samba.DNS, "CORP", ("127.0.0.1",))
    directories.change_address(cast.ada, agent, typed, "ab" * 32, row_version=agent.row_version)
    assert (agent.state, agent.health, status(entry)) == ("pending", Health.UNTESTED, Status.AGENT_DISABLED)
    outcome = agent_test.test_agent(cast.ada, agent)
    assert (outcome.reason, agent.health) == ("pin_changed", Health.BLOCKED)
    directories.change_address(cast.ada, agent, typed, dc.fingerprint, row_version=agent.row_version)
    agent_test.test_agent(cast.ada, agent)
    agents.approve(cast.ada, agent, row_version=agent.row_version)
    assert status(entry) == Status.IN_SYNC
