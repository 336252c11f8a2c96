"""Reaching out: credentials bound late, values opened at the last moment. One of the three doors (execute)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Any, Protocol

from sqlalchemy import bindparam, select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.base import Answer, Call, Connector, Credential, Evidence, Key, Outcome, ask
from pwserver.connectors.domain import KIND as DOMAIN
from pwserver.connectors.domain import Directory, Trust
from pwserver.connectors.scheduled_task import account_there
from pwserver.core.secrets import Sealed, Secret, bound_to
from pwserver.core.timing import Timing
from pwserver.extensions import db
from pwserver.models import EntryVersion, LinkMaybe, Override, SyncAgent, SyncLink
from pwserver.services.keys import keyring
from pwserver.services.sync import accounts, answers, credentials, plans
from pwserver.services.sync.credentials import Login, Ways
from pwserver.services.sync.tries import Try
from pwserver.services.transaction import end_read
from pwserver.sync.chain import Link, NotNow, Step, call_limit
from pwserver.sync.ports import Attempt, Method

Session = scoped_session[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """What a connector has to know of a link; plain values, so that no row is touched during a call."""

    link_id: str
    kind: str
    settings: dict[str, Any]
    machine: str
    agent_id: str
    transport: str
    """The agent's."""
    agent_machine: str
    agent_host: str
    agent_port: int
    agent_pin: str
    account: str
    account_sid: str
    machine_sid: str | None
    reset_allowed: bool
    forced: bool
    directory: Directory | None = None
    """Where the agent is one."""


class Connect(Protocol):
    """Builds connectors; keeps one session per agent, ended by ``close``."""

    def __call__(self, place: Place, login: Credential | None, linked: Credential | None) -> Connector: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Bound:
    """A link within reach (the engine's Target): who we are there, by name; values are opened per call."""

    place: Place
    ways: Ways
    account_key: str
    unlock: bool
    connect: Connect
    timing: Timing
    open_typed: Callable[[], Secret] | None = None

    @property
    def uses_key(self) -> str | None:
        return self.ways.linked.key if self.ways.linked else None

    def tries(self, step: Step, *, version: str | None, old: str | None) -> list[Try]:
        """The tries an attempt may cost. A reset has no old value that could be refused."""
        wanted: list[tuple[Key, str, str | None]] = []
        reads_only = step in (Step.PROBE, Step.TEST) and version is None
        if step in (Step.TEST, Step.CHANGE, Step.RESET, Step.SET, Step.PROBE) and not reads_only:
            value = old if step == Step.CHANGE else None if step == Step.RESET else version
            wanted.append((Key.TARGET, self.account_key, value))
        for role, login in ((Key.LOGIN, self.ways.login), (Key.LINKED, self.ways.linked)):
            if login is not None:
                wanted.append((role, login.key, login.version_id))
        values = open_versions([version_id for _, _, version_id in wanted])
        names = answers.names_of(db.session, [key for _, key, _ in wanted])
        tries = []
        for role, key, version_id in wanted:
            secret = values[version_id] if version_id else self._typed() if role == Key.LINKED else None
            tries.append(Try(role, key, answers.digests(names, key, secret) if secret else (), version_id))
        return tries

    def _typed(self) -> Secret:
        assert self.open_typed is not None
        return self.open_typed()

    def _credential(self, login: Login | None, values: Mapping[str, Secret]) -> Credential | None:
        if login is None:
            return None
        return Credential(login.user_name, values[login.version_id] if login.version_id else self._typed())

    def ask(
        self, attempt: Attempt, method: Method, *, old: str | None = None, new: str | None = None, more: bool = False
    ) -> Outcome:
        """Opens what this call needs, makes it, and forgets it."""
        logins = (self.ways.login, self.ways.linked)
        values = open_versions([old, new, *(each.version_id for each in logins if each)])
        login, linked = (self._credential(each, values) for each in logins)
        before = values[old] if old else None
        value = values[new] if new else None
        end_read()
        left = call_limit(attempt.step, self.timing) - (monotonic() - attempt.began)
        if left <= 0:  # this process was stopped meanwhile; others go by the intent's deadline and may have taken over
            return Outcome(Answer.UNREACHABLE, "deadline")
        call = Call(
            attempt=attempt.id,
            ttl_s=min(self.timing.ttl, left),
            deadline_s=left,
            machine_sid=self.place.machine_sid,
            min_left=1 if attempt.link.asked else 2,
            reset_allowed=self.place.reset_allowed,
            unlock=self.unlock,
            account=self.place.account,
            account_sid=self.place.account_sid,
            stamp=_stamp_of(attempt.link, old or new),
            more=more,
            stop_s=self.timing.restart_stop,
            answer_s=self.timing.restart_answer,
        )

        def go() -> Evidence:
            connector = self.connect(self.place, login, linked)
            match method:
                case "read":
                    return connector.read(call)
                case "verify":
                    assert value is not None
                    return connector.verify(call, value)
                case "change":
                    assert before is not None
                    assert value is not None
                    return connector.change(call, before, value)
                case "reset":
                    assert value is not None
                    return connector.reset(call, value)
                case "write":
                    assert value is not None
                    return connector.write(call, value)
                case "restart":
                    return connector.restart(call)

        secrets = [secret for secret in (before, value, login and login.secret, linked and linked.secret) if secret]
        outcome = ask(go, secrets=secrets)
        by_typed = self.ways.linked is not None and self.ways.linked.typed
        if by_typed and outcome.reason in ("linked_refused", "linked_denied"):
            return replace(outcome, reason="override_refused")  # what was typed, not the linked credential
        return outcome


def _stamp_of(link: Link, version: str | None) -> str | None:
    """The last-set stamp under which ``version`` was last proved, or set by us, on this link."""
    proof = link.proof
    return proof.stamp if proof is not None and proof.version == version else None


SEALED = select(EntryVersion.id, EntryVersion.sealed).where(EntryVersion.id.in_(bindparam("versions", expanding=True)))


def open_versions(version_ids: Collection[str | None]) -> dict[str, Secret]:
    """The execute door: stored values by the ids of their versions, for the call that sends them. None: no version."""
    wanted = {each for each in version_ids if each}
    rows = db.session.execute(SEALED, {"versions": list(wanted)}).all()
    if len(rows) != len(wanted):
        raise LookupError("a version that is to be sent is not stored")
    return {each: keyring().open(Sealed(sealed), bound_to("entry_version", each, "sealed")) for each, sealed in rows}


def open_version(version_id: str) -> Secret:
    return open_versions([version_id])[version_id]


def digests_of(key: str, version_id: str) -> answers.Digests:
    """The digests under which ``key``'s answers to this version are remembered."""
    return answers.digests(answers.names_of(db.session, [key]), key, open_version(version_id))


@dataclass(slots=True)
class Reacher:
    """Binds the links of one run. ``connect`` makes the connectors (real ones, or a test's model)."""

    run_id: str
    connect: Connect
    timing: Timing

    def reach(self, link_id: str, at: datetime) -> Bound | NotNow:
        session = db.session
        run, link, chain, agent = session.execute(plans.RUN_AND_LINK, {"run": self.run_id, "link": link_id}).one()
        if not credentials.may_reach(agent, link.machine):
            return NotNow("not_on_list", blocked=True)
        ticked = run.kind == "override" and (run.scope is None or link.id in run.scope)
        ways = credentials.ways_to(session, link, agent, at, self.timing.busy_account)
        if isinstance(ways, Ways) and ways.login and agent.login_entry_id == chain.entry_id:
            ways = replace(ways, login=self._own_login(session, ways.login, link.chain_id, agent.machine))
        open_typed = None
        if ticked and (name := self._typed_user(link.machine)):
            typed = credentials.typed(session, name, link.machine)
            login = ways.login if isinstance(ways, Ways) else None
            if isinstance(ways, NotNow) and ways.reason != "no_linked_credential":
                return ways
            if login is None:
                login = self._login_only(session, link, agent, at)
            ways = Ways(login, typed)
            open_typed = self._opener(link.machine)
        if isinstance(ways, NotNow):
            return ways
        account = link if link.is_account else session.get_one(SyncLink, link.account_link_id)
        return Bound(
            place=_place(link, account, agent, forced=open_typed is not None),
            ways=ways,
            account_key=account.account_key or "",
            unlock=run.unlock and ticked,
            connect=self.connect,
            timing=self.timing,
            open_typed=open_typed,
        )

    @staticmethod
    def _own_login(session: Session, login: Login, chain_id: str, machine: str) -> Login:
        """A chain that changes the login it works with: while it may hold two values the one sent last is tried, and
        once that was refused the one before (rule 33)."""
        link = credentials.own_link(session, chain_id, machine)
        if link is None:
            return login
        candidates = session.scalars(
            select(EntryVersion.id)
            .join(LinkMaybe, LinkMaybe.version_id == EntryVersion.id)
            .where(LinkMaybe.link_id == link.id)
            .order_by(EntryVersion.number.desc())
        )
        said = answers.said_by(session, [login.key])
        for version_id in candidates.all():
            refusal = said.refusal(login.key, digests_of(login.key, version_id))
            if refusal is None or accounts.was_sent_since(session, link.id, version_id, refusal.at):
                return replace(login, version_id=version_id)
        return login

    def _login_only(self, session: Session, link: SyncLink, agent: SyncAgent, at: datetime) -> Login | None:
        if agent.login_entry_id is None:
            return None
        found = credentials.bind(
            session, agent.login_entry_id, agent.machine, link.chain_id, at, self.timing.busy_account
        )
        return None if isinstance(found, NotNow) else found

    def _typed(self) -> dict[str, dict[str, str]]:
        """The override's typed credentials by machine, opened; {} when there are none."""
        row = db.session.get(Override, self.run_id)
        if row is None:
            return {}
        text = keyring().open(Sealed(row.sealed), bound_to("override", self.run_id, "sealed")).open()
        found: dict[str, dict[str, str]] = json.loads(text)
        return found

    def _typed_user(self, machine: str) -> str | None:
        found = self._typed().get(machine.casefold())
        return found["user_name"] if found else None

    def _opener(self, machine: str) -> Callable[[], Secret]:
        return lambda: Secret(self._typed()[machine.casefold()]["secret"])

    def close(self) -> None:
        self.connect.close()


def directory_of(agent: SyncAgent) -> Directory:
    """An agent of transport ``ldaps``, as its connector knows it."""
    return Directory(
        controllers=tuple(agent.controllers),
        port=agent.port,
        trust=Trust(agent.pin, agent.ca_pem),
        domain=agent.domain,
        short_name=agent.machine,
        allowed=tuple(agent.allowed_accounts),
    )


def _known_sid(link: SyncLink, account: SyncLink) -> str:
    """The SID by which the account is known. A link that was never proved goes by the name alone: nothing has shown yet
    that the one which answered first was meant."""
    if link.is_account and link.holds_version_id is None:
        return ""
    return account.told_account_sid or ""


def _holder(account: SyncLink) -> str:
    """The account whose password a place stores, by its name."""
    name = f"{account.machine}\\{account.settings.get('user_name', '')}"
    return account_there(name, is_local=account.kind != DOMAIN.kind)


def _place(link: SyncLink, account: SyncLink, agent: SyncAgent, *, forced: bool) -> Place:
    return Place(
        link_id=link.id,
        kind=link.kind,
        settings=dict(link.settings),
        machine=link.machine,
        agent_id=agent.id,
        transport=agent.transport,
        agent_machine=agent.machine,
        agent_host=agent.host,
        agent_port=agent.port,
        agent_pin=agent.pin,
        account="" if link.is_account else _holder(account),
        account_sid=_known_sid(link, account),
        machine_sid=link.told_machine_sid,
        reset_allowed=link.reset_allowed,
        forced=forced,
        directory=directory_of(agent) if agent.transport == "ldaps" else None,
    )
