"""Checks of data: profiles, checks, contracts, and gates before a table is published."""
