"""A domain has two names, and an account of it three spellings: one lock-out budget, one memory of what it refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask

from pwserver.connectors.base import Answer, Evidence
from pwserver.core.errors import Throttled
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Account, AccountName, SyncAgent, SyncLink
from pwserver.services import agents, directories, entries, sync, vaults
from pwserver.services.agent_test import test_agent as check_agent
from pwserver.services.directories import Typed
from pwserver.services.sync import accounts, answers, reach
from pwserver.services.transaction import write
from tests.conftest import Cast, Clock
from tests.lab_wire.kit import Lab, certificate_folder, lab
from tests.web.things import PIN

__all__ = ["certificate_folder", "lab"]

SPELLINGS = ("CORP\\lab-adm", "corp.test\\LAB-ADM", "lab-adm@corp.test")
NAMES = ("corp\\lab-adm", "corp.test\\lab-adm")
FULL = "corp.test\\lab-adm"


def registered(cast: Cast, lab: Lab, machine: str, login: str, value: Secret) -> SyncAgent:
    at = lab.address(machine)
    agent = agents.register_agent(cast.ada, machine, at.host, at.port, machine, at.pin)
    settings = entries.Settings(f"{machine} login {login}", "generic", login)
    entry = entries.create_entry(cast.ada, vaults.system_vault(), settings, value)
    agents.set_login(cast.ada, agent, entry.id, row_version=agent.row_version)
    return agent


def key_of(name: str) -> str:
    return accounts.key_of(db.session, name)


def tell(agent: SyncAgent, full: str = "corp.test", short: str = "CORP") -> None:
    """A test of the agent in which its machine says in which domain it stands."""
    told = Evidence(agent.machine, machine_sid="S-1-5-21-1-2-3", domain=full, short_domain=short)
    check_agent(None, agent, lambda contact, login: told)


def machine(cast: Cast, name: str = "BRANCH-07") -> SyncAgent:
    agent = agents.register_agent(cast.ada, "", "10.7.0.31", 5986, name, PIN)
    agents.create_login(cast.ada, agent, "svc-psrv", Secret("its-Login-99x"), row_version=agent.row_version)
    return agent


def directory(cast: Cast, full: str = "corp.test", name: str = "") -> SyncAgent:
    return directories.register(cast.ada, name, Typed(full, "CORP", ("dc1.corp.test",)), "ab" * 32)


def book(name: str, attempt: str, clock: Clock) -> None:
    with write() as session:
        key = key_of(name)
        accounts.lock(session, [key])
        accounts.reserve(session, key, attempt, clock.moment)


def over_budget(name: str, clock: Clock) -> bool:
    no = accounts.may_try(db.session, key_of(name), None, budget=2, window=1800, busy_for=5, at=clock.moment)
    return no is not None


@pytest.mark.enable_socket
def test_agent_logins_of_one_account_share_its_tries_however_they_are_spelled(ctx: Flask, cast: Cast, lab: Lab) -> None:
    """Three agents, one domain account, one wrong password: two clicks are tried, as with one spelling."""
    first = registered(cast, lab, "LAB-01", "LAB-01\\svc-psrv", lab.initial("LAB-01\\svc-psrv"))
    assert check_agent(cast.ada, first).answer == Answer.APPLIED
    assert (first.short_domain, first.domain) == ("CORP", "corp.test")
    machines = ("LAB-02", "LAB-03", "LAB-04")
    pairs = zip(machines, SPELLINGS, strict=True)
    others = [registered(cast, lab, each, login, Secret("Not-the-right-1")) for each, login in pairs]
    assert [check_agent(cast.ada, agent).reason for agent in others[:2]] == ["login_not_accepted", "login_not_accepted"]
    with pytest.raises(Throttled):
        check_agent(cast.ada, others[2])
    wrong = sum(lab.bad_logons(each) for each in (*machines, "DC1"))
    assert wrong == 2


def test_a_directory_makes_one_account_of_both_names_as_soon_as_it_is_registered(
    ctx: Flask, cast: Cast, clock: Clock
) -> None:
    """Its first test may be a refused login, and the next thing a person does is to spell it otherwise."""
    book("corp\\lab-adm", "one", clock)
    book("corp.test\\lab-adm", "two", clock)
    assert not over_budget("corp\\lab-adm", clock)
    directory(cast)
    assert [key_of(name) for name in NAMES] == [FULL, FULL]
    assert over_budget("corp\\lab-adm", clock)
    assert key_of("corp\\never-met") == "corp.test\\never-met"
    assert key_of("sales\\lab-adm") == "sales\\lab-adm"


def test_a_directory_of_an_older_release_says_both_names_at_its_next_test(ctx: Flask, cast: Cast) -> None:
    agent = directory(cast)
    settings = entries.Settings("CORP reads", "domain", "psrv-read", "CORP")
    login = entries.create_entry(cast.ada, vaults.system_vault(), settings, Secret("its-Login-99x"))
    agents.set_linked(cast.ada, agent, login.id, row_version=agent.row_version)
    with write() as session:
        session.get_one(SyncAgent, agent.id).short_domain = ""
    assert key_of(NAMES[0]) == NAMES[0]
    tell(agent)
    assert key_of(NAMES[0]) == FULL


def test_what_one_name_refused_the_other_remembers(ctx: Flask, cast: Cast, clock: Clock) -> None:
    session, value = db.session, Secret("not it")
    with write():
        accounts.lock(session, ["corp\\lab-adm"])
        digests = answers.digests(answers.names_of(session, ["corp\\lab-adm"]), "corp\\lab-adm", value)
        said = answers.said_by(session, ["corp\\lab-adm"])
        said.remember("corp\\lab-adm", digests, accepted=False, reason="linked_refused", at=clock.moment)
    directory(cast)
    key = key_of("corp.test\\lab-adm")
    digests = answers.digests(answers.names_of(session, [key]), key, value)
    assert answers.said_by(session, [key]).refusal(key, digests) is not None


def test_an_account_that_told_who_it_is_keeps_that_key(ctx: Flask, cast: Cast, clock: Clock) -> None:
    with write() as session:
        accounts.unite(session, "corp\\lab-adm", "S-1-5-21-1-2-3-1105")
    book("corp.test\\lab-adm", "one", clock)
    tell(machine(cast))
    assert [key_of(name) for name in NAMES] == ["S-1-5-21-1-2-3-1105"] * 2
    book(NAMES[1], "two", clock)
    assert over_budget(NAMES[0], clock)


def test_two_accounts_that_told_each_who_they_are_stay_two(ctx: Flask, cast: Cast) -> None:
    with write() as session:
        accounts.unite(session, NAMES[0], "S-1-5-21-1-2-3-1105")
        accounts.unite(session, NAMES[1], "S-1-5-21-9-9-9-1105")
    tell(machine(cast))
    assert [key_of(name) for name in NAMES] == ["S-1-5-21-1-2-3-1105", "S-1-5-21-9-9-9-1105"]


def test_of_two_chains_that_prove_to_have_one_account_the_second_is_blocked(ctx: Flask, cast: Cast) -> None:
    agent = machine(cast)
    tell(agent, "", "")
    agents.set_reach(
        cast.ada, agent, agent.name, [agent.machine, "CORP", "corp.test"], [cast.vault.id],
        row_version=agent.row_version,
    )  # fmt: skip
    agents.approve(cast.ada, agent, row_version=agent.row_version)
    made = []
    for domain in ("corp.test", "CORP"):
        settings = entries.Settings(f"backup of {domain}", "domain", "svc-backup", domain)
        made.append(entries.create_entry(cast.olivia, cast.vault, settings, Secret("whatever 1")))
        sync.enable(cast.olivia, made[-1], agent.id)
    tell(agent)
    links = {each.chain.entry_id: each for each in db.session.scalars(db.select(SyncLink))}
    kept, blocked = (links[entry.id] for entry in made)
    assert (kept.account_key, kept.state) == ("corp.test\\svc-backup", "waiting")
    assert (blocked.state, blocked.reason) == ("blocked", "another_link_has_account")
    assert sync.chain_of(made[1]).status == "out_of_sync"


@pytest.mark.parametrize(
    ("full", "short"),
    [("", "WORKGROUP"), ("corp", "CORP"), ("corp.test", "corp.test"), ("corp.test", "A" * 16), ("a\\b.test", "CORP")],
)
def test_what_is_no_pair_of_names_teaches_nothing(ctx: Flask, cast: Cast, full: str, short: str) -> None:
    agent = machine(cast)
    tell(agent, full, short)
    assert (agent.short_domain, agent.domain) == ("", "")
    assert key_of(NAMES[0]) == NAMES[0]


def test_two_domains_of_one_short_name_are_never_made_one(ctx: Flask, cast: Cast) -> None:
    directory(cast, name="North")
    directory(cast, "corp.south.test", name="South")
    assert key_of("corp\\lab-adm") == "corp\\lab-adm"


def test_a_name_that_was_met_outlives_the_agent_that_told_of_its_domain(ctx: Flask, cast: Cast, clock: Clock) -> None:
    """Booked under the full name, asked under the short one, after the last agent of that domain was removed."""
    agent = machine(cast)
    tell(agent)
    book("corp\\lab-adm", "one", clock)
    book("corp\\lab-adm", "two", clock)
    agents.deny(cast.ada, agent, row_version=agent.row_version)
    assert over_budget("corp\\lab-adm", clock)
    assert over_budget("corp.test\\lab-adm", clock)
    clock.moment += timedelta(hours=1)
    assert not over_budget("corp\\lab-adm", clock)


def test_telling_the_same_again_changes_nothing(ctx: Flask, cast: Cast, clock: Clock) -> None:
    agent = machine(cast)
    book("corp\\lab-adm", "one", clock)
    tell(agent)

    def rows() -> list[object]:
        return [
            *db.session.execute(db.select(AccountName.name, AccountName.key, AccountName.united_at)),
            *db.session.scalars(db.select(Account.key).order_by(Account.key)),
        ]

    before = rows()
    clock.tick(minutes=5)
    tell(agent)
    assert rows() == before


@pytest.mark.parametrize(
    ("kind", "machine", "holder"),
    [
        ("domain", "ad.contoso.com", "ad.contoso.com\\svc"),
        ("domain", "CONTOSO", "CONTOSO\\svc"),
        ("remote_windows", "srv-01.ad.contoso.com", "srv-01\\svc"),
    ],
)
def test_a_place_is_told_its_domain_by_the_name_that_was_given(kind: str, machine: str, holder: str) -> None:
    assert reach._holder(SyncLink(kind=kind, machine=machine, settings={"user_name": "svc"})) == holder
