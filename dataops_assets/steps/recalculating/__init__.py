"""Finds the rows that a recalculation must compute again."""
