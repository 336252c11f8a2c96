"""What two processes are set at, each with the sentence that must stay true. The statements are the product's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Account, AccountTry, Entry, EntryVersion, LinkAttempt, SyncAgent, SyncChain, SyncRun
from pwserver.services import sync
from pwserver.services.sync import accounts
from pwserver.services.sync.claim import claim
from pwserver.services.sync.journal import SqlJournal
from pwserver.services.sync.reach import Bound, Reacher
from pwserver.services.sync.status import timing
from pwserver.services.transaction import write
from pwserver.sync.chain import Step
from tests.competing.harness import Act, Duel
from tests.sync.build import Scene

SHARED = "one account"
"""The account key that two runs want at once. One: at the second of two keys the loser would look anew."""


# -- the scene


def run_of(scene: Scene, name: str, *, kind: str = "") -> SyncRun:
    query = (
        select(SyncRun)
        .join(SyncChain, SyncChain.id == SyncRun.chain_id)
        .where(SyncChain.entry_id == scene.entries[name], SyncRun.state != "done")
        .order_by(SyncRun.number)
    )
    return db.session.scalars(query.where(SyncRun.kind == kind) if kind else query).all()[-1]


def claimed(scene: Scene, name: str) -> None:
    """Somebody works on this password's run."""
    assert claim(run_of(scene, name).id, "first", timing()) is not None


def _journal(scene: Scene, name: str) -> SqlJournal:
    run = run_of(scene, name)
    return SqlJournal(run.id, run.fence, Reacher(run.id, scene.connect(), timing()), timing())


def _intent(scene: Scene, name: str, step: Step, *, number: int = 0) -> Act:
    """The intent of a link, with everything before it done."""
    journal = _journal(scene, name)
    plan = journal.plan()
    link = plan.links[number]
    target = journal.reach(link)
    assert isinstance(target, Bound), target
    version, old = (plan.version, plan.current) if step == Step.CHANGE else (plan.current, None)
    return lambda: type(journal.intent(link, step, target, version, old)).__name__


def counted(query: Any) -> int:
    return int(db.session.scalar(query) or 0)


# -- claim


def _claims(worker: str) -> Any:
    def side(scene: Scene) -> Act:
        run_id = run_of(scene, "lab").id
        return lambda: claim(run_id, worker, timing())

    return side


def _one_worker_has_it(scene: Scene, words: tuple[str, str]) -> str:
    fence, worker = db.session.execute(select(SyncRun.fence, SyncRun.worker).where(SyncRun.state == "running")).one()
    winners = [name for name, word in zip(("one", "two"), words, strict=True) if word != "None"]
    return "" if (winners, fence) == ([worker], 1) else f"{words}: fence {fence} of {worker}"


CLAIM = Duel("claim", (_claims("one"), _claims("two")), _one_worker_has_it)


# -- fence


def _takes_over(scene: Scene) -> Act:
    run_id = run_of(scene, "lab").id
    return lambda: claim(run_id, "second", timing())


def _nobody_works_beside_a_take_over(scene: Scene, words: tuple[str, str]) -> str:
    fence = run_of(scene, "lab").fence
    late = select(func.count()).where(LinkAttempt.outcome.is_(None), LinkAttempt.fence < fence)
    fine = words in (("Attempt", "None"), ("FenceLost", "2"))
    return "" if fine and not counted(late) else f"{words}: {counted(late)} open below fence {fence}"


FENCE = Duel(
    "fence", (lambda scene: _intent(scene, "lab", Step.TEST), _takes_over), _nobody_works_beside_a_take_over
)


# -- budget


def _at_most_one_try(scene: Scene, words: tuple[str, str]) -> str:
    tries = select(AccountTry.key, func.count()).group_by(AccountTry.key)
    doubled = {key: number for key, number in db.session.execute(tries) if number > 1}
    return "" if not doubled and sorted(words) == ["Attempt", "Denied"] else f"{words}: {doubled}"


BUDGET = Duel(
    "budget",
    (lambda scene: _intent(scene, "desk", Step.TEST), lambda scene: _intent(scene, "adm", Step.TEST)),
    _at_most_one_try,
)


# -- promotion


def _promotes(scene: Scene) -> Act:
    journal = _journal(scene, "lab")
    version = journal.plan().version
    assert version is not None
    return lambda: journal.promote(version)


def _promoted_once(scene: Scene, words: tuple[str, str]) -> str:
    stages = dict(
        db.session.execute(
            select(EntryVersion.number, EntryVersion.stage).where(EntryVersion.entry_id == scene.entries["lab"])
        ).all()
    )
    saved = counted(select(Entry.row_version).where(Entry.id == scene.entries["lab"]))
    return "" if (stages, saved) == ({1: "previous", 2: "current"}, 2) else f"{words}: {stages}, saved {saved} times"


PROMOTION = Duel("promotion", (_promotes, _promotes), _promoted_once)


# -- the account, the agent, the credential


def _takes_accounts(name: str) -> Any:
    def side(scene: Scene) -> Act:
        run_id = run_of(scene, name).id

        def act() -> bool:
            with write() as session:
                session.execute(update(SyncRun).where(SyncRun.id == run_id).values(state="running"))
                taken = accounts.lock_for_run(session, run_id, [SHARED])
                if not taken:
                    session.rollback()
            return taken

        return act

    return side


def _one_writer(scene: Scene, words: tuple[str, str]) -> str:
    return "" if sorted(words) == ["False", "True"] else f"{words}"


ACCOUNT = Duel("account", (_takes_accounts("desk"), _takes_accounts("adm")), _one_writer)


def _claims_run_of(name: str) -> Any:
    def side(scene: Scene) -> Act:
        run_id = run_of(scene, name).id
        return lambda: claim(run_id, "worker", timing()) is not None

    return side


def _agent_to_itself(scene: Scene, words: tuple[str, str]) -> str:
    return "" if sorted(words) == ["False", "True"] else f"{words}"


AGENT = Duel("agent", (_claims_run_of("login"), _claims_run_of("desk")), _agent_to_itself)


def _not_both(scene: Scene, words: tuple[str, str]) -> str:
    return "" if sorted(words) == ["Attempt", "Denied"] else f"{words}"


CREDENTIAL = Duel(
    "credential",
    (lambda scene: _intent(scene, "adm", Step.CHANGE), lambda scene: _intent(scene, "lab", Step.TEST, number=1)),
    _not_both,
)


# -- people


def _saves(value: str) -> Any:
    def side(scene: Scene) -> Act:
        person, entry = scene.person(), scene.entry("lab")
        return lambda: sync.request_change(person, entry, Secret(value)) and "saved"

    return side


def _one_is_told(scene: Scene, words: tuple[str, str]) -> str:
    pending = select(func.count()).where(EntryVersion.stage == "pending")
    fine = sorted(words) in (["Conflict", "saved"], ["saved", "saved"])  # a queued one that was never sent gives way
    wrong = [str(each) for each in sync.check(recheck_lag=timedelta.max)]
    return "" if fine and counted(pending) == 1 and not wrong else f"{words} {wrong}"


DOUBLE_CLICK = Duel("double click", (_saves("one new value"), _saves("another new value")), _one_is_told)


def _turns_off(scene: Scene) -> Act:
    person, entry = scene.person(), scene.entry("lab")
    return lambda: sync.disable(person, entry)


def _status_is_what_the_facts_give(scene: Scene, words: tuple[str, str]) -> str:
    wrong = [str(each) for each in sync.check(recheck_lag=timedelta.max)]
    return f"{words} {wrong}" if wrong else ""


def _asks_for_a_test(name: str) -> Any:
    def side(scene: Scene) -> Act:
        person, entry = scene.person(), scene.entry(name)
        return lambda: sync.request_test(person, entry).number

    return side


STATUS = Duel("status", (_turns_off, _claims_run_of("lab")), _status_is_what_the_facts_give)


def _two_numbers(scene: Scene, words: tuple[str, str]) -> str:
    return "" if len(set(words)) == 2 and all(word.isdigit() for word in words) else f"{words}"


NUMBER = Duel("number", (_asks_for_a_test("desk"), _asks_for_a_test("adm")), _two_numbers)


# -- what the rows are before


def accounts_are_known(*keys: str) -> None:
    """A new row would be waited for by itself; the one that is there has to be locked."""
    with write() as session:
        for key in keys:
            accounts.insert_new(session, Account, key=key)


def queue_changes(scene: Scene, *names: str) -> None:
    """A change is queued for each, and the tests that waited are over."""
    with write() as session:
        session.execute(update(SyncRun).where(SyncRun.kind == "test").values(state="done", result="done"))
    for name in names:
        assert sync.request_change(scene.person(), scene.entry(name), Secret(f"new for {name}")) is not None


def begin_claim(scene: Scene) -> None:
    queue_changes(scene, "lab")


def begin_fence(scene: Scene) -> None:
    """The worker's lease is over, and it does not know."""
    claimed(scene, "lab")
    scene.world.advance(timing().lease + timing().lease_grace + 1)


def begin_two_tests(scene: Scene) -> None:
    """Their agent's login was never accepted: each wants to spend a try of it."""
    claimed(scene, "desk")
    claimed(scene, "adm")
    accounts_are_known("lab-01\\svc-psrv", "m\\adm")


def begin_promotion(scene: Scene) -> None:
    queue_changes(scene, "lab")
    claimed(scene, "lab")


def begin_accounts(scene: Scene) -> None:
    queue_changes(scene, "desk", "adm")
    accounts_are_known(SHARED)


def begin_agent(scene: Scene) -> None:
    agent = db.session.scalars(select(SyncAgent).where(SyncAgent.transport == "winrm")).one()
    with write() as session:
        session.get_one(Entry, scene.entries["login"]).user_name = "svc-psrv"
    sync.enable(scene.person(), scene.entry("login"), agent.id)
    queue_changes(scene, "login", "desk")


def begin_credential(scene: Scene) -> None:
    """*adm* is about to be changed; *lab* is reached with it on LAB-02. All logins were accepted before."""
    queue_changes(scene, "adm")
    sync.request_test(scene.person(), scene.entry("lab"))
    claimed(scene, "adm")
    claimed(scene, "lab")


def begin_people(scene: Scene) -> None:
    queue_changes(scene)



BEGIN = {
    CLAIM: begin_claim,
    FENCE: begin_fence,
    BUDGET: begin_two_tests,
    PROMOTION: begin_promotion,
    ACCOUNT: begin_accounts,
    AGENT: begin_agent,
    CREDENTIAL: begin_credential,
    DOUBLE_CLICK: begin_people,
    STATUS: begin_claim,
    NUMBER: begin_people,
}
UNPROVED = (FENCE, BUDGET)
"""Those that begin before anything was tested; the others begin with every account proved."""
FOUR = (CLAIM, FENCE, BUDGET, PROMOTION)
"""The statements that everything hangs on."""
