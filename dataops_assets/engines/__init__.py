"""Engines: run queries over tables in sessions, one module for each engine."""
