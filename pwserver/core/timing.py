"""Every delay of the product in one object, so that tests and the demo can run the same rules faster."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When an unreachable or unknown link is tried again by itself: ``steps`` in seconds, then every ``every`` seconds,
    each ±``jitter``, until ``give_up`` seconds after the first try."""

    steps: tuple[float, ...] = (30, 60, 120, 300, 420)
    every: float = 3600
    jitter: float = 0.2
    give_up: float = 72 * 3600

    def delay(self, tries: int) -> timedelta:
        """How long to wait after try number ``tries`` (1 for the first)."""
        base = self.steps[tries - 1] if 1 <= tries <= len(self.steps) else self.every
        return timedelta(seconds=base * random.uniform(1 - self.jitter, 1 + self.jitter))  # noqa: S311  # no secret


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. ``ttl``: a script's time to live. ``call``: our own limit of one call; longer than ``ttl``.
    ``dead_wait``: added to an attempt's hard deadline before anything probes or writes again."""

    ttl: float = 45
    call: float = 60
    restart: float = 600
    """Our own limit of the call that restarts a service: a stop may take minutes."""
    restart_stop: float = 480
    """How long the script waits for a stop before it starts again what has stopped, from its first stop on."""
    restart_answer: float = 530
    """When it answers at the latest, counted likewise: with ``ttl`` before that first stop, within ``restart``."""
    dead_wait: float = 10
    lease: float = 60
    lease_grace: float = 5
    lease_over_deadline: float = 15
    busy_account: float = 5
    tick: float = 2
    renudge: float = 30
    try_window: float = 1800
    proof_fresh: float = 24 * 3600
    test_due: float = 20 * 3600
    test_spread: float = 2 * 3600
    logon_every: float = 30 * 24 * 3600
    override_waiting: float = 15 * 60
    override_running: float = 60 * 60
    mail_when_silent: float = 15 * 60
    """How long a machine may be silent before its owners are told."""
    retry: RetryPolicy = RetryPolicy()


NORMAL = Timing()

FAST = Timing(
    ttl=2,
    call=3,
    restart=8,
    restart_stop=3,
    restart_answer=4,
    dead_wait=0.5,
    lease=4,
    lease_grace=0.5,
    lease_over_deadline=1,
    busy_account=0.5,
    tick=0.3,
    renudge=2,
    try_window=30,
    mail_when_silent=8,
    retry=RetryPolicy(steps=(0.5, 1, 1, 2, 2), every=3, give_up=600),
)
"""The profile of tests across processes: the same rules, seconds instead of minutes."""
