"""From a click in the browser to the first request at the target."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.chain import spread
from bench.instance import running, wait
from bench.world import EMAIL, PASSWORD, Plan
from tests.story.browser import Browser

PLAN = Plan(1, 1)


def measure(folder: Path, *, clicks: int = 30) -> dict[str, Any]:
    """``click_to_target`` in ms: *Test now* on a page, as a browser sends it, until the agent's machine is asked."""
    took = []
    with running(folder, PLAN) as here:
        browser = Browser(f"http://127.0.0.1:{here.port}")
        browser.get("/")
        browser.press("Sign in", {"email": EMAIL, "password": PASSWORD})
        browser.follow("Computer Lab")
        browser.follow(PLAN.name(0))
        browser.follow("Synchronization")
        page = browser.page.url
        for _ in range(clicks):
            here.await_idle()
            browser.get(page)
            clicked = time.time()
            browser.press("Test now")
            log = wait(lambda since=clicked: here.lab("requests", since=since)["log"], "a request comes", every=0.005)
            took.append((log[0][0] - clicked) * 1000)
        here.await_idle()
    return {"click_to_target": spread(took) | {"clicks": clicks}}
