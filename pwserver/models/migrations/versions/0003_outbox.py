"""Mails to be sent, incidents of an agent or a linked credential, troubles of the server itself (rule 41)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OPEN = sa.text("closed_at IS NULL")
SUBJECT = (
    "(chain_id IS NOT NULL AND agent_id IS NULL AND credential_id IS NULL) OR "
    "(chain_id IS NULL AND (agent_id IS NULL) <> (credential_id IS NULL))"
)


def upgrade() -> None:
    _make_outbox()
    op.create_table(
        "trouble",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(), nullable=False),
        sa.Column("closed_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trouble")),
    )
    op.create_index("uq_trouble_open", "trouble", ["kind"], unique=True, sqlite_where=OPEN, postgresql_where=OPEN)
    with op.batch_alter_table("incident", reflect_kwargs={"resolve_fks": False}) as table:
        table.alter_column("chain_id", existing_type=sa.String(length=36), nullable=True)
        table.add_column(sa.Column("agent_id", sa.String(length=36), nullable=True))
        table.add_column(sa.Column("credential_id", sa.String(length=36), nullable=True))
        table.add_column(sa.Column("cause_id", sa.String(length=36), nullable=True))
        table.add_column(sa.Column("mailed_at", sa.DateTime(), nullable=True))
        table.add_column(sa.Column("told", sa.Boolean(), server_default=sa.text("false"), nullable=False))
        table.add_column(sa.Column("over_mailed_at", sa.DateTime(), nullable=True))
        table.create_foreign_key("fk_incident_agent_id", "sync_agent", ["agent_id"], ["id"])
        table.create_foreign_key("fk_incident_credential_id", "entry", ["credential_id"], ["id"])
        table.create_foreign_key("fk_incident_cause_id", "incident", ["cause_id"], ["id"])
        table.create_check_constraint(op.f("ck_incident_one_subject"), SUBJECT)
    op.create_index("ix_incident_cause_id", "incident", ["cause_id"])
    op.create_index("ix_incident_closed_at", "incident", ["closed_at"])
    for column in ("agent", "credential"):
        op.create_index(
            f"uq_incident_open_{column}", "incident", [f"{column}_id"],
            unique=True, sqlite_where=OPEN, postgresql_where=OPEN,
        )  # fmt: skip


def _make_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("dedupe_key", sa.String(length=160), nullable=False),
        sa.Column("to_user_id", sa.String(length=36), nullable=False),
        sa.Column("to_address", sa.String(length=254), nullable=False),
        sa.Column("template", sa.String(length=32), nullable=False),
        sa.Column("ids", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(), nullable=False),
        sa.Column("nudged_at", sa.DateTime(), nullable=True),
        sa.Column("give_up_at", sa.DateTime(), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'failed', 'kept', 'dropped')", name=op.f("ck_outbox_state")
        ),
        sa.ForeignKeyConstraint(["to_user_id"], ["app_user.id"], name=op.f("fk_outbox_to_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_outbox_dedupe_key")),
    )
    op.create_index("ix_outbox_due", "outbox", ["state", "next_try_at"])


def downgrade() -> None:
    op.drop_table("trouble")
    op.drop_table("outbox")
    op.execute("UPDATE incident SET cause_id = NULL")
    op.execute("DELETE FROM incident WHERE chain_id IS NULL")
    for index in ("uq_incident_open_credential", "uq_incident_open_agent", "ix_incident_closed_at"):
        op.drop_index(index, table_name="incident")
    op.drop_index("ix_incident_cause_id", table_name="incident")
    with op.batch_alter_table("incident", reflect_kwargs={"resolve_fks": False}) as table:
        table.drop_constraint(op.f("ck_incident_one_subject"), type_="check")
        for constraint in ("cause", "credential", "agent"):
            table.drop_constraint(f"fk_incident_{constraint}_id", type_="foreignkey")
        for column in ("over_mailed_at", "told", "mailed_at", "cause_id", "credential_id", "agent_id"):
            table.drop_column(column)
        table.alter_column("chain_id", existing_type=sa.String(length=36), nullable=False)
