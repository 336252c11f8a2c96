"""A thousand daily tests with two workers: the wall time beside the pure waiting for the machines."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.instance import running
from bench.world import Plan
from pwserver.lab import defaults
from pwserver.services import timer
from pwserver.services.transaction import now


def measure(folder: Path, *, tests: int = 1000, workers: int = 2, slow_ms: int = 50) -> dict[str, Any]:
    """``daily_tests_ratio``: one password and one link for each test. Waiting: every request that the agent got, at
    ``slow_ms``, divided by the workers that may wait at the same time."""
    with running(folder, Plan(tests, 1), PWSERVER_WORKERS=str(workers)) as here:
        here.lab("fault", machine=defaults.AGENT, word=f"slow:{slow_ms}")
        before, began = _requests(here.lab("requests")), time.monotonic()
        due = timer.queue_tests(now() + timedelta(hours=23))
        assert len(due) == tests, len(due)
        here.await_idle(seconds=tests * slow_ms, every=0.5)
        took = time.monotonic() - began
        asked = _requests(here.lab("requests")) - before
    waiting = asked * slow_ms / 1000 / workers
    return {
        "daily_tests_ratio": round(took / waiting, 3),
        "daily_tests": {"tests": tests, "workers": workers, "requests": asked, "wall_s": round(took, 1)},
    }


def _requests(told: dict[str, Any]) -> int:
    return next((row["requests"] for row in told["machines"] if row["machine"] == defaults.AGENT), 0)
