"""What enrich computes for a row: look-ups, uniqueness, status."""
