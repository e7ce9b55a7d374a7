"""Storage: the raw area and Delta tables, changed by atomic commits."""
