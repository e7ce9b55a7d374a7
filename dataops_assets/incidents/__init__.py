"""Incidents: what is wrong, grouped by cause, with its states, and the messages about it."""
