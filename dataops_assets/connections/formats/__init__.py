"""Formats: turn the bytes of an input into rows, one module for each family of formats."""
