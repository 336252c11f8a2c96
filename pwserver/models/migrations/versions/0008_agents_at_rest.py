"""An agent that does not serve has an incident of its own beside that of a refused login (rules 34 and 41)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OPEN = "closed_at IS NULL"
RESTS = "kind IN ('agent_disabled', 'needs_confirm')"


def upgrade() -> None:
    op.drop_index("uq_incident_open_agent", table_name="incident")
    _unique("uq_incident_open_agent", f"{OPEN} AND NOT {RESTS}")
    _unique("uq_incident_open_rest", f"{OPEN} AND {RESTS}")
    _open()


def _unique(name: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "incident", ["agent_id"], unique=True, sqlite_where=where, postgresql_where=where)


def _open() -> None:
    """For the agents that do not serve now; whoever is concerned is told of them once."""
    connection, at = op.get_bind(), datetime.now(UTC).replace(tzinfo=None)
    resting = sa.text(
        "SELECT a.id, max(CASE WHEN a.state = 'approved' AND a.pin <> c.agent_pin THEN 1 ELSE 0 END) "
        "FROM sync_agent a JOIN sync_chain c ON c.agent_id = a.id "
        "WHERE c.enabled AND (a.state <> 'approved' OR a.pin <> c.agent_pin "
        "OR (a.transport <> 'ssh' AND a.health = 'untested')) GROUP BY a.id"
    )
    made = sa.text(
        "INSERT INTO incident (id, agent_id, kind, opened_at, mail_due_at, told, closed_why) "
        "VALUES (:id, :agent, :kind, :at, :at, :told, '')"
    ).bindparams(sa.bindparam("at", type_=sa.DateTime()), sa.bindparam("told", type_=sa.Boolean()))
    for agent, confirm in connection.execute(resting).all():
        kind = "needs_confirm" if confirm else "agent_disabled"
        values = {"id": str(uuid.uuid4()), "agent": agent, "kind": kind, "at": at, "told": False}
        connection.execute(made, values)


def downgrade() -> None:
    op.execute("DELETE FROM incident WHERE kind IN ('agent_disabled', 'needs_confirm')")
    op.drop_index("uq_incident_open_rest", table_name="incident")
    op.drop_index("uq_incident_open_agent", table_name="incident")
    _unique("uq_incident_open_agent", OPEN)
