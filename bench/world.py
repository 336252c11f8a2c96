"""The world of a measurement: a lab of any size, and a vault with chains over it, made through the services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Flask
from flask_migrate import upgrade

from pwserver import create_app
from pwserver.config import Config
from pwserver.core.secrets import Secret
from pwserver.core.timing import NORMAL, Timing
from pwserver.extensions import db
from pwserver.lab import defaults, truth
from pwserver.lab.model.network import NetworkState
from pwserver.models import AppUser, Entry, SyncAgent
from pwserver.services import agent_test, agents, entries, firstrun, keys, sync, users, vaults

SEED = truth.DEFAULT_SEED
EMAIL = "olivia@northfield.example"
PASSWORD = "Olivia: correct horse battery"
ADMINISTRATOR = "Administrator"
LINKED_LOGIN = "lab-adm"


@dataclass(frozen=True, slots=True)
class Plan:
    """``passwords`` chains of ``links`` machines each, dealt out to the agents in turn.
    The first machine of a chain is its Default Sync, the others are Remote links behind it."""

    passwords: int
    links: int
    agents: tuple[str, ...] = (defaults.AGENT,)

    def machines(self, number: int) -> list[str]:
        """The machines of one chain, Default Sync's first."""
        return [f"PC-{number * self.links + at + 1:05}" for at in range(self.links)]

    def name(self, number: int) -> str:
        return f"Chain {number:04}"

    def agent(self, number: int) -> str:
        return self.agents[number % len(self.agents)]

    def network(self, now: float) -> NetworkState:
        """Every chain's machines, whose Administrators share one password."""
        more = {name: self.name(number) for number in range(self.passwords) for name in self.machines(number)}
        return defaults.network(SEED, now, more)

    def first(self, number: int) -> Secret:
        return Secret(defaults.password(SEED, self.name(number)))


def make_app(config: Config, clock: Callable[[], datetime] | None = None) -> Flask:
    """An application on a database that is brought up to date first; with ``clock``, that is its time."""
    app = create_app(config, pages=False)
    app.config.update(ARGON2={"time_cost": 1, "memory_cost": 8, "parallelism": 1}, CLOCK=clock)
    with app.app_context():
        upgrade() if config.database != "sqlite://" else db.create_all()
        keys.prove()
    return app


def furnish(plan: Plan, addresses: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Olivia, her vault, the agents and the chains, each with its first test queued. The ids of the passwords.

    Call it in an application context, with the lab's agents on the wire: each is tested once.
    """
    olivia = firstrun.make_at_console(EMAIL, "Olivia Ortiz", Secret(PASSWORD))
    vault = vaults.create_vault(olivia, "Computer Lab")
    reach = [name for number in range(plan.passwords) for name in plan.machines(number)]
    made = {name: _agent(olivia, vault.id, name, addresses[name], reach).id for name in dict.fromkeys(plan.agents)}
    return [_chain(olivia, vault, plan, number, made[plan.agent(number)]) for number in range(plan.passwords)]


def olivia() -> AppUser:
    found = users.find(EMAIL)
    assert found is not None
    return found


def _agent(actor: AppUser, vault_id: str, name: str, address: Mapping[str, Any], reach: list[str]) -> SyncAgent:
    agent = agents.register_agent(
        actor, name, str(address["host"]), int(address["port"]), name, str(address["fingerprint"])
    )
    login = _credential(actor, entries.Settings(f"{name} login", "standalone_windows", defaults.LOGIN, name))
    agents.set_login(actor, agent, login, row_version=agent.row_version)
    linked = _credential(
        actor, entries.Settings(f"CORP lab-adm of {name}", "generic", LINKED_LOGIN, domain=defaults.DOMAIN)
    )
    agents.set_linked(actor, agent, linked, row_version=agent.row_version)
    agents.set_reach(actor, agent, name, [name, *reach], [vault_id], row_version=agent.row_version)
    agents.approve(actor, agent, row_version=agent.row_version)
    outcome = agent_test.test_agent(actor, agent)
    assert outcome.answer == "applied", outcome
    return agent


def _credential(actor: AppUser, settings: entries.Settings) -> str:
    value = Secret(defaults.password(SEED, settings.user_name))
    return entries.create_entry(actor, vaults.system_vault(), settings, value).id


def _chain(actor: AppUser, vault: Any, plan: Plan, number: int, agent_id: str) -> str:
    primary, *others = plan.machines(number)
    settings = entries.Settings(plan.name(number), "standalone_windows", ADMINISTRATOR, primary)
    entry = entries.create_entry(actor, vault, settings, plan.first(number))
    chain = sync.enable(actor, entry, agent_id)
    for machine in others:
        where = {"machine": machine, "user_name": ADMINISTRATOR}
        sync.add_link(actor, entry, "remote_windows", where, revision=chain.revision)
    return entry.id


def entry_named(plan: Plan, number: int) -> Entry:
    return db.session.scalars(db.select(Entry).filter_by(name=plan.name(number))).one()


def config_of(folder: Any, timing: Timing = NORMAL, **more: Any) -> Config:
    return Config(instance=folder, timing=timing, **more)
