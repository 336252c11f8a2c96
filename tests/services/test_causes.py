"""One cause of many passwords is one task: what it says, to whom, and with which next step (rules 41, 42)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pwserver.connectors.base import Evidence
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import AgentScope, Entry, Incident, SyncAgent, SyncLink, Vault
from pwserver.services import agents, entries, sync, vaults, views
from pwserver.services.agent_test import test_agent as check_agent
from pwserver.services.entries import Settings
from pwserver.services.transaction import now, write
from pwserver.services.views import Task
from tests.conftest import Cast
from tests.web import scenes

pytestmark = [pytest.mark.usefixtures("ctx"), pytest.mark.breaks_invariants]  # scenes write what no run found


def password(name: str, agent: SyncAgent, vault: Vault | None = None) -> Entry:
    """A local account of another machine of this agent, in sync."""
    cast = Cast()
    vault = vault or cast.vault
    with write() as session:
        if session.get(AgentScope, (agent.id, vault.id)) is None:
            session.add(AgentScope(agent_id=agent.id, vault_id=vault.id))
    number = len(db.session.scalars(db.select(SyncLink.id)).all()) + 10
    owner = next(user for user, right in vaults.members(vault) if right == "owner")
    settings = Settings(name, "standalone_windows", "Administrator", f"LAB-{number}")
    entry = entries.create_entry(owner, vault, settings, Secret(f"first of {name}"))
    sync.enable(owner, entry, agent.id)
    for link in scenes.links(entry):
        scenes.proved(link)
    scenes.end_runs(entry)
    return entry


def stops(entry: Entry, state: str, reason: str, **columns: object) -> None:
    scenes.change(scenes.links(entry)[0], state=state, reason=reason, state_since=now(), **columns)


def login_refused(*passwords: Entry) -> None:
    for entry in passwords:
        stops(entry, "blocked", "login_refused")


def linked_refused(*passwords: Entry) -> None:
    for entry in passwords:
        stops(entry, "blocked", "linked_refused")


def silent(*passwords: Entry, reason: str = "no_answer") -> None:
    """Off during a change, so that it is outstanding."""
    for entry in passwords:
        stops(entry, "unreachable", reason, holds_version_id=None, starts_from_version_id=None)


def tasks_of(name: str, kind: str = "Sync Issue") -> list[Task]:
    """And the count in the menu is theirs."""
    user = getattr(Cast(), name)
    view = views.read_dashboard(user)
    assert view.issues == views.count_issues(user).total
    return [task for task in view.tasks if task.kind == kind]


def named(task: Task) -> list[str]:
    return [name for _id, name in task.waiting.first]


@pytest.fixture
def agent(ctx: object) -> SyncAgent:
    return scenes.agent()


@pytest.fixture
def others(ctx: object) -> Vault:
    """A vault that Nora owns, and of which Olivia knows nothing."""
    return vaults.create_vault(Cast().nora, "Branch")


# -- an agent's login


def test_forty_passwords_behind_one_refused_login_are_one_task_that_names_the_agent(agent: SyncAgent) -> None:
    login_refused(*(password(f"desk {number:02}", agent) for number in range(12)))
    [task] = tasks_of("olivia")
    assert task.title == "LAB-01 refused our login: 12 passwords wait for it"
    assert named(task) == ["desk 00", "desk 01", "desk 02", "desk 03", "desk 04"]
    assert (task.waiting.more, task.elsewhere, task.only) == (7, 0, "out_of_sync")
    assert (task.step, task.agent) == ("repair_agent", agent)
    assert task.who == "An administrator repairs it: Ada Adler"
    assert task.since == db.session.scalars(db.select(Incident.opened_at).filter_by(agent_id=agent.id)).one()
    counts = views.count_issues(Cast().olivia)
    assert (counts.total, counts.loud, counts.by_vault) == (1, 1, {Cast().vault.id: (1, 1)})


def test_a_password_with_trouble_of_its_own_has_its_own_task_beside_it(agent: SyncAgent) -> None:
    first, second, third = (password(name, agent) for name in ("one", "two", "three"))
    login_refused(first, second)
    scenes.refused(scenes.links(third)[0])
    assert sorted(task.title for task in tasks_of("olivia")) == [
        "LAB-01 refused our login: 2 passwords wait for it",
        "three is out of sync",
    ]
    assert views.count_issues(Cast().olivia).total == 2


def test_one_password_alone_is_told_as_itself(agent: SyncAgent) -> None:
    login_refused(password("one", agent))
    [task] = tasks_of("olivia")
    assert (task.title, task.step) == ("one is out of sync", "agent")


def test_what_is_right_again_waits_no_more_and_the_last_one_ends_the_task(agent: SyncAgent) -> None:
    first, second, third = (password(name, agent) for name in ("one", "two", "three"))
    login_refused(first, second, third)
    scenes.proved(scenes.links(first)[0])
    [task] = tasks_of("olivia")
    assert task.title.endswith(": 2 passwords wait for it")
    assert named(task) == ["three", "two"]
    for entry in (second, third):
        scenes.proved(scenes.links(entry)[0])
    assert tasks_of("olivia") == []


def test_an_administrator_who_owns_nothing_is_told_of_the_agent_and_of_no_name(agent: SyncAgent) -> None:
    login_refused(password("one", agent), password("two", agent))
    [task] = tasks_of("ada")
    assert task.title == "LAB-01 refused our login: 2 passwords wait for it"
    assert (task.step, task.waiting.number, task.elsewhere) == ("repair_agent", 0, 2)
    assert views.count_issues(Cast().ada).by_vault == {}
    for name in ("eddie", "vera", "nora"):
        assert tasks_of(name) == [], name


def test_an_owner_sees_the_names_of_the_own_vault_and_the_number_of_the_others(agent: SyncAgent, others: Vault) -> None:
    login_refused(password("mine", agent), password("hers", agent, others), password("hers too", agent, others))
    [task] = tasks_of("olivia")
    assert task.title == "LAB-01 refused our login: 3 passwords wait for it"
    assert (named(task), task.elsewhere) == (["mine"], 2)
    [task] = tasks_of("nora")
    assert (named(task), task.elsewhere) == (["hers", "hers too"], 1)


# -- a linked credential


def test_a_refused_credential_is_edited_by_who_may_and_others_are_told_who_can(agent: SyncAgent, others: Vault) -> None:
    linked_refused(password("mine", agent), password("hers", agent, others))
    credential = agent.linked_entry
    assert credential is not None
    [task] = tasks_of("olivia")
    assert task.title == "The linked credential LAB-01 CORP\\svc-pwagent was refused: 2 passwords wait for it"
    assert (task.step, task.credential) == ("edit_credential", credential)
    [task] = tasks_of("nora")
    assert task.title == "A linked credential was refused: 2 passwords wait for it"
    assert (task.step, task.credential) == ("ask", None)
    assert task.who == "An owner of its vault repairs it: Olivia Ortiz"
    assert tasks_of("ada") == [], "an administrator has no part in it by that right alone"
    vaults.add_member(Cast().olivia, Cast().vault, Cast().nora.email, "read")
    [task] = tasks_of("nora")
    assert (task.step, task.credential) == ("ask", credential), "she may look at it, not change it"


@pytest.mark.parametrize(
    ("reasons", "words", "next_step"),
    [
        (("linked_state", "linked_state"), "may not log on", "Put that account right"),
        (("linked_denied", "linked_denied"), "was denied access", "its rights on the machines"),
        (("linked_refused", "linked_denied"), "was not let in", "Test what waits"),
    ],
)
def test_a_credential_is_said_to_be_refused_only_where_a_machine_said_so(
    agent: SyncAgent, reasons: tuple[str, str], words: str, next_step: str
) -> None:
    for name, reason in zip(("one", "two"), reasons, strict=True):
        stops(password(name, agent), "blocked", reason)
    [task] = tasks_of("olivia")
    assert task.title == f"The linked credential LAB-01 CORP\\svc-pwagent {words}: 2 passwords wait for it"
    assert next_step in task.text
    assert "{" not in task.text
    assert "refused" not in task.title + task.text


# -- an agent that is silent


def test_a_silent_agent_is_one_task_with_nothing_to_do_and_calls_nobody(agent: SyncAgent) -> None:
    silent(password("one", agent), password("two", agent))
    [task] = tasks_of("olivia")
    assert task.title == "LAB-01 does not answer: 2 passwords wait for it"
    assert (task.step, task.look.icon) == ("", "cloud-slash-fill")
    assert "Nothing to do yet" in task.text
    assert views.count_issues(Cast().olivia).loud == 0
    assert tasks_of("ada") == []


def test_an_agent_silent_for_three_days_has_a_next_step(agent: SyncAgent) -> None:
    silent(password("one", agent), password("two", agent))
    with write() as session:
        for link in session.scalars(db.select(SyncLink)):
            link.reason = "given_up"
    [task] = tasks_of("olivia")
    assert task.step == "repair_agent"
    assert "Three days without an answer" in task.text


def test_what_needs_a_person_comes_before_what_is_only_silent(agent: SyncAgent) -> None:
    other = scenes.agent("LAB-02")
    refused = password("refused", agent)
    scenes.refused(scenes.links(refused)[0])
    login_refused(*(password(name, other) for name in ("a", "b")))
    silent(*(password(name, agent) for name in ("c", "d")))
    with write() as session:
        login = session.scalars(db.select(Incident).filter_by(agent_id=other.id)).one()
        login.opened_at = now() + timedelta(minutes=1)
    assert [task.title.split(":")[0] for task in tasks_of("olivia")] == [
        "LAB-02 refused our login", "refused is out of sync", "LAB-01 does not answer",
    ]  # fmt: skip


# -- an agent that does not serve


def act(agent: SyncAgent, what: str, **more: object) -> None:
    """An administrator's deed; the row is read anew."""
    row = db.session.get_one(SyncAgent, agent.id, populate_existing=True)
    getattr(agents, what)(Cast().ada, row, row_version=row.row_version, **more)


def certificate(agent: SyncAgent, pin: str = "0" * 64) -> None:
    row = db.session.get_one(SyncAgent, agent.id, populate_existing=True)
    vaults.add_member(Cast().olivia, Cast().vault, Cast().ada.email, "read")  # its credentials are handed on
    agents.change_address(Cast().ada, row, "10.7.0.99", 5986, row.machine, pin, row_version=row.row_version)


def is_tested(agent: SyncAgent) -> None:
    check = Evidence(agent.machine, machine_sid="S-1-5-21-1")
    check_agent(Cast().ada, db.session.get_one(SyncAgent, agent.id), lambda contact, login: check)


def resting(name: str) -> list[Task]:
    return tasks_of(name, "Agent Disabled")


def test_a_disabled_agent_is_one_task_however_many_passwords_wait(agent: SyncAgent) -> None:
    for number in range(7):
        password(f"desk {number}", agent)
    act(agent, "disable")
    [task] = resting("olivia")
    assert task.title == "LAB-01 is disabled: 7 passwords wait for it"
    assert (task.step, task.who) == ("open_agent", "An administrator does that: Ada Adler")
    assert (named(task)[0], task.waiting.more, task.elsewhere, task.only) == ("desk 0", 2, 0, "agent_disabled")
    [task] = resting("ada")
    assert (task.step, task.waiting.number, task.elsewhere) == ("open_agent", 0, 7)
    assert views.count_issues(Cast().olivia).total == 0, "Agent Disabled is not Out of Sync"
    act(agent, "enable")
    assert resting("olivia") == resting("ada") == []


def test_a_refused_password_of_a_disabled_agent_has_its_own_task_beside_the_agents(agent: SyncAgent) -> None:
    first, _second = password("one", agent), password("two", agent)
    scenes.refused(scenes.links(first)[0])
    act(agent, "disable")
    assert [task.title for task in resting("olivia")] == ["LAB-01 is disabled: 2 passwords wait for it"]
    assert [task.title for task in tasks_of("olivia")] == ["one is out of sync"]


def test_a_new_certificate_is_the_administrators_first_and_then_an_owners_task(agent: SyncAgent, others: Vault) -> None:
    mine = password("mine", agent)
    password("hers", agent, others)
    certificate(agent)
    for name in ("olivia", "nora", "ada"):
        [task] = resting(name)
        assert task.title == "LAB-01 has to be approved again: 2 passwords wait for it"
        assert task.step == "open_agent"
    assert tasks_of("ada", "Pending agent") == [], "it asks for approval once"
    act(agent, "approve")
    [task] = resting("olivia")
    assert task.title == "LAB-01 has a new certificate: 2 passwords wait until an owner confirms it"
    assert (task.step, named(task), task.elsewhere) == ("confirm", ["mine"], 1)
    assert [task.title for task in resting("ada")] == ["LAB-01 has to be tested again: 2 passwords wait for it"]
    is_tested(agent)
    assert resting("ada") == [], "an owner's part is not an administrator's"
    sync.confirm_certificate(Cast().olivia, mine, "0" * 64)
    assert resting("olivia") == []
    [task] = resting("nora")
    assert task.title == "LAB-01 has a new certificate: 1 password waits until an owner confirms it"


def test_an_owner_with_a_confirmed_password_is_told_that_the_agent_has_to_be_tested(agent: SyncAgent) -> None:
    first, _second = password("one", agent), password("two", agent)
    certificate(agent)
    act(agent, "approve")
    sync.confirm_certificate(Cast().olivia, first, "0" * 64)
    assert [task.step for task in resting("olivia")] == ["confirm", "open_agent"]


def test_a_refused_login_beside_an_unconfirmed_certificate_is_a_cause_of_its_own(agent: SyncAgent) -> None:
    first, second, _third = (password(name, agent) for name in ("one", "two", "three"))
    certificate(agent)
    act(agent, "approve")
    is_tested(agent)
    for entry in (first, second):
        sync.confirm_certificate(Cast().olivia, entry, "0" * 64)
        scenes.end_runs(entry)
    login_refused(first, second)
    assert [task.title for task in tasks_of("olivia")] == ["LAB-01 refused our login: 2 passwords wait for it"]
    [task] = resting("olivia")
    assert (task.step, named(task)) == ("confirm", ["three"])
    of_agent = db.session.scalars(db.select(Incident).filter_by(agent_id=agent.id, closed_at=None))
    by_kind = {each.kind: each.id for each in of_agent}
    assert by_kind.keys() == {"needs_confirm", "needs_override"}
    joined = db.select(Incident.cause_id).where(Incident.chain_id.is_not(None), Incident.closed_at.is_(None))
    assert set(db.session.scalars(joined)) == {by_kind["needs_override"]}
