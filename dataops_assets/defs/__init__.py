"""The sources of this deployment: one folder a subject area, and in it one folder a source."""
