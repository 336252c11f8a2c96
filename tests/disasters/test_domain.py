"""A domain account in a chain, through a Windows machine of the domain: the real connectors and the lab's CORP, without
a wire, by one clock."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pwserver.connectors import contract
from pwserver.connectors import session as wire
from pwserver.connectors.base import Call, Credential
from pwserver.core.errors import Invalid
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.lab import python_mind
from pwserver.models import (
    AgentScope,
    AppUser,
    Entry,
    LinkAttempt,
    Membership,
    SyncAgent,
    SyncLink,
    SyncRun,
    Vault,
    new_id,
)
from pwserver.services import agent_test, sync
from pwserver.services.sync import accounts, journal
from pwserver.services.sync.connect import Connections
from pwserver.services.transaction import end_read, write
from pwserver.services.values import add_version
from tests.lab.conftest import Lab
from tests.sync.build import make_app

ACCOUNT = "CORP\\svc-backup"


class Session:
    """A session with an agent of the lab: the request and the answer as they travel, and no wire between."""

    def __init__(self, lab: Lab, machine: str, login: Credential) -> None:
        self.lab, self.machine, self.login = lab, machine, login

    def run(
        self, op: str, *, call: Call, computer_name: str, params: Mapping[str, Any], secrets: Mapping[str, Secret],
        hop: contract.Hop | None,
    ) -> contract.Answer:  # fmt: skip
        sent = contract.request(
            op, attempt=call.attempt, ttl_s=call.ttl_s, computer_name=computer_name, machine_sid=call.machine_sid,
            params=params, secrets=secrets, hop=hop,
        )  # fmt: skip
        told = python_mind.run(self.lab.net, self.machine, self.login.user_name, op, json.loads(sent))
        return contract.read_answer(json.dumps(told).encode(), attempt=call.attempt, op=op)

    def close(self) -> None:
        pass


@dataclass
class Corp:
    """One chain: Default Sync CORP\\svc-backup, with a task and a service of SRV-01 that run as it."""

    lab: Lab
    ids: dict[str, str]

    def entry(self, name: str = "backup") -> Entry:
        return db.session.get_one(Entry, self.ids[name])

    @property
    def olivia(self) -> AppUser:
        return db.session.get_one(AppUser, self.ids["olivia"])

    def work(self) -> None:
        """Every run that is not done is worked once."""
        for run_id in db.session.scalars(select(SyncRun.id).where(SyncRun.state != "done")).all():
            sync.execute(run_id, "worker", lambda: Connections(lambda at, login: Session(self.lab, at.machine, login)))

    def links(self) -> list[SyncLink]:
        return list(sync.active_links(sync.chain_of(self.entry())))

    @property
    def status(self) -> str:
        return sync.chain_of(self.entry()).status

    def last(self, link: SyncLink) -> LinkAttempt:
        rows = select(LinkAttempt).where(LinkAttempt.link_id == link.id).order_by(LinkAttempt.intent_at, LinkAttempt.n)
        return db.session.scalars(rows).all()[-1]

    def account(self) -> Any:
        return self.lab.account("svc-backup", "DC1")

    def test_agent(self) -> None:
        """Its machine says in which domain it stands."""
        agent_test.test_agent(None, db.session.scalars(select(SyncAgent)).one())

    def wrong_logons(self) -> int:
        return sum(sum(machine.bad_logons.values()) for machine in self.lab.net.state.machines.values())


def add_entry(ids: dict[str, str], key: str, user: str, machine: str, value: str, kind: str) -> None:
    with write() as session:
        row = Entry(id=new_id(), vault_id=ids["vault"], name=key, type=kind, user_name=user, machine=machine)
        session.add(row)
        session.flush()
        actor = session.get_one(AppUser, ids["olivia"])
        add_version(session, row, Secret(value), stage="current", origin="created", actor=actor)
        ids[key] = row.id


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The network, which is asked where an agent is tested, too."""
    lab = Lab()
    monkeypatch.setattr(wire, "check", lambda at, login, **_more: lab.run("identity", at.machine))
    return lab


@pytest.fixture
def corp(tmp_path: Path, lab: Lab) -> Iterator[Corp]:
    server = lab.machine("SRV-01")
    server.rights[lab.machine("DC1").sid_of(lab.account("svc-backup", "DC1"))] = [
        "SeBatchLogonRight", "SeServiceLogonRight",
    ]  # fmt: skip
    server.tasks[0].run_as = server.services[0].start_name = ACCOUNT
    server.tasks[0].stored = server.services[0].stored = lab.passwords[ACCOUNT]
    app = make_app(tmp_path)
    app.config["CLOCK"] = lab.clock
    with app.app_context():
        made = Corp(lab, {"olivia": new_id(), "vault": new_id()})
        ids = made.ids
        with write() as session:
            olivia = AppUser(
                id=ids["olivia"], email="olivia@example.org", name="Olivia", password_hash="-", created_at=lab.clock()
            )
            member = Membership(vault_id=ids["vault"], user_id=ids["olivia"], owner=True, modify=True)
            session.add_all([olivia, Vault(id=ids["vault"], name="Servers"), member])
        add_entry(ids, "backup", "svc-backup", "CORP", lab.passwords[ACCOUNT], "domain")
        add_entry(ids, "admin", "lab-adm", "CORP", lab.passwords["CORP\\lab-adm"], "domain")
        add_entry(ids, "login", "LAB-01\\svc-psrv", "LAB-01", lab.passwords["LAB-01\\svc-psrv"], "standalone_windows")
        agent_id = new_id()
        with write() as session:
            agent = SyncAgent(
                id=agent_id, name="LAB-01", transport="winrm", machine="LAB-01", host="127.0.0.1", state="approved",
                health="ok", login_entry_id=ids["login"], linked_entry_id=ids["admin"],
                allowed_machines=["CORP", "corp.test", "SRV-01"],
            )  # fmt: skip
            session.add_all([agent, AgentScope(agent_id=agent_id, vault_id=ids["vault"])])
        sync.enable(made.olivia, made.entry(), agent_id)
        for kind, settings in (
            ("scheduled_task", {"machine": "SRV-01", "path": "\\Backup\\Nightly"}),
            ("windows_service", {"machine": "SRV-01", "name": "backupd"}),
        ):
            revision = sync.chain_of(made.entry()).revision
            sync.add_link(made.olivia, made.entry(), kind, settings, revision=revision)
        made.work()
        yield made
        db.session.remove()


def changed(corp: Corp, value: str = "Kobold-17 zaehlt") -> None:
    sync.request_change(corp.olivia, corp.entry(), Secret(value))
    corp.work()


def test_a_change_goes_from_the_domain_to_its_places_without_one_wrong_logon(corp: Corp) -> None:
    changed(corp)
    assert corp.account().password == "Kobold-17 zaehlt"
    server = corp.lab.machine("SRV-01")
    assert server.tasks[0].stored == server.services[0].stored == "Kobold-17 zaehlt"
    states = [(link.state, link.proof_means, link.proof_host) for link in corp.links()]
    assert states[0] == ("in_sync", "logged on", "dc1.corp.test")
    assert states[1] == ("in_sync", "written only", "SRV-01")
    assert states[2][0] == "updated"
    assert corp.wrong_logons() == 0


def test_a_password_set_outside_five_minutes_ago_ends_the_green_and_the_hour_later_it_is_said(corp: Corp) -> None:
    """Both values still open the account by NTLM: a logon with the vault's proves nothing."""
    changed(corp)
    corp.lab.clock.move(hours=21)
    corp.account().store("Set-by-somebody-1", corp.lab.clock().timestamp())
    corp.lab.clock.move(minutes=5)
    assert corp.lab.log_on("Kobold-17 zaehlt", "svc-backup", domain="CORP")["code"] == 0
    sync.request_test(corp.olivia, corp.entry())
    corp.work()
    link = corp.links()[0]
    assert (corp.last(link).outcome, link.reason) == ("unknown", "grace_hour")
    assert link.proof_version_id is None
    assert corp.status != "in_sync"
    assert corp.wrong_logons() == 0
    corp.lab.clock.move(minutes=62)
    corp.work()
    link = corp.links()[0]
    assert (link.state, link.reason) == ("refused", "value_refused")
    assert corp.wrong_logons() == 1
    assert corp.account().bad_count == 0  # a domain forgives a value that is one of the last two


def test_a_start_within_the_hour_of_grace_proves_no_place(corp: Corp) -> None:
    """A stale copy still opens it by NTLM then, so a service that came up in that hour may have the password before."""
    service = corp.lab.machine("SRV-01").services[0]
    started = {}
    for minutes in (60, 70):
        corp.account().last_set = corp.lab.clock().timestamp() - 100 * 60
        service.started = corp.account().last_set + minutes * 60
        with write() as session:
            for link in session.scalars(select(SyncLink)):
                link.proof_version_id = link.written_rev = link.holds_version_id = None
                link.proved_at = link.logon_at = None
        sync.request_test(corp.olivia, corp.entry())
        corp.work()
        link = corp.links()[2]
        started[minutes] = (link.reason, link.proof_means)
    assert started == {60: ("not_yet_written", None), 70: ("", "started since the last change")}


def test_one_domain_account_under_two_spellings_has_one_manager(corp: Corp) -> None:
    """The second chain finds, before its first write, that the account is another chain's."""
    add_entry(corp.ids, "again", "SVC-Backup", "corp.test", "whatever 1", "domain")
    agent = db.session.scalars(select(SyncAgent.id)).one()
    try:
        sync.enable(corp.olivia, corp.entry("again"), agent)
    except Invalid:
        return
    corp.work()
    link = sync.active_links(sync.chain_of(corp.entry("again")))[0]
    assert (link.state, link.reason) == ("blocked", "another_link_has_account")
    assert corp.account().password == corp.lab.passwords[ACCOUNT]


def test_a_second_chain_of_a_known_domain_is_refused_before_anything_is_sent(corp: Corp) -> None:
    corp.test_agent()
    add_entry(corp.ids, "again", "SVC-Backup", "corp.test", "whatever 1", "domain")
    with pytest.raises(Invalid, match="in a chain already"):
        sync.enable(corp.olivia, corp.entry("again"), db.session.scalars(select(SyncAgent.id)).one())


SPELLINGS = ("CORP\\lab-adm", "corp.test\\lab-adm", "Lab-Adm@corp.test")


def test_a_wrong_linked_credential_is_sent_once_however_many_ways_it_is_spelled(corp: Corp) -> None:
    """Three places, three entries for one account with the same wrong value, and the server goes on by itself."""
    corp.test_agent()
    add_entry(corp.ids, "admin of DC1", "Administrator", "CORP", corp.lab.passwords["CORP\\Administrator"], "domain")
    sync.add_link(
        corp.olivia, corp.entry(), "windows_service", {"machine": "SRV-01", "name": "indexd"},
        revision=sync.chain_of(corp.entry()).revision,
    )  # fmt: skip
    corp.work()
    places = corp.links()[1:]
    for link, name in zip(places, SPELLINGS, strict=True):
        add_entry(corp.ids, name, name, "", "Not-the-right-1", "generic")
        with write() as session:
            session.get_one(SyncLink, link.id).linked_entry_id = corp.ids[name]
            session.scalars(select(SyncAgent)).one().linked_entry_id = corp.ids["admin of DC1"]
    changed(corp)
    assert [link.reason for link in corp.links()] == ["", "linked_refused", "waiting_for_login", "waiting_for_login"]
    for _ in range(4):
        corp.lab.clock.move(minutes=40)
        corp.work()
    assert corp.wrong_logons() == 1


def test_a_value_that_its_domain_refused_is_no_linked_credential_under_another_spelling(corp: Corp) -> None:
    """svc-web's own chain has heard no. The same entry's value, lent under the domain's other name, is not tried."""
    corp.test_agent()
    agent_id = db.session.scalars(select(SyncAgent.id)).one()
    add_entry(corp.ids, "web", "svc-web", "CORP", "Not-the-right-1", "domain")
    sync.enable(corp.olivia, corp.entry("web"), agent_id)
    corp.work()
    assert sync.active_links(sync.chain_of(corp.entry("web")))[0].reason == "value_refused"
    add_entry(corp.ids, "lent", "svc-web@corp.test", "", "Not-the-right-1", "generic")
    with write() as session:
        session.get_one(SyncLink, corp.links()[1].id).linked_entry_id = corp.ids["lent"]
    changed(corp)
    assert (corp.links()[1].state, corp.links()[1].reason) == ("blocked", "waiting_for_login")
    assert corp.wrong_logons() == 1


def test_what_was_heard_under_both_names_is_united_when_the_domain_comes_to_be_known(corp: Corp) -> None:
    at = corp.lab.clock()
    with write() as session:
        for number, name in enumerate(("corp\\lab-adm", "corp.test\\lab-adm")):
            accounts.lock(session, [name])
            accounts.reserve(session, name, f"try {number}", at)
    names = ["corp\\lab-adm", "corp.test\\lab-adm", "corp\\svc-backup", "corp.test\\svc-backup"]
    assert len({accounts.key_of(db.session, name) for name in names}) == 4
    corp.test_agent()
    admin, again, account, twice = (accounts.key_of(db.session, name) for name in names)
    assert admin == again == "corp.test\\lab-adm"
    assert account == twice == corp.links()[0].account_key
    assert account.startswith("S-1-5-21-")
    no = accounts.may_try(db.session, admin, None, budget=2, window=1800, busy_for=5, at=at)
    assert no is not None
    assert not no.busy


def test_a_name_that_proves_to_be_another_ones_in_the_last_moment_is_used_under_that_key(
    corp: Corp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a chain that changes the linked credential would not see that a call is using it (rule 32)."""
    intent, told = journal.SqlJournal.intent, []

    def learns(self: journal.SqlJournal, *asked: Any) -> Any:
        if not told:
            assert accounts.key_of(db.session, "corp\\lab-adm") == "corp\\lab-adm"
            end_read()
            told.append(corp.test_agent())
        return intent(self, *asked)

    monkeypatch.setattr(journal.SqlJournal, "intent", learns)
    changed(corp)
    assert told
    assert corp.last(corp.links()[0]).uses_key == "corp.test\\lab-adm"


def test_a_controller_that_lost_the_role_gets_no_password_and_it_goes_on_by_itself(corp: Corp) -> None:
    corp.lab.machine("DC1").sam.pdc, corp.lab.machine("DC1").sam.pdc_record = "DC2", "DC1"  # DNS has not heard of it
    changed(corp)
    link = corp.links()[0]
    assert (link.state, link.reason) == ("unreachable", "not_pdc")
    assert corp.account().password == corp.lab.passwords[ACCOUNT]
    corp.lab.machine("DC1").sam.pdc = ""
    corp.lab.clock.move(minutes=1)
    corp.work()
    assert corp.account().password == "Kobold-17 zaehlt"
