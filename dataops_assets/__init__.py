"""DataOps assets: declared feeds become a gated, versioned Dagster asset graph."""
