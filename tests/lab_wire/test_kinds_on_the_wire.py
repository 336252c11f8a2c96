"""The Windows link kinds from end to end: connector, session, wire, model; and what they cost in wrong logons."""

from __future__ import annotations

from typing import Any

import pytest

from pwserver.connectors.base import Answer, Connector, Credential, Key, Means, ask
from pwserver.connectors.kinds import CONNECTORS, LINK_KINDS
from pwserver.core.secrets import Secret
from tests.lab_wire.kit import Lab, call

NEW = Secret("Aa1\"'`$()€😀")


def connector(lab: Lab, kind: str, agent: str = "LAB-01", **settings: Any) -> Connector:
    linked = Credential("LAB-02\\svc-psrv", lab.initial("LAB-02\\svc-psrv"))
    session = lab.sessions[0] if lab.sessions else lab.session(agent)
    return CONNECTORS[kind](session, LINK_KINDS[kind].settings.model_validate(settings), agent, linked)


def all_bad_logons(lab: Lab) -> int:
    return sum(sum(machine.bad_logons.values()) for machine in lab.network.state.machines.values())


@pytest.mark.parametrize(
    ("kind", "settings", "machine"),
    [
        ("standalone_windows", {"user_name": "Administrator"}, "LAB-01"),
        ("remote_windows", {"machine": "LAB-02", "user_name": "#500"}, "LAB-02"),
    ],
)
def test_a_clean_change_of_an_account_costs_no_wrong_logon(
    lab: Lab, kind: str, settings: dict[str, str], machine: str
) -> None:
    account = connector(lab, kind, **settings)
    old = lab.initial(f"{machine}\\Administrator")
    facts = account.read(call())
    assert (facts.host, facts.means) == (machine, None)
    changed = account.change(call(), old, NEW)
    assert (changed.host, changed.means, changed.method) == (machine, Means.LOGGED_ON, "change")
    assert account.verify(call(), NEW).means is Means.LOGGED_ON
    assert lab.password(machine, "Administrator") == NEW.open()
    assert all_bad_logons(lab) == 0


def test_a_password_changed_outside_is_refused_with_exactly_one_wrong_logon(lab: Lab) -> None:
    account = connector(lab, "standalone_windows", user_name="Administrator")
    outcome = ask(lambda: account.verify(call(), Secret("Not-This-One-1")), secrets=())
    assert (outcome.answer, outcome.spent) == (Answer.REFUSED, {Key.TARGET})
    assert all_bad_logons(lab) == 1


def test_a_refused_linked_credential_is_never_told_as_the_targets(lab: Lab) -> None:
    session = lab.session()
    settings = LINK_KINDS["remote_windows"].settings.model_validate({"machine": "LAB-02", "user_name": "Administrator"})
    wrong = Credential("LAB-02\\svc-psrv", Secret("wrong"))
    account = CONNECTORS["remote_windows"](session, settings, "LAB-01", wrong)
    outcome = ask(lambda: account.reset(call(), NEW), secrets=())
    assert (outcome.answer, outcome.spent) == (Answer.BLOCKED, {Key.LINKED})
    assert lab.password("LAB-02", "Administrator") == lab.initial("LAB-02\\Administrator").open()
    assert (lab.bad_logons("LAB-01"), lab.bad_logons("LAB-02")) == (0, 1)


@pytest.mark.parametrize(("word", "answer"), [("cut-before", Answer.UNKNOWN), ("off", Answer.UNREACHABLE)])
def test_trouble_behind_the_agent_is_told_as_it_is(lab: Lab, word: str, answer: Answer) -> None:
    account = connector(lab, "remote_windows", machine="LAB-02", user_name="Administrator")
    lab.network.set_fault("LAB-02", word)
    outcome = ask(lambda: account.reset(call(), NEW), secrets=())
    assert outcome.answer is answer
    assert not outcome.bug


def test_places_take_the_value_of_their_account(lab: Lab) -> None:
    """SRV-01 is its own agent here: an account, its task and its service, in the order of a run."""
    account = connector(lab, "standalone_windows", "SRV-01", user_name="svc-backup")
    task = connector(lab, "scheduled_task", "SRV-01", machine="", path="\\Backup\\Nightly")
    service = connector(lab, "windows_service", "SRV-01", machine="", name="backupd", restart="never")
    changed = account.change(call(), lab.initial("SRV-01\\svc-backup"), NEW)
    within = {"account": "SRV-01\\svc-backup", "account_sid": changed.account_sid}
    for place in (task, service):
        written = place.write(call(**within), NEW)
        assert (written.host, written.run_as_sid) == ("SRV-01", changed.account_sid)
    machine = lab.network.machine("SRV-01")
    assert machine.tasks[0].stored == NEW.open()
    assert [each.stored for each in machine.services if each.name == "backupd"] == [NEW.open()]
    assert all_bad_logons(lab) == 0
