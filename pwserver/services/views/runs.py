"""Runs as pages show them: one run with its attempts, and lists of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from pwserver.core.reasons import reason
from pwserver.core.states import STATUS, Row, Status, Tone
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, EntryVersion, LinkAttempt, SyncChain, SyncLink, SyncRun
from pwserver.services.transaction import now
from pwserver.services.views.links import SHORT, reason_facts, who_of
from pwserver.services.views.said import Said, counted, lasted, say

KINDS = {
    "change": "Change",
    "correct": "Correct",
    "adopt": "Adopt",
    "test": "Test",
    "override": "Override",
    "rollback": "Roll back",
}
RESULTS: dict[str, Row] = {
    "done": Row("Done", "ok", "check-circle-fill"),
    "left": Row("Not all in sync", "bad", "x-octagon-fill", loud=True),
    "cancelled": Row("Cancelled", "off", "stop-circle"),
    "expired": Row("Ended: the typed credentials were too old", "warn", "clock"),
    "superseded": Row("Replaced by a newer one", "off", "skip-forward-circle-fill"),
    "given_up": Row("Given up", "off", "dash-circle"),
    "disabled": Row("Ended: turned off", "off", "dash-circle"),
    "agent_disabled": Row("Ended: agent disabled", "warn", "pause-circle-fill"),
    "errored": Row("Ended by an error of ours", "bad", "x-octagon-fill", loud=True),
}
UNDER_WAY: dict[str, Row] = {
    "queued": Row("About to begin", "run", "clock"),
    "running": STATUS[Status.BEING_SYNCED],
    "waiting": Row("Waiting", "run", "clock"),
}
OUTCOMES: dict[str, Row] = {
    "applied": Row("Applied", "ok", "check-circle-fill"),
    "refused": Row("Refused", "bad", "x-octagon-fill"),
    "blocked": Row("Blocked", "own", "door-closed-fill"),
    "unreachable": Row("Unreachable", "warn", "cloud-slash-fill"),
    "unknown": Row("Unknown", "ask", "question-diamond-fill"),
}
AT_WORK = Row("At work", "run", "arrow-repeat", busy=True)
STEPS = {
    "test": "test",
    "change": "change",
    "reset": "reset",
    "set": "write",
    "probe": "probe",
    "restart": "restart",
    "prove": "prove the credential",
}
METHODS = {"change": "changed", "reset": "reset", "set": "written", "restart": "restarted"}


def run_look(run: SyncRun) -> Row:
    """State of a run while it is under way, else its result."""
    if run.state == "done":
        return RESULTS.get(run.result) or Row("Ended", "off", "dash-circle")
    return UNDER_WAY[run.state]


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try. ``at``/``wide``: where it lies on the run's track, in 0..400. ``notes``: what a directory told of the
    account besides."""

    step: str
    machine: str
    who: str
    look: Row
    said: Said
    why: str
    notes: str
    told: str
    code: str
    took: str
    at: float
    wide: float


@dataclass(frozen=True, slots=True)
class TraceView:
    """A link with its attempts in one run."""

    link_id: str
    number: int
    machine: str
    who: str
    kind_label: str
    attempts: Sequence[AttemptView]

    @property
    def look(self) -> Row:
        return self.attempts[-1].look

    @property
    def tries(self) -> str:
        """How often it was tried; asking a machine who it is, to prove a credential, is no try."""
        count = sum(1 for attempt in self.attempts if attempt.step != STEPS["prove"])
        return counted(count, "try", "tries")

    @property
    def notes(self) -> str:
        """The newest ones only: each attempt reads the same account again."""
        return next((attempt.notes for attempt in reversed(self.attempts) if attempt.notes), "")

    @property
    def words(self) -> str:
        return f"{counted(len(self.attempts), 'attempt')}, the last one: {self.look.label.lower()}"


@dataclass(frozen=True, slots=True)
class RunView:
    id: str
    number: int
    kind: str
    kind_label: str
    entry: Entry
    look: Row
    by: str
    started: datetime | None
    finished: datetime | None
    took: str
    note: str
    version: int | None
    traces: Sequence[TraceView]
    ticks: Sequence[str]
    active: bool
    cancelling: bool
    ends: Said
    mark: str
    now: datetime

    @property
    def lede(self) -> str:
        """What became of the links this run touched, in a sentence or two."""
        if not self.traces:
            return "Nothing has been sent to any machine yet." if self.active else "Nothing was sent to any machine."
        good = [trace for trace in self.traces if trace.look.tone == "ok"]
        if len(good) < len(self.traces):
            words = [f"{len(good)} of the {counted(len(self.traces), 'link')} it reached answered as it should."]
        elif len(good) == 1:
            words = ["The one link it reached answered as it should."]
        else:
            words = [f"All {len(good)} links it reached answered as they should."]
        for tone, said in TOLD.items():
            names = [trace.machine for trace in self.traces if trace.look.tone == tone]
            if names:
                words.append(said.format(", ".join(dict.fromkeys(names))))
        return " ".join(words)


TOLD = {
    "bad": "{} refused.",
    "own": "{} refused our own login.",
    "warn": "{} did not answer.",
    "ask": "It is not known yet what {} did.",
}


@dataclass(frozen=True, slots=True)
class RunRow:
    id: str
    number: int
    kind_label: str
    entry: Entry
    look: Row
    by: str
    at: datetime
    took: str
    good: int
    reached: int


def requested_by(run: SyncRun) -> str:
    """Who wanted it: a person, somebody at the command line (who has no account here), or the server by itself."""
    if run.requested_by:
        user = db.session.get(AppUser, run.requested_by)
        return user.name if user else "somebody who is gone"
    if run.clicked_at == run.requested_at:
        return "at the command line"
    return "daily test" if run.kind == "test" else "by itself"


def read_run(run: SyncRun) -> RunView:
    """A run with every attempt of it, by link."""
    session, at = db.session, now()
    chain = session.get_one(SyncChain, run.chain_id)
    entry = session.get_one(Entry, chain.entry_id)
    attempts = session.scalars(
        select(LinkAttempt).filter_by(run_id=run.id).order_by(LinkAttempt.intent_at, LinkAttempt.n)
    ).all()
    ids = list(dict.fromkeys(attempt.link_id for attempt in attempts))
    links = {link.id: link for link in session.scalars(select(SyncLink).where(SyncLink.id.in_(ids)))}
    began = run.started_at or run.requested_at
    ended = run.finished_at or (attempts[-1].finished_at if attempts and attempts[-1].finished_at else at)
    span = max(1.0, (max(ended, began) - began).total_seconds())
    version = session.get(EntryVersion, run.version_id) if run.version_id else None
    traces = [
        TraceView(
            link_id=link_id,
            number=links[link_id].position + 1,
            machine=links[link_id].machine,
            who=who_of(links[link_id]),
            kind_label=SHORT.get(links[link_id].kind, ""),
            attempts=[
                attempt_view(attempt, links[link_id], began, span, at)
                for attempt in attempts
                if attempt.link_id == link_id
            ],
        )
        for link_id in sorted(ids, key=lambda link_id: (links[link_id].position, links[link_id].id))
    ]
    return RunView(
        id=run.id,
        number=run.number,
        kind=run.kind,
        kind_label=KINDS[run.kind],
        entry=entry,
        look=run_look(run),
        by=requested_by(run),
        started=run.started_at,
        finished=run.finished_at,
        took=_took(run, at),
        note=run.note,
        version=version.number if version else None,
        traces=traces,
        ticks=["0 s", *(lasted(span * quarter / 4) for quarter in (1, 2, 3))],
        active=run.state != "done",
        cancelling=run.cancel_at is not None and run.state != "done",
        ends=say("waits until ", run.due_at, ", then goes on by itself") if run.state == "waiting" else Said(),
        mark=f"{run.state}.{run.fence}.{len(attempts)}.{sum(1 for each in attempts if each.outcome)}",
        now=at,
    )


def attempt_view(attempt: LinkAttempt, link: SyncLink, began: datetime, span: float, at: datetime) -> AttemptView:
    row = reason(attempt.reason)
    look = OUTCOMES[attempt.outcome] if attempt.outcome else AT_WORK
    used = attempt.uses_key or ""
    login = used if "\\" in used and attempt.reason != "login_refused" else ""
    facts = reason_facts(link, None, login) | {"account": who_of(link)}
    start = max(0.0, (attempt.intent_at - began).total_seconds())
    length = ((attempt.finished_at or at) - attempt.intent_at).total_seconds()
    return AttemptView(
        step=STEPS[attempt.step],
        machine=link.machine,
        who=who_of(link),
        look=look,
        said=_attempt_words(attempt, link),
        why=row.words.format_map(facts) if attempt.outcome not in (None, "applied") else "",
        notes=str((attempt.evidence or {}).get("notes") or ""),
        told=attempt.text,
        code=attempt.code,
        took=lasted(max(0.0, length)),
        at=round(min(396.0, 400 * start / span), 1),
        wide=round(max(4.0, 400 * min(length, span) / span), 1),
    )


def _attempt_words(attempt: LinkAttempt, link: SyncLink) -> Said:
    """What an attempt did, as far as it is known: "reset, logged on at dc1.corp.test by Kerberos, 02:14:14"."""
    if attempt.outcome is None:
        return say("since ", attempt.intent_at)
    evidence = attempt.evidence or {}
    done = _done(evidence) if attempt.outcome == "applied" else ""
    words = " ".join(word for word in (done, _asked(evidence, link)) if word)
    return say(f"{words}, " if words else "", attempt.finished_at)


def _done(evidence: Mapping[str, Any]) -> str:
    done = METHODS.get(str(evidence.get("method") or ""), "")
    means = str(evidence.get("means") or ("" if done else "answered"))
    return ", ".join(word for word in (done, means if means != done else "") if word)


def _asked(evidence: Mapping[str, Any], link: SyncLink) -> str:
    """Which controller answered for a domain account, and how the logon was made. A machine answers for itself."""
    if link.kind != "domain":
        return ""
    named = {"at": evidence.get("host"), "by": evidence.get("by")}
    return " ".join(f"{word} {name}" for word, name in named.items() if name)


def _took(run: SyncRun, at: datetime) -> str:
    if run.started_at is None:
        return ""
    return lasted(max(0.0, ((run.finished_at or at) - run.started_at).total_seconds()))


def run_rows(runs: Sequence[SyncRun]) -> list[RunRow]:
    """Rows of a list of runs, with how many of the links each reached answered as they should."""
    session, at = db.session, now()
    outcomes: dict[str, dict[str, str | None]] = {}
    found = session.execute(
        select(LinkAttempt.run_id, LinkAttempt.link_id, LinkAttempt.outcome)
        .where(LinkAttempt.run_id.in_([run.id for run in runs]))
        .order_by(LinkAttempt.intent_at)
    )
    for run_id, link_id, outcome in found:
        outcomes.setdefault(run_id, {})[link_id] = outcome
    chains = session.execute(
        select(SyncChain.id, Entry)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .where(SyncChain.id.in_([run.chain_id for run in runs]))
    )
    entries = {row[0]: row[1] for row in chains}
    return [
        RunRow(
            id=run.id,
            number=run.number,
            kind_label=KINDS[run.kind],
            entry=entries[run.chain_id],
            look=run_look(run),
            by=requested_by(run),
            at=run.started_at or run.requested_at,
            took=_took(run, at),
            good=sum(1 for outcome in outcomes.get(run.id, {}).values() if outcome == "applied"),
            reached=len(outcomes.get(run.id, {})),
        )
        for run in runs
    ]


def runs_of_chain(chain_id: str, limit: int = 50) -> list[RunRow]:
    query = select(SyncRun).filter_by(chain_id=chain_id).order_by(SyncRun.number.desc()).limit(limit)
    return run_rows(db.session.scalars(query).all())


def runs_for(vault_ids: Sequence[str], *, active: bool = False, limit: int = 50) -> list[RunRow]:
    """The newest runs of these vaults' passwords; ``active``: only those under way."""
    query = (
        select(SyncRun)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .where(Entry.vault_id.in_(vault_ids), Entry.deleted_at.is_(None))
        .order_by(SyncRun.number.desc())
        .limit(limit)
    )
    if active:
        query = query.where(SyncRun.state != "done")
    return run_rows(db.session.scalars(query).all())


def happened(chain_id: str, limit: int = 8) -> list[tuple[datetime, Tone, str]]:
    """What the newest attempts of a chain came to, newest first, for the side of a live run."""
    rows = db.session.execute(
        select(LinkAttempt, SyncLink)
        .join(SyncLink, SyncLink.id == LinkAttempt.link_id)
        .where(SyncLink.chain_id == chain_id, LinkAttempt.outcome.is_not(None))
        .order_by(LinkAttempt.finished_at.desc())
        .limit(limit)
    )
    found: list[tuple[datetime, Tone, str]] = []
    for attempt, link in rows:
        look = OUTCOMES[attempt.outcome or "unknown"]
        found.append((attempt.finished_at or attempt.intent_at, look.tone, _happened(attempt, link)))
    return found


def _happened(attempt: LinkAttempt, link: SyncLink) -> str:
    match attempt.outcome:
        case "applied":
            done = {"set": f"Written into {who_of(link)} on {link.machine}", "restart": f"{who_of(link)} restarted"}
            evidence = attempt.evidence or {}
            return done.get(attempt.step, f"{link.machine} {evidence.get('means') or 'answered'}")
        case "refused":
            return f"{link.machine} refused"
        case "blocked":
            return f"{link.machine} refused our login" if "login" in attempt.reason else f"{link.machine} is blocked"
        case "unreachable":
            return f"{link.machine} did not answer"
    return f"{link.machine}: the end is not known"

