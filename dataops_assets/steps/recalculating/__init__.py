"""Which rows a recalculation must compute again."""
