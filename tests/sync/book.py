"""What the database says after a step, read in one go and without the product: six short statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from pwserver.core.secrets import Sealed, bound_to
from pwserver.extensions import db
from pwserver.models import EntryVersion, LinkMaybe, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services.keys import keyring

AGENTS = select(SyncAgent.__table__)
CHAINS = select(SyncChain.__table__)
LINKS = select(SyncLink.__table__).order_by(SyncLink.position, SyncLink.id)
MAYBES = select(LinkMaybe.link_id, LinkMaybe.version_id)
VERSIONS = select(EntryVersion.id, EntryVersion.entry_id, EntryVersion.stage, EntryVersion.origin, EntryVersion.sealed)
RUNS = select(SyncRun.id, SyncRun.chain_id, SyncRun.kind, SyncRun.state).where(SyncRun.state != "done")


@dataclass(frozen=True, slots=True)
class Page:
    """One chain: its row, all its links (removed ones too), the versions of its entry, its runs that are not done."""

    chain: Row[Any]
    links: list[Row[Any]]
    maybe: dict[str, list[str]]
    versions: list[Row[Any]]
    runs: list[Row[Any]]
    agents: list[Row[Any]]

    @property
    def active(self) -> list[Row[Any]]:
        return [link for link in self.links if link.active]

    def staged(self, stage: str) -> list[Row[Any]]:
        return [version for version in self.versions if version.stage == stage]


def read_book() -> list[Page]:
    """Every chain as it is committed. The caller ends the transaction."""
    session = db.session
    agents = list(session.execute(AGENTS))
    links, versions, runs = session.execute(LINKS).all(), session.execute(VERSIONS).all(), session.execute(RUNS).all()
    maybes: dict[str, list[str]] = {}
    for link_id, version_id in session.execute(MAYBES):
        maybes.setdefault(link_id, []).append(version_id)
    pages = []
    for chain in session.execute(CHAINS):
        own = [link for link in links if link.chain_id == chain.id]
        pages.append(
            Page(
                chain,
                own,
                {link.id: maybes[link.id] for link in own if link.id in maybes},
                [version for version in versions if version.entry_id == chain.entry_id],
                [run for run in runs if run.chain_id == chain.id],
                agents,
            )
        )
    return pages


class Values:
    """The stored values, opened once each (a version's value never changes)."""

    def __init__(self) -> None:
        self.opened: dict[str, str] = {}

    def __call__(self, version: Row[Any]) -> str:
        if version.id not in self.opened:
            sealed = keyring().open(Sealed(version.sealed), bound_to("entry_version", version.id, "sealed"))
            self.opened[version.id] = sealed.open()
        return self.opened[version.id]
