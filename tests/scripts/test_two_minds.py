"""The lab's two minds are one: whatever the engine with the shipped scripts answers, the Python mind answers too."""

from __future__ import annotations

import json

import pytest

from tests.scripts.conftest import every

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine"), pytest.mark.timeout(120)]

NAMES = [one.name for one in every()]


def compared(answer: dict) -> dict:
    """An answer without what may differ: how long it took."""
    return {name: value for name, value in json.loads(json.dumps(answer)).items() if name != "elapsed_ms"}


def same(run) -> list[str]:
    """What differs between the engine's run and the Python mind's; empty when nothing does."""
    early: list[bytes] = []
    lab, answer = run.scenario.by_python(early.append)
    ours, theirs = compared(run.answer), compared(answer)
    differences = [
        f"{name}: {ours.get(name)} / {theirs.get(name)}" for name in ours | theirs if ours.get(name) != theirs.get(name)
    ]
    if run.before_answer != b"".join(early):
        differences.append(f"before the answer: {run.before_answer!r} / {early}")
    if lab.slept != run.lab.slept:
        differences.append(f"waited: {run.lab.slept} / {lab.slept}")
    if lab.net.hash() != run.lab.net.hash():
        differences.append("the network differs afterwards")
    for name, machine in lab.net.state.machines.items():
        if machine.bad_logons != run.lab.machine(name).bad_logons:
            differences.append(f"{name}: wrong logons {run.lab.machine(name).bad_logons} / {machine.bad_logons}")
    return differences


@pytest.mark.parametrize("name", NAMES)
def test_both_minds_answer_the_same(runs, name):
    assert same(runs[name]) == []


def test_a_mind_that_lies_is_noticed(runs):
    """The comparison's own control: another outcome on one side is a difference."""
    run = runs["verify-wrong"]
    lie = type(run)(runs["verify"].scenario, run.lab, run.output)
    assert same(lie)
