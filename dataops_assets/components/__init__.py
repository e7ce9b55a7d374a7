"""The edge to Dagster: what YAML can declare, and how it becomes assets, checks, sensors and schedules."""
