"""Kinds of unhealthy data. Each kind is one function over the facts of a column or of all files."""
