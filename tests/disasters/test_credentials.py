"""Rules 32 to 35: linked credentials, agents' logins, who decides where a password goes, one account one manager."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from pwserver.connectors import codes, contract
from pwserver.connectors.base import Call, Credential
from pwserver.core.errors import Invalid
from pwserver.core.secrets import Secret
from pwserver.models import SyncLink, SyncRun
from pwserver.services import entries, sync
from pwserver.services.sync.connect import Connections
from pwserver.services.sync.credentials import bind
from pwserver.services.transaction import write
from pwserver.sync.chain import NotNow
from tests.disasters.conftest import FIRST, OTHER, PRIMARY, Play
from tests.disasters.test_lockout import own_login
from tests.sync.world import ModelConnector

ADM = "LAB-02\\lab-adm"
LOGIN = "LAB-01\\svc-psrv"


def test_a_linked_credential_is_used_with_the_value_its_machine_has_not_with_the_vaults(play: Play) -> None:
    play.work(play.correct("nobody has this", name="adm"))
    play.work(play.change("second"))
    assert play.truth(OTHER) == "second", "reached with what LAB-02 holds"
    assert play.wrong_logons(ADM) == 0


def test_a_credential_whose_machine_is_spelled_otherwise_is_still_its_own(play: Play) -> None:
    play.work(play.correct("nobody has this", name="adm"))
    with write() as session:
        for link in session.scalars(select(SyncLink).where(SyncLink.chain_id == play.chain("adm").id)):
            link.machine = "lab-02.corp.example"
    login = bind(play.session, play.entry("adm").id, "LAB-02", play.chain().id, play.world.now, 5)
    assert not isinstance(login, NotNow)
    assert play.value(login.version_id) == "first LAB-02\\lab-adm"


def test_a_credential_that_may_hold_two_values_is_waited_for_not_guessed(play: Play) -> None:
    moving = play.change("second adm", "adm")
    play.fault("cut_after")
    play.work(moving)
    run = play.change("second")
    play.work(run)
    assert play.truth(PRIMARY) == "second"
    link = play.link("LAB-02")
    assert link.reason == "credential_busy"
    play.settle()
    assert play.truth(OTHER) == "second"
    assert play.truth(ADM) == "second adm"
    assert play.wrong_logons(ADM) == 0


def test_a_credential_is_not_changed_while_a_call_works_with_it(play: Play) -> None:
    run = play.change("second")
    other = play.change("second adm", "adm")
    play.during("change", lambda: play.work(other, worker="B"), place=OTHER)
    play.work(run, worker="A")
    assert play.link("LAB-02", "adm").reason == "busy"
    assert play.truth(OTHER) == "second"
    play.settle()
    assert play.truth(ADM) == "second adm"


def test_another_credential_chosen_on_a_link_carries_on_what_the_refused_one_stopped(play: Play) -> None:
    play.world.outside(ADM, "by hand", clock_back=False)
    play.work(play.change("second"))
    link = play.link("LAB-02")
    assert (link.state, link.reason) == ("blocked", "linked_refused")
    other = entries.create_entry(
        play.olivia, play.entry().vault, entries.Settings("Another", "generic", "M\\adm"), Secret("our login")
    )
    sync.edit_link(
        play.olivia, link, dict(link.settings), revision=play.chain().revision, linked_entry_id=other.id
    )  # fmt: skip
    play.pass_all()
    assert play.truth(OTHER) == "second", "by itself: choosing another is an edit (rule 23)"
    assert play.wrong_logons(ADM) == 1


class NotLetIn:
    """One linked credential for every link, and machines whose New-PSSession ends with a code."""

    def __init__(self, play: Play, monkeypatch: pytest.MonkeyPatch, code: int, *machines: str) -> None:
        self.machines, self.asked = set(machines), list[str]()
        answer = contract.Answer(
            attempt="x", op="change", stage="hop", code=code, reason="hop_refused", wrote=False, write_code=None,
            method="", machine=None, account=None, place=None, logon=None, text="", elapsed_ms=1,
        )  # fmt: skip
        kept = ModelConnector._enter

        def enter(model: ModelConnector, call: Call) -> str:
            if model.linked is not None and model.place.machine in self.machines:
                self.asked.append(model.place.machine)
                codes.meaning(answer)
            return kept(model, call)

        with write() as session:
            for row in session.scalars(select(SyncLink)).all():
                row.linked_entry_id = None
        monkeypatch.setattr(ModelConnector, "_enter", enter)


def linked_links(play: Play) -> list[SyncLink]:
    return [link for name in ("lab", "desk") for link in sync.active_links(play.chain(name)) if link.position]


def test_one_machine_where_the_linked_credential_is_no_administrator_stops_no_other(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One LAB-22 among forty turned every machine's link from In Sync to Blocked."""
    closed = NotLetIn(play, monkeypatch, 5, "LAB-02")
    play.work(play.change("second"))
    play.work(play.change("second desk", "desk"))
    play.settle()
    link = play.link("LAB-02")
    assert (link.state, link.reason) == ("blocked", "not_admin")
    assert closed.asked.count("LAB-02") == 1, "not asked again before a person did something"
    stopped = {each.reason for each in linked_links(play) if each.machine != "LAB-02"} - {""}
    assert stopped & {"waiting_for_login", "linked_refused", "over_budget"} == set()


def test_a_locked_linked_credential_is_asked_once_and_its_value_is_free_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every machine would answer the same: none of them is asked, and nothing counts as a wrong try."""
    everywhere = {link.machine for link in linked_links(play)}
    closed = NotLetIn(play, monkeypatch, 1909, *everywhere)
    play.work(play.change("second"))
    play.settle()
    assert len(closed.asked) == 1
    assert play.link("LAB-02").reason in ("linked_state", "waiting_for_login")
    closed.machines.clear()
    play.advance(60)
    play.work(sync.retest(play.olivia, play.entry()).id)
    play.pass_all()
    assert play.truth(OTHER) == "second"


def test_no_chain_can_need_its_own_password_as_its_credential(play: Play) -> None:
    link = play.link("LAB-02")
    with pytest.raises(Invalid) as refused:
        sync.edit_link(
            play.olivia, link, dict(link.settings), revision=play.chain().revision, linked_entry_id=play.entry().id
        )
    assert refused.value.field == "linked_entry_id"
    with pytest.raises(Invalid):  # through another chain: adm's link would need lab's password, lab's needs adm's
        sync.add_link(
            play.olivia, play.entry("adm"), "remote_windows", {"machine": "LAB-03", "user_name": "x"},
            revision=play.chain("adm").revision, linked_entry_id=play.entry().id,
        )  # fmt: skip


def test_a_chain_that_changes_an_agents_login_has_the_agent_to_itself(play: Play) -> None:
    own_login(play)
    play.pass_all()
    login = play.change("second login", "login")
    desk = play.change("second", "desk")
    took: list[bool] = []
    play.during("change", lambda: took.append(play.work(desk, worker="B")), place=LOGIN)
    play.work(login, worker="A")
    assert took == [False], "none is claimed while it runs"
    play.settle()
    assert play.truth("LAB-03\\operator") == "second"
    again = play.change("third login", "login")
    desk = play.change("third", "desk")
    took.clear()
    play.during("change", lambda: took.append(play.work(again, worker="B")), place="LAB-03\\operator")
    play.work(desk, worker="A")
    assert took == [False], "and it is claimed only while no other runs"
    play.settle()
    assert play.truth(LOGIN) == "third login"
    assert play.wrong_logons(LOGIN) == 0


def test_an_agent_whose_login_change_was_cut_off_finds_its_way_in_with_the_new_value(play: Play) -> None:
    own_login(play)
    play.pass_all()
    play.fault("cut_after")
    play.work(play.change("second login", "login"))
    assert play.truth(LOGIN) == "second login"
    play.settle(hours=3)
    assert play.current("login") == "second login"
    assert play.link("LAB-01", "login").state == "in_sync"
    assert play.wrong_logons(LOGIN) == 0
    play.work(play.change("second"))
    assert play.truth(OTHER) == "second"


def test_an_agent_whose_login_change_never_arrived_finds_its_way_in_with_the_value_before(play: Play) -> None:
    own_login(play)
    play.pass_all()
    play.fault("cut_before")
    new = "not it"  # the model's word for a value that may be refused: the value sent has to be asked for once
    play.work(play.change(new, "login"))
    assert play.truth(LOGIN) == "our login"
    play.settle(hours=5)
    assert play.wrong_logons(LOGIN) <= 1
    assert play.truth(LOGIN) == new == play.current("login"), "settled, and then changed after all"
    play.work(play.change("second"))
    assert play.truth(OTHER) == "second"


def test_a_session_of_the_old_login_is_not_used_after_the_login_was_changed() -> None:
    opened: list[Any] = []

    class Session:
        closed = False

        def close(self) -> None:
            self.closed = True

    def open_session(address: object, login: Credential) -> Any:
        opened.append((login.secret, Session()))
        return opened[-1][1]

    connections = Connections(open_session)
    place: Any = type(
        "P", (), {"agent_id": "a", "agent_host": "h", "agent_port": 1, "agent_pin": "", "agent_machine": "m"}
    )
    first = connections._session(place, Credential("u", Secret("one")))
    assert connections._session(place, Credential("u", Secret("one"))) is first
    second = connections._session(place, Credential("u", Secret("two")))
    assert second is not first
    assert first.closed
    connections.close()
    assert second.closed


# -- one account, one manager; removing never forgets


def test_an_account_that_another_chain_has_cannot_be_added(play: Play) -> None:
    with pytest.raises(Invalid) as refused:
        sync.add_link(
            play.olivia, play.entry("desk"), "remote_windows", {"machine": "lab-02", "user_name": "ADMINISTRATOR"},
            revision=play.chain("desk").revision,
        )  # fmt: skip
    assert "lab" not in refused.value.user_message.replace("LAB", ""), (
        "the chain that has it may be hidden from this person"
    )


def test_the_database_itself_refuses_a_second_active_link_of_an_account(play: Play) -> None:
    link = play.link("LAB-03", "desk")
    with pytest.raises(IntegrityError), write() as session:
        session.get_one(SyncLink, link.id).account_key = "lab-02#administrator"


def test_a_removed_link_keeps_what_it_holds_and_its_value_is_never_given_up(play: Play) -> None:
    run = play.change("second")
    play.fault("none", "cut_after")
    play.work(run)
    with write() as session:  # the run ends while LAB-02 is unknown
        row = session.get_one(SyncRun, run)
        row.state, row.result = "done", "left"
    place = play.link("LAB-02", place=True)
    sync.remove_link(play.olivia, place, revision=play.chain().revision)
    link = play.link("LAB-02")
    sync.remove_link(play.olivia, link, revision=play.chain().revision)
    assert play.maybe(link) == ["second"]
    named = {(each.machine, play.value(version)) for each, version, _ in sync.may_hold(play.session, play.entry())}
    assert ("LAB-02", FIRST) in named, "held when it was last proved"


def test_a_retargeted_link_is_a_new_row_that_starts_unproved(play: Play) -> None:
    play.agent(allowed_machines=["LAB-02", "LAB-03", "LAB-09"])
    link = play.link("LAB-02")
    new = sync.edit_link(
        play.olivia, link, {"machine": "LAB-09", "user_name": "Administrator"}, revision=play.chain().revision
    )
    old = play.session.get_one(SyncLink, link.id, populate_existing=True)
    assert not old.active
    assert play.value(old.holds_version_id) == FIRST
    assert new.id != old.id
    assert (new.holds_version_id, new.proved_at, new.state) == (None, None, "waiting")
    assert play.open_runs(), "tested as soon as no run is running"


def test_a_link_restored_beside_its_successor_is_refused(play: Play) -> None:
    """Removed before its target told who it is, added again, told now: the first is the same account."""
    link = play.link("LAB-02")
    sync.remove_link(play.olivia, play.link("LAB-02", place=True), revision=play.chain().revision)
    sync.remove_link(play.olivia, link, revision=play.chain().revision)
    with write() as session:
        session.get_one(SyncLink, link.id).account_key = "lab-02\\administrator"
    sync.add_link(
        play.olivia, play.entry(), "remote_windows", {"machine": "LAB-02", "user_name": "Administrator"},
        revision=play.chain().revision, linked_entry_id=play.entry("adm").id,
    )  # fmt: skip
    play.pass_all()
    old = play.session.get_one(SyncLink, link.id, populate_existing=True)
    with pytest.raises(Invalid):
        sync.restore_link(play.olivia, old, revision=play.chain().revision)


def test_an_account_whose_password_a_place_stores_cannot_be_removed_under_it(play: Play) -> None:
    with pytest.raises(Invalid) as refused:
        sync.remove_link(play.olivia, play.link("LAB-02"), revision=play.chain().revision)
    assert "Remove that first" in refused.value.user_message


def test_default_sync_cannot_be_removed_or_moved_and_a_place_stays_behind_its_account(play: Play) -> None:
    chain = play.chain()
    for act in (
        lambda: sync.remove_link(play.olivia, play.link("LAB-01"), revision=chain.revision),
        lambda: sync.move_link(play.olivia, play.link("LAB-01"), 1, revision=chain.revision),
        lambda: sync.move_link(play.olivia, play.link("LAB-02"), -1, revision=chain.revision),
        lambda: sync.move_link(play.olivia, play.link("LAB-02"), 1, revision=chain.revision),
    ):
        with pytest.raises(Invalid):
            act()


def test_an_agent_reaches_only_the_machines_on_its_list(play: Play) -> None:
    with pytest.raises(Invalid) as refused:
        sync.add_link(
            play.olivia, play.entry(), "remote_windows", {"machine": "DC-01", "user_name": "Administrator"},
            revision=play.chain().revision,
        )  # fmt: skip
    assert "may not reach DC-01" in refused.value.user_message


def test_a_machine_taken_off_the_list_behind_the_form_gets_nothing(play: Play) -> None:
    """Whatever forms have checked, the list is asked again before a value is opened."""
    play.agent(allowed_machines=["LAB-01"])
    play.work(play.change("second"))
    link = play.link("LAB-02")
    assert (link.state, link.reason) == ("blocked", "not_on_list")
    assert play.truth(OTHER) == FIRST
    assert not any(sent.place == OTHER for sent in play.sent)


def test_a_link_is_not_restored_to_a_machine_that_left_the_list_meanwhile(play: Play) -> None:
    place = play.link("LAB-02", place=True)
    sync.remove_link(play.olivia, place, revision=play.chain().revision)
    play.agent(allowed_machines=["LAB-01"])
    with pytest.raises(Invalid, match="may not reach LAB-02"):
        sync.restore_link(play.olivia, place, revision=play.chain().revision)


def test_an_untested_agent_is_not_offered(play: Play) -> None:
    agent = play.agent(health="untested")
    assert agent.id not in {each.id for each in sync.usable_agents(play.entry().vault)}


def test_a_machine_that_windows_manages_itself_is_parked_and_never_fought(synced: Play) -> None:
    from pwserver.connectors.base import Refused

    def laps() -> None:
        raise Refused("managed_by_windows", code="8654")

    play = synced
    run = play.change("third")
    play.during("change", laps, place=OTHER)
    play.work(run)
    assert play.link("LAB-02").state == "managed"
    play.settle(hours=2)
    assert play.session.scalar(select(func.count()).select_from(SyncRun).where(SyncRun.state != "done")) == 0
    assert play.truth(OTHER) == "second"
