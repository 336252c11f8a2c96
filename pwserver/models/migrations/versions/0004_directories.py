"""A sync agent may be a directory: its controllers, its domain, its certificate, and the accounts it may touch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("controllers", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("domain", sa.String(length=255), server_default=sa.text("''"), nullable=False),
        sa.Column("ca_pem", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("allowed_accounts", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
    ):
        op.add_column("sync_agent", column)


def downgrade() -> None:
    for name in ("allowed_accounts", "ca_pem", "domain", "controllers"):
        op.drop_column("sync_agent", name)
