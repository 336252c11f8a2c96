"""Rules 7 to 10: Default Sync first, then promotion, then the dependents in order; a place only behind its account."""

from __future__ import annotations

import pytest

from pwserver.services import sync
from pwserver.services.transaction import write
from tests.disasters.conftest import DEAD, FIRST, OTHER, PRIMARY, Play


@pytest.mark.parametrize("fault", ["policy", "unreachable", "cut_before", "cut_after", "cannot_tell", "bug", "login"])
def test_no_place_gets_a_password_that_default_sync_did_not_take(play: Play, fault: str) -> None:
    run = play.change("second")
    if fault == "login":
        play.world.outside("LAB-01\\svc-psrv", "changed outside", clock_back=False)
    play.fault(fault)
    play.work(run)
    touched = {each.place for each in play.writes()}
    if fault == "cannot_tell":  # written, so it is the vault's; not proved, so no place that stores it is written
        assert play.current() == "second"
        assert touched == {PRIMARY, OTHER, "LAB-02\\\\Nightly"}
    else:
        assert touched <= {PRIMARY}
        assert play.current() == FIRST


def test_dependents_are_written_in_their_order_after_the_promotion(play: Play) -> None:
    run = play.change("second")
    when: list[str] = []
    play.during("change", lambda: when.append(play.current()), place=OTHER)
    play.work(run)
    assert [each.place for each in play.writes()] == [PRIMARY, OTHER, "LAB-02\\\\Nightly", "LAB-01\\imaging"]
    assert when == ["second"]


def test_a_failed_dependent_does_not_stop_the_others_unless_the_chain_says_so(play: Play) -> None:
    run = play.change("second")
    play.fault("none", "policy")
    play.work(run)
    assert play.world.places["LAB-01\\imaging"].value == "second"
    sync.save_settings(play.olivia, play.entry(), play.chain().agent_id, "stop", revision=play.chain().revision)
    play.advance(60)
    run = play.change("third")
    play.fault("none", "policy")
    play.work(run)
    assert play.truth(PRIMARY) == "third"
    assert play.world.places["LAB-01\\imaging"].value == "second", "stopped"


@pytest.mark.parametrize("fault", ["policy", "unreachable", "cut_after", "cannot_tell"])
def test_a_running_task_is_not_broken_by_a_password_its_account_was_not_proved_to_have(play: Play, fault: str) -> None:
    run = play.change("second")
    play.fault("none", fault)
    play.work(run)
    place = play.link("LAB-02", place=True)
    assert (place.state, place.reason) == ("skipped", "account_not_done")
    assert play.world.places["LAB-02\\\\Nightly"].value == FIRST
    assert play.status() == "out_of_sync"


def test_a_skipped_task_is_written_when_its_account_is_proved_at_last(play: Play) -> None:
    run = play.change("second")
    play.fault("none", "unreachable")
    play.work(run)
    play.settle()
    assert play.world.places["LAB-02\\\\Nightly"].value == "second"
    assert play.status() == "in_sync"


def test_default_sync_applied_and_the_worker_gone_before_the_promotion_is_promoted_by_the_next(play: Play) -> None:
    run = play.change("second")
    play.work(run, crash=(3, "before"))
    assert play.truth(PRIMARY) == "second"
    assert play.current() == FIRST
    play.advance(DEAD)
    play.settle()
    assert play.current() == "second" == play.truth(OTHER)


def test_nothing_is_ever_restarted_by_default_and_the_link_says_so(play: Play) -> None:
    from pwserver.connectors.base import Evidence, Means

    run = play.change("second")

    from tests.disasters.conftest import Watched

    real = Watched.write

    def write_pending(self: Watched, call, value):  # type: ignore[no-untyped-def]
        evidence = real(self, call, value)
        if self.name.endswith("imaging"):
            return Evidence("LAB-01", Means.WRITTEN, method="set", right=True, restart_pending=True)
        return evidence

    patch = pytest.MonkeyPatch()
    patch.setattr(Watched, "write", write_pending)
    try:
        play.work(run)
    finally:
        patch.undo()
    link = play.link("LAB-01", place=True)
    assert (link.state, link.restart_pending) == ("updated", True)
    assert "restart" not in {each.method for each in play.sent}


def test_restarts_come_after_everything_is_stored_and_stop_at_the_first_that_does_not_come_up(play: Play) -> None:
    from pwserver.connectors.base import Evidence, Means, Refused
    from tests.disasters.conftest import Watched

    link = play.link("LAB-01", place=True)
    with write() as session:
        row = session.get_one(type(link), link.id)
        row.settings = dict(row.settings) | {"restart": "service"}
    run = play.change("second")
    real = Watched.write

    def write_pending(self: Watched, call, value):  # type: ignore[no-untyped-def]
        real(self, call, value)
        return Evidence(self.place.machine, Means.WRITTEN, method="set", right=True, restart_pending=True)

    def down() -> None:
        raise Refused("did_not_start")

    patch = pytest.MonkeyPatch()
    patch.setattr(Watched, "write", write_pending)
    play.during("restart", down)
    try:
        play.work(run)
    finally:
        patch.undo()
    methods = [each.method for each in play.sent]
    assert methods == ["change", "change", "write", "write", "restart"]
    assert play.link("LAB-01", place=True).restart_pending
