"""``flask sync``: how passwords stand, and what can be asked of a chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import click
from flask.cli import AppGroup
from sqlalchemy import func, select

from pwserver import queueing
from pwserver.cli.acting import as_option, entry_for
from pwserver.cli.find import find_entry, find_link, find_run, name_of
from pwserver.cli.output import Exit, Out, command, iso, read_secret
from pwserver.core.access import Right
from pwserver.core.errors import Conflict, Invalid
from pwserver.core.generator import Recipe, generate
from pwserver.core.states import STATUS, Status
from pwserver.extensions import db
from pwserver.models import Entry, SyncChain, SyncLink, SyncRun, Vault
from pwserver.services import entries, sync, views, watch
from pwserver.services.sync.preview import retest_plan
from pwserver.services.transaction import end_read, now
from pwserver.services.views.links import who_of

group = AppGroup("sync", short_help="Sync Status, changes, tests, runs.", help=__doc__)

POLL = 0.2
"""Seconds between two looks at a run that is waited for."""

wait_option = click.option(
    "--wait", type=click.FloatRange(0), metavar="SECONDS", help="Wait so long for the end; then 0 only when In Sync."
)


# -- how it stands


@command(group, "status")
@click.argument("entry", required=False)
def status(out: Out, entry: str | None) -> Exit:
    """How ENTRY stands, link by link; without it, every synchronized password in a line. 0 only when In Sync."""
    if entry is not None:
        return show_status(out, find_entry(entry))
    rows = [(each, entries.standing(each), *_counts(views.read_chain(each))) for each in _synchronized()]
    out.table(
        ("Password", "Sync Status", "Links", "Detail"),
        [
            (name_of(each), STATUS[one.status].label, f"{good} of {total}", one.detail)
            for each, one, good, total in rows
        ],
    )
    out.give(
        {
            "entries": [
                {
                    "entry": name_of(each), "status": str(one.status), "label": STATUS[one.status].label,
                    "detail": one.detail, "good": good, "total": total,
                }
                for each, one, good, total in rows
            ]
        }
    )  # fmt: skip
    return Exit.OK if all(one.status == Status.IN_SYNC for _, one, _, _ in rows) else Exit.NOT_WELL


def _synchronized() -> Sequence[Entry]:
    query = select(Entry).join(Vault).join(SyncChain).where(SyncChain.enabled, Entry.deleted_at.is_(None))
    return db.session.scalars(query.order_by(func.lower(Vault.name), func.lower(Entry.name))).all()


def _counts(chain: views.ChainView | None) -> tuple[int, int]:
    """Links that need nothing more, and all."""
    return (chain.done, len(chain.links)) if chain else (0, 0)


def show_status(out: Out, entry: Entry, **more: Any) -> Exit:
    """Prints how a password stands. ``more``: further keys of the JSON object."""
    one = entries.standing(entry)
    chain = views.read_chain(entry)
    detail = f" ({one.detail})" if one.detail else ""
    out.say(f"{name_of(entry)}: {STATUS[one.status].label}{detail}")
    if chain is not None:
        _say_chain(out, chain)
    out.give(more | status_facts(entry, one, chain))
    return Exit.OK if one.status == Status.IN_SYNC else Exit.NOT_WELL


def _say_chain(out: Out, chain: views.ChainView) -> None:
    run = f", {views.run_title(chain.run)}" if chain.run else ""
    out.say(f"Agent {chain.agent.name}{run}. Times are UTC.", "")
    out.table(
        ("#", "Link", "Machine", "Account or place", "State", "Evidence"),
        [
            (link.number, link.kind_label, link.machine, link.who, link.look.label, link.evidence.plain(chain.now))
            for link in chain.links
        ],
    )
    for link in chain.links:
        if link.why:
            told = f" It said: {link.told}" if link.told else ""
            code = f" ({link.code})" if link.code else ""
            after = f" {link.after.plain(chain.now)}" if link.after else ""
            out.say("", f"{link.number}  {link.why.plain(chain.now)}{told}{code}{after}")


def status_facts(entry: Entry, one: entries.Listed, chain: views.ChainView | None) -> dict[str, Any]:
    """The stable keys of ``sync status --json``."""
    rows = {link.id: link for link in sync.active_links(one.chain)} if one.chain else {}
    numbers = {version.id: version.number for version in entries.versions(entry)}
    good, total = _counts(chain)
    return {
        "entry": name_of(entry),
        "status": str(one.status),
        "label": STATUS[one.status].label,
        "detail": one.detail,
        "since": iso(chain.status_since) if chain else None,
        "enabled": bool(chain and chain.enabled),
        "agent": chain.agent.name if chain else None,
        "version": max((each.number for each in entries.versions(entry) if each.stage == "current"), default=None),
        "pending": chain.pending if chain else None,
        "good": good,
        "total": total,
        "run": run_facts(chain.run) if chain and chain.run else None,
        "links": [_link_facts(link, rows[link.id], numbers, chain) for link in chain.links] if chain else [],
    }


def _link_facts(link: views.LinkView, row: SyncLink, numbers: dict[str, int], chain: views.ChainView) -> dict[str, Any]:
    return {
        "number": link.number,
        "kind": link.kind,
        "machine": link.machine,
        "name": link.who,
        "state": str(link.state),
        "label": link.look.label,
        "evidence": link.evidence.plain(chain.now),
        "reason": row.reason,
        "why": link.why.plain(chain.now),
        "told": link.told,
        "code": link.code,
        "next": link.after.plain(chain.now),
        "holds": numbers.get(row.holds_version_id or ""),
        "proof": row.proof_means,
        "proved_at": iso(row.proved_at),
        "next_try_at": iso(row.next_try_at),
        "tries": row.tries,
    }


# -- asking


@command(group, "change")
@click.argument("entry")
@click.option("--generate", "make", is_flag=True, help="Make the new password here instead of reading one.")
@wait_option
@as_option
def change(out: Out, entry: str, make: bool, wait: float | None, acting: str | None) -> Exit:
    """Change it everywhere: a new password for ENTRY, from standard input, a hidden prompt or --generate."""
    found, user = entry_for(entry, acting, Right.MODIFY)
    value = generate(Recipe()) if make else read_secret("New password")
    run = sync.request_change(user, found, value)
    if run is None:
        out.say(f"{name_of(found)}: saved. It is not synchronized, so nothing was sent anywhere.")
        out.give({"run": None} | status_facts(found, entries.standing(found), views.read_chain(found)))
        return Exit.OK
    return follow(out, found, run, wait, "the password is changed link by link.")


@command(group, "correct")
@click.argument("entry")
@click.option(
    "--link",
    "numbers",
    type=int,
    multiple=True,
    metavar="NUMBER",
    help="A link that has this value already; 1 if none.",
)
@click.option("--nowhere", is_flag=True, help="No link has this value.")
@wait_option
@as_option
def correct(
    out: Out, entry: str, numbers: tuple[int, ...], nowhere: bool, wait: float | None, acting: str | None
) -> Exit:
    """Correct the stored value of ENTRY: no machine is written. The value comes on standard input or by a prompt.

    The other links keep what they hold until Retest Sync.
    """
    if nowhere and numbers:
        raise click.UsageError("--link and --nowhere contradict each other.")
    found, user = entry_for(entry, acting, Right.MODIFY)
    chain = sync.chain_of(found)
    chosen = [] if nowhere or chain is None else [_account(chain, number) for number in numbers or (1,)]
    run = sync.correct(user, found, read_secret("The right password"), [link.id for link in chosen])
    if run is None:
        out.say(f"{name_of(found)}: saved. It is not synchronized, so nothing is looked at.")
        out.give({"run": None} | status_facts(found, entries.standing(found), views.read_chain(found)))
        return Exit.OK
    return follow(out, found, run, wait, "looking which of the links have this value; nothing is written.")


def _account(chain: SyncChain, number: int) -> SyncLink:
    link = find_link(chain, number)
    if not link.is_account:
        raise Invalid(f"Link {number} stores a copy; only accounts can be named.", field="link")
    return link


@command(group, "test")
@click.argument("entry")
@wait_option
@as_option
def test(out: Out, entry: str, wait: float | None, acting: str | None) -> Exit:
    """Test every link of ENTRY. A test never writes."""
    found, user = entry_for(entry, acting, Right.READ)
    return follow(out, found, sync.request_test(user, found), wait, "every link is tested; nothing is written.")


@command(group, "retest")
@click.argument("entry")
@wait_option
@as_option
def retest(out: Out, entry: str, wait: float | None, acting: str | None) -> Exit:
    """Retest Sync: sends what is outstanding again, else one try for each link that is not in sync."""
    found, user = entry_for(entry, acting, Right.MODIFY)
    plan = retest_plan(found)
    if not plan.possible and not _under_way(found):
        if plan.why_not or entries.standing(found).status != Status.IN_SYNC:
            raise Conflict(f"Nothing was sent: {plan.why_not or plan.words}.")
        out.say("Nothing was sent: nothing to do.")
        return show_status(out, found)
    return follow(out, found, sync.retest(user, found), wait, f"{plan.words}.")


def _under_way(entry: Entry) -> bool:
    chain = sync.chain_of(entry)
    return chain is not None and chain.enabled and sync.active_run(chain) is not None


def follow(out: Out, entry: Entry, run: SyncRun, wait: float | None, words: str) -> Exit:
    """Nudges the queue; with ``wait`` follows the run and answers for how the chain stands then."""
    run_id = run.id
    if run.state != "done":
        queueing.enqueue(run_id, queueing.NOW)
    out.say(f"{name_of(entry)}: run {run.number}, {words}")
    if wait is None:
        out.give({"entry": name_of(entry), "run": run_facts(run)})
        return Exit.OK
    ended = wait_for(run_id, wait)
    entry = db.session.get_one(Entry, entry.id)
    if ended.state != "done":
        out.say(f"Run {ended.number} has not ended after {wait:g} s; it goes on by itself.")
    return show_status(out, entry, waited_run=run_facts(ended))


def wait_for(run_id: str, seconds: float, sleep: Callable[[float], None] = time.sleep) -> SyncRun:
    """Looks at the run's row until it ended or the time is over, and returns it as it is then."""
    end = time.monotonic() + seconds
    while True:
        end_read()
        run = db.session.get_one(SyncRun, run_id, populate_existing=True)
        left = end - time.monotonic()
        if run.state == "done" or left <= 0:
            return run
        end_read()
        sleep(min(POLL, left))


# -- runs, and the check


@command(group, "run")
@click.argument("run_id", metavar="ID")
def run(out: Out, run_id: str) -> Exit:
    """One run with every try of it; ID is its number. 0 only when it ended and left nothing to do."""
    found = find_run(run_id)
    view, at = views.read_run(found), now()
    out.say(f"Run {view.number}: {view.kind_label} of {name_of(view.entry)}. {view.look.label}. {view.lede}", "")
    rows = [
        (
            trace.number,
            trace.machine,
            trace.who,
            each.step,
            each.look.label,
            each.took,
            each.code,
            each.why or each.told,
        )
        for trace in view.traces
        for each in trace.attempts
    ]
    out.table(("#", "Machine", "Account or place", "Step", "Answer", "Took", "Code", "Said"), rows)
    out.give(run_facts(found) | {"entry": name_of(view.entry), "now": iso(at), "attempts": _attempt_facts(found)})
    return Exit.OK if found.state == "done" and found.result == "done" else Exit.NOT_WELL


def run_facts(run: SyncRun) -> dict[str, Any]:
    """The stable keys of a run."""
    return {
        "id": run.id,
        "number": run.number,
        "kind": run.kind,
        "state": run.state,
        "result": run.result,
        "requested_at": iso(run.requested_at),
        "started_at": iso(run.started_at),
        "finished_at": iso(run.finished_at),
        "due_at": iso(run.due_at) if run.state in ("queued", "waiting") else None,
    }


def _attempt_facts(run: SyncRun) -> list[dict[str, Any]]:
    return [
        {
            "machine": each.link.machine, "name": who_of(each.link), "step": each.step, "outcome": each.outcome,
            "reason": each.reason, "code": each.code, "text": each.text, "began_at": iso(each.intent_at),
            "ended_at": iso(each.finished_at),
        }
        for each in run.attempts
    ]  # fmt: skip


@command(group, "health")
def health(out: Out) -> Exit:
    """Whether the server itself is well: timer, workers, tests, mails, disk. 0 only when all are."""
    found = watch.standing()
    out.give({"ok": not found, "troubles": [{"kind": each.kind, "words": each.words} for each in found]})
    if not found:
        out.say("All is well.")
        return Exit.OK
    out.table(("Trouble", "Words"), [(each.kind, each.words) for each in found])
    return Exit.NOT_WELL


@command(group, "check")
def check(out: Out) -> Exit:
    """Recomputes everything that is cached or implied, counts again what is counted, opens what is sealed, and reports
    what is not as it must be. 0 only when all is. It changes nothing."""
    found = sync.check()
    out.give({"violations": [asdict(each) for each in found]})
    if not found:
        out.say("All is as it must be.")
        return Exit.OK
    out.table(("Invariant", "Subject", "Violation"), [(each.invariant, each.subject, each.what) for each in found])
    return Exit.NOT_WELL
