"""What is wrong with the server itself: a pure function of facts, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

TESTS_WITHIN = timedelta(hours=2)
TIMER_WITHIN = timedelta(seconds=60)
WORKER_WITHIN = timedelta(seconds=90)
MAIL_WITHIN = timedelta(minutes=15)
"""How long a mail may wait for a mail server that does not take it before somebody is told."""
DISK_SHARE, DISK_BYTES = 0.05, 500 * 1000 * 1000
"""Less than this of the data folder's disk is nearly full. It is over with a fifth more, so that it does not flap."""
ROOM_AGAIN = 1.2


@dataclass(frozen=True, slots=True)
class Facts:
    """What the timer read. A time that is None was never seen, which is no trouble: it has just been installed.

    ``tests_due_since``: since when the test waits that has waited longest; ``tested_at``: when any test ended last.
    ``workers``: queue → when a worker of it was alive last. ``mail_waits_since``: since when the mail waits that was
    not taken and has waited longest. ``disk_free``, ``disk_total``: bytes; a total of 0: not read.
    """

    timer_at: datetime | None = None
    workers: dict[str, datetime] = field(default_factory=dict)
    queue_away: bool = False
    tests_due_since: datetime | None = None
    tested_at: datetime | None = None
    mails_failed: int = 0
    mail_waits_since: datetime | None = None
    mail_answer: str = ""
    mail_error: str = ""
    disk_free: int = 0
    disk_total: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """``words``: for administrators. ``owners``: what it means for owners, or "" where it does not concern them."""

    kind: str
    words: str

    @property
    def owners(self) -> str:
        return OWNERS.get(self.kind, "")


OWNERS = {
    "timer": "A part of this server stands still: nothing is tested or tried again by itself. The administrators know.",
    "workers": "A part of this server stands still: changes and tests wait. The administrators know.",
    "tests": "The daily tests do not run, so proofs get old. The administrators know.",
    "mails": "Alert mails may not arrive. Look at the Dashboard meanwhile. The administrators know.",
}


def troubles(facts: Facts, at: datetime, *, open_kinds: frozenset[str] = frozenset()) -> list[Found]:
    """What is wrong now, worst first. ``open_kinds``: what was wrong before, for what must not flap."""
    if facts.timer_at is not None and at - facts.timer_at > TIMER_WITHIN:
        # Nobody looked since then: whatever else the facts say is as old.
        return [Found("timer", f"The timer has not run since {clock(facts.timer_at)}. Start the server again.")]
    found = [_workers(facts, at), _tests(facts, at), _mails(facts, at), _disk(facts, "disk" in open_kinds)]
    return [each for each in found if each is not None]


def _workers(facts: Facts, at: datetime) -> Found | None:
    dead = {queue: seen for queue, seen in facts.workers.items() if at - seen > WORKER_WITHIN}
    if not dead:
        return None
    since = clock(min(dead.values()))
    if facts.queue_away:
        return Found("workers", f"The queue server does not answer, since {since}. Start it or the server again.")
    names = " and ".join(f"worker-{queue}" for queue in sorted(dead))
    return Found("workers", f"No {names} is alive, since {since}. Start the server again.")


def _tests(facts: Facts, at: datetime) -> Found | None:
    due, last = facts.tests_due_since, facts.tested_at
    if due is None or at - due <= TESTS_WITHIN or (last is not None and at - last <= TESTS_WITHIN):
        return None
    ended = f"the last one ended {clock(last)}" if last else "none has ended yet"
    return Found("tests", f"No test has run for two hours although tests are due since {clock(due)}; {ended}.")


def _mails(facts: Facts, at: datetime) -> Found | None:
    if facts.mail_error:
        return Found("mails", f"No mail is sent: {facts.mail_error}")
    if facts.mails_failed:
        number = "1 mail was" if facts.mails_failed == 1 else f"{facts.mails_failed} mails were"
        return Found("mails", f"{number} not taken by the mail server. The Outbox page has its answers.")
    since = facts.mail_waits_since
    if since is not None and at - since > MAIL_WITHIN:
        return Found("mails", f"Mails wait since {clock(since)}: {facts.mail_answer}")
    return None


def _disk(facts: Facts, was: bool) -> Found | None:
    more = ROOM_AGAIN if was else 1.0
    if not facts.disk_total or facts.disk_free >= max(DISK_BYTES, facts.disk_total * DISK_SHARE) * more:
        return None
    free, total = facts.disk_free / 1e9, facts.disk_total / 1e9
    return Found("disk", f"The disk of the data folder is nearly full: {free:.1f} of {total:.0f} GB are free.")


def clock(moment: datetime) -> str:
    return f"{moment.day} {moment:%b, %H:%M} UTC"
