"""The end: how long a click takes to its target, and whether the books agree."""

from __future__ import annotations

import statistics
import time

from pwserver.lab import defaults
from tests.story.instance import wait
from tests.story.story import Story, initial

CLICKS, DESK = 10, "LAB-40"


def measure(story: Story) -> str:
    """A new password with one link; ten clicks on Test now."""
    browser, lab = story.browser, story.lab
    browser.get(story.vault)
    browser.follow("New password…")
    secret = initial("lab")
    story.press("Save the password", name="Front desk", user_name="Administrator", machine=DESK, value=secret)
    browser.follow("Synchronization")
    story.press("Turn synchronization on")
    here = browser.page.url
    story.instance.page_when(here, lambda _: story.status == "In Sync", "the new one is In Sync")
    took = []
    for _ in range(CLICKS):
        wait(lambda: browser.get(here).can_press("Test now") and story.status == "In Sync", "it is at rest")
        clicked = time.time()
        browser.press("Test now")
        first = wait(lambda clicked=clicked: lab("requests", since=clicked)["log"], "a request comes", every=0.02)[0]
        took.append((first[0] - clicked) * 1000)
    story.measured |= {
        "click_to_target_ms": {
            "median": round(statistics.median(took)), "p95": round(sorted(took)[-1]), "clicks": len(took)
        }
    }  # fmt: skip
    wait(lambda: browser.get(here).can_press("Test now") and story.status == "In Sync", "it is at rest")
    browser.follow("History")
    assert "Test" in browser.page.text
    return f"median {statistics.median(took):.0f} ms, browser included; {books(story)}"


def books(story: Story) -> str:
    """Nobody is locked out, no domain controller was asked for a local account, and all invariants hold."""
    lab = story.lab
    locked = [each["name"] for each in lab("state")["machines"] if any(one["locked"] for one in each["accounts"])]
    assert not locked, f"locked out: {locked}"
    assert f"{defaults.CONTROLLER}: Administrator" not in lab.wrong, "never at the domain controller"
    violations = story.instance.flask("sync", "check")["violations"]
    assert violations == [], violations
    story.instance.logs_are_clean()
    story.measured["wrong_logons_in_all"] = lab.wrong
    return "no violations"
