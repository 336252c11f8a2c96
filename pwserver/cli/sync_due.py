"""``flask sync test-due``: the daily tests that are due at a time, asked for now."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy import select

from pwserver import queueing
from pwserver.cli.find import name_of
from pwserver.cli.output import Exit, Out, command, iso
from pwserver.cli.sync import POLL, group, run_facts
from pwserver.core.states import STATUS, Status
from pwserver.extensions import db
from pwserver.models import Entry, SyncChain, SyncRun
from pwserver.services import entries, sync, timer
from pwserver.services.transaction import end_read, now


class Moment(click.ParamType[datetime]):
    """A moment in ISO 8601; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value} is no time. Type it as in 2026-11-25T02:00Z.", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@command(group, "test-due")
@click.option("--now", "at", type=Moment(), metavar="TIME", help="Due at this time (UTC), as in 2026-11-25T02:00Z.")
@click.option("--work", is_flag=True, help="Do the tests in this process, one after the other.")
@click.option("--wait", type=click.FloatRange(0), metavar="SECONDS", help="Wait so long for the workers to do them.")
def test_due(out: Out, at: datetime | None, work: bool, wait: float | None) -> Exit:
    """Queue every daily test that is due at TIME (without it: now), as the timer will. A test never writes.

    With --work or --wait it tells how the passwords stand then, and ends with 0 only when all of them are In Sync.
    """
    if work and wait is not None:
        raise click.UsageError("--work and --wait contradict each other.")
    at = at or now()
    due = timer.queue_tests(at)
    run_ids = [each.run_id for each in due]
    queued = sum(each.new for each in due)
    words = (
        "no password is due" if not due else f"{len(due)} due, {queued} queued, {len(due) - queued} under way already"
    )
    out.say(f"Daily tests at {at:%Y-%m-%d %H:%M} UTC: {words}.")
    if work:
        for run_id in run_ids:
            sync.execute(run_id, f"{socket.gethostname()}:{os.getpid()}")
    else:
        for run_id in run_ids:  # what the queue has no room for, the timer nudges
            queueing.enqueue(run_id, queueing.LATER)
    if wait is not None:
        _wait(run_ids, wait)
    told = [_facts(run) for run in _runs(run_ids)]
    out.give({"now": iso(at), "due": len(due), "queued": queued, "under_way": len(due) - queued, "entries": told})
    if not told or not (work or wait is not None):
        return Exit.OK
    out.table(
        ("Password", "Sync Status", "Run", "Detail"),
        [
            (each["entry"], each["label"], f"{each['run']['number']} {each['run']['state']}", each["detail"])
            for each in told
        ],
    )
    return Exit.OK if all(each["status"] == Status.IN_SYNC for each in told) else Exit.NOT_WELL


def _runs(run_ids: Sequence[str]) -> list[SyncRun]:
    end_read()
    query = select(SyncRun).where(SyncRun.id.in_(run_ids)).order_by(SyncRun.number)
    return list(db.session.scalars(query.execution_options(populate_existing=True)))


def _wait(run_ids: Sequence[str], seconds: float) -> None:
    """Until none of the runs is queued or running; one that waits for a machine that is off is not waited for."""
    end = time.monotonic() + seconds
    while any(run.state in ("queued", "running") for run in _runs(run_ids)) and time.monotonic() < end:
        end_read()
        time.sleep(POLL)


def _facts(run: SyncRun) -> dict[str, Any]:
    entry = db.session.get_one(Entry, db.session.get_one(SyncChain, run.chain_id).entry_id)
    one = entries.standing(entry)
    return {
        "entry": name_of(entry),
        "status": str(one.status),
        "label": STATUS[one.status].label,
        "detail": one.detail,
        "run": run_facts(run),
    }
