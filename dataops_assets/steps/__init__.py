"""The steps of the asset graph as plain functions: a set of inputs in, a report out."""
