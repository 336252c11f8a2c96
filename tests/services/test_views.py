"""What rows mean, in words. Refused, blocked and silent are never mixed up, and nothing written is called proved."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pwserver.core.secrets import Secret
from pwserver.core.states import LinkState, Status
from pwserver.extensions import db
from pwserver.models import Entry, SyncRun
from pwserver.services import sync, values, views
from pwserver.services.transaction import now
from pwserver.services.views.approve import read_approve
from pwserver.services.views.runs import requested_by
from tests.conftest import Cast, Clock
from tests.web import scenes

pytestmark = pytest.mark.usefixtures("ctx")


def view_of(entry: Entry) -> views.ChainView:
    found = views.read_chain(entry)
    assert found is not None
    return found


def link_of(entry: Entry, machine: str, *, account: bool = True) -> views.LinkView:
    return next(each for each in view_of(entry).links if each.machine == machine and each.is_account == account)


def evidence(entry: Entry, machine: str, *, account: bool = True) -> str:
    return link_of(entry, machine, account=account).evidence.plain(now())


def test_evidence_says_how_and_when_and_a_place_is_never_proved() -> None:
    entry = scenes.chain()
    assert evidence(entry, "LAB-02") == "logged on, 02:00:00"
    assert evidence(entry, "LAB-03", account=False) == "written 02:00:00, account logged on"
    scenes.proved(scenes.link(entry, "LAB-01", account=False), means="started since the last change")
    assert evidence(entry, "LAB-01", account=False) == "started after the last change, read 02:00:00"
    assert not any("proved" in each.evidence.plain(now()) for each in view_of(entry).links)


def test_a_run_says_who_wanted_it() -> None:
    entry = scenes.chain()

    def by(kind: str, **columns: object) -> str:
        return requested_by(scenes.run(entry, kind, "done", **columns))

    assert by("change") == "Olivia Ortiz"
    assert by("change", requested_by=None) == "by itself"
    assert by("test", requested_by=None) == "daily test"
    for kind in ("change", "test"):
        assert by(kind, requested_by=None, clicked_at=now()) == "at the command line"
    earlier = now() - timedelta(hours=1)
    retested = by("change", requested_by=None, requested_at=earlier, clicked_at=now())
    assert retested == "by itself", "a click on Retest makes it due; the server had begun it"


def test_an_account_that_is_only_written_is_not_shown_as_proved() -> None:
    entry = scenes.chain()
    scenes.proved(scenes.link(entry, "LAB-02"), means="written only")
    scenes.change(scenes.link(entry, "LAB-02"), state="waiting", reason="written_only")
    link = link_of(entry, "LAB-02")
    assert not link.good
    assert link.evidence.plain(now()) == "written only, not proved, 02:00:00"


def test_refused_blocked_and_silent_each_have_their_own_words_and_step() -> None:
    entry = scenes.out_of_sync()
    refused, blocked, silent = (link_of(entry, machine) for machine in ("LAB-05", "LAB-06", "LAB-04"))
    assert [views.step_of(each) for each in (refused, blocked, silent)] == ["approve", "credential", ""]
    assert blocked.credential is not None, "the button leads to it"
    assert refused.evidence.plain(now()).startswith("tried once")
    assert blocked.evidence.plain(now()).startswith("our login, sent once")
    assert silent.evidence.plain(now()) == "next try 02:04:00, 3 tries so far"
    assert "CORP\\svc-pwagent" in blocked.why.plain(now())
    assert "Administrator" not in blocked.why.plain(now()), "a refusal of our login says nothing about the account"


def test_an_issue_names_the_machines_and_does_not_count_the_silent_one_as_wrong() -> None:
    entry = scenes.out_of_sync()
    chain = view_of(entry)
    issue = views.issue_of(chain, entry)
    assert issue is not None
    words = "LAB-05 refused the vault\u2019s password, LAB-06 refused our own login, LAB-04 does not answer"
    assert issue.title == words
    assert [each.machine for each in issue.links] == ["LAB-05", "LAB-06", "LAB-04"]
    assert issue.step == "approve"


def test_a_link_that_holds_the_version_before_is_not_green_however_well_it_was_proved() -> None:
    """False green: after Correct, the others still hold the one before."""
    entry = scenes.chain(places=False)
    primary = scenes.link(entry, "LAB-01").id
    sync.correct(Cast().olivia, entry, Secret("Other-93kq#Rezun"), [primary])
    link = link_of(entry, "LAB-02")
    assert link.state == LinkState.WAITING
    assert link.rail == "is-open"
    assert link.evidence.plain(now()) == "holds version 1, proved 02:00:00"
    assert link_of(entry, "LAB-01").state == LinkState.UNKNOWN


def test_a_run_shows_who_is_at_work_who_waits_and_for_what() -> None:
    entry, _run = scenes.changing()
    chain = view_of(entry)
    assert chain.running
    assert [each.machine for each in chain.links if each.at_work] == ["LAB-03"]
    assert link_of(entry, "LAB-03").state == LinkState.CHANGING
    assert evidence(entry, "LAB-04") == "waits for its turn"
    assert evidence(entry, "LAB-03", account=False) == "waits for its account, link 3"
    assert chain.done == 2
    assert chain.what_now() == "LAB-03 Administrator: changing. 2 of 8 links done."


def test_the_live_sentence_has_no_seconds_and_the_mark_does_not_move_with_time(clock: Clock) -> None:
    """A page that polls every second would speak, and swap its rows, every second."""
    entry, _run = scenes.changing()
    before = view_of(entry)
    clock.tick(seconds=7)
    after = view_of(entry)
    assert (before.mark, before.marks, before.what_now()) == (after.mark, after.marks, after.what_now())
    scenes.proved(scenes.link(entry, "LAB-04"))
    moved = view_of(entry)
    assert moved.mark != before.mark
    assert sum(moved.marks[link_id] != before.marks[link_id] for link_id in before.marks) == 1


def test_an_unknown_link_says_what_is_asked_and_when() -> None:
    entry = scenes.chain(places=False)
    scenes.unknown(scenes.link(entry, "LAB-02"), values.current_version(entry))
    assert evidence(entry, "LAB-02") == "asked again 02:01:00, reading first"
    assert view_of(entry).status == Status.OUT_OF_SYNC


def test_a_long_chain_folds_only_equal_good_links() -> None:
    entry = scenes.chain([f"LAB-{number:02}" for number in range(2, 30)], places=False)
    scenes.refused(scenes.link(entry, "LAB-20"))
    bands = view_of(entry).bands
    folded = [(band.first.machine, band.last.machine) for band in bands if band.folded]
    assert folded == [("LAB-02", "LAB-19"), ("LAB-21", "LAB-29")]
    assert [band.first.machine for band in bands if not band.folded] == ["LAB-01", "LAB-20"]
    assert [len(band.links) for band in bands] == [1, 18, 1, 9]


def test_a_fold_says_how_its_links_are_known_and_from_when_to_when() -> None:
    entry = scenes.chain([f"LAB-{number:02}" for number in range(2, 16)], places=False)

    def said() -> str:
        return next(band for band in view_of(entry).bands if band.folded).evidence.plain(now())

    assert said() == "logged on, 02:00:00"
    scenes.proved(scenes.link(entry, "LAB-05"), now() - timedelta(minutes=3))
    scenes.proved(scenes.link(entry, "LAB-09"), now() + timedelta(seconds=4))
    assert said() == "logged on, 01:57:00 to 02:00:04"
    scenes.proved(scenes.link(entry, "LAB-09"), means="read back")
    assert said() == "", "they are known differently"


def test_a_place_is_never_offered_to_move_before_its_account() -> None:
    entry = scenes.chain(["LAB-03"])
    by_name = {each.who: each for each in view_of(entry).links}
    assert not by_name["LabImaging"].can_up, "its account is right above it"
    assert by_name["\\Lab\\Nightly reset"].can_up
    assert not by_name["\\Lab\\Nightly reset"].can_down
    assert not view_of(entry).links[0].can_down, "Default Sync stays first"


def test_give_up_is_offered_only_while_the_new_value_is_nowhere() -> None:
    entry = scenes.chain(places=False)
    run = sync.request_change(Cast().olivia, entry, Secret("Next-93kq#Rezun-2"))
    assert view_of(entry).can_give_up
    assert run is not None
    version = db.session.get_one(SyncRun, run.id).version_id
    scenes.unknown(scenes.link(entry, "LAB-01"), db.session.get_one(type(values.current_version(entry)), version))
    assert not view_of(entry).can_give_up


def test_approve_groups_by_machine_leaves_out_what_is_silent_and_keeps_a_refused_credential_from_use() -> None:
    entry = scenes.out_of_sync()
    view = read_approve(entry)
    assert view is not None
    assert [(each.machine, each.out, each.linked_works) for each in view.targets] == [
        ("LAB-05", False, True),
        ("LAB-06", False, False),
        ("LAB-04", True, True),
    ]
    assert view.chosen == "keep"
    assert view.outside == ["LAB-05"]
    assert view.wrong == 2


def test_issues_are_counted_for_owners_only() -> None:
    scenes.out_of_sync()
    cast = Cast()
    assert views.count_issues(cast.olivia) == views.IssueCounts(1, 1, {cast.vault.id: (1, 1)})
    for name in ("eddie", "vera", "nora", "ada"):
        assert views.count_issues(getattr(cast, name)) == views.IssueCounts(), name


def test_a_silent_machine_is_a_task_that_says_there_is_nothing_to_do() -> None:
    entry, _run = scenes.changing()
    scenes.finish_attempts(entry)
    for link in scenes.links(entry):
        if link.machine != "LAB-04":
            scenes.proved(link)
    scenes.silent(scenes.link(entry, "LAB-04"))
    scenes.end_runs(entry)
    [task] = [each for each in views.read_dashboard(Cast().olivia).tasks if each.kind == "Sync Issue"]
    assert task.title == "Lab Administrator cannot be reached everywhere"
    assert task.text.startswith("LAB-04 does not answer. Nothing to do yet")
    assert task.step == ""
    counts = views.count_issues(Cast().olivia)
    assert (counts.total, counts.loud) == (1, 0), "it is counted, but nothing calls for a person"


def test_events_are_sentences_and_an_unknown_verb_is_shown_as_it_is() -> None:
    entry = scenes.chain(["LAB-02"], places=False)
    rows, older = views.events_of(entry, limit=3)
    assert older is not None
    words = [row.words for row in views.events_of(entry)[0]]
    assert "Olivia Ortiz turned synchronization on with LAB-01" in words
    assert "Olivia Ortiz added LAB-02\\administrator (Remote Windows Password)" in words
    assert len(rows) == 3


def test_a_run_page_tells_each_attempt_in_words() -> None:
    _entry, run = scenes.changing()
    view = views.read_run(db.session.get_one(SyncRun, run.id))
    by_machine = {trace.machine: trace for trace in view.traces}
    assert by_machine["LAB-01"].look.label == "Applied"
    assert by_machine["LAB-03"].look.label == "At work"
    [refused] = by_machine["LAB-05"].attempts
    assert (refused.look.tone, refused.code) == ("bad", "1326")
    assert "Nothing was changed" in refused.why
    assert view.lede.endswith("LAB-05 refused.")


@pytest.mark.parametrize(
    ("seconds", "words"), [(2.04, "2.0 s"), (43, "43 s"), (180, "3 min"), (7200, "2 h"), (3 * 86400, "3 days")]
)
def test_how_long(seconds: float, words: str) -> None:
    assert views.lasted(seconds) == words


def test_a_clock_says_the_day_when_it_is_another() -> None:
    at = now()
    assert views.clock(at - timedelta(hours=1), at) == "01:00:00"
    assert views.clock(at - timedelta(hours=3), at) == "Mon 23 Nov, 23:00"
    assert views.clock(at - timedelta(days=400), at) == "20 Oct 2025, 02:00"


def test_lists_of_names_end_with_how_many_more() -> None:
    assert views.named(["A", "B"]) == "A and B"
    assert views.named(list("ABCDEF")) == "A, B, C and 3 more"
