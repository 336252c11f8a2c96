"""Account keys: one identity wherever it is seen, its names, and the tries booked on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Update, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import scoped_session

from pwserver.models import Account, AccountName, AccountTry, Entry, LinkAttempt, SyncLink, SyncRun
from pwserver.services import locking
from pwserver.services.sync import answers
from pwserver.services.sync.domains import in_full
from pwserver.services.transaction import now

Session = scoped_session[Any]


def insert_new(session: Session, table: type[Any], **values: Any) -> None:
    """INSERT … ON CONFLICT DO NOTHING, on either database."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    session.execute(dialect.insert(table).values(**values).on_conflict_do_nothing())


KNOWN = select(Account.key).where(Account.key.in_(bindparam("keys", expanding=True))).order_by(Account.key)


def lock(session: Session, keys: Iterable[str | None]) -> None:
    """The accounts' rows are there and ours until the transaction ends: tries, answers and writers of these keys are
    read and written by nobody else. Their order is the same for all; every caller takes all of its keys at once."""
    wanted = sorted({key for key in keys if key})
    if not wanted:
        return
    known = set(session.scalars(KNOWN, {"keys": wanted}))  # rows of accounts stay for ever
    for key in wanted:
        if key not in known:
            insert_new(session, Account, key=key)
    if locking.is_postgres(session):
        locking.rows(session, select(Account.key).where(Account.key.in_(wanted)).order_by(Account.key), Account)


def touched(session: Session, statement: Update) -> int:
    """Executes an UPDATE and returns how many rows it matched: the conditional UPDATE is the lock."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    return int(result.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as of any UPDATE


def account_name(user_name: str, machine: str) -> str:
    """An account's name before its target told its identity: ``machine\\user`` or ``domain\\user``, case-folded."""
    if "\\" in user_name:
        prefix, user = user_name.split("\\", 1)
        return f"{machine if prefix in ('', '.') else prefix}\\{user}".casefold()
    if "@" in user_name:
        user, _, domain = user_name.rpartition("@")
        return f"{domain}\\{user}".casefold()
    return f"{machine}\\{user_name}".casefold()


KEYS = select(AccountName.name, AccountName.key).where(AccountName.name.in_(bindparam("names", expanding=True)))


def key_of(session: Session, name: str) -> str:
    return keys_of(session, [name])[name]


def keys_of(session: Session, names: Collection[str]) -> dict[str, str]:
    """The key behind each name: what the target told once, else the name itself; of a known domain with its full
    name."""
    full = in_full(session, names)
    told = dict(session.execute(KEYS, {"names": list({*names, *full.values()})}).all())
    return {name: told.get(name) or told.get(full[name]) or full[name] for name in names}


def key_of_login(session: Session, entry: Entry, machine: str) -> str:
    """The key of a credential of ours: its own Default Sync's when it has a chain, else by name."""
    from pwserver.models import SyncChain

    own = session.scalar(
        select(SyncLink.account_key)
        .join(SyncChain, SyncChain.id == SyncLink.chain_id)
        .where(SyncChain.entry_id == entry.id, SyncLink.position == 0, SyncLink.active)
    )
    return key_of(session, own) if own else key_by_name(session, entry, machine)


def key_by_name(session: Session, entry: Entry, machine: str) -> str:
    """The key of a credential of ours that no chain keeps."""
    return key_of(session, account_name(login_name(entry), entry.machine or machine))


def login_name(entry: Entry) -> str:
    """The user name by which a credential is sent. Its tries are booked under the same, or one account of a domain
    would have a budget on each machine."""
    domain = entry.machine if entry.type == "domain" else entry.domain
    plain = domain and "\\" not in entry.user_name and "@" not in entry.user_name
    return f"{domain}\\{entry.user_name}" if plain else entry.user_name


def was_sent_since(session: Session, link_id: str, version_id: str | None, at: datetime) -> bool:
    """Whether this link was sent this version since ``at``, and took it or may have taken it."""
    sent = select(LinkAttempt.id).where(
        LinkAttempt.link_id == link_id,
        LinkAttempt.version_id == version_id,
        LinkAttempt.step.in_(("change", "reset")),
        LinkAttempt.outcome.in_(("applied", "unknown")),
        LinkAttempt.intent_at >= at,
    )
    return session.scalar(sent.limit(1)) is not None


@dataclass(frozen=True, slots=True)
class NoTry:
    """Nothing may be sent now. ``busy``: another run has an open reservation; it ends within seconds."""

    busy: bool
    safe_at: datetime


WINDOWS = select(Account.key, Account.window_s).where(Account.key.in_(bindparam("keys", expanding=True)))
TRIES = (
    select(AccountTry.key, AccountTry.at, LinkAttempt.outcome, SyncRun.id, SyncRun.state)
    .outerjoin(LinkAttempt, LinkAttempt.id == AccountTry.attempt_id)
    .outerjoin(SyncRun, SyncRun.id == LinkAttempt.run_id)
    .where(AccountTry.key.in_(bindparam("keys", expanding=True)), AccountTry.at > bindparam("since"))
    .order_by(AccountTry.at)
)


def may_try(
    session: Session, key: str, run_id: str | None, *, budget: int, window: float, busy_for: float, at: datetime
) -> NoTry | None:
    """Counts the tries on ``key`` within its window; None when one more is within ``budget``."""
    return may_try_each(session, [key], run_id, budget=budget, window=window, busy_for=busy_for, at=at)[key]


def may_try_each(
    session: Session, keys: Collection[str], run_id: str | None, *, budget: int, window: float, busy_for: float,
    at: datetime,
) -> dict[str, NoTry | None]:  # fmt: skip
    """:func:`may_try` for each of the keys, in two statements."""
    widths = dict.fromkeys(keys, window)
    for key, told in session.execute(WINDOWS, {"keys": list(widths)}):
        widths[key] = max(window, told or 0)
    since = at - timedelta(seconds=max(widths.values(), default=window))
    rows = session.execute(TRIES, {"keys": list(widths), "since": since}).all()
    tries: dict[str, list[datetime]] = {key: [] for key in widths}
    busy = set()
    for key, tried, outcome, owner, state in rows:
        if tried <= at - timedelta(seconds=widths[key]):
            continue
        tries[key].append(tried)
        if outcome is None and owner and owner != run_id and state == "running":
            busy.add(key)  # what it is told decides about the next
    return {
        key: NoTry(True, at + timedelta(seconds=busy_for)) if key in busy else _over(tries[key], budget, widths[key])
        for key in widths
    }


def _over(tries: list[datetime], budget: int, window: float) -> NoTry | None:
    """Until when the tries within a window, oldest first, are as many as the budget."""
    return NoTry(False, tries[-budget] + timedelta(seconds=window)) if len(tries) >= budget else None


def reserve(session: Session, key: str, attempt_id: str, at: datetime) -> None:
    """Books a try. The caller has locked the account before it counted what was booked already."""
    insert_new(session, AccountTry, key=key, attempt_id=attempt_id, at=at)  # a login may be the target too: one try


def give_back(session: Session, attempt_id: str, keys: Collection[str]) -> None:
    if keys:
        session.execute(delete(AccountTry).where(AccountTry.attempt_id == attempt_id, AccountTry.key.in_(keys)))


def forgive(session: Session, key: str) -> None:
    """The account's machine counts no wrong logon: tries of ended calls whose end was not known were not spent."""
    unclear = select(LinkAttempt.id).where(
        LinkAttempt.outcome.in_(("unknown", "unreachable")), LinkAttempt.id == AccountTry.attempt_id
    )
    session.execute(
        delete(AccountTry).where(AccountTry.key == key, unclear.exists()).execution_options(synchronize_session=False)
    )


def has_sid(key: str) -> bool:
    """Whether an account told who it is. Names are case-folded, and keys of before were ``computer#rid``."""
    return "S-1-" in key


def call_it(session: Session, name: str, key: str) -> None:
    """From now on ``name`` means the account ``key``, whatever it meant before. The caller has locked both."""
    if name != key:
        at = now()
        insert_new(session, AccountName, name=name, key=key, united_at=at)
        meant_another = (AccountName.name == name, AccountName.key != key)
        session.execute(update(AccountName).where(*meant_another).values(key=key, united_at=at))


def unite(session: Session, name_key: str, told: str) -> None:
    """``name_key`` proved to be the account ``told``: tries and refusals are united. The caller has locked both. Raises
    ValueError for two that both told who they are: these are two accounts, whatever they are called."""
    if has_sid(name_key) and has_sid(told):
        raise ValueError("two accounts with a SID each are never one")
    call_it(session, name_key, told)
    session.execute(update(AccountName).where(AccountName.key == name_key).values(key=told, united_at=now()))
    known = select(AccountTry.attempt_id).where(AccountTry.key == told).scalar_subquery()
    session.execute(
        update(AccountTry).where(AccountTry.key == name_key, AccountTry.attempt_id.not_in(known)).values(key=told)
    )
    session.execute(delete(AccountTry).where(AccountTry.key == name_key))
    answers.move(session, name_key, told)
    session.execute(
        update(LinkAttempt)
        .where(LinkAttempt.uses_key == name_key, LinkAttempt.outcome.is_(None))
        .values(uses_key=told)
        .execution_options(synchronize_session=False)
    )
    writer = session.scalar(select(Account.writer_run_id).where(Account.key == name_key))
    if writer:
        session.execute(update(Account).where(Account.key == told).values(writer_run_id=writer))


def active_link_with(session: Session, key: str, besides: str) -> SyncLink | None:
    return session.scalar(
        select(SyncLink).where(
            SyncLink.account_key == key, SyncLink.active, SyncLink.is_account, SyncLink.id != besides
        )
    )


def lock_for_run(session: Session, run_id: str, keys: Iterable[str]) -> bool:
    """Takes every key for this run, in order, or none: False when another running run has one."""
    wanted = sorted(set(keys))
    lock(session, wanted)
    for key in wanted:
        free = (
            (Account.writer_run_id.is_(None))
            | (Account.writer_run_id == run_id)
            | ~select(SyncRun.id).where(SyncRun.id == Account.writer_run_id, SyncRun.state == "running").exists()
        )
        if touched(session, update(Account).where(Account.key == key, free).values(writer_run_id=run_id)) != 1:
            return False
    return True


def unlock_for_run(session: Session, run_id: str) -> None:
    held = select(Account.key).where(Account.writer_run_id == run_id).order_by(Account.key)
    locking.rows(session, held, Account)
    session.execute(update(Account).where(Account.writer_run_id == run_id).values(writer_run_id=None))
