"""Alembic's scripts: each brings a database from one form to the next."""
