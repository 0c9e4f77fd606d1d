"""The tables, as they are after the newest migration (tests/contract/test_store.py compares)."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

HEAD = "0001"
"""The newest migration."""

metadata = MetaData()

syncs = Table(
    "syncs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("started_at", String, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("result", String, nullable=False),
    Column("plan", Text, nullable=False),
)

steps = Table(
    "steps",
    metadata,
    Column("sync", Integer, ForeignKey("syncs.number", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("result", String, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("error", Text),
    Column("next", String),
    Column("made", String),
)

sync_stacks = Table(
    "sync_stacks",
    metadata,
    Column("sync", Integer, ForeignKey("syncs.number", ondelete="CASCADE"), primary_key=True),
    Column("stack", String, primary_key=True, index=True),
)

stacks = Table(
    "stacks",
    metadata,
    Column("stack", String, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("applied_at", String, nullable=False),
    Column("desired", Text),
)

bad_revisions = Table(
    "bad_revisions",
    metadata,
    Column("stack", String, primary_key=True),
    Column("commit", String, primary_key=True),
    Column("why", Text, nullable=False),
    Column("at", String, nullable=False),
)

hosts = Table(
    "hosts",
    metadata,
    Column("host", String, primary_key=True),
    Column("number", Integer, unique=True),
    Column("etag", String),
    Column("state", Text),
)
