"""Maintenance of a source's tables outside its daily steps: retention, quarantine, reset, changed rules."""
