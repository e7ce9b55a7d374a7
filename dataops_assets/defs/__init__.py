"""The sources of this deployment: one folder for each subject area, and in it one folder for each source."""
