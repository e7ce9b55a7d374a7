"""Outputs: deliver tables of the hub or the warehouse to tables of databases and to files."""
