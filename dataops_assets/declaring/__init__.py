"""Drafts a declaration from files: each part is suggested with its reason, and unhealthy values are listed."""
