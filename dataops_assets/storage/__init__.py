"""Where data lies: the raw area and Delta tables, each change one atomic commit."""
