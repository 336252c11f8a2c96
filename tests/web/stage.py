"""Two instances to look at: one calm but for an incident, with something on every page; one in the middle of a run."""

from __future__ import annotations

from flask import Flask

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Incident, Outbox
from pwserver.services import entries, favourites, sync, users, values, vaults, views
from pwserver.services.entries import Settings
from pwserver.services.listing import Asked, page_of
from pwserver.services.mail import alerts, outbox
from tests.conftest import Cast
from tests.web import scenes
from tests.web.many import fill
from tests.web.shots import Shot
from tests.web.things import add_agent, add_directory


def out_of_sync(app: Flask) -> dict[str, str]:
    """*Lab Administrator* out of sync, a long chain, two vaults of which one has pages, a pending agent, stars, trash.
    The ids by the name that they have in addresses."""
    with app.app_context():
        cast = Cast()
        users.set_org_admin(None, cast.olivia, True)
        entry = scenes.out_of_sync()
        add_agent("BRANCH-07", state="pending", health="untested")
        incident = db.session.scalars(db.select(Incident).filter_by(chain_id=chain_id())).one()
        incident_id = incident.id
        fill(cast.vault, 64, links=3)
        devices = vaults.create_vault(cast.olivia, "Network Devices")
        fill(devices, 6, links=41, start=2000)
        favourites.set_favourite(cast.olivia, cast.entry, True)
        for name in ("Wiki", "NAS-LAB admin"):
            made = entries.create_entry(
                cast.olivia, devices, Settings(name, "generic", "admin"), Secret("good-enough-1")
            )
            favourites.set_favourite(cast.olivia, made, True)
        gone = entries.create_entry(cast.olivia, cast.vault, Settings("Old one", "generic"), Secret("gone-by-now"))
        entries.trash_entry(cast.olivia, gone, row_version=gone.row_version)
        empty = vaults.create_vault(cast.olivia, "Web and DNS")
        long = next(row.entry for row in listed(devices.id) if row.links > 40)
        return {
            "vault_id": cast.vault.id,
            "entry_id": cast.entry.id,
            "user_id": cast.vera.id,
            "agent_id": agent_id(),
            "run_id": run_id(),
            "incident_id": incident_id,
            "mail_id": mail_id(),
            "directory": add_directory().id,
            "link_id": scenes.link(cast.entry, "LAB-02").id,
            "version_id": values.current_version(entry).id,
            "trashed": gone.id,
            "machine": "LAB-01",
            "long": long.id,
            "empty": empty.id,
            "generic": made.id,
            "devices": devices.id,
        }


def mail_id() -> str:
    """The mail about it, written and kept: no mail server is configured."""
    alerts.make_due()
    for each, _queue in outbox.due():
        outbox.deliver(each)
    return str(db.session.scalars(db.select(Outbox.id).filter_by(template="needs_override")).first())


def listed(vault_id: str) -> list[entries.Listed]:
    return list(page_of([vault_id], Asked()).rows)


def chain_id() -> str:
    chain = sync.chain_of(Cast().entry)
    assert chain is not None
    return chain.id


def agent_id() -> str:
    chain = sync.chain_of(Cast().entry)
    assert chain is not None
    return chain.agent_id


def run_id() -> str:
    return views.runs_of_chain(chain_id())[0].id


def states(ids: dict[str, str]) -> list[Shot]:
    """What the routes alone do not show."""
    password, vault = f"/passwords/{ids['entry_id']}", f"/vaults/{ids['vault_id']}"
    return [
        Shot("search-machine", "/search?q=lab-05"),
        Shot("search-many", "/search?q=administrator"),
        Shot("search-nothing", "/search?q=nowhere"),
        Shot("search-status", "/search?only=out_of_sync"),
        Shot("vault-page-2", f"{vault}?page=2&sort=-name"),
        Shot("vault-nothing", f"{vault}?find=nowhere"),
        Shot("vault-empty", f"/vaults/{ids['empty']}"),
        Shot("password-shown", password, open=("#secret button:has-text('Show')",)),
        Shot("password-generic-sync", f"/passwords/{ids['generic']}/synchronization"),
        Shot("sync-long", f"/passwords/{ids['long']}/synchronization"),
        Shot("sync-add-kinds", f"{password}/synchronization", open=("#add > summary",)),
        Shot("sync-add-service", f"{password}/links/new?kind=windows_service"),
        Shot("not-there", "/passwords/nowhere"),
    ]
