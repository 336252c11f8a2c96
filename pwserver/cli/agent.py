"""``flask agent``: the sync agents and what they answer."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from pwserver.cli.find import find_agent
from pwserver.cli.output import Exit, Out, command, iso
from pwserver.core.states import HEALTH, Health
from pwserver.models import SyncAgent
from pwserver.services import agent_test, agents

group = AppGroup("agent", short_help="Lists and tests sync agents.", help=__doc__)


@command(group, "list")
def list_agents(out: Out) -> Exit:
    """All sync agents. 0 only when each is approved and healthy."""
    found, chains = agents.everyone(), agents.chain_counts()
    out.table(
        ("Agent", "State", "Health", "Address", "Machines", "Passwords", "Last contact (UTC)"),
        [
            (
                each.name, each.state, HEALTH[Health(each.health)].label, _address(each), len(each.allowed_machines),
                chains.get(each.id, 0), iso(each.last_contact_at) or "never",
            )
            for each in found
        ],
    )  # fmt: skip
    out.give({"agents": [agent_facts(each, chains.get(each.id, 0)) for each in found]})
    return Exit.OK if all(_is_well(each) for each in found) else Exit.NOT_WELL


def _is_well(agent: SyncAgent) -> bool:
    return agent.state == "approved" and agent.health == Health.HEALTHY


def _address(agent: SyncAgent) -> str:
    return f"{agent.host}:{agent.port}" if agent.host else "this server"


def agent_facts(agent: SyncAgent, passwords: int) -> dict[str, Any]:
    """The stable keys of an agent."""
    return {
        "name": agent.name,
        "transport": agent.transport,
        "machine": agent.machine,
        "host": agent.host,
        "port": agent.port,
        "fingerprint": agent.pin,
        "state": agent.state,
        "health": agent.health,
        "health_text": agent.health_text,
        "machines": list(agent.allowed_machines),
        "passwords": passwords,
        "last_contact_at": iso(agent.last_contact_at),
    }


@command(group, "test")
@click.argument("name")
def test(out: Out, name: str) -> Exit:
    """Logs on once with the login of the agent NAME, within the budget of that account. 0 only when it is healthy."""
    agent = find_agent(name)
    outcome = agent_test.test_agent(None, agent)
    agent = find_agent(name)
    text = agent.health_text or f"{agent.machine} answered: our login works there."
    out.say(f"{agent.name}: {HEALTH[Health(agent.health)].label}. {text}")
    facts = agent_facts(agent, agents.chain_counts().get(agent.id, 0))
    out.give(facts | {"answer": str(outcome.answer), "reason": outcome.reason, "code": outcome.code})
    return Exit.OK if agent.health == Health.HEALTHY else Exit.NOT_WELL
