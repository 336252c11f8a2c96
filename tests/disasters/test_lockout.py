"""Rules 22 to 24: nobody is ever locked out by us, and what retries by itself ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pwserver.connectors.base import Credential
from pwserver.core.secrets import Secret
from pwserver.models import Account, AccountAnswer, AccountTry
from pwserver.services import agent_test, sync
from pwserver.services.sync import accounts, answers
from pwserver.services.transaction import write
from tests.disasters.conftest import FIRST, OTHER, PRIMARY, Play
from tests.sync.build import Stage

pytestmark = pytest.mark.budget(25, "plays windows of hours and days")

OTHER_KEY = "lab-02#administrator"


def test_forty_links_do_not_lock_the_login_they_share(play: Play) -> None:
    """M's password was changed outside: one refused logon in all, whatever chain, link or run asks next."""
    play.login_is("changed outside")
    for name in ("desk", "adm"):
        play.work(play.change(f"second {name}", name))
    play.settle(hours=6)
    assert play.wrong_logons("M\\adm") == 1
    assert {play.link("LAB-03", "desk").reason, play.link("LAB-02", "adm").reason} == {
        "linked_refused",
        "waiting_for_login",
    }


def test_a_refused_login_never_sounds_like_a_wrong_password_of_the_target(play: Play) -> None:
    play.login_is("changed outside")
    play.work(play.change("second", "desk"))
    link = play.link("LAB-03", "desk")
    assert link.state == "blocked"
    assert play.maybe(link) == []
    assert play.value(link.holds_version_id) == "first LAB-03\\operator"


@pytest.mark.both
def test_what_a_refused_login_stopped_is_due_by_itself_once_a_person_typed_the_right_one(play: Play) -> None:
    play.login_is("changed outside")
    run = play.change("second", "desk")
    play.work(run)
    assert play.run(run).state == "done"
    assert sync.request_change(play.olivia, play.entry("M"), Secret("changed outside")) is None
    play.settle()
    assert play.truth("LAB-03\\operator") == "second" or play.pending("desk") == "second"
    assert play.link("LAB-03", "desk").state != "blocked"
    assert play.wrong_logons("M\\adm") == 1


def test_a_waiting_change_takes_a_link_again_when_its_login_was_repaired(play: Play) -> None:
    """Default Sync done, LAB-02's login refused, something else silent: the repair is for the waiting run too."""
    play.world.outside("LAB-02\\lab-adm", "changed outside", clock_back=False)
    run = play.change("second")
    play.fault("none", "none", "none", "unreachable")
    play.work(run)
    assert play.link("LAB-02").state == "blocked"
    with write() as session:  # something of the run stays silent for a day
        row = session.get_one(type(play.run(run)), run)
        row.state, row.result, row.due_at = "waiting", "", play.world.now + timedelta(days=1)
    corrected = play.correct("changed outside", "LAB-02", name="adm")
    play.work(corrected)
    play.tick()
    play.pass_all()
    play.settle()
    assert play.truth(OTHER) == "second"


def test_the_statuses_of_other_chains_follow_when_a_login_is_repaired(play: Play) -> None:
    play.login_is("changed outside")
    play.work(sync.request_test(play.olivia, play.entry("desk")).id)
    play.advance(31 * 24 * 3600)
    play.work(sync.request_test(play.olivia, play.entry("desk")).id)
    assert play.status("desk") == "out_of_sync"
    sync.request_change(play.olivia, play.entry("M"), Secret("changed outside"))
    assert play.status("desk") == "pending_sync"


def test_a_credential_with_a_bare_name_is_released_where_it_was_stopped(play: Play) -> None:
    """Its key is the account of the machine it logs on to, not of the agent's."""
    with write() as session:
        session.get_one(type(play.entry("M")), play.entry("M").id).user_name = "adm"
    play.world.accounts["adm"] = play.world.accounts["M\\adm"]
    play.login_is("changed outside")
    play.work(play.change("second", "desk"))
    assert play.link("LAB-03", "desk").state == "blocked"
    sync.request_change(play.olivia, play.entry("M"), Secret("changed outside"))
    assert play.link("LAB-03", "desk").state == "waiting"
    play.settle()
    assert play.wrong_logons("M\\adm") == 1


def test_a_value_once_refused_and_then_set_by_us_is_not_called_refused_for_ever(untouched: Play) -> None:
    """Never proved, so an unknown end costs a logon with the new value: refused. Then it is set. It holds it."""
    play = untouched
    run = play.change("second")
    play.fault("cut_before")
    play.work(run)
    play.advance(75)
    play.work(run)
    play.settle(hours=2)
    assert play.truth(PRIMARY) == "second" == play.current()
    refused = play.wrong_logons(PRIMARY)
    assert refused <= 1
    play.advance(32 * 24 * 3600)
    play.tick()
    play.pass_all()
    assert play.link("LAB-01").state == "in_sync"
    assert play.wrong_logons(PRIMARY) == refused


@pytest.mark.both
def test_one_budget_for_all_a_second_click_is_the_last_one(play: Play) -> None:
    play.world.outside(OTHER, "by hand", clock_back=False)
    for _ in range(5):
        run = sync.retest(play.olivia, play.entry()).id
        play.work(run)
        play.advance(20)
        with write() as session:
            session.query(AccountAnswer).delete()  # even if what it refused were forgotten
    assert play.wrong_logons(OTHER) <= 2


@pytest.mark.both
def test_the_server_alone_spends_one_try_in_the_window_whatever_it_is_asked(play: Play) -> None:
    play.world.outside(OTHER, "by hand", clock_back=False)
    run = play.change("second")
    play.work(run)
    assert play.wrong_logons(OTHER) == 1
    assert play.tries(OTHER_KEY) == 1
    for _ in range(40):
        play.advance(1800)
        play.tick()
        play.pass_all()
    assert play.wrong_logons(OTHER) == 1, "a refused value is never sent again by itself"


@pytest.mark.both
def test_what_was_not_spent_is_given_back(play: Play) -> None:
    run = play.change("second")
    play.work(run)
    assert play.session.scalars(select(AccountTry.key)).all() == []


@pytest.mark.both
def test_a_cut_line_keeps_its_try_until_the_target_counts_none(play: Play) -> None:
    run = play.change("second")
    play.fault("cut_before")
    play.work(run)
    key = "lab-01#administrator"
    assert play.tries(key) == 1
    play.advance(75)
    play.work(run)
    assert play.tries(key) == 0


@pytest.mark.both
def test_an_open_try_of_another_run_means_wait_a_moment_not_over_budget(play: Play) -> None:
    """Two chains prove the same new login at the same time: the second waits for seconds."""
    sync.request_change(play.olivia, play.entry("M"), Secret("our new login"))
    play.world.accounts["M\\adm"].value = "our new login"
    first = play.change("second", "desk")
    second = play.change("second", "adm")
    play.during("change", lambda: play.work(second, worker="B"), place="LAB-03\\operator")
    play.work(first, worker="A")
    link = play.link("LAB-02", "adm")
    assert link.reason == "busy"
    assert link.next_try_at == play.world.now + timedelta(seconds=5)
    play.settle()
    assert play.truth("LAB-02\\lab-adm") == "second"


@pytest.mark.both
def test_a_longer_observation_window_of_the_target_is_kept(play: Play) -> None:
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(play.change("second"))
    with write() as session:
        session.get_one(Account, OTHER_KEY).window_s = 7200
    play.advance(3600)
    no = accounts.may_try(play.session, OTHER_KEY, None, budget=1, window=1800, busy_for=5, at=play.world.now)
    assert no is not None
    assert no.safe_at == play.world.now + timedelta(seconds=3600)


@pytest.mark.both
def test_tries_of_two_names_that_prove_to_be_one_account_are_united(play: Play) -> None:
    with write() as session:
        accounts.reserve(session, "lab-09\\root", "one", play.world.now)
        accounts.reserve(session, "lab-09#500", "two", play.world.now)
        accounts.unite(session, "lab-09\\root", "lab-09#500")
    assert play.tries("lab-09#500") == 2
    assert accounts.key_of(play.session, "lab-09\\root") == "lab-09#500"


@pytest.mark.both
def test_a_refusal_outlives_the_name_under_which_it_was_heard(play: Play) -> None:
    """A login refused as ``machine\\user`` is not sent again only because its target has told its identity since."""
    name, told, value, session = "lab-09\\root", "lab-09#500", Secret("not it"), play.session

    def digests(key: str, value: Secret) -> answers.Digests:
        return answers.digests(answers.names_of(session, [key]), key, value)

    with write():
        said = answers.said_by(session, [name])
        said.remember(name, digests(name, value), accepted=False, reason="logon_denied", at=play.world.now)
        said.remember(name, digests(name, Secret("taken")), accepted=True, reason="", at=play.world.now)
        accounts.unite(session, name, told)
        accounts.unite(session, told, "S-1-5-21-1-2-3-500")
    key = accounts.key_of(session, name)
    assert key == accounts.key_of(session, told) == "S-1-5-21-1-2-3-500"
    said = answers.said_by(session, [key])
    again = digests(key, value)
    assert said.refusal(key, again) is not None
    assert said.refusal(key, digests(key, Secret("another"))) is None
    assert not said.is_accepted(key, digests(key, Secret("taken"))), "shown anew"
    with write():
        said = answers.said_by(session, [key])
        assert said.accept_only(key, again, play.world.now), "it had been refused"
    assert answers.said_by(session, [key]).refusal(key, again) is None


@pytest.mark.both
def test_two_links_of_one_account_are_found_out_and_the_later_is_blocked(play: Play) -> None:
    """The same account under two names: its target says so, and it has one manager."""
    play.world.accounts["LAB-02\\adm-alias"] = play.world.accounts[OTHER]
    play.world.primary_of["LAB-02\\adm-alias"] = PRIMARY
    chain = play.chain()
    sync.add_link(
        play.olivia, play.entry(), "remote_windows", {"machine": "LAB-02", "user_name": "adm-alias"},
        revision=chain.revision, linked_entry_id=play.entry("adm").id,
    )  # fmt: skip

    from tests.sync.world import ModelConnector

    real = ModelConnector._facts

    def facts(self, **more):  # type: ignore[no-untyped-def]
        if self.name == "LAB-02\\adm-alias":
            self.name = OTHER
        return real(self, **more)

    patch = pytest.MonkeyPatch()
    patch.setattr(ModelConnector, "_facts", facts)
    try:
        play.pass_all()
    finally:
        patch.undo()
    link = sync.active_links(play.chain())[-1]
    assert (link.state, link.reason) == ("blocked", "another_link_has_account")


@pytest.mark.sqlite
def test_a_switched_off_machine_is_given_up_after_three_days_and_a_new_change_has_three_days_again(
    synced: Play,
) -> None:
    play = synced
    play.world.faults.clear()
    run = play.change("third")

    def off() -> None:
        play.fault(*["none"] * 0, *["unreachable"] * 50)

    play.fault("none", "unreachable")
    play.work(run)
    times = []
    while play.run(run).state == "waiting":
        times.append(play.run(run).due_at)
        play.advance((times[-1] - play.world.now).total_seconds())
        off()
        play.work(run)
    assert (times[-1] - times[0]) > timedelta(hours=71)
    assert (times[-1] - times[0]) < timedelta(hours=73)
    link = play.link("LAB-02")
    assert (link.state, link.reason, link.next_try_at) == ("unreachable", "given_up", None)
    again = play.change("fourth")
    play.fault("none", "unreachable")
    play.work(again)
    assert play.run(again).state == "waiting", "a new change is tried for as long as the first"


def test_an_unreachable_link_is_retried_after_thirty_seconds_one_two_five_seven_minutes_then_hourly(play: Play) -> None:
    run = play.change("second")
    play.fault("unreachable")
    play.work(run)
    waits = []
    for _ in range(7):
        due = play.run(run).due_at
        waits.append((due - play.world.now).total_seconds())
        play.advance(waits[-1])
        play.fault("unreachable")
        play.work(run)
    assert waits == [30, 60, 120, 300, 420, 3600, 3600]


def test_refused_and_blocked_are_never_retried_by_themselves(play: Play) -> None:
    run = play.change("second")
    play.fault("policy")
    play.work(run)
    assert play.run(run).state == "done"
    before = play.world.calls
    for _ in range(20):
        play.advance(1800)
        play.tick()
        play.pass_all()
    assert [each.method for each in play.writes()] == ["change"]
    assert play.world.calls - before <= 8, "the daily test reads what is not refused"


def test_a_login_on_the_same_account_as_its_own_chain_is_one_try_not_two(play: Play) -> None:
    """The agent's login has a chain of its own: target and login are one key, so one reservation."""
    own_login(play)
    play.work(sync.request_test(play.olivia, play.entry("login")).id)
    link = play.link("LAB-01", "login")
    assert link.state == "in_sync", link.reason
    play.work(play.change("second login", "login"))
    assert play.truth("LAB-01\\svc-psrv") == "second login" == play.current("login")
    play.work(play.change("second"))
    assert play.current() == "second"
    assert play.wrong_logons("LAB-01\\svc-psrv") == 0


def own_login(play: Play) -> None:
    """Synchronizes the agent's own login."""
    entry = play.entry("login")
    with write() as session:
        session.get_one(type(entry), entry.id).user_name = "svc-psrv"
    account = play.world.accounts["LAB-01\\svc-psrv"]
    account.sent.add("our login")
    play.world.accounts["svc-psrv"] = account
    play.world.primary_of["LAB-01\\svc-psrv"] = "LAB-01\\svc-psrv"
    sync.enable(play.olivia, play.entry("login"), play.chain().agent_id)


def test_an_agents_refused_login_is_sent_once_and_again_only_by_a_click(play: Play) -> None:
    from pwserver.connectors.base import Blocked, Key

    calls: list[Credential] = []

    def refuse(contact: agent_test.Contact, login: Credential) -> None:
        calls.append(login)
        raise Blocked("login_refused", spent={Key.LOGIN})

    from pwserver.core.errors import Throttled

    for _ in range(2):
        agent_test.test_agent(None, play.chain().agent, refuse)  # type: ignore[arg-type]
    with pytest.raises(Throttled):
        agent_test.test_agent(None, play.chain().agent, refuse)  # type: ignore[arg-type]
    assert len(calls) == 2
    assert calls[0].secret == Secret("our login")
    assert FIRST not in {each.secret.open() for each in calls}


def test_another_login_in_place_of_the_refused_one_releases_what_waits(synced: Play) -> None:
    from pwserver.connectors.base import Evidence

    play = synced
    play.world.outside(LOGIN, "changed outside", clock_back=False)
    play.work(play.change("third"))
    assert play.link("LAB-01").reason == "login_refused"
    agent = play.agent(login_entry_id=play.entry("M").id, health="untested")
    agent_test.test_agent(None, agent, lambda contact, login: Evidence(contact.machine))
    assert play.link("LAB-01").state == "waiting"
    assert play.wrong_logons(LOGIN) == 1


LOGIN = "LAB-01\\svc-psrv"


def test_reading_waits_for_no_budget(synced: Play) -> None:
    """A try was spent a minute ago; whether anything moved is read all the same, and that makes no logon."""
    play = synced
    with write() as session:
        accounts.reserve(session, OTHER_KEY, "spent a minute ago", play.world.now)
    play.advance(60)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert {link.state for link in sync.active_links(play.chain())} == {"in_sync"}
    assert play.open_runs() == []
    assert not any(sent.method == "verify" for sent in play.sent)


def test_a_worker_that_dies_between_reading_and_logging_on_leaves_the_link_untested(
    synced: Play, synced_stage: Stage
) -> None:
    """LAB-02's stamp moved. After whatever commit the worker dies, the next one logs on, once, and finds it out."""
    for commit in range(12):
        play = Play(synced_stage.restore())
        play.world.outside(OTHER, "by hand", clock_back=False)
        play.advance(23 * 3600)
        play.tick()  # the daily test: nobody clicked
        (test,) = [each for each in play.open_runs() if play.run(each).chain_id == play.chain().id]
        play.work(test, crash=(commit, "after"))
        play.settle()
        assert play.link("LAB-02").state == "refused", commit
        assert play.wrong_logons(OTHER) == 1, commit


def test_a_click_is_one_try_of_a_blocked_link_also_while_its_run_waits_for_others(synced: Play) -> None:
    """LAB-01 is off, so the test goes on by itself; LAB-02, whose login was refused, is not asked each time."""
    play = synced
    play.world.off.add("LAB-01")
    play.world.outside("LAB-02\\lab-adm", "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert play.link("LAB-02").state == "blocked"
    for _ in range(30):
        play.advance(60)
        play.tick()
        play.pass_all()
    assert play.open_runs() != []
    tried = [attempt for attempt in play.attempts(play.link("LAB-02")) if attempt.outcome == "blocked"]
    assert len(tried) == 1
    assert play.wrong_logons("LAB-02\\lab-adm") == 1
