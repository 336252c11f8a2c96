"""The states of passwords, links, runs and agents: one table each, and the one function that derives a status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

Tone = Literal["ok", "run", "warn", "own", "bad", "ask", "off"]


class Status(StrEnum):
    """Sync Status of a password."""

    UNSYNCABLE = "unsyncable"
    NOT_SYNCED = "not_synced"
    BEING_SYNCED = "being_synced"
    AGENT_DISABLED = "agent_disabled"
    OUT_OF_SYNC = "out_of_sync"
    NOT_CONFIGURED = "not_configured"
    PENDING_SYNC = "pending_sync"
    IN_SYNC = "in_sync"


class LinkState(StrEnum):
    WAITING = "waiting"
    TESTING = "testing"
    CHANGING = "changing"
    IN_SYNC = "in_sync"
    UPDATED = "updated"
    DOWN = "down"
    """A service that ran when we stored the password, was stopped, by us or since, and is not up."""
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    MANAGED = "managed"


@dataclass(frozen=True, slots=True)
class Row:
    """How a state shows. ``loud``: a filled badge in tables, it waits for a person. ``busy``: a fragment polls."""

    label: str
    tone: Tone
    icon: str
    loud: bool = False
    busy: bool = False
    rail: Literal["", "solid", "dashed", "cut", "grey"] = ""


STATUS: dict[Status, Row] = {
    Status.OUT_OF_SYNC: Row("Out of Sync", "bad", "x-octagon-fill", loud=True),
    Status.NOT_CONFIGURED: Row("Change not Configured", "warn", "exclamation-triangle-fill", loud=True),
    Status.AGENT_DISABLED: Row("Agent Disabled", "warn", "pause-circle-fill", loud=True),
    Status.BEING_SYNCED: Row("Being Synced", "run", "arrow-repeat", busy=True),
    Status.PENDING_SYNC: Row("Pending Sync", "run", "clock"),
    Status.IN_SYNC: Row("In Sync", "ok", "check-circle-fill"),
    Status.NOT_SYNCED: Row("Not Synced", "off", "dash-circle"),
    Status.UNSYNCABLE: Row("Unsyncable", "off", "slash-circle"),
}

LINK: dict[LinkState, Row] = {
    LinkState.WAITING: Row("Waiting", "off", "circle", rail="dashed"),
    LinkState.TESTING: Row("Testing", "run", "arrow-repeat", busy=True, rail="dashed"),
    LinkState.CHANGING: Row("Changing", "run", "arrow-repeat", busy=True, rail="dashed"),
    LinkState.IN_SYNC: Row("In Sync", "ok", "check-circle-fill", rail="solid"),
    LinkState.UPDATED: Row("Updated, restart pending", "warn", "clock-fill", rail="solid"),
    LinkState.DOWN: Row("Stopped, not up", "bad", "stop-circle-fill", loud=True, rail="cut"),
    LinkState.UNREACHABLE: Row("Unreachable, retrying", "warn", "cloud-slash-fill", rail="dashed"),
    LinkState.REFUSED: Row("Refused", "bad", "x-octagon-fill", loud=True, rail="cut"),
    LinkState.BLOCKED: Row("Blocked", "own", "door-closed-fill", loud=True, rail="dashed"),
    LinkState.UNKNOWN: Row("Unknown, probing", "ask", "question-diamond-fill", rail="dashed"),
    LinkState.SKIPPED: Row("Skipped", "off", "skip-forward-circle-fill", rail="dashed"),
    LinkState.MANAGED: Row("Managed by Windows", "off", "windows", rail="grey"),
}


class Health(StrEnum):
    """What a sync agent answered last."""

    UNTESTED = "untested"
    HEALTHY = "healthy"
    BLOCKED = "blocked"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


HEALTH: dict[Health, Row] = {
    Health.UNTESTED: Row("Not tested yet", "off", "dash-circle"),
    Health.HEALTHY: Row("Healthy", "ok", "check-circle-fill"),
    Health.BLOCKED: Row("Blocked", "own", "door-closed-fill", loud=True),
    Health.UNREACHABLE: Row("Unreachable", "warn", "cloud-slash-fill"),
    Health.UNKNOWN: Row("Unknown", "ask", "question-diamond-fill"),
}


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What the status needs to know of one active link.

    ``proved``: for an account, a counting proof (logged on, read back, unchanged) of the current version under the
    current settings; for a place, written by us under them or started since, and read. ``proved_at``: its time.
    ``maybe``: some version may be there besides what it holds.
    """

    state: LinkState
    holds_current: bool
    maybe: bool
    proved: bool
    proved_at: datetime | None
    configured: bool
    never_proved_from_current: bool = False
    """Never proved, and its starting version is the current one: untested rather than outstanding."""


@dataclass(frozen=True, slots=True)
class ChainFacts:
    syncable: bool
    enabled: bool
    running: bool
    queued: bool
    agent_usable: bool
    pending_somewhere: bool
    """A pending version that some link holds or may hold."""
    links: Sequence[LinkFacts]


FAILED = frozenset({LinkState.DOWN, LinkState.REFUSED, LinkState.BLOCKED, LinkState.UNKNOWN, LinkState.SKIPPED})
PERSON = frozenset({LinkState.DOWN, LinkState.REFUSED, LinkState.BLOCKED})
"""States that wait for a person."""


def derive_status(facts: ChainFacts, now: datetime, fresh: timedelta) -> Status:
    """Sync Status of a password; the first row that is true wins. Pure: same facts, same answer."""
    links = [link for link in facts.links if link.state != LinkState.MANAGED]
    if not facts.syncable:
        return Status.UNSYNCABLE
    if not facts.enabled:
        return Status.NOT_SYNCED
    if facts.running:
        return Status.BEING_SYNCED
    if not facts.agent_usable:
        return Status.AGENT_DISABLED
    if any(link.state in FAILED or link.maybe for link in links):
        return Status.OUT_OF_SYNC
    outstanding = any(not link.holds_current and not link.never_proved_from_current for link in links)
    if not facts.queued and (outstanding or facts.pending_somewhere):
        return Status.OUT_OF_SYNC
    if not all(link.configured for link in links):
        return Status.NOT_CONFIGURED
    if facts.queued or not all(is_fresh(link, now, fresh) for link in links) or outstanding:
        return Status.PENDING_SYNC
    return Status.IN_SYNC


def is_fresh(link: LinkFacts, now: datetime, fresh: timedelta) -> bool:
    """Proved for the current version and settings, younger than ``fresh`` and not from the future."""
    if not (link.proved and link.holds_current and link.proved_at):
        return False
    return now - fresh < link.proved_at <= now + timedelta(seconds=5)
