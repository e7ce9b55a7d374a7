"""Reads tables and queries of databases as extracts."""
