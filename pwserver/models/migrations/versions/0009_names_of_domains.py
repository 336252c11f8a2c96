"""An agent's domain is known by both its names, and when two names of an account proved to be one is kept.

No name is filled in here: the tries of accounts are united in the transaction that learns a domain's names, which is
the next test of the agent.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    short = sa.Column("short_domain", sa.String(length=64), server_default=sa.text("''"), nullable=False)
    op.add_column("sync_agent", short)
    op.add_column("account_name", sa.Column("united_at", sa.DateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("account_name", "united_at")
    op.drop_column("sync_agent", "short_domain")
