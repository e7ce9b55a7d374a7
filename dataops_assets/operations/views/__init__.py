"""How the values of the operations are shown: as tables, items and lines, and as values of JSON."""
