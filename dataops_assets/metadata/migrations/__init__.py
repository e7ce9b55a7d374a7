"""Alembic's environment for the metadata structure."""
