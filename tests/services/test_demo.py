"""The demo's data over a real lab: made once, found again, finished after a start that was killed in the middle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import func, select

from pwserver.core.access import Right
from pwserver.core.states import Health, Status
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Event, SyncAgent, SyncChain, SyncLink, SyncRun, Vault
from pwserver.services import agents, demo, keys, sync, users, vaults
from pwserver.services.demo import OLIVIA, OTHERS, password_of
from pwserver.services.transaction import write
from tests.cli.conftest import LabHere, make_app
from tests.conftest import dispose, make_tables

pytestmark = pytest.mark.enable_socket

ADDRESS = dict[str, dict[str, object]]


@pytest.fixture(scope="module")
def lab_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab's folder with its certificates made, which takes longest."""
    folder = tmp_path_factory.mktemp("lab")
    LabHere(folder, {}).stop()
    return folder


@pytest.fixture
def lab(lab_folder: Path, tmp_path: Path) -> Iterator[LabHere]:
    folder = tmp_path / "lab"
    shutil.copytree(lab_folder, folder)
    started = LabHere(folder, {})
    yield started
    started.stop()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An instance without anybody in it."""
    made = make_app(tmp_path / "instance")
    with made.app_context():
        make_tables()
        keys.prove()
        yield made
    dispose(made)


def counts() -> dict[str, int]:
    tables = (AppUser, Vault, Entry, SyncAgent, SyncChain, SyncLink, SyncRun, Event)
    return {each.__tablename__: db.session.scalar(select(func.count()).select_from(each)) or 0 for each in tables}


def links_of(name: str) -> list[tuple[str, str, str]]:
    entry = db.session.scalars(select(Entry).filter_by(name=name)).one()
    chain = sync.chain_of(entry)
    assert chain is not None
    assert chain.enabled
    return [
        (link.kind, link.machine, next(str(v) for k, v in link.settings.items() if k in ("user_name", "path", "name")))
        for link in sync.active_links(chain)
    ]


def assert_whole() -> None:
    """Everything the demo promises is there."""
    administrator = [("remote_windows", f"LAB-0{n}", "Administrator") for n in range(2, 9)]
    assert links_of("Lab Administrator") == [("standalone_windows", "LAB-01", "Administrator"), *administrator]
    assert links_of("svc-backup") == [
        ("remote_windows", "SRV-01", "svc-backup"),
        ("scheduled_task", "SRV-01", "\\Backup\\Nightly"),
        ("windows_service", "SRV-01", "backupd"),
        ("windows_service", "SRV-01", "indexd"),
    ]
    assert links_of("CORP svc-backup") == [
        ("domain", "CORP", "svc-backup"),
        ("scheduled_task", "SRV-01", "\\Backup\\Offsite copy"),
        ("windows_service", "SRV-01", "offsited"),
    ]
    assert links_of("SW-01") == [("device_ssh", "SW-01", "admin")]
    agent = db.session.scalars(select(SyncAgent).filter_by(name="LAB-01")).one()
    assert (agent.state, agent.health) == ("approved", Health.HEALTHY)
    assert agents.usable(agent)
    assert agent.login_entry is not None
    assert agent.linked_entry is not None
    assert (agent.login_entry.vault.kind, agent.linked_entry.vault.kind) == ("system", "system")
    vault = db.session.scalars(select(Vault).filter_by(name="Computer Lab")).one()
    rights = {person.email: vaults.right_of(find(person.email), vault.id) for person in (OLIVIA, *OTHERS)}
    assert list(rights.values()) == [Right.OWNER, Right.MODIFY, Right.READ, None]
    assert find(OLIVIA.email).org_admin
    names = db.session.scalars(select(Entry.name).order_by(Entry.name)).all()
    assert len(names) == len(set(names))


def switch_key() -> str:
    return db.session.scalars(select(Entry.host_key).filter_by(name="SW-01")).one()


def find(email: str) -> AppUser:
    user = users.find(email)
    assert user is not None
    return user


def test_every_login_that_is_printed_works(app: Flask, lab: LabHere) -> None:
    lines = "\n".join(demo.ensure(lab.addresses))
    assert_whole()
    for person in (OLIVIA, *OTHERS):
        password = password_of(person)
        assert f"{person.email} " in lines
        assert password.open() in lines
        assert users.matches(find(person.email), password)
    assert len({password_of(person).open() for person in (OLIVIA, *OTHERS)}) == 4


def test_the_first_tests_find_all_in_sync_and_no_wrong_logon(app: Flask, lab: LabHere) -> None:
    demo.ensure(lab.addresses)
    before = lab.network.hash()
    for run_id in db.session.scalars(select(SyncRun.id)).all():
        sync.execute(run_id, "test")
    assert {chain.status for chain in db.session.scalars(select(SyncChain))} == {Status.IN_SYNC}
    assert lab.network.hash() == before
    assert not any(machine.bad_logons for machine in lab.network.state.machines.values())


def test_the_account_of_the_domain_is_proved_by_a_logon_long_after_it_was_set(app: Flask, lab: LabHere) -> None:
    """Rule 38: in the hour after a change it would prove nothing; its password is thirty days old."""
    demo.ensure(lab.addresses)
    for run_id in db.session.scalars(select(SyncRun.id)).all():
        sync.execute(run_id, "test")
    entry = db.session.scalars(select(Entry).filter_by(name="CORP svc-backup")).one()
    links = sync.active_links(sync.chain_of(entry))
    assert [(link.proof_means, link.proof_host) for link in links] == [
        ("logged on", "dc1.corp.test"),
        ("started since the last change", "SRV-01"),
        ("started since the last change", "SRV-01"),
    ]
    assert (links[0].account_key or "").startswith("S-1-5-21-")


def test_a_demo_that_was_made_before_there_was_a_domain_in_it_still_starts(app: Flask, lab: LabHere) -> None:
    demo.ensure(lab.addresses)
    agent = db.session.scalars(select(SyncAgent).filter_by(name="LAB-01")).one()
    entry = db.session.scalars(select(Entry).filter_by(name="CORP svc-backup")).one()
    with write() as session:
        session.get_one(SyncAgent, agent.id).allowed_machines = [name for name in demo.REACH if name != "CORP"]
        session.get_one(Entry, entry.id).name = "removed"
    before = counts()
    demo.ensure(lab.addresses)
    assert counts() == before


def test_the_second_start_finds_everything(app: Flask, lab: LabHere) -> None:
    lines = demo.ensure(lab.addresses)
    before = counts()
    assert demo.ensure(lab.addresses) == lines
    assert counts() == before
    assert_whole()


def test_no_login_is_stored_or_logged(app: Flask, lab: LabHere, caplog: pytest.LogCaptureFixture) -> None:
    lines = demo.ensure(lab.addresses)
    words = [password_of(person).open() for person in (OLIVIA, *OTHERS)]
    assert all(word in "\n".join(lines) for word in words)
    folder: Path = app.config["PWSERVER"].instance
    stored = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"olivia@northfield.example" in stored  # it was really read
    for word in words:
        assert word.encode() not in stored
        assert word not in caplog.text


def test_another_instance_has_other_logins(app: Flask, tmp_path: Path) -> None:
    from pwserver import create_app
    from pwserver.config import Config

    here = password_of(OLIVIA)
    other = create_app(Config(instance=tmp_path / "other", testing=True), pages=False)
    with other.app_context():
        assert password_of(OLIVIA) != here
    dispose(other)


def test_a_changed_password_is_not_printed_any_more(app: Flask, lab: LabHere) -> None:
    demo.ensure(lab.addresses)
    vera = find("vera@northfield.example")
    users.set_active(find(OLIVIA.email), vera, False)
    lines = [line for line in demo.ensure(lab.addresses) if "vera@" in line]
    assert "(changed)" in lines[0]


def test_what_a_person_took_away_stays_away(app: Flask, lab: LabHere) -> None:
    demo.ensure(lab.addresses)
    olivia, vera = find(OLIVIA.email), find("vera@northfield.example")
    vault = db.session.scalars(select(Vault).filter_by(name="Computer Lab")).one()
    vaults.remove_member(olivia, vault, vera.id)
    for run_id in db.session.scalars(select(SyncRun.id)).all():
        sync.execute(run_id, "test")
    chain = db.session.scalars(select(SyncChain).join(Entry).where(Entry.name == "svc-backup")).one()
    sync.remove_link(olivia, sync.active_links(chain)[3], revision=chain.revision)
    before = counts()
    demo.ensure(lab.addresses)
    assert counts() == before
    assert vaults.right_of(vera, vault.id) is None
    assert len(links_of("svc-backup")) == 3


def test_a_lab_that_was_begun_anew_is_followed(app: Flask, lab: LabHere, tmp_path: Path) -> None:
    demo.ensure(lab.addresses)
    anew = LabHere(tmp_path / "anew", {})
    try:
        assert anew.addresses["LAB-01"]["fingerprint"] != lab.addresses["LAB-01"]["fingerprint"]
        demo.ensure(anew.addresses)  # its first test is still queued: nothing is changed under a run
        assert switch_key() == lab.addresses["SW-01"]["fingerprint"]
        for run_id in db.session.scalars(select(SyncRun.id)).all():
            sync.execute(run_id, "test")
        demo.ensure(anew.addresses)
        agent = db.session.scalars(select(SyncAgent).filter_by(name="LAB-01")).one()
        told = anew.addresses["LAB-01"]
        assert (agent.port, agent.pin) == (told["port"], told["fingerprint"])
        assert switch_key() == anew.addresses["SW-01"]["fingerprint"] != lab.addresses["SW-01"]["fingerprint"]
        assert_whole()
    finally:
        anew.stop()


class Killed(BaseException):
    """As by kill -9: nothing in between may catch it."""


@pytest.mark.budget(15, "starts once for each commit")
def test_a_start_that_was_killed_after_some_commit_is_finished_by_the_next(lab: LabHere, tmp_path: Path) -> None:
    template = tmp_path / "template"
    app = make_app(template)
    with app.app_context():
        make_tables()
        keys.prove()
    dispose(app)
    at, killed = 1, True
    while killed:
        folder = tmp_path / f"killed-{at}"
        shutil.copytree(template, folder)
        app = make_app(folder)
        with app.app_context():
            killed = _killed_at(app, lab, at)
            demo.ensure(lab.addresses)
            assert_whole()
        dispose(app)
        shutil.rmtree(folder)
        at += 4  # of about fifty commits
    assert at > 25, "fewer commits than the demo needs: nothing was killed"


def _killed_at(app: Flask, lab: LabHere, commit: int) -> bool:
    """Starts the demo and ends it right after its n-th commit. False: it had fewer."""
    left = [commit]

    def hook(moment: str) -> None:
        if moment == "after":
            left[0] -= 1
            if left[0] == 0:
                raise Killed

    app.config["COMMIT_HOOK"] = hook
    try:
        demo.ensure(lab.addresses)
    except Killed:
        db.session.remove()
        return True
    finally:
        app.config.pop("COMMIT_HOOK")
    return False
