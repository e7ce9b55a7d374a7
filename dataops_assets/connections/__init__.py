"""Connections: find inputs and read their bytes."""
