"""Owner, Modify, Read and nobody, at every act on a chain, through both doors: the pages and the command line.

Whoever may, does it, and the history names them. For everybody else nothing at all is written, and what they are told
is the same as for a thing that is not there, or that an owner or editor has to be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Event, SyncRun
from pwserver.services import sync
from tests.conftest import Cast, email_of
from tests.web import scenes
from tests.web.conftest import Browser, Kept

Of = Callable[[str], Browser]
Rowed = Callable[[Flask, str], "Rows"]
ENTRY = "Computer Lab/Lab Administrator"
ADMIN = "admin-Secret-77#x"
NEW = "Next-93kq#Rezun-2"
HELD = {"olivia": "owner", "eddie": "modify", "vera": "read", "nora": None, "ada": None}
ORDER = (None, "read", "modify", "owner")


@dataclass(frozen=True)
class Act:
    """One thing that can be asked. ``page``: what is sent, given the rows; ``line``: the same at the command line."""

    right: str
    verb: str
    page: Callable[[Rows], tuple[str, dict[str, Any]]]
    line: Callable[[Rows], list[str]]
    stdin: str = ""
    scene: str = "out_of_sync"


@dataclass
class Rows:
    """Ids of what the acts are about."""

    entry: str
    revision: str
    row_version: str
    links: list[str]
    service: str
    run: str = ""
    number: str = ""
    removed: str = ""
    agent: str = ""
    path: str = field(init=False)

    def __post_init__(self) -> None:
        self.path = f"/passwords/{self.entry}"


def remote(machine: str) -> dict[str, str]:
    return {"kind": "remote_windows", "machine": machine, "user_name": "Administrator"}


ACTS: dict[str, Act] = {
    "test": Act("read", "sync.test", lambda r: (f"{r.path}/test", {}), lambda r: ["test", ENTRY]),
    "retest": Act("modify", "sync.retest", lambda r: (f"{r.path}/retest", {}), lambda r: ["retest", ENTRY]),
    "change": Act(
        "modify", "password.change",
        lambda r: (f"{r.path}/change", {"value": NEW, "how": "everywhere", "row_version": r.row_version}),
        lambda r: ["change", ENTRY], stdin=NEW,
    ),
    "correct": Act(
        "modify", "password.correct",
        lambda r: (f"{r.path}/change", {"value": NEW, "how": "correct", "row_version": r.row_version}),
        lambda r: ["correct", ENTRY, "--nowhere"], stdin=NEW,
    ),
    "approve": Act(
        "owner", "sync.approve",
        lambda r: (
            f"{r.path}/approve",
            {
                "link_ids": [r.links[4]], "with:lab-05": "typed", "user:lab-05": "LAB-05\\adm",
                "password:lab-05": ADMIN, "value_choice": "keep", "reason": "box was open",
            },
        ),
        lambda r: ["approve", ENTRY, "--link", "5", "--login", "LAB-05\\adm", "--reason", "box was open"],
        stdin=ADMIN,
    ),
    "adopt": Act(
        "owner", "sync.adopt",
        lambda r: (f"{r.path}/adopt", {"link_ids": [r.service]}), lambda r: ["adopt", ENTRY, "--link", "7"],
    ),
    "add": Act(
        "owner", "sync.link_added",
        lambda r: (f"{r.path}/links", remote("LAB-09") | {"revision": r.revision}),
        lambda r: ["add", ENTRY, "remote_windows", "machine=LAB-09", "user_name=Administrator"],
    ),
    "add many": Act(
        "owner", "sync.links_added",
        lambda r: (
            f"{r.path}/links/many",
            {"names": "LAB-09,LAB-10", "user_name": "Administrator", "promised": "2", "revision": r.revision},
        ),
        lambda r: ["add-many", ENTRY, "--file", "-"], stdin="LAB-09\nLAB-10\n",
    ),
    "edit": Act(
        "owner", "sync.link_edited",
        lambda r: (f"{r.path}/links/{r.links[1]}", remote("LAB-12") | {"revision": r.revision}),
        lambda r: ["edit", ENTRY, "2", "machine=LAB-12"],
    ),
    "move": Act(
        "owner", "sync.link_moved",
        lambda r: (f"{r.path}/links/{r.links[1]}/down", {"revision": r.revision}),
        lambda r: ["move", ENTRY, "2", "3"],
    ),
    "order": Act(
        "owner", "sync.link_moved",
        lambda r: (
            f"{r.path}/links/order",
            {"link_ids": [r.links[0], r.links[2], r.links[1], *r.links[3:]], "revision": r.revision},
        ),
        lambda r: ["move", ENTRY, "3", "2"],
    ),
    "remove": Act(
        "owner", "sync.link_removed",
        lambda r: (f"{r.path}/links/{r.links[1]}/remove", {"revision": r.revision}),
        lambda r: ["remove", ENTRY, "2"],
    ),
    "restore": Act(
        "owner", "sync.link_restored",
        lambda r: (f"{r.path}/links/{r.removed}/restore", {"revision": r.revision}),
        lambda r: ["restore", ENTRY, r.removed], scene="removed",
    ),
    "enable": Act(
        "owner", "sync.enabled",
        lambda r: (f"{r.path}/synchronization/enable", {"agent_id": r.agent}),
        lambda r: ["enable", ENTRY, "--agent", "LAB-01"], scene="off",
    ),
    "cancel": Act(
        "modify", "run.cancelled",
        lambda r: (f"/runs/{r.run}/cancel", {}), lambda r: ["cancel", r.number], scene="changing",
    ),
    "give up": Act(
        "modify", "change.given_up",
        lambda r: (f"{r.path}/give-up", {}), lambda r: ["give-up", ENTRY], scene="queued",
    ),
}  # fmt: skip


def made(app: Flask, scene: str) -> Rows:
    with app.app_context():
        removed = ""
        if scene == "changing":
            scenes.changing()
        elif scene == "queued":
            scenes.chain()
            sync.request_change(Cast().olivia, Cast().entry, Secret(NEW))
        else:
            entry = scenes.out_of_sync()
            if scene == "off":
                sync.disable(Cast().olivia, entry)
            if scene == "removed":
                gone = scenes.link(entry, "LAB-02")
                removed = gone.id
                sync.remove_link(Cast().olivia, gone, revision=scenes.revision(entry))
        db.session.expire_all()
        entry = Cast().entry
        chain = sync.chain_of(entry)
        agent = chain.agent_id if chain else ""
        links = scenes.links(entry)
        run = sync.run_of(entry)
        return Rows(
            entry.id, str(scenes.revision(entry)), str(entry.row_version), [link.id for link in links],
            next(link.id for link in links if link.kind == "windows_service"),
            run.id if run else "", str(run.number) if run else "", removed, agent,
        )  # fmt: skip


@pytest.fixture
def rows(kept_scenes: Kept) -> Rowed:
    """The ids of a scene, which is made once for all tests."""
    return lambda app, scene: kept_scenes.begin(app, f"roles {scene}", lambda app: made(app, scene))


def written(app: Flask) -> tuple[Any, ...]:
    """What anything that was done would have changed."""
    with app.app_context():
        entry = Cast().entry
        runs = [(run.id, run.state, run.cancel_at) for run in db.session.scalars(db.select(SyncRun))]
        events = [row.verb for row in db.session.scalars(db.select(Event)) if row.verb not in ("user.signed_in",)]
        links = [(link.id, link.position, link.machine, link.state) for link in scenes.links(entry)]
        return scenes.revision(entry), entry.row_version, sorted(runs, key=str), events, links


def newest(app: Flask, verb: str) -> tuple[str | None, str | None]:
    """Who did the newest thing of this kind, and who sat at the console."""
    with app.app_context():
        row = db.session.scalars(db.select(Event).filter_by(verb=verb).order_by(Event.seq.desc())).first()
        assert row is not None, verb
        return row.actor_id, row.facts.get("console")


def call(app: Flask, act: Act, here: Rows, *more: str) -> Result:
    return app.test_cli_runner().invoke(args=["sync", *act.line(here), *more], input=act.stdin)


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("what", ACTS)
def test_on_the_pages_a_role_does_what_it_may_and_nothing_else(
    rows: Rowed, app: Flask, browser_of: Of, what: str, name: str
) -> None:
    act = ACTS[what]
    here = rows(app, act.scene)
    browser = browser_of(name)
    before = written(app)
    path, form = act.page(here)
    answer = browser.post(path, form)
    if ORDER.index(HELD[name]) >= ORDER.index(act.right):
        assert answer.status_code == 303, answer.text
        with app.app_context():
            me = getattr(Cast(), name).id
        assert newest(app, act.verb) == (me, None)
        return
    assert answer.status_code == (404 if HELD[name] is None else 403)
    assert written(app) == before
    assert ADMIN not in answer.text
    assert NEW not in answer.text


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("what", ACTS)
def test_at_the_command_line_a_person_named_by_as_may_what_they_may_on_the_pages(
    rows: Rowed, app: Flask, what: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "gretel")
    act = ACTS[what]
    here = rows(app, act.scene)
    before = written(app)
    result = call(app, act, here, "--as", email_of(name))
    if ORDER.index(HELD[name]) >= ORDER.index(act.right):
        assert result.exit_code == 0, result.output
        with app.app_context():
            me = getattr(Cast(), name).id
        assert newest(app, act.verb) == (me, "gretel"), "the audit names both"
        return
    assert result.exit_code == (3 if HELD[name] is None else 1), result.output
    if HELD[name] is None:
        assert "There is no " in result.stderr, "as for one that is not there"
    else:
        assert "Ask one of" in result.stderr
    assert written(app) == before
    assert ADMIN not in result.output + result.stderr


@pytest.mark.parametrize("what", ACTS)
def test_the_console_itself_may_everything_and_is_named(
    rows: Rowed, app: Flask, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "gretel")
    act = ACTS[what]
    result = call(app, act, rows(app, act.scene))
    assert result.exit_code == 0, result.output
    assert newest(app, act.verb) == (None, "gretel")


def test_nobody_acts_as_somebody_who_may_not_sign_in(rows: Rowed, app: Flask) -> None:
    from pwserver.services import users

    here = rows(app, "out_of_sync")
    with app.app_context():
        users.set_active(Cast().ada, Cast().eddie, False)
    before = written(app)
    for who, status in (("eddie@northfield.example", 1), ("nobody@northfield.example", 3)):
        assert call(app, ACTS["retest"], here, "--as", who).exit_code == status
    assert written(app) == before


def test_every_command_that_changes_a_chain_is_in_this_table() -> None:
    """A new one without a row here could be used by anybody."""
    from pwserver.cli import approve, chain  # noqa: F401  # their commands are ``flask sync``'s
    from pwserver.cli.sync import group

    tried = {act.line(Rows("", "", "", [""] * 9, ""))[0] for act in ACTS.values()}
    assert set(group.commands) - tried == {"status", "run", "check", "health", "test-due"}
    for name in tried:
        assert any(each.name == "acting" for each in group.commands[name].params), name
