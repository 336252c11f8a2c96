"""``flask sync test-due``: the daily tests of a time, asked for now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from pwserver.cli.find import find_entry
from pwserver.extensions import db
from pwserver.lab import truth
from pwserver.models import LinkAttempt, SyncChain, SyncRun
from pwserver.services import sync
from tests.cli.conftest import BACKUP, LAB_ADMINISTRATOR, SWITCH, Console, LabHere

pytestmark = pytest.mark.enable_socket

KEYS = {"now", "due", "queued", "under_way", "entries"}
TONIGHT = datetime.now(UTC) + timedelta(hours=23)


@pytest.fixture
def proved(console: Console, lab: LabHere) -> Console:
    console.in_sync()
    return console


def attempts(console: Console) -> int:
    with console.app.app_context():
        return len(db.session.scalars(select(LinkAttempt.id)).all())


def test_nothing_is_due_right_after_the_proofs(proved: Console) -> None:
    code, told = proved.json("sync", "test-due")
    assert set(told) == KEYS
    assert (code, told["due"], told["queued"], told["entries"]) == (0, 0, 0, [])
    assert "no password is due" in proved("sync", "test-due").stdout


def test_what_is_due_at_a_time_is_tested_now_and_not_again_by_the_timer(proved: Console, lab: LabHere) -> None:
    truth.set_password(lab.network, "SRV-01", "svc-backup", "by hand at its console 1")
    before, as_it_is, moment = attempts(proved), lab.network.hash(), f"{TONIGHT:%Y-%m-%dT%H:%MZ}"
    code, told = proved.json("sync", "test-due", "--now", moment, "--work")
    assert (told["now"], told["due"], told["queued"], told["under_way"]) == (f"{moment[:-1]}:00Z", 4, 4, 0)
    by_name = {each["entry"]: each for each in told["entries"]}
    assert by_name[LAB_ADMINISTRATOR]["status"] == by_name[SWITCH]["status"] == "in_sync"
    assert {each["run"]["kind"] for each in told["entries"]} == {"test"}
    assert {each["run"]["state"] for each in told["entries"]} == {"done"}
    assert (code, by_name[BACKUP]["status"], by_name[BACKUP]["detail"]) == (1, "out_of_sync", "3 of 4, SRV-01 refused")
    assert attempts(proved) > before
    assert lab.network.hash() == as_it_is, "a test never writes"
    with proved.app.app_context():
        again = [each for each in db.session.scalars(select(SyncChain.next_test_at)) if each]
    assert len(again) == 4
    assert min(again) > datetime.now(UTC) + timedelta(hours=19)


def test_the_workers_are_waited_for(proved: Console) -> None:
    shown = proved("sync", "test-due", "--now", f"{TONIGHT:%Y-%m-%d %H:%M}", "--wait", "20")
    assert "4 due, 4 queued, 0 under way already." in shown.stdout
    assert f"{LAB_ADMINISTRATOR}" in shown.stdout
    assert "In Sync" in shown.stdout


def test_a_test_that_is_queued_already_is_not_queued_twice(proved: Console) -> None:
    with proved.app.app_context():
        run_id = sync.request_test(None, find_entry(SWITCH)).id
    code, told = proved.json("sync", "test-due", "--now", TONIGHT.isoformat())
    assert (code, told["due"], told["queued"], told["under_way"]) == (0, 4, 3, 1)
    with proved.app.app_context():
        tests = select(SyncRun.id).where(SyncRun.kind == "test", SyncRun.chain_id == chain_of(run_id))
        assert len(db.session.scalars(tests).all()) == 2, "the one before, and this one"


def chain_of(run_id: str) -> str:
    return db.session.get_one(SyncRun, run_id).chain_id


@pytest.mark.parametrize(
    "arguments", [("--now", "tonight"), ("--now", "25:00"), ("--work", "--wait", "3"), ("--wait", "-1")]
)
def test_what_makes_no_sense_queues_nothing(proved: Console, arguments: tuple[str, ...]) -> None:
    before = attempts(proved)
    assert proved("sync", "test-due", *arguments).exit_code == 2
    assert attempts(proved) == before
