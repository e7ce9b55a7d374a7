"""The parts of enrich: look-ups, uniqueness, row status."""
