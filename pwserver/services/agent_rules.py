"""What an agent may not lose or be given while passwords are synchronized through it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from pwserver.core.errors import Invalid
from pwserver.models import Entry, SyncAgent, SyncChain, SyncLink
from pwserver.services.sync.checks import check_cycles
from pwserver.services.values import AnySession


def refuse_used(session: AnySession, row: SyncAgent, field: str | None, what: str) -> None:
    used = session.scalar(select(func.count()).where(SyncChain.agent_id == row.id)) or 0
    if used:
        chains, them = ("1 password is", "it") if used == 1 else (f"{used} passwords are", "them")
        raise Invalid(f"{what}: {chains} synchronized through it. Give {them} another agent first.", field=field)


def refuse_dropped(session: AnySession, row: SyncAgent, wanted: set[str]) -> None:
    """A vault whose chains use the agent stays on its list."""
    used = select(Entry.vault_id).join(SyncChain).where(SyncChain.agent_id == row.id, SyncChain.enabled)
    if set(session.scalars(used)) - wanted:
        raise Invalid(
            "A vault you took off the list has passwords that are synchronized through this agent. Nothing was saved.",
            field="vaults",
        )


def refuse_unreached(session: AnySession, row: SyncAgent, names: Sequence[str]) -> None:
    """A machine on which this agent keeps a password in sync stays on its list: off it, nothing may be sent there."""
    used = select(SyncLink.machine).join(SyncChain).where(SyncChain.agent_id == row.id, SyncChain.enabled)
    listed = {each.casefold() for each in names}
    used = used.where(SyncLink.active).order_by(SyncLink.machine).distinct()
    lost = [each for each in session.scalars(used) if each.casefold() not in listed]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        are = "is in a chain" if len(lost) == 1 else "are in chains"
        raise Invalid(
            f"{', '.join(lost[:3])}{more} {are} of this agent. Take the links out first. Nothing was saved.",
            field="machines",
        )


def refuse_cycles(session: AnySession, row: SyncAgent) -> None:
    """No password that goes through this agent may be, by way of others, the credential that changes it (rule 32)."""
    session.flush()
    for chain in session.scalars(select(SyncChain).where(SyncChain.agent_id == row.id, SyncChain.enabled)).all():
        try:
            check_cycles(session, chain, row)  # type: ignore[arg-type]  # a scoped session everywhere
        except Invalid:
            # Not named: an administrator may not know what is in a vault.
            raise Invalid(
                "A password that is changed through this agent would need itself to be changed. Choose another one.",
                field="linked_entry_id",
            ) from None
