"""The rule language: expressions over one row and its relations. Start at `compiler.compile_rules`."""
