"""Sync agents: what an administrator may decide, and testing one against the lab over the real protocol."""

from __future__ import annotations

import pytest
from flask import Flask

from pwserver.connectors.base import Answer, Credential, Evidence, Key, Outcome, Unreachable
from pwserver.core.errors import Conflict, Forbidden, Invalid, Throttled
from pwserver.core.secrets import Secret
from pwserver.core.states import Health
from pwserver.extensions import db
from pwserver.models import AccountTry, Event, Incident, SyncAgent, SyncChain
from pwserver.services import agent_test, agents, entries, sync, vaults
from pwserver.services.agent_test import Contact
from pwserver.services.agent_test import test_agent as check_agent
from pwserver.services.sync import accounts, answers
from pwserver.services.sync.credentials import is_usable
from pwserver.services.transaction import write
from tests.conftest import Cast, Clock
from tests.lab_wire.kit import Lab, certificate_folder, lab
from tests.web.things import PIN, add_agent, add_chain

__all__ = ["certificate_folder", "lab"]

OTHER_PIN = "0" * 64


def pending(cast: Cast, name: str = "BRANCH-07") -> SyncAgent:
    return agents.register_agent(cast.ada, "", "10.7.0.31", 5986, name, PIN)


def with_login(cast: Cast, agent: SyncAgent, user: str = "svc-psrv", value: str = "its-Login-99x") -> SyncAgent:
    agents.create_login(cast.ada, agent, user, Secret(value), row_version=agent.row_version)
    return agent


def test_a_new_agent_waits_and_reaches_itself_only(ctx: Flask, cast: Cast) -> None:
    agent = pending(cast)
    assert (agent.name, agent.state, agent.allowed_machines) == ("BRANCH-07", "pending", ["BRANCH-07"])
    assert not is_usable(agent)
    with pytest.raises(Invalid, match="login first"):
        agents.approve(cast.ada, agent, row_version=agent.row_version)


@pytest.mark.parametrize(
    ("host", "port", "machine", "pin", "field"),
    [
        ("https://x", 5986, "X", PIN, "host"),
        ("", 5986, "X", PIN, "host"),
        ("10.0.0.1", 0, "X", PIN, "port"),
        ("10.0.0.1", 65536, "X", PIN, "port"),
        ("10.0.0.1", 5986, "X\\y", PIN, "machine"),
        ("10.0.0.1", 5986, "X", "abc", "pin"),
    ],
)
def test_an_address_that_cannot_be_is_refused(
    ctx: Flask, cast: Cast, host: str, port: int, machine: str, pin: str, field: str
) -> None:
    with pytest.raises(Invalid) as told:
        agents.register_agent(cast.ada, "", host, port, machine, pin)
    assert told.value.field == field


def test_only_administrators_decide_about_agents(ctx: Flask, cast: Cast) -> None:
    agent = pending(cast)
    for attempt in (
        lambda: agents.register_agent(cast.olivia, "", "10.0.0.1", 5986, "X", PIN),
        lambda: agents.set_login(cast.olivia, agent, cast.entry.id, row_version=1),
        lambda: agents.set_reach(cast.olivia, agent, "x", [], [], row_version=1),
        lambda: agents.approve(cast.olivia, agent, row_version=1),
        lambda: agents.remove(cast.olivia, agent, row_version=1),
        lambda: check_agent(cast.olivia, agent),
    ):
        with pytest.raises(Forbidden):
            attempt()


def test_who_may_not_read_a_password_does_not_hand_it_to_an_agent(ctx: Flask, cast: Cast) -> None:
    agent = pending(cast)
    assert cast.entry not in agents.choosable(cast.ada)
    for give in (agents.set_login, agents.set_linked):
        with pytest.raises(Invalid):
            give(cast.ada, agent, cast.entry.id, row_version=agent.row_version)
    assert (agent.login_entry_id, agent.linked_entry_id) == (None, None)


def test_who_may_not_read_a_login_does_not_send_it_elsewhere(ctx: Flask, cast: Cast) -> None:
    agent = with_login(cast, pending(cast))
    vaults.add_member(cast.ada, vaults.system_vault(), cast.olivia.email, "owner")
    vaults.remove_member(cast.ada, vaults.system_vault(), cast.ada.id)
    with pytest.raises(Invalid) as told:
        agents.change_address(cast.ada, agent, "evil.example", 5986, "BRANCH-07", PIN, row_version=agent.row_version)
    assert told.value.field == "host"
    assert agent.host == "10.7.0.31"
    vaults.add_member(cast.olivia, cast.vault, cast.ada.email, "read")
    agents.set_linked(cast.ada, agent, cast.entry.id, row_version=agent.row_version)
    vaults.remove_member(cast.olivia, cast.vault, cast.ada.id)
    with pytest.raises(Invalid) as told:
        agents.set_reach(cast.ada, agent, agent.name, ["EVIL-01"], [], row_version=agent.row_version)
    assert told.value.field == "machines"


def test_a_login_is_made_in_the_vault_of_the_agents(ctx: Flask, cast: Cast) -> None:
    agent = with_login(cast, pending(cast), "BRANCH-07\\svc-psrv")
    assert agent.login_entry is not None
    assert agent.login_entry.vault_id == vaults.system_vault().id
    assert (agent.login_entry.user_name, agent.login_entry.machine) == ("svc-psrv", "BRANCH-07")
    again = with_login(cast, agent, "CORP\\svc-psrv")
    assert again.login_entry is not None
    assert (again.login_entry.user_name, again.login_entry.type) == ("CORP\\svc-psrv", "generic")


def test_another_certificate_needs_approval_again(ctx: Flask, cast: Cast) -> None:
    agent = with_login(cast, pending(cast))
    agents.approve(cast.ada, agent, row_version=agent.row_version)
    check_agent(cast.ada, agent, lambda contact, login: Evidence("BRANCH-07", machine_sid="S-1-5-21-1"))
    assert is_usable(agent)
    agents.change_address(cast.ada, agent, "10.7.0.32", 5986, "BRANCH-07", PIN, row_version=agent.row_version)
    assert (agent.state, agent.health, is_usable(agent)) == ("approved", Health.UNTESTED, False)
    agents.change_address(cast.ada, agent, "10.7.0.32", 5986, "BRANCH-07", OTHER_PIN, row_version=agent.row_version)
    assert (agent.state, agent.health, agent.machine_sid) == ("pending", Health.UNTESTED, "")


def test_the_owners_of_its_passwords_are_told_in_their_history(ctx: Flask, cast: Cast) -> None:
    chain = add_chain()
    agent = db.session.get_one(SyncAgent, chain.agent_id)
    agents.change_address(cast.ada, agent, "10.7.0.99", 5986, "LAB-01", OTHER_PIN, row_version=agent.row_version)
    told = db.session.scalars(db.select(Event).filter_by(entry_id=cast.entry.id, verb="agent.changed")).one()
    assert told.facts == {"agent": "LAB-01", "what": "certificate"}
    assert db.session.get_one(SyncChain, chain.id).status == "agent_disabled"


def test_a_changed_certificate_leaves_the_chain_at_rest_until_an_owner_confirms_it(ctx: Flask, cast: Cast) -> None:
    """Approved and tested by the administrator is not enough: owners decide who gets their password (rule 34)."""
    chain = add_chain()
    agent = with_login(cast, db.session.get_one(SyncAgent, chain.agent_id))
    agents.change_address(cast.ada, agent, "10.7.0.99", 5986, "LAB-01", OTHER_PIN, row_version=agent.row_version)
    agents.approve(cast.ada, agent, row_version=agent.row_version)
    check_agent(cast.ada, agent, lambda contact, login: Evidence("LAB-01", machine_sid="S-1-5-21-1"))
    chain = db.session.get_one(SyncChain, chain.id)
    assert (is_usable(agent), chain.status, sync.why_at_rest(chain)) == (True, "agent_disabled", "certificate")
    with pytest.raises(Conflict, match="yet another certificate"):
        sync.confirm_certificate(cast.olivia, cast.entry, PIN)
    run = sync.confirm_certificate(cast.olivia, cast.entry, OTHER_PIN)
    assert run is not None
    assert run.kind == "test"
    assert chain.status != "agent_disabled"
    told = db.session.scalars(db.select(Event).filter_by(entry_id=cast.entry.id, verb="sync.certificate_confirmed"))
    assert told.one().facts == {"agent": "LAB-01", "before": PIN, "pin": OTHER_PIN, "revision": chain.revision}


def test_the_old_certificate_put_back_needs_no_confirmation(ctx: Flask, cast: Cast) -> None:
    chain = add_chain()
    agent = with_login(cast, db.session.get_one(SyncAgent, chain.agent_id))
    for pin in (OTHER_PIN, PIN):
        agents.change_address(cast.ada, agent, "10.7.0.99", 5986, "LAB-01", pin, row_version=agent.row_version)
    agents.approve(cast.ada, agent, row_version=agent.row_version)
    check_agent(cast.ada, agent, lambda contact, login: Evidence("LAB-01", machine_sid="S-1-5-21-1"))
    assert sync.why_at_rest(db.session.get_one(SyncChain, chain.id)) == ""


def test_disabling_shows_on_its_passwords_at_once(ctx: Flask, cast: Cast) -> None:
    chain = add_chain()
    agent = db.session.get_one(SyncAgent, chain.agent_id)
    agents.disable(cast.ada, agent, row_version=agent.row_version)
    assert db.session.get_one(SyncChain, chain.id).status == "agent_disabled"
    agents.enable(cast.ada, agent, row_version=agent.row_version)
    assert db.session.get_one(SyncChain, chain.id).status != "agent_disabled"


def test_an_agent_in_use_stays(ctx: Flask, cast: Cast) -> None:
    chain = add_chain()
    agent = db.session.get_one(SyncAgent, chain.agent_id)
    with pytest.raises(Invalid, match="1 password is synchronized") as told:
        agents.remove(cast.ada, agent, row_version=agent.row_version)
    assert "Lab Administrator" not in told.value.user_message, "an administrator need not know it"
    with pytest.raises(Invalid) as told:
        agents.set_reach(cast.ada, agent, agent.name, [], [], row_version=agent.row_version)
    assert told.value.field == "vaults"
    with pytest.raises(Invalid, match="stays"):
        agents.remove(cast.ada, cast.this_server, row_version=cast.this_server.row_version)


def test_a_stale_form_does_nothing(ctx: Flask, cast: Cast) -> None:
    agent = add_agent()
    for attempt in (
        lambda: agents.disable(cast.ada, agent, row_version=99),
        lambda: agents.set_reach(cast.ada, agent, "x", [], [], row_version=99),
        lambda: agents.remove(cast.ada, agent, row_version=99),
    ):
        with pytest.raises(Conflict):
            attempt()
    assert agent.state == "approved"


def test_its_own_machine_is_always_within_reach(ctx: Flask, cast: Cast) -> None:
    agent = add_agent()
    agents.set_reach(cast.ada, agent, "Agent one", ["LAB-02", " lab-02 ", "", "LAB-03"], [cast.vault.id], row_version=1)
    assert agent.allowed_machines == ["LAB-01", "lab-02", "LAB-03"]
    assert [scope.vault_id for scope in agent.scopes] == [cast.vault.id]
    with pytest.raises(Invalid) as told:
        agents.set_reach(cast.ada, agent, "Agent one", ["LAB 04"], [], row_version=2)
    assert told.value.field == "machines"


def test_a_try_that_was_not_spent_is_given_back(ctx: Flask, cast: Cast) -> None:
    agent = with_login(cast, pending(cast))

    def silent(contact: Contact, login: Credential) -> Evidence:
        raise Unreachable("no_answer")

    for _ in range(agent_test.BY_PERSON + 2):
        check_agent(cast.ada, agent, silent)
    assert agent.health == Health.UNREACHABLE
    assert "does not answer" in agent.health_text
    assert db.session.scalar(db.select(db.func.count()).select_from(AccountTry)) == 0


def test_an_answer_about_an_old_address_is_not_kept(ctx: Flask, cast: Cast) -> None:
    agent = with_login(cast, pending(cast))

    def slow(contact: Contact, login: Credential) -> Evidence:
        agents.set_reach(cast.ada, agent, "Renamed", [], [], row_version=agent.row_version)
        return Evidence("BRANCH-07")

    check_agent(cast.ada, agent, slow)
    assert agent.health == Health.UNTESTED


# -- against the lab, over TLS and NTLM


def of_lab(cast: Cast, lab: Lab, value: str, machine: str = "LAB-01") -> SyncAgent:
    at = lab.address(machine)
    pin = agent_test.fetch_fingerprint(at.host, at.port)
    assert pin == at.pin.replace(":", "").lower()
    agent = agents.register_agent(cast.ada, "", at.host, at.port, machine, pin)
    return with_login(cast, agent, "svc-psrv", value)


def test_the_lab_takes_the_right_login(ctx: Flask, cast: Cast, lab: Lab) -> None:
    agent = of_lab(cast, lab, lab.initial("LAB-01\\svc-psrv").open())
    outcome = check_agent(cast.ada, agent)
    assert outcome.answer == Answer.APPLIED
    assert (agent.health, agent.health_text) == (Health.HEALTHY, "")
    assert agent.machine_sid.startswith("S-1-5-21-")
    assert agent.last_contact_at is not None
    assert lab.bad_logons("LAB-01") == 0
    assert db.session.scalar(db.select(db.func.count()).select_from(AccountTry)) == 0


def test_a_wrong_login_never_locks_the_account(ctx: Flask, cast: Cast, lab: Lab, clock: Clock) -> None:
    """A person may click as often as they like: two wrong logons, then nothing is sent until it is safe."""
    agent = of_lab(cast, lab, "wrong-Login-99")
    assert check_agent(cast.ada, agent).answer == Answer.BLOCKED
    assert agent.health == Health.BLOCKED
    assert "did not let our login" in agent.health_text
    assert "wrong-Login-99" not in agent.health_text
    assert lab.bad_logons("LAB-01") == 1
    check_agent(cast.ada, agent)
    for _ in range(3):
        with pytest.raises(Throttled, match="would risk locking"):
            check_agent(cast.ada, agent)
    assert lab.bad_logons("LAB-01") == 2
    told = "".join(f"{event.subject}{event.facts}" for event in db.session.scalars(db.select(Event)))
    assert "wrong-Login-99" not in told


def test_a_refused_login_is_not_used_again_by_itself(ctx: Flask, cast: Cast, lab: Lab) -> None:
    agent = of_lab(cast, lab, "wrong-Login-99")
    check_agent(cast.ada, agent)
    assert agent.login_entry is not None
    key = accounts.key_of_login(db.session, agent.login_entry, "LAB-01")
    digests = answers.digests(answers.names_of(db.session, [key]), key, Secret("wrong-Login-99"))
    assert answers.said_by(db.session, [key]).refusal(key, digests) is not None, "where runs look before they send it"


def test_another_certificate_gets_no_login(ctx: Flask, cast: Cast, lab: Lab) -> None:
    agent = of_lab(cast, lab, lab.initial("LAB-01\\svc-psrv").open())
    agents.change_address(cast.ada, agent, agent.host, agent.port, "LAB-01", OTHER_PIN, row_version=agent.row_version)
    check_agent(cast.ada, agent)
    assert agent.health == Health.BLOCKED
    assert "another certificate" in agent.health_text


def test_a_machine_that_calls_itself_otherwise_is_no_agent(ctx: Flask, cast: Cast, lab: Lab) -> None:
    at = lab.address("LAB-02")
    agent = agents.register_agent(cast.ada, "", at.host, at.port, "LAB-09", at.pin)
    with_login(cast, agent, "LAB-02\\svc-psrv", lab.initial("LAB-02\\svc-psrv").open())
    check_agent(cast.ada, agent)
    assert agent.health == Health.BLOCKED
    assert "calls itself otherwise" in agent.health_text


def test_nobody_answers_there(ctx: Flask, cast: Cast) -> None:
    with pytest.raises(Invalid, match="Nothing was saved") as told:
        agent_test.fetch_fingerprint("127.0.0.1", 1)
    assert told.value.field == "host"


def test_words_say_what_happened_without_the_machines_secret(ctx: Flask) -> None:
    outcome = Outcome(Answer.BLOCKED, "login_refused", "401", spent=frozenset({Key.LOGIN}))
    words = agent_test.say(outcome, "LAB-01", "LAB-01\\svc-psrv")
    assert words.startswith("LAB-01 refused our login LAB-01\\svc-psrv. It was sent once")
    assert words.endswith("(401)")
    for answer in Answer:
        assert "{" not in agent_test.say(Outcome(answer, "never heard of"), "LAB-01")


def test_this_server_is_made_once(ctx: Flask, cast: Cast) -> None:
    first = agents.ensure_this_server().id
    assert agents.ensure_this_server().id == first
    assert is_usable(agents.ensure_this_server())
    assert entries.find_entry("computer lab", "LAB ADMINISTRATOR") is not None


def test_an_agent_that_once_was_the_cause_of_many_can_still_be_removed(ctx: Flask, cast: Cast, clock: Clock) -> None:
    agent = pending(cast)
    with write() as session:
        known = {"opened_at": clock(), "mail_due_at": clock(), "kind": "needs_override", "closed_at": clock()}
        session.add(Incident(agent_id=agent.id, told=True, closed_why="in_sync", over_mailed_at=clock(), **known))
    agents.deny(cast.ada, agent, row_version=agent.row_version)
    assert db.session.scalar(db.select(SyncAgent).filter_by(name="BRANCH-07")) is None
    assert db.session.scalar(db.select(Incident)) is None


@pytest.mark.parametrize(
    ("user_name", "domain", "key"),
    [
        ("CORP\\lab-adm", "", "corp\\lab-adm"),
        ("lab-adm", "CORP", "corp\\lab-adm"),
        ("adm@corp.example", "", "corp.example\\adm"),
        ("svc-psrv", "", "lab-02\\svc-psrv"),
    ],
)
def test_a_login_of_a_domain_is_one_account_on_every_machine(
    ctx: Flask, cast: Cast, user_name: str, domain: str, key: str
) -> None:
    """Else a stale one would be sent once to each machine: forty wrong logons on one account."""
    settings = entries.Settings("lender", "generic", user_name, domain=domain)
    entry = entries.create_entry(cast.olivia, cast.vault, settings, Secret("good-enough-1"))
    assert accounts.key_of_login(db.session, entry, "LAB-02") == key
    elsewhere = accounts.key_of_login(db.session, entry, "LAB-03")
    assert (elsewhere == key) is (not key.startswith("lab-02"))
