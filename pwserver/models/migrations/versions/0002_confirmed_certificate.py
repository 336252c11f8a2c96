"""A chain goes by the certificate that one of its owners confirmed (rule 34)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pin = sa.Column("agent_pin", sa.String(length=64), server_default=sa.text("''"), nullable=False)
    op.add_column("sync_chain", pin)
    op.execute(
        "UPDATE sync_chain SET agent_pin = (SELECT pin FROM sync_agent WHERE sync_agent.id = sync_chain.agent_id)"
    )


def downgrade() -> None:
    op.drop_column("sync_chain", "agent_pin")
