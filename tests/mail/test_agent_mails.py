"""What owners and administrators are told of an agent that does not serve, or was changed (rules 34 and 41)."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from pwserver.connectors.base import Evidence
from pwserver.models import AppUser, Entry, Incident, Membership, SyncAgent, SyncChain, Vault, new_id
from pwserver.services import agents, sync
from pwserver.services.agent_test import test_agent as check_agent
from pwserver.services.sync.check import check
from pwserver.services.transaction import write
from tests.disasters.conftest import OTHER, Play
from tests.mail.conftest import BASE, Receiver, rows
from tests.mail.scenes import post
from tests.mail.test_alerts import add_person, only

PIN, OTHER_PIN = "4f" * 32, "0" * 64
QUARTER = 901


@pytest.fixture
def ada(mailed: Play) -> AppUser:
    """An administrator who may read what the agents work with, and owns nothing. The agent has a certificate."""
    with write() as session:
        agent_of(mailed).pin = PIN
        session.execute(update(SyncChain).values(agent_pin=PIN))
    return add_person("Ada", owner=False, admin=True)


def agent_of(play: Play) -> SyncAgent:
    found = play.session.scalars(
        select(SyncAgent).where(SyncAgent.transport == "winrm").execution_options(populate_existing=True)
    ).one()
    assert isinstance(found, SyncAgent)
    return found


def act(play: Play, ada: AppUser, what: str, *more: Any) -> None:
    """One deed of an administrator."""
    agent = agent_of(play)
    getattr(agents, what)(ada, agent, *more, row_version=agent.row_version)


def move(play: Play, ada: AppUser, pin: str = "") -> None:
    agent = agent_of(play)
    act(play, ada, "change_address", "10.7.0.99", 5986, agent.machine, pin or agent.pin)


def is_tested(play: Play, ada: AppUser) -> None:
    agent = agent_of(play)
    answer = Evidence(agent.machine, machine_sid=agent.machine_sid or "S-1-5-21-1")
    check_agent(ada, agent, lambda contact, login: answer)


def incidents(play: Play) -> list[Incident]:
    query = select(Incident).where(Incident.agent_id.is_not(None)).order_by(Incident.opened_at)
    return list(play.session.scalars(query.execution_options(populate_existing=True)))


def words(text: str) -> str:
    return " ".join(text.split())


def to(receiver: Receiver, subject: str) -> list[str]:
    return sorted(mail.to[0] for mail in receiver.mails if mail.subject.startswith(subject))


# -- disabled


def test_a_disabled_agent_is_one_mail_however_many_passwords_wait_and_one_when_it_serves_again(
    mailed: Play, receiver: Receiver, ada: AppUser
) -> None:
    act(mailed, ada, "disable")
    assert {mailed.status(name) for name in ("lab", "desk", "adm")} == {"agent_disabled"}
    assert [(each.kind, each.chain_id) for each in incidents(mailed)] == [("agent_disabled", None)]
    mailed.advance(QUARTER)
    for _ in range(5):
        post(mailed)
        mailed.advance(600)
    waits = len(sync_chains(mailed))
    subject = f"The sync agent LAB-01 is disabled: {waits} passwords wait for it"
    assert to(receiver, subject) == ["ada@example.org", "olivia@example.org"]
    assert len(receiver.mails) == 2
    by = {mail.to[0]: mail for mail in receiver.mails}
    owners = by["olivia@example.org"]
    assert "NOTHING FOR YOU TO DO" in owners.text
    assert "desk, in Computer Lab\n" in owners.text
    assert f"/agents/{agent_of(mailed).id}" not in owners.text + owners.html, "it would not let her in"
    admins = by["ada@example.org"]
    assert f"{BASE}/agents/{agent_of(mailed).id}\n" in admins.text
    assert "desk" not in admins.text + admins.html, "an administrator is not told what is in a vault"
    act(mailed, ada, "enable")
    for _ in range(3):
        post(mailed)
    assert to(receiver, "The sync agent LAB-01 serves again, it is over") == ["ada@example.org", "olivia@example.org"]
    assert len(receiver.mails) == 4
    assert incidents(mailed)[0].closed_why == "serves"


def sync_chains(play: Play) -> list[str]:
    return [name for name in play.scene.entries if sync.chain_of(play.entry(name)) is not None]


def test_an_agent_disabled_for_a_few_minutes_is_no_mail_at_all(mailed: Play, receiver: Receiver, ada: AppUser) -> None:
    act(mailed, ada, "disable")
    mailed.advance(14 * 60)
    post(mailed)
    act(mailed, ada, "enable")
    mailed.advance(QUARTER)
    post(mailed)
    assert receiver.mails == []
    assert rows() == []


def test_an_agent_that_nothing_waits_for_any_more_is_not_said_to_serve(
    mailed: Play, receiver: Receiver, ada: AppUser
) -> None:
    act(mailed, ada, "disable")
    mailed.advance(QUARTER)
    post(mailed)
    for name in sync_chains(mailed):
        assert incidents(mailed)[0].closed_at is None, name
        sync.disable(mailed.olivia, mailed.entry(name))
    post(mailed)
    assert to(receiver, "Nothing waits for the sync agent LAB-01 any more, it is over") == [
        "ada@example.org", "olivia@example.org",
    ]  # fmt: skip
    assert not any("serves again" in mail.subject for mail in receiver.mails)


def test_a_run_that_goes_on_while_its_agent_is_disabled_ends_nothing(mailed: Play, ada: AppUser) -> None:
    run = mailed.change("third")
    mailed.during("change", lambda: act(mailed, ada, "disable"), when="after")
    mailed.work(run)
    assert mailed.status() == "agent_disabled"
    assert [(each.kind, each.closed_at) for each in incidents(mailed)] == [("agent_disabled", None)]
    assert check() == []


def test_a_refused_password_keeps_its_own_issue_while_its_agent_is_disabled(
    mailed: Play, receiver: Receiver, ada: AppUser
) -> None:
    mailed.world.outside(OTHER, "by hand", clock_back=False)
    mailed.work(sync.request_test(mailed.olivia, mailed.entry()).id)
    post(mailed)
    act(mailed, ada, "disable")
    mailed.advance(QUARTER)
    post(mailed)
    act(mailed, ada, "enable")
    post(mailed)
    subjects = [mail.subject for mail in receiver.mails if mail.to == ["olivia@example.org"]]
    assert [subject.split(":")[0] for subject in subjects] == [
        "lab needs administrative override",
        "The sync agent LAB-01 is disabled",
        "The sync agent LAB-01 serves again, it is over",
    ]


def test_a_login_that_was_refused_is_another_issue_of_the_same_agent(
    mailed: Play, receiver: Receiver, ada: AppUser
) -> None:
    """Both may be open at once: the one ends without the other."""
    with write() as session:
        agent = agent_of(mailed)
        session.add(Incident(id=new_id(), agent_id=agent.id, opened_at=mailed.world.now, told=True))
    act(mailed, ada, "disable")
    assert sorted(each.kind for each in incidents(mailed)) == ["agent_disabled", "needs_override"]
    act(mailed, ada, "enable")
    assert [each.kind for each in incidents(mailed) if each.closed_at is None] == ["needs_override"]


# -- changed


def test_a_changed_agent_is_told_to_the_owners_however_soon_it_is_tested_again(
    mailed: Play, receiver: Receiver, ada: AppUser
) -> None:
    move(mailed, ada)
    is_tested(mailed, ada)
    mailed.advance(QUARTER)
    for _ in range(3):
        post(mailed)
    mail = only(receiver.mails)
    number = len(sync_chains(mailed))
    assert mail.subject == f"The sync agent LAB-01 has another address: {number} passwords are sent through it"
    assert mail.to == ["olivia@example.org"]
    assert "Ada gave the sync agent LAB-01 another address at" in words(mail.text)
    assert "It was tested since, and serves." in words(mail.text)
    assert "desk, in Computer Lab\n" in mail.text
    assert "10.7.0.99" not in mail.text + mail.html
    assert "display:inline-block" not in mail.html, "no button where nothing is to be done"


def test_every_change_is_told_once(mailed: Play, receiver: Receiver, ada: AppUser) -> None:
    move(mailed, ada)
    act(mailed, ada, "set_linked", "")
    act(mailed, ada, "set_linked", "")
    mailed.tick()
    mailed.tick()
    assert sorted(row.ids["what"] for row in rows(template="agent_changed")) == ["address", "linked credential"]


def test_a_new_certificate_is_told_and_calls_the_owners_when_it_is_their_turn(
    mailed: Play, receiver: Receiver, ada: AppUser
) -> None:
    move(mailed, ada, OTHER_PIN)
    post(mailed)
    told = only(receiver.mails)
    assert told.subject.startswith("The sync agent LAB-01 has another certificate: ")
    assert "One more mail says when it is an owner's turn." in words(told.text)
    act(mailed, ada, "approve")
    post(mailed)
    is_tested(mailed, ada)
    post(mailed)
    turn = only(receiver.mails[1:])
    assert turn.to == ["olivia@example.org"]
    number = len(sync_chains(mailed))
    assert turn.subject == f"{number} passwords need an owner: the sync agent LAB-01 has a new certificate"
    first = min(sync_chains(mailed), key=str.casefold)
    assert f"{BASE}/passwords/{mailed.entry(first).id}/synchronization\n" in turn.text
    for name in sync_chains(mailed):
        assert incidents(mailed)[0].closed_at is None, name
        sync.confirm_certificate(mailed.olivia, mailed.entry(name), OTHER_PIN)
    post(mailed)
    assert only(receiver.mails[2:]).subject == "The sync agent LAB-01 serves again, it is over"


def test_an_owner_of_another_vault_hears_of_the_own_passwords_only(
    mailed: Play, receiver: Receiver, ada: AppUser
) -> None:
    other = Vault(id=new_id(), name="Elsewhere")
    with write() as session:
        session.add(other)
    add_person("Oscar", vault=other.id)
    with write() as session:
        session.get_one(Entry, mailed.entry("desk").id).vault_id = other.id
    move(mailed, ada, OTHER_PIN)
    act(mailed, ada, "approve")
    is_tested(mailed, ada)
    post(mailed)
    his = [mail for mail in receiver.mails if mail.to == ["oscar@example.org"]]
    assert len(his) == 2
    for mail in his:
        assert "desk, in Elsewhere" in mail.text
        assert "adm, in" not in mail.text + mail.html
    assert "1 password needs an owner" in his[0].subject + his[1].subject
    sync.confirm_certificate(add_owner(mailed, other), mailed.entry("desk"), OTHER_PIN)
    post(mailed)
    assert to(receiver, "The sync agent LAB-01 serves again") == [], "others wait for their own owner"


def add_owner(play: Play, vault: Vault) -> AppUser:
    return play.session.scalars(
        select(AppUser).join(Membership, Membership.user_id == AppUser.id).where(Membership.vault_id == vault.id)
    ).one()  # type: ignore[no-any-return]


def test_no_row_of_a_mail_about_an_agent_is_made_twice(mailed: Play, ada: AppUser) -> None:
    act(mailed, ada, "disable")
    mailed.advance(QUARTER)
    for _ in range(3):
        mailed.tick()
        with write() as session:
            for each in session.scalars(select(Incident)):
                each.mailed_at = None
    assert len(rows(template="agent_disabled")) == 2


def test_an_agent_at_rest_without_its_incident_is_reported(mailed: Play, ada: AppUser) -> None:
    act(mailed, ada, "disable")
    assert check() == []
    with write() as session:
        session.scalars(select(Incident)).one().closed_at = mailed.world.now
    assert [(each.invariant, each.subject) for each in check()] == [("resting", "LAB-01")]
    with write() as session:
        session.scalars(select(Incident)).one().closed_at = None
