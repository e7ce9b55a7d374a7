"""Reads declarations of other tools as a beginning: sources and snapshots of dbt, schemas of dlt."""
