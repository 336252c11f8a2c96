"""Favourites, and the folded text by which passwords and links are found."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from pwserver.core.finding import account_name, text_of

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FOUND_BY = ("user_name", "path", "name", "domain", "device", "address")


def upgrade() -> None:
    op.create_table(
        "favourite",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("entry_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["entry.id"], name=op.f("fk_favourite_entry_id")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_favourite_user_id")),
        sa.PrimaryKeyConstraint("user_id", "entry_id", name=op.f("pk_favourite")),
    )
    op.create_index(op.f("ix_favourite_entry_id"), "favourite", ["entry_id"])
    for table in ("entry", "sync_link"):
        op.add_column(table, sa.Column("find_text", sa.Text(), server_default=sa.text("''"), nullable=False))
    _fill_entries()
    _fill_links()


def downgrade() -> None:
    for table in ("sync_link", "entry"):
        op.drop_column(table, "find_text")
    op.drop_index(op.f("ix_favourite_entry_id"), "favourite")
    op.drop_table("favourite")


def _fill_entries() -> None:
    rows = op.get_bind().execute(sa.text("SELECT id, name, user_name, machine, domain, address FROM entry")).all()
    for row in rows:
        account = account_name(row.domain or row.machine, row.user_name)
        _write("entry", row.id, [row.name, account, row.machine, row.domain, row.address])


def _fill_links() -> None:
    for row in op.get_bind().execute(sa.text("SELECT id, machine, settings FROM sync_link")).all():
        settings = json.loads(row.settings) if isinstance(row.settings, str) else row.settings
        settings = settings if isinstance(settings, dict) else {}
        account = account_name(row.machine, str(settings.get("user_name", "")))
        _write("sync_link", row.id, [account, row.machine, *(str(settings.get(name, "")) for name in FOUND_BY)])


def _write(table: str, row_id: str, parts: list[str]) -> None:
    rows = sa.table(table, sa.column("id"), sa.column("find_text"))
    op.get_bind().execute(sa.update(rows).where(rows.c.id == row_id).values(find_text=text_of(parts)))
