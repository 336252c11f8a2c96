"""Administrative override: the Approve page's one request (rule 30)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.base import Credential
from pwserver.core.errors import Conflict, Invalid
from pwserver.core.secrets import Secret, bound_to, check_value
from pwserver.models import AppUser, Entry, EntryVersion, Override, SyncRun
from pwserver.services.audit import record
from pwserver.services.keys import keyring
from pwserver.services.sync.requests import enabled_chain, links_of, make_room, queue_run, refuse_same
from pwserver.services.sync.requeue import stage_id
from pwserver.services.sync.status import refresh, timing
from pwserver.services.transaction import now, write
from pwserver.services.values import add_version

Session = scoped_session[Any]

NOT_NEW = "This is the password the vault has already. To set it on the ticked links, choose to keep the vault's."


@dataclass(frozen=True, slots=True)
class Approval:
    """The Approve form. ``value``: keep the vault's, finish the pending one, or a new one. ``credentials``: typed ones
    by machine (case-folded); a machine without one uses its linked credential. ``seen``: the newest instruction of a
    person that the page knew of; None: it does not say."""

    link_ids: Sequence[str]
    value: str
    reason: str
    new: Secret | None = None
    unlock: bool = False
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    seen: int | None = None


def approve(actor: AppUser | None, entry: Entry, form: Approval) -> SyncRun:
    """Administrative override: one run with one-time credentials, sealed with it and gone when it ends."""
    if not form.reason.strip():
        raise Invalid("Say why, in a few words; the other owners read it in the history.", field="reason")
    if form.value not in ("keep", "pending", "new"):
        raise Invalid("Choose which password.", field="value_choice")
    if form.value == "new":
        check_value(form.new or Secret(""), field="new")
    with write() as session:
        chain = enabled_chain(session, entry)
        _refuse_overtaken(session, chain.id, form.seen)
        if form.value == "new" and form.new is not None:
            refuse_same(session, entry, form.new, "new", NOT_NEW)
        links = links_of(session, chain.id)
        ticked = [link for link in links if link.id in form.link_ids]
        if not any(link.is_account for link in ticked) and form.value != "new":
            raise Invalid("Tick at least one account to put right.", field="links")
        at = now()
        make_room(session, chain, at, approve=True, finish_pending=form.value == "pending")
        version_id = _version_to_set(session, actor, entry, chain.id, form)
        scope = [link.id for link in ticked]
        accounts = {link.id for link in ticked if link.is_account}
        scope += [link.id for link in links if link.account_link_id in accounts and link.id not in scope]
        run = queue_run(
            session, actor, chain, "override", at, version_id=version_id, scope=scope,
            whole_chain=form.value != "keep", unlock=form.unlock, note=form.reason.strip(),
        )  # fmt: skip
        _seal_credentials(session, run, form.credentials, at)
        facts = {"run": run.number, "links": len(scope), "value": form.value, "reason": form.reason.strip()}
        facts["credentials"] = [f"{machine}: {each.user_name}" for machine, each in sorted(form.credentials.items())]
        record(session, actor, "sync.approve", entry=entry, facts=facts)
        refresh(session, chain.id)
        return run


def newest_instruction(session: Session, chain_id: str) -> SyncRun | None:
    """The newest run of a chain that a person asked for and that is no test."""
    asked = SyncRun.clicked_at.is_not(None) & (SyncRun.kind != "test")
    return session.scalar(
        select(SyncRun).where(SyncRun.chain_id == chain_id, asked).order_by(SyncRun.number.desc()).limit(1)
    )


def _refuse_overtaken(session: Session, chain_id: str, seen: int | None) -> None:
    """Two owners have the page open: the second does not set again, or anew, what the first put right."""
    newest = newest_instruction(session, chain_id)
    if newest is None or (newest.state == "done" and (seen is None or newest.number <= seen)):
        return
    overtaken = seen is not None and newest.number > seen
    if overtaken or newest.kind == "override":
        who = session.scalar(select(AppUser.name).where(AppUser.id == newest.requested_by)) or "Somebody"
        doing = {"override": "approved already", "correct": "corrected the stored value", "adopt": "adopted"}
        raise Conflict(
            f"{who} {doing.get(newest.kind, 'asked for a change')} meanwhile, as run {newest.number}. Nothing was "
            "done; here is how it stands now."
        )


def _version_to_set(session: Session, actor: AppUser | None, entry: Entry, chain_id: str, form: Approval) -> str | None:
    """The vault's version, the pending one, or a new pending one in its place."""
    if form.value == "keep":
        return stage_id(session, chain_id, "current")
    pending = stage_id(session, chain_id, "pending")
    if form.value == "pending":
        if pending is None:
            raise Conflict("There is no pending change any more. Choose again.", field="value_choice")
        return pending
    assert form.new is not None
    if pending is not None:
        _replace_pending(session, pending)
    return add_version(session, entry, form.new, stage="pending", origin="override", actor=actor).id


def _replace_pending(session: Session, pending: str) -> None:
    """A pending value that some place has or may have stays known as old: those places still name it."""
    version = session.get_one(EntryVersion, pending, populate_existing=True)
    version.stage = "old" if version.first_sent_at else "discarded"
    session.flush()


def _seal_credentials(session: Session, run: SyncRun, typed: Mapping[str, Credential], at: datetime) -> None:
    if not typed:
        return
    body = {
        machine.casefold(): {"user_name": each.user_name, "secret": each.secret.open()}
        for machine, each in typed.items()
    }
    sealed = keyring().seal(Secret(json.dumps(body)), bound_to("override", run.id, "sealed"))
    expires = at + timedelta(seconds=timing().override_waiting)
    session.add(Override(run_id=run.id, sealed=sealed.data, key_id=sealed.key_id, expires_at=expires))
    session.flush()
