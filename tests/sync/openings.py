"""Openings: a few moves of the machine's own, chosen so that one guarantee, taken out, shows at once.

Random play finds most broken guarantees too, but by the luck of the draw. An opening is played on a machine as it is
(everything that must hold is looked at after every move) and once more on each engine that it is meant to catch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sync.machine import Machine


class Player:
    """Makes the machine's moves by name (``play.change(key="lab")``); what must hold is checked before and after."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._check()

    def __getattr__(self, move: str) -> Callable[..., None]:
        rules = {rule.function.__name__: rule for rule in self.machine.rules}

        def make(**arguments: Any) -> None:
            rule = rules[move]
            assert set(arguments) == set(rule.arguments), f"{move} takes {sorted(rule.arguments)}"
            assert all(holds(self.machine) for holds in rule.preconditions), f"{move} is not possible now"
            rule.function(self.machine, **arguments)
            self._check()

        return make

    def work(self, *plan: str) -> None:
        """Every run that is due has its pass; ``plan``: what its calls meet, in order."""
        self.__getattr__("work")(plan=list(plan), crash=None)

    def _check(self) -> None:
        for each in self.machine.invariants:
            each.function(self.machine)


Opening = Callable[[Player], None]


def play(opening: Opening) -> None:
    """Plays an opening on a new machine; ``Machine.stage`` is set."""
    machine = Machine()
    try:
        opening(Player(machine))
    finally:
        machine.teardown()


def the_line_is_cut_after_the_change(play: Player) -> None:
    play.change(key="desk")
    play.work("cut_after")


def the_line_is_cut_before_the_change(play: Player) -> None:
    play.change(key="desk")
    play.work("cut_before")


def default_sync_is_off(play: Player) -> None:
    play.change(key="lab")
    play.work("unreachable")


def one_machine_takes_it(play: Player) -> None:
    play.change(key="desk")
    play.work()
    play.run_it_twice()


def every_place_takes_it(play: Player) -> None:
    play.change(key="lab")
    play.work()


def a_remote_is_off_once(play: Player) -> None:
    """Default Sync has the new value, LAB-02 still the old one: it is changed from that, and its task after it."""
    play.change(key="lab")
    play.work("none", "unreachable")
    play.time_goes_on(seconds=35)
    play.work()


def a_late_write_lands_while_a_click_waits(play: Player) -> None:
    play.time_goes_on(seconds=35)
    play.change(key="desk")
    play.work("late")
    play.time_goes_on(seconds=1)
    play.retest(key="desk")
    play.work("none", "unreachable")
    play.time_goes_on(seconds=75)


def approved_while_a_late_write_is_on_its_way(play: Player) -> None:
    play.change(key="desk")
    play.work("late")
    play.approve(key="desk", which="new", typed="right")
    play.work()
    play.time_goes_on(seconds=75)


def given_up_while_a_late_write_is_on_its_way(play: Player) -> None:
    play.change(key="desk")
    play.work("late")
    play.give_up(key="desk")
    play.time_goes_on(seconds=75)


def saved_anew_while_a_late_write_is_on_its_way(play: Player) -> None:
    play.change(key="desk")
    play.work("late")
    play.change(key="desk")
    play.time_goes_on(seconds=75)


def changed_by_hand_and_tested(play: Player) -> None:
    play.outside(key="desk", number=0, clock_back=False)
    play.test(key="desk")
    play.work()


def changed_by_hand_under_a_clock_set_back(play: Player) -> None:
    play.outside(key="desk", number=0, clock_back=True)
    play.test(key="desk")
    play.work()


def changed_by_hand_and_clicked_again_and_again(play: Player) -> None:
    play.outside(key="desk", number=0, clock_back=False)
    play.click_and_click_again(key="desk")


def changed_by_hand_then_everywhere(play: Player) -> None:
    """The old value is refused; half an hour later the budget would allow one more."""
    play.outside(key="desk", number=0, clock_back=False)
    play.change(key="desk")
    play.work()
    play.time_goes_on(seconds=1900)
    play.work()


def written_and_nobody_could_log_on(play: Player) -> None:
    play.change(key="desk")
    play.work("cannot_tell")


def a_credential_may_hold_two_values(play: Player) -> None:
    """LAB-02 is spoken to with a password that was just sent to LAB-02 with an unknown end."""
    play.change(key="adm")
    play.work("cut_after")
    play.change(key="lab")
    play.work()


def a_day_without_an_answer(play: Player) -> None:
    play.time_goes_on(seconds=90000)
    play.work(*["unreachable"] * 6)
    play.time_goes_on(seconds=1)


def a_worker_dies_in_a_call(play: Player) -> None:
    """What it sent takes effect when it is long dead; the next worker cannot know."""
    play.change(key="desk")
    play.work("crash_late")
    play.time_goes_on(seconds=130)
    play.work("unreachable")
