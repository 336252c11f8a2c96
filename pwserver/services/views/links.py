"""One link as a page shows it: its state, the evidence for it, what it means, and the one next step.

Pure functions from rows. Never called done what is only written; refused, blocked and unreachable stay apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pwserver.connectors.base import Means
from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.marks import digest
from pwserver.core.reasons import Reason, reason
from pwserver.core.states import LINK, LinkState, Row
from pwserver.models import Entry, LinkAttempt, SyncLink
from pwserver.services.sync import counts
from pwserver.services.sync.counts import GOOD
from pwserver.services.sync.incidents import BEHIND_A_LOGIN, LOGIN_REFUSED
from pwserver.services.sync.preview import CHANGED_OUTSIDE
from pwserver.services.sync.requeue import OUR_LOGIN
from pwserver.services.views.said import Said, lasted, say
from pwserver.sync.settle import GIVEN_UP, NOT_RESTARTED

WHY_PENDING = NOT_RESTARTED | {"did_not_stop"}
"""Why an updated service was not restarted: said as long as its restart is pending."""
RAIL = {"solid": "", "dashed": "is-open", "cut": "is-broken", "grey": "is-quiet", "": ""}

SHORT = {
    "standalone_windows": "Standalone Password",
    "remote_windows": "Remote Password",
    "domain": "Domain Password",
    "scheduled_task": "Task Password",
    "windows_service": "Service Password",
    "device_ssh": "Device Password",
}


@dataclass(frozen=True, slots=True)
class Around:
    """What a link's words depend on besides its own row.

    ``goal``: the version the chain is on its way to (a change under way), else the vault's. ``walking``: links of the
    instruction that is active now and that may still be changed by it. ``numbers``: version id to its number.
    ``open``: attempts under way by link. ``wrote``: when we last wrote a place. ``maybe``: links that may hold two.
    """

    links: Sequence[SyncLink]
    goal: str | None
    current: str | None
    now: datetime
    walking: frozenset[str] = frozenset()
    waiting_run: bool = False
    numbers: Mapping[str, int] = field(default_factory=dict)
    open: Mapping[str, LinkAttempt] = field(default_factory=dict)
    wrote: Mapping[str, datetime] = field(default_factory=dict)
    maybe: frozenset[str] = frozenset()
    login: str = ""
    """The agent's own login, or its linked credential, where a link names no other."""
    linked: Entry | None = None
    """The agent's linked credential."""
    login_stopped: bool = False
    """The agent's own login is not let in."""
    last: Mapping[str, LinkAttempt] = field(default_factory=dict)
    """The last attempt of each link in the run that is shown, for how long it took."""
    place: Mapping[str, int] = field(init=False)
    """By link: its number in the chain, from 1."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", {link.id: number for number, link in enumerate(self.links, 1)})

    def link(self, link_id: str | None) -> SyncLink | None:
        number = self.place.get(link_id or "")
        return self.links[number - 1] if number else None


@dataclass(frozen=True, slots=True)
class LinkView:
    id: str
    number: int
    machine: str
    who: str
    kind: str
    kind_label: str
    of: str
    primary: bool
    is_account: bool
    state: LinkState
    look: Row
    rail: str
    evidence: Said
    why: Said
    told: str
    code: str
    after: Said
    step: str
    credential: Entry | None
    """The linked credential, where it is what a person has to repair."""
    at_work: bool
    took: str
    can_adopt: bool
    can_up: bool
    can_down: bool
    restart_pending: bool = False
    ours: bool = False
    """Blocked because a login of ours was refused, not for another reason."""
    waits: bool = False
    """Blocked because a login of ours was refused elsewhere: nothing was sent here."""
    retries: bool = False
    """It is tried or read again by itself, at a time that is known."""
    given_up: bool = False
    """It was silent for so long that it is not tried again by itself."""
    outside: bool = False
    """It holds a password that somebody else set there."""

    @property
    def name(self) -> str:
        return f"{self.machine} {self.who}"

    @property
    def mark(self) -> str:
        """Changes whenever anything shown of it does."""
        return digest(self.shown)

    @property
    def shown(self) -> tuple[Any, ...]:
        """Everything that is shown of it but how long it has lasted."""
        return (
            self.id, self.number, str(self.state), self.evidence.parts, self.why.parts, self.at_work, self.can_adopt,
        )  # fmt: skip

    @property
    def good(self) -> bool:
        return self.state in GOOD

    @property
    def done(self) -> bool:
        """It needs nothing more: in sync, updated, or Windows manages it itself."""
        return counts.is_done(self.state)


def who_of(link: SyncLink) -> str:
    """What the link is called on its machine: the account, the task with its path, the service."""
    settings = link.settings
    for name in ("user_name", "path", "task", "name", "service"):
        if settings.get(name):
            return str(settings[name])
    return (link.account_key or link.place_key or "").rpartition("\\")[2]


def link_view(link: SyncLink, around: Around) -> LinkView:
    number = around.place[link.id]
    attempt = around.open.get(link.id)
    state = shown_state(link, around)
    row = reason(link.reason)
    failing = state not in GOOD and state not in (LinkState.TESTING, LinkState.CHANGING) and bool(link.reason)
    failing = failing or (state == LinkState.UPDATED and link.reason in WHY_PENDING)
    failing = failing and state == LinkState(link.state)
    account = link if link.is_account else around.link(link.account_link_id)
    linked = _linked(link, around)
    facts = reason_facts(link, account, _login_of(link, around))
    last = around.last.get(link.id)
    return LinkView(
        id=link.id,
        number=number,
        machine=link.machine,
        who=who_of(link),
        kind=link.kind,
        kind_label=SHORT.get(link.kind) or LINK_KINDS[link.kind].label,
        of=_of(link, around),
        primary=link.position == 0,
        is_account=link.is_account,
        state=state,
        look=LINK[state],
        rail=RAIL[LINK[state].rail],
        evidence=evidence(link, state, around),
        why=_sentence(row.words, facts, link.next_try_at) if failing else Said(),
        told=link.reason_text if failing else "",
        code=link.reason_code if failing else "",
        after=_sentence(row.next, facts, link.next_try_at) if failing else Said(),
        step=_step(link, row, linked, around) if failing else "",
        credential=linked if failing else None,
        at_work=attempt is not None,
        took=_took(link, last, state, around),
        can_adopt=not link.is_account and link.reason == "not_yet_written",
        can_up=link.position > 0 and number > 2 and _may_swap(around.links, number - 1, number - 2),
        can_down=link.position > 0 and number < len(around.links) and _may_swap(around.links, number, number - 1),
        restart_pending=link.restart_pending,
        ours=link.reason in OUR_LOGIN,
        waits=link.reason == BEHIND_A_LOGIN,
        retries=link.next_try_at is not None,
        given_up=link.reason == GIVEN_UP,
        outside=link.reason in CHANGED_OUTSIDE,
    )


def shown_state(link: SyncLink, around: Around) -> LinkState:
    """:func:`counts.shown_state` of a row."""
    attempt = around.open.get(link.id)
    return counts.shown_state(
        link.state,
        step=attempt.step if attempt is not None else None,
        maybe=link.id in around.maybe,
        holds_goal=link.holds_version_id == around.goal,
    )


def evidence(link: SyncLink, state: LinkState, around: Around) -> Said:
    """The second line of a link: what is known, how, and when it was found."""
    attempt = around.open.get(link.id)
    match state:
        case LinkState.TESTING:
            return say("asking who it is" if attempt and attempt.step == "prove" else "reading, then at most one logon")
        case LinkState.CHANGING:
            return say(_phase(link, attempt))
        case LinkState.IN_SYNC:
            return _account_proof(link) if link.is_account else _place_proof(link, around)
        case LinkState.DOWN:
            return say("stopped, ", link.state_since)
        case LinkState.UPDATED:
            written = around.wrote.get(link.id) or link.proved_at
            return say("written ", written, ", goes on with the old one until it restarts")
        case LinkState.UNREACHABLE:
            if link.next_try_at is None:
                return say("given up after ", f"{link.tries} tries", _last_proved(link))
            return say("next try ", link.next_try_at, f", {_tries(link)}")
        case LinkState.REFUSED:
            return say("tried once, ", link.state_since)
        case LinkState.BLOCKED:
            if link.reason == BEHIND_A_LOGIN:
                return say("nothing was sent, ", link.state_since)
            words = "our login, sent once, " if link.reason in OUR_LOGIN else "nothing was changed, "
            return say(words, link.state_since)
        case LinkState.UNKNOWN:
            if attempt is not None:
                return say("reading when its password was last set")
            if link.next_try_at is None:
                return say("not known yet")
            return say("asked again ", link.next_try_at, ", reading first")
        case LinkState.SKIPPED:
            return say("its account is not done")
        case LinkState.MANAGED:
            return say("Windows changes its password itself")
        case LinkState.WAITING:
            return _waiting(link, around)


def _phase(link: SyncLink, attempt: LinkAttempt | None) -> str:
    step = attempt.step if attempt else ""
    if step == "restart":
        return "restarting"
    if step == "set":
        return "comparing who it runs as, then writing"
    return "changing, then logging on once" if link.is_account else "writing"


def _account_proof(link: SyncLink) -> Said:
    if not link.proof_means or not link.proved_at:
        return say("not proved yet")
    if link.proof_means == Means.WRITTEN:
        return say("written only, not proved, ", link.proved_at)
    return say(f"{link.proof_means}, ", link.proved_at)


def _place_proof(link: SyncLink, around: Around) -> Said:
    """A place is written or started, never proved; beside it stands how its account is known."""
    if link.proof_means == Means.STARTED:
        return say("started after the last change, read ", link.proved_at)
    account = around.link(link.account_link_id)
    proved = f", account {account.proof_means}" if account and account.proof_means else ""
    return say("written ", around.wrote.get(link.id) or link.proved_at, proved)


def _waiting(link: SyncLink, around: Around) -> Said:
    if link.reason == "not_yet_written":
        return say("not yet written by us")
    if link.reason == "written_only":
        return say("written only, not proved, ", link.proved_at)
    if link.next_try_at:
        return say("due again ", link.next_try_at)
    if link.id in around.walking:
        account = around.link(link.account_link_id)
        if account is not None and account.holds_version_id != around.goal:
            return say(f"waits for its account, link {around.place[account.id]}")
        return say("waits for its turn")
    if link.holds_version_id and link.holds_version_id != around.goal:
        held = around.numbers.get(link.holds_version_id)
        return say(f"holds version {held}, " if held else "holds another version, ", "proved ", link.proved_at)
    return say("not tested yet" if link.proved_at is None else "due to be tested")


def _last_proved(link: SyncLink) -> str:
    return ", never proved" if link.proved_at is None else ""


def _tries(link: SyncLink) -> str:
    return f"{link.tries} {'try' if link.tries == 1 else 'tries'} so far"


def _took(link: SyncLink, last: LinkAttempt | None, state: LinkState, around: Around) -> str:
    if last is None:
        return ""
    if last.outcome is None:
        return lasted(max(0.0, (around.now - last.intent_at).total_seconds()))
    if state == LinkState.UNREACHABLE:
        return f"{link.tries} {'try' if link.tries == 1 else 'tries'}"
    return lasted((last.finished_at - last.intent_at).total_seconds()) if last.finished_at else ""


def _of(link: SyncLink, around: Around) -> str:
    if link.is_account:
        return ""
    account = around.link(link.account_link_id)
    if account is None or account.position == 0:
        return "of Default Sync"
    return f"of link {around.place[account.id]}"


def _may_swap(links: Sequence[SyncLink], later: int, earlier: int) -> bool:
    """Whether the link at index ``later`` may come before the one at ``earlier``: never before its own account."""
    return links[later].account_link_id != links[earlier].id


def _linked(link: SyncLink, around: Around) -> Entry | None:
    """The linked credential that leads to a link, where its kind has one."""
    if not LINK_KINDS[link.kind].needs_linked:
        return None
    return link.linked_entry if link.linked_entry_id else around.linked


def _step(link: SyncLink, row: Reason, linked: Entry | None, around: Around) -> str:
    """The next step; the linked credential instead of the agent where that is the login to be repaired."""
    if linked is None:
        return "agent" if row.step == "credential" else row.step
    if link.reason in ("not_admin", "denied"):
        return "credential"
    if link.reason == BEHIND_A_LOGIN:
        stopped = around.login_stopped or any(each.reason in LOGIN_REFUSED for each in around.links)
        return "agent" if stopped else "credential"
    return row.step


def _login_of(link: SyncLink, around: Around) -> str:
    """Whom we are on the link's machine: its own linked credential before the agent's."""
    if link.linked_entry is not None and link.reason != "login_refused":
        return login_words(link.linked_entry)
    return around.login


def login_words(entry: Entry | None) -> str:
    if entry is None:
        return ""
    prefix = entry.domain or entry.machine
    return f"{prefix}\\{entry.user_name}" if prefix and "\\" not in entry.user_name else entry.user_name


def reason_facts(link: SyncLink, account: SyncLink | None, login: str) -> dict[str, str]:
    """What a reason's words may name."""
    holder = account or link
    qualified = f"{holder.machine}\\{who_of(holder)}"
    return {
        "machine": link.machine,
        "account": qualified,
        "name": who_of(link),
        "login": login or "our login",
        "time": "later",
    }


def _sentence(template: str, facts: Mapping[str, str], at: datetime | None) -> Said:
    """A reason's words with the machine, the account and the moment filled in."""
    if not template:
        return Said()
    if "{machine}" in template:  # the machine is named already
        facts = {**facts, "account": facts["account"].rpartition("\\")[2]}
    before, mark, after = template.partition("{time}")
    if not mark:
        return say(template.format_map(facts))
    return say(before.format_map(facts), at or "later", after.format_map(facts))
