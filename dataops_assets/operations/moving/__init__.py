"""Moves declarations between folders, environments and deployments, with a preview of what would differ."""
