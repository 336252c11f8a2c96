"""The history of a password: its versions, and every event in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.states import STATUS, Row, Status, Tone
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, EntryVersion, Event
from pwserver.services.views.runs import RESULTS
from pwserver.services.views.said import counted

ORIGINS = {
    "created": "first value",
    "saved": "saved, not synchronized",
    "change": "changed everywhere",
    "correct": "corrected",
    "override": "set by Approve",
}
STAGES: dict[str, Row] = {
    "pending": Row("Pending", "run", "clock"),
    "current": Row("Current", "ok", "check-circle-fill"),
    "previous": Row("Previous", "off", "clock-history"),
    "old": Row("Old", "off", "clock-history"),
    "discarded": Row("Discarded, never sent", "off", "dash-circle"),
}


@dataclass(frozen=True, slots=True)
class VersionRow:
    id: str
    number: int
    look: Row
    origin: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EventRow:
    at: datetime
    tone: Tone
    words: str


def versions_of(entry: Entry, limit: int = 50) -> list[VersionRow]:
    """The newest first."""
    rows = db.session.execute(
        select(EntryVersion, AppUser.name)
        .outerjoin(AppUser, AppUser.id == EntryVersion.created_by)
        .where(EntryVersion.entry_id == entry.id)
        .order_by(EntryVersion.number.desc())
        .limit(limit)
    )
    return [
        VersionRow(
            id=version.id,
            number=version.number,
            look=STAGES[version.stage],
            origin=ORIGINS.get(version.origin, version.origin),
            by=name or "the server",
            at=version.created_at,
        )
        for version, name in rows
    ]


def events_of(entry: Entry, *, before: int | None = None, limit: int = 40) -> tuple[list[EventRow], int | None]:
    """The newest events in words, and the number to ask the older ones with, None when there are none."""
    query = (
        select(Event, AppUser.name)
        .outerjoin(AppUser, AppUser.id == Event.actor_id)
        .where(Event.entry_id == entry.id)
        .order_by(Event.seq.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(Event.seq < before)
    rows = db.session.execute(query).all()
    shown = rows[:limit]
    older = shown[-1][0].seq if len(rows) > limit else None
    return [event_row(event, name) for event, name in shown], older


def edits_since(entry: Entry, revision: int, limit: int = 3) -> str:
    """Who changed the chain of an entry after its ``revision``, in sentences; "" when nobody wrote it down."""
    rows = db.session.execute(
        select(Event, AppUser.name)
        .outerjoin(AppUser, AppUser.id == Event.actor_id)
        .where(Event.entry_id == entry.id, Event.verb.startswith("sync."))
        .order_by(Event.seq.desc())
        .limit(50)
    )
    edits = [event_row(event, name).words for event, name in rows if (event.facts or {}).get("revision", 0) > revision]
    if not edits:
        return ""
    more = f" and {counted(len(edits) - limit, 'more change')}" if len(edits) > limit else ""
    return f"Meanwhile {'; '.join(reversed(edits[:limit]))}{more}."


def event_row(event: Event, name: str | None) -> EventRow:
    """An event in a sentence. Facts never hold a secret; a verb without words shows as it is."""
    facts = event.facts or {}
    who = name or facts.get("console") or "The server"
    if facts.get("console"):
        who += " (command line)"
    if event.verb == "status":
        status = _status(facts.get("to"))
        detail = f": {facts['detail']}" if facts.get("detail") else ""
        label = STATUS[status].label if status else str(facts.get("to"))
        return EventRow(event.at, STATUS[status].tone if status else "off", f"{label}{detail}")
    template = VERBS.get(event.verb)
    words = template.format_map(_Facts(facts, who)) if template else f"{who}: {event.verb}"
    return EventRow(event.at, TONES.get(event.verb, "off"), " ".join(words.split()))


def _status(word: Any) -> Status | None:
    return Status(word) if word in set(Status) else None


class _Facts(dict[str, Any]):
    """The facts of an event for its sentence; one that is missing is left out."""

    def __init__(self, facts: dict[str, Any], who: str) -> None:
        super().__init__(facts, who=who)
        for side in ("from", "to"):
            if isinstance(facts.get(side), dict):
                self[side] = _place(facts[side])
        self["place"] = _place(facts)
        if facts.get("result"):
            self["result"] = RESULTS[facts["result"]].label.lower() if facts["result"] in RESULTS else facts["result"]
        if isinstance(facts.get("links"), int):
            self["links"] = counted(facts["links"], "link")
        if self.get("reason"):
            self["because"] = f"Reason: {self['reason']}"

    def __missing__(self, key: str) -> str:
        return ""


def _place(facts: dict[str, Any]) -> str:
    """A link as an event keeps it: its kind and its name."""
    kind = LINK_KINDS.get(str(facts.get("kind")))
    machine, name = str(facts.get("machine", "")), str(facts.get("name", ""))
    if name.startswith(machine.casefold()):
        name = f"{machine}{name[len(machine) :]}"
    return f"{name or machine or 'a link'}{f' ({kind.label})' if kind else ''}"


VERBS: dict[str, str] = {
    "password.created": "{who} created this password",
    "password.edited": "{who} edited General Settings",
    "password.shown": "{who} showed version {version}",
    "password.copied": "{who} copied version {version}",
    "password.saved": "{who} saved version {version}; nothing was written to any machine",
    "password.change": "{who} asked to change it everywhere: version {version}, run {run}",
    "password.correct": "{who} corrected the stored value: version {version}",
    "password.promoted": "Default Sync has the new password, so it is the vault’s now (run {run})",
    "password.trashed": "{who} moved it to the trash",
    "password.restored": "{who} took it out of the trash",
    "sync.certificate_confirmed": "{who} confirmed the new certificate of the sync agent {agent}",
    "agent.changed": "{who} changed the {what} of the sync agent {agent}",
    "change.given_up": "{who} gave the change up",
    "run.cancelled": "{who} cancelled run {run}",
    "run.done": "Run {run} ended: {result}",
    "sync.adopt": "{who} adopted {links} (run {run})",
    "sync.approve": "{who} approved an administrative override of {links} (run {run}). {because}",
    "sync.disabled": "{who} turned synchronization off",
    "sync.enabled": "{who} turned synchronization on with {agent}",
    "sync.link_added": "{who} added {place}",
    "sync.link_edited": "{who} edited a link: {from} is now {to}",
    "sync.link_moved": "{who} moved {place}",
    "sync.links_added": "{who} added {links}: {names}",
    "sync.links_ordered": "{who} put the links into another order",
    "sync.link_removed": "{who} removed {place} from the chain",
    "sync.link_restored": "{who} put {place} back into the chain",
    "sync.retest": "{who} used Retest Sync (run {run})",
    "sync.settings": "{who} saved the chain settings",
    "sync.test": "{who} asked for a test (run {run})",
}
TONES: dict[str, Tone] = {
    "password.promoted": "ok",
    "password.change": "run",
    "password.correct": "run",
    "sync.approve": "bad",
    "sync.retest": "run",
    "sync.test": "run",
    "sync.adopt": "run",
}
