"""``flask sync`` and ``flask entry`` over the demo's lab: tables, JSON, exit statuses, and secrets that stay unseen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from click.testing import Result
from flask import Flask

from pwserver import queueing
from pwserver.cli import sync as cli_sync
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.lab.model.network import SYSTEM
from pwserver.models import Event, SyncLink, SyncRun
from pwserver.services import entries, sync, users, vaults
from tests.cli.conftest import BACKUP, DOMAIN, LAB_ADMINISTRATOR, SWITCH, Console, LabHere

pytestmark = pytest.mark.enable_socket

NEW = "Neu-Wert 49 \u20ac \U0001f40e"
RUN = {"id", "number", "kind", "state", "result", "requested_at", "started_at", "finished_at", "due_at"}
STATUS = {
    "entry", "status", "label", "detail", "since", "enabled", "agent", "version", "pending", "good", "total", "run",
    "links",
}  # fmt: skip
LINK = {
    "number", "kind", "machine", "name", "state", "label", "evidence", "reason", "why", "told", "code", "next", "holds",
    "proof", "proved_at", "next_try_at", "tries",
}  # fmt: skip

Secretless = Callable[[Sequence[Result], str], None]


def true_value(lab: LabHere, machine: str, user: str) -> str:
    account = lab.network.machine(machine).sam.find(user)
    assert account is not None
    return account.password


def test_status_is_well_only_when_in_sync(console: Console, lab: LabHere) -> None:
    code, told = console.json("sync", "status", LAB_ADMINISTRATOR)
    assert (code, told["status"], told["label"]) == (1, "pending_sync", "Pending Sync")
    assert set(told) == STATUS
    assert {frozenset(link) for link in told["links"]} == {frozenset(LINK)}
    console.in_sync()
    code, told = console.json("sync", "status", LAB_ADMINISTRATOR)
    assert (code, told["status"], told["good"], told["total"]) == (0, "in_sync", 8, 8)
    assert [link["machine"] for link in told["links"]] == [f"LAB-0{n}" for n in range(1, 9)]
    assert told["links"][4]["proof"] == "logged on"
    shown = console("sync", "status", LAB_ADMINISTRATOR.lower())
    assert shown.exit_code == 0
    assert "Lab Administrator: In Sync" in shown.stdout
    assert "logged on" in shown.stdout


def test_a_service_that_we_stopped_and_that_did_not_start_fails_the_change(console: Console, lab: LabHere) -> None:
    console.in_sync(DOMAIN)
    offsited = lab.network.machine("SRV-01").service("offsited")
    assert offsited is not None
    links = console.json("sync", "status", DOMAIN)[1]["links"]
    number = next(str(link["number"]) for link in links if link["name"] == "offsited")
    assert console("sync", "edit", DOMAIN, number, "restart=service").exit_code == 0
    console.in_sync(DOMAIN)
    offsited.start_fails = 1067
    result = console("sync", "change", DOMAIN, "--generate", "--wait", "20")
    assert result.exit_code == 1, result.output
    code, told = console.json("sync", "status", DOMAIN)
    link = next(link for link in told["links"] if link["name"] == "offsited")
    assert (code, told["status"], told["detail"]) == (1, "out_of_sync", "2 of 3, SRV-01 stopped, not up")
    assert (link["state"], link["code"]) == ("down", "1067")
    assert link["why"] == "We stopped offsited on SRV-01 and it did not start."
    shown = console("sync", "status", DOMAIN).stdout
    assert "We stopped offsited on SRV-01 and it did not start." in shown
    offsited.start_fails = 0
    assert lab.network.call("SRV-01", SYSTEM, "StartServiceW", {"name": "offsited"})["code"] == 0
    assert console("sync", "retest", DOMAIN, "--wait", "20").exit_code == 0


def test_a_disabled_service_is_not_stopped_and_the_link_says_so(console: Console, lab: LabHere) -> None:
    console.in_sync(DOMAIN)
    offsited = lab.network.machine("SRV-01").service("offsited")
    assert offsited is not None
    links = console.json("sync", "status", DOMAIN)[1]["links"]
    number = next(str(link["number"]) for link in links if link["name"] == "offsited")
    assert console("sync", "edit", DOMAIN, number, "restart=service").exit_code == 0
    console.in_sync(DOMAIN)
    offsited.start_type = 4
    console("sync", "change", DOMAIN, "--generate", "--wait", "20")
    link = next(link for link in console.json("sync", "status", DOMAIN)[1]["links"] if link["name"] == "offsited")
    assert (offsited.state, offsited.starts) == (4, 1)
    assert (link["state"], link["reason"], link["told"]) == (
        "updated", "start_disabled", "The start type of offsited is Disabled.",
    )  # fmt: skip
    assert "was not restarted" in link["why"]


def test_all_passwords_in_one_table(console: Console, lab: LabHere) -> None:
    code, told = console.json("sync", "status")
    assert code == 1
    assert [set(each) for each in told["entries"]] == [{"entry", "status", "label", "detail", "good", "total"}] * 4
    console.in_sync()
    result = console("sync", "status")
    assert result.exit_code == 0
    assert "8 of 8" in result.stdout


def test_a_change_reaches_every_machine_byte_exact(
    console: Console, lab: LabHere, nudges: list[str], secretless: Secretless
) -> None:
    console.in_sync()
    result = console("sync", "change", LAB_ADMINISTRATOR, "--wait", "20", stdin=f"{NEW}\n")
    assert result.exit_code == 0, result.output
    secretless([result], NEW)
    assert {true_value(lab, f"LAB-0{n}", "Administrator") for n in range(1, 9)} == {NEW}
    shown = console("entry", "show", LAB_ADMINISTRATOR)
    assert shown.stdout_bytes == NEW.encode() + b"\n"
    with console.app.app_context():
        assert nudges[-1] == db.session.scalars(db.select(SyncRun).order_by(SyncRun.number)).all()[-1].id


def test_the_switch_is_changed_over_ssh(console: Console, lab: LabHere, secretless: Secretless) -> None:
    console.in_sync(SWITCH)
    result = console("sync", "change", SWITCH, "--wait", "20", stdin="Schalter-81 um")
    assert result.exit_code == 0, result.output
    secretless([result], "Schalter-81 um")
    assert console("lab", "holds", "SW-01", "admin", stdin="Schalter-81 um").exit_code == 0


def test_a_change_without_waiting_says_its_run(console: Console, lab: LabHere) -> None:
    console.in_sync(BACKUP)
    code, told = console.json("sync", "change", BACKUP, "--generate")
    assert code == 0
    assert set(told) == {"entry", "run"}
    assert (set(told["run"]), told["run"]["kind"]) == (RUN, "change")
    code, ran = console.json("sync", "run", str(told["run"]["number"]))
    assert (code, ran["state"], ran["result"]) == (0, "done", "done")
    assert set(ran) == RUN | {"entry", "now", "attempts"}
    assert [each["step"] for each in ran["attempts"]] == ["change", "set", "set", "set"]
    assert console("sync", "run", told["run"]["id"]).exit_code == 0


def test_a_machine_that_is_off_makes_waiting_end_not_well(console: Console, lab: LabHere) -> None:
    console.in_sync(LAB_ADMINISTRATOR)
    assert console("lab", "fault", "LAB-05", "off").exit_code == 0
    code, told = console.json("sync", "change", LAB_ADMINISTRATOR, "--generate", "--wait", "0")
    assert (code, told["status"], told["detail"]) == (1, "out_of_sync", "7 of 8, LAB-05 no answer")
    assert told["waited_run"]["state"] == "waiting"
    left = next(link for link in told["links"] if link["machine"] == "LAB-05")
    assert (left["state"], left["tries"], left["holds"]) == ("unreachable", 1, 1)
    assert left["next_try_at"]
    assert console("lab", "fault", "lab-05", "on").exit_code == 0
    assert console("sync", "retest", LAB_ADMINISTRATOR, "--wait", "20").exit_code == 0


def test_a_password_set_by_hand_is_refused_once_and_then_corrected(
    console: Console, lab: LabHere, secretless: Secretless
) -> None:
    console.in_sync(LAB_ADMINISTRATOR)
    by_hand = console("lab", "set-password", "LAB-06", "Administrator", stdin=NEW)
    assert by_hand.exit_code == 0
    code, told = console.json("sync", "test", LAB_ADMINISTRATOR, "--wait", "20")
    assert (code, told["detail"]) == (1, "7 of 8, LAB-06 refused")
    refused = told["links"][5]
    assert (refused["reason"], refused["code"]) == ("value_refused", "1326")
    assert "LAB-06 refused" in refused["why"]
    assert console.json("lab", "badlogons")[1]["total"] == 1
    corrected = console("sync", "correct", LAB_ADMINISTRATOR, "--link", "6", "--wait", "20", stdin=NEW)
    assert corrected.exit_code == 1  # the seven others have not got it yet
    assert true_value(lab, "LAB-01", "Administrator") != NEW
    retested = console("sync", "retest", LAB_ADMINISTRATOR, "--wait", "20")
    assert retested.exit_code == 0, retested.output
    assert {true_value(lab, f"LAB-0{n}", "Administrator") for n in range(1, 9)} == {NEW}
    assert console.json("lab", "badlogons")[1]["total"] == 1
    secretless([by_hand, corrected, retested], NEW)


def test_another_machine_behind_a_known_name_stays_blocked_until_an_owner_says_so(
    console: Console, lab: LabHere
) -> None:
    """Its machine SID is not learned by looking at it: a second try would hand it the password."""
    console.in_sync(LAB_ADMINISTRATOR)
    console("lab", "fault", "LAB-04", "reinstalled")
    before = true_value(lab, "LAB-04", "Administrator")
    for command in (("change", LAB_ADMINISTRATOR, "--generate"), ("retest", LAB_ADMINISTRATOR)):
        code, told = console.json("sync", *command, "--wait", "20")
        assert (code, told["links"][3]["state"], told["links"][3]["reason"]) == (1, "blocked", "new_machine")
    assert true_value(lab, "LAB-04", "Administrator") == before
    with console.app.app_context():
        olivia = users.find("olivia@northfield.example")
        assert olivia is not None
        link = db.session.scalars(db.select(SyncLink).filter_by(machine="LAB-04")).one()
        sync.edit_link(olivia, link, link.settings, revision=link.chain.revision)
    console("sync", "test", LAB_ADMINISTRATOR, "--wait", "20")  # saving queued it
    code, told = console.json("sync", "retest", LAB_ADMINISTRATOR, "--wait", "20")
    assert (code, told["status"]) == (0, "in_sync")


def test_the_machine_itself_is_known_again_after_a_stranger_answered_for_it(console: Console, lab: LabHere) -> None:
    console.in_sync(LAB_ADMINISTRATOR)
    console("lab", "fault", "LAB-04", "reinstalled")
    assert console("sync", "change", LAB_ADMINISTRATOR, "--generate", "--wait", "20").exit_code == 1
    console("lab", "fault", "LAB-04", "none")
    assert console("sync", "retest", LAB_ADMINISTRATOR, "--wait", "20").exit_code == 0


def test_correct_says_which_links_it_may_name(console: Console, lab: LabHere) -> None:
    assert console("sync", "correct", BACKUP, "--link", "2", stdin=NEW).exit_code == 1  # a task stores a copy
    assert console("sync", "correct", BACKUP, "--link", "9", stdin=NEW).exit_code == 1
    assert console("sync", "correct", BACKUP, "--link", "1", "--nowhere", stdin=NEW).exit_code == 2
    assert console.json("sync", "status", BACKUP)[1]["version"] == 1


def test_retest_with_nothing_to_do_sends_nothing(console: Console, lab: LabHere, nudges: list[str]) -> None:
    console.in_sync(LAB_ADMINISTRATOR)
    before = list(nudges)
    code, told = console.json("sync", "retest", LAB_ADMINISTRATOR)
    assert (code, told["status"]) == (0, "in_sync")
    assert "nothing to do" in console("sync", "retest", LAB_ADMINISTRATOR).stdout
    assert nudges == before


@pytest.mark.parametrize(
    ("value", "status"),
    [(b"", 2), (b"\n", 2), (b"\xff\xfe", 2), (b"a" * 5000, 2), (b" blank", 1), (b"two\nlines", 1), (b"a" * 128, 1)],
)
def test_a_value_that_cannot_be_stored_everywhere_is_not_saved(
    console: Console, lab: LabHere, value: bytes, status: int
) -> None:
    assert console("sync", "change", LAB_ADMINISTRATOR, stdin=value).exit_code == status
    assert console.json("sync", "status", LAB_ADMINISTRATOR)[1]["version"] == 1


def test_one_line_end_is_not_part_of_the_password(console: Console, lab: LabHere) -> None:
    console.in_sync(LAB_ADMINISTRATOR)
    assert console("sync", "change", LAB_ADMINISTRATOR, "--wait", "20", stdin=b"Zaun-11 offen?\r\n").exit_code == 0
    assert true_value(lab, "LAB-03", "Administrator") == "Zaun-11 offen?"


def test_the_same_password_again_is_nothing_to_do(console: Console, lab: LabHere) -> None:
    value = console("entry", "show", LAB_ADMINISTRATOR).stdout
    result = console("sync", "change", LAB_ADMINISTRATOR, stdin=value)
    assert result.exit_code == 1
    assert "nothing to do" in result.stderr


def test_what_is_not_there_is_not_found(console: Console, lab: LabHere) -> None:
    for arguments in (
        ("sync", "status", "Computer Lab/Nothing"),
        ("sync", "status", "no slash"),
        ("sync", "change", "Else/Lab Administrator", "--generate"),
        ("sync", "run", "99"),
        ("sync", "run", "nothing"),
        ("entry", "show", "Computer Lab/Nothing"),
        ("entry", "show", LAB_ADMINISTRATOR, "--version", "7"),
        ("agent", "test", "LAB-77"),
    ):
        result = console(*arguments)
        assert (arguments, result.exit_code) == (arguments, 3)
        assert result.stderr.strip()
        assert result.stdout == ""
        assert set(console.json(*arguments)[1]) == {"error", "field"}


def test_two_passwords_of_one_name_are_never_guessed_between(console: Console, lab: LabHere) -> None:
    with console.app.app_context():
        eddie = users.find("eddie@northfield.example")
        assert eddie is not None
        twin = vaults.create_vault(eddie, "Sync agents")  # Eddie does not see the other one
        agent_login = entries.Settings("LAB-01 login", "generic", "someone")
        made = entries.create_entry(eddie, twin, agent_login, Secret("Wrong-one-27"))
        made_id = made.id
    result = console("entry", "show", "Sync agents/LAB-01 login")
    assert result.exit_code == 1
    assert made_id in result.stderr
    assert console("entry", "show", made_id).stdout == "Wrong-one-27\n"


def test_a_password_that_is_not_synchronized_is_only_saved(console: Console, lab: LabHere) -> None:
    code, told = console.json("sync", "change", "Sync agents/CORP lab-adm", stdin="Andere-Bahn-18")
    assert (code, told["run"], told["status"], told["version"]) == (0, None, "unsyncable", 2)
    assert console("sync", "status", "Sync agents/CORP lab-adm").exit_code == 1
    assert console("sync", "test", "Sync agents/CORP lab-adm").exit_code == 1
    assert console("sync", "retest", "Sync agents/CORP lab-adm").exit_code == 1


def test_showing_a_password_is_audited_with_who_did_it(
    console: Console, lab: LabHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "gretel")
    code, told = console.json("entry", "show", BACKUP)
    assert (code, set(told)) == (0, {"entry", "user_name", "machine", "version", "stage", "value"})
    console("sync", "change", BACKUP, "--generate")
    with console.app.app_context():
        events = db.session.scalars(db.select(Event).where(Event.verb.in_(("password.shown", "password.change")))).all()
        assert [(event.actor_id, event.facts["console"]) for event in events] == [(None, "gretel")] * 2
        by_itself = db.session.scalars(db.select(Event).filter_by(verb="status")).all()
        assert all("console" not in event.facts for event in by_itself)
        run = db.session.scalars(db.select(SyncRun).filter_by(kind="change")).one()
        assert run.clicked_at is not None  # a person asked: the budget of a click counts


@pytest.mark.breaks_invariants
def test_check_finds_nothing_and_says_what_it_finds(console: Console, lab: LabHere) -> None:
    console.in_sync()
    assert console.json("sync", "check") == (0, {"violations": []})
    with console.app.app_context():
        db.session.execute(db.text("UPDATE sync_chain SET status = 'out_of_sync', recheck_at = NULL"))
        db.session.commit()
    code, told = console.json("sync", "check")
    assert code == 1
    names = {"Lab Administrator", "svc-backup", "CORP svc-backup", "SW-01"}
    assert {each["subject"] for each in told["violations"]} == names
    for each in told["violations"]:
        assert set(each) == {"invariant", "subject", "what"}
        assert (each["invariant"], each["what"]) == ("status", "says out_of_sync, the facts say in_sync")
    shown = console("sync", "check")
    assert shown.exit_code == 1
    assert "says out_of_sync, the facts say in_sync" in shown.stdout


def test_waiting_ends_when_its_time_is_over(console: Console, lab: LabHere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody works: the run stays queued, and the command says so and does not hang."""
    monkeypatch.setattr(queueing, "enqueue", lambda *_: False)
    result = console("sync", "test", LAB_ADMINISTRATOR, "--wait", "0.05")
    assert result.exit_code == 1
    assert "has not ended after 0.05 s" in result.stdout


def test_waiting_sees_a_run_that_another_process_ends(console: Console, lab: LabHere) -> None:
    def elsewhere(app: Flask) -> None:
        with app.app_context():
            db.session.execute(db.text("UPDATE sync_run SET state = 'done', result = 'done'"))
            db.session.commit()

    with console.app.app_context():
        run_id = db.session.scalars(db.select(SyncRun.id)).first()
        assert run_id is not None
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                elsewhere(console.app)

        assert cli_sync.wait_for(run_id, 60, sleep).state == "done"
        assert len(slept) == 3
