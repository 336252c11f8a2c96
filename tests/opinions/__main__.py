"""``python -m tests.opinions``: ask both other programs, compare, print one JSON object as the last line.

Exit status 1 for a difference that is not listed, for a listed one that is gone, and, under ``CI`` as root, for
anything that could not be run. ``--facts`` prints the list of facts instead: name, call, run on, what it says.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.opinions import differences, smbd, smbd_facts, wine, wine_facts
from tests.opinions.facts import EQUAL, LISTED, UNLISTED, Checked, Fact, Verdict, judge, strays
from tests.opinions.line import NoAnswer
from tests.opinions.twin import Twin

BEGAN = time.monotonic()
printing = threading.Lock()


@dataclass(slots=True)
class Outcome:
    """What one opinion came to. ``unchecked``: names of facts that could not be put to the other program."""

    checked: list[Checked] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    calls: int = 0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Opinion:
    """One other program. ``run_on`` is how docs/windows-facts.md cites it."""

    name: str
    run_on: str
    facts: Sequence[Fact[Any, Any]]
    missing: Callable[[], list[str]]
    ask: Callable[[Opinion, Outcome, Path], None]


def say(text: str) -> None:
    with printing:
        print(f"{time.monotonic() - BEGAN:5.0f} s  {text}", flush=True)


def check_all(opinion: Opinion, outcome: Outcome, other: Any, lab: Twin) -> None:
    """Put every fact to both, in order. No answer is an answer that nothing equals."""
    for fact in opinion.facts:
        try:
            theirs = fact.theirs(other)
        except (NoAnswer, LookupError, TypeError) as error:  # an answer without what belongs into it
            theirs = f"no answer: {error!r}"
        ours = None if fact.lab is None else fact.lab(lab)
        outcome.checked.append(Checked(fact.name, fact.expected, theirs, ours, fact.lab is not None))
    outcome.calls = other.line.calls


def ask_wine(opinion: Opinion, outcome: Outcome, folder: Path) -> None:
    with wine.running(folder) as here:
        say(f"{opinion.name}: .NET Core {here.clr} on Wine {here.version()} answers")
        check_all(opinion, outcome, here, wine_facts.twin(here.user))


def ask_smbd(opinion: Opinion, outcome: Outcome, folder: Path) -> None:
    with smbd.running(folder, smbd_facts.USERS, smbd_facts.POLICIES) as here:
        say(f"{opinion.name}: smbd {here.version} answers; a lock and a window of a minute are waited for")
        check_all(opinion, outcome, here, smbd_facts.twin(here))


def opinions() -> tuple[Opinion, ...]:
    return (
        Opinion("helpers", "Wine 8 with .NET Core 3.1", wine_facts.facts(getpass.getuser()), wine.missing, ask_wine),
        Opinion("accounts", "Samba 4.17 libnetapi", smbd_facts.facts(), smbd.missing, ask_smbd),
    )


def run(opinion: Opinion) -> Outcome:
    """Ask one program; say what is missing if it cannot be."""
    outcome = Outcome()
    lacks = opinion.missing()
    if lacks:
        say(f"{opinion.name}: not run, for want of {', '.join(lacks)}; its facts stay unchecked")
    else:
        say(f"{opinion.name}: begins")
        with tempfile.TemporaryDirectory(prefix="opinions-", ignore_cleanup_errors=True) as folder:
            try:
                opinion.ask(opinion, outcome, Path(folder))
            except (NoAnswer, RuntimeError, OSError) as error:
                outcome.broken = True
                say(f"{opinion.name}: broke off: {error}")
    done = {one.name for one in outcome.checked}
    named = [fact.name for fact in opinion.facts if fact.call]
    outcome.unchecked = [name for name in named if name not in done]
    say(f"{opinion.name}: {len(named) - len(outcome.unchecked)} facts checked")
    return outcome


def main(arguments: Sequence[str]) -> int:
    asked = opinions()
    if list(arguments) == ["--facts"]:
        for opinion in asked:
            for fact in opinion.facts:
                if fact.call:
                    print(fact.name, fact.call, opinion.run_on, fact.says, sep="\t")
        return 0
    listed = differences.listed()
    with ThreadPoolExecutor(len(asked)) as pool:
        outcomes = list(pool.map(run, asked))
    verdicts = [judge(one, listed) for outcome in outcomes for one in outcome.checked]
    every = [fact for opinion in asked for fact in opinion.facts]
    verdicts += [Verdict(name, UNLISTED, "listed, but no fact has this name") for name in strays(listed, every)]
    for verdict in verdicts:
        if verdict.kind == UNLISTED:
            say(f"UNLISTED {verdict.name}: {verdict.text}")
    steps = {fact.name for fact in every if not fact.call}  # they only prepare what comes next: counted when they fail
    kinds = Counter(verdict.kind for verdict in verdicts if verdict.kind == UNLISTED or verdict.name not in steps)
    unchecked = [name for outcome in outcomes for name in outcome.unchecked]
    report = {
        "opinions": sum(bool(outcome.checked) for outcome in outcomes),
        "calls": sum(outcome.calls for outcome in outcomes),
        "equal": kinds[EQUAL],
        "listed": kinds[LISTED],
        "unlisted": kinds[UNLISTED],
        "unchecked": unchecked,
        "seconds": round(time.monotonic() - BEGAN),
    }
    print(json.dumps(report))
    must_run = bool(os.environ.get("CI")) and os.geteuid() == 0
    failed = kinds[UNLISTED] or any(outcome.broken for outcome in outcomes) or (must_run and unchecked)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
