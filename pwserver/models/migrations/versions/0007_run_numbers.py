"""Where two runs may be queued at the same moment, their numbers come from a sequence."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE sync_run_number")
        op.execute("SELECT setval('sync_run_number', coalesce(max(number), 0) + 1, false) FROM sync_run")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP SEQUENCE sync_run_number")
