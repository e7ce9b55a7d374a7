"""What people do with a running deployment, from the command line."""
