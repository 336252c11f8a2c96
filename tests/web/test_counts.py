"""A password has one count of links that are done, wherever it is shown."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Entry
from pwserver.services import entries, sync, values, views
from pwserver.services.sync import status
from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]
pytestmark = pytest.mark.breaks_invariants  # scenes write proofs that no run made


def corrected() -> Entry:
    """Every link was proved to have the version before; Default Sync is said to have the corrected one."""
    entry = scenes.chain()
    scenes.refused(scenes.link(entry, "LAB-05"))
    sync.correct(Cast().olivia, entry, Secret("Corrected-by-hand-7"), [], row_version=entry.row_version)
    scenes.end_runs(entry)
    return entry


def unsure() -> Entry:
    """Two links refuse and are silent, one may hold two versions, Windows manages one."""
    entry = scenes.out_of_sync()
    scenes.unknown(scenes.link(entry, "LAB-02"), values.current_version(entry))
    scenes.change(scenes.link(entry, "LAB-03"), state="managed")
    return entry


@pytest.mark.parametrize(
    ("scene", "done"),
    [
        (scenes.chain, 8),
        (scenes.out_of_sync, 5),
        (lambda: scenes.changing()[0], 2),
        (corrected, 0),
        (unsure, 4),
    ],
    ids=["calm", "out of sync", "changing", "corrected", "unsure"],
)
def test_every_page_counts_the_same_links_as_done(
    ctx: Flask, browser_of: Of, scene: Callable[[], Entry], done: int
) -> None:
    entry = scene()
    chain = views.read_chain(entry)
    assert chain is not None
    assert (chain.done, len(chain.links)) == (done, 8)
    one = entries.standing(entry)
    assert (one.good, one.links) == (done, 8)
    with db.session.no_autoflush:
        status.refresh(db.session, chain.id)
    db.session.commit()
    olivia = browser_of("olivia")
    vault = olivia.get(f"/vaults/{entry.vault_id}").text
    assert f"{done}/8" in vault
    assert f"8 places, {done} in sync" in olivia.get(f"/passwords/{entry.id}").text
    page = olivia.get(f"/passwords/{entry.id}/synchronization").text
    assert re.search(rf"8 links, {done} in sync|{done} of 8 links done", page)
    for text in (vault, page):
        assert {found[1] for found in re.finditer(r">(\d) of 8, ", text)} <= {str(done)}
