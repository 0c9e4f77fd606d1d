"""Syncs, their steps, the revision of each stack, bad revisions, hosts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "syncs",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("started_at", sa.String, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("result", sa.String, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
    )
    op.create_table(
        "steps",
        sa.Column("sync", sa.Integer, sa.ForeignKey("syncs.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("result", sa.String, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("next", sa.String),
        sa.Column("made", sa.String),
    )
    op.create_table(
        "sync_stacks",
        sa.Column("sync", sa.Integer, sa.ForeignKey("syncs.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("stack", sa.String, primary_key=True, index=True),
    )
    op.create_table(
        "stacks",
        sa.Column("stack", sa.String, primary_key=True),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("applied_at", sa.String, nullable=False),
        sa.Column("desired", sa.Text),
    )
    op.create_table(
        "bad_revisions",
        sa.Column("stack", sa.String, primary_key=True),
        sa.Column("commit", sa.String, primary_key=True),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "hosts",
        sa.Column("host", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, unique=True),
        sa.Column("etag", sa.String),
        sa.Column("state", sa.Text),
    )
