"""What goes wrong so that a mail is due."""

from __future__ import annotations

from pwserver.services import sync
from tests.disasters.conftest import OTHER, Play
from tests.mail.conftest import send_due


def post(play: Play) -> None:
    """One round of the timer, and the workers after it."""
    play.tick()
    send_due()


def refused(play: Play) -> None:
    """LAB-02 has another password, and a test finds it."""
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)


def silent(play: Play) -> str:
    """LAB-02 is off during a change."""
    play.world.off.add("LAB-02")
    run = play.change("third")
    play.work(run)
    return run


def behind_a_silent_agent(play: Play, name: str) -> str:
    """The agent does not answer when a corrected value is to be carried to the one link of this chain."""
    play.world.agents_off.add("LAB-01")
    play.work(play.correct(f"third {name}", name=name))
    run = sync.retest(play.olivia, play.entry(name))
    assert run is not None
    play.work(run.id)
    assert play.status(name) == "out_of_sync"
    return run.id
