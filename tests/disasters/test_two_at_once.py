"""Two at once, in the middle of a run: an approval, a restored or ordered link, another chain's change."""

from __future__ import annotations

import pytest

from pwserver.core.errors import Conflict
from pwserver.services import sync
from tests.disasters.conftest import FIRST, OTHER, PRIMARY, Play

pytestmark = pytest.mark.both

ADM = "LAB-02\\lab-adm"


def test_approve_during_a_retry_takes_the_waiting_change_away_and_finishes_what_it_left(play: Play) -> None:
    waiting = play.change("second")
    play.fault("none", "unreachable")
    play.work(waiting)
    assert play.run(waiting).state == "waiting"
    assert (play.truth(PRIMARY), play.truth(OTHER)) == ("second", FIRST)
    approved = play.approve("LAB-02", typed="our login")
    assert (play.run(waiting).state, play.run(waiting).result) == ("done", "superseded")
    play.work(approved)
    assert play.truth(OTHER) == "second"
    play.sent.clear()
    assert not play.work(waiting), "and its next try, which was due, does nothing"
    assert play.sent == []


def test_a_second_approval_at_the_same_moment_touches_nothing_and_keeps_no_credential(play: Play) -> None:
    first = play.approve("LAB-02", typed="our login")
    with pytest.raises(Conflict, match=r"Olivia approved already meanwhile, as run \d+\. Nothing was done"):
        play.approve("LAB-02", value="new", new="third", typed="typed by the other")
    assert play.pending() is None, "its new value is stored nowhere"
    assert play.overrides() == 1
    play.work(first)
    assert play.overrides() == 0
    assert {each.linked for each in play.sent if each.linked} <= {"our login", FIRST, "first LAB-02\\lab-adm"}


def test_a_link_put_back_in_the_middle_of_a_change_is_not_changed_by_that_pass(synced: Play) -> None:
    """Undo is pressed while a change runs: it is a link added meanwhile (rule 34)."""
    play = synced
    place, link = play.link("LAB-02", place=True), play.link("LAB-02")
    for each in (place, link):
        sync.remove_link(play.olivia, each, revision=play.chain().revision)
    run = play.change("third")

    def put_back() -> None:
        play.advance(1)
        sync.restore_link(play.olivia, link, revision=play.chain().revision)

    play.during("change", put_back, place=PRIMARY)
    play.work(run)
    assert not any(sent.place.startswith("LAB-02") for sent in play.sent)
    assert play.truth(OTHER) == "second"
    play.settle(hours=1)
    assert play.truth(OTHER) == "third", "but it is not forgotten"


def test_the_order_stands_still_under_a_running_change(play: Play) -> None:
    run = play.change("second")
    order = [link.id for link in sync.active_links(play.chain())]
    refused: list[str] = []

    def reorder() -> None:
        with pytest.raises(Conflict) as error:
            sync.order_links(
                play.olivia, play.entry(), [order[0], order[3], *order[1:3]], revision=play.chain().revision
            )
        refused.append(error.value.user_message)

    play.during("change", reorder, place=PRIMARY)
    play.work(run)
    assert refused == ["A run of this chain is under way. Wait for its end; nothing was saved."]
    assert [link.id for link in sync.active_links(play.chain())] == order
    assert play.truth(OTHER) == "second"


def test_a_credential_changed_by_its_own_chain_between_two_links_is_used_with_its_new_value(play: Play) -> None:
    """Bound late, per attempt: the run began with the old one, its second link needs the new one."""
    run, other = play.change("second"), play.change("second adm", "adm")
    play.during("change", lambda: play.work(other, worker="B"), place=PRIMARY)
    play.work(run, worker="A")
    assert play.truth(ADM) == "second adm"
    play.settle()
    assert play.truth(OTHER) == "second"
    used = [each.linked for each in play.writes() if each.place == OTHER]
    assert set(used) == {"second adm"}
    assert play.wrong_logons(ADM) == 0
