"""What this deployment runs: a folder a subject area, in it one a source."""
