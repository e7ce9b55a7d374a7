"""How the bytes of an input become rows: one module a family of formats."""
